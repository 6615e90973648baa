"""Tables of answers and limits."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import compress
from typing import TYPE_CHECKING

from rich.console import JustifyMethod, OverflowMethod
from rich.table import Table
from rich.text import Text

from tbcache.cli.output import add_row, terminal_width
from tbcache.models import Outcome, SymbolSentiment
from tbcache.models.age import rough

if TYPE_CHECKING:
    from tbcache.fleet import FleetStatus, SourceStatus

# The columns that a narrow terminal leaves out.
_WIDE_ONLY = {">bull", ">bear"}
_WIDE = 100
#: The last column may take further lines, and has so many characters at least.
_LEAST_LAST = 24


def outcome_table(outcomes: Iterable[Outcome], width: int) -> Table:
    """One row per answer, in ``width`` characters."""
    figures = (">covered", ">score", ">items", ">bull", ">bear", ">age")
    columns = ("source", "symbol", *figures, "from", "complete")
    is_wide = width >= _WIDE
    table = plain_table(*(name for name in columns if is_wide or name not in _WIDE_ONLY))
    for outcome in outcomes:
        found = outcome.sentiment
        mood = (str(found.bullish), str(found.bearish)) if is_wide else ()
        add_row(
            table,
            found.source,
            found.symbol,
            _covered(found),
            _score(found),
            _items(found),
            *mood,
            rough(outcome.age),
            outcome.origin,
            _complete(found, with_reason=is_wide),
        )
    return table


def limit_table(status: FleetStatus, sources: Iterable[SourceStatus]) -> Table:
    from tbcache.fleet import when

    figures = (">limit", ">used", ">others", ">left")
    table = plain_table("source", "state", *figures, "frees (UTC)", "closed until (UTC)")
    for source in sources:
        closed = "-"
        if source.closed_until is not None:
            closed = f"{when(source.closed_until, status.at)} ({source.closed_reason})"
        for limit in source.limits:
            # Of one that is closed the last column says it.
            free_at = limit.reset_at if source.closed_until is None else None
            add_row(
                table,
                source.name,
                source.state,
                limit.limit,
                str(limit.used),
                str(limit.left_to_others or "-"),
                str(limit.remaining),
                when(free_at, status.at) if free_at else "-",
                closed,
            )
    return table


def rows_table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> Table:
    """A plain table; a column whose name begins with ``>`` is set to the right. One that begins with ``?``
    is left out where the terminal is too narrow for all, the widest first: JSON and CSV have it."""
    names, cells = list(columns), [list(row) for row in rows]
    widths = [max(map(len, column)) + 2 for column in zip(_names(names), *cells, strict=True)]
    widths[-1] = min(widths[-1], _LEAST_LAST)
    optional = [place for place, name in enumerate(names) if name.startswith("?")]
    left_out = set[int]()
    for place in sorted(optional, key=lambda one: -widths[one]):
        if sum(widths) - sum(widths[one] for one in left_out) <= terminal_width():
            break
        left_out.add(place)
    is_shown = [place not in left_out for place in range(len(names))]
    table = plain_table(*compress((name.lstrip("?") for name in names), is_shown))
    if left_out:
        missing = ", ".join(_names(names[place] for place in sorted(left_out)))
        table.caption, table.caption_justify = f"Too narrow for: {missing}. --json has all.", "left"
    for row in cells:
        add_row(table, *compress(row, is_shown))
    return table


def _names(columns: Iterable[str]) -> list[str]:
    return [name.lstrip("?>") for name in columns]


def plain_table(*columns: str, folds_last: bool = True) -> Table:
    """One without lines, whose columns that begin with ``>`` are set to the right."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        side: JustifyMethod = "right" if column.startswith(">") else "left"
        # The last column is the one that may take a second line, and nothing of it is cut off.
        is_last = folds_last and column == columns[-1]
        overflow: OverflowMethod = "fold" if is_last else "ellipsis"
        table.add_column(column.lstrip(">"), justify=side, no_wrap=not is_last, overflow=overflow)
    return table


def _score(found: SymbolSentiment) -> Text:
    if found.score is None:
        return Text("none", style="dim")
    return Text(
        f"{found.score:+.2f}", style="green" if found.score > 0.05 else "red" if found.score < -0.05 else ""
    )


def _items(found: SymbolSentiment) -> str:
    """``84/120``: how many count as voices, of how many items; ``120`` where all of them do."""
    return f"{found.voices:.0f}/{found.count}" if found.voices and found.dropped else str(found.count)


def _covered(found: SymbolSentiment) -> str:
    """``1.5/24 h``: of how many hours the score is true, and how many were asked for."""
    covered = math.floor(found.covered_hours * 10) / 10
    return f"{covered:g}/{found.hours} h"


def _complete(found: SymbolSentiment, *, with_reason: bool) -> str:
    if found.complete:
        return "yes"
    since = f"since {found.since:%b %d %H:%M}" if found.since else "no"
    reason = (found.reason or "cut short").replace("_", " ")
    return f"{since} ({reason})" if with_reason else since
