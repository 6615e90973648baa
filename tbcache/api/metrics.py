"""/metrics: the fleet in figures that Prometheus can scrape.

Figures come from Redis, so one scrape of one API process sees the whole fleet, and
scraping two counts everything twice. Counters are today's and start at 0 at midnight
UTC, which ``rate()`` and ``increase()`` understand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import get_args

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from tbcache import __version__
from tbcache.api.context import Context, Ctx
from tbcache.api.exposition import CONTENT_TYPE, Family, render
from tbcache.api.limit import read_states
from tbcache.fleet import FleetStatus, FleetTrouble, ServerTrouble
from tbcache.models import Limit
from tbcache.sources import Source
from tbcache.store import Unavailable
from tbcache.store.state import SourceState

router = APIRouter(tags=["monitoring"])


@router.get("/metrics", response_class=PlainTextResponse)
def metrics(context: Ctx) -> PlainTextResponse:
    """Everything in Prometheus' text format; without Redis only what is known without it."""
    return PlainTextResponse(render(collect(context)), media_type=CONTENT_TYPE)


def collect(context: Context) -> list[Family]:
    """Every metric. A figure that Redis did not tell is left out: a 0 would read as a reset."""
    up = Family("tbcache_redis_up", "gauge", "1 when Redis answers.")
    sources = context.fleet.sources()
    states = read_states(context, sources)
    try:
        told = [
            *read_usage(context, sources),
            *read_slots(context, sources, states),
            *read_queue(context, sources),
            *read_workers(context),
        ]
        up.add(1)
    except Unavailable:
        told = []
        up.add(0)
    return [up, *read_settings(sources), *read_limits(states), *told, read_troubles(context.fleet.status())]


def read_troubles(status: FleetStatus) -> Family:
    """How many troubles there are of each kind; while Redis is away, of those that are known then."""
    found = Family("tbcache_troubles", "gauge", "What is wrong, by kind; `tbcache status --check` says more.")
    counts = Counter(trouble.kind for trouble in status.troubles)
    told = get_args(FleetTrouble) if status.server.is_available else ()
    for kind in (*get_args(ServerTrouble), *told):
        found.add(counts[kind], kind=kind)
    return found


def read_settings(sources: Mapping[str, Source]) -> list[Family]:
    """What is known without Redis as well."""
    info = Family("tbcache_build_info", "gauge", "The version of the API that answers.")
    enabled = Family("tbcache_source_enabled", "gauge", "1 when the fleet has the source's credentials.")
    info.add(1, version=__version__)
    for name, source in sources.items():
        enabled.add(int(source.is_enabled), source=name)
    return [info, enabled]


def read_limits(states: Mapping[str, SourceState]) -> list[Family]:
    """The limits in force."""
    limit = Family("tbcache_slots_limit", "gauge", "Requests the source allows in any such window.")
    for name, state in states.items():
        for one in _by_count(state):
            limit.add(one.count, source=name, window=_window(str(one)))
    return [limit]


def read_usage(context: Context, sources: Iterable[str]) -> list[Family]:
    requests = Family("tbcache_requests_total", "counter", "Asks today, by how they were answered.")
    errors = Family("tbcache_errors_total", "counter", "Upstream errors today, by kind.")
    joins = Family("tbcache_joins_total", "counter", "Asks today that waited for another's fetch.")
    waits = Family("tbcache_waits_total", "counter", "Asks today that had to wait for a slot.")
    pages = Family("tbcache_pages_total", "counter", "Requests sent upstream today.")
    cost = Family("tbcache_cost_dollars_total", "counter", "US dollars spent today.")
    duration = Family("tbcache_fetch_duration_seconds", "summary", "Duration of a fetch, over today.")
    for name in sources:
        today = context.monitor.get_source_metrics(name)
        context.check()
        failed = today.requests_today - today.hits_today - today.stale_today - today.misses_today
        requests.add(today.hits_today, source=name, outcome="hit")
        requests.add(today.stale_today, source=name, outcome="stale")
        requests.add(today.misses_today, source=name, outcome="miss")
        requests.add(failed, source=name, outcome="failed")
        for kind, count in today.errors_by_kind.items():
            errors.add(count, source=name, kind=kind)
        joins.add(today.joins_today, source=name)
        waits.add(today.waits_today, source=name)
        pages.add(today.pages_today, source=name)
        cost.add(today.cost_today, source=name)
        for quantile, seconds in (("0.5", today.latency_p50), ("0.95", today.latency_p95)):
            if seconds is not None:
                duration.add(seconds, source=name, quantile=quantile)
    return [requests, errors, joins, waits, pages, cost, duration]


def read_slots(
    context: Context, sources: Mapping[str, Source], states: Mapping[str, SourceState]
) -> list[Family]:
    used = Family("tbcache_slots_used", "gauge", "Slots of the limit in use.")
    closed = Family(
        "tbcache_source_closed_until_seconds", "gauge", "Unix time until which the source is closed; 0: open."
    )
    for name, state in states.items():
        closed.add(state.closure.until.timestamp() if state.closure else 0, source=name)
        for one in _by_count(state):
            status = context.limiter(sources[name]).get_status(one.count, one.window_seconds)
            context.check()
            used.add(status.used, source=name, window=_window(str(one)))
    return [used, closed]


def read_queue(context: Context, sources: Iterable[str]) -> list[Family]:
    jobs = Family("tbcache_queue_jobs", "gauge", "Jobs in the queue, by their state.")
    for depth in context.queue.depths(sources):
        for state in ("interactive", "prewarm", "suspects", "delayed", "running", "dead"):
            jobs.add(getattr(depth, state), source=depth.source, state=state)
    return [jobs]


def read_workers(context: Context) -> list[Family]:
    alive = Family("tbcache_workers_alive", "gauge", "Worker processes heard of in the last 10 s.")
    schedulers = Family("tbcache_schedulers_alive", "gauge", "Schedulers heard of in the last 10 s.")
    threads = Family("tbcache_worker_threads", "gauge", "Threads of all living workers.")
    busy = Family("tbcache_worker_threads_busy", "gauge", "Threads that have a job.")
    living = [one for one in context.monitor.get_workers() if one.is_alive]
    context.check()
    workers = [one for one in living if one.role == "worker"]
    alive.add(len(workers))
    schedulers.add(sum(one.role == "scheduler" for one in living))
    threads.add(sum(one.threads for one in workers))
    busy.add(sum(one.busy for one in workers))
    return [alive, schedulers, threads, busy]


def _by_count(state: SourceState) -> list[Limit]:
    return sorted(state.limits, key=lambda one: -one.count)


def _window(limit: str) -> str:
    """``300/15m`` -> ``15m``"""
    return limit.partition("/")[2]
