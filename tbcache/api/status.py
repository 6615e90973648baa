"""The fleet: is anything wrong, which source, until when, what to do."""

from __future__ import annotations

from fastapi import APIRouter

from tbcache.api.context import Ctx
from tbcache.api.model import FleetState

router = APIRouter(prefix="/api/monitoring", tags=["monitoring"])


@router.get("/status")
def status(context: Ctx) -> FleetState:
    """Every trouble, every source, every process; 200 also where something is wrong."""
    seen = FleetState.model_validate(context.fleet.status())
    if seen.server.is_available:
        return seen
    nothing = {"warm": None, "recent": None}
    return seen.model_copy(update={"sources": [one.model_copy(update=nothing) for one in seen.sources]})
