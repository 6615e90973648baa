"""The usage: what was asked, what it cost, by source, by worker, by day."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from tbcache.api.context import Ctx
from tbcache.api.model.schema import Schema
from tbcache.api.model.usage import RecentUsage, SourceUsage
from tbcache.api.paging import Pages
from tbcache.api.parameter import Most
from tbcache.api.query import QueryRoute
from tbcache.fleet import (
    KEPT_DAYS,
    By,
    HistorySpan,
    SymbolCost,
    Totals,
    UsageHistory,
    UsageReport,
    WorkerStatus,
)

router = APIRouter(prefix="/api", tags=["monitoring"], route_class=QueryRoute)


class DaySource(Schema):
    requests: int = Field(validation_alias="requests_today")
    errors: int = Field(validation_alias="errors_today")
    cost: float = Field(validation_alias="cost_today")
    cache_hit_rate: float


class Day(Schema):
    """One UTC day."""

    day: date
    total_requests: int
    total_errors: int
    total_cost: float
    average_cache_hit_rate: float
    sources: dict[str, DaySource]


class CallerUsage(Schema):
    """What a caller has asked of a source today."""

    requests: int
    hits: int
    stale: int
    live: int
    failed: int
    prewarms: int = Field(description="Fetches for which nobody has asked, beside the requests.")
    hit_rate: float | None
    cost_most: float = Field(
        description="What the loads that were begun in its name have cost at most, as far as it was counted."
    )


class Usage(Schema):
    """Today (UTC) so far; ``history`` has the days asked for, today first, when more than one was."""

    is_available: bool = Field(description="False: nothing is known, and every figure is null.")
    day: date
    total_requests_today: int | None
    total_errors_today: int | None
    total_cost_today: float | None
    average_cache_hit_rate: float | None
    sources: dict[str, SourceUsage | None]
    recent: dict[str, RecentUsage | None] = Field(description="The last 5 minutes, by source.")
    by_worker: dict[str, dict[str, SourceUsage]] = Field(description="The same by worker, then source.")
    by_caller: dict[str, dict[str, CallerUsage]] = Field(description="By caller, then source.")
    workers: list[WorkerStatus]
    history: list[Day]


class UsageQuery(BaseModel):
    """What may stand behind the ``?``."""

    days: int = Field(1, ge=1, le=KEPT_DAYS, description="How many UTC days of history, today included.")


@router.get("/monitoring/usage")
def usage(context: Ctx, asked: Annotated[UsageQuery, Query()]) -> Usage:
    """Requests, hits, errors, cost and latency of today, and who does the work."""
    found = context.fleet.usage(asked.days)
    return Usage.model_validate(
        {
            "is_available": found.is_available,
            "day": found.day,
            **_totals("_today", found.total),
            "sources": found.sources,
            "recent": found.recent,
            "by_worker": found.by_worker,
            "by_caller": found.by_caller,
            "workers": found.workers,
            "history": [
                {"day": one.day, "sources": one.sources, **_totals("", one.total)} for one in found.history
            ],
        }
    )


class SymbolsQuery(UsageQuery):
    source: Annotated[str | None, Field(max_length=200, description="Of this source alone.")] = None
    most: int = Field(50, ge=1, le=1000, description="So many symbols.")


@router.get("/usage/symbols")
def symbols(context: Ctx, asked: Annotated[SymbolsQuery, Query()]) -> list[SymbolCost]:
    """The symbols that most was paid for in the last days, the dearest first."""
    return context.fleet.symbol_costs(asked.days, asked.source, asked.most)


@router.get("/usage")
def report(
    context: Ctx,
    pages: Pages,
    by: By = "source",
    days: Annotated[int, Query(ge=1, le=KEPT_DAYS, description="UTC days, today included.")] = 1,
    source: Annotated[str | None, Query(max_length=64, description="That source alone.")] = None,
    most: Most = 100,
    skip: Annotated[int, Query(ge=0, le=100_000, description="Leave out so many.")] = 0,
) -> UsageReport:
    """What was asked for and what it cost, by source, worker, caller or day."""
    found = context.fleet.report(days, by, source)
    rows = pages.cut(found.rows[skip:], most, skip=lambda page: skip + most)
    return replace(found, rows=tuple(rows))


def _totals(when: str, total: Totals | None) -> dict[str, float | None]:
    return {
        f"total_requests{when}": total.requests if total else None,
        f"total_errors{when}": total.errors if total else None,
        f"total_cost{when}": total.cost if total else None,
        "average_cache_hit_rate": total.cache_hit_rate if total else None,
    }


class HistoryQuery(BaseModel):
    """What may stand behind the ``?``."""

    source: str = Field(max_length=64, description="Of which source.")
    span: HistorySpan = Field(
        "24h", description="15 minutes by the minute, 24 hours by the quarter, or 30 days by the hour."
    )


@router.get("/usage/history")
def history(context: Ctx, asked: Annotated[HistoryQuery, Query()]) -> UsageHistory:
    """Requests, hits, errors, cost, latency and queue of a source over time. The last step goes on."""
    return context.fleet.history(asked.source, asked.span)
