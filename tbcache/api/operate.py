"""What an operator has the fleet do; each is a POST, with a line in the audit."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import Query
from pydantic import ConfigDict, Field

from tbcache.api.context import Ctx, Op
from tbcache.api.model.schema import LEFT_OUT, LimitTexts, Nothing, RequestBody, Schema
from tbcache.api.paging import Pages
from tbcache.api.parameter import CALLER, JobId, Moment, Most, Name, Source, Until
from tbcache.api.security import routers
from tbcache.fleet import AuditLine, Bound, JobFilter, OrderGiven
from tbcache.models import Limit

router, write_router = routers("/api", "operate")


class Reason(RequestBody):
    model_config = ConfigDict(json_schema_extra={"examples": [{"why": "the key is changed"}]})

    why: str = Field("", description="For all to see, and for the audit.", max_length=200)


class LimitsAsked(RequestBody):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"limits": "100/15m,2000/1d", "why": "shared key"}]}
    )

    limits: str = Field(description="Like 100/15m, or several with commas.", max_length=200)
    why: str = Field("", max_length=200)


class LimitsInForce(Schema):
    source: str
    limits: LimitTexts = Field(description="In force from now on; none while no process uses the source.")
    is_lowered: bool = Field(description="False: what the processes were started with allows no more anyway.")
    is_raised: bool = Field(description="One of them allows more than until then.")
    before: LimitTexts = Field(description="In force until then; none where no process used the source.")
    bound_before: Bound | None = Field(description="What an operator had set until then.")
    is_unchanged: bool = Field(
        description="What was set is what an operator had set: it stands, with who, why and since when."
    )


class Weight(RequestBody):
    model_config = ConfigDict(json_schema_extra={"examples": [{"caller": "desk/vip", "weight": 4}]})

    caller: Annotated[str, Field(max_length=64, json_schema_extra=CALLER)]
    weight: Annotated[float | None, Field(description="0.001 to 1000; null takes it back.")]
    why: Annotated[str, Field(max_length=200)] = ""


class Weighed(Schema):
    caller: str
    weight: float | None = Field(description="Null: that of the settings of the programs.")
    before: float | None = Field(description="What an operator had set until then; null: nothing.")


class Moved(Schema):
    name: str
    job: str
    is_done: bool = Field(description="True of `done` and `stopping`.")
    state: str = Field(
        description="`done`; `stopping`: its worker is told to stop it; `running`: a worker has it in hand; "
        "`gone`: it is not there; `delayed`: it would be put off again at once, and stays so."
    )
    why: Annotated[
        str, Field(description="Why one that is `delayed` is, and until when; empty of others.")
    ] = ""


class JobsMeant(RequestBody):
    """Which jobs that wait: those that have all of what is said; all of the queue where nothing is."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"symbol": "AAPL", "dry_run": True}]})

    symbol: Annotated[str, Field(max_length=200, min_length=1)] = LEFT_OUT
    caller: Annotated[str, Field(max_length=200, min_length=1, description="With all below it.")] = LEFT_OUT
    state: Literal["waiting", "delayed", "follows"] = LEFT_OUT
    why: Annotated[str, Field(max_length=200)] = ""
    until: Until = LEFT_OUT
    dry_run: Annotated[bool, Field(description="Only count them.")] = False


class Cancelled(Schema):
    name: str
    count: int = Field(description="How many were cancelled, or would be.")
    is_done: bool = Field(description="False for a dry run.")
    until: datetime | None = Field(description="Those queued later were not meant; null: all were.")


class Reopened(Schema):
    source: str
    was_closed: bool


class Reset(Schema):
    source: str
    is_reset: Literal[True] = True


@write_router.post("/queue/{name}/pause")
def pause(operator: Op, name: Name, body: Reason | None = None) -> OrderGiven:
    """Send nothing to a source and hand out none of its jobs, or none of a queue, until it is resumed."""
    return operator.pause(name, body.why if body else "")


@write_router.post("/queue/{name}/drain")
def drain(operator: Op, name: Name, body: Reason | None = None) -> OrderGiven:
    """Accept nothing new for a source or a queue until it is resumed; what is queued is done. What is paused
    stays so, as ``order`` says."""
    return operator.drain(name, body.why if body else "")


@write_router.post("/queue/{name}/resume")
def resume(operator: Op, name: Name, body: Nothing | None = None) -> OrderGiven:
    """Have a source or a queue that was paused or drained go on."""
    return operator.resume(name)


@write_router.post("/queue/{name}/jobs/{job}/cancel")
def cancel(operator: Op, name: Name, job: JobId, body: Reason | None = None) -> Moved:
    """Take a job out of its queue for good, or have its worker stop it; who waits for it is told."""
    return _moved(name, job, operator.cancel(name, job, body.why if body else ""))


@write_router.post("/queue/{name}/cancel")
def cancel_all(operator: Op, name: Name, body: JobsMeant) -> Cancelled:
    """Take jobs that wait out of a queue for good: all, or those that have all of what is said; who waits for
    one is told. Those that a worker has in hand stay."""
    until = operator.now(name) if body.dry_run and body.until is None else body.until
    where = JobFilter(symbol=body.symbol, caller=body.caller, state=body.state, until=until)
    count = operator.count_jobs(name, where) if body.dry_run else operator.cancel_jobs(name, where, body.why)
    return Cancelled(name=name, count=count, is_done=not body.dry_run, until=until)


@write_router.post("/queue/{name}/jobs/{job}/promote")
def promote(operator: Op, name: Name, job: JobId, body: Nothing | None = None) -> Moved:
    """Put a job that waits in front of its lane; one that would be put off again at once stays put off."""
    state = operator.promote(name, job)
    why = f"{name} {operator.why_put_off(name)}" if state == "delayed" else ""
    return _moved(name, job, state, why)


@router.get("/weights")
def weights(context: Ctx) -> dict[str, float]:
    """The weights of callers that operators have set; those of the programs' settings are not among them."""
    return context.fleet.weights()


@write_router.post("/weights")
def weigh(operator: Op, body: Weight) -> Weighed:
    """Set the weight of a caller for what is queued from now on, or take it back (null)."""
    if body.weight is None:
        before = operator.unset_weight(body.caller)
    else:
        before = operator.set_weight(body.caller, body.weight, body.why)
    return Weighed(caller=body.caller, weight=body.weight, before=before)


@write_router.post("/limits/{source}/set")
def set_limits(operator: Op, source: Source, body: LimitsAsked) -> LimitsInForce:
    """Have these limits hold beside those of the processes: the strictest of each window is in force."""
    return LimitsInForce.model_validate(operator.set_limits(source, Limit.parse_all(body.limits), body.why))


@write_router.post("/limits/{source}/unset")
def unset_limits(operator: Op, source: Source, body: Nothing | None = None) -> LimitsInForce:
    """Take back the limits that were set."""
    return LimitsInForce.model_validate(operator.unset_limits(source))


@write_router.post("/limits/{source}/reopen")
def reopen(operator: Op, source: Source, body: Nothing | None = None) -> Reopened:
    """Lift the closure of a source; every slot stays."""
    return Reopened(source=source, was_closed=operator.reopen(source))


@write_router.post("/limits/{source}/reset")
def reset(operator: Op, source: Source, body: Nothing | None = None) -> Reset:
    """Forget every slot of a source, and its closure; the upstream does not forget what it has seen."""
    operator.reset(source)
    return Reset(source=source)


@router.get("/audit")
def audit(
    context: Ctx,
    pages: Pages,
    most: Most = 100,
    before: Annotated[Moment | None, Query(description="What was done before that moment.")] = None,
    after: Annotated[str | None, Query(pattern="^[0-9a-f]{32}$", description="As `Link` has it.")] = None,
) -> list[AuditLine]:
    """What operators have done in the last 30 days, the last first."""
    found = context.fleet.audit(most + 1, before, after)
    return pages.cut(found, most, after=lambda page: page[-1].mark)


def _moved(name: str, job: str, state: str, why: str = "") -> Moved:
    return Moved(name=name, job=job, is_done=state in ("done", "stopping"), state=state, why=why)
