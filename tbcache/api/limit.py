"""The limits: of every source each one, and whether the upstream has closed it."""

from __future__ import annotations

from fastapi import APIRouter

from tbcache.api.context import Ctx
from tbcache.api.model import RateLimits, SourceLimits
from tbcache.api.query import QueryRoute

router = APIRouter(prefix="/api/monitoring", tags=["monitoring"], route_class=QueryRoute)


@router.get("/rate-limits")
def rate_limits(context: Ctx) -> RateLimits:
    """How much of each limit is used, and when the next slot comes free. Counts nothing."""
    status = context.fleet.status()
    sources = {source.name: SourceLimits.model_validate(source) for source in status.sources}
    return RateLimits(is_available=status.server.is_available, sources=sources)
