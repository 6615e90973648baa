"""The usage: what was asked, what it cost, by source, by worker, by day."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from tbcache.api.context import Context, Ctx
from tbcache.api.error import REFUSALS
from tbcache.api.model import Day, DaySource, RecentUsage, SourceUsage, Usage, Worker
from tbcache.monitoring import KEPT_DAYS

router = APIRouter(prefix="/api/monitoring", tags=["monitoring"], responses=REFUSALS)


class Asked(BaseModel):
    """What may stand behind the ``?``; a misspelled name would change nothing in silence."""

    model_config = ConfigDict(extra="forbid")

    days: int = Field(1, ge=1, le=KEPT_DAYS, description="How many UTC days of history, today included.")


@router.get("/usage")
def usage(context: Ctx, asked: Annotated[Asked, Query()]) -> Usage:
    """Requests, hits, errors, cost and latency of today, and who does the work."""
    moments = context.monitor.days_back(asked.days)
    today = context.monitor.get_usage_summary(moments[0])
    workers = [Worker.model_validate(one) for one in context.monitor.get_workers()]
    by_worker = read_by_worker(context, moments[0])
    history = [read_day(context, moment) for moment in moments] if asked.days > 1 else []
    if not context.store.is_available:
        return _unknown(moments[0], today["sources"])
    return Usage(
        is_available=True,
        day=moments[0].date(),
        total_requests_today=today["total_requests_today"],
        total_errors_today=today["total_errors_today"],
        total_cost_today=today["total_cost_today"],
        average_cache_hit_rate=today["average_cache_hit_rate"],
        sources={name: SourceUsage.model_validate(one) for name, one in today["sources"].items()},
        recent={
            name: RecentUsage.model_validate(context.monitor.get_recent_metrics(name))
            for name in today["sources"]
        },
        by_worker=by_worker,
        workers=workers,
        history=history,
    )


def _unknown(today: datetime, sources: Iterable[str]) -> Usage:
    """What is known while Redis is away: zeros would look like a quiet day, and a bill of nothing."""
    nothing = dict.fromkeys(sources)
    return Usage(
        is_available=False,
        day=today.date(),
        total_requests_today=None,
        total_errors_today=None,
        total_cost_today=None,
        average_cache_hit_rate=None,
        sources=nothing,
        recent=nothing,
        by_worker={},
        workers=[],
        history=[],
    )


def read_by_worker(context: Context, moment: datetime) -> dict[str, dict[str, SourceUsage]]:
    found: dict[str, dict[str, SourceUsage]] = {}
    for name in context.monitor.get_source_names():
        for worker, metrics in context.monitor.get_worker_metrics(name, moment).items():
            found.setdefault(worker, {})[name] = SourceUsage.model_validate(metrics)
    return dict(sorted(found.items()))


def read_day(context: Context, moment: datetime) -> Day:
    summary = context.monitor.get_usage_summary(moment)
    return Day(
        day=moment.date(),
        total_requests=summary["total_requests_today"],
        total_errors=summary["total_errors_today"],
        total_cost=summary["total_cost_today"],
        average_cache_hit_rate=summary["average_cache_hit_rate"],
        sources={
            name: DaySource(
                requests=one.requests_today,
                errors=one.errors_today,
                cost=one.cost_today,
                cache_hit_rate=one.cache_hit_rate,
            )
            for name, one in summary["sources"].items()
        },
    )
