"""A source's figures of the last minutes and of the last day: sums of the day, less what they were before.

Every process sees to it that the sums of the day are kept at the start of each minute (minute.lua).
Nothing is counted twice for it, and a hit costs no more than without.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from tbcache.io import run
from tbcache.store.connection import Store
from tbcache.store.key import Keys
from tbcache.store.mark import DAY_MINUTES, Marks, less, minute_of, read_mark, sum_over_workers
from tbcache.store.reply import flag
from tbcache.store.script import Key, Script
from tbcache.store.wire import MICROS, to_time

#: So many minutes are recent: their figures are told beside those of the day.
RECENT_MINUTES = 5
#: The sums are kept of a day and of the minute in which it began.
KEPT_MINUTES = DAY_MINUTES + 1


class MarkMinute(NamedTuple):
    """Keep the sums of the day as a minute begins, and what is queued. False where they are kept already."""

    usage: Key
    minutes: Key
    interactive: Key
    prewarm: Key
    suspects: Key
    delayed: Key
    claims: Key
    dead: Key
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
        minute = minute_of(now_us)
        if self._kept.get(source) == minute:
            return
        ask = mark_minute(self._store.keys, source, to_time(now_us), minute // DAY_MINUTES)
        self._store.run(KEEP_MINUTE, ask)
        self._kept[source] = minute

    def recent(self, source: str) -> tuple[float, Counter[str]]:
        """The figures since the start of the fifth minute before this one, and how many seconds that is.

        Raises:
          Unavailable: Redis is away.
        """
        now_us = run(self._store.clock.now_us(source))
        minute = minute_of(now_us)
        wanted = [minute - back for back in range(RECENT_MINUTES, -1, -1)]
        with self._store.guard():
            found: Any = self._store.client.hmget(self._store.keys.minutes(source), list(map(str, wanted)))
        for at, text in zip(wanted, found, strict=True):
            if text is not None:
                return now_us / MICROS - at * 60, self._since(source, text, now_us)
        # Whoever counts stores the minute: without one nothing has been counted.
        return 0.0, Counter()

    def marks(self, source: str) -> Marks:
        """What is kept of the last day, and the figures of today and of yesterday.

        Raises:
          Unavailable: Redis is away.
        """
        now_us = run(self._store.clock.now_us(source))
        keys, today = self._store.keys, minute_of(now_us) // DAY_MINUTES
        with self._store.guard():
            pipe: Any = self._store.client.pipeline(transaction=False)
            pipe.hgetall(keys.minutes(source))
            for back in (0, 1):
                pipe.hgetall(keys.usage(source, to_time(now_us) - timedelta(days=back)))
            kept, *days = self._store.execute(pipe)
        totals = {today - back: sum_over_workers(day) for back, day in enumerate(days)}
        return Marks(now_us, kept, totals)

    def _since(self, source: str, text: bytes, now_us: float) -> Counter[str]:
        day, sums = read_mark(text)
        today = minute_of(now_us) // DAY_MINUTES
        total = self._total(source, now_us)
        if day == today:
            return less(total, sums)
        # A minute of any other day is damaged, or was written by an older version whose clock was wrong.
        if day != today - 1:
            return Counter()
        return total + less(self._total(source, now_us - DAY_MINUTES * 60 * MICROS), sums)

    def _total(self, source: str, moment_us: float) -> Counter[str]:
        """The sums over all workers of the day that ``moment_us`` lies in."""
        with self._store.guard():
            stored: Any = self._store.client.hgetall(self._store.keys.usage(source, to_time(moment_us)))
        return sum_over_workers(stored)


def mark_minute(keys: Keys, source: str, now: datetime, day: int) -> MarkMinute:
    """The ask that keeps the minute of ``source``, with the figures of ``day`` (since the Unix epoch)."""
    return MarkMinute(
        keys.usage(source, now),
        keys.minutes(source),
        interactive=keys.queue(source, "interactive"),
        prewarm=keys.queue(source, "prewarm"),
        suspects=keys.queue(source, "suspects"),
        delayed=keys.queue(source, "delayed"),
        claims=keys.queue(source, "claims"),
        dead=keys.queue(source, "dead"),
        day=day,
        kept=KEPT_MINUTES,
    )
