"""The page of what has changed in the last hour."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from tbcache.api.context import Ctx
from tbcache.api.page import part
from tbcache.api.page.live import live_of

HOURS = (1, 8, 24)

router = APIRouter(include_in_schema=False)


@router.get("/changes")
async def changes(request: Request, context: Ctx, hours: int = HOURS[0]) -> HTMLResponse:
    status, shown = await live_of(request).status(), hours if hours in HOURS else HOURS[0]
    found = await asyncio.to_thread(context.fleet.changes, shown) if status.server.is_available else []
    return part.headed("changes.html", status, changes=found, hours=shown, spans=HOURS)
