"""The first page: what is wrong, which source, until when, what to do."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from tbcache.api.page import past, row
from tbcache.api.page.live import Parts, Seen, live_of
from tbcache.api.page.part import drawn
from tbcache.api.page.render import page
from tbcache.api.security import barred

router = APIRouter(include_in_schema=False)


def draw(seen: Seen) -> Parts:
    status, parts = seen.status, ("head", "troubles", "sources", "history", "warm", "work")
    return drawn(status, *parts, freshness=row.freshness(status), past=past.past(seen))


@router.get("/")
async def home(request: Request) -> HTMLResponse:
    seen = await live_of(request).seen()
    return page("home.html", live="home", parts=draw(seen), status=seen.status, barred=barred(request))
