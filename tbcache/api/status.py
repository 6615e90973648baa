"""The fleet: is anything wrong, which source, until when, what to do."""

from __future__ import annotations

from fastapi import APIRouter

from tbcache.api.context import Ctx
from tbcache.api.model import FleetState

router = APIRouter(prefix="/api/monitoring", tags=["monitoring"])


@router.get("/status")
def status(context: Ctx) -> FleetState:
    """Every trouble, every source, every process; 200 also where something is wrong."""
    return FleetState.model_validate(context.fleet.status())
