"""The page of callers: who asks how much, from where it was answered, and what that cost."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from tbcache.api.context import Ctx
from tbcache.api.page import part, row
from tbcache.api.page.live import live_of
from tbcache.api.security import barred
from tbcache.fleet import CallerMetrics, Fleet, FleetUsage, SymbolCost
from tbcache.models.error import RedisUnreachable

#: So many callers, and so many symbols of a source, are listed.
MOST_CALLERS = 200
MOST_SYMBOLS = 10
#: So many of all that cost money are looked at.
MOST_PRICED = 200

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class CallerRow:
    """A caller: what it has asked of all sources together today, and of each."""

    name: str
    total: CallerMetrics
    sources: Mapping[str, CallerMetrics]


def rows(usage: FleetUsage) -> list[CallerRow]:
    """The callers of today: who costs most comes first, and of those who cost the same who asks most."""
    found = [
        CallerRow(name, sum(sources.values(), CallerMetrics()), sources)
        for name, sources in usage.by_caller.items()
    ]
    return sorted(found, key=lambda one: (-one.total.cost_most, -one.total.requests, one.name))


def spenders(callers: list[CallerRow], source: str, most: int = 3) -> list[tuple[str, float]]:
    """Who has spent most of a source's money, and how much at most (US dollars)."""
    paid = [(one.name, one.sources[source].cost_most) for one in callers if source in one.sources]
    return [one for one in sorted(paid, key=lambda one: -one[1]) if one[1]][:most]


@router.get("/callers")
async def callers(request: Request, context: Ctx) -> HTMLResponse:
    status = await live_of(request).status()
    usage, asked, weights, costs = await asyncio.to_thread(_read, context.fleet)
    dearest: dict[str, list[SymbolCost]] = {}
    for one in costs:
        dearest.setdefault(one.source, []).append(one)
    found = rows(usage)
    names: dict[str, Any] = {source.name: spenders(found, source.name) for source in status.sources}
    return part.headed(
        "callers.html",
        status,
        usage=usage,
        dearest=dearest,
        rows=row.rows(status),
        callers=found[:MOST_CALLERS],
        left=len(found) - MOST_CALLERS,
        spenders=names,
        barred=barred(request),
        weights=weights,
        asked={name: dict(islice(symbols.items(), MOST_SYMBOLS)) for name, symbols in asked.items()},
    )


class _Read(NamedTuple):
    usage: FleetUsage
    asked: dict[str, dict[str, int]]
    weights: dict[str, float]
    costs: list[SymbolCost]


def _read(fleet: Fleet) -> _Read:
    usage = fleet.usage()
    try:
        costs = fleet.symbol_costs(most=MOST_PRICED)
        return _Read(usage, fleet.asked(), dict(sorted(fleet.weights().items())), costs)
    except RedisUnreachable:
        return _Read(usage, {}, {}, [])
