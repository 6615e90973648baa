"""A source, with all that is known of it."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter
from pydantic import Field

from tbcache.api.context import Ctx
from tbcache.api.model.fleet import Bound, LimitStatus, SourceState
from tbcache.api.model.usage import SourceUsage
from tbcache.api.parameter import Source
from tbcache.api.query import QueryRoute
from tbcache.models.error import UnknownSource

router = APIRouter(prefix="/api/sources", tags=["monitoring"], route_class=QueryRoute)


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


@router.get("/{source}")
def source(context: Ctx, source: Source) -> SourceDetail:
    """A source, and all that is known of it."""
    found = context.fleet.status().sources
    for one in found:
        if one.name == source:
            return SourceDetail.model_validate(one)
    raise UnknownSource(source, [one.name for one in found])
