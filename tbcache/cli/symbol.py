"""``tbcache symbol``: what the caches have of a symbol."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.table import Table

from tbcache.cli.command import CSV, JSON, command, commands
from tbcache.cli.context import quiet_settings, require_redis
from tbcache.cli.option import Hours, Ticker
from tbcache.cli.output import columns_of, show
from tbcache.cli.table import rows_table
from tbcache.io import utc_now

if TYPE_CHECKING:
    from tbcache.fleet import Held


@command(commands, "symbol", "tbcache symbol NVDA", JSON, CSV)
def symbol(symbol: Ticker, hours: Hours = 24) -> None:
    """Show what the cache of each source has of a symbol, and what is queued for it. Nothing is fetched."""
    from tbcache.fleet import Explanation, Held

    found = require_redis(quiet_settings()).symbol(symbol, hours)
    inside = ("sentiment", "job")
    columns = [name for name in columns_of(Held) if name not in inside]
    show(
        found,
        lambda: _table(found.sources),
        columns=(*columns, "sentiment.count", "sentiment.as_of", *columns_of(Explanation, "job")),
        rows=found.sources,
    )


def _table(found: Iterable[Held]) -> Table:
    columns = ("source", ">covered", ">score", ">items", "?as of (UTC)", "fresh until (UTC)", "job")
    return rows_table(columns, map(_cells, found))


def _cells(one: Held) -> list[str]:
    from tbcache.fleet import when

    now, job = utc_now(), "-" if one.job is None else one.job.state
    if one.sentiment is None or one.fresh_until is None or one.covered_hours is None:
        return [one.source, f"-/{one.hours} h", "-", "-", "-", "-", job]
    return [
        one.source,
        f"{one.covered_hours:.1f}/{one.hours} h",
        "none" if one.score is None else f"{one.score:+.2f}",
        str(one.sentiment["count"]),
        when(one.sentiment["as_of"], now),
        when(one.fresh_until, now) if one.fresh_until > now else f"stale since {when(one.fresh_until, now)}",
        job,
    ]
