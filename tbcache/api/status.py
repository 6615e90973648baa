"""The fleet: is anything wrong, which source, until when, what to do."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from tbcache.api.context import Ctx
from tbcache.api.model.fleet import FleetState
from tbcache.api.paging import Pages
from tbcache.api.parameter import Most
from tbcache.api.query import QueryRoute
from tbcache.fleet import Incident

router = APIRouter(prefix="/api/monitoring", tags=["monitoring"], route_class=QueryRoute)
incident_router = APIRouter(prefix="/api", tags=["monitoring"], route_class=QueryRoute)


@incident_router.get("/incidents")
def incidents(
    context: Ctx,
    pages: Pages,
    most: Most = 100,
    skip: Annotated[int, Query(ge=0, le=10_000, description="Leave out so many.")] = 0,
) -> list[Incident]:
    """The troubles of the last days, those that have ended as well, the last that began first."""
    found = context.fleet.incidents(skip + most + 1)[skip:]
    return pages.cut(found, most, skip=lambda page: skip + most)


@router.get("/status")
def status(context: Ctx) -> FleetState:
    """Every trouble, every source, every process; 200 also where something is wrong."""
    return FleetState.model_validate(context.fleet.status())
