"""The scorer's rules: what traders mean where the words alone say something else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import SupportsIndex

import pytest

from tbcache.scoring import THRESHOLD, get_scorer
from tbcache.scoring.rules import REPORT_RULES, RULES, Reading, irony

MEANINGS = {
    "position": [
        ("The bears are getting crushed this morning", "bullish"),
        ("The bulls are getting crushed this morning", "bearish"),
        ("My puts expired worthless", "bullish"),
        ("My calls expired worthless", "bearish"),
        ("Buyers keep squeezing the shorts", "bullish"),
        ("Sellers keep squeezing the longs", "bearish"),
        ("The short thesis is dead", "bullish"),
        ("The bull thesis is dead", "bearish"),
        ("Bears are winning", "bearish"),
        ("Longs were destroyed by the bears", "bearish"),
        ("The puts are not printing", "bullish"),
    ],
    "expectation": [
        ("The loss was smaller than feared", "bullish"),
        ("The profit was smaller than expected", "bearish"),
        ("A narrower-than-expected loss at the retailer", "bullish"),
        ("A wider-than-expected loss at the retailer", "bearish"),
        ("The decline in sales was less bad than feared", "bullish"),
        ("Growth was weaker than analysts expected", "bearish"),
        ("Results were not as bad as feared", "bullish"),
        ("Results were not as good as hoped", "bearish"),
        ("Costs came in lower than expected", "bullish"),
        ("Costs came in higher than expected", "bearish"),
        ("The fund is older than the bank", "neutral"),
    ],
    "result": [
        ("Earnings per share came in at 0.34 euros compared with 0.16 euros", "bullish"),
        ("Earnings per share came in at 0.16 euros compared with 0.34 euros", "bearish"),
        ("Diluted loss per share stood at $0.15 versus $0.26", "bullish"),
        ("Diluted loss per share stood at $0.26 versus $0.15", "bearish"),
        ("A profit of 3 million versus a loss of 5 million", "bullish"),
        ("The room has 12 seats compared with 20 seats", "neutral"),
    ],
    "topic": [
        ("Upgrades and downgrades of the day", "neutral"),
        ("The firm reported an operating profit of 6 million on sales of 55 million", "neutral"),
        ("The entertainment group has a partner in the beauty business", "neutral"),
        ("Demand for office space", "neutral"),
        ("I am not sure what to make of it", "neutral"),
    ],
    "negation": [
        ("I don't think this thing is ever going to rally", "bearish"),
        ("I don't think this thing is ever going to crash", "bullish"),
        ("There is no sign of any lasting sort of rebound", "bearish"),
        ("We see no sign at the stores of a slowdown", "bullish"),
        ("The company failed to deliver any growth", "bearish"),
        ("The quarter was far from a collapse", "bullish"),
        ("I don't see a rally in this name with such a weak demand", "bearish"),
        ("I'm not kidding, this is going to soar", "bullish"),
    ],
    "strategy": [
        ("Sold puts at 90 for income", "bullish"),
        ("Bought puts at 90", "bearish"),
        ("Sold a call at 110", "bearish"),
        ("Bought calls at 110", "bullish"),
        ("Opened a bull put spread", "bullish"),
        ("Opened a bear call spread", "bearish"),
        ("Sold a put credit spread", "bullish"),
        ("Sold a call credit spread", "bearish"),
        ("Bought a call debit spread", "bullish"),
        ("Bought a put debit spread", "bearish"),
        ("Sold an iron condor into the print", "neutral"),
        ("Bought a straddle for the print", "neutral"),
        ("Wrote calls against my shares", "neutral"),
    ],
    "irony": [
        ("Great quarter, buying more /s", "bearish"),
        ("Time to panic sell, bankruptcy tomorrow /s", "bullish"),
        ("Another strong beat, sure 🤡", "bearish"),
        ("Another weak quarter, crash incoming 🤡", "bearish"),
        ("Long into the print, what could go wrong", "bearish"),
    ],
    "headline": [
        ("Rating lowered to hold from buy", "bearish"),
        ("Rating raised to hold from sell", "bullish"),
        ("Downgraded from outperform to neutral", "bearish"),
        ("Upgraded from underperform to market perform", "bullish"),
        ("Broker cuts to buy from strong buy", "bearish"),
        ("Target goes to $80 from $95", "bearish"),
        ("Target goes to $95 from $80", "bullish"),
        ("Net loss went from $9 million to $3 million", "bullish"),
        ("Net loss went from $3 million to $9 million", "bearish"),
        ("Debt went from $900 million to $2bn", "bearish"),
        ("EPS $1.20 vs $1.10 expected", "bullish"),
        ("EPS $1.05 vs $1.10 expected", "bearish"),
        ("EPS (0.05) vs (0.10) est", "bullish"),
        ("The bank moved from 12 to 14 Main Street", "neutral"),
        ("The guidance covers the years from 2025 to 2027", "neutral"),
    ],
}
MORE = Path(__file__).parent / "data" / "trader_sentences.tsv"
CASES = [pytest.param(text, meaning, id=text) for rows in MEANINGS.values() for text, meaning in rows]


def label_of(score: float) -> str:
    return "bullish" if score >= THRESHOLD else "bearish" if score <= -THRESHOLD else "neutral"


@pytest.mark.parametrize(("text", "meaning"), CASES)
def test_a_text_is_read_by_what_it_means_and_not_by_its_words(text: str, meaning: str) -> None:
    """The wrong sign is worse than no score: each row stands beside its opposite."""
    assert label_of(get_scorer().score([text])[0]) == meaning


def test_what_traders_write_is_read_by_its_sense() -> None:
    """Positions, trades, negations, movements and irony as people write them, each beside its opposite."""
    rows = [line.split("\t") for line in MORE.read_text("utf-8").splitlines() if line[0] != "#"]
    scores = get_scorer().score([text for _, text in rows])
    misread = [text for (label, text), score in zip(rows, scores, strict=True) if label_of(score) != label]
    assert misread == []
    assert len(rows) > 200


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("Bankruptcy is certain. Great job, management /s", "bearish"),
        ("Growth is strong, profits soar and margins surge. Sure, what a crash /s", "bullish"),
        ("The stock soars to a record high. Oh great, my broker is out of coffee", "bullish"),
    ],
)
def test_a_mark_of_irony_turns_its_sentence_alone(text: str, meaning: str) -> None:
    """Who mocks one thing means the others."""
    assert label_of(get_scorer().score([text])[0]) == meaning


def test_a_sentence_with_many_marks_of_irony_is_turned_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two marks mean no more than one; a text of nothing else took time by the square of its length."""
    assert label_of(get_scorer().score(["Great quarter, buying more /s /s"])[0]) == "bearish"
    turned: list[range] = []
    monkeypatch.setattr(irony, "_turn", lambda places, *_, **__: turned.append(places))
    get_scorer().score(["sarcasm " * 50])
    assert len(turned) == 1


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("The plant processes valuable raw material for a supportive network of farms", "neutral"),
        ("These are valuable shares, love this supportive crowd", "bullish"),
        ("Hotel chain offers wellness, comfort and entertainment in eleven countries", "neutral"),
        ("Did the bank beat the market in a terrible quarter?", "neutral"),
        ("Stocks fall as optimism over a strong recovery fades", "bearish"),
        ("Futures rise despite a plunge in orders and a profit warning", "bullish"),
        ("EBIT totalled EUR 14.4 million, compared to a loss of EUR 0.3 million a year before.", "bullish"),
        (
            "Net profit was 1.4 million for the first half of 2007, against 2.1 million in 2006.",
            "bearish",
        ),
        ("Profit was 2.4 million for the first half of 2007, against 2.1 million in 2006.", "bullish"),
        ("The index rose as well as weak bonds, which fell at first and sank", "bearish"),
        ("Group sold its paper mill in Norway to a local rival", "neutral"),
        ("Directors sold shares worth two million euros", "bearish"),
        ("Investment bank to buy a software firm in Texas", "neutral"),
        ("Fund managers buy shares of lenders", "bullish"),
        ("Startup raises $140M in its second round of funding", "neutral"),
        ("Retailer raises its guidance for the year", "bullish"),
        ("The number of shares increased by 10,000 to 1.2 million", "neutral"),
        ("The number of customers increased by 10,000 to 1.2 million", "bullish"),
        ("The airline was hurt by higher fuel prices in the second quarter", "bearish"),
        ("The airline was helped by lower fuel prices in the second quarter", "bullish"),
        ("Sales were burdened by the strong euro", "bearish"),
        ("Company picks a new auditor amid fears of a recession", "neutral"),
        ("Why the shares of the lender soared in May?", "bullish"),
        ("Will the shares of the lender soar in May?", "neutral"),
        ("Here's Why Shares Of The Lender Soared Today", "bullish"),
        ("Kitchen maker plunges after a weak outlook late on Thursday", "bearish"),
        ("Pump maker surges to a record high", "bullish"),
        ("Five reasons to buy Nvidia before the results", "bullish"),
        ("Holding sold its Nvidia position last week", "bearish"),
        ("Broker raises $90 target on Apple to $110", "bullish"),
        ("The US has seen a strong rise in exports since the spring of last year", "bullish"),
        ("EPS were EUR0 .30 , compared to EUR0 .25 a year ago .", "bullish"),
        ("EPS were EUR0 .25 , compared to EUR0 .30 a year ago .", "bearish"),
        ("Operating profit of EUR0.4m, as compared to a loss of EUR0.5m a year earlier", "bullish"),
        (
            "Result before taxes, single items apart, was EUR -0.4 million compared to EUR -0.1 million",
            "bearish",
        ),
        ("The board proposed a dividend of 1.00 euro for the year 2007, compared with 0.90 euro", "bullish"),
        ("Consumer confidence drops in May", "bearish"),
        ("Consumer confidence rises in May", "bullish"),
        ("Index snaps its winning streak", "bearish"),
        ("Index snaps its losing streak", "bullish"),
        ("The loan losses of the bank decreased", "bullish"),
        ("The fund yields 8%-10% a year", "neutral"),
    ],
)
def test_a_report_is_read_by_what_happens_and_not_by_its_kind_words(text: str, meaning: str) -> None:
    """News and statements of companies are full of words that praise nothing, and say first what is new."""
    assert label_of(get_scorer().score([text])[0]) == meaning


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("Everyone hates this stock, which is exactly why I own it", "bullish"),
        ("Everyone loves this stock, which is exactly why I am out", "bearish"),
        ("Love the margins here, which is exactly why I own it", "bullish"),
        ("They hated it at 40 and look at it now", "bullish"),
        ("The street wrote off this company two years ago, and here we are", "bullish"),
        ("Everyone loved it last spring and it keeps sinking", "bearish"),
        ("The crowd chased it in May and here we are", "bearish"),
        ("I hated it at 40 and look at it now", "bearish"),
        ("They hated it at 40 and they hate it now", "bearish"),
        ("They hated it at 40. It keeps to its plan", "bearish"),
    ],
)
def test_who_acts_against_the_crowd_does_not_feel_as_it_does(text: str, meaning: str) -> None:
    """The words are those of the others."""
    assert label_of(get_scorer().score([text])[0]) == meaning


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("Expected move is 4.8% for Friday. Have a good one", "neutral"),
        ("Earnings are on Thursday, good luck all", "neutral"),
        ("Reading the filing tonight, questions welcome", "neutral"),
        ("Would not bet against this one", "bullish"),
        ("I am betting against it", "bearish"),
    ],
)
def test_a_greeting_is_no_opinion_and_a_bet_is_one(text: str, meaning: str) -> None:
    """One post in twenty ends with a kind word to all who read it."""
    assert label_of(get_scorer().score([text])[0]) == meaning


class Counting(list[str]):
    """Words that count how many of them are read."""

    read = 0

    def __getitem__(self, at: SupportsIndex | slice) -> str | list[str]:  # type: ignore[override]
        found = super().__getitem__(at)
        self.read += len(found) if isinstance(at, slice) else 1
        return found

    def __iter__(self) -> Iterator[str]:
        self.read += len(self)
        return super().__iter__()


ALL = (*RULES, *REPORT_RULES)


@pytest.mark.parametrize(("rule", "triggers"), ALL, ids=[rule.__name__ for rule, _ in ALL])
def test_twice_the_words_take_a_rule_twice_the_steps(rule, triggers) -> None:  # type: ignore[no-untyped-def]
    """Anybody may post 40,000 characters, all of them a rule's own words and no full stop among them."""
    own = [
        *sorted(triggers),
        "they",
        "hated",
        "from",
        "5",
        "to",
        "3",
        "vs",
        "est",
        "spread",
        "crushed",
        "think",
        "sell",
    ]

    def read(times: int) -> int:
        words = Counting(own * times)
        rule(Reading(words, list(words)), [1.0] * len(words))
        return words.read

    assert read(8) > 0
    assert read(16) <= 2.1 * read(8)


@pytest.mark.parametrize("rule", [rule for rule, _ in ALL], ids=lambda rule: rule.__name__)
def test_a_rule_leaves_what_it_was_given(rule) -> None:  # type: ignore[no-untyped-def]
    """The rules are a list: each goes on from what another gave, and none changes it behind its back."""
    for rows in MEANINGS.values():
        for text, _ in rows:
            words, given = text.lower().split(), [1.0] * len(text.split())
            assert len(rule(Reading(words, words), given)) == len(words)
            assert given == [1.0] * len(words)
