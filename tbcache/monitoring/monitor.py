"""The usage monitor: what every worker did today, what it cost, and who is alive."""

from __future__ import annotations

import atexit
import contextlib
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from numbers import Number
from typing import Any

from tbcache.io import utc_now
from tbcache.io.fork import renew_in_child
from tbcache.io.singleton import singleton
from tbcache.models.error import InvalidRequest
from tbcache.models.price import Bill
from tbcache.models.untrusted import printable, quoted, whole_number
from tbcache.monitoring.ask_count import AskCounts
from tbcache.monitoring.caller_usage import CallerMetrics, CallerUsage
from tbcache.monitoring.counted import Counted, counted
from tbcache.monitoring.figure import RecentMetrics, SourceMetrics, Totals, day_metrics, recent_metrics
from tbcache.monitoring.heartbeat import SHARING_ROLES, Workload
from tbcache.monitoring.popularity import Popularity
from tbcache.monitoring.presence import Presence, command_name, process_name
from tbcache.monitoring.process import WorkerStatus, read_workers
from tbcache.monitoring.recorder import Recorder
from tbcache.monitoring.symbol_cost import SymbolCosts
from tbcache.settings import Settings, check_name, warn_of_near_miss
from tbcache.store import Refused, Store, Unavailable, get_store
from tbcache.store.mark import Marks
from tbcache.store.minute import Minutes
from tbcache.store.name import OTHER
from tbcache.store.reply import pairs
from tbcache.store.state import Failing, read_failing
from tbcache.store.total import DayTotals
from tbcache.store.wire import MICROS, day_of

KEPT_DAYS = 30
#: At its end the process waits so long at most for a thread that is just joining.
MOST_SECONDS_TO_JOIN = 1.0
#: More US dollars than any request costs.
MOST_COST = 1e6


class UsageMonitor:
    """Counts what this process does, and reads what all have counted.

    What can be no source's name, and a cost that no request can have, raise InvalidRequest. Where Redis is
    away all figures are 0, but what is kept minute by minute, or since the figures began, raises Unavailable.
    """

    #: See those of :class:`Recorder`.
    count: Callable[[str, Mapping[str, int]], None]
    bill: Callable[[str, Bill], None]
    mark_minute: Callable[[str], None]

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self.renew()
        self._minutes = Minutes(store)
        self._totals = DayTotals(store)
        self._recorder = Recorder(
            store, settings, process_name(settings), self._send_hints, lambda: self.ask_counts.collect()
        )
        self._presence = Presence(store, settings, self._recorder.worker)
        #: When :meth:`leave` was last over (monotonic): whoever goes on has to join anew.
        self.left_at = -math.inf
        self._leaves_at_exit = False
        self.names = self._recorder.names
        #: How often which answer is asked for.
        self.popularity = Popularity(store, self._recorder.wake)
        #: What each caller asks for.
        self.callers = CallerUsage(store, settings, self._recorder.wake)
        #: What is paid for each symbol.
        self.symbol_costs = SymbolCosts(store, self._recorder.wake)
        # The recorder's own: a hit counts itself, and pays for each call between.
        self.count, self.bill = self._recorder.count, self._recorder.bill
        self.mark_minute = self._recorder.mark_minute
        #: What is asked of this process.
        self.ask_counts = AskCounts(
            self.popularity, self.callers, self.count, self._recorder.wake, lambda: store.clock.day
        )
        renew_in_child(self)

    def renew(self) -> None:
        """Make the lock: at the start, and in a forked child, where a thread of the parent may hold it, as it
        joins the fleet.
        """
        self._joining = threading.Lock()
        #: True once the interpreter ends: whoever joined then would not leave any more.
        self._is_over = False

    @property
    def worker(self) -> str:
        """How this process is named in figures and heartbeats."""
        return self._recorder.worker

    @worker.setter
    def worker(self, name: str) -> None:
        self._recorder.worker = self._presence.name = name

    # Counting

    def count_as_command(self) -> None:
        """Have the figures of this process stand together with those of all that live for one ask, on this
        machine: each would be a worker of one ask. Among the living it keeps a name of its own.
        """
        self._recorder.worker = command_name(self._settings)

    def record_request(
        self, source: str, success: bool = True, cached: bool = False, cost: float = 0.0
    ) -> None:
        """Count one request made outside the pipeline. ``cost`` is in US dollars.

        ``source`` may be any name. The figures of more than 100 names that are no configured sources
        are counted together, as those of ``other``.

        Raises:
          InvalidRequest: a cost that is no number from 0 to 1e6, or a source that is no name.
        """
        place = source if source in self._recorder.known or self.register(source, stacklevel=3) else OTHER
        micros = _micros_of(cost)
        figures = Counter({"hit": 1} if cached else {"go": 1, "ended": 1})
        if not success:
            figures["error.other"] += 1
        if micros:
            figures["cost"] += micros
        self.count(place, figures)

    def register(self, source: str, stacklevel: int = 2) -> bool:
        """Have a place for a name that is no configured source; False where 100 others have one.

        The first time it is compared with the names of the configured sources.
        """
        if not self.names.is_registered(check_name(source)):
            warn_of_near_miss(source, self._settings, stacklevel + 1)
        return self.names.register(source)

    def flush(self) -> bool:
        """Send what was counted; False when Redis is away and it waits for the next time."""
        return self._recorder.flush()

    def _send_hints(self) -> None:
        for hints in (self.popularity, self.callers, self.symbol_costs):
            # A key of one kind that may not be written must not hold up the others.
            with contextlib.suppress(Refused):
                hints.flush()

    # Reading

    def get_source_metrics(self, source: str, day: datetime | None = None) -> SourceMetrics:
        """The source's figures of ``day`` (default: today, UTC); zeros for a name that nobody has used.

        While Redis is away they are those of this process since then.
        """
        return day_metrics(source, _sum(self.read_figures(source, day)))

    def get_recent_metrics(self, source: str) -> RecentMetrics:
        """The source's figures of the last 5 minutes, or since the first beat of a younger fleet.

        Zeros while Redis is away.
        """
        try:
            found = self._minutes.recent(check_name(source))
        except Unavailable:
            return RecentMetrics(source)
        recent = recent_metrics(source, *found)
        return replace(recent, last=self._last(source)) if recent.failed else recent

    def get_marks(self, source: str) -> Marks:
        """What is kept of the source's last 24 hours, minute by minute."""
        return self._minutes.marks(check_name(source))

    def _last(self, source: str) -> Failing | None:
        with contextlib.suppress(Unavailable):
            return read_failing(self._store, source)
        return None

    def get_counted(self, sources: Iterable[str]) -> dict[str, Counted]:
        """What was counted of each source since its figures began; nothing of one whose keys are damaged."""
        return {source: counted(source, figures) for source, figures in self._totals.read(sources).items()}

    def get_source_names(self) -> list[str]:
        """The configured sources, and after them the other names that were used within 31 days."""
        return [
            *self._recorder.known,
            *(name for name in self.names.all() if name not in self._recorder.known),
        ]

    def get_worker_metrics(self, source: str, day: datetime | None = None) -> dict[str, SourceMetrics]:
        """The source's figures of ``day``, by worker."""
        by_worker: dict[str, Counter[str]] = {}
        for (worker, metric), value in self.read_figures(source, day).items():
            by_worker.setdefault(worker, Counter())[metric] += value
        return {worker: day_metrics(source, figures) for worker, figures in sorted(by_worker.items())}

    def get_caller_metrics(self, source: str, day: datetime | None = None) -> dict[str, CallerMetrics]:
        """What each caller has asked of ``source`` on ``day`` (default: today, UTC), by its name.

        These are hints: what a process answers from its own memory is not among them. Nothing while Redis is
        away.
        """
        try:
            found = self.callers.read(check_name(source), day or self._store.clock.today)
        except Unavailable:
            return {}
        return {name: CallerMetrics.of(counts) for name, counts in found.items()}

    def days_back(self, count: int) -> list[datetime]:
        """The last ``count`` UTC days, today first, as the server sees it; at most those that are kept."""
        today = self._store.clock.today
        return [today - timedelta(days=back) for back in range(min(count, KEPT_DAYS))]

    def get_usage_summary(self, day: datetime | None = None) -> dict[str, Any]:
        """All sources together: total_requests_today, average_cache_hit_rate, total_cost_today, sources."""
        sources = {name: self.get_source_metrics(name, day) for name in self.get_source_names()}
        total = Totals.of(sources.values())
        return {
            "total_requests_today": total.requests,
            "total_errors_today": total.errors,
            "total_cost_today": total.cost,
            "average_cache_hit_rate": total.cache_hit_rate,
            "sources": sources,
        }

    def read_figures(self, source: str, day: datetime | None = None) -> Counter[tuple[str, str]]:
        """What was counted of the source on ``day`` (default: today, UTC), by worker and figure.

        While Redis is away it is what this process has counted since then.
        """
        when = day or self._store.clock.today
        check_name(source)
        # Redis has the figures that are being sent already, or not yet: they must be read exactly once.
        with self._recorder.flushing:
            return self._stored(source, when) + self._recorder.unsent(source, day_of(when))

    def _stored(self, source: str, day: datetime) -> Counter[tuple[str, str]]:
        figures: Counter[tuple[str, str]] = Counter()
        stored = None
        with contextlib.suppress(Unavailable):
            stored = self._store.call("HGETALL", self._store.keys.usage(source, day))
        for name, value in pairs(stored):
            worker, _, metric = printable(name).partition(":")
            count = whole_number(value)
            if metric and count is not None:
                figures[worker, metric] += count
        return figures

    # Heartbeats

    def keep_beating(self, role: str, report: Callable[[], Workload] = lambda: Workload()) -> None:
        """Beat each second, in a thread, until :meth:`leave`; ``report`` says what is being done.

        A process that beats already goes on in its own role, and has a share of the limits from then on where
        ``role`` has one.
        """
        with self._joining:
            if self._is_over:
                return
            if not self._presence.is_kept:
                started_at = utc_now()
                share = self._presence.go_on_sharing
                self._presence.add(lambda: self._beat(role, started_at, report(), share))
            if not self._leaves_at_exit:
                self._leaves_at_exit = True
                atexit.register(self._end)
            if role in SHARING_ROLES:
                self._presence.share()

    def beat(self, role: str, *, started_at: datetime, workload: Workload | None = None) -> None:
        """Say that this process is alive, and shares its sources' limits where ``role`` does.

        Does nothing while Redis is away.
        """
        self._beat(role, started_at, workload or Workload(), self._presence.share_once)

    def _beat(self, role: str, started_at: datetime, workload: Workload, share: Callable[[], None]) -> None:
        with contextlib.suppress(Unavailable):
            self._presence.beat(role, started_at, workload)
            if role in SHARING_ROLES:
                share()
            self._recorder.mark_minutes()
            self._presence.look_for_others()

    def leave(self) -> None:
        """Take this process off the list, and beat no more, until it next asks for something."""
        try:
            with contextlib.suppress(Unavailable):
                self._presence.leave()
        finally:
            self.left_at = time.monotonic()

    def _end(self) -> None:
        self._is_over = True
        # Whoever joins just now has not seen that, and is to be there before all leave.
        if self._joining.acquire(timeout=MOST_SECONDS_TO_JOIN):
            self._joining.release()
        self.leave()

    def get_workers(self) -> list[WorkerStatus]:
        """Every process heard of within the hour, the living first."""
        try:
            return read_workers(self._store)
        except Unavailable:
            return []


def monitor_of(store: Store) -> UsageMonitor:
    """The usage monitor of ``store``, of which there is one."""
    return store.beside(_monitor)


@singleton
def get_usage_monitor() -> UsageMonitor:
    """The usage monitor of this process."""
    return monitor_of(get_store())


def _monitor(store: Store) -> UsageMonitor:
    return UsageMonitor(store, store.settings)


def _micros_of(cost: object) -> int:
    """``cost``, of US dollars, in millionths."""
    dollars = math.nan
    with contextlib.suppress(ArithmeticError, TypeError, ValueError):
        dollars = float(cost) if isinstance(cost, Number) else dollars  # type: ignore[arg-type]
    if not 0 <= dollars <= MOST_COST:
        raise InvalidRequest(
            f"cost must be a number of US dollars from 0 to {MOST_COST:.0f}, not {quoted(cost)}"
        )
    return round(dollars * MICROS)


def _sum(figures: Counter[tuple[str, str]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for (_, metric), value in figures.items():
        total[metric] += value
    return total
