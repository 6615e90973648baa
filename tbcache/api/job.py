"""Jobs: ask for one, look for them, and see when each starts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal

from fastapi import Query, Response
from pydantic import ConfigDict, Field

from tbcache import fleet
from tbcache.api.context import Ctx, Op
from tbcache.api.model.schema import RequestBody, Schema
from tbcache.api.paging import Pages
from tbcache.api.parameter import AnyName, JobId, Most, Part, Symbol, behind
from tbcache.api.security import routers
from tbcache.fleet import Handle, JobFilter, JobMark, fetches_of, warming_of

router, write_router = routers("/api", "jobs")

#: So many symbols are asked for at once.
MOST_SYMBOLS = 100

Symbols = Annotated[list[Symbol], Field(min_length=1, max_length=MOST_SYMBOLS)]


class JobsAsked(RequestBody):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"source": "stocktwits", "symbols": ["AAPL", "GME"], "hours": 24}]},
    )

    source: str = Field(max_length=64)
    symbols: Symbols
    hours: int = Field(24, ge=1)


class SymbolsAsked(RequestBody):
    model_config = ConfigDict(json_schema_extra={"examples": [{"symbols": ["AAPL", "GME"]}]})

    symbols: Symbols
    source: Annotated[
        str | None, Field(max_length=64, description="All that are on, where none is named.")
    ] = None


class Queued(Schema):
    """What became of an ask for a job."""

    source: str
    symbol: str
    hours: int
    job_id: str | None = Field(description="null of a hit: there is no job.")
    state: Literal["queued", "joined", "hit"] = Field(
        description="`joined`: one for the same fetch was there; `hit`: the answer is in the cache."
    )
    starts_at: datetime | None = Field(description="As far as that is known; null of a hit.")


class Job(Schema):
    """A job that is neither over nor dead."""

    queue: str
    job_id: str
    state: str = Field(description="`running`, `waiting`, `delayed`, or `follows` a running job.")
    lane: str | None
    place: int | None = Field(description="In its lane, from 1.")
    actor: str
    symbol: str | None
    caller: str | None
    queued_at: datetime | None
    starts_at: datetime | None = Field(description="Of a running one when it began.")
    tries: int = Field(description="How often it has failed.")
    cause: str = Field(description="What it waits for, or why it was put off, in a few words.")


class JobState(Schema):
    """Where a job stands, what it waits for, and when it will start."""

    queue: str
    job_id: str
    state: str = Field(description="`waiting`, `delayed`, `running`, `follows` a running job, or `dead`.")
    lane: str | None
    place: int | None = Field(description="In its lane, from 1.")
    cause: str = Field(description="What it waits for, or why it was put off, in a few words.")
    starts_at: datetime | None = Field(description="Of a running one when it began; null if nobody knows.")
    workers: int = Field(description="How many take jobs of its queue.")
    threads: int = Field(description="Those of all of them.")
    busy: int = Field(description="How many of the threads have a job of any queue.")


@router.get("/jobs")
def jobs(
    context: Ctx,
    pages: Pages,
    name: AnyName = None,
    symbol: Part = None,
    caller: Annotated[
        str | None, Query(max_length=200, min_length=1, description="With all below it.")
    ] = None,
    state: Annotated[Literal["running", "waiting", "delayed", "follows"] | None, Query()] = None,
    most: Most = 100,
    after: Annotated[str | None, behind("^[^:]+:[0-9]{1,9}$", 80)] = None,
) -> list[Job]:
    """The jobs of a queue, or of all sources', in the order in which they are to start.

    They go on meanwhile: one may be on two pages, or on none.
    """
    where = JobFilter(symbol=symbol, caller=caller, state=state)
    mark = None if after is None else JobMark.read(after)
    found, rest = context.fleet.jobs_after(name, where, most, mark)
    if rest is not None:
        pages.go_on(after=str(rest))
    return [Job.model_validate(one) for one in found]


@router.get("/jobs/{job}")
def explain(
    context: Ctx,
    job: JobId,
    queue: Annotated[
        str | None, Query(max_length=64, min_length=1, description="If it is none of a source's.")
    ] = None,
) -> JobState:
    """Where a job stands, which limit it waits for, and when it will start; 404 once it is over."""
    return JobState.model_validate(context.fleet.explain(job, queue))


@write_router.post("/jobs", status_code=202, responses={404: {}})
def enqueue(context: Ctx, body: JobsAsked, response: Response) -> list[Queued]:
    """Have workers fetch symbols, and do not wait: whoever asks `/api/sentiment` for one meanwhile joins.

    Needs the token where `TBCACHE_API_TOKEN` is set, and is for the API's own machine otherwise. `Location`
    is where the first of the jobs stands.
    """
    requests = fetches_of(context.settings, body.source, body.symbols, body.hours)
    return _queued(context.fleet.enqueue_many(requests, "interactive"), response)


@write_router.post("/warm", status_code=202, responses={404: {}})
def warm(context: Ctx, operator: Op, body: SymbolsAsked, response: Response) -> list[Queued]:
    """Have symbols fetched from a source, or from every one that is on, behind what somebody waits for."""
    return _queued(operator.warm(warming_of(context.settings, body.symbols, body.source)), response)


def _queued(handles: Sequence[Handle], response: Response) -> list[Queued]:
    found = [Queued.model_validate(fleet.Queued.of(one)) for one in handles]
    first = next((one for one in found if one.state != "hit"), None)
    if first is not None:
        response.headers["Location"] = f"/api/jobs/{first.job_id}"
    return found
