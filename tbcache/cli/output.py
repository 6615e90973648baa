"""What goes to stdout: a table on a terminal, JSON in a pipe."""

from __future__ import annotations

import sys
from typing import Any

import msgspec
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from tbcache.models import FetchRequest, Outcome
from tbcache.models.untrusted import LINE, SHOWN, escaped, printable


def wants_json(as_json: bool) -> bool:
    """True when the answer is for a program."""
    return as_json or not sys.stdout.isatty()


def print_json(data: Any) -> None:
    """Print ``data`` as JSON: dataclasses as objects, times as ISO 8601."""
    text = msgspec.json.format(msgspec.json.encode(data), indent=2)
    sys.stdout.write(escaped(text.decode()) + "\n")


def outcome_data(outcome: Outcome) -> dict[str, Any]:
    """``outcome`` as it is printed in JSON: beside its score stands of how many hours that is true."""
    data: dict[str, Any] = msgspec.to_builtins(outcome)
    return {**data, "request": request_data(outcome.request), "sentiment": outcome.sentiment.as_dict()}


def request_data(request: FetchRequest) -> dict[str, Any]:
    """``request`` as it is printed in JSON: what was asked for, and not how it is loaded."""
    return {name: getattr(request, name) for name in ("source", "symbol", "hours", "key")}


def print_line(text: str) -> None:
    """Print ``text``, which may be others' words, in a line."""
    sys.stdout.write(printable(text, LINE) + "\n")


def print_note(text: str) -> None:
    """Print beside the output, on stderr, what explains it."""
    sys.stderr.write(printable(text, LINE) + "\n")


def shown(text: str, style: str = "", most: int = SHOWN) -> Text:
    """``text`` as it may be shown on a terminal: what others wrote neither commands it nor is markup.

    No more than ``most`` characters of it.
    """
    return Text(printable(text, most), style=style)


def add_row(table: Table, *cells: str | Text) -> None:
    """Add a row to ``table``; plain text goes through :func:`shown`."""
    table.add_row(*(cell if isinstance(cell, Text) else shown(cell) for cell in cells))


def print_table(table: RenderableType) -> None:
    Console().print(table)


def terminal_width() -> int:
    return Console().width
