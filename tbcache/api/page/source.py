"""The page of a source: its windows, its queue, what it was asked, and what can be done to it."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from tbcache.api.page import row
from tbcache.api.page.live import Draw, Parts, live_of
from tbcache.api.page.part import drawn
from tbcache.api.page.render import page
from tbcache.fleet import FleetStatus
from tbcache.models.error import UnknownSource

router = APIRouter(include_in_schema=False)


def draw_of(name: str) -> Draw:
    """What draws the page of the source ``name``; it raises UnknownSource where there is none."""

    def draw(status: FleetStatus) -> Parts:
        found = next((one for one in row.rows(status) if one.source.name == name), None)
        if found is None:
            raise UnknownSource(name, [source.name for source in status.sources])
        return drawn(status, "head", "source", row=found)

    return draw


@router.get("/source/{name}")
async def source(request: Request, name: str) -> HTMLResponse:
    status = await live_of(request).status()
    parts = draw_of(name)(status)
    return page("source.html", live=f"source:{name}", parts=parts, status=status, source=name)
