"""``tbcache dead``: jobs that came to nothing; look through them, queue them again, forget them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from tbcache.cli.context import act_as, quiet_settings, require_redis
from tbcache.cli.error import say
from tbcache.cli.option import AsJson, DataDir, Who
from tbcache.cli.output import print_json, print_table, wants_json
from tbcache.cli.table import rows_table
from tbcache.fleet import DeadFilter, DeadLetter, Requeued

DEAD_EXAMPLE = "Example: tbcache dead requeue twitter --error timeout --dry-run"
PURGE_EXAMPLE = "Example: tbcache dead purge twitter --symbol AAPL --yes"
LIST_EXAMPLE = "Example: tbcache dead list twitter --error 'worker died'"
MOST_DEAD = 20

DeadName = Annotated[str, typer.Argument(metavar="NAME", help="A source, like twitter, or a queue.")]
Symbol = Annotated[str | None, typer.Option(help="Of this symbol.")]
Job = Annotated[str | None, typer.Option("--id", help="The one of this id.")]
Error = Annotated[str | None, typer.Option(help="Whose reason has this in it.")]
CallerOf = Annotated[str | None, typer.Option("--caller", help="In the name of this caller.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say how many.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it without being asked.")]


def dead(
    context: typer.Context,
    as_json: AsJson = False,
    clear: Annotated[
        str | None, typer.Option(metavar="SOURCE", help="Forget those of this source first.")
    ] = None,
    retry: Annotated[
        str | None, typer.Option(metavar="SOURCE", help="Queue those of this source again first.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """List the queued fetches that died, the last of each source first, and why."""
    if context.invoked_subcommand is not None:
        return
    if retry is not None and retry == clear:
        raise typer.BadParameter(f"--clear {clear} and --retry {retry} exclude each other")
    if retry is not None:
        say(_requeued(retry, act_as(None).requeue_dead(retry)))
    if clear is not None:
        say(f"{clear}: {act_as(None).purge_dead(clear)} forgotten")
    _show_dead(require_redis(quiet_settings()).dead(MOST_DEAD), as_json)


def show(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A source or a queue; all sources by default.")
    ] = None,
    symbol: Symbol = None,
    job: Job = None,
    error: Error = None,
    caller: CallerOf = None,
    most: Annotated[int, typer.Option(min=1, max=10_000, help="List so many of each.")] = MOST_DEAD,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """List dead letters: all, or those that have all of what is said."""
    where = DeadFilter(symbol, job, error, caller)
    _show_dead(require_redis(quiet_settings()).dead(most, name, where), as_json)


def requeue(
    name: DeadName,
    symbol: Symbol = None,
    job: Job = None,
    error: Error = None,
    caller: CallerOf = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    who: Who = None,
    data_dir: DataDir = None,
) -> None:
    """Queue dead letters again: all of a queue, or those that have all of what is said."""
    where, operator = DeadFilter(symbol, job, error, caller), act_as(who)
    if _is_meant(operator.count_dead(name, where), f"would be queued again in {name}", dry_run, yes):
        say(_requeued(name, operator.requeue_dead(name, where)))


def purge(
    name: DeadName,
    symbol: Symbol = None,
    job: Job = None,
    error: Error = None,
    caller: CallerOf = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    who: Who = None,
    data_dir: DataDir = None,
) -> None:
    """Remove dead letters for good: all of a queue, or those that have all of what is said."""
    where, operator = DeadFilter(symbol, job, error, caller), act_as(who)
    if _is_meant(operator.count_dead(name, where), f"would be forgotten of {name}", dry_run, yes):
        say(f"{name}: {operator.purge_dead(name, where)} forgotten")


def _is_meant(count: int, what: str, dry_run: bool, yes: bool) -> bool:
    """Say of how many it is; True where it is to be done."""
    if dry_run or not count:
        say(f"{count} {what}")
        return False
    return yes or typer.confirm(f"{count} {what}: go on?", abort=True, err=True)


def _requeued(name: str, done: Requeued) -> str:
    left = f"; {done.left} cannot be, and stay dead" if done.left else ""
    return f"{name}: {done.queued} queued again{left}"


def _show_dead(dead_letters: Sequence[DeadLetter], as_json: bool) -> None:
    if wants_json(as_json):
        print_json(dead_letters)
        return
    if not dead_letters:
        say("no queued fetch has died")
        return
    rows = (
        (one.source, one.symbol, f"{one.died_at:%m-%d %H:%M:%S}", one.job_id, one.caller or "-", one.reason)
        for one in dead_letters
    )
    print_table(rows_table(("source", "symbol", "died at (UTC)", "job", "caller", "reason"), rows))
