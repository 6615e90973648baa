"""A source's figures of the last minutes and of the last day: sums of the day, less what they were before.

Every process sees to it that the sums of the day are kept at the start of each minute (minute.lua).
Nothing is counted twice for it, and a hit costs no more than without.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from tbcache.io import run
from tbcache.store.connection import Store
from tbcache.store.key import Keys
from tbcache.store.mark import DAY_MINUTES, Marks, minute_of, sum_over_workers
from tbcache.store.reply import flag, pairs
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


class Recent(NamedTuple):
    """What was counted in the last ``seconds``, and since each minute of them that is kept, the first one
    first (minutes since the Unix epoch).
    """

    seconds: float
    figures: Counter[str]
    since: Mapping[int, Counter[str]]


class Minutes:
    """The sums of the day, minute by minute."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: dict[str, int] = {}

    def mark(self, source: str) -> None:
        """See to it that the sums of this minute are kept. It and its day are by the server's clock."""
        now_us = run(self._store.clock.now_us(source))
        minute = minute_of(now_us)
        if self._kept.get(source) == minute:
            return
        ask = mark_minute(self._store.keys, source, to_time(now_us), minute // DAY_MINUTES)
        self._store.run(KEEP_MINUTE, ask)
        self._kept[source] = minute

    def recent(self, source: str) -> Recent:
        """What was counted since the start of the fifth minute before this one."""
        now_us = run(self._store.clock.now_us(source))
        minute = minute_of(now_us)
        wanted = range(minute - RECENT_MINUTES, minute + 1)
        found = self._store.call("HMGET", self._store.keys.minutes(source), *wanted)
        kept = {b"%d" % at: text for at, text in zip(wanted, found, strict=True) if text is not None}
        if not kept:
            # Whoever counts stores the minute: without one nothing has been counted.
            return Recent(0.0, Counter(), {})
        count = 1 + minute // DAY_MINUTES - wanted[0] // DAY_MINUTES
        marks = _marks(now_us, kept, self._store.change(*self._days(source, now_us, count)))
        counted = {at: marks.since(at) for at in map(int, kept)}
        first = min(counted)
        return Recent(now_us / MICROS - first * 60, counted[first], counted)

    def marks(self, source: str) -> Marks:
        """What is kept of the last day, and the figures of today and of yesterday."""
        now_us = run(self._store.clock.now_us(source))
        minutes = ("HGETALL", self._store.keys.minutes(source))
        kept, *days = self._store.execute(minutes, *self._days(source, now_us, 2))
        return _marks(now_us, dict(pairs(kept)), days)

    def _days(self, source: str, now_us: float, count: int) -> Iterator[tuple[str, str]]:
        """What asks for the figures of the last ``count`` days, today's first."""
        for back in range(count):
            yield "HGETALL", self._store.keys.usage(source, to_time(now_us) - timedelta(days=back))


def _marks(now_us: float, kept: Mapping[bytes, bytes], days: Sequence[Any]) -> Marks:
    today = minute_of(now_us) // DAY_MINUTES
    return Marks(now_us, kept, {today - back: sum_over_workers(pairs(day)) for back, day in enumerate(days)})


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
