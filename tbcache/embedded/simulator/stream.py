"""The endless stream of one symbol in one source: each item is a pure function of its number ``k``.

The times of the items are a regular grid with jitter. So pages, refreshes and restarts of the simulator all
have the same items.
"""

from __future__ import annotations

import bisect
import functools
import heapq
import math
import random
from collections.abc import Callable, Iterator
from hashlib import blake2b

from tbcache.embedded.simulator.mix import mix_of

#: The first moment of every stream: 2015-01-01 UTC, in Unix seconds.
BEGIN = 1_420_070_400
UNKNOWN_PREFIX = "ZZZ"
#: The name of the stream of items about several popular symbols.
CROWD = "*"
DAY = 86_400
#: On this fraction of days a symbol has news, and more items than usual for an hour.
BURST_DAYS = 0.25
_HOUR = 3600.0

#: The number of items of a symbol, relative to that of the first one. Those of other symbols follow from the
#: seed.
POPULARITY = {
    "NVDA": 1.0, "TSLA": 0.8, "SPY": 0.6, "GME": 0.5, "AMD": 0.4, "AAPL": 0.35,
    "META": 0.3, "AMZN": 0.3, "MSFT": 0.25, "GOOGL": 0.2,
}  # fmt: skip
_WORD = (1 << 64) - 1


def is_known(symbol: str) -> bool:
    """Every ticker exists here, except those that start with ``ZZZ``."""
    return not symbol.startswith(UNKNOWN_PREFIX)


class Stream:
    """The items of ``symbol`` in ``source``; the most popular symbol has about ``per_day`` of them a day.

    Times are whole Unix seconds, and rise strictly with the number of the item.
    """

    def __init__(self, seed: int, source: str, symbol: str, per_day: float) -> None:
        self.seed = seed
        self.source = source
        self.symbol = symbol
        self.salt = _number(f"{seed}:{source}:{symbol}")
        #: It is the same for all sources, so that their moods about a symbol are mostly alike.
        self.mood_salt = mood_salt(seed, symbol)
        share = 1.0 if symbol == CROWD else POPULARITY.get(symbol, 0.02 + (self.mood_salt % 100) / 500)
        # Items are at least 20 s apart, so that the jitter never puts two of them into one second.
        self.spacing = max(20.0, DAY / max(2.0, per_day * share))
        self._pace = max(1.0, min(mix_of(source).burst, self.spacing / 20.0))

    def at(self, k: int) -> int:
        """The time of item ``k`` (Unix seconds)."""
        jitter = 0.05 + 0.9 * (mixed(self.salt + k) / _WORD)
        return int(self._burst(BEGIN + (k + jitter) * self.spacing))

    def dice(self, k: int, topic: int = 0) -> random.Random:
        """The random numbers for all else about item ``k``; each ``topic`` has its own."""
        return random.Random(mixed(mixed(self.salt ^ topic) + k))

    def draw(self, k: int, topic: int) -> float:
        """A random number from 0 to 1 for item ``k`` and ``topic``. It is cheaper than :meth:`dice`."""
        return mixed(mixed(self.salt ^ topic) + k) / _WORD

    def first_from(self, moment: float) -> int:
        """The number of the first item at or after ``moment`` (Unix seconds)."""
        # A burst moves an item, but only within its day.
        day = moment // DAY * DAY - BEGIN
        first, last = (max(0, math.floor(edge / self.spacing) - 2) for edge in (day, day + DAY))
        return first + bisect.bisect_left(range(first, last + 4), moment, key=self.at)

    def between(self, start: float, end: float) -> range:
        """The numbers of the items with ``start <= at < end``, oldest first."""
        first = self.first_from(start)
        return range(first, max(first, self.first_from(end)))

    def is_in_burst(self, k: int) -> bool:
        """Whether item ``k`` is in an hour of news, which has more items than others."""
        at = self.at(k)
        start = self._burst_start(at // DAY)
        return start is not None and start <= at % DAY < start + _HOUR

    def _burst_start(self, day: int) -> float | None:
        """When the hour of news begins, in seconds of the UTC ``day``; None on most days.

        It depends on the symbol alone, as all sources report the same news.
        """
        draw = mixed(self.mood_salt + day) / _WORD
        if self._pace == 1 or draw >= BURST_DAYS:
            return None
        return draw / BURST_DAYS * (DAY - _HOUR)

    def _burst(self, moment: float) -> float:
        """``moment`` of the regular grid, moved towards the hour of news. Its day and its order stay the
        same.
        """
        day, rest = divmod(moment, DAY)
        start = self._burst_start(int(day))
        if start is None:
            return moment
        even = 1 + (self._pace - 1) * _HOUR / DAY
        before, within = start / even, _HOUR * self._pace / even
        if rest < before:
            rest *= even
        elif rest < before + within:
            rest = start + (rest - before) * even / self._pace
        else:
            rest = start + _HOUR + (rest - before - within) * even
        return day * DAY + rest

    def mood(self, moment: float) -> float:
        """How the crowd feels about the symbol at ``moment``: -1 (bearish) .. 1 (bullish)."""
        phase = self.mood_salt % 1000 / 1000 * math.tau
        days = moment / DAY
        bias = (self.mood_salt >> 10) % 100 / 100 - 0.4
        waves = 0.5 * math.sin(days / 4.7 * math.tau + phase) + 0.2 * math.sin(
            days / 0.4 * math.tau + 3 * phase
        )
        return max(-1.0, min(1.0, 0.6 * bias + waves))


Order = Callable[[Stream, int], int]


@functools.lru_cache(maxsize=4096)
def open_stream(seed: int, source: str, symbol: str, per_day: float) -> Stream:
    return Stream(seed, source, symbol, per_day)


def newest_first(
    streams: list[Stream], start: float, end: float, order: Order = Stream.at
) -> Iterator[tuple[Stream, int]]:
    """Every item of ``streams`` with ``start <= at < end``, newest first.

    ``order`` is what they are sorted by; it must rise with the number of the item in each stream.
    """
    by_symbol = {stream.symbol: stream for stream in streams}
    if len(streams) == 1:
        return ((streams[0], k) for k in reversed(streams[0].between(start, end)))
    merged = heapq.merge(*(_ordered(stream, start, end, order) for stream in streams), reverse=True)
    return ((by_symbol[symbol], k) for _, symbol, k in merged)


def _ordered(stream: Stream, start: float, end: float, order: Order) -> Iterator[tuple[int, str, int]]:
    return ((order(stream, k), stream.symbol, k) for k in reversed(stream.between(start, end)))


def mood_salt(seed: int, symbol: str) -> int:
    """The number from which all that is common to every source about ``symbol`` follows."""
    return _number(f"{seed}:{symbol}")


def _number(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


def mixed(number: int) -> int:
    """One round of splitmix64, a cheap hash: the results of neighbouring numbers are unrelated."""
    z = (number + 0x9E3779B97F4A7C15) & _WORD
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _WORD
    return z ^ (z >> 31)
