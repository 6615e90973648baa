"""``tbcache queue`` and ``limits``: what an operator has the whole fleet do; ``audit``: what one did."""

from __future__ import annotations

from typing import Annotated

import typer

from tbcache.cli.context import act_as, quiet_settings, require_redis
from tbcache.cli.error import FAILED, OK, say
from tbcache.cli.option import AsJson, DataDir, SourceName, Who, Why
from tbcache.cli.output import print_json, print_table, wants_json
from tbcache.cli.status import show_limits
from tbcache.cli.table import rows_table
from tbcache.fleet import LimitsInForce
from tbcache.models import Limit

QUEUE_EXAMPLE = "Example: tbcache queue pause twitter --why 'the key is being changed'"
RESUME_EXAMPLE = "Example: tbcache queue resume twitter"
DRAIN_EXAMPLE = "Example: tbcache queue drain reddit --why 'moving house'"
LIMITS_EXAMPLE = "Example: tbcache limits set twitter 100/15m --why 'others need the rest'"
CANCEL_EXAMPLE = "Example: tbcache queue cancel twitter 0a1b2c3d-0000-4000-8000-000000000000"
PROMOTE_EXAMPLE = "Example: tbcache queue promote twitter 0a1b2c3d-0000-4000-8000-000000000000"
WEIGHT_EXAMPLE = "Example: tbcache queue weight desk/vip 4"
AUDIT_EXAMPLE = "Example: tbcache audit --most 20"

Name = Annotated[str, typer.Argument(metavar="NAME", help="A source, like twitter, or a queue.")]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="The id of a job.")]
Limits = Annotated[str, typer.Argument(metavar="LIMITS", help="Like 100/15m, or 100/15m,2000/1d.")]


def pause(name: Name, why: Why = "", who: Who = None, data_dir: DataDir = None) -> None:
    """Send nothing to a source, and hand out no job of it or of a queue, until it is resumed."""
    act_as(who).pause(name, why)
    say(f"{name} is paused; cached answers are given out as before; `tbcache queue resume {name}` ends it")


def drain(name: Name, why: Why = "", who: Who = None, data_dir: DataDir = None) -> None:
    """Accept nothing new for a source or a queue until it is resumed; what is queued is done."""
    act_as(who).drain(name, why)
    say(f"{name} accepts nothing new; what is queued is done; `tbcache queue resume {name}` ends it")


def resume(name: Name, who: Who = None, data_dir: DataDir = None) -> None:
    """Have a source or a queue that was paused or drained go on."""
    before = act_as(who).resume(name)
    say(f"{name} goes on; it was {before}" if before else f"{name} was neither paused nor drained")


def cancel(name: Name, job: JobId, why: Why = "", who: Who = None, data_dir: DataDir = None) -> int:
    """Take a job that waits out of its queue for good; who waits for it is told."""
    return _say_moved(job, act_as(who).cancel(name, job, why), "is cancelled")


def promote(name: Name, job: JobId, who: Who = None, data_dir: DataDir = None) -> int:
    """Have a job that waits be the next of its lane."""
    return _say_moved(job, act_as(who).promote(name, job), "is the next of its lane")


def weight(
    caller: Annotated[
        str | None, typer.Argument(metavar="CALLER", help="A caller, like desk/bot-1; none: list them.")
    ] = None,
    value: Annotated[float | None, typer.Argument(metavar="WEIGHT", help="0.001 to 1000.")] = None,
    unset: Annotated[bool, typer.Option("--unset", help="Take the weight back.")] = False,
    why: Why = "",
    who: Who = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Have a caller get more, or less, of every queue than the others; or list the weights that are set."""
    if caller is not None and unset:
        was_set = act_as(who).unset_weight(caller)
        say(f"{caller} has the weight of its settings again" if was_set else f"no weight of {caller} was set")
    elif caller is not None and value is not None:
        act_as(who).set_weight(caller, value, why)
        say(f"{caller} has the weight {value:g}, for what is queued from now on")
    else:
        _show_weights(caller, as_json)


def _show_weights(caller: str | None, as_json: bool) -> None:
    found = require_redis(quiet_settings()).weights()
    chosen = {name: weight for name, weight in found.items() if caller in (None, name)}
    if wants_json(as_json):
        print_json(chosen)
    else:
        print_table(rows_table(("caller", ">weight"), ((name, f"{one:g}") for name, one in chosen.items())))


def _say_moved(job: str, state: str, done: str) -> int:
    words = {
        "done": done,
        "running": "is in a worker's hands, or follows one that is",
        "gone": "is not there",
    }
    say(f"{job} {words[state]}")
    return OK if state == "done" else FAILED


def set_limits(
    source: SourceName, limits: Limits, why: Why = "", who: Who = None, data_dir: DataDir = None
) -> None:
    """Lower the limits of a source for the whole fleet; none is ever raised above what the processes say."""
    _say_limits(act_as(who).set_limits(source, Limit.parse_all(limits), why))


def unset_limits(source: SourceName, who: Who = None, data_dir: DataDir = None) -> None:
    """Take back the limits that were set for a source."""
    _say_limits(act_as(who).unset_limits(source))


def reopen(source: SourceName, who: Who = None, data_dir: DataDir = None) -> None:
    """Lift the closure of a source, for the whole fleet; every slot stays."""
    is_open = act_as(who).reopen(source)
    say(f"{source} is open again" if is_open else f"{source} was not closed")


def reset(
    source: SourceName,
    yes: Annotated[bool, typer.Option("--yes", help="Do it without being asked.")] = False,
    who: Who = None,
    data_dir: DataDir = None,
) -> None:
    """Forget every slot of a source, and its closure. The upstream does not forget what it has seen."""
    if not yes:
        typer.confirm(f"The upstream still counts what {source} has sent: go on?", abort=True, err=True)
    act_as(who).reset(source)
    say(f"{source} counts from 0 again")


def show(as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """List every limit of every source: used, remaining, when the next slot comes free."""
    show_limits(as_json)


def audit(
    most: Annotated[int, typer.Option(min=1, max=10_000, help="List so many.")] = 50,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """List what operators have done in the last 30 days, the last first."""
    lines = require_redis(quiet_settings()).audit(most)
    if wants_json(as_json):
        print_json(lines)
        return
    rows = (
        (f"{one.at:%m-%d %H:%M:%S}", one.who, one.what, one.name, one.detail, str(one.count or ""))
        for one in lines
    )
    print_table(rows_table(("at (UTC)", "who", "what", "name", "detail", ">count"), rows))


def _say_limits(found: LimitsInForce) -> None:
    in_force = ",".join(map(str, found.limits)) or "none until a process uses it"
    why = "" if found.is_lowered else ", by the settings of the processes"
    say(f"{found.source}: in force is {in_force}{why}")
