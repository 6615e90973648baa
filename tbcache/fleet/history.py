"""What each source was asked over time, and what that cost: minutes of Redis, hours of the database.

Redis keeps the minutes of 24 hours, and the database the hours of 30 days: they outlast a Redis that has
lost its data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal, NamedTuple

from tbcache.io import utc_now
from tbcache.models.error import ConfigurationError, RepositoryUnavailable
from tbcache.models.extra import need
from tbcache.models.shape import Shape
from tbcache.monitoring import UsageMonitor
from tbcache.monitoring.figure import day_metrics
from tbcache.monitoring.interval import Interval, interval_of, intervals_of
from tbcache.repository.hour import UsageHour
from tbcache.settings import Settings
from tbcache.settings.database import database_file, database_url
from tbcache.store import Store, Unavailable
from tbcache.store.mark import Marks
from tbcache.store.wire import MICROS, to_time

if TYPE_CHECKING:
    from tbcache.repository import SentimentRepository

HistorySpan = Literal["15m", "24h", "30d"]

HOUR = timedelta(hours=1)


class Steps(NamedTuple):
    """A span in so many steps of so many minutes."""

    minutes: int
    many: int


#: 15 minutes by the minute, 24 hours by the quarter of an hour, 30 days by the hour.
SPANS: Mapping[HistorySpan, Steps] = {"15m": Steps(1, 15), "24h": Steps(15, 96), "30d": Steps(60, 720)}
DAY_BY_HOUR = Steps(60, 24)


@dataclass(frozen=True, slots=True)
class UsageHistory(Shape):
    """The steps from `start` to `end`, the oldest first; none of a time of which nothing is known. The last
    goes on; what only the database has comes in hours."""

    source: str
    span: HistorySpan
    step_seconds: int
    start: datetime
    end: datetime
    intervals: tuple[Interval, ...]
    reason: str | None = None
    """Why something may be missing; null where nothing is."""

    @property
    def requests(self) -> int:
        return sum(one.requests for one in self.intervals)

    @property
    def errors(self) -> int:
        return sum(one.errors for one in self.intervals)

    @property
    def busiest(self) -> Interval | None:
        """The step in which it was asked most; None where it was not asked."""
        asked = (one for one in self.intervals if one.requests)
        return max(asked, key=lambda one: one.requests / one.seconds, default=None)

    @property
    def most_waiting(self) -> int | None:
        """The most jobs that its queue had as a minute began; None where nobody has looked."""
        return max((one.waiting for one in self.intervals if one.waiting is not None), default=None)

    @property
    def cost(self) -> float:
        """What it cost in all, in US dollars."""
        return sum(one.cost for one in self.intervals)

    def cost_by_hour(self, since: datetime) -> list[tuple[datetime, float]]:
        """What each hour from ``since`` on has cost (US dollars), the oldest first; 0 where none knows."""
        costs: dict[datetime, float] = {}
        # Two clocks may be years apart.
        hour = _hour_of(max(since, self.start))
        while hour <= self.end:
            costs[hour], hour = 0.0, hour + HOUR
        for one in self.intervals:
            if (begun := _hour_of(one.start)) in costs:
                costs[begun] += one.cost
        return list(costs.items())


@dataclass(frozen=True, slots=True)
class Trend:
    """How a source has come to where it is: the last 15 minutes by the minute, and the last 24 hours, by the
    quarter of an hour and by the hour. ``cost_today`` is what the day had cost by then (US dollars).
    """

    recent: UsageHistory
    day: UsageHistory
    hours: UsageHistory
    cost_today: float

    def unknown_cost(self, midnight: datetime) -> float:
        """How much of what the day since ``midnight`` has cost is of hours of which nothing is known."""
        if self.hours.end < midnight:
            # What was read is of the day before.
            return 0.0
        return max(0.0, self.cost_today - sum(cost for _, cost in self.hours.cost_by_hour(midnight)))


def cost_by_hour(histories: Iterable[UsageHistory], since: datetime) -> list[tuple[datetime, float]]:
    """What all of them have cost in each hour from ``since`` on (US dollars), the oldest first."""
    costs: dict[datetime, float] = {}
    for one in histories:
        for hour, cost in one.cost_by_hour(since):
            costs[hour] = costs.get(hour, 0.0) + cost
    return sorted(costs.items())


class Histories:
    """Reads the history of sources over one store and the database of these settings."""

    def __init__(self, settings: Settings, store: Store, monitor: UsageMonitor) -> None:
        self._settings = settings
        self._store = store
        self._monitor = monitor
        self._repository: SentimentRepository | None = None
        self._trends: dict[str, Trend] = {}
        self._read_at = -1

    def of(self, source: str, span: HistorySpan) -> UsageHistory:
        """The history of a source. Does not raise when Redis or the database is away."""
        marks, reason = self._marks(source)
        return self._history(source, span, SPANS[span], marks, reason)

    def trends(self, names: Iterable[str]) -> Mapping[str, Trend]:
        """The trend of each source, read once a minute. Does not raise when Redis is away."""
        minute = int(utc_now().timestamp()) // 60
        wanted = set(names)
        if minute != self._read_at or not wanted <= self._trends.keys():
            self._trends = {name: self._trend(name) for name in sorted(wanted)}
            self._read_at = minute
        return self._trends

    def close(self) -> None:
        if self._repository is not None:
            self._repository.close()

    def _trend(self, source: str) -> Trend:
        marks, reason = self._marks(source)
        return Trend(
            recent=self._history(source, "15m", SPANS["15m"], marks, reason),
            day=self._history(source, "24h", SPANS["24h"], marks, reason),
            hours=self._history(source, "24h", DAY_BY_HOUR, marks, reason),
            cost_today=day_metrics(source, marks.today).cost_today,
        )

    def _marks(self, source: str) -> tuple[Marks, str | None]:
        """What Redis keeps; nothing while it is away, and why."""
        try:
            return self._monitor.get_marks(source), None
        except Unavailable as error:
            return Marks(utc_now().timestamp() * MICROS, {}, {}), str(error)

    def _history(
        self, source: str, span: HistorySpan, steps: Steps, marks: Marks, reason: str | None
    ) -> UsageHistory:
        bounds = _bounds(steps, marks.now_us)
        found = intervals_of(marks.between([*bounds, bounds[-1] + steps.minutes]))
        start = to_time(bounds[0] * 60 * MICROS)
        known_from = to_time(marks.now_us if marks.first is None else marks.first * 60 * MICROS)
        if span != "15m" and known_from > start:
            try:
                hours = self._database().hours(self._settings.namespace, start, source)
                # An hour that has begun before is no part of the span.
                found = _merged(found, [one for one in hours if one.hour >= start], known_from)
            except RepositoryUnavailable as error:
                reason = reason or str(error)
            except ConfigurationError as error:
                # Redis has a day, unless it has begun anew.
                reason = reason or (str(error) if span == "30d" else None)
        end = to_time(marks.now_us)
        return UsageHistory(source, span, steps.minutes * 60, start, end, tuple(found), reason)

    def _database(self) -> SentimentRepository:
        settings = self._settings
        need("history of more than a day", "sqlalchemy")
        # Whoever only reads makes no database.
        if settings.database_url is None and not database_file(settings).exists():
            raise ConfigurationError(
                f"the hours of before are not here: there is no database in {settings.data_dir}; set "
                "TBCACHE_DATABASE_URL or TBCACHE_DATA_DIR as the workers have it"
            )
        if self._repository is None:
            # SQLAlchemy takes a quarter of a second to import: not before it is needed.
            from tbcache.repository import SentimentRepository

            self._repository = SentimentRepository(database_url(settings))
        return self._repository


def _bounds(steps: Steps, now_us: float) -> list[int]:
    """The minutes (since the Unix epoch) at which the steps begin; the last of them has begun."""
    last = int(now_us / MICROS) // 60 // steps.minutes * steps.minutes
    return list(range(last - (steps.many - 1) * steps.minutes, last + 1, steps.minutes))


def _merged(found: Sequence[Interval], hours: Iterable[UsageHour], known_from: datetime) -> list[Interval]:
    """The hours of the database that begin before ``known_from``, and then what Redis knows; of the hour in
    which it begins to know, what the database has, if that is more."""
    first = _hour_of(known_from)
    begun = sum(one.seconds for one in found if _hour_of(one.start) == first)
    kept = [one for one in hours if one.hour < known_from and (one.hour < first or one.seconds > begun)]
    if kept and kept[-1].hour == first:
        found = [one for one in found if _hour_of(one.start) != first]
    return [*(interval_of(one.hour, one.seconds, one.figures) for one in kept), *found]


def _hour_of(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)
