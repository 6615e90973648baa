"""Untrusted input, read within bounds: text that can be shown, numbers that are numbers, moments that exist.

Others write to Redis too, and an upstream answers whatever it likes. So any value may be damaged, or meant to
deceive whoever reads it on a terminal.
"""

from __future__ import annotations

import html
import json
import re
from datetime import UTC, datetime
from typing import Any, TypeVar, overload

import msgspec

from tbcache.models.decoder import decode_json

T = TypeVar("T")

#: The most characters of a text that is shown, and of the line that it is a part of.
SHOWN, LINE = 200, 1000
#: The largest count that is accepted. None of ours comes near it, and sums of many still fit into 64 bits.
MOST = 10**15
#: The last day of the calendar that Python has.
LAST = datetime(9999, 12, 31, tzinfo=UTC)
MOST_US = int(LAST.timestamp()) * 1_000_000


#: The number of a character, with more digits than any has. Python refuses to read a number of thousands of
#: digits.
_NO_CHARACTER = re.compile(r"&#[0-9]{100,};?")


#: Unicode's Default_Ignorable_Code_Point: soft hyphens, joiners, spaces of no width, marks of direction.
_NOT_SHOWN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


class NotJson(ValueError):
    """The bytes are no JSON, or none of the expected kind. The message says why in one line."""


@overload
def read_json(data: bytes | str | msgspec.Raw) -> Any: ...
@overload
def read_json(data: bytes | str | msgspec.Raw, kind: type[T]) -> T: ...
def read_json(data: bytes | str | msgspec.Raw, kind: Any = Any) -> Any:
    """The ``kind`` of value that ``data`` is as JSON; any value where no kind is given.

    Raises:
      NotJson: it cannot be read as one. The decoder has errors of its own for text that is no UTF-8, and for
        nesting as deep as Python's stack; whoever forgot one would fall over a single damaged value.
    """
    try:
        return decode_json(data, kind)
    except RecursionError:
        raise NotJson("it is nested too deeply") from None
    except ValueError as error:
        raise NotJson(printable(str(error))) from None


def unescape(text: str) -> str:
    """``text`` with the characters that its HTML names, and a U+FFFD for one that does not exist."""
    return html.unescape(_NO_CHARACTER.sub("\N{REPLACEMENT CHARACTER}", text))


def visible(text: str) -> str:
    """``text`` without the characters that no reader is shown: within a word they make it another one."""
    return text if text.isascii() else _NOT_SHOWN.sub("", text)


def printable(text: str | bytes, most: int = SHOWN) -> str:
    """``text`` in one line of ``most`` characters, none of which moves a cursor or hides another.

    What cannot be shown (controls, escapes, marks that turn the direction of text) becomes ``?``.
    """
    whole_text = text.decode(errors="replace") if isinstance(text, bytes) else text
    line = " ".join(whole_text[: 2 * most].split())
    shown = "".join(one if one.isprintable() else "?" for one in line)
    return shown if len(shown) <= most else f"{shown[: most - 3]}..."


def writable(text: str) -> str:
    """``text`` with ``?`` for each lone surrogate, as a cut emoji leaves it, which has no bytes in UTF-8."""
    return text if text.isascii() else text.encode(errors="replace").decode()


def quoted(value: object) -> str:
    """``value`` as Python writes it, short enough for a message."""
    try:
        return printable(repr(value), 40)
    except ValueError:
        # Python writes out no whole number of thousands of digits.
        return "a number of thousands of digits"


def escaped(text: str) -> str:
    """``text`` with every character escaped, as in JSON, that a terminal may obey; line feeds stay."""
    lines = text.split("\n")
    # A megabyte that is as it should be, as mostly, is looked through at once.
    if all(map(str.isprintable, lines)):
        return text
    return "\n".join(
        "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in line) for line in lines
    )


def whole_number(value: object, least: int = 0, most: int = MOST) -> int | None:
    """The whole number that ``value`` is, or is the text of; None for anything else, and out of bounds."""
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    number = int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else None
    return number if number is not None and least <= number <= most else None


def moment(stamp_us: object) -> datetime | None:
    """The moment (UTC) that is ``stamp_us`` microseconds after the Unix epoch; None where none is."""
    micros = whole_number(stamp_us, most=MOST_US)
    return None if micros is None else datetime.fromtimestamp(micros / 1_000_000, UTC)
