"""``tbcache changes``: what has changed of late."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tbcache.cli.context import quiet_settings, require_redis
from tbcache.cli.option import AsCsv, AsJson, DataDir
from tbcache.cli.output import show
from tbcache.cli.table import rows_table

if TYPE_CHECKING:
    from tbcache.fleet import Change

EXAMPLE = "Example: tbcache changes --hours 8"

commands = typer.Typer()


@commands.command(epilog=EXAMPLE)
def changes(
    hours: Annotated[float, typer.Option(min=0.01, max=24, help="Look back so far.")] = 1.0,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    data_dir: DataDir = None,
) -> None:
    """List what has changed in the last hour: operators' orders, troubles, processes, new kinds of errors."""
    found = require_redis(quiet_settings()).changes(hours)
    show(
        found,
        lambda: rows_table(("at (UTC)", "kind", "what"), map(_cells, found)),
        as_json=as_json,
        as_csv=as_csv,
    )


def _cells(one: Change) -> tuple[str, ...]:
    # Of a trouble that is over the words are still those that it had.
    what = f"no longer: {one.what}" if one.kind == "ended" else one.what
    return f"{one.at:%m-%d %H:%M:%S}", one.kind, what
