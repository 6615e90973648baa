"""``tbcache usage``: what was asked for in the last days, and what that cost."""

from __future__ import annotations

from typing import Annotated, Literal

import typer
from rich.table import Table

from tbcache.cli.command import CSV, JSON, command, commands
from tbcache.cli.context import configured_fleet, quiet_settings, require_redis
from tbcache.cli.option import OnlySource
from tbcache.cli.output import columns_of, print_note, show
from tbcache.cli.table import rows_table
from tbcache.fleet import KEPT_DAYS, HistorySpan, Interval, SymbolCost, UsageHistory, UsageReport, UsageRow

#: What a row can be of: of symbols only the cost is counted.
Rows = Literal["source", "worker", "caller", "day", "symbol"]


@command(commands, "usage", "tbcache usage --days 7 --by caller", JSON, CSV)
def usage(
    days: Annotated[
        int, typer.Option(min=1, max=KEPT_DAYS, help="Count so many UTC days, today included.")
    ] = 1,
    by: Annotated[Rows, typer.Option(help="Give a row to each of these.")] = "source",
    source: OnlySource = None,
    over: Annotated[
        HistorySpan | None,
        typer.Option(help="Show one source over so long, step by step: minutes, quarters or hours."),
    ] = None,
) -> None:
    """Show what was asked for and what it cost: by source, worker, caller or day; or one source over time."""
    if over is not None:
        if days != 1 or by != "source":
            raise typer.BadParameter("it goes with --source alone", param_hint="--over")
        _show_history(source, over)
        return
    if by == "symbol":
        _show_symbols(days, source)
        return
    found = require_redis(quiet_settings()).report(days, by, source)
    show(found, lambda: _table(found), columns=columns_of(UsageRow), rows=found.rows)


def _show_symbols(days: int, source: str | None) -> None:
    found = require_redis(quiet_settings()).symbol_costs(days, source)
    columns = ("source", "symbol", ">cost at most")
    show(
        found,
        lambda: rows_table(columns, [(one.source, one.symbol, f"${one.cost:,.2f}") for one in found]),
        columns=columns_of(SymbolCost),
        empty="no symbol has cost anything",
    )


def _show_history(source: str | None, over: HistorySpan) -> None:
    if source is None:
        raise typer.BadParameter("say of which source, with --source", param_hint="--over")
    # The database has the hours also while Redis is away.
    found = configured_fleet(quiet_settings()).history(source, over)
    show(found, lambda: _steps(found), columns=columns_of(Interval), rows=found.intervals)
    if found.reason is not None:
        print_note(found.reason)


def _steps(found: UsageHistory) -> Table:
    figures = (">asked", ">hits", ">requests", ">errors", ">p50", ">p95", ">waited", ">cost")
    table = rows_table(("from (UTC)", *figures), map(_interval_cells, found.intervals))
    table.caption = f"{found.source}: {found.requests:,} asked, {found.errors:,} errors, ${found.cost:,.2f}"
    table.caption_justify = "left"
    return table


def _interval_cells(one: Interval) -> list[str]:
    return [
        f"{one.start:%m-%d %H:%M}",
        f"{one.requests:,}",
        f"{one.cache_hit_rate:.0%}" if one.requests else "-",
        f"{one.pages:,}",
        f"{one.errors:,}",
        _millis(one.latency_p50),
        _millis(one.latency_p95),
        _count(one.waiting),
        f"${one.cost:,.2f}" if one.cost else "-",
    ]


def _table(found: UsageReport) -> Table:
    # An item that is billed once counts for each process that has read it.
    cost = ">cost at most" if found.by == "caller" else ">cost"
    figures = (
        *(">asked", ">hits", "?>missed", ">failed", "?>pre-warmed"),
        *(">requests", ">errors", "?>p50", ">p95", cost),
    )
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
    warm = f", {total.prewarms:,} pre-warmed" if total.prewarms else ""
    return f"{span} (UTC): {total.requests:,} asked{hits}{warm}, {total.errors:,} errors, ${total.cost:,.2f}"


def _cells(row: UsageRow) -> list[str]:
    return [
        row.name,
        f"{row.requests:,}",
        f"{row.cache_hit_rate:.0%}" if row.requests else "-",
        f"{row.misses:,}",
        f"{row.failed:,}",
        f"{row.prewarms:,}",
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
