"""The pages of what operators have done, and of what has changed in the last hours."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from tbcache.api.context import Ctx
from tbcache.api.page import part
from tbcache.api.page.live import live_of

HOURS = (1, 8, 24)
#: So many lines are shown.
MOST_LINES = 200

router = APIRouter(include_in_schema=False)


@router.get("/changes")
async def changes(request: Request, context: Ctx, hours: int = HOURS[0]) -> HTMLResponse:
    status, shown = await live_of(request).status(), hours if hours in HOURS else HOURS[0]
    found = await asyncio.to_thread(context.fleet.changes, shown) if status.server.is_available else []
    return part.headed("changes.html", status, changes=found, hours=shown, spans=HOURS)


@router.get("/audit")
async def audit(request: Request, context: Ctx) -> HTMLResponse:
    status = await live_of(request).status()
    lines = await asyncio.to_thread(context.fleet.audit, MOST_LINES) if status.server.is_available else None
    return part.headed("audit.html", status, lines=lines)
