"""The whole fleet at a glance: the server, every source with its limits, every worker."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from redis.exceptions import NoPermissionError

from tbcache.admission import PlanDelay
from tbcache.models import FetchRequest, utc_now
from tbcache.monitoring import SourceMetrics, UsageMonitor, WorkerStatus
from tbcache.queue import Queue, QueueDepth
from tbcache.rate_limiter import RateLimiter
from tbcache.settings import Settings
from tbcache.sources import Source, get_sources
from tbcache.store import Store, Unavailable
from tbcache.store.clear import read_logs
from tbcache.store.codec import HEAD_BYTES
from tbcache.store.layout import LAYOUT
from tbcache.store.server import ServerFacts, facts_of
from tbcache.store.state import FIELDS, SourceState, state_of
from tbcache.store.wire import MICROS, to_time

#: ok: may fetch now. limited: its own limit is used up. closed: the upstream said stop, or the
#: budget is spent. off: credentials are missing. unknown: Redis is away.
State = Literal["ok", "limited", "closed", "off", "unknown"]


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """Redis or Valkey; what only it knows is None while it is away."""

    address: str
    is_available: bool
    reason: str | None = None
    version: str | None = None
    uptime_seconds: int | None = None
    memory_bytes: int | None = None
    clients: int | None = None


@dataclass(frozen=True, slots=True)
class LimitStatus:
    """One limit of a source. ``resets_at`` is when the next used slot comes free; None when none is used."""

    limit: str
    count: int
    window_seconds: float
    used: int
    remaining: int
    resets_at: datetime | None


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """One source now, with today's figures (UTC).

    ``missing`` are the variables that would turn it on. ``limits`` are those in force, the strictest of
    all processes; ``configured`` are those that this process was started with. ``warm`` counts the ``common``
    symbols whose answer is fresh. ``delay_hours`` is how late the plan's items come, where that is too late
    for anything to be kept warm; 0 elsewhere.
    """

    name: str
    state: State
    missing: tuple[str, ...]
    base_url: str
    limits: tuple[LimitStatus, ...]
    configured: tuple[str, ...]
    closed_until: datetime | None
    closed_reason: str | None
    warm: int
    common: int
    usage: SourceMetrics
    queue: QueueDepth
    delay_hours: float = 0.0

    @property
    def difference(self) -> str | None:
        """That the fleet goes by other limits than this process was started with, in one line."""
        in_force = [limit.limit for limit in self.limits]
        return difference(self.name, self.configured, in_force) if in_force else None


def difference(source: str, configured: Iterable[str], in_force: Iterable[str]) -> str | None:
    """That the fleet goes by other limits than this process was started with; None where it does not."""
    ours, theirs = tuple(configured), tuple(in_force)
    if set(ours) == set(theirs):
        return None
    return f"{source}: this shell says {','.join(ours)}, the fleet goes by {','.join(theirs)}"


@dataclass(frozen=True, slots=True)
class FleetStatus:
    """Everything at the moment ``at``. ``denied`` says, a line each, what this user of Redis may not do."""

    at: datetime
    server: ServerStatus
    sources: tuple[SourceStatus, ...]
    workers: tuple[WorkerStatus, ...]
    denied: tuple[str, ...] = ()

    @property
    def first_trouble(self) -> str | None:
        """The first thing an operator should know, in one line; None when all is well."""
        if not self.server.is_available:
            return f"Redis is away ({self.server.reason}): every process goes on with its share of the limits"
        if not any(worker.role == "worker" and worker.is_alive for worker in self.workers):
            return "no worker is running: queued fetches wait. Start one with `tbcache worker`"
        for worker in self.workers:
            if worker.is_alive and worker.layout != LAYOUT:
                return (
                    f"{worker.name} is of tbcache {worker.version}, which reads and writes Redis otherwise "
                    f"(layout {worker.layout}, not {LAYOUT}): stop it"
                )
        for source in self.sources:
            if source.state == "closed" and source.closed_until is not None:
                until = when(source.closed_until, self.at)
                return f"{source.name} is closed until {until} UTC ({source.closed_reason})"
            if source.common and not source.warm and source.usage.errors_today:
                kinds = ", ".join(sorted(source.usage.errors_by_kind))
                return f"{source.name} has no warm answer, and errors ({kinds}): the workers' logs say which"
        return None


@dataclass(frozen=True, slots=True)
class _Seen:
    """What one look shows: the server, and of each source its warm count and its state."""

    at: datetime
    facts: ServerFacts
    denied: tuple[str, ...]
    warm: dict[str, int]
    states: dict[str, SourceState]


class Fleet:
    """Looks at everything over one store."""

    def __init__(self, settings: Settings, store: Store, monitor: UsageMonitor, queue: Queue) -> None:
        self._settings = settings
        self._store = store
        self._monitor = monitor
        self._queue = queue
        self._delay = PlanDelay(store)
        self._sources = list(get_sources(settings).values())
        self._limiters = {source.name: RateLimiter(source, store) for source in self._sources}

    def status(self) -> FleetStatus:
        """Everything, in a handful of small round trips. Does not raise when Redis is away."""
        try:
            # Everything can still be read of a server that is full, and nobody can write.
            self._store.probe()
            seen = self._look()
            return FleetStatus(
                at=seen.at,
                server=ServerStatus(self._store.address, is_available=True, **asdict(seen.facts)),
                sources=tuple(self._source(source, seen) for source in self._sources),
                workers=tuple(self._monitor.get_workers()),
                denied=seen.denied,
            )
        except Unavailable as error:
            return FleetStatus(
                at=utc_now(),
                server=ServerStatus(error.address, is_available=False, reason=error.reason),
                sources=tuple(self._unknown(source) for source in self._sources),
                workers=(),
            )

    def _look(self) -> _Seen:
        keys = self._store.keys
        asked = [(source, self._common(source)) for source in self._sources]
        with self._store.guard():
            pipe: Any = self._store.client.pipeline(transaction=False)
            pipe.time()
            pipe.info()
            # Nobody listens there: it shows whether we might speak, and hear, where all do.
            pipe.publish(keys.rights, "")
            for source, requests in asked:
                pipe.hmget(keys.state(source.name), *FIELDS)
                for request in requests:
                    pipe.getrange(keys.entry(request.key), 0, HEAD_BYTES - 1)
            (seconds, micros), info, told, *found = self._store.execute(pipe)
        # After the entries: what was cleared in between is seen.
        logs = read_logs(self._store, [keys.clears(source.name) for source, _ in asked])
        now_us = seconds * MICROS + micros
        denied = tuple(_denied(info, told, keys.notices))
        seen = _Seen(to_time(now_us), facts_of(info), denied, {}, {})
        answers = iter(found)
        for source, requests in asked:
            seen.states[source.name] = state_of(next(answers), seen.at)
            cleared = logs[keys.clears(source.name)]
            fresh = (cleared.fresh_until(request.key, next(answers)) for request in requests)
            seen.warm[source.name] = sum(until > now_us for until in fresh)
        return seen

    def _common(self, source: Source) -> list[FetchRequest]:
        hours = min(self._settings.common_hours, source.max_hours)
        return [FetchRequest(source.name, symbol, hours) for symbol in self._settings.common_symbols]

    def _source(self, source: Source, seen: _Seen) -> SourceStatus:
        state = seen.states[source.name]
        limits, closure = self._limits(source, state), state.closure
        is_shut = self._is_shut(source)
        return SourceStatus(
            name=source.name,
            state=_state(source, limits, is_closed=closure is not None),
            missing=source.missing,
            base_url=source.base_url,
            limits=limits,
            configured=tuple(map(str, source.limits)),
            closed_until=closure.until if closure else None,
            closed_reason=closure.reason if closure else None,
            warm=0 if is_shut else seen.warm[source.name],
            common=0 if is_shut else len(self._settings.common_symbols),
            delay_hours=source.delay_hours if is_shut else 0.0,
            usage=self._monitor.get_source_metrics(source.name),
            queue=self._queue.depth(source.name),
        )

    def _is_shut(self, source: Source) -> bool:
        """True when the hours that are kept warm lie in the plan's delay: there is nothing to keep."""
        return any(self._delay.is_shut(source, request) for request in self._common(source)[:1])

    def _limits(self, source: Source, state: SourceState) -> tuple[LimitStatus, ...]:
        limiter, found = self._limiters[source.name], []
        for limit in state.limits or source.limits:
            status = limiter.get_status(limit.count, limit.window_seconds)
            resets_at = status.reset_at if status.used else None
            found.append(
                LimitStatus(
                    str(limit), limit.count, limit.window_seconds, status.used, status.remaining, resets_at
                )
            )
        return tuple(found)

    def _unknown(self, source: Source) -> SourceStatus:
        return SourceStatus(
            name=source.name,
            state="unknown" if source.is_enabled else "off",
            missing=source.missing,
            base_url=source.base_url,
            limits=(),
            configured=tuple(map(str, source.limits)),
            closed_until=None,
            closed_reason=None,
            warm=0,
            common=len(self._settings.common_symbols),
            usage=SourceMetrics(source.name),
            queue=QueueDepth(source.name, 0, 0, 0, 0, 0),
        )


def when(moment: datetime, now: datetime) -> str:
    """The time of ``moment``, with the day where that is not today's (UTC)."""
    return f"{moment:%H:%M:%S}" if moment.date() == now.date() else f"{moment:%Y-%m-%d %H:%M:%S}"


def build_fleet(settings: Settings, store: Store) -> Fleet:
    """A view of the fleet that ``settings`` describe, over ``store``."""
    return Fleet(settings, store, UsageMonitor(store, settings), Queue(store, settings))


def _state(source: Source, limits: Sequence[LimitStatus], *, is_closed: bool) -> State:
    if not source.is_enabled:
        return "off"
    if is_closed:
        return "closed"
    return "limited" if any(limit.remaining == 0 for limit in limits) else "ok"


def _denied(info: Any, told: Any, channel: str) -> Iterator[str]:
    if isinstance(info, NoPermissionError):
        yield "this user may not ask INFO: the server's version, memory and clients are not known"
    if isinstance(told, NoPermissionError):
        yield (
            f"this user may not use the channel {channel}: other processes learn with their next beat "
            "what they would hear at once"
        )
