"""``tbcache usage``: what was asked for in the last days, and what that cost."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from tbcache.cli.context import quiet_settings, require_redis
from tbcache.cli.option import AsCsv, AsJson, DataDir, OnlySource
from tbcache.cli.output import show
from tbcache.cli.table import rows_table
from tbcache.fleet import KEPT_DAYS, By, UsageReport, UsageRow

EXAMPLE = "Example: tbcache usage --days 7 --by caller"


def usage(
    days: Annotated[
        int, typer.Option(min=1, max=KEPT_DAYS, help="Count so many UTC days, today included.")
    ] = 1,
    by: Annotated[By, typer.Option(help="Give a row to each of these.")] = "source",
    source: OnlySource = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    data_dir: DataDir = None,
) -> None:
    """Show what was asked for in the last days and what it cost: by source, worker, caller or day."""
    found = require_redis(quiet_settings()).report(days, by, source)
    show(found, lambda: _table(found), as_json=as_json, as_csv=as_csv, rows=map(asdict, found.rows))


def _table(found: UsageReport) -> Table:
    figures = (">asked", ">hits", ">missed", ">failed", ">requests", ">errors", ">p50", ">p95", ">cost")
    table = rows_table((found.by, *figures), map(_cells, found.rows))
    table.caption = _total(found)
    table.caption_justify = "left"
    return table


def _total(found: UsageReport) -> str:
    total, span = (
        found.total,
        f"{found.first} to {found.last}" if found.first < found.last else f"{found.last}",
    )
    hits = f", {total.cache_hit_rate:.0%} from the cache" if total.requests else ""
    return f"{span} (UTC): {total.requests:,} asked{hits}, {total.errors:,} errors, ${total.cost:,.2f}"


def _cells(row: UsageRow) -> list[str]:
    return [
        row.name,
        f"{row.requests:,}",
        f"{row.cache_hit_rate:.0%}" if row.requests else "-",
        f"{row.misses:,}",
        f"{row.failed:,}",
        _count(row.pages),
        _count(row.errors),
        _millis(row.latency_p50),
        _millis(row.latency_p95),
        f"${row.cost:,.2f}" if row.cost else "-",
    ]


def _count(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"


def _millis(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:,.0f} ms"
