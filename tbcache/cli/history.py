"""``tbcache history``: what would have been answered at moments of the past."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.table import Table

from tbcache.cli.command import CSV, JSON, command, commands
from tbcache.cli.context import quiet_settings, require_data
from tbcache.cli.moment import duration, moment
from tbcache.cli.option import Hours, SourceName, Ticker
from tbcache.cli.output import print_note, show
from tbcache.cli.table import rows_table
from tbcache.models import History, SymbolSentiment
from tbcache.models.error import InvalidRequest
from tbcache.models.history import COLUMNS, SHORTEST


@command(commands, "history", "tbcache history twitter AAPL --since 2d --every 1h", JSON, CSV)
def history(
    source: SourceName,
    symbol: Ticker,
    since: Annotated[
        str,
        typer.Option(help="Begin then: 7d is so long ago; or a date and time, UTC where it names no zone."),
    ] = "1d",
    until: Annotated[str, typer.Option(help="End then.")] = "0s",
    every: Annotated[str, typer.Option(help="Leave so long between two moments.")] = "1h",
    hours: Hours = 24,
    hindsight: Annotated[
        bool, typer.Option("--hindsight", help="Count what was read later as well, as by a backfill.")
    ] = False,
) -> None:
    """Show what would have been answered in the past, of what was known then. Asks nothing upstream."""
    start, end, step = moment("--since", since), moment("--until", until), duration("--every", every)
    if start > end:
        raise InvalidRequest(f"--since {since} is later than --until {until}")
    if step < SHORTEST:
        raise InvalidRequest(f"--every {every} is too short: it should be a second or more, like 15m or 1h")
    from tbcache.settings import get_source

    settings = quiet_settings()
    get_source(source, settings).request(symbol, hours)
    require_data(settings)
    # It reads half of the library: not before the request is known to be sound.
    from tbcache.providers import get_provider

    found = get_provider(source).history(symbol, start, end, step, hours, hindsight=hindsight)
    data = {
        **{name: getattr(found, name) for name in ("source", "symbol", "hours", "reason")},
        "points": found.rows(),
    }
    show(data, lambda: history_table(found), columns=COLUMNS, rows=data["points"])
    if found.reason is not None:
        print_note(found.reason)


def history_table(found: History) -> Table:
    """One row a moment."""
    columns = ("at (UTC)", ">score", ">error", ">confidence", ">covered", ">items", ">change", "read at")
    return rows_table(columns, (_row(point.at, point.sentiment) for point in found))


def _row(at: datetime, found: SymbolSentiment | None) -> list[str]:
    when = f"{at.astimezone(UTC):%b %d %H:%M}"
    if found is None:
        return [when, "none", "-", "-", "-", "-", "-", "-"]
    change = found.volume.change
    return [
        when,
        "none" if found.score is None else f"{found.score:+.2f}",
        "-" if found.standard_error is None else f"{found.standard_error:.2f}",
        "-" if found.confidence is None else f"{found.confidence:.0%}",
        f"{found.covered_hours:.1f}/{found.hours} h",
        str(found.count),
        "-" if change is None else f"{change:+.0%}",
        f"{found.as_of:%b %d %H:%M}",
    ]
