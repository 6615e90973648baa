"""What the API takes and answers; answers take their fields from our dataclasses by name."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from tbcache.api.parameter import CALLER
from tbcache.models import Charge

LONGEST_PATTERN = 256


def _pattern(text: str) -> str:
    if not 1 <= len(text) <= LONGEST_PATTERN or not text.isprintable():
        raise ValueError(
            f"a pattern has 1 to {LONGEST_PATTERN} printable characters, like twitter:* or *:AAPL:*"
        )
    return text


Pattern = Annotated[str, AfterValidator(_pattern)]


def _texts(limits: Iterable[object]) -> tuple[str, ...]:
    return tuple(map(str, limits))


class Schema(BaseModel):
    """Reads dataclasses; times are UTC, money US dollars, durations seconds."""

    model_config = ConfigDict(from_attributes=True, frozen=True)


class RequestBody(BaseModel):
    """A body: what is not known in it, and a number that is a text or ``true``, may be meant otherwise."""

    model_config = ConfigDict(extra="forbid", strict=True)


#: What a name of a filter has that is left out. As a value null is refused: it would mean all, by whom no
#: value was found.
LEFT_OUT: Any = None


class Error(Schema):
    """What went wrong, in the form of RFC 9457 (``application/problem+json``)."""

    type: str = Field(description="What kind of error it is: `about:blank`, or its place in `/docs`.")
    title: str = Field(description="That kind in words; of `about:blank` the name of the status.")
    status: int
    detail: str = Field(description="What went wrong, in one line.")
    instance: str | None = Field(None, description="The path that was asked for.")
    error: str = Field(description="The same line as `detail`.")
    source: str | None = Field(None, description="Of which source or queue.")
    retry_at: datetime | None = Field(None, description="When it may be tried again, where that is known.")


class Health(Schema):
    status: str
    version: str


class CacheHealth(Schema):
    """The cache that all workers share; what only Redis knows is null while it is away."""

    is_available: bool
    address: str = Field(description="Where Redis is, without its password.")
    reason: str | None = Field(description="Why it is not available.")
    namespace: str
    server_version: str | None
    ping_ms: float | None
    keys: int | None = Field(description="Everything in the Redis database.")
    memory_bytes: int | None
    hits_today: int | None
    misses_today: int | None
    cache_hit_rate: float | None = Field(description="0..1, of all asks today; stale answers count as hits.")


class ClearRequest(RequestBody):
    model_config = ConfigDict(json_schema_extra={"examples": [{"pattern": "twitter:*", "dry_run": True}]})

    pattern: Pattern = Field(description="A glob of cache keys; `*` clears everything.")
    dry_run: bool = Field(False, description="Only count them.")


class Cleared(Schema):
    pattern: str
    cleared: int = Field(description="How many there were, or are.")
    is_done: bool = Field(True, description="False for a dry run.")


class Reason(RequestBody):
    model_config = ConfigDict(json_schema_extra={"examples": [{"why": "the key is changed"}]})

    why: str = Field("", description="For all to see, and for the audit.", max_length=200)


class LimitsAsked(RequestBody):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"limits": "100/15m,2000/1d", "why": "shared key"}]}
    )

    limits: str = Field(description="Like 100/15m, or several with commas.", max_length=200)
    why: str = Field("", max_length=200)


class Order(Schema):
    """A source or a queue is paused, or drained."""

    what: str
    since: datetime
    who: str
    why: str


class Ordered(Schema):
    name: str
    before: Order | None = Field(description="What was said until then.")


class Bound(Schema):
    """Limits that an operator has set."""

    limits: Annotated[tuple[str, ...], BeforeValidator(_texts)]
    since: datetime
    who: str
    why: str


class LimitsInForce(Schema):
    source: str
    limits: Annotated[tuple[str, ...], BeforeValidator(_texts)] = Field(
        description="In force from now on; none while no process uses the source."
    )
    is_lowered: bool = Field(description="False: what the processes were started with allows no more anyway.")


class Weight(RequestBody):
    model_config = ConfigDict(json_schema_extra={"examples": [{"caller": "desk/vip", "weight": 4}]})

    caller: Annotated[str, Field(max_length=64, json_schema_extra=CALLER)]
    weight: Annotated[float | None, Field(description="0.001 to 1000; null takes it back.")]
    why: Annotated[str, Field(max_length=200)] = ""


class Moved(Schema):
    name: str
    job: str
    state: str = Field(
        description="`done`; `stopping`: its worker is told to stop it; `running`: a worker has it in hand; "
        "`gone`: it is not there."
    )


class JobsMeant(RequestBody):
    """Which jobs that wait: those that have all of what is said; all of the queue where nothing is."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"symbol": "AAPL", "dry_run": True}]})

    symbol: Annotated[str, Field(max_length=200, min_length=1)] = LEFT_OUT
    caller: Annotated[str, Field(max_length=200, min_length=1, description="With all below it.")] = LEFT_OUT
    state: Literal["waiting", "delayed", "follows"] = LEFT_OUT
    why: Annotated[str, Field(max_length=200)] = ""
    dry_run: Annotated[bool, Field(description="Only count them.")] = False


class Cancelled(Schema):
    name: str
    count: int = Field(description="How many were cancelled, or would be.")
    is_done: bool = Field(description="False for a dry run.")


class DeadAsked(RequestBody):
    """Which dead letters: those that have all of what is said; all of the queue where nothing is."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"error": "worker died", "dry_run": True}]})

    symbol: Annotated[str, Field(max_length=200, min_length=1)] = LEFT_OUT
    job: Annotated[str, Field(max_length=200, min_length=1, description="An id.")] = LEFT_OUT
    error: Annotated[str, Field(max_length=200, min_length=1, description="Any part of the reason.")] = (
        LEFT_OUT
    )
    caller: Annotated[str, Field(max_length=200, min_length=1)] = LEFT_OUT
    dry_run: Annotated[bool, Field(description="Only count them.")] = False


class DeadDone(Schema):
    name: str
    count: int = Field(description="How many were queued again, or forgotten; or would be.")
    left: int = Field(description="How many cannot be queued again, and stay dead.")
    is_done: bool = Field(description="False for a dry run.")


class DeadLetter(Schema):
    """A job that is dead."""

    source: str
    job_id: str
    symbol: str
    caller: str | None
    died_at: datetime
    reason: str


class DeathCount(Schema):
    """So many dead letters of a queue have that error, with `*` where reasons differ."""

    queue: str
    error: str = Field(description="As a filter of dead letters takes it.")
    count: int


class Reopened(Schema):
    source: str
    was_closed: bool


class AuditLine(Schema):
    at: datetime
    who: str
    what: str
    name: str
    detail: str
    count: int | None


class LimitStatus(Schema):
    """One limit: at most ``allowed`` requests in any window of ``window_seconds``."""

    limit: str = Field(examples=["300/15m"])
    allowed: int = Field(validation_alias="count")
    used: int | None
    remaining: int | None
    reset_at: datetime | None = Field(description="When the next slot in use comes free; null where none is.")
    is_limited: bool | None
    window_seconds: float
    reason: str | None


class SourceLimits(Schema):
    is_enabled: bool
    missing: tuple[str, ...] = Field(description="The variables that would turn the source on.")
    charge: Charge
    is_limited: bool | None
    closed_until: datetime | None = Field(description="Until when nothing is asked upstream.")
    closed_reason: str | None
    spent_until: datetime | None = Field(description="Until when the budget of the day is spent.")
    limits: list[LimitStatus] = Field(description="Those in force: the strictest of all processes.")
    configured: list[str] = Field(description="Those that the API itself was started with.")
    order: Order | None = Field(description="An operator has paused the source, or drains it.")
    bound: Bound | None = Field(description="The limits that an operator has set.")


class RateLimits(Schema):
    is_available: bool = Field(description="False: what only Redis knows is null.")
    sources: dict[str, SourceLimits]


class SourceUsage(Schema):
    requests_today: int
    hits_today: int
    stale_today: int
    misses_today: int
    joins_today: int
    waits_today: int
    pages_today: int
    errors_today: int
    errors_by_kind: dict[str, int]
    cache_hit_rate: float
    cost_today: float
    uncertain_cost_today: float = Field(description="Of answers that were lost or not read: at most so much.")
    latency_p50: float | None
    latency_p95: float | None
    latency_mean: float | None


class Failing(Schema):
    """The failures since a fetch of a source last went well."""

    count: int
    since: datetime
    kinds: tuple[str, ...]


class RecentUsage(Schema):
    """A source in the last minutes: ``seconds`` is how many seconds that is, 5 to 6 minutes as a rule."""

    seconds: float
    requests: int
    hits: int
    stale: int
    misses: int
    errors: int
    errors_by_kind: dict[str, int]
    cache_hit_rate: float
    cost: float
    pages: int = Field(description="The requests that fetches took.")
    naive_cost: float = Field(description="What they would have cost, had each fetched all its hours again.")
    naive_pages: int = Field(description="The requests of that, of a source that costs money.")
    latency_p50: float | None
    latency_p95: float | None
    latency_mean: float | None
    settled: int = Field(description="The fetches that came to an end, good or bad.")
    failed: int = Field(description="The errors that the source is to blame for.")
    failed_since: datetime | None = Field(description="About when the first of these was.")
    recovered: int = Field(description="The fetches that ended since a minute with any.")
    last: Failing | None = Field(description="The failures since a fetch last went well; null where it did.")
    plain: int = Field(description="The requests that ask for words, as the plan refuses the cashtag.")


class Refusal(Schema):
    since: datetime
    reason: str
    is_bug: bool = Field(description="The script is wrong, and the keys are as they should be.")


class SourceProfile(Schema):
    """What a process was started with of a source."""

    limits: str
    missing: tuple[str, ...]
    credentials: tuple[str, ...]
    max_hours: int
    delay_hours: float
    is_served: bool = Field(description="It takes the source's jobs.")
    daily_budget: float | None
    query_filter: str | None


class Profile(Schema):
    """What a process was started with."""

    sources: dict[str, SourceProfile]
    common_symbols: tuple[str, ...]
    common_hours: int
    declared: dict[str, SourceProfile] = Field(description="The sources that its code has declared.")


class Worker(Schema):
    """A process of the fleet; ``age`` is the seconds since its last heartbeat."""

    name: str
    role: str
    pid: int
    host: str
    threads: int
    busy: int
    doing: tuple[str, ...]
    started_at: datetime
    beat_at: datetime
    age: float
    is_alive: bool
    version: str
    memory_bytes: int = Field(description="What it has in memory; 0 of a version that does not say.")
    fires: dict[str, datetime] = Field(description="When a scheduler does each of its works next.")
    layout: int = Field(description="That of the keys which it reads and writes in Redis.")
    profile: Profile | None = Field(description="What it was started with; null where it does not say.")
    refused: dict[str, Refusal] = Field(description="What Redis refuses it of the keys of a source.")
    pace: dict[str, float] = Field(
        description="For how many seconds a job of a queue has a thread, on average."
    )


class DaySource(Schema):
    requests: int = Field(validation_alias="requests_today")
    errors: int = Field(validation_alias="errors_today")
    cost: float = Field(validation_alias="cost_today")
    cache_hit_rate: float


class Day(Schema):
    """One UTC day."""

    day: date
    total_requests: int
    total_errors: int
    total_cost: float
    average_cache_hit_rate: float
    sources: dict[str, DaySource]


class CallerUsage(Schema):
    """What a caller has asked of a source today."""

    requests: int
    hits: int
    stale: int
    live: int
    failed: int
    hit_rate: float | None
    cost_most: float = Field(
        description="What the loads that were begun in its name have cost at most, as far as it was counted."
    )


class Usage(Schema):
    """Today (UTC) so far; ``history`` has the days asked for, today first, when more than one was."""

    is_available: bool = Field(description="False: nothing is known, and every figure is null.")
    day: date
    total_requests_today: int | None
    total_errors_today: int | None
    total_cost_today: float | None
    average_cache_hit_rate: float | None
    sources: dict[str, SourceUsage | None]
    recent: dict[str, RecentUsage | None] = Field(description="The last 5 minutes, by source.")
    by_worker: dict[str, dict[str, SourceUsage]] = Field(description="The same by worker, then source.")
    by_caller: dict[str, dict[str, CallerUsage]] = Field(description="By caller, then source.")
    workers: list[Worker]
    history: list[Day]


class Trouble(Schema):
    """One thing that somebody should know; moments that are not known are null."""

    kind: str
    what: str
    todo: str
    source: str | None
    since: datetime | None
    until: datetime | None


class Server(Schema):
    address: str
    is_available: bool
    is_refusing: bool = Field(description="It is there, and refuses what it is asked.")
    reason: str | None
    version: str | None
    uptime_seconds: int | None
    memory_bytes: int | None
    most_memory_bytes: int | None = Field(description="What it may use; 0 for no bound.")
    eviction_policy: str | None
    append_only: bool | None = Field(description="Whether it writes down all that it is told.")
    clients: int | None


class Covered(Schema):
    """Of how many of its hours a symbol's items are known."""

    symbol: str
    covered_hours: float
    hours: int


class QueueDepth(Schema):
    """How many jobs of a queue wait, run and died."""

    interactive: int
    prewarm: int
    suspects: int = Field(description="Their workers died twice: each waits for a worker without other jobs.")
    delayed: int
    running: int
    dead: int


class QueueLoad(Schema):
    """What waits in a source's queue, and how fast it may go."""

    waiting: int
    runnable: int = Field(description="How many of them may begin within a minute by the limits.")
    running: int
    oldest_seconds: float | None = Field(description="The age of the oldest of those that are next.")
    begun_per_second: float
    admissible_per_second: float | None = Field(description="By the limits; null for any rate.")
    job_seconds: float = Field(description="How long a job takes, on average.")


class Scale(Schema):
    """How many workers the fleet needs; a job that waits for its source's limit needs none."""

    workers_wanted: int
    runnable: int
    oldest_seconds: float | None


class SourceState(Schema):
    """One source: `ok`, `limited`, `failing`, `refused`, `closed`, `paused`, `off`, `unknown`."""

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
    recent: RecentUsage | None = Field(description="The last 5 minutes; null while Redis is away.")
    charge: Charge = Field(description="What a request costs slots for.")
    daily_budget: float | None = Field(description="The smallest of all processes.")
    spent_since: datetime | None = Field(description="When the budget of the day was found to be spent.")
    spent_until: datetime | None = Field(description="Until when it is.")
    day_cost: float | None = Field(description="What a day comes to at this rate, where no budget bounds it.")
    delay_hours: float = Field(description="How late its items come, where that is too late to keep any.")


class PlainQueue(Schema):
    """A queue of a user's own actors."""

    name: str
    depth: QueueDepth
    order: Order | None = Field(description="That an operator has paused or drained it.")
    is_served: bool = Field(description="A living worker takes its jobs.")
    load: QueueLoad | None = Field(description="Null where no worker has run a job of it.")


class Lost(Schema):
    """A process of the last hour that has not ended in order, and was last heard of at that moment."""

    at: datetime
    name: str
    role: str
    is_followed: bool = Field(description="Another of its name is there since.")


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
    workers: list[Worker]
    lost: list[Lost] = Field(description="The last first; also those whose name another process has by now.")
    unwatched: str = Field(description="Why nobody is told of troubles; empty where somebody is.")
