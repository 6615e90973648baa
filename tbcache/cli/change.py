"""``tbcache changes`` and ``tbcache audit``: what has changed of late, and what operators have done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tbcache.cli.command import CSV, JSON, command, commands
from tbcache.cli.context import quiet_settings, require_redis
from tbcache.cli.output import columns_of, show
from tbcache.cli.table import rows_table

if TYPE_CHECKING:
    from tbcache.fleet import AuditLine, Change


@command(commands, "changes", "tbcache changes --hours 8", JSON, CSV)
def changes(hours: Annotated[float, typer.Option(min=0.01, max=24, help="Look back so far.")] = 1.0) -> None:
    """List what has changed in the last hour: operators' orders, troubles, processes, new kinds of errors."""
    from tbcache.fleet import Change

    found = require_redis(quiet_settings()).changes(hours)
    show(
        found,
        lambda: rows_table(("at (UTC)", "kind", "what"), map(_cells, found)),
        columns=columns_of(Change),
    )


def _cells(one: Change) -> tuple[str, ...]:
    # Of a trouble that is over the words are still those that it had.
    what = f"no longer: {one.what}" if one.kind == "ended" else one.what
    return f"{one.at:%m-%d %H:%M:%S}", one.kind, what


@command(commands, "audit", "tbcache audit --most 20", JSON, CSV)
def audit(most: Annotated[int, typer.Option(min=1, max=10_000, help="List so many.")] = 50) -> None:
    """List what operators have done in the last 30 days, the last first."""
    from tbcache.fleet import AuditLine

    lines = require_redis(quiet_settings()).audit(most)
    columns = ("at (UTC)", "who", "what", "name", "?>count", "?detail", "why")
    show(
        lines,
        lambda: rows_table(columns, map(_line_cells, lines)),
        columns=columns_of(AuditLine),
        empty="no operator has done anything within 30 days",
    )


def _line_cells(one: AuditLine) -> tuple[str, ...]:
    return f"{one.at:%m-%d %H:%M:%S}", one.who, one.what, one.name, str(one.count or ""), one.detail, one.why
