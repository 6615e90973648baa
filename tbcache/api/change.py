"""What has changed of late."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from tbcache.api.context import Ctx
from tbcache.api.model.schema import Schema
from tbcache.api.paging import Pages
from tbcache.api.parameter import Most, behind
from tbcache.api.query import QueryRoute
from tbcache.fleet import ChangeKind, ChangeMark

router = APIRouter(prefix="/api", tags=["monitoring"], route_class=QueryRoute)


class Change(Schema):
    """What happened: `order` of an operator; a trouble `began` or `ended`; a process `came`, `left` in order,
    or is `lost`; `errors` of a kind that there were none of in as long before."""

    at: datetime
    kind: ChangeKind
    what: str
    source: str | None
    who: str | None = Field(description="The operator, or the process.")


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
    page = pages.cut(rest, most, after=lambda page: ChangeMark.behind(page, mark))
    return [Change.model_validate(one) for one in page]
