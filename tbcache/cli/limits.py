"""``tbcache limits``: every limit as it stands, and what an operator does about them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from tbcache.cli.consent import confirm
from tbcache.cli.context import act_as, quiet_settings, require_redis
from tbcache.cli.dashboard import differences
from tbcache.cli.error import say
from tbcache.cli.option import AsCsv, AsJson, DataDir, SourceName, Who, Why, Yes, is_group_of, names_like
from tbcache.cli.output import check_form, show, tell
from tbcache.cli.table import limit_table
from tbcache.models import Limit
from tbcache.models.error import UnknownSource

if TYPE_CHECKING:
    from tbcache.fleet import LimitsInForce, SourceStatus

SET_EXAMPLE = "Example: tbcache limits set twitter 100/15m --why 'others need the rest'"
UNSET_EXAMPLE = "Example: tbcache limits unset twitter"
REOPEN_EXAMPLE = "Example: tbcache limits reopen twitter"
RESET_EXAMPLE = "Example: tbcache limits reset twitter --yes"
SHOW_EXAMPLE = "Example: tbcache limits show twitter"

commands = typer.Typer()
all_limits = typer.Typer(epilog=SET_EXAMPLE, invoke_without_command=True)
commands.add_typer(all_limits, name="limits")

Limits = Annotated[str, typer.Argument(metavar="LIMITS", help="Like 100/15m, or 100/15m,2000/1d.")]
#: What of a source is printed as JSON.
_FIELDS = (
    "name",
    "state",
    "limits",
    "configured",
    "closed_until",
    "closed_reason",
    "order",
    "bound",
    "missing",
)


@all_limits.callback()
def limits(
    context: typer.Context,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    reopen: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE", help="The old spelling of `limits reopen SOURCE`.", autocompletion=names_like
        ),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """List every limit of every source, or set one: used, remaining, when the next slot comes free."""
    if is_group_of(context):
        return
    check_form(as_json=as_json, as_csv=as_csv)
    if reopen is not None:
        say(_reopened(reopen, act_as(None).reopen(reopen)))
    _show(None, as_json=as_json, as_csv=as_csv)


@all_limits.command("show", epilog=SHOW_EXAMPLE)
def show_limits(
    source: Annotated[
        str | None,
        typer.Argument(metavar="SOURCE", help="A source; all by default.", autocompletion=names_like),
    ] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    data_dir: DataDir = None,
) -> None:
    """List every limit of a source, or of all: used, remaining, when the next slot comes free."""
    _show(source, as_json=as_json, as_csv=as_csv)


@all_limits.command("set", epilog=SET_EXAMPLE)
def set_limits(
    source: SourceName,
    limits: Limits,
    why: Why = "",
    who: Who = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Lower the limits of a source for the whole fleet; none is ever raised above what the processes say.

    They hold for every ask, also one that names its own window. A window longer than any before counts what
    is sent from now on.
    """
    found = act_as(who).set_limits(source, Limit.parse_all(limits), why)
    raised = ", by the settings of the processes: what is set here lowers a limit, and raises none"
    _say_limits(found, "" if found.is_lowered else raised, as_json=as_json)


@all_limits.command("unset", epilog=UNSET_EXAMPLE)
def unset_limits(
    source: SourceName, who: Who = None, as_json: AsJson = False, data_dir: DataDir = None
) -> None:
    """Take back the limits that were set for a source."""
    found = act_as(who).unset_limits(source)
    hint = ", by the settings of the processes" if found.before else "; no operator had set any"
    _say_limits(found, hint, as_json=as_json)


@all_limits.command("reopen", epilog=REOPEN_EXAMPLE)
def reopen(source: SourceName, who: Who = None, as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Lift the closure of a source, for the whole fleet; every slot stays."""
    was_closed = act_as(who).reopen(source)
    tell({"source": source, "was_closed": was_closed}, _reopened(source, was_closed), as_json=as_json)


@all_limits.command("reset", epilog=RESET_EXAMPLE)
def reset(
    source: SourceName,
    yes: Yes = False,
    who: Who = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Forget every slot of a source, and its closure. The upstream does not forget what it has seen."""
    if not yes:
        confirm(f"the upstream still counts what {source} has sent")
    act_as(who).reset(source)
    tell({"source": source, "is_reset": True}, f"{source} counts from 0 again", as_json=as_json)


def _reopened(source: str, was_closed: bool) -> str:
    return f"{source} is open again" if was_closed else f"{source} was not closed"


def _show(name: str | None, *, as_json: bool, as_csv: bool) -> None:
    found = require_redis(quiet_settings()).status()
    if name is not None and name not in {source.name for source in found.sources}:
        raise UnknownSource(name, [source.name for source in found.sources])
    for line in differences(found):
        say(line)
    chosen = [source for source in found.sources if name in (None, source.name)]
    data = [{field: getattr(source, field) for field in _FIELDS} for source in chosen]
    show(
        data,
        lambda: limit_table(found, chosen),
        as_json=as_json,
        as_csv=as_csv,
        rows=(row for source in chosen for row in _rows(source)),
    )


def _rows(source: SourceStatus) -> Iterator[dict[str, Any]]:
    """A line for each limit."""
    for limit in source.limits:
        closed = {"closed_until": source.closed_until, "closed_reason": source.closed_reason}
        yield {"source": source.name, "state": source.state, **msgspec.to_builtins(limit), **closed}


def _say_limits(found: LimitsInForce, hint: str, *, as_json: bool) -> None:
    in_force = ",".join(map(str, found.limits)) or "none until a process uses it"
    done = {
        "source": found.source,
        "limits": [str(one) for one in found.limits],
        "is_lowered": found.is_lowered,
        "before": [str(one) for one in found.before],
    }
    tell(done, f"{found.source}: in force is {in_force}{hint}", as_json=as_json)
