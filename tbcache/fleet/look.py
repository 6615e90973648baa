"""Looks at what the fleet is doing now, and puts it together."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from redis.exceptions import NoPermissionError

from tbcache.admission import PlanDelay
from tbcache.admission.rate_limiter import RateLimiter
from tbcache.fleet.agreed import Agreed, agreed
from tbcache.fleet.answer import Kept, covering, kept
from tbcache.fleet.expense import busiest, day_cost
from tbcache.fleet.model import (
    FleetStatus,
    LimitStatus,
    Lost,
    QueueStatus,
    ServerStatus,
    SourceStatus,
    State,
)
from tbcache.fleet.refusal import refusals_of
from tbcache.fleet.rest import read_resting
from tbcache.fleet.scale import HORIZON_SECONDS, JOB_SECONDS, QueueLoad, Scale, scale_of
from tbcache.fleet.shortage import shortages_of
from tbcache.fleet.trouble import LONG_SECONDS, server_troubles, troubles
from tbcache.fleet.warm_sets import WarmSets, listed_of
from tbcache.io import now, run, utc_now
from tbcache.models import FetchRequest, Limit
from tbcache.models.error import UnknownSource
from tbcache.models.untrusted import moment, printable, whole_number
from tbcache.monitoring import RecentMetrics, UsageMonitor, WorkerStatus
from tbcache.monitoring.departure import PASSING, Departure, read_departures
from tbcache.queue import Deaths, Queue
from tbcache.settings import Settings, Source, get_sources, is_name, unconfigured
from tbcache.store import Refused, Store, Unavailable
from tbcache.store.clear import read_logs
from tbcache.store.name import Names
from tbcache.store.refusal import Refusal
from tbcache.store.rights import missing_rights
from tbcache.store.server import ServerFacts, facts_of
from tbcache.store.state import FIELDS, SourceState, read_states, state_of
from tbcache.store.wire import MICROS, to_micros, to_time

T = TypeVar("T")

#: For how long after its first process, or its server, was started a fleet without a worker is starting.
STARTING_SECONDS = 30.0
#: For how long a dead job is a trouble: what somebody waited for is old by then.
DEAD_SECONDS = 86_400.0
RIGHTS_SECONDS = 60.0
#: So many slots of a source are shown, at most: the last ones.
MOST_SLOTS = 600
#: Of the last processes that have left so many are looked at for those that were lost within the hour.
MOST_DEPARTURES = 100
LOST_SHOWN = timedelta(hours=1)
ALONE_REASON = "Redis is away: each process goes on with its share"


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """What one look shows: the server, and of each source its warm count, its state, today's bill and what
    Redis refuses of its keys.

    Money in millionths of a dollar. ``spent_at`` is when the budget was found to be spent.
    """

    at: datetime
    facts: ServerFacts
    denied: tuple[str, ...]
    warm: dict[str, int]
    states: dict[str, SourceState]
    bills: dict[str, int]
    spent_at: dict[str, datetime | None]
    refused: dict[str, Refusal]
    #: What is kept of each common symbol, and the stamps of the slots (us).
    kept: dict[str, tuple[Kept, ...]]
    stamps: dict[str, tuple[int, ...]]
    resting: dict[str, int]


class Look:
    """Looks at everything over one store.

    ``started_at`` is when the process that looks began to start the fleet, if it does.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        monitor: UsageMonitor,
        queue: Queue,
        started_at: datetime | None = None,
    ) -> None:
        self._settings = settings
        self._store = store
        self._monitor = monitor
        self._queue = queue
        self._delay = PlanDelay(store)
        self._warm = WarmSets(store, settings, monitor)
        self._sources = get_sources(settings)
        self._queues = Names(store, store.keys.queues)
        self._started_at = started_at
        self._away_since: datetime | None = None
        self._has_been_there = False
        self._has_rights_until = 0.0

    def status(self, *, is_whole: bool = True) -> FleetStatus:
        """Everything, in a handful of small round trips. Does not raise when Redis is away.

        Else what tells of troubles, for who looks every few seconds: without limits, figures of the day,
        loads and what is kept warm.
        """
        try:
            # Everything can still be read of a server that is full, and nobody can write.
            self._store.probe()
            status = self._look(is_whole=is_whole)
        except Unavailable as error:
            return self._away(error)
        self._has_been_there, self._away_since = True, None
        return status

    def names(self) -> list[str]:
        """The sources that the fleet knows, and those that somebody has used by name.

        Raises:
          Unavailable: Redis is away.
        """
        return list(self._agreed(self._sure(self._monitor.get_workers())).sources)

    def source_name(self, name: str) -> str:
        """Check the name of a source; one that only other processes have declared or used is known as well.

        Raises:
          UnknownSource: it is none. Unavailable: Redis is away.
        """
        known = self.names()
        if name not in known:
            raise UnknownSource(name, known)
        return name

    def queue_names(self) -> list[str]:
        """The sources, as :meth:`names` has them, and after them the queues of users' own actors.

        Raises:
          Unavailable: Redis is away.
        """
        goes_by = self._agreed(self._sure(self._monitor.get_workers()))
        return [*goes_by.sources, *self._plain_names(goes_by)]

    def queue_name(self, name: str) -> str:
        """Check the name of a source, or of a queue that has been used of late.

        Raises:
          UnknownSource: it is neither. Unavailable: Redis is away.
        """
        workers, keys = self._sure(self._monitor.get_workers()), self._store.keys
        goes_by = self._agreed(workers)
        known = list(goes_by.sources)
        if name in known or name in self._plain_names(goes_by):
            return name
        parts = [keys.queue(name, part) for part in ("asked", "jobs", "dead")] if is_name(name) else []
        if not parts or not self._store.call("EXISTS", *parts):
            raise UnknownSource(name, known)
        return name

    def queued(self, symbol: str, hours: int) -> dict[str, str]:
        """The job of each source that fetches a symbol's hours, if one is queued or runs.

        Raises:
          InvalidRequest: it cannot be a symbol. Unavailable: Redis is away.
        """
        requests = self._requests(symbol, hours)
        with self._store.guard():
            pipe: Any = self._store.client.pipeline(transaction=False)
            for request in requests:
                pipe.hget(self._store.keys.queue(request.source, "pending"), request.key)
            found = self._store.execute(pipe)
        pairs = zip(requests, found, strict=True)
        return {one.source: job.decode(errors="replace") for one, job in pairs if isinstance(job, bytes)}

    def _requests(self, symbol: str, hours: int) -> list[FetchRequest]:
        sources = self._sources.items()
        return [FetchRequest(name, symbol, min(hours, source.max_hours)) for name, source in sources]

    def answers(self, symbol: str, hours: int) -> list[Kept]:
        """What each source's cache has of a symbol's hours.

        Raises:
          InvalidRequest: it cannot be a symbol. Unavailable: Redis is away.
        """
        keys, requests = self._store.keys, self._requests(symbol, hours)
        with self._store.guard():
            pipe: Any = self._store.client.pipeline(transaction=False)
            for request in requests:
                pipe.get(keys.entry(request.key))
            entries = self._store.execute(pipe)
        logs = run(read_logs(self._store, [keys.clears(request.source) for request in requests]))
        return [
            kept(request, entry, logs[keys.clears(request.source)].fresh_until(request.key, entry))
            for request, entry in zip(requests, entries, strict=True)
        ]

    def _look(self, *, is_whole: bool) -> FleetStatus:
        """
        Raises:
          Unavailable: Redis is away.
        """
        workers = self._sure(self._monitor.get_workers())
        goes_by = self._agreed(workers)
        snapshot = self._read(goes_by, refusals_of(workers), is_whole=is_whole)
        show = self._source if is_whole else self._outline
        status = FleetStatus(
            at=snapshot.at,
            server=ServerStatus(self._store.address, is_available=True, **asdict(snapshot.facts)),
            sources=tuple(show(source, snapshot, goes_by) for source in goes_by.sources.values()),
            workers=tuple(workers),
            denied=snapshot.denied,
            missing_rights=self._missing_rights(),
            is_starting=self._is_starting(snapshot, workers),
            is_told=goes_by.is_told,
            common_symbols=goes_by.symbols,
            queues=tuple(self._plain_queues(goes_by, workers)),
            leader=self._leader(),
            lost=tuple(self._lost(workers, snapshot.at)),
        )
        status = replace(status, troubles=troubles(status, self._deaths(status)))
        return replace(status, scale=self._scale(status, goes_by)) if is_whole else status

    def _scale(self, status: FleetStatus, goes_by: Agreed) -> Scale:
        loads = [source.load for source in status.sources if source.load is not None]
        loads += [queue.load for queue in status.queues if queue.load is not None]
        return scale_of(loads, status.workers)

    def _missing_rights(self) -> tuple[str, ...]:
        """Where none is missing they are looked for once a minute: that is as much work as all the rest."""
        if now() < self._has_rights_until:
            return ()
        missing = missing_rights(self._store)
        self._has_rights_until = 0.0 if missing else now() + RIGHTS_SECONDS
        return missing

    def _agreed(self, workers: Sequence[WorkerStatus]) -> Agreed:
        return agreed(self._settings, self._sure(self._monitor.get_source_names()), workers)

    def _is_starting(self, snapshot: _Snapshot, workers: Sequence[WorkerStatus]) -> bool:
        if any(worker.is_alive and worker.role == "worker" for worker in workers):
            return False
        began = [worker.started_at for worker in workers if worker.is_alive and worker.role == "scheduler"]
        if snapshot.facts.uptime_seconds is not None:
            began.append(snapshot.at - timedelta(seconds=snapshot.facts.uptime_seconds))
        if self._started_at is not None:
            began.append(self._started_at)
        return any(abs((snapshot.at - moment).total_seconds()) < STARTING_SECONDS for moment in began)

    def _read(self, goes_by: Agreed, refused: dict[str, Refusal], *, is_whole: bool) -> _Snapshot:
        keys, today = self._store.keys, self._store.clock.today
        sources = goes_by.sources.values()
        asked = [(source, _common(source, goes_by) if is_whole else []) for source in sources]
        with self._store.guard():
            pipe: Any = self._store.client.pipeline(transaction=False)
            pipe.time()
            pipe.info()
            # Nobody listens to that channel. It shows whether we have the right to the one that all use.
            pipe.publish(keys.rights, "")
            pipe.get(keys.schedule("resting"))
            for source, requests in asked:
                pipe.hmget(keys.state(source.name), *FIELDS)
                pipe.hmget(keys.usage(source.name, today), "spent", f"spent_at.{_budget(source)}")
                if is_whole:
                    pipe.zrange(keys.slots(source.name), -MOST_SLOTS, -1, withscores=True)
                for request in requests:
                    pipe.get(keys.entry(request.key))
            (seconds, micros), info, subscribed, resting, *found = self._store.execute(pipe)
        # They are read after the entries, so that what was cleared in between is seen.
        cleared_of = [keys.clears(source.name) for source in sources] if is_whole else []
        logs = run(read_logs(self._store, cleared_of))
        now_us = seconds * MICROS + micros
        denied = tuple(_denied(info, subscribed, keys.notices))
        at, rest = to_time(now_us), read_resting(resting)
        snapshot = _Snapshot(at, facts_of(info), denied, {}, {}, {}, {}, refused, {}, {}, rest)
        answers = iter(found)
        for source, requests in asked:
            snapshot.states[source.name] = state_of(next(answers), snapshot.at)
            spent, spent_at = _bill(next(answers))
            snapshot.bills[source.name], snapshot.spent_at[source.name] = spent, spent_at
            if not is_whole:
                continue
            snapshot.stamps[source.name] = _stamps(next(answers))
            cleared = logs[keys.clears(source.name)]
            entries = [next(answers) for _ in requests]
            fresh = [
                cleared.fresh_until(request.key, entry)
                for request, entry in zip(requests, entries, strict=True)
            ]
            snapshot.warm[source.name] = sum(until > now_us for until in fresh)
            snapshot.kept[source.name] = tuple(map(kept, requests, entries, fresh))
        return snapshot

    def _outline(self, source: Source, snapshot: _Snapshot, goes_by: Agreed) -> SourceStatus:
        """What tells of its troubles."""
        recent = self._sure(self._monitor.get_recent_metrics(source.name))
        state = snapshot.states[source.name]
        closure, refused = state.closure, snapshot.refused.get(source.name)
        is_spent, depth = _is_spent(source, snapshot), self._queue.depth(source.name)
        return SourceStatus(
            name=source.name,
            state=_state(source, recent, state, refused, is_spent=is_spent),
            missing=source.missing,
            credentials=source.variables,
            base_url=source.address,
            # They are asked for where the queue may be long.
            limits=self._limits(source, snapshot) if _may_take_long(depth.waiting, source, state) else (),
            configured=self._configured(source.name),
            closed_since=closure.since if closure else None,
            closed_until=closure.until if closure else None,
            closed_reason=closure.reason if closure else None,
            failing_since=recent.since if recent.is_failing else None,
            refused_since=refused.since if refused else None,
            refused_reason=refused.reason if refused else None,
            warm=None,
            common=0,
            recent=recent,
            usage=None,
            queue=depth,
            is_served=source.name in goes_by.served,
            daily_budget=source.daily_budget,
            spent_since=snapshot.spent_at[source.name] if is_spent else None,
            spent_until=_midnight_after(snapshot.at) if is_spent else None,
            charge=source.charge,
            order=state.order,
            bound=state.bound,
        )

    def _source(self, source: Source, snapshot: _Snapshot, goes_by: Agreed) -> SourceStatus:
        outline, state = self._outline(source, snapshot, goes_by), snapshot.states[source.name]
        limits = outline.limits or self._limits(source, snapshot)
        is_limited = outline.state == "ok" and any(limit.remaining == 0 for limit in limits)
        common = _common(source, goes_by)
        # Where the hours that are kept warm lie in the plan's delay, there is nothing to keep.
        is_shut = any(run(self._delay.is_shut(source, request)) for request in common[:1])
        answers = covering(snapshot.kept[source.name])
        usage, recent = self._sure(self._monitor.get_source_metrics(source.name)), outline.recent
        mean = recent.latency_mean if recent else None
        seconds = goes_by.pace.get(source.name) or mean or usage.latency_mean or JOB_SECONDS
        running = outline.queue.running if outline.queue else 0
        may_run = source.is_enabled and not _is_spent(source, snapshot)
        return replace(
            outline,
            state="limited" if is_limited else outline.state,
            limits=limits,
            warm=0 if is_shut else snapshot.warm[source.name],
            common=0 if is_shut else len(common),
            resting=0 if is_shut else _resting(source, snapshot, len(common)),
            delay_hours=source.delay_hours if is_shut else 0.0,
            usage=usage,
            load=self._load(source, running, seconds, may_run=may_run),
            shortages=() if is_shut else self._shortages(source, state, common),
            day_cost=day_cost(source, answers) if source.is_enabled else None,
            busiest=busiest(answers),
            kept=snapshot.kept[source.name],
            slots=tuple(map(to_time, snapshot.stamps[source.name])),
        )

    def _shortages(
        self, source: Source, state: SourceState, common: Sequence[FetchRequest]
    ) -> tuple[str, ...]:
        """What the limits in force cannot keep warm; nothing of a source that nobody has configured."""
        if not (source.is_enabled and common):
            return ()
        bound = replace(source, limits=state.limits or source.limits)
        warm, share = self._warm.of(bound, common), self._settings.prewarm_share
        return tuple(shortages_of(bound, len(common), warm, share))

    def _leader(self) -> str | None:
        try:
            held = self._store.call("GET", self._store.keys.schedule("leader"))
        except Refused:
            # Who may not read that key, or finds it damaged, sees the rest.
            return None
        return printable(held).partition(" ")[2] or None if isinstance(held, bytes) else None

    def _lost(self, workers: Sequence[WorkerStatus], at: datetime) -> list[Lost]:
        followed: list[Departure] = []
        # As of the leader: the rest is seen all the same.
        with contextlib.suppress(Refused):
            followed = [one for one in read_departures(self._store, MOST_DEPARTURES) if one.is_lost]
        found = [Lost(one.at, one.name, one.role, is_followed=True) for one in followed]
        found += [
            Lost(one.beat_at, one.name, one.role, is_followed=False)
            for one in workers
            if not one.is_alive and one.role != PASSING
        ]
        return sorted((one for one in found if at - one.at < LOST_SHOWN), reverse=True)

    def _plain_queues(self, goes_by: Agreed, workers: Sequence[WorkerStatus]) -> Iterator[QueueStatus]:
        """The queues that are no source's: those that workers tell of, and those that somebody has used."""
        names = self._plain_names(goes_by)
        states = read_states(self._store, names) if names else {}
        served = {name for worker in workers if worker.is_alive for name in worker.pace}
        for name in names:
            depth, pace = self._queue.depth(name), goes_by.pace.get(name)
            load = None if pace is None else self._load(unconfigured(name), depth.running, pace, may_run=True)
            yield QueueStatus(name, depth, states[name].order, name in served, load)

    def _plain_names(self, goes_by: Agreed) -> list[str]:
        used = {*goes_by.pace}
        # As of the leader: the rest is seen all the same.
        with contextlib.suppress(Refused):
            used.update(self._queues.all())
        return sorted(name for name in used if name not in goes_by.sources and is_name(name))

    def _load(self, source: Source, running: int, seconds: float, *, may_run: bool) -> QueueLoad | None:
        try:
            found = self._queue.backlog(source, HORIZON_SECONDS)
        except Refused:
            # A damaged key tells nothing.
            return None
        most = found.admissible if may_run else 0
        age = found.now / MICROS - found.oldest_ms / 1000
        return QueueLoad(
            waiting=found.waiting,
            runnable=found.waiting if most < 0 else min(found.waiting, most),
            running=running,
            oldest_seconds=max(0.0, age) if found.oldest_ms else None,
            begun_per_second=found.begun / (found.begun_us / MICROS),
            admissible_per_second=None if most < 0 else most / HORIZON_SECONDS,
            job_seconds=seconds,
        )

    def _configured(self, name: str) -> tuple[str, ...]:
        return tuple(map(str, self._sources[name].limits)) if name in self._sources else ()

    def _limits(self, source: Source, snapshot: _Snapshot) -> tuple[LimitStatus, ...]:
        limiter, state = RateLimiter(source, self._store), snapshot.states[source.name]
        found = [self._limit(limiter, limit) for limit in state.limits or source.limits]
        if state.order is not None and state.order.what == "pause":
            return tuple(replace(one, reset_at=None) for one in found)
        if not _is_spent(source, snapshot):
            return tuple(found)
        until, reason = _midnight_after(snapshot.at), f"the day's budget (${source.daily_budget:g}) is spent"
        return tuple(replace(one, reset_at=until, is_limited=True, reason=reason) for one in found)

    def _limit(self, limiter: RateLimiter, limit: Limit) -> LimitStatus:
        found = self._sure(limiter.get_status(limit.count, limit.window_seconds))
        return LimitStatus(
            limit=str(limit),
            count=limit.count,
            window_seconds=limit.window_seconds,
            used=found.used,
            remaining=found.remaining,
            reset_at=found.reset_at if found.used else None,
            is_limited=found.is_limited,
            reason=found.reason,
        )

    def _sure(self, found: T) -> T:
        """``found``, unless Redis went away as it was read: then it is a stand-in.

        Raises:
          Unavailable: it did.
        """
        if not self._store.is_available:
            # Says why, unless it is time to ask again.
            with self._store.guard():
                raise Unavailable(self._store.address, "it went away")
        return found

    def _deaths(self, status: FleetStatus) -> Iterator[Deaths]:
        since = status.at - timedelta(seconds=DEAD_SECONDS)
        depths = [source.queue for source in status.sources if source.queue is not None]
        for depth in (*depths, *(queue.depth for queue in status.queues)):
            # A damaged value tells nothing.
            with contextlib.suppress(Refused):
                if depth.dead and (found := self._queue.deaths(depth.source, since)) is not None:
                    yield found

    def _away(self, error: Unavailable) -> FleetStatus:
        now = utc_now()
        if self._away_since is None and self._has_been_there:
            self._away_since = now
        status = FleetStatus(
            at=now,
            server=ServerStatus(
                error.address, is_available=False, reason=error.reason, is_refusing=error.is_refusal
            ),
            sources=tuple(map(self._unknown, self._sources.values())),
            workers=(),
            common_symbols=self._settings.common_symbols,
        )
        return replace(status, troubles=server_troubles(status, self._away_since))

    def _unknown(self, source: Source) -> SourceStatus:
        return SourceStatus(
            name=source.name,
            state="unknown" if source.is_enabled else "off",
            missing=source.missing,
            credentials=source.variables,
            base_url=source.address,
            limits=tuple(_unknown_limit(limit) for limit in source.limits),
            configured=tuple(map(str, source.limits)),
            closed_since=None,
            closed_until=None,
            closed_reason=None,
            failing_since=None,
            refused_since=None,
            refused_reason=None,
            warm=None,
            common=len(self._settings.common_symbols),
            recent=None,
            usage=None,
            queue=None,
            is_served=False,
            charge=source.charge,
        )


def _unknown_limit(limit: Limit) -> LimitStatus:
    """The limit, of which nobody knows how much the fleet has used."""
    return LimitStatus(str(limit), limit.count, limit.window_seconds, reason=ALONE_REASON)


def _common(source: Source, goes_by: Agreed) -> list[FetchRequest]:
    """The fetches that are kept warm; none of a source that nobody has configured."""
    if source.name not in goes_by.configured:
        return []
    return listed_of(source, goes_by.symbols, goes_by.hours)


def _resting(source: Source, snapshot: _Snapshot, common: int) -> int:
    """How many of the ``common`` symbols rest; what has become fresh since they were counted does not."""
    return max(0, min(snapshot.resting.get(source.name, 0), common - snapshot.warm[source.name]))


def _budget(source: Source) -> int:
    """The day's budget in millionths of a dollar; 0 for none."""
    return to_micros(source.daily_budget or 0)


def _bill(found: Any) -> tuple[int, datetime | None]:
    """The day's bill, and when its budget was spent; what is damaged tells nothing."""
    spent, at = found if isinstance(found, list) else (None, None)
    return whole_number(spent) or 0, moment(at)


def _is_spent(source: Source, snapshot: _Snapshot) -> bool:
    return source.is_enabled and 0 < _budget(source) <= snapshot.bills[source.name]


def _stamps(found: Any) -> tuple[int, ...]:
    """The stamps of slots (us); none of a key of another type."""
    return tuple(int(score) for _, score in found) if isinstance(found, list) else ()


def _may_take_long(waiting: int, source: Source, state: SourceState) -> bool:
    """Whether so many jobs take longer than anybody expects, were nothing left of any limit."""
    limits = state.limits or source.limits
    return any(waiting * one.window_seconds / one.count > LONG_SECONDS for one in limits)


def _midnight_after(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)


def _state(
    source: Source,
    recent: RecentMetrics,
    state: SourceState,
    refused: Refusal | None,
    *,
    is_spent: bool,
) -> State:
    if not source.is_enabled:
        return "off"
    if state.order is not None and state.order.what == "pause":
        return "paused"
    if state.closure is not None:
        return "closed"
    if refused is not None:
        return "refused"
    if recent.is_failing:
        return "failing"
    return "limited" if is_spent else "ok"


def _denied(info: Any, subscribed: Any, channel: str) -> Iterator[str]:
    if isinstance(info, NoPermissionError):
        yield "this user may not ask INFO: the server's version, memory and clients are not known"
    if isinstance(subscribed, NoPermissionError):
        yield (
            f"this user may not use the channel {channel}: other processes learn with their next beat "
            "what they would hear at once"
        )
