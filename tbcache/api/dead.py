"""Dead letters: look through them, queue them again, forget them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import ConfigDict, Field

from tbcache.api.context import Ctx, Op
from tbcache.api.model.schema import LEFT_OUT, RequestBody, Schema
from tbcache.api.paging import Pages
from tbcache.api.parameter import AnyName, Most, Name, Part, Until, behind
from tbcache.api.security import routers
from tbcache.fleet import DeadFilter, DeathCount, LetterMark, Operator

router, write_router = routers("/api", "operate")


class DeadAsked(RequestBody):
    """Which dead letters: those that have all of what is said; all of the queue where nothing is."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"error": "worker died", "dry_run": True}]})

    symbol: Annotated[str, Field(max_length=200, min_length=1)] = LEFT_OUT
    job: Annotated[str, Field(max_length=200, min_length=1, description="An id.")] = LEFT_OUT
    error: Annotated[str, Field(max_length=200, min_length=1, description="Any part of the reason.")] = (
        LEFT_OUT
    )
    caller: Annotated[str, Field(max_length=200, min_length=1)] = LEFT_OUT
    until: Until = LEFT_OUT
    dry_run: Annotated[bool, Field(description="Only count them.")] = False


class DeadDone(Schema):
    name: str
    count: int = Field(description="How many were queued again, or forgotten; or would be.")
    left: int = Field(description="How many cannot be queued again, and stay dead.")
    is_done: bool = Field(description="False for a dry run.")
    until: datetime | None = Field(description="Those that died later were not meant; null: all were.")


class DeadLetter(Schema):
    """A job that is dead."""

    source: str = Field(validation_alias="queue")
    job_id: str
    symbol: str
    caller: str | None
    died_at: datetime
    reason: str
    actor: str | None = Field(description="The name of its actor; null: its message cannot be read.")
    args: str | None = Field(
        description="What that was called with, as JSON, cut where it is long; null as above."
    )


@router.get("/dead")
def dead(
    context: Ctx,
    pages: Pages,
    name: AnyName = None,
    symbol: Part = None,
    job: Part = None,
    error: Part = None,
    caller: Part = None,
    most: Most = 100,
    after: Annotated[str | None, behind("^[^:]+:[0-9]{1,19}:", 400)] = None,
) -> list[DeadLetter]:
    """Dead letters, the last of each queue first: all, or those that have all of what is said."""
    where = DeadFilter(symbol, job, caller, error=error)
    mark = None if after is None else LetterMark.read(after)
    found = context.fleet.dead(most + 1, name, where, mark)
    page = pages.cut(found, most, after=lambda page: LetterMark.of(page[-1]))
    return [DeadLetter.model_validate(letter) for letter in page]


@router.get("/dead/errors")
def errors(context: Ctx, name: AnyName = None, most: Most = 10) -> list[DeathCount]:
    """Of what jobs died, and how many of each error: so many errors of each queue, the frequent ones
    first."""
    return context.fleet.dead_reasons(most, name)


@write_router.post("/dead/{name}/requeue")
def requeue(operator: Op, name: Name, body: DeadAsked) -> DeadDone:
    """Queue dead letters again: all of a queue, or those that have all of what is said."""
    where = _where(operator, name, body)
    if body.dry_run:
        return _done(body, name, operator.count_dead(name, where), where)
    done = operator.requeue_dead(name, where)
    return _done(body, name, done.queued, where, left=done.left)


@write_router.post("/dead/{name}/purge")
def purge(operator: Op, name: Name, body: DeadAsked) -> DeadDone:
    """Forget dead letters: all of a queue, or those that have all of what is said."""
    act, where = operator.count_dead if body.dry_run else operator.purge_dead, _where(operator, name, body)
    return _done(body, name, act(name, where), where)


def _where(operator: Operator, name: str, asked: DeadAsked) -> DeadFilter:
    until = operator.now(name) if asked.dry_run and asked.until is None else asked.until
    return DeadFilter(asked.symbol, asked.job, asked.caller, until, asked.error)


def _done(asked: DeadAsked, name: str, count: int, where: DeadFilter, left: int = 0) -> DeadDone:
    return DeadDone(name=name, count=count, left=left, is_done=not asked.dry_run, until=where.until)
