"""``tbcache dead``: jobs that came to nothing; look through them, queue them again, forget them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from tbcache.cli.command import CSV, JSON, command, commands, group
from tbcache.cli.consent import is_meant, left
from tbcache.cli.context import act_as, quiet_settings, require_redis
from tbcache.cli.error import say
from tbcache.cli.option import AnyQueue, CallerOf, DryRun, QueueName, Symbol, Who, Yes
from tbcache.cli.output import columns_of, show, tell
from tbcache.cli.progress import progress
from tbcache.cli.table import rows_table

if TYPE_CHECKING:
    from tbcache.fleet import DeadFilter, DeadLetter, Operator, Requeued


#: Of a dead letter, as it is printed for programs.
_COLUMNS = ("source", "symbol", "died_at", "job_id", "caller", "reason", "actor", "args")
MOST_DEAD = 20
MOST_ERRORS = 10

Job = Annotated[str | None, typer.Option("--id", help="The one of this id.")]
Error = Annotated[str | None, typer.Option(help="Whose reason has this in it; * is any text.")]


@group(commands, "dead", "tbcache dead requeue twitter --error timeout --dry-run", JSON, CSV)
def dead_letters(
    clear: Annotated[
        str | None, typer.Option(metavar="SOURCE", help="The old spelling of `dead purge SOURCE --yes`.")
    ] = None,
    retry: Annotated[
        str | None, typer.Option(metavar="SOURCE", help="The old spelling of `dead requeue SOURCE --yes`.")
    ] = None,
) -> None:
    """List the queued jobs that died, the last of each queue first, and why."""
    if retry is not None and clear is not None:
        raise typer.BadParameter("--clear and --retry exclude each other")
    if retry is not None:
        say(_requeued(retry, act_as(None).requeue_dead(retry)))
    if clear is not None:
        say(f"{clear}: {act_as(None).purge_dead(clear)} forgotten")
    _show_dead(require_redis(quiet_settings()).dead(MOST_DEAD))


@command(dead_letters, "list", "tbcache dead list twitter --error 'worker died'", JSON, CSV)
def list_dead(
    name: AnyQueue = None,
    symbol: Symbol = None,
    job: Job = None,
    error: Error = None,
    caller: CallerOf = None,
    most: Annotated[int, typer.Option(min=1, max=10_000, help="List so many of each.")] = MOST_DEAD,
) -> None:
    """List dead letters: all, or those that have all of what is said."""
    where = _where(symbol, job, error, caller)
    _show_dead(require_redis(quiet_settings()).dead(most, name, where))


@command(dead_letters, "errors", "tbcache dead errors twitter", JSON, CSV)
def errors(
    name: AnyQueue = None,
    most: Annotated[int, typer.Option(min=1, max=1000, help="List so many of each.")] = MOST_ERRORS,
) -> None:
    """Count the dead letters by their error, as `--error` takes it: a `*` in it stands for any text."""
    from tbcache.fleet import DeathCount

    found = require_redis(quiet_settings()).dead_reasons(most, name)
    columns = ("queue", ">dead", "error")
    show(
        found,
        lambda: rows_table(columns, [(one.queue, str(one.count), one.error) for one in found]),
        columns=columns_of(DeathCount),
        empty="no queued job has died",
    )


@command(dead_letters, "requeue", "tbcache dead requeue twitter --error timeout --dry-run", JSON)
def requeue(
    name: QueueName,
    symbol: Symbol = None,
    job: Job = None,
    error: Error = None,
    caller: CallerOf = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    who: Who = None,
) -> None:
    """Queue dead letters again: all of a queue, or those that have all of what is said."""
    operator = act_as(who)
    # What dies while somebody is asked is not meant.
    where = _where(symbol, job, error, caller, operator.now(name))
    count = operator.count_dead(name, where)
    hint, none = _elsewhere(operator, name, where, count), _done(name, count, where, is_done=not dry_run)
    what = f"queued again in {name}"
    if is_meant(count, what, none, hint=hint, dry_run=dry_run, yes=yes):
        with progress(f"queueing again in {name}", count) as advance:
            done = operator.requeue_dead(name, where, advance)
        later = 0 if yes else _later(operator, name, where) - done.left
        tell(_done(name, done.queued, where, done.left), f"{_requeued(name, done)}{left(later)}")


@command(dead_letters, "purge", "tbcache dead purge twitter --symbol AAPL --yes", JSON)
def purge(
    name: QueueName,
    symbol: Symbol = None,
    job: Job = None,
    error: Error = None,
    caller: CallerOf = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    who: Who = None,
) -> None:
    """Remove dead letters for good: all of a queue, or those that have all of what is said."""
    operator = act_as(who)
    # What dies while somebody is asked is not meant.
    where = _where(symbol, job, error, caller, operator.now(name))
    count = operator.count_dead(name, where)
    hint, none = _elsewhere(operator, name, where, count), _done(name, count, where, is_done=not dry_run)
    what = f"forgotten of {name}"
    if is_meant(count, what, none, hint=hint, dry_run=dry_run, yes=yes):
        with progress(f"forgetting of {name}", count) as advance:
            done = operator.purge_dead(name, where, advance)
        later = 0 if yes else _later(operator, name, where)
        tell(_done(name, done, where), f"{name}: {done} forgotten{left(later)}")


def _where(
    symbol: str | None,
    job: str | None,
    error: str | None,
    caller: str | None,
    until: datetime | None = None,
) -> DeadFilter:
    from tbcache.fleet import DeadFilter

    return DeadFilter(symbol, job, caller, until, error)


def _later(operator: Operator, name: str, where: DeadFilter) -> int:
    """How many of those that were meant are there once it is done: they came later."""
    return operator.count_dead(name, replace(where, until=None))


def _elsewhere(operator: Operator, name: str, where: DeadFilter, count: int) -> str:
    """Where none is meant, how many there are of others: a word of the filter may be spelled otherwise."""
    others = 0 if count else operator.count_dead(name)
    others = others if str(where) else 0
    if not others:
        return ""
    many = f"{others} other is" if others == 1 else f"{others} others are"
    return f"; {many} dead there: `tbcache dead list {name}` has the reasons"


def _done(
    name: str, count: int, where: DeadFilter, left: int = 0, *, is_done: bool = True
) -> dict[str, object]:
    return {"name": name, "count": count, "left": left, "is_done": is_done, "until": where.until}


def _requeued(name: str, done: Requeued) -> str:
    left = f"; {done.left} cannot be, and stay dead" if done.left else ""
    return f"{name}: {done.queued} queued again{left}"


def _show_dead(letters: Sequence[DeadLetter]) -> None:
    columns = ("queue", "what", "died at (UTC)", "?job", "?caller", "reason")
    show(
        list(map(_data, letters)),
        lambda: rows_table(columns, map(_cells, letters)),
        columns=_COLUMNS,
        rows=map(_row, letters),
        empty="no queued job has died",
    )


def _cells(one: DeadLetter) -> tuple[str, ...]:
    at = f"{one.died_at:%m-%d %H:%M:%S}"
    return one.queue, one.what, at, one.job_id, one.caller or "-", one.reason


def _data(one: DeadLetter) -> dict[str, object]:
    return {**_row(one), "message": one.message}


def _row(one: DeadLetter) -> dict[str, object]:
    return {"source": one.queue, **{name: getattr(one, name) for name in _COLUMNS[1:]}}
