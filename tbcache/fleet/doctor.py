"""A check-up of the server, the fleet and each source: what is wrong, and what mends it."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from redis.exceptions import NoPermissionError

from tbcache.fleet.drift import drift_of
from tbcache.fleet.finding import Finding, losses
from tbcache.fleet.incident import Incidents
from tbcache.fleet.model import FleetStatus, ServerStatus, SourceStatus
from tbcache.fleet.trouble import remedy
from tbcache.models import Limit
from tbcache.models.error import RateLimited, TbcacheError, UpstreamError
from tbcache.monitoring import WorkerStatus
from tbcache.settings import Settings, Source, get_sources, variable
from tbcache.settings.capacity import fit_of
from tbcache.settings.profile import profile_of
from tbcache.store import Store, Unavailable
from tbcache.store.wire import MICROS

OLDEST_REDIS = 7
#: Times that people compare are off by so much (s).
MOST_SKEW = 2.0
#: A call that takes such a part of the timeout fails as soon as anything is slow.
MOST_PART = 0.5
ROUNDS = 3
SHELL = "this shell"


class Trip(NamedTuple):
    """A call of the server: how long it took, and by how much its clock is ahead of ours (s)."""

    seconds: float
    ahead: float


def checkup(settings: Settings, store: Store, status: FleetStatus) -> Iterator[Finding]:
    """What is found of ``status``, in the order in which it is to be looked at."""
    yield from _server(settings, store, status)
    if status.server.is_available:
        yield from _fleet(settings, status)
        yield from _alerts(settings, store)
        yield from _left_to_stock(store, status)
    for source in status.sources:
        yield from _source(settings, source, is_known=status.server.is_available)


def credentials_finding(source: Source, error: TbcacheError | None, items: int) -> Finding:
    """What came of one request that was sent to try the credentials of ``source``."""
    if error is None:
        return Finding(
            "ok", source.name, f"the upstream takes the credentials, and answered with {items} items"
        )
    what = str(error).removeprefix(f"{source.name}: ")
    if isinstance(error, RateLimited):
        return Finding(
            "note", source.name, f"the credentials were not tried ({what})", "ask again after that"
        )
    fix = remedy([error.kind], source.variables) if isinstance(error, UpstreamError) else ""
    return Finding("wrong", source.name, what, fix or "try again; the upstream's words say more")


def _server(settings: Settings, store: Store, status: FleetStatus) -> Iterator[Finding]:
    server = status.server
    if settings.redis is None:
        fix = "set REDIS_URL, or start `tbcache up` here"
        yield Finding("wrong", "redis", "nobody has said where Redis is", fix)
        return
    if not server.is_available:
        yield from (Finding("wrong", "redis", one.what, one.todo) for one in status.troubles)
        return
    yield _version(server)
    found = list(losses(server))
    yield from found
    if not found and server.append_only:
        yield Finding(
            "ok", "redis", f"it keeps an append-only file, and throws nothing away ({server.eviction_policy})"
        )
    yield from (Finding("note", "redis", line, "docs/deploying.md has all rights") for line in status.denied)
    if not (status.denied or status.missing_rights):
        yield Finding("ok", "redis", "its user may do all that is needed")
    yield from _trip(settings, store)


def _version(server: ServerStatus) -> Finding:
    if server.version is None:
        return Finding(
            "note", "redis", f"{server.address} does not tell its version", "it should be Redis 7 or newer"
        )
    what = f"{server.version} at {server.address}"
    found = re.fullmatch(r"Redis (\d+)\..*", server.version)
    if found and int(found[1]) < OLDEST_REDIS:
        return Finding("wrong", "redis", what, "take Redis 7 or newer, or Valkey")
    return Finding("ok", "redis", what)


def _trip(settings: Settings, store: Store) -> Iterator[Finding]:
    try:
        best = min(_ask_time(store) for _ in range(ROUNDS))
    except Unavailable as error:
        yield Finding("wrong", "redis", str(error))
        return
    took, most = best.seconds, settings.redis_timeout
    what = f"a call takes {took * 1000:,.1f} ms, of {most * 1000:,.0f} ms that are waited for it"
    if took > MOST_PART * most:
        yield Finding("wrong", "redis", what, "raise TBCACHE_REDIS_TIMEOUT, or be nearer to it")
    else:
        yield Finding("ok", "redis", what)
    # Where nobody knows which half of the trip took longer, nobody knows the time to more than half of it.
    skew = abs(best.ahead)
    which = "ahead of" if best.ahead > 0 else "behind"
    said = (
        f"its clock is {skew:,.1f} s {which} this machine's" if skew > took else "its clock is this machine's"
    )
    if skew > MOST_SKEW + took:
        fix = "no limit depends on it, but moments that are compared do: let both keep time by NTP"
        yield Finding("wrong", "clock", said, fix)
    else:
        yield Finding("ok", "clock", said)


def _ask_time(store: Store) -> Trip:
    began, at = time.monotonic(), time.time()
    seconds, micros = store.call("TIME")
    took = time.monotonic() - began
    return Trip(took, int(seconds) + int(micros) / MICROS - (at + took / 2))


def _fleet(settings: Settings, status: FleetStatus) -> Iterator[Finding]:
    for trouble in status.troubles:
        yield Finding(
            "wrong",
            trouble.name or "fleet",
            trouble.line(status.at).partition(f": {trouble.todo}")[0],
            trouble.todo,
        )
    workers, schedulers = status.living("worker"), status.living("scheduler")
    if workers:
        crew = f"{_counted(len(workers), 'worker')} with {_counted(status.threads, 'thread')}"
        yield Finding("ok", "fleet", f"{crew}, {_counted(len(schedulers), 'scheduler')}")
    elif not status.troubles:
        yield Finding(
            "note", "fleet", "no worker runs", "`tbcache worker` starts one; `tbcache fetch` needs none"
        )
    yield from (
        Finding("wrong", one.source or SHELL, one.what, one.todo)
        for one in drift_of(status, _shell(settings, status))
    )


def _alerts(settings: Settings, store: Store) -> Iterator[Finding]:
    """Whom the process that watches tells of troubles; nothing where it does not say."""
    try:
        watcher = Incidents(store).watcher()
    except Unavailable:
        return
    if watcher.rules is None:
        return
    if watcher.webhook is not None:
        yield Finding("ok", "alerts", f"{watcher.webhook} is told of troubles: {', '.join(watcher.rules)}")
    elif settings.alert_webhook_url is not None:
        fix = "set TBCACHE_ALERT_WEBHOOK_URL and its secret for every process of the fleet"
        yield Finding(
            "wrong", "alerts", "this shell has a webhook, and the process that watches has none", fix
        )
    else:
        fix = "docs/alerts.md says how a webhook is told"
        yield Finding("note", "alerts", "the log alone is told of troubles", fix)


def _left_to_stock(store: Store, status: FleetStatus) -> Iterator[Finding]:
    """What dramatiq's RedisBroker has queued, in the queues that are known: a program that moves here leaves
    it behind."""
    names = dict.fromkeys(["default", *(one.name for one in status.all_queues)])
    asks = [("HLEN", f"dramatiq:{name}{part}.msgs") for name in names for part in ("", ".DQ")]
    try:
        # One alone first: what is refused stands in the server's own list of refusals.
        (first,) = store.execute(asks[0])
        if isinstance(first, NoPermissionError):
            what = "this user may not look whether dramatiq's RedisBroker has left messages"
            fix = "`redis-cli hlen dramatiq:default.msgs`, as a user who may, says how many (docs/actors.md)"
            yield Finding("note", "dramatiq", what, fix)
            return
        counts = [one if isinstance(one, int) else 0 for one in (first, *store.execute(*asks[1:]))]
    except Unavailable:
        return
    for name, now, later in zip(names, counts[::2], counts[1::2], strict=True):
        if many := now + later:
            verb = "waits" if many == 1 else "wait"
            what = f"{_counted(many, 'message')} of dramatiq's RedisBroker {verb} in {name} ({later} put off)"
            fix = "tbcache's workers do not read them: leave those of RedisBroker until they are done"
            yield Finding("note", "dramatiq", what, f"{fix} (docs/actors.md)")


def _shell(settings: Settings, status: FleetStatus) -> WorkerStatus:
    """This process as one of the fleet, to be compared with the others."""
    return WorkerStatus(
        name=SHELL,
        role="client",
        pid=os.getpid(),
        host="",
        threads=0,
        busy=0,
        doing=(),
        started_at=status.at,
        beat_at=status.at,
        age=0.0,
        is_alive=True,
        profile=profile_of(settings),
    )


def _source(settings: Settings, source: SourceStatus, *, is_known: bool) -> Iterator[Finding]:
    if source.why_off is not None:
        yield Finding("note", source.name, "it is off", source.why_off.partition(": ")[2])
        return
    ours = get_sources(settings).get(source.name)
    if ours is not None and not ours.is_enabled:
        fix = f"set {' and '.join(ours.missing)} to fetch from here; `tbcache enqueue` needs none"
        yield Finding("note", source.name, "this shell has no credentials for it, and the fleet has", fix)
    if source.delay_hours:
        what = f"its plan's items come {source.delay_hours:g} h late, so that nothing of it can be kept warm"
        yield Finding(
            "note", source.name, what, f"{variable(source.name, 'delay_hours')}=0 where they do not"
        )
    if source.day_cost is not None:
        what = f"nothing bounds what a day costs, about ${source.day_cost:,.2f} at the present rate"
        yield Finding("note", source.name, what, f"set {variable(source.name, 'daily_budget')}")
    limits = f"{variable(source.name, 'limits')}, {variable(source.name, 'cache_ttl')}"
    fix = f"list fewer in TBCACHE_COMMON_SYMBOLS, or set {limits} to what your plan allows and you need"
    for line in source.shortages:
        yield Finding("wrong", source.name, line.removeprefix(f"{source.name}: "), fix)
    is_kept = not (source.shortages or source.prewarm_spent_until)
    if ours is not None and is_known and source.common and is_kept:
        in_force = tuple(Limit.parse(one.limit) for one in source.limits)
        what = fit_of(replace(ours, limits=in_force), source.common, settings.prewarm_share)
        yield Finding("ok", source.name, what)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count:,} {noun}s"
