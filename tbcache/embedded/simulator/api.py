"""What the simulated APIs have in common.

An API is pure: the same call at the same moment gets the same answer.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import ClassVar

from tbcache.embedded.simulator import post
from tbcache.embedded.simulator.mix import mix_of
from tbcache.embedded.simulator.reply import Call, Reply
from tbcache.embedded.simulator.stream import (
    CROWD,
    POPULARITY,
    Order,
    Stream,
    is_known,
    newest_first,
    open_stream,
)
from tbcache.embedded.simulator.window import Arrival, Window


class Api(ABC):
    """One upstream's manners: how it checks a caller, answers, refuses and fails.

    ``plans`` are the plans an account can have, the default first. ``credentials``
    are the environment variables whose values it accepts.
    """

    name: ClassVar[str]
    plans: ClassVar[tuple[str, ...]] = ("default",)
    #: Statuses whose answers say nothing about the limits.
    silent: ClassVar[frozenset[int]] = frozenset({401})
    per_day: ClassVar[float]
    #: How its limits are kept.
    window: ClassVar[type[Window]] = Window

    def __init__(self, seed: int, credentials: Mapping[str, str]) -> None:
        self.seed = seed
        self.credentials = credentials

    @abstractmethod
    def authorize(self, call: Call, now: float) -> Reply | None:
        """Return the refusal of a caller without the right credentials, None for one with them."""

    @abstractmethod
    def answer(self, call: Call, now: float, plan: str) -> Reply:
        """Reply an authorized ``call`` made at ``now`` (Unix seconds)."""

    @abstractmethod
    def error(self, status: int) -> Reply:
        """How this API words an error of ``status``."""

    @abstractmethod
    def refuse(self, arrival: Arrival, now: float) -> Reply:
        """The 429 of a caller who is over a limit, with the hints this API gives."""

    def rate_headers(self, arrival: Arrival, now: float) -> Mapping[str, str]:
        """What this API tells every caller about the limits; nothing, where it does not."""
        return {}

    def quota_exhausted(self, now: float) -> Reply:
        """The refusal of an account whose day's or month's allowance is used up.

        An API that knows no such thing refuses as it always does.
        """
        return self.error(429)

    def ids(self, stream: Stream, k: int) -> tuple[str, ...]:
        """Every id that item ``k`` has had, the first one first; none where there is no ground truth."""
        return ()

    def place(self, stream: Stream, k: int) -> str | None:
        """Where item ``k`` stands, where a source has several places: a subreddit, a site."""
        return None

    def is_counted(self, call: Call) -> bool:
        """False for calls that spend nothing of the limits, as handing out tokens."""
        return True

    def stream(self, symbol: str) -> Stream:
        """What is said of ``symbol`` alone; of ``CROWD``: of several symbols at once."""
        crowd = mix_of(self.name).crowd
        if symbol != CROWD:
            return open_stream(self.seed, self.name, symbol, self.per_day * (1 - crowd))
        of_all = self.per_day * sum(POPULARITY.values())
        return open_stream(self.seed, self.name, CROWD, of_all * crowd / post.NAMED_ON_AVERAGE)

    def items(
        self, symbols: Iterable[str], start: float, end: float, order: Order = Stream.at
    ) -> Iterator[tuple[Stream, int]]:
        """Every item that names one of ``symbols``, with ``start <= at < end``, newest first."""
        wanted = dict.fromkeys(symbol for symbol in symbols if is_known(symbol))
        streams = [self.stream(symbol) for symbol in wanted]
        if mix_of(self.name).crowd and not POPULARITY.keys().isdisjoint(wanted):
            streams.append(self.stream(CROWD))
        for stream, k in newest_first(streams, start, end, order) if streams else ():
            if stream.symbol != CROWD or not wanted.keys().isdisjoint(post.symbols(stream, k)):
                yield stream, k


class BadParameter(Exception):
    """A query parameter that the API refuses; ``message`` is what it says about it."""

    def __init__(self, name: str, message: str) -> None:
        self.name = name
        self.message = message
        super().__init__(message)


def stamp(moment: float, form: str = "%Y-%m-%dT%H:%M:%SZ") -> str:
    """A moment (Unix seconds) as UTC text."""
    return datetime.fromtimestamp(moment, UTC).strftime(form)


def moment(text: str) -> float:
    """ISO 8601, naive ones in UTC, as Unix seconds.

    Raises:
      ValueError: it is no such text.
    """
    at = datetime.fromisoformat(text)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def bearer(call: Call) -> str:
    """The token after ``Authorization: Bearer``, or Stocktwits' ``OAuth``; ``""`` without one."""
    scheme, _, token = call.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() in ("bearer", "oauth") else ""


def whole_seconds(seconds: float) -> int:
    """Rounded up: a caller who comes back after it is never early."""
    return max(0, math.ceil(seconds))
