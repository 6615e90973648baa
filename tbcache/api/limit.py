"""The limits: of every source each one, and whether the upstream has closed it."""

from __future__ import annotations

from dataclasses import asdict, replace

from fastapi import APIRouter

from tbcache.api.context import Context, Ctx
from tbcache.api.model import LimitStatus, RateLimits, SourceLimits
from tbcache.models import utc_now
from tbcache.store import Unavailable
from tbcache.store.state import SourceState
from tbcache.store.state import read_states as store_states

router = APIRouter(prefix="/api/monitoring", tags=["monitoring"])


@router.get("/rate-limits")
def rate_limits(context: Ctx) -> RateLimits:
    """How much of each limit is used, and when the next slot comes free. Counts nothing."""
    states = read_states(context)
    sources = {name: read_limits(context, name, state) for name, state in states.items()}
    return RateLimits(is_available=context.store.is_available, sources=sources)


def read_limits(context: Context, name: str, state: SourceState) -> SourceLimits:
    source, limiter = context.sources[name], context.limiters[name]
    limits = [
        LimitStatus(limit=str(one), **asdict(limiter.get_status(one.count, one.window_seconds)))
        for one in state.limits
    ]
    return SourceLimits(
        is_enabled=source.is_enabled,
        missing=source.missing,
        charge=source.charge,
        is_limited=any(one.is_limited for one in limits),
        closed_until=state.closure.until if state.closure else None,
        closed_reason=state.closure.reason if state.closure else None,
        limits=limits,
        configured=[str(one) for one in source.limits],
    )


def read_states(context: Context) -> dict[str, SourceState]:
    """Of each source the closure and the limits in force: the fleet's, or where there is none, our own."""
    try:
        states = store_states(context.store, context.sources, utc_now())
    except Unavailable:
        states = dict.fromkeys(context.sources, SourceState())
    return {
        name: replace(state, limits=state.limits or context.sources[name].limits)
        for name, state in states.items()
    }
