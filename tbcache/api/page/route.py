"""All pages, and what changes of them each second."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException, Request

from tbcache.api.page import (
    act,
    audit,
    caller,
    change,
    home,
    job,
    login,
    part,
    process,
    source,
    static_file,
    symbol,
    symbol_past,
)
from tbcache.api.page.live import Draw, Stream, live_of
from tbcache.fleet import FleetStatus

router = APIRouter(include_in_schema=False)
PAGES = (home, source, symbol, symbol_past, job, caller, process, change, audit, login)
for one in (*PAGES, act, static_file):
    router.include_router(one.router)


@router.get("/live/{name}")
async def live(request: Request, name: str) -> Stream:
    """What changes of a page."""
    draw = _draw_of(name, await live_of(request).status())
    if draw is None:
        raise HTTPException(404)
    return Stream(live_of(request), name, draw)


def _draw_of(name: str, status: FleetStatus) -> Draw | None:
    """What draws the page that is watched as ``name``; None for none: who watches may not make up names."""
    kind, _, about = name.partition(":")
    if kind == "source" and any(one.name == about for one in status.sources):
        return source.draw_of(about)
    others: dict[str, Draw] = {
        "head": lambda seen: part.head(seen.status),
        "home": home.draw,
        "processes": lambda seen: part.processes(seen.status),
    }
    return others.get(name)
