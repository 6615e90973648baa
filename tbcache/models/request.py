"""What is asked: of us, and by us of an upstream."""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal, Protocol, SupportsIndex

from tbcache.models.error import InvalidRequest

Lane = Literal["interactive", "prewarm"]

#: For how long a caller waits, where it does not say.
PATIENCE_SECONDS = 30.0

# Tickers of US and foreign listings, share classes, crypto pairs: BRK.B, BTC-USD, 0700.HK, HYPE.X
_SYMBOL = re.compile(r"[A-Z0-9][A-Z0-9.\-]{0,14}\Z")


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


def fraction(name: str, value: float) -> float:
    """``value`` of the argument ``name``.

    Raises:
      InvalidRequest: it is not between 0 and 1.
    """
    if not isinstance(value, int | float) or not 0 <= value <= 1:
        raise InvalidRequest(f"{name} {value!r} must be a share of the hours, from 0 to 1")
    return value


class Keyed(Protocol):
    """What is asked of a source, under the key that its answer is cached by."""

    @property
    def source(self) -> str: ...

    @property
    def key(self) -> str: ...


#: No upstream can be asked for more than a year.
LONGEST_HOURS = 8760
#: The last part of the key of a symbol's timeline, in the place of the hours.
TIMELINE = "timeline"


@dataclass(frozen=True, slots=True)
class Stretch:
    """The part of the hours that an upstream is asked for: what is no older than ``since``, and no newer than
    ``until`` (None: up to now).

    ``since_id`` is a known item of about ``since``, ``until_id`` a known one of about ``until``, where enough
    are known: upstreams that count by ids are asked by these. ``above`` is how many known items are newer
    than ``until``: they count for the depth of a search that goes on behind ``until_id``.
    """

    since: datetime
    until: datetime | None = None
    since_id: str | None = None
    until_id: str | None = None
    above: int = 0


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """What a caller wants to know: the sentiment of ``symbol`` over the last ``hours``.

    ``stretch`` is what of it a provider is to ask for, None for all of it, and ``asked_at`` when. ``others``
    are symbols that may be asked for in the same request. ``is_deep``: what is missing of the hours is asked
    for as well, however far back it is. ``rules`` names the voice rules by which the items are weighed, and
    their scorer, where they are not those of the settings: such an answer is not the one that everybody gets.
    """

    source: str
    symbol: str
    hours: int = 24
    #: The cache key, e.g. ``twitter:AAPL:24``.
    key: str = field(init=False, repr=False, compare=False)
    stretch: Stretch | None = field(default=None, kw_only=True, repr=False, compare=False)
    others: tuple[str, ...] = field(default=(), kw_only=True, repr=False, compare=False)
    is_deep: bool = field(default=False, kw_only=True, repr=False, compare=False)
    asked_at: datetime | None = field(default=None, kw_only=True, repr=False, compare=False)
    rules: str = field(default="", kw_only=True, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "symbol", ticker(self.symbol))
        if type(self.hours) is not int:
            object.__setattr__(self, "hours", _whole(self.hours))
        key = f"{self.source}:{self.symbol}:{self.hours}"
        object.__setattr__(self, "key", f"{key}:{self.rules}" if self.rules else key)
        if self.hours < 1:
            raise _not_whole(self.hours)

    @property
    def symbols(self) -> tuple[str, ...]:
        """All that a provider is to ask for in one request."""
        return (self.symbol, *self.others)

    @property
    def until(self) -> datetime | None:
        """Up to when a provider is to ask for items, where it can; None: up to now."""
        return None if self.stretch is None else self.stretch.until

    def start(self, now: datetime) -> datetime:
        """Since when a provider is to ask for items; the hours are counted back from ``now``."""
        return now - timedelta(hours=self.hours) if self.stretch is None else self.stretch.since

    def now(self, since: datetime) -> datetime:
        """When it is asked, by the server's clock, which a provider that is given ``since`` may need."""
        return self.asked_at or since + timedelta(hours=self.hours)

    @property
    def timeline_key(self) -> str:
        """The cache key of the symbol's timeline, e.g. ``twitter:AAPL:timeline``: one for any hours."""
        return f"{self.source}:{self.symbol}:{TIMELINE}"


def _whole(hours: object) -> int:
    """``hours`` as an int: arrays and frames have whole numbers of other types."""
    if isinstance(hours, float) and hours.is_integer():
        return int(hours)
    if not isinstance(hours, SupportsIndex) or isinstance(hours, bool):
        raise _not_whole(hours)
    return operator.index(hours)


def _not_whole(hours: object) -> InvalidRequest:
    return InvalidRequest(f"hours {hours!r} must be a whole number of at least 1")


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
    received_at: datetime = field(default_factory=lambda: datetime.now(UTC), kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "headers", {name.lower(): value for name, value in self.headers.items()})
