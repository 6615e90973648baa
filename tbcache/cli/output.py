"""What goes to stdout: a table on a terminal, JSON in a pipe, CSV where that is asked for."""

from __future__ import annotations

import csv
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import msgspec
from msgspec import inspect
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from tbcache.cli.command import FORM
from tbcache.cli.error import say
from tbcache.models import FetchRequest, Outcome
from tbcache.models.untrusted import LINE, SHOWN, escaped, printable

_ASKED = ("source", "symbol", "hours")
_FIGURES = (
    "score",
    "confidence",
    "standard_error",
    "count",
    "bullish",
    "bearish",
    "neutral",
    "covered_hours",
    "complete",
    "reason",
    "since",
    "as_of",
)
#: The columns of what was asked for, and of an answer.
REQUEST = (*_ASKED, "key")
OUTCOME_COLUMNS = (*_ASKED, *_FIGURES, "origin", "age")
#: What a spreadsheet would take for a formula, and run.
_FORMULA = re.compile(r"[=+\-@]")


def show(
    data: Any,
    table: Callable[[], RenderableType],
    *,
    columns: Iterable[str] = (),
    rows: Iterable[Any] | None = None,
    empty: str = "",
) -> None:
    """Print ``data``: the one place that chooses the form.

    A table on a terminal, which is made only for that; JSON in a pipe, or where it is asked for; CSV where
    that is asked for. The lines of the CSV are the objects of ``data``, or ``rows`` where these are not flat
    enough, and its ``columns`` are the same whatever there is: what is in an object is one like
    ``queue.dead``, a list becomes one cell. On a terminal ``empty`` is said in the place of a table of
    nothing.
    """
    if FORM.get().as_csv:
        _print_csv(data if rows is None else list(rows), tuple(columns))
    elif wants_json():
        print_json(data)
    elif empty and not data:
        print_line(empty)
    else:
        print_table(table())


def tell(done: Any, sentence: str) -> None:
    """Say in a sentence on stderr what was done; where JSON is wanted, print ``done`` as well.

    Where stdout is closed that goes nowhere: it is done all the same.
    """
    say(sentence)
    if wants_json() and not _is_closed():
        print_json(done)


def _is_closed() -> bool:
    """Whether whoever started this has closed stdout: then a file stands in for it."""
    return getattr(sys.stdout, "name", "") == os.devnull


def _require_stdout() -> None:
    if _is_closed():
        raise OSError("stdout is closed, and what was asked for cannot be printed")


def wants_json() -> bool:
    """True when the answer is for a program."""
    form = FORM.get()
    return form.as_json or not (form.as_csv or sys.stdout.isatty())


def print_json(data: Any) -> None:
    """Print ``data`` as JSON: dataclasses as objects, times as ISO 8601.

    Raises:
      OSError: stdout is closed, and a script would take nothing for an answer.
    """
    _require_stdout()
    text = msgspec.json.format(msgspec.json.encode(data), indent=2)
    sys.stdout.write(escaped(text.decode()) + "\n")


def print_json_line(data: Any) -> None:
    """Print ``data`` as JSON in one line, at once: for what is printed again and again."""
    sys.stdout.write(escaped(msgspec.json.encode(data).decode()) + "\n")
    sys.stdout.flush()


def columns_of(kind: type[Any], inside: str = "") -> list[str]:
    """The columns of a record; of one that stands ``inside`` another they are like ``queue.dead``."""
    fields = cast("inspect.DataclassType", inspect.type_info(kind)).fields
    return [f"{inside}.{one.name}" if inside else one.name for one in fields]


def _print_csv(data: Any, columns: Sequence[str]) -> None:
    _require_stdout()
    plain = msgspec.to_builtins(data)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    for row in plain if isinstance(plain, list | tuple) else [plain]:
        writer.writerow([_cell(_at(row, column)) for column in columns])


def _at(row: Any, column: str) -> Any:
    for name in column.split("."):
        row = row.get(name) if isinstance(row, dict) else None
    return row


def _cell(found: Any) -> Any:
    """``found`` in one line, and text as text for a spreadsheet, whatever it begins with."""
    if isinstance(found, dict):
        found = "; ".join(f"{name}={_words(one)}" for name, one in found.items())
    elif isinstance(found, list):
        found = "; ".join(map(_words, found))
    if isinstance(found, bool):
        return "true" if found else "false"
    if not isinstance(found, str):
        return found
    line = printable(found, LINE)
    return f"'{line}" if _FORMULA.match(line) else line


def _words(found: Any) -> str:
    return found if isinstance(found, str) else msgspec.json.encode(found).decode()


def outcome_data(outcome: Outcome) -> dict[str, Any]:
    """``outcome`` as it is printed in JSON, with the names that it has over HTTP."""
    return {
        "origin": outcome.origin,
        "age": outcome.age,
        "sentiment": outcome.sentiment.as_dict(),
        "reason": None,
        "error": outcome.error,
    }


def outcome_row(outcome: Outcome) -> dict[str, Any]:
    """``outcome`` as a line of CSV: its figures, without the items and what each rule left out."""
    asked = {name: getattr(outcome.request, name) for name in _ASKED}
    figures = {name: getattr(outcome.sentiment, name) for name in _FIGURES}
    return {**asked, **figures, "origin": outcome.origin, "age": outcome.age}


def request_data(request: FetchRequest) -> dict[str, Any]:
    """``request`` as it is printed in JSON: what was asked for, and not how it is loaded."""
    return {name: getattr(request, name) for name in REQUEST}


def print_text(text: str) -> None:
    """Print ``text``, which is ours, as it is."""
    sys.stdout.write(text.rstrip("\n") + "\n")


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
