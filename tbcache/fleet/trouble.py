"""What is wrong with a fleet, the worst first."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from datetime import datetime, timedelta

from tbcache.fleet.agreed import refusals_of
from tbcache.fleet.drift import drifts
from tbcache.fleet.model import FleetStatus, SourceStatus, Trouble
from tbcache.models.age import age
from tbcache.monitoring import RecentMetrics, WorkerStatus
from tbcache.queue import Deaths
from tbcache.settings import variable
from tbcache.store.layout import LAYOUT
from tbcache.store.refusal import Refusal

#: A queue that its limits take longer for is a trouble: what is kept warm gets old behind it.
LONG_SECONDS = 900.0
#: So many processes that are lost within so long are no chance.
MOST_LOST, LOST_WITHIN = 3, timedelta(minutes=10)


def server_troubles(status: FleetStatus, since: datetime | None) -> tuple[Trouble, ...]:
    """The trouble that Redis cannot be used, since ``since``; nothing else is known then."""
    server, meanwhile = status.server, "until then every process goes on with its share of the limits"
    if server.is_refusing:
        what, todo = (
            f"Redis refuses what it is asked ({server.reason})",
            f"mend it at the server; {meanwhile}",
        )
        return (Trouble("redis_refuses", what, todo, since=since),)
    where = f"start it at {server.address}, or set REDIS_URL to where it is"
    # One that is there, and stands still, need not be started, and a second one would be refused.
    todo = f"{'it is busy, loading, or frozen' if server.is_passing else where}; {meanwhile}"
    return (Trouble("redis_away", f"Redis is away ({server.reason})", todo, since=since),)


def troubles(status: FleetStatus, deaths: Iterable[Deaths]) -> tuple[Trouble, ...]:
    """Everything that is wrong; ``deaths`` are the jobs that died of late, by queue."""
    found = (
        *_layouts(status.workers),
        *_rights(status.missing_rights),
        *_unwatched(status.unwatched),
        *(() if status.is_starting else _processes(status)),
        *_lost(status),
        *_refused(status.workers),
        *_sources(status.sources),
        *_queues(status),
        *_unserved(status),
        *_backlogs(status),
        *_deaths(deaths, {queue.name for queue in status.queues}),
        *drifts(status),
    )
    return tuple(sorted(found, key=lambda one: not one.is_bad))


def _layouts(workers: Iterable[WorkerStatus]) -> Iterator[Trouble]:
    for worker in workers:
        if worker.is_alive and worker.layout != LAYOUT:
            what = (
                f"{worker.name} is of tbcache {worker.version}, which reads and writes Redis otherwise "
                f"(layout {worker.layout}, not {LAYOUT})"
            )
            yield Trouble("other_layout", what, "stop it", since=worker.started_at)


def _rights(missing: Sequence[str]) -> Iterator[Trouble]:
    if missing:
        named = ", ".join(missing)
        what = f"this user of Redis may not run {named}, and what needs that is refused, or not done"
        todo = f"give it the rights of the rule in docs/deploying.md: +{' +'.join(missing)}"
        yield Trouble("rights_missing", what, todo)


def _unwatched(fault: str) -> Iterator[Trouble]:
    if fault:
        todo = "give the processes' user the right to that key, as the rule in docs/deploying.md does"
        yield Trouble("unwatched", f"nobody is told of troubles: {fault}", todo)


def _processes(status: FleetStatus) -> Iterator[Trouble]:
    if not status.living("worker") and _needs_worker(status):
        what = f"no worker is running{', and queued fetches wait' if _is_waiting(status) else ''}"
        since = status.gone_since("worker")
        yield Trouble("no_worker", what, "start one with `tbcache worker`", since=since)
    gone = status.gone_since("scheduler")
    if gone is not None and not status.living("scheduler"):
        todo = "start one with `tbcache scheduler`"
        yield Trouble("no_scheduler", "the scheduler is gone, and nothing is kept warm", todo, since=gone)


def _lost(status: FleetStatus) -> Iterator[Trouble]:
    """Processes that die again and again: whatever starts them anew hides it."""
    recent = [one for one in status.lost if status.at - one.at < LOST_WITHIN]
    if len(recent) >= MOST_LOST:
        last, first, minutes = recent[0], recent[-1], LOST_WITHIN.total_seconds() / 60
        many = f"{len(recent)} processes were lost in the last {minutes:.0f} minutes"
        todo = "its log says why; where that ends without a word the system has killed it, as for its memory"
        yield Trouble("lost", f"{many}, the last of them {last.name}", todo, since=first.at)


def _needs_worker(status: FleetStatus) -> bool:
    """True where fetches are queued, a worker is gone, or a scheduler queues what only workers fetch.

    Bots that fetch by themselves need none, while they run and between their runs.
    """
    is_gone = status.gone_since("worker") is not None
    return _is_waiting(status) or is_gone or bool(status.living("scheduler"))


def _is_waiting(status: FleetStatus) -> bool:
    return any(one.queued for one in status.all_queues)


def _refused(workers: Iterable[WorkerStatus]) -> Iterator[Trouble]:
    """Refused keys are a trouble also of a source that is shown nowhere: a key may begin with any name."""
    for source, refusal in refusals_of(workers).items():
        yield _script_broken(source, refusal) if refusal.is_bug else _keys_refused(source, refusal)


def _script_broken(source: str, refusal: Refusal) -> Trouble:
    what = f"{source}: a script of tbcache is wrong ({refusal.reason})"
    todo = (
        "no key is to blame: this is a bug, report that line; where the script fails, each process goes on "
        "with its share of the limits"
    )
    return Trouble("script_broken", what, todo, source, refusal.since)


def _keys_refused(source: str, refusal: Refusal) -> Trouble:
    what = f"{source}: Redis refuses its keys ({refusal.reason})"
    todo = (
        f"`redis-cli --scan --pattern '*{{{source}}}*'` lists them: remove the one of another type, "
        "or give the processes' user the right to them"
    )
    return Trouble("keys_refused", what, todo, source, refusal.since)


def _sources(sources: Iterable[SourceStatus]) -> Iterator[Trouble]:
    for source in sources:
        if source.closed_until is not None and source.is_enabled:
            what = f"{source.name} is closed ({source.closed_reason})"
            todo = (
                "it opens by itself; if the reason is gone before, "
                f"`tbcache limits reopen {source.name}` opens it"
            )
            since, until = source.closed_since, source.closed_until
            yield Trouble("closed", what, todo, source.name, since, until)
        elif source.state == "failing" and source.recent is not None:
            what = f"{source.name} is failing ({failures(source.recent)})"
            todo = _todo(source.recent, source.credentials)
            yield Trouble("failing", what, todo, source.name, source.failing_since)
        if source.order is not None:
            what = f"{source.name} is {source.order}"
            todo = f"`tbcache queue resume {source.name}` has it go on"
            yield Trouble("paused", what, todo, source.name, source.order.since)
        if source.spent_until is not None:
            what, todo = _spent(source) if source.is_bill_readable else _unreadable(source)
            yield Trouble("budget", what, todo, source.name, source.spent_since, source.spent_until)
        if source.prewarm_spent_until is not None:
            what, todo = _prewarm_spent(source)
            yield Trouble("prewarm_budget", what, todo, source.name, until=source.prewarm_spent_until)
        if source.recent is not None and source.recent.plain:
            what = f"{source.name}: the plan refuses cashtags, and posts with the word are read, and paid for"
            todo = (
                f"take a plan that has them, or narrow {variable(source.name, 'query_filter')}; "
                "cashtags are tried again each hour"
            )
            yield Trouble("plan", what, todo, source.name)


def _spent(source: SourceStatus) -> tuple[str, str]:
    todo = (
        f"nothing is fetched from it until then; to go on today, raise "
        f"{variable(source.name, 'daily_budget')} and restart all processes"
    )
    return f"{source.name} has spent its budget for the day (${source.daily_budget:g})", todo


def _prewarm_spent(source: SourceStatus) -> tuple[str, str]:
    budget = variable(source.name, "daily_budget")
    todo = (
        f"the rest is for what is asked for; to keep it warm today, raise {budget} or "
        "TBCACHE_PREWARM_SHARE, and restart all processes"
    )
    of = f"${source.prewarm_budget:,.2f} of ${source.daily_budget:g} a day"
    return f"{source.name} is not kept warm any more: what that may cost is spent ({of})", todo


def _unreadable(source: SourceStatus) -> tuple[str, str]:
    what = (
        f"{source.name}: what the day has cost cannot be read, and counts as all of its budget "
        f"(${source.daily_budget:g})"
    )
    todo = (
        f"`redis-cli --scan --pattern '*{{{source.name}}}:usage:*'` lists the bills: remove the one that is "
        "damaged, and the day's bill begins anew, or give the processes' user the right to it"
    )
    return what, todo


def failures(recent: RecentMetrics) -> str:
    """What of a source has failed lately, in a few words."""
    kinds = ", ".join(recent.kinds)
    if recent.is_mostly_failing:
        return f"{recent.failed} of {recent.settled} fetches: {kinds}"
    many = recent.last.count if recent.last else 0
    return f"the last {many} fetches: {kinds}" if many > 1 else f"the last fetch: {kinds}"


def _todo(recent: RecentMetrics, credentials: Sequence[str]) -> str:
    words = remedy(recent.kinds, credentials)
    return words or "the logs of the processes that asked it have its words"


def remedy(kinds: Sequence[str], credentials: Sequence[str]) -> str:
    """What mends failures of these kinds, where somebody can; ``credentials`` are the source's variables."""
    if "auth" in kinds:
        named = " and ".join(credentials) or "its credentials"
        return f"the upstream refuses the credentials: set {named} anew"
    if "not_entitled" in kinds:
        return "the plan does not include what is asked: change the plan, or leave the source out"
    if "unavailable" in kinds:
        return "the upstream is down or cannot be reached; it is asked again by itself"
    return ""


def _unserved(status: FleetStatus) -> Iterator[Trouble]:
    """Jobs that no worker takes, beside workers that take others."""
    if status.is_told and status.living("worker"):
        for source in status.sources:
            if source.queued and not source.is_served:
                what = f"{source.name}: {source.queued} queued, and no worker takes them"
                todo = f"start a worker that knows {source.name} and has its credentials"
                yield Trouble("unserved", what, todo, source.name)


def _backlogs(status: FleetStatus) -> Iterator[Trouble]:
    """Queues that go on, and will not be done for long."""
    for source in status.sources:
        seconds, depth = source.slots_seconds, source.queue
        if depth is not None and seconds is not None and seconds > LONG_SECONDS:
            limits = " and ".join(one.limit for one in source.limits)
            many = "1 job waits" if depth.waiting == 1 else f"{depth.waiting:,} jobs wait"
            takes = f"{limits} takes about {age(seconds)} for them"
            what, is_failing = f"{source.name}: {many}, and {takes}", source.backlog_seconds is None
            if is_failing:
                unknown = "nobody knows for how long while it is failing"
                what = f"{source.name}: {many}, and {unknown}; {takes} from then on"
            todo = (
                f"pre-warms come last meanwhile; `tbcache queue list {source.name}` says whose they are, "
                "`tbcache queue cancel` takes one out"
            )
            since = source.failing_since if is_failing else None
            until = None if is_failing else status.at + timedelta(seconds=seconds)
            yield Trouble("backlog", what, todo, source.name, since, until)


def _queues(status: FleetStatus) -> Iterator[Trouble]:
    """The queues of users' own actors."""
    for queue in status.queues:
        if queue.order is not None:
            what = f"the queue {queue.name} is {queue.order}"
            todo = f"`tbcache queue resume {queue.name}` has it go on"
            yield Trouble("paused", what, todo, since=queue.order.since, queue=queue.name)
        elif queue.queued and not queue.is_served and status.living("worker"):
            what = f"the queue {queue.name}: {queue.queued} queued, and no worker takes them"
            todo = f"start a worker whose modules have the actors of {queue.name}"
            yield Trouble("unserved", what, todo, queue=queue.name)


def _deaths(deaths: Iterable[Deaths], plain: Container[str]) -> Iterator[Trouble]:
    """``plain`` are the queues of users' own actors."""
    for one in deaths:
        is_plain = one.queue in plain
        where = f"the queue {one.queue}" if is_plain else one.queue
        single, many = ("job", "jobs") if is_plain else ("queued fetch", "queued fetches")
        count = f"1 {single} died" if one.count == 1 else f"{one.count:,} {many} died, the last of them as"
        todo = (
            f"`tbcache dead` lists them, `tbcache dead requeue {one.queue}` queues them again, "
            f"`tbcache dead purge {one.queue}` forgets them"
        )
        source, queue = (None, one.queue) if is_plain else (one.queue, None)
        what = f"{where}: {count}: {one.reason}"
        yield Trouble("dead_letters", what, todo, source, one.first_at, queue=queue)
