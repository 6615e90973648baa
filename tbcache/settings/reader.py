"""Readers of the kinds of values that many settings have."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from decimal import Decimal
from numbers import Real
from typing import Any

from tbcache.models.secret import SecretStr

_TRUE = {"true", "1", "yes", "on", "t", "y"}
_FALSE = {"false", "0", "no", "off", "f", "n"}


def truth(value: str) -> bool:
    word = value.strip().lower()
    if word not in _TRUE | _FALSE:
        raise ValueError("it should be true or false")
    return word in _TRUE


def whole(least: int, most: int | None = None) -> Callable[[object], int]:
    """Reads a whole number within these bounds."""

    def read(value: object) -> int:
        number = _number(value)
        # Of what is infinite, or no number, there is no remainder either.
        if number is None or number % 1:
            raise ValueError("it should be a whole number")
        return int(_within(number, least, most))

    return read


def number(least: float, most: float) -> Callable[[object], float]:
    """Reads a number within these bounds."""
    return lambda value: float(_within(_real(value), least, most))


def positive(most: float) -> Callable[[object], float]:
    """Reads a number that is greater than 0, and ``most`` at most."""

    def read(value: object) -> float:
        if not (number := _real(value)) > 0:
            raise ValueError("it should be greater than 0")
        return float(_within(number, 0, most))

    return read


def _real(value: object) -> Any:
    number = _number(value)
    if number is None or number != number:
        raise ValueError("it should be a number")
    return number


def _number(value: object) -> Any:
    """The number that ``value`` is, or that is written there; None where it is none."""
    if isinstance(value, str):
        # Python reads the digits of all scripts.
        for kind in (int, float) if value.isascii() else ():
            with contextlib.suppress(ValueError):
                return kind(value)
        return None
    return value if isinstance(value, Real | Decimal) else None


def _within(number: Any, least: float, most: float | None) -> Any:
    if number < least:
        raise ValueError(f"it should be at least {_shown(least)}")
    if most is not None and number > most:
        raise ValueError(f"it should be at most {_shown(most)}")
    return number


def _shown(bound: float) -> str:
    return f"{bound:f}".rstrip("0").rstrip(".") if isinstance(bound, float) else str(bound)


def one_of(*words: str) -> Callable[[Any], Any]:
    """Reads one of these words."""
    *first, last = map(repr, words)

    def read(value: Any) -> str:
        if value not in words:
            raise ValueError(f"it should be {', '.join(first)} or {last}")
        # An enumeration's is equal to its word, and is another as text.
        return words[words.index(value)]

    return read


def matching(pattern: str, right: str) -> Callable[[str], str]:
    """Reads text that matches ``pattern``; else says what would be ``right``."""

    def read(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(right)
        return value

    return read


def checked(check: Callable[[str], object]) -> Callable[[str], str]:
    """Reads text as it is; ``check`` raises where it is not sound."""

    def read(value: str) -> str:
        check(value)
        return value

    return read


def secret(check: Callable[[str], object] = str) -> Callable[[str], SecretStr]:
    """Reads what nobody may see; ``check`` raises where it is not sound."""

    def read(value: str) -> SecretStr:
        check(value)
        return SecretStr(value)

    return read
