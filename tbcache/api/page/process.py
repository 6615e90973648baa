"""The page of processes: who is there, who is gone since when, what each does, and what comes next."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from tbcache.api.context import Ctx
from tbcache.api.page import part
from tbcache.api.page.live import live_of
from tbcache.api.page.render import page
from tbcache.fleet import Fleet, JobFilter, ListedJob
from tbcache.models.error import RedisUnreachable

#: So many of the fetches that are put off are shown, and of so many of each source they are the next.
MOST_NEXT = 12

router = APIRouter(include_in_schema=False)


@router.get("/processes")
async def processes(request: Request, context: Ctx) -> HTMLResponse:
    status = await live_of(request).status()
    coming = await asyncio.to_thread(_coming, context.fleet)
    return page(
        "processes.html", live="processes", parts=part.processes(status), status=status, coming=coming
    )


def _coming(fleet: Fleet) -> list[ListedJob] | None:
    """The fetches that are due next, as the scheduler, or a try that failed, has put them off; None without
    Redis."""
    try:
        jobs = fleet.jobs(None, JobFilter(state="delayed"), MOST_NEXT)
    except RedisUnreachable:
        return None
    due = [(job.starts_at, job) for job in jobs if job.starts_at is not None]
    return [job for _, job in sorted(due, key=lambda one: one[0])][:MOST_NEXT]
