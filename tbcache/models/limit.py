"""Limits: how many requests in any window of time, and where one stands."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from datetime import datetime
from numbers import Integral, Real
from typing import Any, Literal, Self

from tbcache.models.error import InvalidRequest, nearest
from tbcache.models.untrusted import quoted

Charge = Literal["fetch", "request"]

_LIMIT = re.compile(r"\s*(\d+)\s*/\s*(\d+(?:\.\d+)?)?\s*([a-z]+)\s*\Z", re.IGNORECASE)
MOST_SLOTS = 1_000_000_000
LONGEST_WINDOW_SECONDS = 366 * 86400.0
#: What a span of time is written in.
UNIT_SECONDS = {"ms": 0.001, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def is_whole(value: object) -> bool:
    return type(value) is int or (isinstance(value, Integral) and not isinstance(value, bool))


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def wait_seconds(name: str, value: float) -> float:
    """For how long somebody would wait; for ever is as long as any limit's window.

    Raises:
      InvalidRequest: ``value`` is no number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise InvalidRequest(f"{name} {value!r} is no number of seconds")
    return min(float(value), LONGEST_WINDOW_SECONDS)


@dataclass(frozen=True, slots=True)
class Limit:
    """``count`` arrivals in any window of ``window_seconds``."""

    count: int
    window_seconds: float

    def __post_init__(self) -> None:
        if not is_whole(self.count):
            raise InvalidRequest(f"limit {quoted(self.count)} must be a whole number")
        if not _is_number(self.window_seconds):
            raise InvalidRequest(f"window {quoted(self.window_seconds)} must be a number of seconds")
        if not 1 <= self.count <= MOST_SLOTS:
            bound = f"at most {MOST_SLOTS}" if self.count > 1 else "at least 1"
            raise InvalidRequest(f"limit {quoted(self.count)} must be {bound}")
        if not 0 < self.window_seconds <= LONGEST_WINDOW_SECONDS:
            bound = "366 d at most" if self.window_seconds > 0 else "longer than 0 s"
            raise InvalidRequest(f"window of {quoted(self.window_seconds)} s must be {bound}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``300/15m``, ``60/min`` or ``10000/1d``.

        Raises:
          InvalidRequest: malformed, or a count or window of 0.
        """
        found = _LIMIT.match(text)
        if not found:
            raise InvalidRequest(f"limit {text!r} is not COUNT/WINDOW, like 300/15m or 10000/1d")
        count, number, unit = found.groups()
        if unit.lower() not in UNIT_SECONDS:
            known = ", ".join(UNIT_SECONDS)
            raise InvalidRequest(
                f"limit {text!r} has an unknown unit {unit!r}{nearest(unit, UNIT_SECONDS)} (known: {known})"
            )
        try:
            return cls(int(count), float(number or 1) * UNIT_SECONDS[unit.lower()])
        except InvalidRequest as error:
            raise InvalidRequest(f"{quoted(text)}: {error}") from None

    @classmethod
    def parse_all(cls, text: str) -> tuple[Self, ...]:
        """Read a comma-separated list of limits; all of them hold at once."""
        return tuple(cls.parse(part) for part in text.split(","))

    def __str__(self) -> str:
        for unit in ("d", "h", "m"):
            size = UNIT_SECONDS[unit]
            if self.window_seconds >= size and self.window_seconds % size == 0:
                return f"{self.count}/{int(self.window_seconds // size)}{unit}"
        return f"{self.count}/{self.window_seconds:g}s"


# It is not frozen, as that makes one five times as dear, and each decision makes one.
@dataclass(slots=True, unsafe_hash=True)
class RateLimitStatus:
    """Where a source's tightest limit stands.

    ``allowed`` is how many requests the window allows; ``reset_at`` is when the
    next slot that is in use comes free (UTC; now, if none is in use).
    ``left_to_others`` is the part of ``used`` that is left to others who use the same key, by the upstream's
    headers or after a refusal.
    """

    source: str
    allowed: int
    used: int
    remaining: int
    reset_at: datetime
    is_limited: bool
    window_seconds: float = 0.0
    reason: str | None = None
    left_to_others: int = 0

    # As one that is frozen has them, which it once was: processes of either version read each other's.

    def __getstate__(self) -> list[Any]:
        return [getattr(self, one.name) for one in fields(self)]

    def __setstate__(self, state: list[Any]) -> None:
        for one, value in zip(fields(self), state, strict=False):
            setattr(self, one.name, value)
