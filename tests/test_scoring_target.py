"""Whom a text speaks of, where it names several tickers."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tbcache.models import Item
from tbcache.scoring import THRESHOLD, FinanceVader, get_scorer, score_items
from tbcache.scoring.target import about


def score(text: str, symbol: str | None) -> float:
    (figure,) = score_items([Item("1", datetime(2026, 3, 2, tzinfo=UTC), text)], get_scorer(), symbol)
    return figure or 0.0


@pytest.mark.parametrize(
    "text",
    [
        "$UPP soars, $DWN sinks",
        "$DWN sinks, $UPP soars",
        "Long $UPP, short $DWN",
        "$UPP up 5% but $DWN down",
        "$UPP and $ABC rally while $DWN and $DEF fall",
        "$UPP beats. Shares surge. $DWN misses. Shares plunge.",
        "$upp is bullish; $dwn is bearish",
    ],
)
def test_each_ticker_of_a_text_has_its_own_clauses(text: str) -> None:
    """One post about two companies would count for both with the sum, which is true of neither."""
    assert score(text, "UPP") >= THRESHOLD
    assert score(text, "DWN") <= -THRESHOLD


@pytest.mark.parametrize(
    ("text", "rising", "falling"),
    [
        ("Apple beats, Tesla misses", "AAPL", "TSLA"),
        ("Tesla's margins shrink; Apple's profits rise", "AAPL", "TSLA"),
        ("NVIDIA jumps as Intel plunges", "NVDA", "INTC"),
        ("INTC bleeding out, nvidia ripping", "NVDA", "INTC"),
        ("Coca-Cola raises its dividend while McDonald's cuts its outlook", "KO", "MCD"),
        ("Google, Meta Platforms and $AMZN rally. Bank of America slides.", "META", "BAC"),
        ("Nvidia climbs, SPY falls", "NVDA", "SPY"),
        ("Sold all my $AMD to buy $NVDA", "NVDA", "AMD"),
        ("S&P 500 falls 2% but General Motors climbs", "GM", "SPY"),
    ],
)
def test_companies_are_known_by_their_names(text: str, rising: str, falling: str) -> None:
    """Headlines have no cashtags."""
    assert score(text, rising) >= THRESHOLD
    assert score(text, falling) <= -THRESHOLD


@pytest.mark.parametrize("symbol", ["AAA", "BBB", "CCC"])
def test_what_is_said_before_a_list_is_said_of_each_in_it(symbol: str) -> None:
    """Only the first of them had a great day."""
    said = "Great day for $AAA, ZZZ, $BBB and $CCC."
    assert about(f"{said} $DDD sinks", symbol) == said
    assert about(f"{said} $DDD, $EEE sink", "DDD") == " $DDD, $EEE sink"
    assert about(f"{said} UP, they say", symbol) == f"{said} UP, they say"


def test_a_cry_in_capitals_begins_no_list() -> None:
    """It may be a ticker that nobody knows, but stands in no list."""
    assert about("$AAA soars. WOW, $BBB sinks", "AAA") == "$AAA soars. WOW,"


def test_a_symbol_that_no_table_knows_is_known_by_its_letters() -> None:
    """The table has a hundred companies, and people ask for others."""
    assert about("ZORG soars, Nvidia sinks", "ZORG") == "ZORG soars,"


def test_a_name_within_a_word_names_nobody() -> None:
    """A clause of motorsport belongs to those of the clause before it."""
    text = "Nvidia rises, general motorsport is on sale, General Motors falls"
    assert about(text, "NVDA") == "Nvidia rises, general motorsport is on sale,"


@pytest.mark.parametrize(
    ("text", "symbol"),
    [
        ("Nvidia upgraded at Morgan Stanley, target cut at Citi", "NVDA"),
        ("Meta grows, Instagram stalls", "META"),
        ("Alphabet rises, GOOG and Google fall", "GOOGL"),
        ("Nvidia as well as Intel falls", "NVDA"),
        ("A crowd in Times Square, and Nvidia falls", "NVDA"),
        ("All in, Nvidia falls", "NVDA"),
        ("ALL of it is sold, Nvidia falls", "ALL"),
        ("An apple a day, Nvidia falls", "NVDA"),
        ("U.S. Steel falls. Shares of Steel and Co sink.", "X"),
    ],
)
def test_what_names_no_other_company_is_taken_whole(text: str, symbol: str) -> None:
    """A bank that rates another is not whom the text is about, nor is a square in New York."""
    assert about(text, symbol) == text


@pytest.mark.parametrize(
    "text",
    [
        "$AAA, $BBB and $CCC are great",
        "$AAA $BBB $CCC great day",
        "Great day $AAA $BBB $CCC",
        "Great, great day for $AAA/$BBB/$CCC",
        "$AAA, ZZZ, $BBB and $CCC are great",
    ],
)
@pytest.mark.parametrize("symbol", ["AAA", "BBB", "CCC"])
def test_what_is_said_of_a_list_is_said_of_each_in_it(text: str, symbol: str) -> None:
    """People put the tickers of a post in a row, before it or behind it."""
    assert score(text, symbol) >= THRESHOLD


@pytest.mark.parametrize(
    "text", ["$AAA sinks, shares fall", "Shares sink, they say", "$BBB sinks, $CCC falls", "$5 and $6"]
)
def test_a_text_that_does_not_tell_tickers_apart_is_taken_whole(text: str) -> None:
    """It may speak of the symbol by its company's name."""
    assert about(text, "AAA") == text


def test_without_a_symbol_a_text_is_one() -> None:
    """Who calls as before gets what he got before."""
    text = "$UPP soars and soars, $DWN sinks"
    assert score(text, None) == get_scorer().score([text])[0]


def test_a_scorer_that_rates_texts_alone_is_given_whole_texts() -> None:
    """Analyzers of users have `score` and nothing else."""

    class Plain:
        name, version = "plain", "1"

        def score(self, texts: list[str]) -> list[float]:
            return [float(texts == ["$AAA up, $BBB down"])]

    item = Item("1", datetime(2026, 3, 2, tzinfo=UTC), "$AAA up, $BBB down")
    assert score_items([item], Plain(), "AAA") == [1.0]


def test_a_scorer_made_from_ours_rates_by_its_own_score() -> None:
    """Who overrides `score` has said how texts are rated."""

    class Half(FinanceVader):
        def score(self, texts: list[str]) -> list[float]:
            return [0.5 for _ in texts]

    assert Half().score_for(["$AAA up, $BBB down"], "BBB") == [0.5]


@pytest.mark.parametrize(
    "words", ["$A, ", "$A up, ", "$A and ", "up, ", "$B. ", "$A", "Nvidia, ", "at Citi as "]
)
def test_a_text_of_twice_the_length_is_looked_at_twice_as_often(words: str) -> None:
    """Anybody may post 40,000 characters of tickers."""

    class Counted(str):
        taken = 0

        def __getitem__(self, place):  # type: ignore[no-untyped-def]
            part = super().__getitem__(place)
            Counted.taken += len(part)
            return part

    def characters(times: int) -> int:
        Counted.taken = 0
        about(Counted("$C $B " + words * times), "B")
        return Counted.taken

    assert characters(1_000) >= 1_000

    assert characters(2_000) <= 2.1 * characters(1_000)
