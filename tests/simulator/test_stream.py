"""The content: endless, stable, and the same for everyone who asks."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tbcache.embedded.simulator.search import has_cashtag_operator, symbols
from tbcache.embedded.simulator.stream import Stream, newest_first
from tests.simulator.conftest import START


@given(st.sampled_from(["AAPL", "NVDA", "BRK.B", "Q"]), st.integers(0, 5_000_000), st.integers(0, 500_000))
def test_between_gives_exactly_the_items_of_that_time(symbol: str, back: int, length: int) -> None:
    """Pages and refreshes cut the stream at arbitrary moments; nothing may fall into a gap or come twice."""
    stream = Stream(7, "stocktwits", symbol, 1400)
    start = START - back
    found = stream.between(start, start + length)
    assert all(start <= stream.at(k) < start + length for k in (*found[:1], *found[-1:]))
    assert stream.at(found.start - 1) < start
    assert stream.at(found.stop) >= start + length


@given(st.integers(0, 400), st.floats(0, 86_399))
def test_a_burst_keeps_the_order_and_the_day(day: int, second: float) -> None:
    """A search by time goes by the order; an item that left its day would be billed on another one."""
    stream = Stream(7, "stocktwits", "NVDA", 1400)
    moment = START // 86_400 * 86_400 + day * 86_400 + second
    first = stream.first_from(moment)
    assert stream.at(first - 1) < moment <= stream.at(first)


def test_items_are_seconds_apart_and_in_order() -> None:
    """Ids are made of whole seconds: two items in one second would share one."""
    stream = Stream(7, "stocktwits", "NVDA", 1400)
    times = [stream.at(k) for k in range(5_000_000, 5_020_000)]
    assert all(later > earlier for earlier, later in itertools.pairwise(times))


def test_symbols_differ_in_volume() -> None:
    """Paging is exercised only when some symbols fill pages, coverage only when some do not."""
    day = [
        len(Stream(7, "twitter", s, 600).between(START - 86_400, START)) for s in ("NVDA", "AAPL", "OBSCURE")
    ]
    assert day[0] > day[1] > day[2] > 0


def test_streams_merge_newest_first() -> None:
    """A search for two symbols is one timeline, not two lists."""
    streams = [Stream(7, "twitter", symbol, 600) for symbol in ("AAPL", "MSFT")]
    merged = [(stream.at(k), stream.symbol) for stream, k in newest_first(streams, START - 86_400, START)]
    assert {symbol for _, symbol in merged} == {"AAPL", "MSFT"}
    assert merged == sorted(merged, reverse=True)
    assert len(merged) == sum(len(stream.between(START - 86_400, START)) for stream in streams)


def test_moods_drift() -> None:
    """A sentiment that never moves would hide a refresh that never happens."""
    stream = Stream(7, "twitter", "AAPL", 600)
    moods = [stream.mood(START + hour * 3600) for hour in range(24 * 7)]
    assert max(moods) - min(moods) > 0.5
    assert all(-1 <= mood <= 1 for mood in moods)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("$AAPL", ("AAPL",)),
        ('"$AAPL" OR AAPL', ("AAPL",)),
        ("($AAPL OR $BRK.B) lang:en -is:retweet", ("AAPL", "BRK.B")),
        ("AAPL stock", ("AAPL",)),
        ("title:GME", ("GME",)),
        ("$AAPL -$TSLA", ("AAPL",)),
        ("gamestop", ("GAMESTOP",)),
        ("lang:en", ()),
        ("", ()),
    ],
)
def test_a_query_is_read_for_its_symbols(query: str, expected: tuple[str, ...]) -> None:
    """Every provider words its query in its own way and means a symbol."""
    assert symbols(query) == expected


def test_a_quoted_cashtag_is_no_operator() -> None:
    """That is what makes the fallback query work on plans without the operator."""
    assert has_cashtag_operator("$AAPL")
    assert not has_cashtag_operator('"$AAPL" OR AAPL')
