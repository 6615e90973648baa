"""The fleet at one moment, as data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from tbcache.fleet.answer import Kept
from tbcache.fleet.expense import Covered
from tbcache.fleet.scale import QueueLoad, Scale
from tbcache.models import Charge
from tbcache.models.shape import Shape
from tbcache.models.trouble import HELD_UP, TroubleKind
from tbcache.monitoring import RecentMetrics, SourceMetrics, Totals, WorkerStatus
from tbcache.queue import QueueDepth
from tbcache.settings import why_off
from tbcache.store.order import Bound, Order
from tbcache.store.server import ServerFacts

#: ok: may fetch now. limited: its own limit, or its money for the day, is used up. failing: what is
#: fetched fails. refused: Redis refuses its keys, or a script fails at them. closed: the upstream said
#: stop. paused: an operator said so. drained: what is queued may be fetched, and nothing new, as an operator
#: said. off: credentials are missing. unknown: Redis is away.
State = Literal["ok", "limited", "failing", "refused", "closed", "paused", "drained", "off", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStatus(ServerFacts):
    """Redis or Valkey; what only it knows is None while it is away.

    ``is_refusing``: it is there, and refuses what it is asked; ``is_passing``: it is there, and only does not
    answer yet.
    """

    address: str
    is_available: bool
    reason: str | None = None
    is_refusing: bool = False
    is_passing: bool = False


@dataclass(frozen=True, slots=True)
class LimitStatus:
    """One limit of a source, as it stands by itself. ``reset_at`` is when the next used slot comes free; None
    when none is used.

    ``is_limited``: it lets nothing through now, for ``reason``: then ``reset_at`` is when that is over, None
    where nobody knows, as of one that an operator has paused. ``left_to_others`` is the part of ``used`` that
    is left to others who use the same key, by the upstream's headers or after a refusal. What only Redis
    knows is None while it is away.
    """

    limit: str
    count: int
    window_seconds: float
    used: int | None = None
    remaining: int | None = None
    reset_at: datetime | None = None
    is_limited: bool | None = None
    reason: str | None = None
    left_to_others: int | None = None


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """One source now, with the figures of the last minutes, and of today (UTC).

    ``missing`` are the variables that would turn it on. ``limits`` are those in force, the strictest of all
    processes; ``configured`` are those that this process was started with. ``closed_since`` is None where it
    is not known. ``failing_since`` is the first failure after a fetch went well, or about the first one of
    the last minutes where most failed and the last did not. ``refused_reason`` is in Redis' words what it
    refuses some process of the source's keys, None where it refuses nothing. ``warm`` counts the ``common``
    symbols whose answer is fresh, ``resting`` those that nobody asks for, and whose answer is let grow old
    while the market is closed. ``delay_hours`` is how late the plan's items come, where that is too late for
    anything to be kept warm; 0 elsewhere. ``daily_budget`` is the smallest of all processes (US dollars);
    where it is spent, ``spent_since`` is when it was, if that is known, and ``spent_until`` when it begins
    anew; a bill that is not ``is_bill_readable`` counts as all of it. ``prewarm_budget`` is the part of it
    that keeping warm may cost, and ``prewarm_spent_until`` when it may cost more again, where that is spent
    and the rest is not. ``day_cost`` is what a day comes to at the present rate (US dollars) where no budget
    bounds it; None where it costs nothing, or nothing is known yet. ``busiest`` is the common symbol of which
    most items come, with how much of its hours is known. ``order`` is that an operator has paused or drained
    it, ``bound`` the limits that one has set. ``shortages`` say, a line each, what of it cannot be kept warm.
    ``load`` is what waits in its queue, and how fast it may go. ``held`` slots are held for requests that are
    under way, and for those that are ``promised`` one which begins later, as another leaves the window. While
    Redis is away, ``warm`` and the figures are None.
    """

    name: str
    state: State
    missing: tuple[str, ...]
    credentials: tuple[str, ...]
    base_url: str
    limits: tuple[LimitStatus, ...] = ()
    configured: tuple[str, ...] = ()
    closed_since: datetime | None = None
    closed_until: datetime | None = None
    closed_reason: str | None = None
    failing_since: datetime | None = None
    refused_since: datetime | None = None
    refused_reason: str | None = None
    warm: int | None = None
    common: int = 0
    recent: RecentMetrics | None = None
    usage: SourceMetrics | None = None
    queue: QueueDepth | None = None
    is_served: bool = False
    delay_hours: float = 0.0
    daily_budget: float | None = None
    spent_since: datetime | None = None
    spent_until: datetime | None = None
    is_bill_readable: bool = True
    prewarm_budget: float | None = None
    prewarm_spent_until: datetime | None = None
    charge: Charge = "fetch"
    day_cost: float | None = None
    busiest: Covered | None = None
    order: Order | None = None
    bound: Bound | None = None
    shortages: tuple[str, ...] = ()
    #: The answers that are kept warm, in the order of the common symbols.
    kept: tuple[Kept, ...] = ()
    #: The last slots of its window, the oldest first: each by its stamp, which lies ahead while it is held.
    slots: tuple[datetime, ...] = ()
    load: QueueLoad | None = None
    held: int | None = None
    promised: int | None = None
    resting: int = 0

    @property
    def is_enabled(self) -> bool:
        """True where the fleet has its credentials."""
        return not self.missing

    @property
    def is_limited(self) -> bool | None:
        """True where one of its limits, or its budget, lets nothing through; None while Redis is away."""
        if self.usage is None:
            return None
        return self.spent_until is not None or any(limit.is_limited for limit in self.limits)

    @property
    def shut_until(self) -> datetime | None:
        """Until when its upstream has closed it, or its money for the day is spent; None where neither is."""
        return max((one for one in (self.closed_until, self.spent_until) if one), default=None)

    @property
    def queued(self) -> int:
        """How many fetches wait in its queue, for a worker or for their time."""
        return self.queue.waiting + self.queue.delayed if self.queue else 0

    @property
    def backlog_seconds(self) -> float | None:
        """In how many seconds all that waits in its queue is done, at a slot for each; None where nothing
        waits, nothing of it goes on by itself, or it fails: what is sent then is sent again."""
        return None if self.state == "failing" else self.slots_seconds

    @property
    def slots_seconds(self) -> float | None:
        """In how many seconds its limits have let through all that waits in its queue, whatever comes of it;
        None where nothing waits, or nothing of it goes on by itself."""
        waiting = self.queue.waiting if self.queue else 0
        if not waiting or not self.is_served or self.spent_until is not None:
            return None
        return self.seconds_for(waiting)

    def seconds_for(self, jobs: int) -> float | None:
        """In how many seconds its limits let so many jobs through from now on, at a slot for each; None where
        nothing goes on by itself."""
        if self.state not in ("ok", "limited", "failing", "drained"):
            return None
        known = [one for one in self.limits if one.remaining is not None]
        return max(
            (max(0, jobs - (one.remaining or 0)) * one.window_seconds / one.count for one in known),
            default=0.0,
        )

    @property
    def why_off(self) -> str | None:
        """A line that says that it is off, and which variables turn it on; None where it is on."""
        return why_off(self.name, self.missing)

    @property
    def difference(self) -> str | None:
        """A line that says that the fleet goes by other limits than this process was started with."""
        in_force = [limit.limit for limit in self.limits]
        if not in_force or not self.configured or set(in_force) == set(self.configured):
            return None
        return difference(self.name, self.configured, in_force, self.bound)


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """A queue that is no source's, of actors of a user's own. ``is_served``: a living worker takes its jobs.
    ``order`` is that an operator has paused or drained it. ``load`` is what waits in it, and how fast it may
    go; None where workers live, and none has told of it.
    """

    name: str
    depth: QueueDepth
    order: Order | None
    is_served: bool
    load: QueueLoad | None = None

    @property
    def state(self) -> State:
        """As that of a source."""
        if self.order is None:
            return "ok"
        return "paused" if self.order.what == "pause" else "drained"

    @property
    def queue(self) -> QueueDepth:
        """Its depth, by the name that it has of a source."""
        return self.depth

    @property
    def queued(self) -> int:
        """How many jobs wait in it, for a worker or for their time."""
        return self.depth.waiting + self.depth.delayed


@dataclass(frozen=True, slots=True)
class Trouble(Shape):
    """One thing that somebody should know; moments that are not known are null."""

    kind: TroubleKind
    what: str
    todo: str
    source: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    queue: str | None = None
    """The queue that it is about, where that is no source's."""

    @property
    def name(self) -> str | None:
        """The source or the queue that it is about."""
        return self.source or self.queue

    @property
    def is_bad(self) -> bool:
        """Whether it gets worse while nobody does anything: else something is held up, or over."""
        return self.kind not in HELD_UP

    def line(self, now: datetime) -> str:
        """All of it in one line; a moment has its date where that is not the day of ``now`` (UTC)."""
        since = f" since {when(self.since, now)}" if self.since else ""
        until = f" until {when(self.until, now)}" if self.until else ""
        zone = " UTC" if since or until else ""
        return f"{self.what}{since}{until}{zone}: {self.todo}"


@dataclass(frozen=True, slots=True)
class Lost(Shape):
    """A process of the last hour that has not ended in order, and was last heard of at that moment."""

    at: datetime
    name: str
    role: str
    is_followed: bool
    """Another of its name is there since."""


@dataclass(frozen=True, slots=True)
class FleetStatus:
    """Everything at the moment ``at``.

    ``is_starting``: no worker has been heard of, but the fleet was started only just now. ``is_told``: its
    processes have said which sources are on, with which limits, and what is kept warm; else all of that
    is as the process was started that looks. ``denied`` says, a line each, what this user of Redis may
    not do and nothing needs; ``missing_rights`` are the commands that it may not run.
    """

    at: datetime
    server: ServerStatus
    sources: tuple[SourceStatus, ...]
    workers: tuple[WorkerStatus, ...]
    denied: tuple[str, ...] = ()
    missing_rights: tuple[str, ...] = ()
    #: Why no process can watch the fleet for alerts; "" where one can.
    unwatched: str = ""
    is_starting: bool = False
    is_told: bool = False
    common_symbols: tuple[str, ...] = ()
    troubles: tuple[Trouble, ...] = ()
    scale: Scale | None = None
    #: Those that are no source's.
    queues: tuple[QueueStatus, ...] = ()
    #: The scheduler that does the work, while one does.
    leader: str | None = None
    #: The processes of the last hour that have not ended in order, the last first: those that another of the
    #: same name has followed, and those of the list that are not alive.
    lost: tuple[Lost, ...] = ()

    @property
    def today(self) -> Totals:
        """The figures of today (UTC), of all sources together; those that are off have theirs as well."""
        return Totals.of(source.usage for source in self.sources if source.usage is not None)

    @property
    def daily_budget(self) -> float | None:
        """What the sources that are on may cost in a day (US dollars); None where none has a budget."""
        budgets = [
            one.daily_budget for one in self.sources if one.is_enabled and one.daily_budget is not None
        ]
        return sum(budgets) if budgets else None

    @property
    def threads(self) -> int:
        return sum(worker.threads for worker in self.living("worker"))

    @property
    def busy(self) -> int:
        """How many of those have a job."""
        return sum(worker.busy for worker in self.living("worker"))

    @property
    def all_queues(self) -> tuple[SourceStatus | QueueStatus, ...]:
        """Those of the sources, and those that are no source's."""
        return (*self.sources, *self.queues)

    @property
    def oldest_queue(self) -> str | None:
        """The queue in which the oldest of the jobs waits that are next; None where none waits."""
        loads = {one.name: one.load for one in self.all_queues if one.load is not None}
        ages = {name: one.oldest_seconds for name, one in loads.items() if one.oldest_seconds is not None}
        return max(ages, key=lambda name: ages[name], default=None)

    def living(self, role: str) -> list[WorkerStatus]:
        """The processes of that role that are alive."""
        return [worker for worker in self.workers if worker.is_alive and worker.role == role]

    def fetching(self, source: str) -> dict[str, list[str]]:
        """Which workers have fetches of the source in hand, and of which symbols."""
        doing = {
            worker.name: [
                symbol for name, _, symbol in (one.partition(" ") for one in worker.doing) if name == source
            ]
            for worker in self.living("worker")
        }
        return {name: symbols for name, symbols in doing.items() if symbols}

    def gone_since(self, role: str) -> datetime | None:
        """When the last of them was heard of that is alive no more; None where none is missed."""
        last_beats = (one.beat_at for one in self.workers if not one.is_alive and one.role == role)
        return max(last_beats, default=None)

    @property
    def shortages(self) -> list[str]:
        """What cannot be kept warm, with the arithmetic; a line each."""
        return [line for source in self.sources for line in source.shortages]

    @property
    def lines(self) -> list[str]:
        """The troubles in one line each, the worst first; none when all is well."""
        return [trouble.line(self.at) for trouble in self.troubles]


def difference(
    source: str, configured: Iterable[str], in_force: Iterable[str], bound: Bound | None = None
) -> str:
    """That the fleet goes by other limits than this process was started with.

    Where an operator has set some of them (``bound``), who, and how to take that back.
    """
    ours, theirs = tuple(configured), tuple(in_force)
    if bound is None or set(theirs).isdisjoint(bound.limits):
        return f"{source}: this shell says {','.join(ours)}, the fleet goes by {','.join(theirs)}"
    why = f" ({bound.why})" if bound.why else ""
    return (
        f"{source}: in force is {','.join(theirs)}, as {bound.who} has set{why}; the settings say "
        f"{','.join(ours)}, and `tbcache limits unset {source}` has them hold again"
    )


def when(moment: datetime, now: datetime) -> str:
    """The time of ``moment``, with the day where that is not today's (UTC)."""
    return f"{moment:%H:%M:%S}" if moment.date() == now.date() else f"{moment:%Y-%m-%d %H:%M:%S}"
