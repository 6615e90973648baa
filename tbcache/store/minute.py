"""A source's figures of the last minutes: those of the day, less what they were some minutes ago.

Every process sees to it that the sums of the day are kept at the start of each minute (minute.lua).
Nothing is counted twice for it, and a hit costs no more than without.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

from tbcache.io import run
from tbcache.models.untrusted import printable, whole_number
from tbcache.store.connection import Store
from tbcache.store.reply import flag
from tbcache.store.script import Key, Script
from tbcache.store.wire import MICROS, to_time

#: The figures of so many minutes are told.
RECENT_MINUTES = 5

_DAY_MINUTES = 1440


class MarkMinute(NamedTuple):
    """Keep the sums of the day as a minute begins. False where they are kept already."""

    usage: Key
    minutes: Key
    day: int
    kept: int


KEEP_MINUTE = Script("minute", MarkMinute, flag)


class Minutes:
    """The sums of the day, minute by minute."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: dict[str, int] = {}

    def mark(self, source: str) -> None:
        """See to it that the sums of this minute are kept. It and its day are by the server's clock.

        Raises:
          Unavailable: Redis is away.
        """
        now_us = run(self._store.clock.now_us(source))
        minute = _minute(now_us)
        if self._kept.get(source) == minute:
            return
        keys, day = self._store.keys, minute // _DAY_MINUTES
        usage = keys.usage(source, to_time(now_us))
        self._store.run(KEEP_MINUTE, MarkMinute(usage, keys.minutes(source), day, RECENT_MINUTES + 1))
        self._kept[source] = minute

    def recent(self, source: str) -> tuple[float, Counter[str]]:
        """The figures since the start of the fifth minute before this one, and how many seconds that is.

        Raises:
          Unavailable: Redis is away.
        """
        now_us = run(self._store.clock.now_us(source))
        minute = _minute(now_us)
        wanted = [minute - back for back in range(RECENT_MINUTES, -1, -1)]
        with self._store.guard():
            found: Any = self._store.client.hmget(self._store.keys.minutes(source), list(map(str, wanted)))
        for at, text in zip(wanted, found, strict=True):
            if text is not None:
                return now_us / MICROS - at * 60, self._since(source, text, now_us)
        # Whoever counts stores the minute: without one nothing has been counted.
        return 0.0, Counter()

    def _since(self, source: str, text: bytes, now_us: float) -> Counter[str]:
        day, sums = _read(text)
        today = _minute(now_us) // _DAY_MINUTES
        total = self._total(source, now_us)
        if day == today:
            return _less(total, sums)
        # A minute of any other day is damaged, or was written by an older version whose clock was wrong.
        if day != today - 1:
            return Counter()
        return total + _less(self._total(source, now_us - _DAY_MINUTES * 60 * MICROS), sums)

    def _total(self, source: str, moment_us: float) -> Counter[str]:
        """The sums over all workers of the day that ``moment_us`` lies in."""
        with self._store.guard():
            stored: Any = self._store.client.hgetall(self._store.keys.usage(source, to_time(moment_us)))
        total: Counter[str] = Counter()
        for name, value in stored.items():
            metric, count = printable(name).partition(":")[2], whole_number(value)
            if metric and count is not None:
                total[metric] += count
        return total


def _minute(moment_us: float) -> int:
    """The minute since the Unix epoch in which a moment (us) lies."""
    return int(moment_us / MICROS) // 60


def _read(text: bytes) -> tuple[int, Counter[str]]:
    """The day since the Unix epoch and its sums; what is damaged is left out."""
    day, _, figures = text.decode(errors="replace").partition(" ")
    pairs = (part.partition("=") for part in figures.split(","))
    sums = {metric: count for metric, _, value in pairs if (count := whole_number(value)) is not None}
    return whole_number(day) or 0, Counter(sums)


def _less(later: Counter[str], sooner: Counter[str]) -> Counter[str]:
    """What was added in between; a figure that has shrunk was lost, and begins anew."""
    return Counter({metric: more for metric, n in later.items() if (more := n - sooner[metric]) > 0})
