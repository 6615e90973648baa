"""The limits: of every source each one, and whether the upstream has closed it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace

from fastapi import APIRouter

from tbcache.api.context import Context, Ctx
from tbcache.api.model import LimitStatus, RateLimits, SourceLimits
from tbcache.models import Limit, RateLimitStatus
from tbcache.sources import Source
from tbcache.store import Unavailable
from tbcache.store.state import SourceState
from tbcache.store.state import read_states as store_states

router = APIRouter(prefix="/api/monitoring", tags=["monitoring"])


@router.get("/rate-limits")
def rate_limits(context: Ctx) -> RateLimits:
    """How much of each limit is used, and when the next slot comes free. Counts nothing."""
    sources = context.fleet.sources()
    states = read_states(context, sources)
    found = {name: read_limits(context, source, states[name]) for name, source in sources.items()}
    if context.store.is_available:
        return RateLimits(is_available=True, sources=found)
    return RateLimits(is_available=False, sources={name: _unknown(one) for name, one in found.items()})


def read_limits(context: Context, source: Source, state: SourceState) -> SourceLimits:
    limiter, own = context.limiter(source), context.sources.get(source.name)
    limits = [_limit(one, limiter.get_status(one.count, one.window_seconds)) for one in state.limits]
    return SourceLimits(
        is_enabled=source.is_enabled,
        missing=source.missing,
        charge=source.charge,
        is_limited=any(one.is_limited for one in limits),
        closed_until=state.closure.until if state.closure else None,
        closed_reason=state.closure.reason if state.closure else None,
        limits=limits,
        configured=[str(one) for one in own.limits] if own else [],
    )


def _limit(limit: Limit, status: RateLimitStatus) -> LimitStatus:
    found = LimitStatus(limit=str(limit), **asdict(status))
    return found if status.used else found.model_copy(update={"reset_at": None})


def _unknown(source: SourceLimits) -> SourceLimits:
    """What is left of it while Redis is away: zeros would look like a limit that is free."""
    nothing = {"used": None, "remaining": None, "reset_at": None, "is_limited": None}
    limits = [one.model_copy(update=nothing) for one in source.limits]
    return source.model_copy(update={"is_limited": None, "limits": limits})


def read_states(context: Context, sources: Mapping[str, Source]) -> dict[str, SourceState]:
    """Of each source the closure and the limits in force: the fleet's, or where there is none, our own."""
    try:
        states = store_states(context.store, sources)
    except Unavailable:
        states = dict.fromkeys(sources, SourceState())
    return {
        name: replace(state, limits=state.limits or sources[name].limits) for name, state in states.items()
    }
