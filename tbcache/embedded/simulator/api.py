"""The base of all simulated APIs.

An API is a pure function: the same call at the same moment gets the same answer.
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
    """How one upstream checks a caller, answers, refuses and fails.

    ``plans`` are the plans that an account can have, the default one first. ``credentials`` are the values
    that it accepts, by the names of our environment variables.
    """

    name: ClassVar[str]
    plans: ClassVar[tuple[str, ...]] = ("default",)
    #: Answers with these statuses have no headers about the limits.
    silent: ClassVar[frozenset[int]] = frozenset({401})
    per_day: ClassVar[float]
    #: The kind of window in which it counts.
    window: ClassVar[type[Window]] = Window

    def __init__(self, seed: int, credentials: Mapping[str, str]) -> None:
        self.seed = seed
        self.credentials = credentials

    @abstractmethod
    def authorize(self, call: Call, now: float) -> Reply | None:
        """The refusal, where ``call`` lacks the right credentials; else None."""

    @abstractmethod
    def answer(self, call: Call, now: float, plan: str) -> Reply:
        """The answer to an authorized ``call`` at ``now`` (Unix seconds)."""

    @abstractmethod
    def error(self, status: int) -> Reply:
        """The answer of this API for an error with ``status``."""

    @abstractmethod
    def refuse(self, arrival: Arrival, now: float) -> Reply:
        """The 429 for a caller who is over a limit, with the hints that this API gives."""

    def rate_headers(self, arrival: Arrival, now: float) -> Mapping[str, str]:
        """The headers about limits that every caller gets; empty where this API has none."""
        return {}

    def quota_exhausted(self, now: float) -> Reply:
        """The refusal of an account that has used up its quota of the day or the month.

        An API without quotas answers with its usual 429.
        """
        return self.error(429)

    def ids(self, stream: Stream, k: int) -> tuple[str, ...]:
        """All ids that item ``k`` has had, the first one first; empty where the source has no ground
        truth.
        """
        return ()

    def place(self, stream: Stream, k: int) -> str | None:
        """The subreddit or the site of item ``k``; None where the source has no such places."""
        return None

    def text(self, stream: Stream, k: int) -> str:
        """What item ``k`` says, as a search looks at it."""
        return post.write(stream, k).text

    def is_counted(self, call: Call) -> bool:
        """False for a call that does not count against the limits, as one for a token."""
        return True

    def stream(self, symbol: str) -> Stream:
        """The stream of items about ``symbol`` alone; for ``CROWD``, of items about several symbols."""
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
    """The Unix seconds of ``text`` in ISO 8601, in UTC where it names no zone.

    Raises:
      ValueError: ``text`` is not in that format.
    """
    at = datetime.fromisoformat(text)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def bearer(call: Call) -> str:
    """The token after ``Authorization: Bearer``, or Stocktwits' ``OAuth``; ``""`` without one."""
    scheme, _, token = call.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() in ("bearer", "oauth") else ""


def whole_seconds(seconds: float) -> int:
    """``seconds`` rounded up, so that a caller who waits for them is never early."""
    return max(0, math.ceil(seconds))
