"""The page of a symbol: what each source's cache has of it. Nothing is fetched for it."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from tbcache.api.context import Ctx
from tbcache.api.page import part, row
from tbcache.api.page.live import live_of
from tbcache.api.security import barred
from tbcache.fleet import Explanation, Fleet, hindrances
from tbcache.fleet.answer import Kept
from tbcache.models import FetchRequest
from tbcache.models.error import RedisUnreachable

DAY_HOURS = 24

router = APIRouter(include_in_schema=False)


@router.get("/symbol")
async def find(request: Request, context: Ctx, symbol: str = "") -> HTMLResponse:
    return await _symbol(request, context, symbol)


@router.get("/symbol/{symbol}")
async def show(request: Request, context: Ctx, symbol: str) -> HTMLResponse:
    return await _symbol(request, context, symbol)


async def _symbol(request: Request, context: Ctx, text: str) -> HTMLResponse:
    status = await live_of(request).status()
    # It is checked here, as without Redis nothing else does.
    name = FetchRequest("any", text).symbol
    known = await asyncio.to_thread(_known, context.fleet, name)
    answers, jobs = known or ([], [])
    return part.headed(
        "symbol.html",
        status,
        barred=barred(request),
        symbol=name,
        is_known=known is not None,
        off={
            one.name: one.missing
            for one in status.sources
            if one.missing and not any(kept.sentiment for kept in answers if kept.request.source == one.name)
        },
        answers=[row.answer(one, status.at) for one in answers],
        jobs={one.queue: one for one in jobs},
        hindrances={one.request.source: hindrances(status, one.request.source) for one in answers},
    )


def _known(fleet: Fleet, symbol: str) -> tuple[list[Kept], list[Explanation]] | None:
    """What the caches have of it, and where its fetches stand; None without Redis."""
    try:
        return fleet.answers(symbol, DAY_HOURS), fleet.waiting(symbol, DAY_HOURS)
    except RedisUnreachable:
        return None
