"""When what is kept warm is fetched anew."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tbcache.fleet.cadence import Due, Freshness, due_of, latest_starts
from tbcache.models import FetchRequest
from tbcache.settings import BUILT_IN, Source

NOW = 1_000_000_000
SINGLE = replace(BUILT_IN["stocktwits"], cache_ttl=300.0)
PACKED = replace(BUILT_IN["twitter"], cache_ttl=300.0, pack=3)


def look(symbol: str, left: float | None, rest: float = 0.0, retry_at: int = 0) -> Freshness:
    """An answer that is fresh for ``left`` seconds more; None: there is none."""
    until = 0 if left is None else NOW + round(left * 1e6)
    return Freshness(FetchRequest("stocktwits", symbol), until, retry_at, rest)


def due(source: Source, *looks: Freshness, horizon: float = 25.0, pace: float = 0.0) -> list[Due]:
    return list(due_of(source, looks, NOW, horizon, pace))


def test_a_refresh_begins_five_seconds_before_its_answer_expires() -> None:
    """Earlier costs calls, later lets somebody wait."""
    (one,) = due(SINGLE, look("AAPL", 20.0), look("MSFT", 31.0))
    assert (one.request.symbol, one.delay, one.needed) == ("AAPL", 15.0, 6.0)


def test_what_is_over_or_was_never_there_is_due_now() -> None:
    """What somebody misses already comes after what nobody has missed so far."""
    found = due(SINGLE, look("NEW", None), look("OLD", -4.0), look("SOON", 9.0))
    assert [(one.request.symbol, one.delay, one.needed) for one in found] == [
        ("OLD", 0.0, 1.0),
        ("SOON", 4.0, 6.0),
        ("NEW", 0.0, 0.0),
    ]


def test_what_failed_lately_waits() -> None:
    """Its back-off holds for the scheduler too."""
    assert due(SINGLE, look("AAPL", None, retry_at=NOW + 1)) == []


def test_nobody_needs_a_new_one_while_the_market_rests() -> None:
    """It is wanted so long after it has expired."""
    assert due(SINGLE, look("AAPL", -100.0, rest=3600.0)) == []
    (one,) = due(SINGLE, look("AAPL", -100.0, rest=110.0))
    assert (one.delay, one.needed) == (5.0, 1.0)


def test_refreshes_of_answers_that_came_together_do_not_come_together() -> None:
    """A burst of fills must not become a burst of refreshes for ever."""
    looks = [look(f"S{number}", 100.0) for number in range(10)]
    delays = [one.delay for one in due(SINGLE, *looks, horizon=300.0, pace=2.0)]
    assert delays == pytest.approx([77.0 + 2.0 * number for number in range(10)])


def test_answers_that_came_one_by_one_are_not_refreshed_earlier_for_it() -> None:
    """Each of these begins at its own latest moment."""
    looks = [look(f"S{number}", 10.0 + 2.0 * number) for number in range(5)]
    assert [one.delay for one in due(SINGLE, *looks, pace=2.0)] == [5.0, 7.0, 9.0, 11.0, 13.0]


@given(st.lists(st.floats(0, 1000), max_size=50).map(sorted), st.floats(0.01, 30))
def test_each_begins_in_time_and_no_two_at_once(ends: list[float], gap: float) -> None:
    """Both hold for whatever stands in the cache."""
    starts = latest_starts(ends, gap)
    assert all(start <= end for start, end in zip(starts, ends, strict=True))
    assert all(later - sooner >= gap * 0.999 for sooner, later in itertools.pairwise(starts))


@given(st.lists(st.floats(-50, 300), max_size=40), st.floats(0, 60))
def test_whoever_looks_each_few_seconds_misses_none(lefts: list[float], pace: float) -> None:
    """What one look leaves is begun within no horizon of it, so the next look has it before."""
    looks = [look(f"S{number}", left) for number, left in enumerate(lefts)]
    now = {one.request.symbol for one in due(SINGLE, *looks, horizon=25.0, pace=pace)}
    for one in due(SINGLE, *looks, horizon=300.0, pace=pace):
        assert one.request.symbol in now or one.delay > 25.0


def planned(*looks: Freshness, horizon: float = 25.0) -> list[tuple[tuple[str, ...], float, float]]:
    return [(one.request.symbols, one.delay, one.needed) for one in due(PACKED, *looks, horizon=horizon)]


def test_what_one_request_can_ask_for_goes_together() -> None:
    """Ten symbols in ten requests cost ten times the limit; nothing that is needed is still a hit."""
    mixed = look("AAPL", 10), look("TSLA", 100), look("NVDA", 16), look("GME", 149)
    assert planned(*mixed) == [(("AAPL", "NVDA", "TSLA"), 5.0, 96.0), (("GME",), 5.0, 145.0)]
    assert planned(look("AAPL", 10), look("TSLA", 160)) == [(("AAPL",), 5.0, 6.0)]
    assert planned(look("AAPL", 31), look("TSLA", 100)) == []


def test_what_was_never_fetched_goes_by_itself() -> None:
    """It needs all its hours, which would be read of all others as well."""
    assert planned(look("AAPL", None), look("TSLA", None), look("NVDA", -1)) == [
        (("NVDA",), 0.0, 1.0),
        (("AAPL",), 0.0, 0.0),
        (("TSLA",), 0.0, 0.0),
    ]
