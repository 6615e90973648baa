"""Credentials: as a value that does not show itself, and the forms in which they may stand in a text."""

from __future__ import annotations

import functools
import html
import re
from urllib.parse import quote, unquote

MASK = "***"
#: A shorter one stands in too many words by chance.
SHORTEST = 6


class SecretStr:
    """A text that is not shown where an object is printed or logged, and that is no text to JSON."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def get_secret_value(self) -> str:
        return self._value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretStr) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return f"SecretStr({MASK!r})"

    def __str__(self) -> str:
        return MASK


@functools.lru_cache(maxsize=256)
def forms(secret: str) -> str:
    """A regular expression that finds ``secret``, each sign of it as it is, or as in URLs, HTML or JSON."""
    return "|".join("".join(map(_sign, form)) for form in sorted({secret, unquote(secret)}))


def _sign(sign: str) -> str:
    # No encoding touches letters and digits, and where they come first the search is fast.
    if sign.isascii() and sign.isalnum():
        return sign
    code, escaped = f"{ord(sign):x}", html.escape(sign)
    found = {
        re.escape(sign),
        re.escape("\\" + sign),
        re.escape(escaped),
        f"(?i:{quote(sign, safe='')})",
        f"(?i:%{code:0>2})",
        rf"(?i:\\u{code:0>4}|\\x{code:0>2})",
        f"(?i:&#{ord(sign)};|&#x0*{code};)",
    }
    if sign == " ":
        found.add(r"\+")
    return f"(?:{'|'.join(sorted(found))})"
