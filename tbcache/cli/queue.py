"""``tbcache queue``: what waits, runs and is put off, and what an operator does about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from tbcache.cli.command import CSV, FORM, JSON, command, commands, group
from tbcache.cli.consent import confirm, is_meant, left
from tbcache.cli.context import act_as, load_settings, quiet_settings, require_redis
from tbcache.cli.exit import FAILED, OK
from tbcache.cli.option import AnyQueue, CallerOf, DryRun, QueueName, Symbol, Who, Why, Yes
from tbcache.cli.output import columns_of, show, tell
from tbcache.cli.progress import progress
from tbcache.cli.table import rows_table
from tbcache.models.age import rough
from tbcache.models.error import InvalidRequest, UnknownSource
from tbcache.models.job import JobState

if TYPE_CHECKING:
    from tbcache.fleet import ListedJob

MOST_JOBS = 100

JobId = Annotated[str, typer.Argument(metavar="JOB", help="The id of a job.")]


@group(commands, "queue", "tbcache queue pause twitter --why 'the key is being changed'")
def queues() -> None:
    """Show what waits in the queues; pause, drain or resume one; cancel or promote a job."""


@command(queues, "stats", "tbcache queue stats", JSON, CSV)
def stats(name: AnyQueue = None) -> None:
    """Show how much waits in each queue, how old it is, how fast it goes, and how much died."""
    from tbcache.fleet import Order, QueueDepth, QueueLoad

    status = require_redis(quiet_settings()).status()
    if name is not None and name not in {one.name for one in status.all_queues}:
        raise UnknownSource(name, [one.name for one in status.all_queues])
    chosen = [
        {field: getattr(one, field) for field in ("name", "state", "queue", "load", "is_served", "order")}
        for one in status.all_queues
        if name in (None, one.name)
    ]
    columns = (
        *("name", "state", *columns_of(QueueDepth, "queue")[1:], *columns_of(QueueLoad, "load"), "is_served"),
        *columns_of(Order, "order"),
    )
    show(chosen, lambda: _stats_table(chosen), columns=columns)


@command(queues, "list", "tbcache queue list twitter --symbol AAPL", JSON, CSV)
def list_jobs(
    name: AnyQueue = None,
    symbol: Symbol = None,
    job: Annotated[str | None, typer.Option("--id", help="The one of this id.")] = None,
    caller: CallerOf = None,
    state: Annotated[JobState | None, typer.Option(help="In this state only.")] = None,
    most: Annotated[int, typer.Option(min=1, max=10_000, help="List so many of each queue.")] = MOST_JOBS,
) -> None:
    """List the jobs that run, wait or are put off, in the order in which they are to start."""
    from tbcache.fleet import JobFilter, ListedJob

    where = JobFilter(symbol, job, caller, state=state)
    found = require_redis(quiet_settings()).jobs(name, where, most)
    empty = "no job is queued" if where == JobFilter() else "no such job is queued"
    show(found, lambda: _job_table(found), columns=columns_of(ListedJob), empty=empty)


@command(queues, "explain", "tbcache queue explain 0d5e63a2-6d7b-4b0f-9d2f-3b1a9f2c4e11", JSON)
def explain(
    job: JobId,
    queue: Annotated[
        str | None, typer.Option(metavar="NAME", help="Its queue, where that is none of a source's.")
    ] = None,
) -> None:
    """Show where a job stands, which limit it waits for, and when it will start."""
    found = require_redis(quiet_settings()).explain(job, queue)
    show(found, lambda: str(found))


@command(queues, "pause", "tbcache queue pause twitter --why 'the key is being changed'", JSON)
def pause(name: QueueName, why: Why = "", who: Who = None) -> None:
    """Send nothing to a source, and hand out no job of it or of a queue, until it is resumed."""
    from tbcache.settings import get_sources

    found = act_as(who).pause(name, why)
    rest = "; cached answers are given out as before" if name in get_sources(load_settings()) else ""
    tell(found, f"{found}{rest}; `tbcache queue resume {name}` ends it")


@command(queues, "drain", "tbcache queue drain reddit --why 'moving house'", JSON)
def drain(name: QueueName, why: Why = "", who: Who = None) -> int:
    """Accept nothing new for a source or a queue until it is resumed; what is queued is done."""
    found = act_as(who).drain(name, why)
    rest = "; what is queued is done" if found.is_done else ""
    tell(found, f"{found}{rest}; `tbcache queue resume {name}` ends it")
    return OK if found.is_done else FAILED


@command(queues, "resume", "tbcache queue resume twitter", JSON)
def resume(name: QueueName, who: Who = None) -> None:
    """Have a source or a queue that was paused or drained go on."""
    found = act_as(who).resume(name)
    tell(found, f"{found}")


@command(queues, "cancel", "tbcache queue cancel twitter --caller backtest --dry-run", JSON)
def cancel(
    name: QueueName,
    job: Annotated[
        str | None, typer.Argument(metavar="JOB", help="The id of a job; none: all that are meant.")
    ] = None,
    symbol: Symbol = None,
    caller: CallerOf = None,
    state: Annotated[JobState | None, typer.Option(help="In this state only.")] = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    why: Why = "",
    who: Who = None,
) -> int:
    """Take a job out of its queue for good, or all that have all of what is said; who waits for it is told.

    One that runs is stopped by its worker where its id is said, and is left alone else.
    """
    operator = act_as(who)
    if job is not None:
        if symbol or caller or state:
            raise InvalidRequest(
                "a job's id says which one is meant: --symbol, --caller and --state go without it"
            )
        stands = operator.job_state(name, job)
        if stands == "gone":
            return _say_moved(name, job, stands, "")
        question = f"{job} would be cancelled in {name}"
        if dry_run:
            tell({"name": name, "job": job, "is_done": False, "state": stands, "why": ""}, question)
            return OK
        if not yes:
            confirm(question)
        return _say_moved(name, job, operator.cancel(name, job, why), "is cancelled")
    from tbcache.fleet import JobFilter

    # What is queued while somebody is asked is not meant.
    where = JobFilter(symbol, None, caller, operator.now(name), state)
    count = operator.count_jobs(name, where)
    others = 0 if count or not str(where) else operator.count_jobs(name)
    many = "1 other waits" if others == 1 else f"{others} others wait"
    hint = f"; {many} there: `tbcache queue list {name}` has all" if others else ""
    done = {"name": name, "count": count, "is_done": not dry_run, "until": where.until}
    what = f"cancelled in {name}"
    if is_meant(count, what, done, hint=hint, dry_run=dry_run, yes=yes):
        with progress(f"cancelling in {name}", count) as advance:
            done["count"] = operator.cancel_jobs(name, where, why, advance)
        later = 0 if yes else operator.count_jobs(name, replace(where, until=None))
        tell(done, f"{name}: {done['count']} cancelled{left(later)}")
    return OK


@command(queues, "promote", "tbcache queue promote twitter 0a1b2c3d-0000-4000-8000-000000000000", JSON)
def promote(name: QueueName, job: JobId, who: Who = None) -> int:
    """Have a job that waits be the next of its lane, unless it would be put off again at once."""
    operator = act_as(who)
    moved = operator.promote(name, job)
    why = f"{name} {operator.why_put_off(name)}" if moved == "delayed" else ""
    sources = require_redis(quiet_settings()).outline().sources if moved == "done" else ()
    is_failing = any(one.name == name and one.state == "failing" for one in sources)
    failing = f"; {name} is failing: it may fail as well, and then has a try less" if is_failing else ""
    return _say_moved(name, job, moved, f"is the next of its lane{failing}", why=why)


@command(queues, "weight", "tbcache queue weight desk/vip 4", JSON, CSV)
def weight(
    caller: Annotated[
        str | None, typer.Argument(metavar="CALLER", help="A caller, like desk/bot-1; none: list them.")
    ] = None,
    value: Annotated[float | None, typer.Argument(metavar="WEIGHT", help="0.001 to 1000.")] = None,
    unset: Annotated[bool, typer.Option("--unset", help="Take the weight back.")] = False,
    why: Why = "",
    who: Who = None,
) -> None:
    """Have a caller get more, or less, of every queue than the others; or list the weights that are set."""
    if FORM.get().as_csv and (unset or value is not None):
        raise typer.BadParameter("--csv is for the list of weights")
    if unset and (caller is None or value is not None):
        raise typer.BadParameter("--unset takes a caller, and no weight")
    if caller is not None and unset:
        before = act_as(who).unset_weight(caller)
        said = (
            f"{caller} has the weight of its settings again" if before else f"no weight of {caller} was set"
        )
        tell({"caller": caller, "weight": None, "before": before}, said)
    elif caller is not None and value is not None:
        before = act_as(who).set_weight(caller, value, why)
        until_now = f"; until now {before:g}" if before else ""
        said = f"{caller} has the weight {value:g}, for what is queued from now on{until_now}"
        tell({"caller": caller, "weight": value, "before": before}, said)
    else:
        _show_weights(caller)


def _show_weights(caller: str | None) -> None:
    found = require_redis(quiet_settings()).weights()
    chosen = {name: weight for name, weight in found.items() if caller in (None, name)}
    show(
        chosen,
        lambda: rows_table(("caller", ">weight"), ((name, f"{one:g}") for name, one in chosen.items())),
        columns=("caller", "weight"),
        rows=({"caller": name, "weight": one} for name, one in chosen.items()),
        empty="no weight is set: each caller has that of its settings",
    )


def _say_moved(name: str, job: str, state: str, done: str, *, why: str = "") -> int:
    words = {
        "done": done,
        "stopping": "runs: its worker is told to stop it, and it does not come again",
        "running": "is in a worker's hands, or follows one that is",
        "gone": "is not there",
        "delayed": f"stays put off: {why}",
    }
    is_done = state in ("done", "stopping")
    answer = {"name": name, "job": job, "is_done": is_done, "state": state, "why": why}
    tell(answer, f"{job} {words[state]}")
    return OK if is_done else FAILED


def _stats_table(found: Iterable[dict[str, Any]]) -> Table:
    columns = ("queue", "state", ">asked", ">pre-warm", "?>suspect", ">delayed", ">running", "?>may run")
    rates = (">oldest", ">begun", "?>allowed", ">dead")
    return rows_table((*columns, *rates), map(_stats_cells, found))


def _stats_cells(one: dict[str, Any]) -> list[str]:
    queue, load = one["queue"], one["load"]
    if queue is None:
        return [one["name"], one["state"], *["-"] * 10]
    counts = (queue.interactive, queue.prewarm, queue.suspects, queue.delayed, queue.running)
    rates = ["-"] * 4
    if load is not None:
        allowed = load.admissible_per_second
        rates = [
            str(load.runnable),
            "-" if load.oldest_seconds is None else rough(load.oldest_seconds),
            f"{load.begun_per_second:.2g}/s",
            "any" if allowed is None else f"{allowed:.2g}/s",
        ]
    return [one["name"], one["state"], *map(str, counts), *rates, str(queue.dead)]


def _job_table(jobs: Iterable[ListedJob]) -> Table:
    columns = (
        "queue",
        "symbol",
        "state",
        "?lane",
        "?>place",
        "?>tries",
        "?caller",
        "?queued (UTC)",
        "starts (UTC)",
        "?job",
        "why",
    )
    return rows_table(columns, map(_job_cells, jobs))


def _job_cells(job: ListedJob) -> list[str]:
    return [
        job.queue,
        job.symbol or job.actor,
        job.state,
        job.lane or "-",
        str(job.place or "-"),
        str(job.tries or "-"),
        job.caller or "-",
        f"{job.queued_at:%m-%d %H:%M:%S}" if job.queued_at else "-",
        f"{job.starts_at:%m-%d %H:%M:%S}" if job.starts_at else "?",
        job.job_id,
        job.cause,
    ]
