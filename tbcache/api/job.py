"""Jobs: ask for one, look for them, and see when each starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import Query, Response
from pydantic import ConfigDict, Field

from tbcache.api.context import Ctx, Op
from tbcache.api.model.schema import RequestBody
from tbcache.api.paging import Pages
from tbcache.api.parameter import AnyName, JobId, Most, Part, Symbol, behind
from tbcache.api.security import routers
from tbcache.fleet import (
    Explanation,
    Handle,
    JobFilter,
    JobMark,
    ListedJob,
    Queued,
    fetches_of,
    warming_of,
)

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
) -> list[ListedJob]:
    """The jobs of a queue, or of all sources', in the order in which they are to start.

    They go on meanwhile: one may be on two pages, or on none.
    """
    where = JobFilter(symbol=symbol, caller=caller, state=state)
    mark = None if after is None else JobMark.read(after)
    found, rest = context.fleet.jobs_after(name, where, most, mark)
    if rest is not None:
        pages.go_on(after=str(rest))
    return found


@router.get("/jobs/{job}")
def explain(
    context: Ctx,
    job: JobId,
    queue: Annotated[
        str | None, Query(max_length=64, min_length=1, description="If it is none of a source's.")
    ] = None,
) -> Explanation:
    """Where a job stands, which limit it waits for, and when it will start; 404 once it is over."""
    return context.fleet.explain(job, queue)


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
    found = [Queued.of(one) for one in handles]
    first = next((one for one in found if one.state != "hit"), None)
    if first is not None:
        response.headers["Location"] = f"/api/jobs/{first.job_id}"
    return found
