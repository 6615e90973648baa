"""The page of jobs: the queues, what waits in them, and what died; found by source, symbol, id, caller and
error."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from tbcache.api.context import Ctx
from tbcache.api.page import part
from tbcache.api.page.live import live_of
from tbcache.api.page.verb import searched
from tbcache.api.security import barred
from tbcache.fleet import (
    DeadLetter,
    DeathCount,
    Fleet,
    FleetStatus,
    Hindrance,
    JobFilter,
    LetterMark,
    ListedJob,
    hindrances,
    put_off_by,
)
from tbcache.models.error import RedisUnreachable

#: So many jobs of a queue are listed, and of one that is looked at alone; so many that died, and of what.
MOST_JOBS, MOST_OF_ONE = 10, 200
MOST_LETTERS, MOST_LETTERS_OF_ONE = 10, 50
MOST_REASONS = 8

router = APIRouter(include_in_schema=False)

Text = Annotated[str, Query(max_length=200)]


@dataclass(frozen=True, slots=True)
class _Found:
    jobs: list[ListedJob] = field(default_factory=list)
    reasons: list[DeathCount] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)
    #: Of each queue of which more died than are listed, the place of the last one that is.
    after: dict[str, LetterMark] = field(default_factory=dict)


@router.get("/jobs")
async def jobs(
    request: Request,
    context: Ctx,
    source: Text = "",
    symbol: Text = "",
    id: Text = "",
    error: Text = "",
    caller: Text = "",
    after: Annotated[str, Query(max_length=400)] = "",
) -> HTMLResponse:
    # The letters are those of now, and so are the counts beside them.
    live_of(request).forget()
    status = await live_of(request).status()
    asked = {"source": source, "symbol": symbol, "id": id, "error": error, "caller": caller}
    where = {name: value.strip() for name, value in asked.items() if value.strip()}
    found = _Found()
    if status.server.is_available:
        mark = LetterMark.read(after) if after else None
        found = await asyncio.to_thread(_find, context.fleet, status, where, mark)
    return part.headed(
        "jobs.html",
        status,
        barred=barred(request),
        found=found,
        where=where,
        held=_held(status),
        again={one.name: put_off_by(status, one.name) for one in status.sources},
        # What the buttons of a queue go by: its name is said beside it.
        search={name: value for name, value in where.items() if name != "source"},
        is_later=bool(after),
        most=_most_jobs(where),
        most_dead=_most_letters(where),
    )


def _held(status: FleetStatus) -> dict[str, tuple[Hindrance, ...]]:
    """By queue, what holds its jobs up."""
    held = {one.name: hindrances(status, one.name) for one in status.sources}
    return held | {one.name: (Hindrance(f"is {one.order}"),) for one in status.queues if one.order}


def _find(fleet: Fleet, status: FleetStatus, where: Mapping[str, str], after: LetterMark | None) -> _Found:
    found = _Found()
    for name in _names(status, where):
        # What is damaged of one queue hides nothing of the others.
        with contextlib.suppress(RedisUnreachable):
            _find_dead(fleet, name, where, after, found)
        # A job that waits has no error yet.
        if "error" not in where and after is None:
            with contextlib.suppress(RedisUnreachable):
                meant = JobFilter(where.get("symbol"), where.get("id"), where.get("caller"))
                found.jobs.extend(fleet.jobs(name, meant, _most_jobs(where)))
    found.reasons.sort(key=lambda one: -one.count)
    return found


def _find_dead(
    fleet: Fleet, name: str, where: Mapping[str, str], after: LetterMark | None, found: _Found
) -> None:
    most = _most_letters(where)
    letters = fleet.dead(most + 1, name, searched(where), after)
    found.letters.extend(letters[:most])
    if len(letters) > most:
        found.after[name] = LetterMark.of(letters[most - 1])
    # Those of a search are told by their own count, once one of its buttons is pressed.
    if where.keys() <= {"source"} and after is None:
        found.reasons.extend(fleet.dead_reasons(MOST_REASONS, name))


def _most_jobs(where: Mapping[str, str]) -> int:
    return MOST_OF_ONE if "source" in where else MOST_JOBS


def _most_letters(where: Mapping[str, str]) -> int:
    return MOST_LETTERS_OF_ONE if "source" in where else MOST_LETTERS


def _names(status: FleetStatus, where: Mapping[str, str]) -> Sequence[str]:
    """The queues that are looked at."""
    known = [*(one.name for one in status.sources if one.queue), *(one.name for one in status.queues)]
    return [name for name in known if where.get("source", name) == name]
