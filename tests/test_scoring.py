"""Scoring: what texts, labels and trades say, and how they add up."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vaderSentiment import vaderSentiment as vader  # noqa: N813

from tbcache.models import FetchRequest, Item, Label
from tbcache.models.coerce import text as field_text
from tbcache.models.error import ConfigurationError
from tbcache.scoring import (
    LABEL_SCORE,
    SCORED_CHARACTERS,
    THRESHOLD,
    FinanceVader,
    aggregate,
    get_scorer,
    score_items,
)
from tbcache.scoring import finance as finance_module
from tbcache.scoring import vader as vader_module
from tbcache.scoring.finance import Lexicon, clean
from tbcache.scoring.vader import Vader

ROOT = Path(__file__).parent.parent
PAYLOADS = Path(os.environ.get("TBCACHE_PAYLOADS", ROOT.parent / "shared" / "payloads"))
SENTENCES = [
    line.split("\t")
    for line in (Path(__file__).parent / "data" / "finance_sentences.tsv").read_text("utf-8").splitlines()
    if not line.startswith("#")
]
NOW = datetime(2026, 3, 2, 14, 30, tzinfo=UTC)
REQUEST = FetchRequest("twitter", "AAPL", 24)

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # its codecs.open, since Python 3.14
    plain = vader.SentimentIntensityAnalyzer()
lean = Vader()

# Every word that one of VADER's rules looks for, beside some it rates.
_RULES = [
    *vader.BOOSTER_DICT,
    *vader.NEGATE,
    *vader.SPECIAL_CASES,
    *("no", "or", "nor", "but", "so", "this", "least", "at", "very", "never", "doubt", "without", "kind"),
    *("sort", "just", "of", "yeah", "good", "GREAT", "terrible", "bad", "badass", "cliff", "isn't", "AAPL"),
    *(":)", ";D", "x.x", "😀", "💔", "!!", "??", "???", "!!!!!", "..."),
]
_texts = st.lists(st.sampled_from(_RULES) | st.sampled_from(sorted(plain.lexicon)), max_size=14).flatmap(
    lambda words: st.sampled_from([" ".join(words), " ".join(words).upper(), "".join(words)])
)


def label_of(score: float) -> str:
    return "bullish" if score >= THRESHOLD else "bearish" if score <= -THRESHOLD else "neutral"


def macro_f1(truths: list[str], guesses: list[str]) -> float:
    figures = []
    for label in sorted(set(truths)):
        hits = sum(guess == truth == label for guess, truth in zip(guesses, truths, strict=True))
        figures.append(2 * hits / (guesses.count(label) + truths.count(label)))
    return statistics.mean(figures)


def rate(text: str) -> float:
    return get_scorer().score([text])[0]


@settings(max_examples=400, deadline=None)
@given(_texts)
def test_the_lean_compound_is_vaders_on_every_rule(text: str) -> None:
    """The fast way is only worth having while it is the same figure."""
    assert lean.compound(text) == plain.polarity_scores(text)["compound"]


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_the_lean_compound_is_vaders_on_any_text(text: str) -> None:
    """Upstreams send whatever people type."""
    assert lean.compound(text) == plain.polarity_scores(text)["compound"]


def recorded_texts() -> Iterator[str]:
    """Texts that upstreams sent; none where the recordings are not at hand."""

    def walk(value: object) -> Iterator[str]:
        if isinstance(value, dict):
            for part in value.values():
                yield from walk(part)
        elif isinstance(value, list):
            for part in value:
                yield from walk(part)
        elif isinstance(value, str) and " " in value:
            yield value

    for file in sorted(PAYLOADS.glob("*/*.json")):
        yield from walk(json.loads(file.read_text("utf-8")))


def test_the_lean_compound_is_vaders_on_real_posts() -> None:
    """Made-up texts never have all that real ones have."""
    texts = [text for _, _, text in SENTENCES] + [text for text in recorded_texts() if len(text) < 2000]
    assert [lean.compound(t) for t in texts] == [plain.polarity_scores(t)["compound"] for t in texts]


def test_our_tables_are_vaders() -> None:
    """Random texts hardly ever have one given word of thousands."""
    assert lean.lexicon == plain.lexicon
    assert (vader_module.BOOSTERS, vader_module.IDIOMS) == (vader.BOOSTER_DICT, vader.SPECIAL_CASES)
    assert set(vader.NEGATE) == vader_module.NEGATIONS


def test_a_version_of_the_scorer_gives_the_same_scores_for_ever() -> None:
    """Scores of one scorer are compared over months: where they change, its version must."""
    scores = (Path(__file__).parent / "data" / "finance_scores.txt").read_text().split()
    assert (FinanceVader.name, FinanceVader.version) == ("finance-vader", "7")
    assert get_scorer().score([text for _, _, text in SENTENCES]) == [float(score) for score in scores]


def test_the_scorer_knows_finance_clearly_better_than_plain_vader() -> None:
    """The reason to have a lexicon of our own; measured on a balanced set written for this."""
    truths, texts = [label for label, _, _ in SENTENCES], [text for _, _, text in SENTENCES]
    ours = macro_f1(truths, [label_of(score) for score in get_scorer().score(texts)])
    theirs = macro_f1(truths, [label_of(plain.polarity_scores(text)["compound"]) for text in texts])
    assert len(texts) >= 200
    assert ours >= 0.9
    assert ours >= theirs + 0.2


def test_the_scorer_is_faster_than_plain_vader() -> None:
    """A page of a hundred posts is scored while someone waits for the answer."""
    texts = [text for _, _, text in SENTENCES]
    get_scorer().score(texts)

    def seconds(ours: bool) -> float:
        # Of this thread alone, and in turn: what else the machine does slows both.
        start = time.thread_time()
        get_scorer().score(texts) if ours else [plain.polarity_scores(text) for text in texts]
        return time.thread_time() - start

    rounds = [(seconds(True), seconds(False)) for _ in range(15)]
    assert min(mine for mine, _ in rounds) < min(theirs for _, theirs in rounds)


_LONG = (
    "never so good ", "good but bad ", "good and the shit ", "GOOD bad ", "no short squeeze ", "at least ",
    "🚀", "💔 ", "don't think ", "shorts crushed ", "sold a put spread ", "less than feared ", "to 3 from 5 ",
    "to buy ", "5 vs est 3 ", "<a", "&amp;", "&#1", "$A", "@a.", "+1% ", "!", "“x” ", "http://",
)  # fmt: skip


@pytest.mark.parametrize("words", _LONG)
def test_a_long_text_costs_no_more_a_word_than_a_short_one(words: str) -> None:
    """Anybody may post 40,000 characters; VADER's rules go through all of them for each word."""

    def seconds(characters: int) -> float:
        text = words * (characters // len(words))
        start = time.thread_time()
        rate(text)
        return time.thread_time() - start

    rate(words)
    # Of what is quadratic, four times as much takes sixteen times as long.
    assert any(seconds(48_000) < 8 * seconds(12_000) + 0.001 for _ in range(10))


def test_of_a_long_text_the_first_words_are_scored() -> None:
    """A scorer of one's own may take minutes for what anybody may post: plain VADER takes 11 s for 40,000."""
    scorer = Recorder()
    texts = [
        "word " * 8_000,
        "w" * 40_000,
        "words " * (SCORED_CHARACTERS // 6) + "more " * 9,
        "x" * (SCORED_CHARACTERS - 1) + " " + "y" * 9,
        "x" * SCORED_CHARACTERS + " y",
        "x" * (SCORED_CHARACTERS - 3) + "\nmore",
        "short and whole ",
    ]
    score_items([item(text) for text in texts], scorer)
    (scored,) = scorer.calls
    assert all(
        len(part) <= SCORED_CHARACTERS and text.startswith(part)
        for part, text in zip(scored, texts, strict=True)
    )
    assert set(scored[0].split()) == {"word"}
    assert scored[1] == "w" * SCORED_CHARACTERS
    assert set(scored[2].split()) <= {"words", "more"}
    assert [part.strip("x").strip() for part in scored[3:]] == ["", "", "", "short and whole"]
    assert len(scored[4]) == SCORED_CHARACTERS


def test_what_is_said_first_is_the_sense_of_a_long_text() -> None:
    """Cut or not, an article that begins with fraud and bankruptcy is bearish."""
    words = "fraud and bankruptcy, the shares crash. "
    (score,) = score_items([item(words * 1_000)], get_scorer())
    assert score is not None
    assert score <= -THRESHOLD


@pytest.mark.parametrize("digits", [3, 99, 100, 5_000, 39_000])
def test_a_reference_to_no_character_is_no_bug(digits: int) -> None:
    """Python refuses to read a number of 5,000 digits: one such post broke off every fetch that met it."""
    text = "a great beat &#" + "9" * digits + "; and a surge"
    assert label_of(rate(text)) == "bullish"
    assert field_text(text).startswith("a great beat ")


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("Credit Suisse interest and liabilities per share", "neutral"),
        ("CREDIT trust shares today", "neutral"),
        ("🚀🚀", "bullish"),
        ("quarter📉", "bearish"),
        ("https://example.com/great-win-win-win?a=??", "neutral"),
        ("www.great.com/beat surge", "bullish"),
        ("@lovely_trader @BestWins", "neutral"),
        ("$GOOD $LOVE.X, $WIN's day", "neutral"),
        ("<p class='great'>the report</p><br/>", "neutral"),
        ("Revenue is up.", "bullish"),
        ("it didn&#39;t beat estimates", "bearish"),
        ("it didn’t beat estimates", "bearish"),
        ("they say “beat”", "bullish"),
        ("TSLA +5% today", "bullish"),
        ("TSLA -5% today", "bearish"),
        ("range of 2-3% seen", "neutral"),
        ("go short here", "bearish"),
        ("a SHORT SQUEEZE here", "bullish"),
        ("it is going up, I think", "bullish"),
        ("conference call", "neutral"),
        ("profit fell", "bearish"),
        ("profit rose", "bullish"),
        ("net loss narrows", "bullish"),
        ("", "neutral"),
    ],
)
def test_the_scorer_reads_as_a_trader_does(text: str, meaning: str) -> None:
    """Each row is a way in which plain VADER, or a careless lexicon, goes wrong."""
    assert label_of(rate(text)) == meaning


def test_cleaning_keeps_what_only_looks_like_noise() -> None:
    """A heart, a price and a comparison are words, and an address is not a mention of anyone."""
    assert clean("I <3 it at $5 < $6, ask ir@corp") == "I <3 it at $5 < $6, ask ir@corp"


def test_the_longest_phrase_wins() -> None:
    """Otherwise "price target cut" would depend on the order of rows in a file."""
    lexicon = Lexicon.read("# x<TAB>y\na b\t1\na b c\t-2\nd\t0\n🚀\t=a\n")
    assert lexicon.phrases == {"a": {"b": (("c",), ())}}
    assert lexicon.valences == {"a b": 1.0, "a b c": -2.0}
    assert lexicon.neutral == {"d"}
    assert lexicon.emoji == {"🚀": " a "}


def test_scores_stay_within_bounds_and_in_order() -> None:
    """Callers pair scores with items by position."""
    texts = ["great beat " * 500, "fraud bankruptcy " * 500, "", "the report"]
    high, low, *rest = get_scorer().score(texts)
    assert 0.9 < high <= 1
    assert -1 <= low < -0.9
    assert rest == [0.0, 0.0]


def test_importing_scoring_loads_no_lexicon_and_warns_of_nothing() -> None:
    """Importing must stay fast for those who never score, and clean for those who run with -W error."""
    code = (
        "import sys, tbcache.scoring as s; assert 'tbcache.scoring.vader' not in sys.modules; "
        "assert s.get_scorer() is s.get_scorer(); "
        "assert s.get_scorer().score(['shares surge'])[0] > 0; assert 'vaderSentiment' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=ROOT, timeout=60)


def test_threads_load_the_lexicon_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight threads of a worker begin at once; each reading 7,500 rows would be felt."""
    loads = []
    start = threading.Barrier(8)
    read = Lexicon.read
    finance_module._tables.cache_clear()
    monkeypatch.setattr(Lexicon, "read", lambda text: (loads.append(1), time.sleep(0.02), read(text))[2])

    def work() -> None:
        start.wait()
        FinanceVader().score(["up"])

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loads == [1]


class Recorder:
    """A scorer that notes what it was asked."""

    name, version = "recorder", "7"

    def __init__(self, figure: float = 0.3) -> None:
        self.figure = figure
        self.calls: list[list[str]] = []

    def score(self, texts: list[str]) -> list[float]:
        self.calls.append(texts)
        return [self.figure] * len(texts)


def item(
    text: str = "", *, label: Label | None = None, score: float | None = None, weight: float = 1.0
) -> Item:
    return Item("1", NOW, text, label=label, score=score, weight=weight)


def test_an_items_own_score_goes_before_its_label_and_its_label_before_its_text() -> None:
    """An author who says "bearish" under a joke means it."""
    scorer = Recorder()
    items = [
        item("text", label="bullish", score=-0.4),
        item("text", label="bearish"),
        item("text", label="bullish"),
        item("text"),
        item(" <br> https://example.com $AAPL"),
        item("more", score=float("nan")),
    ]
    assert score_items(items, scorer) == [-0.4, -LABEL_SCORE, LABEL_SCORE, 0.3, None, 0.3]
    assert scorer.calls == [["text", "more"]]


def test_scores_out_of_bounds_are_brought_within() -> None:
    """A scorer or a provider of someone else's must not push a mean past 1."""
    assert score_items([item(score=7.0), item("a")], Recorder(-3.0)) == [1.0, -1.0]
    assert score_items([item("a")], Recorder(float("nan"))) == [None]


def test_nothing_to_read_asks_the_scorer_nothing() -> None:
    """Options have no text at all."""
    scorer = Recorder()
    assert score_items([item(score=0.5), item("")], scorer) == [0.5, None]
    assert scorer.calls == []


def summed(items: list[Item], scores: list[float | None]) -> tuple[float | None, int, int, int, int]:
    sentiment = aggregate(
        REQUEST, items, scores, as_of=NOW, complete=True, since=None, reason=None, scorer="recorder/7"
    )
    return sentiment.score, sentiment.count, sentiment.bullish, sentiment.bearish, sentiment.neutral


def test_the_mean_is_weighed_and_the_counts_are_not() -> None:
    """A ten-million-dollar trade says more than a small one, but is still one trade."""
    items = [item(weight=3.0), item(weight=1.0), item(weight=0.0), item(weight=-5.0), item()]
    assert summed(items, [1.0, -1.0, 0.049, -0.05, None]) == (0.5, 5, 1, 2, 1)


def test_a_weight_that_is_no_figure_counts_nothing() -> None:
    """One broken premium must not make the whole answer infinite."""
    items = [item(weight=float("inf")), item(weight=float("nan")), item(weight=1e308), item(weight=1e308)]
    assert summed(items, [-1.0, -1.0, 0.5, 0.5]) == (0.5, 4, 2, 2, 0)


@pytest.mark.parametrize(("items", "scores"), [([], []), ([item("")], [None]), ([item(weight=0.0)], [0.9])])
def test_no_score_is_none_and_never_neutral(items: list[Item], scores: list[float | None]) -> None:
    """A bot must be able to tell "nobody said anything" from "they are undecided"."""
    assert summed(items, scores)[0] is None


def test_a_sentiment_says_what_it_covers_and_who_scored_it() -> None:
    """A score is comparable only with scores of the same scorer, over the same time."""
    sentiment = aggregate(
        REQUEST,
        [],
        [],
        as_of=NOW,
        complete=False,
        since=NOW,
        reason="page_budget",
        scorer="recorder/7",
    )
    assert (sentiment.source, sentiment.symbol, sentiment.hours) == ("twitter", "AAPL", 24)
    assert (sentiment.as_of, sentiment.since, sentiment.complete) == (NOW, NOW, False)
    assert (sentiment.reason, sentiment.scorer) == ("page_budget", "recorder/7")
    assert get_scorer().name == "finance-vader"


@pytest.mark.parametrize("figures", [[0.1], [None, 0.2], ["0.5", "0.5"], None])
def test_a_scorer_that_does_not_give_one_figure_a_text_is_named(figures: Any) -> None:
    """It is a user's model: the error says what it gave, and not where we fell over it."""

    class Odd:
        name, version = "odd", "1"

        def score(self, texts: list[str]) -> list[float]:
            return figures  # type: ignore[no-any-return]

    items = [Item("1", None, "up"), Item("2", None, "down")]
    with pytest.raises(ConfigurationError, match=r"^the scorer odd/1 [^()]*$"):
        score_items(items, Odd())
