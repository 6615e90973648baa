"""The page of jobs: the queues, and what died in them."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from tbcache.api.context import Ctx
from tbcache.api.page import part
from tbcache.api.page.live import live_of
from tbcache.api.page.render import page
from tbcache.fleet import DeadFilter, DeadLetter

#: So many dead jobs of a source are listed.
MOST_LETTERS = 50

router = APIRouter(include_in_schema=False)


@router.get("/jobs")
async def jobs(request: Request, context: Ctx, search: str = "") -> HTMLResponse:
    # The letters are those of now, and so are the counts beside them.
    live_of(request).forget()
    status = await live_of(request).status()
    where, letters = DeadFilter(error=search or None), list[DeadLetter]()
    if status.server.is_available:
        letters = await asyncio.to_thread(context.fleet.dead, MOST_LETTERS, None, where)
    return page(
        "jobs.html", live="head", parts=part.head(status), status=status, letters=letters, search=search
    )
