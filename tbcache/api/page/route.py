"""The pages, and what changes of them each second."""

from __future__ import annotations

import asyncio
import mimetypes
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import HTMLResponse, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent

from tbcache.api.context import Ctx
from tbcache.api.page import login, row, verb
from tbcache.api.page.live import Draw, Parts, live_of
from tbcache.api.page.render import HEADERS, STATIC, page, render
from tbcache.fleet import FleetStatus
from tbcache.fleet.operator import DeadFilter
from tbcache.models.error import UnknownSource

#: So many dead jobs of a source are listed.
MOST_LETTERS = 50
#: So many lines of the audit.
MOST_LINES = 200
DAY_HOURS = 24

router = APIRouter(include_in_schema=False)
router.include_router(login.router)
router.include_router(verb.router)


def _drawn(status: FleetStatus, *parts: str, **names: Any) -> Parts:
    """Parts of a page, by the names of their templates, which are the ids of their elements."""
    known = {"status": status, "rows": row.rows(status), "is_demo": row.is_demo(status), **names}
    return {part: render(f"part/{part}.html", **known) for part in parts}


def _home(status: FleetStatus) -> Parts:
    parts = ("head", "troubles", "sources", "warm", "work")
    return _drawn(status, *parts, freshness=row.freshness(status))


def _head(status: FleetStatus) -> Parts:
    return _drawn(status, "head")


def _source(name: str) -> Draw:
    def draw(status: FleetStatus) -> Parts:
        found = [one for one in row.rows(status) if one.source.name == name]
        if not found:
            raise UnknownSource(name, [source.name for source in status.sources])
        return _drawn(status, "head", "source", row=found[0], rows=row.rows(status))

    return draw


def _draw(name: str) -> Draw:
    """What draws the page that ``/live/NAME`` is for."""
    kind, _, source = name.partition(":")
    return _source(source) if kind == "source" else {"head": _head}.get(kind, _home)


@router.get("/")
async def index(request: Request) -> HTMLResponse:
    status = await live_of(request).status()
    return page("home.html", live="home", parts=_home(status), status=status)


@router.get("/source/{name}")
async def source(request: Request, name: str) -> HTMLResponse:
    status = await live_of(request).status()
    return page("source.html", live=f"source:{name}", parts=_source(name)(status), status=status, source=name)


@router.get("/symbol")
async def find(request: Request, context: Ctx, symbol: str = "") -> HTMLResponse:
    return await _symbol(request, context, symbol)


@router.get("/symbol/{symbol}")
async def symbol(request: Request, context: Ctx, symbol: str) -> HTMLResponse:
    return await _symbol(request, context, symbol)


async def _symbol(request: Request, context: Ctx, symbol: str) -> HTMLResponse:
    status = await live_of(request).status()
    found = await asyncio.to_thread(context.fleet.answers, symbol, DAY_HOURS)
    waiting = await asyncio.to_thread(context.fleet.waiting, symbol, DAY_HOURS)
    jobs = {one.queue: one for one in waiting}
    answers = [row.answer(one, status.at) for one in found]
    name = found[0].request.symbol if found else symbol
    return page(
        "symbol.html",
        parts=_drawn(status, "head"),
        status=status,
        symbol=name,
        answers=answers,
        jobs=jobs,
        live="head",
    )


@router.get("/jobs")
async def jobs(request: Request, context: Ctx, search: str = "") -> HTMLResponse:
    # The letters are those of now, and so are the counts beside them.
    live_of(request).forget()
    status = await live_of(request).status()
    where = DeadFilter(error=search or None)
    letters: list[Any] = []
    if status.server.is_available:
        letters = await asyncio.to_thread(context.fleet.dead, MOST_LETTERS, None, where)
    return page(
        "jobs.html",
        parts=_drawn(status, "head"),
        status=status,
        letters=letters,
        search=search,
        live="head",
    )


@router.get("/audit")
async def audit(request: Request, context: Ctx) -> HTMLResponse:
    status = await live_of(request).status()
    lines = await asyncio.to_thread(context.fleet.audit, MOST_LINES) if status.server.is_available else []
    return page("audit.html", parts=_drawn(status, "head"), status=status, lines=lines, live="head")


@router.get("/live/{name}", response_class=EventSourceResponse)
async def live(request: Request, name: str) -> AsyncIterator[ServerSentEvent]:
    """What changes of a page, each second."""
    async for text in live_of(request).watch(name, _draw(name)):
        yield ServerSentEvent(raw_data=text)


@router.get("/static/{name}")
def static(name: str) -> Response:
    file = next((one for one in STATIC.iterdir() if one.name == name), None)
    if file is None:
        raise HTTPException(404)
    kind = mimetypes.guess_type(name)[0] or "text/plain"
    return Response(file.read_bytes(), media_type=kind, headers=HEADERS)
