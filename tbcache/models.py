"""The data that is passed forward: request, page, sentiment, outcome.

FetchRequest -> HttpRequest -> RawResponse -> Page -> SymbolSentiment -> Outcome
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from numbers import Integral, Real
from typing import Literal, Protocol, Self

from tbcache.errors import UPSTREAM_ERRORS, InvalidRequest, UpstreamError, nearest
from tbcache.foreign import quoted
from tbcache.io import utc_now as utc_now

Label = Literal["bullish", "bearish"]
Lane = Literal["interactive", "prewarm"]
Origin = Literal["live", "cache", "stale"]
Charge = Literal["fetch", "request"]

# Tickers of US and foreign listings, share classes, crypto pairs: BRK.B, BTC-USD, 0700.HK, HYPE.X
_SYMBOL = re.compile(r"[A-Z0-9][A-Z0-9.\-]{0,14}\Z")
_LIMIT = re.compile(r"\s*(\d+)\s*/\s*(\d+(?:\.\d+)?)?\s*([a-z]+)\s*\Z", re.IGNORECASE)
_MOST = 1_000_000_000
_LONGEST_WINDOW_SECONDS = 366 * 86400.0
_UNIT_SECONDS = {"ms": 0.001, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def ticker(symbol: str) -> str:
    """Return ``symbol`` in upper case without its cashtag.

    Raises:
      InvalidRequest: it is no ticker.
    """
    if not isinstance(symbol, str):
        raise InvalidRequest(f"symbol {symbol!r} is no ticker: it should be text, like AAPL or BRK.B")
    cleaned = symbol.strip().removeprefix("$").upper()
    if not _SYMBOL.match(cleaned):
        raise InvalidRequest(
            f"symbol {symbol[:40]!r} is no ticker: 1-15 letters, digits, dots or dashes, like AAPL or BRK.B"
        )
    return cleaned


def wait_seconds(name: str, value: float) -> float:
    """For how long somebody would wait; for ever is as long as any limit's window.

    Raises:
      InvalidRequest: ``value`` is no number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise InvalidRequest(f"{name} {value!r} is no number of seconds")
    return min(float(value), _LONGEST_WINDOW_SECONDS)


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
        if not 1 <= self.count <= _MOST:
            bound = f"at most {_MOST}" if self.count > 1 else "at least 1"
            raise InvalidRequest(f"limit {quoted(self.count)} must be {bound}")
        if not 0 < self.window_seconds <= _LONGEST_WINDOW_SECONDS:
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
        if unit.lower() not in _UNIT_SECONDS:
            known = ", ".join(_UNIT_SECONDS)
            raise InvalidRequest(
                f"limit {text!r} has an unknown unit {unit!r}{nearest(unit, _UNIT_SECONDS)} (known: {known})"
            )
        return cls(int(count), float(number or 1) * _UNIT_SECONDS[unit.lower()])

    @classmethod
    def parse_all(cls, text: str) -> tuple[Self, ...]:
        """Read a comma-separated list of limits; all of them hold at once."""
        return tuple(cls.parse(part) for part in text.split(","))

    def __str__(self) -> str:
        for unit in ("d", "h", "m"):
            size = _UNIT_SECONDS[unit]
            if self.window_seconds >= size and self.window_seconds % size == 0:
                return f"{self.count}/{int(self.window_seconds // size)}{unit}"
        return f"{self.count}/{self.window_seconds:g}s"


class Keyed(Protocol):
    """What is asked of a source, under the key that its answer is cached by."""

    @property
    def source(self) -> str: ...

    @property
    def key(self) -> str: ...


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """What a caller wants to know: the sentiment of ``symbol`` over the last ``hours``."""

    source: str
    symbol: str
    hours: int = 24
    #: The cache key, e.g. ``twitter:AAPL:24``.
    key: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "symbol", ticker(self.symbol))
        object.__setattr__(self, "key", f"{self.source}:{self.symbol}:{self.hours}")
        if not isinstance(self.hours, int) or isinstance(self.hours, bool) or self.hours < 1:
            raise InvalidRequest(f"hours {self.hours!r} must be a whole number of at least 1")


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request to an upstream, without its credentials."""

    method: str
    url: str
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RawResponse:
    """An upstream's answer as it came: status, headers (names in lower case), body.

    ``received_at`` is what relative hints ("in 4 s") count from.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    received_at: datetime = field(default_factory=utc_now, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "headers", {name.lower(): value for name, value in self.headers.items()})


@dataclass(frozen=True, slots=True)
class Item:
    """One post, article or trade.

    ``at`` is UTC-aware, None only where the upstream gave no time; ``author`` is
    None where deleted or unknown. ``label`` is the author's own. ``score``
    (-1..1) is set where the item states its sentiment in figures, as trades do,
    and goes before label and text; ``weight`` is its share in the mean.
    """

    id: str
    at: datetime | None
    text: str
    author: str | None = None
    label: Label | None = None
    score: float | None = None
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class RateHint:
    """What the upstream's headers say is left of one of its windows."""

    remaining: int
    reset_at: datetime
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """One answer: its items and where the next page starts.

    ``items`` are in the upstream's order, newest first, their ids unique; what it pins or promotes, out of
    its order, is left out. ``next`` is None where the answer names no next page. ``exhausted`` says that the
    upstream states that there is none, so that this is all it has of the time asked for: a ``next`` that is
    merely missing or null states nothing. ``depth`` is how many items a listing has at most, where it has
    such a bound: an end that many items deep is not believed. ``total`` is how many items the upstream says
    there are, where it does. ``users`` are the ids of the users that it holds beside its items, which some
    upstreams bill as well.
    """

    items: tuple[Item, ...]
    next: str | None = None
    total: int | None = None
    hints: tuple[RateHint, ...] = ()
    users: tuple[str, ...] = ()
    exhausted: bool = False
    depth: int | None = None


@dataclass(frozen=True, slots=True)
class SymbolSentiment:
    """The sentiment of one symbol in one source over ``hours``.

    ``score`` is -1 (bearish) .. 1 (bullish), None where nothing could be scored.
    ``complete`` says that the answer covers all ``hours``; if not, ``since`` is
    how far back it is true and ``reason`` why no further. ``until`` is how far up to
    ``as_of`` it is true, where a plan's items come late; None where up to ``as_of`` itself.
    """

    source: str
    symbol: str
    hours: int
    score: float | None
    count: int
    bullish: int
    bearish: int
    neutral: int
    as_of: datetime
    complete: bool
    since: datetime | None
    scorer: str
    reason: str | None = None
    until: datetime | None = None

    @property
    def covered_hours(self) -> float:
        """Of how many of the ``hours`` the score is true: those from ``since`` to ``until``; 0.0 of none."""
        if self.complete:
            return float(self.hours)
        if self.since is None:
            return 0.0
        covered = ((self.until or self.as_of) - self.since).total_seconds() / 3600
        return round(max(0.0, min(float(self.hours), covered)), 3)


@dataclass(frozen=True, slots=True)
class Failure:
    """An upstream error as data, so that one worker's failure is known to all."""

    kind: str
    message: str
    status: int
    retry_at: datetime | None

    @classmethod
    def of(cls, error: UpstreamError) -> Self:
        return cls(error.kind, error.message, error.status, error.retry_at)

    def to_error(self, source: str) -> UpstreamError:
        kind = UPSTREAM_ERRORS.get(self.kind, UpstreamError)
        return kind(source, self.message, status=self.status, retry_at=self.retry_at)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer to one ask, and where it comes from.

    ``age`` is in seconds since ``as_of``. ``error`` is set on a stale answer when
    the last refresh failed.
    """

    request: FetchRequest
    sentiment: SymbolSentiment
    origin: Origin
    age: float
    error: Failure | None = None

    @property
    def as_of(self) -> datetime:
        return self.sentiment.as_of

    @property
    def complete(self) -> bool:
        return self.sentiment.complete

    @property
    def covered_hours(self) -> float:
        """Of how many of the hours asked for the score is true: see :class:`SymbolSentiment`."""
        return self.sentiment.covered_hours


@dataclass(frozen=True, slots=True)
class RateLimitStatus:
    """Where a source's tightest limit stands.

    ``allowed`` is how many requests the window allows; ``reset_at`` is when the
    next slot that is in use comes free (UTC; now, if none is in use).
    """

    source: str
    allowed: int
    used: int
    remaining: int
    reset_at: datetime
    is_limited: bool
    window_seconds: float = 0.0
    reason: str | None = None
