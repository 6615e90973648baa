"""The figures of a source since they began: counters for whoever compares two moments."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from tbcache.store import Store
from tbcache.store.total import DayTotals
from tests.server import Server
from tests.today import set_today

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def store(server: Server, store_for: Callable[..., Store]) -> Store:
    """A store that a busy server may keep waiting."""
    return store_for(server, TBCACHE_REDIS_TIMEOUT="10")


def count(store: Store, day: datetime, by: int = 1, metric: str = "w:go") -> None:
    """Count on a day, as a worker does whose clock is at it."""
    usage = store.keys.usage("news", day)
    store.client.hincrby(usage, metric, by)
    store.client.expire(usage, 60)


def go(totals: DayTotals) -> int:
    return totals.read(["news"])["news"]["go"]


def test_midnight_and_the_end_of_a_month_take_nothing_back(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A counter that falls counts everything once more in each rate() over that moment."""
    readers = DayTotals(store), DayTotals(store)
    for number in range(40):
        today = NOON + number * DAY
        set_today(monkeypatch, today)
        count(store, today, metric=f"w{number % 3}:go")
        store.client.delete(store.keys.usage("news", today - 31 * DAY))
        # One that was there the day before, one that has just begun.
        assert [go(reader) for reader in (*readers, readers[0], DayTotals(store))] == [number + 1] * 4


def test_days_on_which_nobody_looked_are_counted_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is away over a holiday finds all of it."""
    totals = DayTotals(store)
    for number in range(25):
        set_today(monkeypatch, today := NOON + number * DAY)
        count(store, today)
        assert number not in (0, 24) or go(totals) == number + 1


def test_what_arrives_on_the_day_after_is_counted(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process counts what it did before midnight when Redis is back, hours later."""
    totals = DayTotals(store)
    set_today(monkeypatch, NOON)
    count(store, NOON)
    assert go(totals) == 1
    set_today(monkeypatch, NOON + DAY)
    count(store, NOON, by=10)
    assert go(totals) == 11
    store.client.expire(store.keys.totals("news"), 60)
    set_today(monkeypatch, NOON + 2 * DAY)
    assert go(totals) == 11
    # They stay for as long as somebody looks.
    assert store.client.ttl(store.keys.totals("news")) > 28 * 86_400


def test_they_begin_with_this_day(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A month that is there at once would be an increase of a month."""
    for back in range(5):
        count(store, NOON - back * DAY)
    set_today(monkeypatch, NOON)
    assert go(DayTotals(store)) == 1
    set_today(monkeypatch, NOON + DAY)
    assert go(DayTotals(store)) == 1


def test_totals_that_redis_has_lost_begin_anew(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is a reset, as of a program that was started again: the next look must not count days twice."""
    totals = DayTotals(store)
    for number in range(4):
        set_today(monkeypatch, today := NOON + number * DAY)
        count(store, today)
        assert go(totals) == number + 1
    store.client.delete(store.keys.totals("news"))
    assert (go(totals), go(totals)) == (1, 1)
    set_today(monkeypatch, NOON + 4 * DAY)
    assert go(totals) == 1


def test_a_clock_that_was_years_ahead_does_not_stop_them(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each day until then would count as carried already."""
    totals = DayTotals(store)
    seen = ((0, 1), (2, 2), (1000, 1), (3, 1), (4, 2), (5, 2))
    for number, expected in seen:
        set_today(monkeypatch, today := NOON + number * DAY)
        if number < 5:
            count(store, today)
        assert go(totals) == expected
    # Over midnight and back is no reason to begin anew.
    for number in (4, 5):
        set_today(monkeypatch, NOON + number * DAY)
        assert go(DayTotals(store)) == 2


def test_what_is_damaged_is_left_out_and_the_rest_is_told(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others write to Redis too. What is half known of a source would look like a reset."""
    totals = DayTotals(store)
    set_today(monkeypatch, NOON)
    assert go(totals) == 0
    for metric, by in (("w:go", 3), ("w:hit", 1), ("w:cost", 10**16), ("bare", 7)):
        count(store, NOON, by, metric)
    store.client.hset(store.keys.usage("news", NOON), "w:stale", "banana")
    store.client.hset(store.keys.totals("news"), "hit", "banana")
    set_today(monkeypatch, NOON + DAY)
    store.client.set(store.keys.usage("news", NOON + DAY), "no hash", ex=60)
    assert totals.read(["news"]) == {}
    store.client.delete(store.keys.usage("news", NOON + DAY))
    set_today(monkeypatch, NOON + 2 * DAY)
    assert totals.read(["news"])["news"] == {"go": 3, "hit": 1}
    store.client.set(store.keys.totals("reddit"), "no hash", ex=60)
    assert set(totals.read(["reddit", "news"])) == {"news"}


def test_a_look_reads_three_keys_and_carries_once_a_day(
    private_server: Server, store_for: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scrape comes every few seconds."""
    store = store_for(private_server, TBCACHE_REDIS_TIMEOUT="10")
    totals = DayTotals(store)
    set_today(monkeypatch, NOON)
    go(totals)
    before = private_server.calls("hgetall"), private_server.calls("evalsha")
    set_today(monkeypatch, NOON + DAY)
    assert (go(totals), go(totals)) == (0, 0)
    after = private_server.calls("hgetall"), private_server.calls("evalsha")
    assert after == (before[0] + 6, before[1] + 1)
