"""What sources were asked over time: minutes of Redis, hours of the database, and both in one line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from tbcache.fetch.hour import HourWriter
from tbcache.fleet import Fleet
from tbcache.monitoring import UsageMonitor
from tbcache.repository import SentimentRepository
from tbcache.repository.hour import UsageHour
from tbcache.settings import Settings
from tbcache.store import Refused, Store
from tbcache.store.clock import ServerClock
from tbcache.store.mark import Marks
from tests.server import Server
from tests.today import set_today

#: It is half past noon and twenty seconds, some day.
NOON = datetime(2030, 5, 6, 12, tzinfo=UTC)
NOW = NOON + timedelta(minutes=30, seconds=20)
SOURCE = "news"
FLEET = "trading_bot"
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    async def now_us(self: ServerClock, source: str) -> float:
        return NOW.timestamp() * 1e6

    monkeypatch.setattr(ServerClock, "now_us", now_us)
    set_today(monkeypatch, NOW)
    for module in ("tbcache.fetch.hour", "tbcache.fleet.history"):
        monkeypatch.setattr(f"{module}.utc_now", lambda: NOW)


@pytest.fixture
def settings(server: Server, settings_for: Callable[..., Settings], database_url: str) -> Settings:
    return settings_for(server, TBCACHE_DATABASE_URL=database_url)


@pytest.fixture
def repository(database_url: str) -> Iterator[SentimentRepository]:
    made = SentimentRepository(database_url)
    yield made
    made.close()


@pytest.fixture
def writer(store: Store, settings: Settings, repository: SentimentRepository) -> HourWriter:
    return HourWriter(UsageMonitor(store, settings), repository, settings.namespace)


@pytest.fixture
def fleet(store: Store, settings: Settings) -> Iterator[Fleet]:
    made = Fleet(settings, store)
    yield made
    made._histories.close()


def count(store: Store, first: datetime) -> None:
    """Have one ask, of a thousandth of a dollar, be counted in each minute from ``first`` until now."""
    sums: dict[datetime, int] = {}
    minute = first
    while minute <= NOW:
        midnight = minute.replace(hour=0, minute=0)
        done, day = sums.setdefault(midnight, 0), int(midnight.timestamp()) // 86_400
        text = f"{day} queue.waiting={minute.minute},go={done},cost={done * 1000}"
        store.client.hset(store.keys.minutes(SOURCE), str(int(minute.timestamp()) // 60), text)
        sums[midnight], minute = done + 1, minute + timedelta(minutes=1)
    for midnight, done in sums.items():
        store.client.hset(store.keys.usage(SOURCE, midnight), mapping={"w:go": done, "w:cost": done * 1000})
        store.client.expire(store.keys.usage(SOURCE, midnight), 60)
    store.client.expire(store.keys.minutes(SOURCE), 60)


def hours_of(repository: SentimentRepository) -> dict[datetime, tuple[float, int]]:
    found = repository.hours(FLEET, NOON - timedelta(days=60), SOURCE)
    return {one.hour: (one.seconds, one.figures["go"]) for one in found}


def test_the_hours_that_are_over_are_written_once(
    store: Store, writer: HourWriter, repository: SentimentRepository
) -> None:
    """The one that goes on is not; each worker of a fleet does this, and again each hour."""
    count(store, NOON - 3 * HOUR + timedelta(minutes=40))
    assert writer.write() == 3
    expected = {
        NOON - 3 * HOUR: (1200, 20),
        NOON - 2 * HOUR: (3600, 60),
        NOON - HOUR: (3600, 60),
    }
    assert hours_of(repository) == expected
    assert (writer.write(), hours_of(repository)) == (0, expected)
    (last,) = repository.hours(FLEET, NOON - HOUR, SOURCE)
    assert (last.figures["cost"], last.figures["queue.waiting"]) == (60_000, 59)


def test_an_hour_is_written_when_all_have_told_what_they_counted_in_it(
    store: Store, writer: HourWriter, repository: SentimentRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker tells Redis its figures seconds later: what is written stays as it is."""
    count(store, NOON - HOUR)
    moment = NOON

    async def now_us(self: ServerClock, source: str) -> float:
        return moment.timestamp() * 1e6

    monkeypatch.setattr(ServerClock, "now_us", now_us)
    found = []
    for minutes in (1, 2):
        moment = NOON + timedelta(minutes=minutes)
        writer.write()
        found.append(set(hours_of(repository)))
    assert found == [set(), {NOON - HOUR}]


def test_a_source_that_is_refused_or_damaged_costs_no_other_its_hours(
    store: Store, writer: HourWriter, repository: SentimentRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    count(store, NOON - HOUR)
    store.client.set(store.keys.minutes("twitter"), "banana", ex=60)
    marks = UsageMonitor.get_marks

    def get_marks(self: UsageMonitor, source: str) -> Marks:
        if source == "reddit":
            raise Refused(store.address, "no right to its keys")
        return marks(self, source)

    monkeypatch.setattr(UsageMonitor, "get_marks", get_marks)
    assert writer.write() == 1
    assert set(hours_of(repository)) == {NOON - HOUR}


def test_an_outage_of_hours_leaves_no_gap(
    store: Store, writer: HourWriter, repository: SentimentRepository
) -> None:
    """Redis has the minutes of a day; and what is there already is not written over."""
    repository.save_hours(FLEET, [UsageHour(SOURCE, NOON - 2 * HOUR, 3600, Counter(go=7))], NOON - 30 * HOUR)
    count(store, NOON - 24 * HOUR)
    repository.save_hours("another", [UsageHour(SOURCE, NOON - HOUR, 3600, Counter(go=8))], NOON - 30 * HOUR)
    writer._round()
    found = hours_of(repository)
    assert (len(found), found[NOON - 2 * HOUR], found[NOON - HOUR]) == (24, (3600, 7), (3600, 60))


def test_hours_of_more_than_thirty_days_ago_are_forgotten(
    writer: HourWriter, repository: SentimentRepository
) -> None:
    """A fleet that runs for years keeps no more of it than one of a month."""
    old = [UsageHour(SOURCE, NOON - timedelta(days=days), 3600, Counter(go=days)) for days in (29, 31)]
    repository.save_hours(FLEET, old, NOON - timedelta(days=99))
    writer.write()
    assert set(hours_of(repository)) == {NOON - timedelta(days=29)}


def test_the_minutes_and_the_quarters_of_a_day_are_told(store: Store, fleet: Fleet) -> None:
    """The last step goes on; all the steps come to what was counted."""
    count(store, NOON - 24 * HOUR)
    recent, day = fleet.history(SOURCE, "15m"), fleet.history(SOURCE, "24h")
    assert [one.requests for one in recent.intervals] == [1] * 15
    assert (recent.start, recent.end, recent.step_seconds) == (NOON + timedelta(minutes=16), NOW, 60)
    assert (recent.intervals[-1].seconds, recent.intervals[-1].waiting) == (20, 30)
    assert [one.requests for one in day.intervals] == [*[15] * 95, 1]
    assert (day.intervals[0].start, day.reason) == (NOON - 23 * HOUR - timedelta(minutes=15), None)
    today = day.cost_by_hour(NOON.replace(hour=0))
    assert [round(cost, 6) for _, cost in today] == [*[0.06] * 12, 0.031]
    counted = fleet.usage().sources[SOURCE]
    assert counted is not None
    assert sum(cost for _, cost in today) == pytest.approx(counted.cost_today)


def test_the_database_has_what_redis_has_lost(
    store: Store, fleet: Fleet, repository: SentimentRepository
) -> None:
    """A Redis that begins anew at 11:40 has nothing of the night. An hour is told by whoever knows more."""
    hours = [UsageHour(SOURCE, NOON - back * HOUR, 3600, Counter(go=back)) for back in (1, 2, 9, 500)]
    repository.save_hours(FLEET, hours, NOON - timedelta(days=99))
    count(store, NOON - timedelta(minutes=20))
    day = fleet.history(SOURCE, "24h")
    assert [(one.start, one.seconds, one.requests) for one in day.intervals] == [
        (NOON - 9 * HOUR, 3600, 9),
        (NOON - 2 * HOUR, 3600, 2),
        (NOON - HOUR, 3600, 1),
        (NOON, 900, 15),
        (NOON + timedelta(minutes=15), 900, 15),
        (NOON + timedelta(minutes=30), 20, 1),
    ]
    month = fleet.history(SOURCE, "30d")
    assert [one.requests for one in month.intervals] == [500, 9, 2, 1, 31]
    store.client.delete(store.keys.minutes(SOURCE))
    assert [one.requests for one in fleet.history(SOURCE, "24h").intervals] == [9, 2, 1]


def test_the_trends_are_read_once_a_minute(
    store: Store, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that is drawn each second must not read half a megabyte of each source each time."""
    count(store, NOON)
    first = fleet.trends([SOURCE])
    assert first[SOURCE].recent == fleet.history(SOURCE, "15m")
    store.client.delete(store.keys.minutes(SOURCE))
    assert fleet.trends([SOURCE]) is first
    monkeypatch.setattr("tbcache.fleet.history.utc_now", lambda: NOW + timedelta(minutes=1))
    assert fleet.trends([SOURCE])[SOURCE].recent.intervals == ()


def test_history_degrades_without_redis_and_without_a_database(
    server: Server, settings_for: Callable[..., Settings], store: Store, fleet: Fleet
) -> None:
    """It says what is missing, and makes no database where there is none."""
    settings = settings_for(server)
    alone = Fleet(settings, store)
    month = alone.history(SOURCE, "30d")
    assert month.reason is not None
    assert "set TBCACHE_DATABASE_URL or TBCACHE_DATA_DIR" in month.reason
    assert alone.history(SOURCE, "24h").reason is None
    assert not (settings.data_dir / "tbcache.sqlite3").exists()
    store.close()
    away = fleet.history(SOURCE, "24h")
    assert away.intervals == ()
    assert away.reason is not None
    assert fleet.trends([SOURCE])[SOURCE].day.reason == away.reason
