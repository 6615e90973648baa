"""The fleet: what it is doing, and what an operator can do about it."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Self

from tbcache.cache import CacheManager
from tbcache.cache.preview import Preview, preview
from tbcache.fleet.answer import Held, Kept, SymbolHeld, read_answers, read_queued, requests_of
from tbcache.fleet.ask import enqueue_all
from tbcache.fleet.audit import MOST_LINES, Audit, AuditLine
from tbcache.fleet.change import Change, new_errors, orders, processes, troubles
from tbcache.fleet.directory import Directory
from tbcache.fleet.doctor import checkup
from tbcache.fleet.finding import Finding, losses
from tbcache.fleet.history import Histories, HistorySpan, Trend, UsageHistory
from tbcache.fleet.incident import Incident, Incidents, Watcher
from tbcache.fleet.look import Look
from tbcache.fleet.machine import machine_findings
from tbcache.fleet.model import FleetStatus, difference
from tbcache.fleet.operator import Operator
from tbcache.fleet.report import By, UsageReport, read_report
from tbcache.fleet.usage import (
    FleetUsage,
    SymbolCost,
    read_asked,
    read_busiest,
    read_symbol_costs,
    read_usage,
    unknown_usage,
)
from tbcache.io import run, utc_now
from tbcache.models import FetchRequest, Lane, Limit
from tbcache.models.error import ConfigurationError, RedisUnreachable, UnknownJob, UnknownSource
from tbcache.models.request import ticker
from tbcache.models.shape import Shape
from tbcache.models.untrusted import quoted
from tbcache.monitoring import CallerMetrics, Counted, UsageMonitor
from tbcache.monitoring.departure import read_departures
from tbcache.queue import (
    DeadFilter,
    DeadLetter,
    DeathCount,
    Explanation,
    Handle,
    JobFilter,
    JobMark,
    LetterMark,
    ListedJob,
    Queue,
)
from tbcache.queue.weight import weights_of
from tbcache.settings import Settings, get_sources
from tbcache.store import Refused, Store, Unavailable, get_store
from tbcache.store.server import facts_of
from tbcache.store.start import await_server, require
from tbcache.store.state import read_states

DAY_HOURS = 24


@dataclass(frozen=True, slots=True)
class CacheUsage(Shape):
    """The cache that all workers share; what only Redis knows is null while it is away."""

    is_available: bool
    address: str
    """Where Redis is, without its password."""
    reason: str | None
    """Why it is not available."""
    namespace: str
    server_version: str | None
    ping_ms: float | None
    keys: int | None
    """Everything in the Redis database."""
    memory_bytes: int | None
    hits_today: int | None
    misses_today: int | None
    cache_hit_rate: float | None
    """0..1, of all asks today; stale answers count as hits."""


class Fleet:
    """All processes over one Redis. Opens no socket before it is first asked.

    ``started_at`` is when the process that looks began to start the fleet, if it does.

    What stands in Redis raises RedisUnreachable while that is away, but where a method says that it does
    not; a name that is no source's, nor a queue's where one is meant, raises UnknownSource. What can be no
    symbol, pattern, caller or operator raises InvalidRequest, a job that is not there UnknownJob.
    """

    def __init__(self, settings: Settings, store: Store, started_at: datetime | None = None) -> None:
        self._settings = settings
        self._store = store
        self._monitor = UsageMonitor(store, settings)
        self._queue = Queue(store, settings)
        self._directory = Directory(settings, store, self._monitor)
        self._look = Look(settings, store, self._monitor, self._queue, self._directory, started_at)
        self._histories = Histories(settings, store, self._monitor)

    @classmethod
    def on_its_own(cls, settings: Settings, started_at: datetime | None = None) -> Self:
        """Over a store of its own, which :meth:`close` closes."""
        return cls(settings, Store(settings), started_at)

    @classmethod
    def of_process(cls, settings: Settings) -> Self:
        """Over the store of this process, which others use as well."""
        return cls(settings, get_store())

    def share_as_command(self) -> None:
        """Have this process share the limits with the other commands of its user, where it has no Redis.

        To be called before it uses a source.
        """
        self._store.is_command = True

    @functools.cached_property
    def _cache(self) -> CacheManager:
        return CacheManager(self._store)

    def close(self) -> None:
        """Close the store as well."""
        if "_cache" in vars(self):
            self._cache.close()
        self._histories.close()
        self._store.close()

    # Is it there?

    def require(self) -> None:
        """See that Redis answers; where it refuses the user or the password that is a ConfigurationError."""
        require(self._store)

    def wait_for_server(
        self, say: Callable[[str], None], is_stopping: Callable[[], bool] = lambda: False
    ) -> bool:
        """Do what :meth:`require` does, but wait for a Redis that does not answer yet, and tell ``say`` so.

        False when ``is_stopping`` came first.
        """
        return await_server(self._store, say, is_stopping)

    def why_away(self) -> str | None:
        """Why Redis cannot be used, in one line; None when it can. One round trip."""
        try:
            self.require()
        except (RedisUnreachable, ConfigurationError) as error:
            return str(error)
        return None

    def losses(self) -> list[Finding]:
        """How the server may lose what it holds, as far as this user may know; none while it is away."""
        try:
            self.require()
            return list(losses(facts_of(*self._store.execute(("INFO",)))))
        except (RedisUnreachable, ConfigurationError):
            return []

    def checkup(self) -> list[Finding]:
        """Everything that is to be looked at where something goes wrong: this machine, its settings, the
        server, the fleet, each source. Does not raise when Redis is away. Nothing is asked upstream.
        """
        return [*machine_findings(self._settings), *checkup(self._settings, self._store, self.status())]

    # What it is doing

    def status(self) -> FleetStatus:
        """Everything, in a handful of small round trips. Does not raise when Redis is away."""
        return self._look.status()

    def outline(self) -> FleetStatus:
        """What tells of troubles, and no more: for who looks every few seconds. Of its sources there are no
        limits, no figures of the day, no load and nothing of what is kept warm. Does not raise when Redis is
        away.
        """
        return self._look.status(is_whole=False)

    def usage(self, days: int = 1) -> FleetUsage:
        """The usage of today and of so many days. Does not raise when Redis is away."""
        with contextlib.suppress(Unavailable):
            self._store.probe()
            found = read_usage(self._monitor, days)
            if self._store.is_available:
                return found
        return unknown_usage(self._monitor)

    def report(self, days: int = 1, by: By = "source", source: str | None = None) -> UsageReport:
        """What was asked for in the last days (UTC, today included) and what that cost, put together by
        source, worker, caller or day; of one source, or of all.
        """
        self.require()
        found = read_report(self._monitor, days, by, self._directory.names(source))
        self.require()
        return found

    def counted(self, sources: Iterable[str]) -> dict[str, Counted] | None:
        """What was counted of each source since its figures began; None while Redis is away."""
        with contextlib.suppress(Unavailable):
            return self._monitor.get_counted(sources)
        return None

    def history(self, source: str, span: HistorySpan) -> UsageHistory:
        """What a source was asked over 15 minutes, 24 hours or 30 days, step by step. Does not raise when
        Redis or the database is away.
        """
        known = self._monitor.get_source_names()
        if source not in known:
            raise UnknownSource(source, known)
        return self._histories.of(source, span)

    def trends(self, names: Iterable[str]) -> Mapping[str, Trend]:
        """The last 15 minutes and 24 hours of each source, as they were at most a minute ago. Does not raise
        when Redis is away.
        """
        return self._histories.trends(names)

    def busiest_callers(self, most: int) -> dict[str, dict[str, CallerMetrics]]:
        """What the ``most`` callers that have asked most today (UTC) asked for, the first of them first, by
        source; the rest is told as one caller's. Nothing while Redis is away.
        """
        return read_busiest(self._monitor, most)

    def asked(self, most: int = 50) -> dict[str, dict[str, int]]:
        """How often each symbol was asked for in this hour and the last one, the most first, by source; so
        many answers of a source are looked at.
        """
        return read_asked(self._monitor, get_sources(self._settings).values(), most)

    def symbol_costs(self, days: int = 1, source: str | None = None, most: int = 50) -> list[SymbolCost]:
        """The symbols that most was paid for in the last days (UTC, today included), of one source or of all,
        the dearest first; at most so many.
        """
        self.require()
        return read_symbol_costs(self._monitor, self._directory.names(source), days, most)

    def cache(self) -> CacheUsage:
        """Where the cache stands. Does not raise when Redis is away."""
        found, total = self._cache.status(), self.usage().total
        is_available = found.is_available and total is not None
        return CacheUsage(
            is_available=is_available,
            address=found.address,
            reason=None if is_available else self.why_away(),
            namespace=self._settings.namespace,
            server_version=found.server_version,
            ping_ms=found.ping_ms,
            keys=found.keys,
            memory_bytes=found.memory_bytes,
            hits_today=total.served if total else None,
            misses_today=total.misses if total else None,
            cache_hit_rate=total.cache_hit_rate if total else None,
        )

    def answers(self, symbol: str, hours: int) -> list[Kept]:
        """What each source's cache has of a symbol's hours; nothing is fetched."""
        return read_answers(self._store, requests_of(get_sources(self._settings), symbol, hours))

    def waiting(self, symbol: str, hours: int) -> list[Explanation]:
        """Where the queued fetches of a symbol's hours stand, of each source that has one."""
        jobs = read_queued(self._store, requests_of(get_sources(self._settings), symbol, hours))
        found = [self._queue.explain(source, job_id) for source, job_id in jobs.items()]
        return [one for one in found if one.is_there]

    def symbol(self, symbol: str, hours: int) -> SymbolHeld:
        """What each source's cache has of a symbol's hours, and what is queued for it; nothing is fetched."""
        jobs = {one.queue: one for one in self.waiting(symbol, hours)}
        found = [Held.of(one, jobs.get(one.request.source)) for one in self.answers(symbol, hours)]
        return SymbolHeld(ticker(symbol), tuple(found))

    def dead(
        self,
        most: int,
        name: str | None = None,
        where: DeadFilter = DeadFilter(),
        after: LetterMark | None = None,
    ) -> list[DeadLetter]:
        """The queued jobs that died, of one queue or of each, the last of each first; at most so many of
        each, and only those that come ``after`` a letter. A queue of all whose dead are damaged has none.
        """
        found: list[DeadLetter] = []
        for one in _from(self._directory.queue_names(name), after):
            mark = after if after is not None and one == after.queue else None
            # A damaged key of one hides nothing of the others.
            with contextlib.nullcontext() if name is not None else contextlib.suppress(Refused):
                found += self._queue.dead.search(one, where, most, mark)
        return found

    def dead_reasons(self, most: int = 10, name: str | None = None) -> list[DeathCount]:
        """Of what the dead jobs of one queue, or of each, died: at most so many reasons of each, the frequent
        ones first. :class:`DeadFilter` takes a reason as its ``error``. A queue of all whose dead are damaged
        has none.
        """
        found: list[DeathCount] = []
        for one in self._directory.queue_names(name):
            with contextlib.nullcontext() if name is not None else contextlib.suppress(Refused):
                found += self._queue.dead.reasons(one, most)
        return found

    def jobs(
        self, name: str | None = None, where: JobFilter = JobFilter(), most: int = 100
    ) -> list[ListedJob]:
        """The jobs that are neither over nor dead, of one queue or of each source, in the order in which they
        are to start; at most so many of each.
        """
        return [job for one in self._names(name) for job in self._queue.jobs(one, where, most)]

    def jobs_after(
        self, name: str | None, where: JobFilter, most: int, after: JobMark | None = None
    ) -> tuple[list[ListedJob], JobMark | None]:
        """A page of :meth:`jobs`, at most so many of all queues together, and where the next one begins; None
        where that was all.
        """
        found: list[ListedJob] = []
        for one in _from(self._names(name), after):
            skip = after.skip if after is not None and one == after.queue else 0
            jobs, rest = self._queue.page(one, where, most - len(found), skip)
            found += jobs
            if rest is not None:
                return found, JobMark(one, rest)
        return found, None

    def queue_name(self, name: str) -> str:
        """Check the name of a source, or of a queue that has been used of late."""
        return self._directory.queue_name(name)

    def source_name(self, name: str) -> str:
        """Check the name of a source: also one that only other processes have declared or used is known."""
        return self._directory.source_name(name)

    def difference(self, source: str, ours: Iterable[Limit], in_force: Iterable[Limit]) -> str:
        """That the fleet goes by other limits of a source than this process; and where an operator has set
        them, who. Does not raise when Redis is away.
        """
        bound = None
        with contextlib.suppress(Unavailable):
            bound = read_states(self._store, [source])[source].bound
        return difference(source, map(str, ours), map(str, in_force), bound)

    def _names(self, name: str | None) -> list[str]:
        return self._directory.names() if name is None else [self._directory.queue_name(name)]

    # What can be done about it

    def as_operator(self, who: str) -> Operator:
        """What can be done to the fleet; ``who`` does it, for the audit."""
        parts = (self._settings, self._store, self._directory, self._queue)
        return Operator(who, *parts, lambda: self._cache, self.status)

    def preview(self, pattern: str) -> Preview:
        """Which cached values a clear of ``pattern`` would remove: how many, and what they are."""
        return run(preview(self._store, pattern, get_sources(self._settings)))

    def weights(self) -> dict[str, float]:
        """The weights of callers that operators have set."""
        return run(weights_of(self._store).read())

    def audit(
        self, most: int = 100, before: datetime | None = None, after: str | None = None
    ) -> list[AuditLine]:
        """What operators have done, the last first; only what was done ``before`` a moment, and what stands
        ``after`` the line of that mark, where they are given.
        """
        return Audit(self._store).read(most, before, after)

    def watcher(self) -> Watcher:
        """Which process tells of troubles."""
        return Incidents(self._store).watcher()

    def incidents(self, most: int = 500) -> list[Incident]:
        """The troubles of the last days, those that have ended as well, the last that began first."""
        found = Incidents(self._store).read().values()
        return sorted(found, key=lambda one: one.began_at, reverse=True)[:most]

    def changes(self, hours: float = 1.0) -> list[Change]:
        """What has changed in the last hours (24 at most), the last first."""
        span = timedelta(hours=min(max(hours, 0.0), DAY_HOURS))
        names, since = self._directory.names(), utc_now() - span
        parts: list[Callable[[], Iterable[Change]]] = [
            lambda: orders(self.audit(MOST_LINES), names),
            lambda: troubles(self.incidents()),
            lambda: processes(self._monitor.get_workers(), read_departures(self._store)),
            *(partial(self._new_errors, name, span) for name in names),
        ]
        found: list[Change] = []
        for part in parts:
            # A key that is damaged tells nothing, and hides nothing else.
            with contextlib.suppress(Refused):
                found += part()
        return sorted((one for one in found if one.at >= since), key=lambda one: one.at, reverse=True)

    def _new_errors(self, name: str, span: timedelta) -> Iterable[Change]:
        return new_errors(name, self._monitor.get_marks(name), span)

    def enqueue_many(
        self, requests: Sequence[FetchRequest], lane: Lane, caller: str | None = None
    ) -> list[Handle]:
        """Queue fetches for the workers, each with when it will start."""
        return enqueue_all(self._store, self._queue, requests, lane, caller)

    def explain(self, job_id: str, queue: str | None = None) -> Explanation:
        """Where a job stands, which limit it waits for, and when it will start; ``queue`` is its queue, else
        it is looked for in those of all sources.
        """
        names = self._names(queue)
        found = next((one for name in names if (one := self._queue.explain(name, job_id)).is_there), None)
        if found is None:
            where = "the queue of any source" if queue is None else f"the queue {queue}"
            raise UnknownJob(f"job {quoted(job_id)} is not in {where}: it is over, or was never there")
        return found


def _from(names: list[str], after: JobMark | LetterMark | None) -> list[str]:
    """The queues from that of a place in a list on; none where that is gone."""
    if after is None:
        return names
    return names[names.index(after.queue) :] if after.queue in names else []
