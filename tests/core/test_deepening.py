"""Which answers are filled in the background, and when."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.deepening import Deepening
from scheduler.missing import PASSING, RETRY_SECONDS, Candidate, has_room, may_spend, next_of
from tbcache.admission import Go, Settlement
from tbcache.limiter import limiter_of
from tbcache.models import FetchRequest, Limit, RateLimitStatus, SymbolSentiment
from tbcache.monitoring import UsageMonitor
from tbcache.queue import Queue
from tbcache.rate_limiter import RateLimiter
from tbcache.settings import BUILT_IN, Settings, get_source
from tbcache.store import Store
from tbcache.store.codec import encode_sentiment
from tbcache.timeline import FINAL
from tests.blocking import Admission
from tests.core.conftest import ask
from tests.timeline.kit import examples

NOON = datetime(2026, 7, 28, 12, tzinfo=UTC)
STOCKTWITS, X = BUILT_IN["stocktwits"], BUILT_IN["twitter"]


def answer(
    symbol: str, covered: float, count: int = 60, reason: str | None = "page_budget"
) -> SymbolSentiment:
    since = datetime.fromtimestamp(NOON.timestamp() - covered * 3600, UTC)
    is_whole = covered >= 24
    return SymbolSentiment(
        "stocktwits",
        symbol,
        24,
        0.1,
        count,
        1,
        0,
        0,
        NOON,
        is_whole,
        since,
        "any/1",
        None if is_whole else reason,
    )


def candidate(symbol: str, covered: float, asks: int = 0, **more: object) -> Candidate:
    found = answer(symbol, covered, **more)  # type: ignore[arg-type]
    return Candidate(FetchRequest("stocktwits", symbol), found, asks)


def chosen(*candidates: Candidate) -> str | None:
    found = next_of(candidates, 24)
    return None if found is None else found.request.symbol


def test_what_is_asked_for_most_is_filled_first_and_of_these_the_busiest() -> None:
    """A limit has room for one at a time, and somebody trades on it."""
    busy, quiet = candidate("NVDA", 1.5), candidate("AAPL", 4)
    assert chosen(quiet, busy) == "NVDA"
    assert chosen(quiet._replace(asks=3), busy._replace(asks=2)) == "AAPL"
    # Until it is done: what is known of it grows meanwhile.
    assert chosen(quiet, candidate("NVDA", 20, count=800)) == "NVDA"
    assert chosen(quiet, candidate("NVDA", 24, asks=9)) == "AAPL"


def test_the_last_day_of_all_comes_before_anybodys_seventh() -> None:
    """One ask over a week of a busy symbol held up the first day of all others."""
    week = candidate("SPY", 4, asks=9, count=9000)
    week = week._replace(request=FetchRequest("stocktwits", "SPY", 168))
    others = candidate("AAPL", 20), candidate("NVDA", 24)
    assert chosen(week, *others) == "SPY"
    week = week._replace(answer=replace(week.answer, since=NOON - timedelta(hours=30), reason="page_budget"))
    assert chosen(week, *others) == "AAPL"
    assert chosen(week, others[1]) == "SPY"


def test_what_no_further_page_would_bring_is_left() -> None:
    """It would be asked for again every five seconds, for ever."""
    assert not any(chosen(candidate("NVDA", 1.5, reason=reason)) for reason in FINAL)
    for reason in (*PASSING, "payload", "repeated_page"):
        assert chosen(candidate("NVDA", 1.5, reason=reason)) == "NVDA"


def test_nobody_pays_for_what_nobody_asked_for_without_a_budget() -> None:
    """And with one, half of the day's is left for what is asked for."""
    assert may_spend(STOCKTWITS, 0.0)
    assert not may_spend(X, 0.0)
    budget = replace(X, daily_budget=2.0)
    assert [may_spend(budget, spent) for spent in (0.0, 0.99, 1.0)] == [True, True, False]


@given(st.integers(1, 300), st.integers(0, 300), st.sampled_from([0.1, 0.5, 0.7, 1.0]))
@examples
def test_a_load_begins_only_where_it_comes_further_than_its_news(
    allowed: int, used: int, fraction: float
) -> None:
    """With room for a single page it would read the news again and again, and no older hour."""
    used = min(used, allowed)
    status = RateLimitStatus("stocktwits", allowed, used, allowed - used, NOON, False)
    room = int(allowed * fraction) - used
    assert not has_room(status, fraction) or room >= 2
    assert has_room(status, fraction) or room < 6


# With Redis


@pytest.fixture
def deepening(
    settings_for: object, server: object, store: Store, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Deepening]:
    variables = {"TBCACHE_COMMON_SYMBOLS": "AAPL,NVDA", "TBCACHE_TWITTER__BEARER_TOKEN": "t"}
    settings: Settings = settings_for(server, **variables)  # type: ignore[operator]
    limiter = RateLimiter(get_source("stocktwits", settings), store)
    monkeypatch.setattr("scheduler.deepening.get_rate_limiter", lambda name: limiter)
    monitor = UsageMonitor(store, settings)
    yield Deepening(store, Queue(store, settings), settings, monitor)
    monitor.flush()


def keep(admission: Admission, kept: SymbolSentiment) -> None:
    source = replace(STOCKTWITS, limits=(Limit(1000, 60.0),))
    request = FetchRequest("stocktwits", kept.symbol, kept.hours)
    verdict = admission.admit(msgspec.structs.replace(ask(), source=source, request=request))
    assert isinstance(verdict, Go)
    admission.settle(verdict.grant, Settlement(payload=encode_sentiment(kept)))


def next_symbol(deepening: Deepening) -> str | None:
    found = deepening.next(STOCKTWITS)
    return None if found is None else found.request.symbol


def test_what_was_asked_for_of_late_goes_before_what_is_kept_warm(
    deepening: Deepening, admission: Admission, store: Store
) -> None:
    """Also what is no common symbol; and a key that is none is nobody's."""
    assert next_symbol(deepening) is None
    keep(admission, answer("NVDA", 1.5))
    keep(admission, answer("TSLA", 5))
    assert next_symbol(deepening) == "NVDA"
    for key in (
        "stocktwits:TSLA:24",
        "stocktwits:TSLA:24",
        "stocktwits:NVDA:24",
        "stocktwits:x:y",
        "stocktwits:!",
    ):
        deepening._monitor.popularity.record(key)
    deepening._monitor.popularity.flush()
    assert next_symbol(deepening) == "TSLA"


def test_what_became_of_items_is_asked_for_each_hour(
    deepening: Deepening, admission: Admission, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only where an upstream can be asked, and for the one that has waited longest."""
    clock = [0.0]
    monkeypatch.setattr("scheduler.deepening.now", lambda: clock[0])
    source = replace(STOCKTWITS, recheck_seconds=3600.0)
    for symbol in ("AAPL", "NVDA"):
        keep(admission, answer(symbol, 24))
    assert deepening.next(source) is None
    clock[0] = 3600.0
    assert deepening.next(STOCKTWITS) is None
    first = deepening._fill(source, 0)
    found = deepening.next(source)
    assert (first, found) == (1, None)
    assert deepening._checked["stocktwits"]["stocktwits:AAPL:24"] == 3600.0
    assert deepening._checked["stocktwits"]["stocktwits:NVDA:24"] == 0.0


def test_what_stopped_a_load_and_may_stop_the_next_one_is_met_once_an_hour(
    deepening: Deepening, admission: Admission, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One page that was cut off left a symbol with its last hour alone for a day."""
    clock = [0.0]
    monkeypatch.setattr("scheduler.deepening.now", lambda: clock[0])
    keep(admission, answer("NVDA", 1.5, reason="payload"))
    assert next_symbol(deepening) == "NVDA"
    deepening._checked = {"stocktwits": {"stocktwits:NVDA:24": 0.0}}
    clock[0] = RETRY_SECONDS - 1
    assert next_symbol(deepening) is None
    clock[0] = RETRY_SECONDS
    assert next_symbol(deepening) == "NVDA"


def test_a_plan_whose_items_come_late_is_not_filled(deepening: Deepening, admission: Admission) -> None:
    """What is missing there are the last hours, and no page has them."""
    keep(admission, answer("NVDA", 1.5))
    assert deepening.next(replace(STOCKTWITS, delay_hours=24.0)) is None
    assert deepening.next(STOCKTWITS) is not None


def test_one_load_is_queued_while_nothing_else_waits(deepening: Deepening, admission: Admission) -> None:
    """It has the lease of its symbol, and older hours are what can wait longest."""
    keep(admission, answer("NVDA", 1.5))
    assert deepening.run(0) == 1
    assert deepening.run(0) == 0


def test_a_window_that_is_nearly_full_is_left_to_others(
    deepening: Deepening, admission: Admission, store: Store
) -> None:
    """The background may fill a part of each limit."""
    keep(admission, answer("NVDA", 1.5))
    slots = {f"s{n}": (store.clock.time_us() or 0) + 60e6 for n in range(37)}
    store.client.zadd(limiter_of(store).window_keys("stocktwits").slots, slots)
    assert next_symbol(deepening) is None
