"""A source with all that is known of it, and the limits of each."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter
from pydantic import Field

from tbcache.api.context import Ctx
from tbcache.api.model.fleet import LimitStatus, SourceState
from tbcache.api.model.schema import Schema
from tbcache.api.model.usage import SourceUsage
from tbcache.api.parameter import Source
from tbcache.api.query import QueryRoute
from tbcache.fleet import Bound, Order
from tbcache.models import Charge
from tbcache.models.error import UnknownSource

router = APIRouter(prefix="/api", tags=["monitoring"], route_class=QueryRoute)


class SourceDetail(SourceState):
    """A source with its windows, its figures of today, and where its money goes."""

    base_url: str
    credentials: tuple[str, ...] = Field(description="The variables that turn it on.")
    is_served: bool = Field(description="Whether any worker takes its jobs.")
    limits: list[LimitStatus] = Field(description="Those in force: the strictest of all processes.")
    configured: list[str] = Field(description="Those that the API itself was started with.")
    bound: Bound | None = Field(description="The limits that an operator has set.")
    slots: tuple[datetime, ...] = Field(
        description="The last slots of its window, the oldest first; one that lies ahead is held."
    )
    usage: SourceUsage | None = Field(description="Today (UTC); null while Redis is away.")


@router.get("/sources/{source}")
def source(context: Ctx, source: Source) -> SourceDetail:
    """A source, and all that is known of it."""
    found = context.fleet.status().sources
    for one in found:
        if one.name == source:
            return SourceDetail.model_validate(one)
    raise UnknownSource(source, [one.name for one in found])


class SourceLimits(Schema):
    state: str = Field(description="As `GET /api/monitoring/status` has it.")
    is_enabled: bool
    missing: tuple[str, ...] = Field(description="The variables that would turn the source on.")
    charge: Charge
    is_limited: bool | None
    closed_until: datetime | None = Field(description="Until when nothing is asked upstream.")
    closed_reason: str | None
    spent_until: datetime | None = Field(description="Until when the budget of the day is spent.")
    limits: list[LimitStatus] = Field(description="Those in force: the strictest of all processes.")
    configured: list[str] = Field(description="Those that the API itself was started with.")
    order: Order | None = Field(description="An operator has paused the source, or drains it.")
    bound: Bound | None = Field(description="The limits that an operator has set.")


class RateLimits(Schema):
    is_available: bool = Field(description="False: what only Redis knows is null.")
    sources: dict[str, SourceLimits]


@router.get("/monitoring/rate-limits")
def rate_limits(context: Ctx) -> RateLimits:
    """How much of each limit is used, and when the next slot comes free. Counts nothing."""
    status = context.fleet.status()
    sources = {source.name: SourceLimits.model_validate(source) for source in status.sources}
    return RateLimits(is_available=status.server.is_available, sources=sources)
