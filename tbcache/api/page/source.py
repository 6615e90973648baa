"""The page of a source: its windows, its queue, what it was asked, and what can be done to it."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from tbcache.api.page import mend, past, row
from tbcache.api.page.live import Draw, Parts, Seen, live_of
from tbcache.api.page.part import drawn
from tbcache.api.page.render import page
from tbcache.api.security import barred
from tbcache.models.error import UnknownSource

router = APIRouter(include_in_schema=False)


def draw_of(name: str) -> Draw:
    """What draws the page of the source ``name``; it raises UnknownSource where there is none."""

    def draw(seen: Seen) -> Parts:
        status = seen.status
        found = next((one for one in row.rows(status) if one.source.name == name), None)
        if found is None:
            raise UnknownSource(name, [source.name for source in status.sources])
        trend = seen.trends.get(name)
        over_time = trend and past.plots(trend, found.source, status)
        mends = [one for one in mend.mends(status) if one.trouble.source == name]
        return drawn(status, "head", "source", "trend", row=found, trend=over_time, mends=mends)

    return draw


@router.get("/source/{name}")
async def source(request: Request, name: str) -> HTMLResponse:
    seen = await live_of(request).seen()
    parts = draw_of(name)(seen)
    return page(
        "source.html",
        live=f"source:{name}",
        parts=parts,
        status=seen.status,
        barred=barred(request),
        source=name,
    )
