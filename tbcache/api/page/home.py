"""The first page: what is wrong, which source, until when, what to do."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from tbcache.api.page import row
from tbcache.api.page.live import Parts, live_of
from tbcache.api.page.part import drawn
from tbcache.api.page.render import page
from tbcache.fleet import FleetStatus

router = APIRouter(include_in_schema=False)


def draw(status: FleetStatus) -> Parts:
    parts = ("head", "troubles", "sources", "warm", "work")
    return drawn(status, *parts, freshness=row.freshness(status))


@router.get("/")
async def home(request: Request) -> HTMLResponse:
    status = await live_of(request).status()
    return page("home.html", live="home", parts=draw(status), status=status)
