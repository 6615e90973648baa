"""All pages, and what changes of them each second."""

from __future__ import annotations

import math
from collections.abc import Mapping

from fastapi import APIRouter, HTTPException, Request

from tbcache.api.address import is_of_this_machine
from tbcache.api.context import get_context
from tbcache.api.page import (
    act,
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

router = APIRouter(include_in_schema=False)
PAGES = (home, source, symbol, symbol_past, job, caller, process, change, login)
for one in (*PAGES, act, static_file):
    router.include_router(one.router)

#: What draws the pages that are watched by these names.
DRAWN: Mapping[str, Draw] = {
    "head": lambda seen: part.head(seen.status),
    "home": home.draw,
    "processes": lambda seen: part.processes(seen.status),
}


@router.get("/live/{name}")
async def live(request: Request, name: str) -> Stream:
    """What changes of a page."""
    draw = DRAWN.get(name) or await _draw_of_source(request, name)
    if draw is None:
        raise HTTPException(404)
    return Stream(live_of(request), name, draw, _seconds(request))


def _seconds(request: Request) -> float:
    """For how long whoever asks may watch: as long as its session lasts, where it is let in by one."""
    tokens = get_context(request).tokens
    is_by_place = not tokens.are_set or is_of_this_machine(request.scope, request.headers)
    return math.inf if is_by_place else tokens.seconds_of_page(request.headers)


async def _draw_of_source(request: Request, name: str) -> Draw | None:
    """What draws the page of a source; None where there is none: who watches may not make up names."""
    kind, _, about = name.partition(":")
    if kind != "source":
        return None
    status = await live_of(request).status()
    return source.draw_of(about) if any(one.name == about for one in status.sources) else None
