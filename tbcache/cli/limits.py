"""``tbcache limits``: every limit as it stands, and what an operator does about them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from tbcache.cli.command import CSV, JSON, command, commands, group
from tbcache.cli.consent import confirm
from tbcache.cli.context import act_as, quiet_settings, require_redis
from tbcache.cli.error import say
from tbcache.cli.option import SourceName, Who, Why, Yes, names_like
from tbcache.cli.output import columns_of, show, tell
from tbcache.cli.table import limit_table
from tbcache.models import Limit
from tbcache.models.error import UnknownSource

if TYPE_CHECKING:
    from tbcache.fleet import LimitsInForce, SourceStatus


Limits = Annotated[str, typer.Argument(metavar="LIMITS", help="Like 100/15m, or 100/15m,2000/1d.")]
#: What of a source is printed as JSON.
_CLOSED = ("closed_until", "closed_reason")
_FIELDS = (
    "state",
    "is_enabled",
    "missing",
    "charge",
    "is_limited",
    "closed_until",
    "closed_reason",
    "spent_until",
    "limits",
    "configured",
    "order",
    "bound",
)


@group(commands, "limits", "tbcache limits set twitter 100/15m --why 'others need the rest'", JSON, CSV)
def all_limits(
    reopen: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE", help="The old spelling of `limits reopen SOURCE`.", autocompletion=names_like
        ),
    ] = None,
) -> None:
    """List every limit of every source, or set one: used, remaining, when the next slot comes free."""
    if reopen is not None:
        say(_reopened(reopen, act_as(None).reopen(reopen)))
    _show(None)


@command(all_limits, "show", "tbcache limits show twitter", JSON, CSV)
def show_limits(
    source: Annotated[
        str | None,
        typer.Argument(metavar="SOURCE", help="A source; all by default.", autocompletion=names_like),
    ] = None,
) -> None:
    """List every limit of a source, or of all: used, remaining, when the next slot comes free."""
    _show(source)


@command(all_limits, "set", "tbcache limits set twitter 100/15m --why 'others need the rest'", JSON)
def set_limits(source: SourceName, limits: Limits, why: Why = "", who: Who = None) -> None:
    """Lower the limits of a source for the whole fleet; none is ever raised above what the processes say.

    They hold for every ask, also one that names its own window. A window longer than any before counts what
    is sent from now on.
    """
    found = act_as(who).set_limits(source, Limit.parse_all(limits), why)
    lowers = found.is_lowered or found.is_raised
    _say_limits(found, "" if lowers else ": what is set here lowers a limit, and raises none")


@command(all_limits, "unset", "tbcache limits unset twitter", JSON)
def unset_limits(source: SourceName, who: Who = None) -> None:
    """Take back the limits that were set for a source."""
    found = act_as(who).unset_limits(source)
    _say_limits(found, "" if found.bound_before else "; no operator had set any")


@command(all_limits, "reopen", "tbcache limits reopen twitter", JSON)
def reopen(source: SourceName, who: Who = None) -> None:
    """Lift the closure of a source, for the whole fleet; every slot stays."""
    was_closed = act_as(who).reopen(source)
    tell({"source": source, "was_closed": was_closed}, _reopened(source, was_closed))


@command(all_limits, "reset", "tbcache limits reset twitter --yes", JSON)
def reset(source: SourceName, yes: Yes = False, who: Who = None) -> None:
    """Forget every slot of a source, and its closure. The upstream does not forget what it has seen."""
    if not yes:
        confirm(f"the upstream still counts what {source} has sent")
    act_as(who).reset(source)
    tell({"source": source, "is_reset": True}, f"{source} counts from 0 again")


def _reopened(source: str, was_closed: bool) -> str:
    return f"{source} is open again" if was_closed else f"{source} was not closed"


def _show(name: str | None) -> None:
    from tbcache.fleet import LimitStatus

    found = require_redis(quiet_settings()).status()
    if name is not None and name not in {source.name for source in found.sources}:
        raise UnknownSource(name, [source.name for source in found.sources])
    chosen = [source for source in found.sources if name in (None, source.name)]
    for source in chosen:
        if source.difference is not None:
            say(source.difference)
    data = {
        "is_available": found.server.is_available,
        "sources": {source.name: {field: getattr(source, field) for field in _FIELDS} for source in chosen},
    }
    show(
        data,
        lambda: limit_table(found, chosen),
        columns=("source", "state", *columns_of(LimitStatus), *_CLOSED),
        rows=(row for source in chosen for row in _rows(source)),
    )


def _rows(source: SourceStatus) -> Iterator[dict[str, Any]]:
    for limit in source.limits:
        closed = {name: getattr(source, name) for name in _CLOSED}
        yield {"source": source.name, "state": source.state, **msgspec.to_builtins(limit), **closed}


def _say_limits(found: LimitsInForce, hint: str) -> None:
    done = {
        "source": found.source,
        "limits": list(map(str, found.limits)),
        "is_lowered": found.is_lowered,
        "is_raised": found.is_raised,
        "before": list(map(str, found.before)),
        "bound_before": found.bound_before,
        "is_unchanged": found.is_unchanged,
    }
    tell(done, f"{found}{hint}")
