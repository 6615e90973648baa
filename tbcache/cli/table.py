"""Tables of answers and limits."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

from tbcache.fleet import FleetStatus
from tbcache.models import Outcome, SymbolSentiment


def outcome_table(outcomes: Iterable[Outcome]) -> Table:
    """One row per answer."""
    table = _table(
        "source", "symbol", ">hours", ">score", ">items", ">bull", ">bear", "as of (UTC)", "from", "complete"
    )
    for outcome in outcomes:
        found = outcome.sentiment
        table.add_row(
            found.source,
            found.symbol,
            str(found.hours),
            _score(found),
            str(found.count),
            str(found.bullish),
            str(found.bearish),
            f"{found.as_of:%H:%M:%S} ({age(outcome.age)} ago)",
            outcome.origin,
            _complete(found),
        )
    return table


def limit_table(status: FleetStatus) -> Table:
    """One row per limit."""
    table = _table(
        "source", "state", ">limit", ">used", ">remaining", "resets at (UTC)", "closed until (UTC)"
    )
    for source in status.sources:
        closed = f"{source.closed_until:%H:%M:%S} ({source.closed_reason})" if source.closed_until else "-"
        for limit in source.limits:
            resets = f"{limit.resets_at:%H:%M:%S}" if limit.resets_at else "-"
            table.add_row(
                source.name,
                source.state,
                limit.limit,
                str(limit.used),
                str(limit.remaining),
                resets,
                closed,
            )
    return table


def rows_table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> Table:
    """A plain table; a column whose name begins with ``>`` is set to the right."""
    table = _table(*columns)
    for row in rows:
        table.add_row(*row)
    return table


def age(seconds: float) -> str:
    """``42 s``, ``7 min``, ``3 h``, ``2 d``."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left")
    return table


def _score(found: SymbolSentiment) -> Text:
    if found.score is None:
        return Text("none", style="dim")
    return Text(
        f"{found.score:+.2f}", style="green" if found.score > 0.05 else "red" if found.score < -0.05 else ""
    )


def _complete(found: SymbolSentiment) -> str:
    if found.complete:
        return "yes"
    since = f" since {found.since:%d %H:%M}" if found.since else ""
    return f"no: {(found.reason or 'cut short').replace('_', ' ')}{since}"
