"""/metrics: the fleet in figures that Prometheus can scrape.

Figures come from Redis, so one scrape of one API process sees the whole fleet, and
scraping two counts everything twice. Counters are today's and start at 0 at midnight
UTC, which ``rate()`` and ``increase()`` understand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import get_args

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from tbcache.api.context import Ctx
from tbcache.api.exposition import CONTENT_TYPE, Family, render
from tbcache.fleet import FleetStatus, FleetTrouble, LimitStatus, ServerTrouble, SourceStatus
from tbcache.models.version import __version__

router = APIRouter(tags=["monitoring"])


@router.get("/metrics", response_class=PlainTextResponse)
def metrics(context: Ctx) -> PlainTextResponse:
    """Everything in Prometheus' text format; without Redis only what is known without it."""
    return PlainTextResponse(render(collect(context.fleet.status())), media_type=CONTENT_TYPE)


def collect(status: FleetStatus) -> Iterator[Family]:
    """Every metric. A figure that Redis did not tell is left out: a 0 would read as a reset."""
    up = Family("tbcache_redis_up", "gauge", "1 when Redis can be used.")
    up.add(int(status.server.is_available))
    yield up
    yield from settings(status.sources)
    yield limits(status.sources)
    if status.server.is_available:
        yield from usage(status.sources)
        yield from slots(status.sources)
        yield queue(status.sources)
        yield from load(status)
        yield from workers(status)
    yield troubles(status)


def troubles(status: FleetStatus) -> Family:
    """How many troubles there are of each kind; while Redis is away, of those that are known then."""
    found = Family("tbcache_troubles", "gauge", "What is wrong, by kind; `tbcache status --check` says more.")
    counts = Counter(trouble.kind for trouble in status.troubles)
    fleet_kinds = get_args(FleetTrouble) if status.server.is_available else ()
    for kind in (*get_args(ServerTrouble), *fleet_kinds):
        found.add(counts[kind], kind=kind)
    return found


def settings(sources: Iterable[SourceStatus]) -> list[Family]:
    """What is known without Redis as well."""
    info = Family("tbcache_build_info", "gauge", "The version of the API that answers.")
    enabled = Family("tbcache_source_enabled", "gauge", "1 when the fleet has the source's credentials.")
    info.add(1, version=__version__)
    for source in sources:
        enabled.add(int(source.is_enabled), source=source.name)
    return [info, enabled]


def limits(sources: Iterable[SourceStatus]) -> Family:
    """The limits in force."""
    limit = Family("tbcache_slots_limit", "gauge", "Requests the source allows in any such window.")
    for source in sources:
        for one in _by_count(source):
            limit.add(one.count, source=source.name, window=_window(one.limit))
    return limit


def usage(sources: Iterable[SourceStatus]) -> list[Family]:
    requests = Family("tbcache_requests_total", "counter", "Asks today, by how they were answered.")
    errors = Family("tbcache_errors_total", "counter", "Upstream errors today, by kind.")
    joins = Family("tbcache_joins_total", "counter", "Asks today that waited for another's fetch.")
    waits = Family("tbcache_waits_total", "counter", "Asks today that had to wait for a slot.")
    pages = Family("tbcache_pages_total", "counter", "Requests sent upstream today.")
    cost = Family("tbcache_cost_dollars_total", "counter", "US dollars spent today.")
    duration = Family("tbcache_fetch_duration_seconds", "summary", "Duration of a fetch, over today.")
    for today in (source.usage for source in sources if source.usage is not None):
        requests.add(today.hits_today, source=today.source, outcome="hit")
        requests.add(today.stale_today, source=today.source, outcome="stale")
        requests.add(today.misses_today, source=today.source, outcome="miss")
        requests.add(today.failed_today, source=today.source, outcome="failed")
        for kind, count in today.errors_by_kind.items():
            errors.add(count, source=today.source, kind=kind)
        joins.add(today.joins_today, source=today.source)
        waits.add(today.waits_today, source=today.source)
        pages.add(today.pages_today, source=today.source)
        cost.add(today.cost_today, source=today.source)
        for quantile, seconds in (("0.5", today.latency_p50), ("0.95", today.latency_p95)):
            if seconds is not None:
                duration.add(seconds, source=today.source, quantile=quantile)
    return [requests, errors, joins, waits, pages, cost, duration]


def slots(sources: Iterable[SourceStatus]) -> list[Family]:
    used = Family("tbcache_slots_used", "gauge", "Slots of the limit in use.")
    closed = Family(
        "tbcache_source_closed_until_seconds", "gauge", "Unix time until which the source is closed; 0: open."
    )
    spent = Family(
        "tbcache_source_spent_until_seconds",
        "gauge",
        "Unix time until which the budget is spent; 0: it is not.",
    )
    for source in sources:
        closed.add(_seconds(source.closed_until), source=source.name)
        spent.add(_seconds(source.spent_until), source=source.name)
        for one in _by_count(source):
            if one.used is not None:
                used.add(one.used, source=source.name, window=_window(one.limit))
    return [used, closed, spent]


def _seconds(moment: datetime | None) -> float:
    return moment.timestamp() if moment else 0.0


def queue(sources: Iterable[SourceStatus]) -> Family:
    jobs = Family("tbcache_queue_jobs", "gauge", "Jobs in the queue, by their state.")
    for depth in (source.queue for source in sources if source.queue is not None):
        for state in ("interactive", "prewarm", "suspects", "delayed", "running", "dead"):
            jobs.add(getattr(depth, state), source=depth.source, state=state)
    return jobs


def load(status: FleetStatus) -> list[Family]:
    """What an autoscaler needs: a job that waits for its source's limit wants no worker."""
    wanted = Family(
        "tbcache_workers_wanted", "gauge", "Workers for what may run: none where only a limit is waited for."
    )
    runnable = Family("tbcache_queue_runnable_jobs", "gauge", "Jobs that may begin within a minute.")
    oldest = Family(
        "tbcache_queue_oldest_seconds", "gauge", "Age of the oldest job that is next; 0: none waits."
    )
    if status.scale is not None:
        wanted.add(status.scale.workers_wanted)
    for source in status.sources:
        if source.load is not None:
            runnable.add(source.load.runnable, source=source.name)
            oldest.add(source.load.oldest_seconds or 0.0, source=source.name)
    return [wanted, runnable, oldest]


def workers(status: FleetStatus) -> list[Family]:
    alive = Family("tbcache_workers_alive", "gauge", "Worker processes heard of in the last 10 s.")
    schedulers = Family("tbcache_schedulers_alive", "gauge", "Schedulers heard of in the last 10 s.")
    threads = Family("tbcache_worker_threads", "gauge", "Threads of all living workers.")
    busy = Family("tbcache_worker_threads_busy", "gauge", "Threads that have a job.")
    alive.add(len(status.living("worker")))
    schedulers.add(len(status.living("scheduler")))
    threads.add(status.threads)
    busy.add(status.busy)
    return [alive, schedulers, threads, busy]


def _by_count(source: SourceStatus) -> list[LimitStatus]:
    """Sort the limits: of two with one window, which are one sample, the smaller comes last and stays."""
    return sorted(source.limits, key=lambda one: -one.count)


def _window(limit: str) -> str:
    """``300/15m`` -> ``15m``"""
    return limit.partition("/")[2]
