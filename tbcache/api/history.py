"""What a source was asked over time, step by step."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from tbcache.api.context import Ctx
from tbcache.api.model.schema import Schema
from tbcache.api.query import QueryRoute
from tbcache.fleet import HistorySpan

router = APIRouter(prefix="/api/usage", tags=["monitoring"], route_class=QueryRoute)


class HistoryQuery(BaseModel):
    """What may stand behind the ``?``."""

    source: str = Field(max_length=64, description="Of which source.")
    span: HistorySpan = Field(
        "24h", description="15 minutes by the minute, 24 hours by the quarter, or 30 days by the hour."
    )


class Interval(Schema):
    """What was counted from ``start`` on, for ``seconds``; the jobs are the most that its queue had."""

    start: datetime
    seconds: float
    requests: int
    hits: int
    stale: int
    misses: int
    pages: int = Field(description="The requests that fetches took.")
    errors: int
    errors_by_kind: dict[str, int]
    cache_hit_rate: float
    cost: float
    latency_p50: float | None
    latency_p95: float | None
    waiting: int | None = Field(description="Null where nobody has looked.")
    delayed: int | None
    running: int | None
    dead: int | None


class UsageHistory(Schema):
    """The steps from ``start`` to ``end``, the oldest first; none of a time of which nothing is known."""

    source: str
    span: HistorySpan
    step_seconds: int
    start: datetime
    end: datetime
    reason: str | None = Field(description="Why something may be missing; null where nothing is.")
    intervals: list[Interval]


@router.get("/history")
def history(context: Ctx, asked: Annotated[HistoryQuery, Query()]) -> UsageHistory:
    """Requests, hits, errors, cost, latency and queue of a source over time. The last step goes on."""
    return UsageHistory.model_validate(context.fleet.history(asked.source, asked.span))
