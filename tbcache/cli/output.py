"""What goes to stdout: a table on a terminal, JSON in a pipe."""

from __future__ import annotations

import sys
from typing import Any

import msgspec
from rich.console import Console, RenderableType


def wants_json(as_json: bool) -> bool:
    """True when the answer is for a program."""
    return as_json or not sys.stdout.isatty()


def print_json(data: Any) -> None:
    """Print ``data`` as JSON: dataclasses as objects, times as ISO 8601."""
    text = msgspec.json.format(msgspec.json.encode(data), indent=2)
    sys.stdout.write(text.decode() + "\n")


def print_table(table: RenderableType) -> None:
    Console().print(table)


def terminal_width() -> int:
    return Console().width
