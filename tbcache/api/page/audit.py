"""The page of what operators have done."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from tbcache.api.context import Ctx
from tbcache.api.page import part
from tbcache.api.page.live import live_of

#: So many lines are shown.
MOST_LINES = 200

router = APIRouter(include_in_schema=False)


@router.get("/audit")
async def audit(request: Request, context: Ctx) -> HTMLResponse:
    status = await live_of(request).status()
    lines = await asyncio.to_thread(context.fleet.audit, MOST_LINES) if status.server.is_available else None
    return part.headed("audit.html", status, lines=lines)
