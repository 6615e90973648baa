"""The limits: of every source each one, and whether the upstream has closed it."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter

from tbcache.api.context import Context, Ctx
from tbcache.api.model import LimitStatus, RateLimits, SourceLimits
from tbcache.models import utc_now
from tbcache.store import Unavailable
from tbcache.store.closure import FIELDS, Closure, closure_of

router = APIRouter(prefix="/api/monitoring", tags=["monitoring"])


@router.get("/rate-limits")
def rate_limits(context: Ctx) -> RateLimits:
    """How much of each limit is used, and when the next slot comes free. Counts nothing."""
    closures = read_closures(context)
    sources = {name: read_limits(context, name, closures.get(name)) for name in context.sources}
    return RateLimits(is_available=context.store.is_available, sources=sources)


def read_limits(context: Context, name: str, closure: Closure | None) -> SourceLimits:
    source, limiter = context.sources[name], context.limiters[name]
    limits = [
        LimitStatus(limit=str(one), **asdict(limiter.get_status(one.count, one.window_seconds)))
        for one in source.limits
    ]
    return SourceLimits(
        is_enabled=source.is_enabled,
        missing=source.missing,
        charge=source.charge,
        is_limited=any(one.is_limited for one in limits),
        closed_until=closure.until if closure else None,
        closed_reason=closure.reason if closure else None,
        limits=limits,
    )


def read_closures(context: Context) -> dict[str, Closure]:
    """The sources that are closed now; none is known of while Redis is away."""
    keys, names, now = context.store.keys, list(context.sources), utc_now()
    try:
        with context.store.guard():
            pipe = context.store.client.pipeline(transaction=False)
            for name in names:
                pipe.hmget(keys.state(name), *FIELDS)
            found = zip(names, pipe.execute(raise_on_error=False), strict=True)
    except Unavailable:
        return {}
    closures = {name: closure_of(values, now) for name, values in found}
    return {name: closure for name, closure in closures.items() if closure is not None}
