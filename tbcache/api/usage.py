"""The usage: what was asked, what it cost, by source, by worker, by day."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from tbcache.api.context import Ctx
from tbcache.api.model import Usage
from tbcache.fleet import KEPT_DAYS, DayUsage, Totals

router = APIRouter(prefix="/api/monitoring", tags=["monitoring"])


class UsageQuery(BaseModel):
    """What may stand behind the ``?``; a misspelled name would change nothing in silence."""

    model_config = ConfigDict(extra="forbid")

    days: int = Field(1, ge=1, le=KEPT_DAYS, description="How many UTC days of history, today included.")


@router.get("/usage")
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
            "workers": found.workers,
            "history": [_day(day) for day in found.history],
        }
    )


def _day(found: DayUsage) -> dict[str, Any]:
    return {"day": found.day, "sources": found.sources, **_totals("", found.total)}


def _totals(when: str, total: Totals | None) -> dict[str, float | None]:
    return {
        f"total_requests{when}": total.requests if total else None,
        f"total_errors{when}": total.errors if total else None,
        f"total_cost{when}": total.cost if total else None,
        "average_cache_hit_rate": total.cache_hit_rate if total else None,
    }
