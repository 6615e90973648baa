"""The fleet, by the word of its own processes."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from tbcache.api.model.schema import Schema
from tbcache.api.model.usage import RecentUsage
from tbcache.fleet import Covered, Lost, Order, QueueLoad, Scale, Trouble, WorkerStatus
from tbcache.models import Charge


class Server(Schema):
    address: str
    is_available: bool
    is_refusing: bool = Field(description="It is there, and refuses what it is asked.")
    is_passing: bool = Field(description="It is there, and only does not answer yet.")
    reason: str | None
    version: str | None
    uptime_seconds: int | None
    memory_bytes: int | None
    most_memory_bytes: int | None = Field(description="What it may use; 0 for no bound.")
    eviction_policy: str | None
    append_only: bool | None = Field(description="Whether it writes down all that it is told.")
    clients: int | None


class QueueDepth(Schema):
    """How many jobs of a queue wait, run and died."""

    interactive: int
    prewarm: int
    suspects: int = Field(description="Their workers died twice: each waits for a worker without other jobs.")
    delayed: int
    running: int
    dead: int


class LimitStatus(Schema):
    """One limit, as it stands by itself: at most ``count`` requests in any window of ``window_seconds``."""

    limit: str = Field(examples=["300/15m"])
    count: int = Field(description="How many requests any window may have.")
    allowed: int = Field(validation_alias="count", description="The same, by its name of 0.1.0.")
    used: int | None
    left_to_others: int | None = Field(
        description="The part of `used` that is left to others with the same key, by the upstream's headers "
        "or after a refusal."
    )
    remaining: int | None
    reset_at: datetime | None = Field(
        description="When the next slot in use comes free, or, while `is_limited`, when that is over; null "
        "where none is in use, or nobody knows."
    )
    is_limited: bool | None = Field(description="It lets nothing through now, for `reason`.")
    window_seconds: float
    reason: str | None


class SourceState(Schema):
    """One source: `ok`, `limited`, `failing`, `refused`, `closed`, `paused`, `drained`, `off`,
    `unknown`."""

    name: str
    state: str
    missing: tuple[str, ...] = Field(description="The variables that would turn the source on.")
    closed_since: datetime | None
    closed_until: datetime | None
    closed_reason: str | None
    order: Order | None = Field(description="An operator has paused the source, or drains it.")
    failing_since: datetime | None = Field(description="The first failure after a fetch went well.")
    refused_since: datetime | None
    refused_reason: str | None = Field(description="What Redis refuses of the source's keys, in its words.")
    warm: int | None = Field(description="Common symbols whose answer is fresh; null while Redis is away.")
    common: int
    resting: int = Field(description="Those that are old on purpose, while the market is closed.")
    busiest: Covered | None = Field(description="The common symbol of which most items come.")
    shortages: tuple[str, ...] = Field(description="What of it cannot be kept warm, with the arithmetic.")
    queue: QueueDepth | None
    load: QueueLoad | None
    held: int | None = Field(description="Slots that are held for requests under way, or to come.")
    promised: int | None = Field(description="Those of them that begin later, as another leaves its window.")
    recent: RecentUsage | None = Field(description="The last 5 minutes; null while Redis is away.")
    charge: Charge = Field(description="What a request costs slots for.")
    daily_budget: float | None = Field(description="The smallest of all processes.")
    spent_since: datetime | None = Field(description="When the budget of the day was found to be spent.")
    spent_until: datetime | None = Field(description="Until when it is.")
    is_bill_readable: bool = Field(description="A bill that is not counts as the whole budget.")
    prewarm_budget: float | None = Field(description="The part of it that keeping answers warm may cost.")
    prewarm_spent_until: datetime | None = Field(
        description="Until when nothing is kept warm, as that part is spent, and the rest is not."
    )
    day_cost: float | None = Field(description="What a day comes to at this rate, where no budget bounds it.")
    delay_hours: float = Field(description="How late its items come, where that is too late to keep any.")


class PlainQueue(Schema):
    """A queue of a user's own actors."""

    name: str
    depth: QueueDepth
    order: Order | None = Field(description="That an operator has paused or drained it.")
    is_served: bool = Field(description="A living worker takes its jobs.")
    load: QueueLoad | None = Field(description="Null where no worker has run a job of it.")


class FleetState(Schema):
    """The fleet, by the word of its own processes."""

    at: datetime
    is_starting: bool = Field(description="No worker was heard of, but the fleet was started only just now.")
    is_told: bool = Field(description="False: no process has said how it was started; it is as the API was.")
    troubles: list[Trouble] = Field(description="The worst first; empty when all is well.")
    server: Server
    denied: tuple[str, ...] = Field(description="What the user of Redis may not do, and nothing needs.")
    missing_rights: tuple[str, ...] = Field(description="The commands that it may not run, and should.")
    common_symbols: tuple[str, ...] = Field(description="What is kept warm.")
    threads: int = Field(description="Those of all living workers.")
    busy: int = Field(description="How many of them have a job.")
    scale: Scale | None = Field(description="Null while Redis is away.")
    sources: list[SourceState]
    queues: list[PlainQueue] = Field(description="Those that are no source's.")
    leader: str | None = Field(description="The scheduler that does the work, while one does.")
    workers: list[WorkerStatus]
    lost: list[Lost] = Field(description="The last first; also those whose name another process has by now.")
    unwatched: str = Field(description="Why nobody is told of troubles; empty where somebody is.")
