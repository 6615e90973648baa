"""What has changed of late."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from tbcache.api.context import Ctx
from tbcache.api.paging import Pages
from tbcache.api.parameter import Most, behind
from tbcache.api.query import QueryRoute
from tbcache.fleet import Change, ChangeMark

router = APIRouter(prefix="/api", tags=["monitoring"], route_class=QueryRoute)


@router.get("/changes")
def changes(
    context: Ctx,
    pages: Pages,
    hours: Annotated[float, Query(gt=0, le=24, description="In how many hours.")] = 1.0,
    most: Most = 100,
    after: Annotated[str | None, behind("^[0-9]{1,17}[.][0-9]{1,17}$", 40)] = None,
) -> list[Change]:
    """What has changed in the last hour, or hours, the last first."""
    mark, found = None if after is None else ChangeMark.read(after), context.fleet.changes(hours)
    rest = found if mark is None else mark.rest_of(found)
    return pages.cut(rest, most, after=lambda page: ChangeMark.behind(page, mark))
