"""Whether the process lives, and whether it can do its work."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException

from tbcache.api.context import Ctx
from tbcache.api.model.schema import Schema
from tbcache.api.query import QueryRoute
from tbcache.io.background import restart_dead
from tbcache.models.version import __version__

router = APIRouter(tags=["health"], route_class=QueryRoute)


class Health(Schema):
    status: str
    version: str


@router.get("/healthz", responses={503: {}})
async def healthz() -> Health:
    """The process lives, and so do its threads; 503 with those that had died. Asks nobody."""
    if died := restart_dead():
        raise HTTPException(503, f"these threads had died and are started again: {', '.join(died)}")
    return Health(status="ok", version=__version__)


@router.get("/readyz", responses={503: {}})
def readyz(context: Ctx) -> Health:
    """Redis answers; 503 with the reason when it does not."""
    reason = context.fleet.why_away()
    if reason is not None:
        raise HTTPException(503, reason)
    return Health(status="ready", version=__version__)
