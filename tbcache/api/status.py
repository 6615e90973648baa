"""The fleet: is anything wrong, which source, until when, what to do."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import Field

from tbcache.api.context import Ctx
from tbcache.api.model.fleet import FleetState
from tbcache.api.model.schema import Schema
from tbcache.api.paging import Pages
from tbcache.api.parameter import Most
from tbcache.api.query import QueryRoute

router = APIRouter(prefix="/api/monitoring", tags=["monitoring"], route_class=QueryRoute)
incident_router = APIRouter(prefix="/api", tags=["monitoring"], route_class=QueryRoute)


class Incident(Schema):
    """A trouble that was, or is: one that comes and goes is one, which was there `times` times."""

    id: str
    kind: str
    source: str | None
    queue: str | None = Field(description="The queue that it is about, where that is no source's.")
    what: str = Field(description="As it began, and, once somebody was told of it, as it was then.")
    todo: str
    began_at: datetime
    seen_at: datetime = Field(description="When it was first seen.")
    times: int
    ended_at: datetime | None
    gone_at: datetime | None = Field(description="Since when it is not seen; it has ended once that lasts.")
    opened_at: datetime | None = Field(description="When somebody was to be told of it, by the rules.")
    resolved_at: datetime | None = Field(description="And of its end.")
    sent: Literal["", "opened", "resolved"] = Field(
        description="What the webhook was told last, or given up."
    )
    tries: int = Field(
        description="How often what it is to be told next was sent; of what was given up, how often that was."
    )
    next_try_at: datetime | None = Field(description="When that is sent again.")


@incident_router.get("/incidents")
def incidents(
    context: Ctx,
    pages: Pages,
    most: Most = 100,
    skip: Annotated[int, Query(ge=0, le=10_000, description="Leave out so many.")] = 0,
) -> list[Incident]:
    """The troubles of the last days, those that have ended as well, the last that began first."""
    found = context.fleet.incidents(skip + most + 1)[skip:]
    page = pages.cut(found, most, skip=lambda page: skip + most)
    return [Incident.model_validate(one) for one in page]


@router.get("/status")
def status(context: Ctx) -> FleetState:
    """Every trouble, every source, every process; 200 also where something is wrong."""
    return FleetState.model_validate(context.fleet.status())
