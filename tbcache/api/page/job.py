"""The page of jobs: the queues, what waits in them, and what died; found by symbol, id, caller and error."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Annotated, NamedTuple

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from tbcache.api.context import Ctx
from tbcache.api.page import may, part
from tbcache.api.page.live import live_of
from tbcache.api.page.render import page
from tbcache.api.page.verb import searched
from tbcache.fleet import DeadLetter, Fleet, FleetStatus, JobFilter, ListedJob
from tbcache.models.error import RedisUnreachable

#: So many jobs of a queue are listed, and so many that died.
MOST_JOBS = 25
MOST_LETTERS = 50

router = APIRouter(include_in_schema=False)

Text = Annotated[str, Query(max_length=200)]


class _Found(NamedTuple):
    jobs: list[ListedJob]
    letters: list[DeadLetter]


@router.get("/jobs")
async def jobs(
    request: Request, context: Ctx, symbol: Text = "", id: Text = "", error: Text = "", caller: Text = ""
) -> HTMLResponse:
    # The letters are those of now, and so are the counts beside them.
    live_of(request).forget()
    status = await live_of(request).status()
    asked = {"symbol": symbol, "id": id, "error": error, "caller": caller}
    where = {name: value.strip() for name, value in asked.items() if value.strip()}
    found = _Found([], [])
    if status.server.is_available:
        found = await asyncio.to_thread(_find, context.fleet, status, where)
    return page(
        "jobs.html",
        live="head",
        parts=part.head(status),
        status=status,
        barred=may.barred(request),
        jobs=found.jobs,
        letters=found.letters,
        where=where,
        most=MOST_JOBS,
    )


def _find(fleet: Fleet, status: FleetStatus, where: Mapping[str, str]) -> _Found:
    names = [
        *(source.name for source in status.sources if source.queue),
        *(one.name for one in status.queues),
    ]
    meant, found = JobFilter(where.get("symbol"), where.get("id"), where.get("caller")), _Found([], [])
    for name in names:
        # What is damaged of one queue hides nothing of the others.
        with contextlib.suppress(RedisUnreachable):
            found.letters.extend(fleet.dead(MOST_LETTERS, name, searched(where)))
        # A job that waits has no error yet.
        if "error" not in where:
            with contextlib.suppress(RedisUnreachable):
                found.jobs.extend(fleet.jobs(name, meant, MOST_JOBS))
    return found
