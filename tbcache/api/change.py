"""What has changed of late."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from tbcache.api.context import Ctx
from tbcache.api.model import Schema
from tbcache.api.query import QueryRoute
from tbcache.fleet import ChangeKind

router = APIRouter(prefix="/api", tags=["monitoring"], route_class=QueryRoute)


class ChangesQuery(BaseModel):
    """What may stand behind the ``?``."""

    hours: float = Field(1.0, gt=0, le=24, description="In how many hours.")


class Change(Schema):
    """What happened: `order` of an operator; a trouble `began` or `ended`; a process `came`, `left` in order,
    or is `lost`; `errors` of a kind that there were none of in as long before."""

    at: datetime
    kind: ChangeKind
    what: str
    source: str | None
    who: str | None = Field(description="The operator, or the process.")


@router.get("/changes")
def changes(context: Ctx, asked: Annotated[ChangesQuery, Query()]) -> list[Change]:
    """What has changed in the last hour, or hours, the last first."""
    return [Change.model_validate(one) for one in context.fleet.changes(asked.hours)]
