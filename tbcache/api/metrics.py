"""/metrics: the fleet in figures that Prometheus can scrape.

They come from Redis at each scrape, so one scrape of one API process sees the whole fleet. Each is declared
once, in :data:`METRICS`; `python -m tests.architecture` writes docs/metrics.md by it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import get_args

from fastapi import APIRouter, Request, Response
from prometheus_client import exposition
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics import exposition as openmetrics

from tbcache.api.context import Ctx
from tbcache.api.metric import Distribution, Metric, Sample, Seen
from tbcache.api.query import QueryRoute
from tbcache.fleet import (
    EDGES,
    Counted,
    FleetStatus,
    FleetTrouble,
    LimitStatus,
    QueueLoad,
    ServerTrouble,
    SourceStatus,
    State,
)
from tbcache.models.version import __version__

router = APIRouter(tags=["monitoring"], route_class=QueryRoute)

#: What writes each form, and how it is called.
_TEXT = exposition.generate_latest, exposition.CONTENT_TYPE_PLAIN_0_0_4
_OPENMETRICS = openmetrics.generate_latest, openmetrics.CONTENT_TYPE_LATEST
#: So many common symbols have series of their own: the first of them.
MOST_SYMBOLS = 100
#: So many callers have series of their own: those that have asked most today. The rest share one.
MOST_CALLERS = 20
#: The states of a job in a queue, as QueueDepth names them.
_JOB_STATES = ("interactive", "prewarm", "suspects", "delayed", "running", "dead")
#: What an operator may say of a queue, as Order has it.
_ORDERS = ("pause", "drain")


@router.get(
    "/metrics",
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    response_class=Response,
)
def metrics(request: Request, context: Ctx) -> Response:
    """Everything in Prometheus' text format, or as OpenMetrics where that is asked for; without Redis only
    what is known without it.
    """
    status = context.fleet.status()
    counted = context.fleet.counted(source.name for source in status.sources)
    seen = Seen(status, counted, context.fleet.busiest_callers(MOST_CALLERS))
    # The library's own choice fails at a version that is no number, and claims any that is one.
    accepted = {kind.partition(";")[0].strip() for kind in request.headers.get("Accept", "").split(",")}
    encode, content_type = _OPENMETRICS if "application/openmetrics-text" in accepted else _TEXT
    return Response(encode(_Collected(seen)), media_type=content_type)


class _Collected:
    """What the encoders take for a registry."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen

    def collect(self) -> Iterator[Family]:
        families = (metric.family(self._seen) for metric in METRICS)
        return (family for family in families if family is not None)


def _fleet(
    name: str, help: str, value: Callable[[FleetStatus], float | None], *, is_always: bool = False
) -> Metric:
    """A metric of the whole fleet; None where it has no value."""

    def read(seen: Seen) -> Iterator[Sample]:
        if (found := value(seen.status)) is not None:
            yield (), found

    return Metric(name, help, (), read, is_always=is_always)


def _source(
    name: str, help: str, value: Callable[[SourceStatus], float | None], *, is_always: bool = False
) -> Metric:

    def read(seen: Seen) -> Iterator[Sample]:
        for source in seen.status.sources:
            if (found := value(source)) is not None:
                yield (source.name,), found

    return Metric(name, help, ("source",), read, is_always=is_always)


def _counter(name: str, help: str, value: Callable[[Counted], float]) -> Metric:
    return Metric(name, help, ("source",), lambda seen: _counts(seen, value), "counter")


def _counts(seen: Seen, value: Callable[[Counted], float | Distribution]) -> Iterator[Sample]:
    for one in (seen.counted or {}).values():
        yield (one.source,), value(one)


def _slots(
    name: str, help: str, value: Callable[[LimitStatus], float | None], *, is_always: bool = False
) -> Metric:
    """A metric of each limit. Two with one window are one sample: the smaller comes last, and stays."""

    def read(seen: Seen) -> Iterator[Sample]:
        for source in seen.status.sources:
            for limit in sorted(source.limits, key=lambda one: -one.count):
                if (found := value(limit)) is not None:
                    # 300/15m -> 15m
                    yield (source.name, limit.limit.partition("/")[2]), found

    return Metric(name, help, ("source", "window"), read, is_always=is_always)


def _load(name: str, help: str, value: Callable[[QueueLoad], float]) -> Metric:
    """A metric with a value of each queue of which it is known how fast it may go."""

    def read(seen: Seen) -> Iterator[Sample]:
        for queue in seen.status.all_queues:
            if queue.load is not None:
                yield (queue.name,), value(queue.load)

    return Metric(name, help, ("source",), read)


def _orders(seen: Seen) -> Iterator[Sample]:
    for queue in seen.status.all_queues:
        for what in _ORDERS:
            yield (queue.name, what), int(queue.order is not None and queue.order.what == what)


def _requests(seen: Seen) -> Iterator[Sample]:
    for one in (seen.counted or {}).values():
        yield (one.source, "hit"), one.hits
        yield (one.source, "stale"), one.stale
        yield (one.source, "miss"), one.misses
        yield (one.source, "failed"), one.failed
        yield (one.source, "prewarm"), one.prewarms


def _errors(seen: Seen) -> Iterator[Sample]:
    for one in (seen.counted or {}).values():
        for kind, count in one.errors_by_kind.items():
            yield (one.source, kind), count


def _durations(one: Counted) -> Distribution:
    durations = one.durations
    ends = [(f"{edge:g}", float(count)) for edge, count in zip(EDGES, durations.within, strict=True)]
    return Distribution([*ends, ("+Inf", durations.count)], durations.seconds)


def _troubles(seen: Seen) -> Iterator[Sample]:
    """Of each kind, so that one of which there is none is 0; while Redis is away, of those known then."""
    counts = Counter(trouble.kind for trouble in seen.status.troubles)
    fleet_kinds = get_args(FleetTrouble) if seen.status.server.is_available else ()
    for kind in (*get_args(ServerTrouble), *fleet_kinds):
        yield (kind,), counts[kind]


def _states(seen: Seen) -> Iterator[Sample]:
    for source in seen.status.sources:
        for state in get_args(State):
            yield (source.name, state), int(source.state == state)


def _jobs(seen: Seen) -> Iterator[Sample]:
    for one in seen.status.all_queues:
        for state in _JOB_STATES if one.queue is not None else ():
            yield (one.name, state), getattr(one.queue, state)


def _callers(seen: Seen) -> Iterator[Sample]:
    for caller, by_source in seen.callers.items():
        for source, one in by_source.items():
            yield (caller, source, "hit"), one.hits
            yield (caller, source, "stale"), one.stale
            yield (caller, source, "miss"), one.live
            yield (caller, source, "failed"), one.failed
            yield (caller, source, "prewarm"), one.prewarms


def _caller_costs(seen: Seen) -> Iterator[Sample]:
    for caller, by_source in seen.callers.items():
        for source, one in by_source.items():
            yield (caller, source), one.cost_most


def _ages(seen: Seen) -> Iterator[Sample]:
    for source in seen.status.sources:
        for kept in source.kept[:MOST_SYMBOLS]:
            if (age := kept.age(seen.status.at)) is not None:
                yield (source.name, kept.request.symbol), age


def _coverages(seen: Seen) -> Iterator[Sample]:
    for source in seen.status.sources:
        for kept in source.kept[:MOST_SYMBOLS]:
            yield (source.name, kept.request.symbol), kept.sentiment.coverage if kept.sentiment else 0.0


def _seconds(moment: datetime | None) -> float:
    return moment.timestamp() if moment else 0.0


METRICS = (
    # The fleet
    _fleet(
        "tbcache_redis_up",
        "1 when Redis can be used.",
        lambda status: int(status.server.is_available),
        is_always=True,
    ),
    Metric(
        "tbcache_build_info",
        "The version of the API that answers.",
        ("version",),
        lambda seen: [((__version__,), 1)],
        is_always=True,
    ),
    Metric(
        "tbcache_troubles",
        "What is wrong, by kind; `tbcache status --check` says more.",
        ("kind",),
        _troubles,
        is_always=True,
    ),
    _fleet(
        "tbcache_redis_memory_bytes", "Memory that Redis uses.", lambda status: status.server.memory_bytes
    ),
    _fleet(
        "tbcache_workers_alive",
        "Worker processes heard of in the last 10 s.",
        lambda status: len(status.living("worker")),
    ),
    _fleet(
        "tbcache_workers_wanted",
        "Workers for what may run: none where only a limit is waited for.",
        lambda status: status.scale.workers_wanted if status.scale else None,
    ),
    _fleet("tbcache_worker_threads", "Threads of all living workers.", lambda status: status.threads),
    _fleet("tbcache_worker_threads_busy", "Threads that have a job.", lambda status: status.busy),
    _fleet(
        "tbcache_schedulers_alive",
        "Schedulers heard of in the last 10 s.",
        lambda status: len(status.living("scheduler")),
    ),
    _fleet(
        "tbcache_schedulers_leading",
        "1 while a scheduler leads, and keeps the common symbols warm; the others stand by.",
        lambda status: int(status.leader is not None),
    ),
    # What was asked and what it cost
    Metric(
        "tbcache_requests_total",
        "Asks, by how they were answered: hit, stale, miss or failed; and prewarm: fetches nobody asked for.",
        ("source", "outcome"),
        _requests,
        "counter",
    ),
    Metric("tbcache_errors_total", "Upstream errors, by kind.", ("source", "kind"), _errors, "counter"),
    _counter("tbcache_joins_total", "Asks that waited for another's fetch.", lambda one: one.joins),
    _counter("tbcache_waits_total", "Asks that had to wait for a slot.", lambda one: one.waits),
    _counter("tbcache_pages_total", "Requests sent upstream.", lambda one: one.pages),
    Metric(
        "tbcache_fetch_duration_seconds",
        "How long fetches took, of all their pages.",
        ("source",),
        lambda seen: _counts(seen, _durations),
        "histogram",
    ),
    _counter("tbcache_cost_dollars_total", "US dollars spent.", lambda one: one.cost),
    _counter(
        "tbcache_cost_uncertain_dollars_total",
        "The part of what was spent that is only a bound: the answers to what was sent are lost.",
        lambda one: one.uncertain_cost,
    ),
    _source(
        "tbcache_budget_dollars",
        "The budget of a day, where there is one.",
        lambda source: source.daily_budget,
    ),
    _source(
        "tbcache_budget_spent_dollars",
        "US dollars spent today; it begins anew at midnight UTC, as the budget does.",
        lambda source: source.usage.cost_today if source.usage else None,
    ),
    Metric(
        "tbcache_caller_requests_today",
        f"Asks today of the {MOST_CALLERS} callers that ask most; it begins anew at midnight UTC.",
        ("caller", "source", "outcome"),
        _callers,
    ),
    Metric(
        "tbcache_caller_cost_today_dollars",
        f"The most that today's fetches of the {MOST_CALLERS} callers that ask most have cost.",
        ("caller", "source"),
        _caller_costs,
    ),
    # Each source
    _source(
        "tbcache_source_enabled",
        "1 when the fleet has the source's credentials.",
        lambda source: int(source.is_enabled),
        is_always=True,
    ),
    Metric(
        "tbcache_source_state",
        "1 for the state that the source is in, 0 for the others.",
        ("source", "state"),
        _states,
        is_always=True,
    ),
    _slots(
        "tbcache_slots_limit",
        "Requests the source allows in any such window.",
        lambda limit: limit.count,
        is_always=True,
    ),
    _slots("tbcache_slots_used", "Slots of the limit in use.", lambda limit: limit.used),
    _source(
        "tbcache_source_closed_until_seconds",
        "Unix time until which the source is closed; 0: open.",
        lambda source: _seconds(source.closed_until),
    ),
    _source(
        "tbcache_source_spent_until_seconds",
        "Unix time until which the budget is spent; 0: it is not.",
        lambda source: _seconds(source.spent_until),
    ),
    # Queues
    Metric(
        "tbcache_queue_order",
        "1 while an operator has said pause, or drain, of the queue of a source, or of actors of your own.",
        ("source", "order"),
        _orders,
    ),
    Metric(
        "tbcache_queue_jobs",
        "Jobs in the queue of a source, or of actors of your own, by their state.",
        ("source", "state"),
        _jobs,
    ),
    _load("tbcache_queue_runnable_jobs", "Jobs that may begin within a minute.", lambda load: load.runnable),
    _load(
        "tbcache_queue_oldest_seconds",
        "Age of the oldest job that is next; 0: none waits.",
        lambda load: load.oldest_seconds or 0.0,
    ),
    # What is kept of the common symbols
    _source(
        "tbcache_common_symbols", "Common symbols that are to be kept warm.", lambda source: source.common
    ),
    _source("tbcache_warm_symbols", "Common symbols whose answer is fresh.", lambda source: source.warm),
    _source(
        "tbcache_resting_symbols",
        "Common symbols that nobody asks for, whose answer is let grow old while the market is closed.",
        lambda source: None if source.warm is None else source.resting,
    ),
    Metric(
        "tbcache_answer_age_seconds",
        f"Age of the answer for a common symbol, of the first {MOST_SYMBOLS}; none where there is no answer.",
        ("source", "symbol"),
        _ages,
    ),
    Metric(
        "tbcache_answer_covered_ratio",
        f"The part of its hours that the answer covers, of the first {MOST_SYMBOLS} common symbols.",
        ("source", "symbol"),
        _coverages,
    ),
)
