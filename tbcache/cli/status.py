"""``tbcache status``, ``tbcache limits`` and ``tbcache cache``: look, and clear."""

from __future__ import annotations

from typing import Annotated

import typer

from tbcache.cli.context import act_as, configured_fleet, quiet_settings, require_redis
from tbcache.cli.dashboard import dashboard, differences
from tbcache.cli.error import FAILED, OK, say
from tbcache.cli.option import AsJson, DataDir
from tbcache.cli.output import print_json, print_line, print_table, terminal_width, wants_json
from tbcache.cli.table import limit_table
from tbcache.fleet import FleetStatus
from tbcache.models.error import nearest
from tbcache.settings import get_sources

STATUS_EXAMPLE = "Example: tbcache status --check || echo something is wrong"
CLEAR_EXAMPLE = "Example: tbcache cache clear 'twitter:*'"


def status(
    as_json: AsJson = False,
    check: Annotated[
        bool,
        typer.Option("--check", help="Print each trouble in a line, and end with 1 where there is one."),
    ] = False,
    data_dir: DataDir = None,
) -> int:
    """Show every source with its limits, hits and queue, every worker, and every trouble."""
    if check:
        return _check(as_json)
    found = _look()
    if wants_json(as_json):
        print_json(found)
    else:
        print_table(dashboard(found, terminal_width()))
    return OK


def _check(as_json: bool) -> int:
    """For a health check: that Redis is away is a trouble like any other; that nobody has named one is not.

    Raises:
      RedisUnreachable: nobody said where it is.
    """
    found = configured_fleet(quiet_settings()).status()
    if as_json:
        print_json(found)
    else:
        for line in found.lines:
            print_line(line)
    return FAILED if found.troubles else OK


def limits(
    context: typer.Context,
    as_json: AsJson = False,
    reopen: Annotated[
        str | None,
        typer.Option(metavar="SOURCE", help="Lift the closure of this source first, for the whole fleet."),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """List every limit of every source, or set one: used, remaining, when the next slot comes free."""
    if context.invoked_subcommand is not None:
        return
    if reopen is not None:
        is_open = act_as(None).reopen(reopen)
        say(f"{reopen} is open again" if is_open else f"{reopen} was not closed")
    show_limits(as_json)


def show_limits(as_json: bool) -> None:
    """Print every limit of every source."""
    found = _look()
    for line in differences(found):
        say(line)
    if not wants_json(as_json):
        print_table(limit_table(found))
        return
    fields = (
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
    print_json([{field: getattr(source, field) for field in fields} for source in found.sources])


def clear(
    pattern: Annotated[str, typer.Argument(metavar="PATTERN", help="A glob over SOURCE:SYMBOL:HOURS.")],
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Remove every cached answer that matches a pattern."""
    settings = quiet_settings()
    count = act_as(None).clear(pattern)
    head = pattern.partition(":")[0]
    if count == 0 and head not in get_sources(settings):
        say(f"nothing matches {pattern!r}{nearest(head, get_sources(settings))}")
    if wants_json(as_json):
        print_json({"pattern": pattern, "cleared": count})
    else:
        print_table(f"{count} cleared")


def _look() -> FleetStatus:
    return require_redis(quiet_settings()).status()
