"""The sums of the day as they were when a minute began, and what was counted between two of them.

Nothing here asks Redis.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from tbcache.models.untrusted import printable, whole_number
from tbcache.store.wire import MICROS

DAY_MINUTES = 1440
#: What a name begins with that says how many jobs are queued, which is no sum.
GAUGE = "queue."

_GAUGES = re.compile(rb"(queue\.[a-z]{1,20})=(\d{1,15})")


class CountedSpan(NamedTuple):
    """What was counted from the minute ``start`` (since the Unix epoch) on, for ``seconds``.

    Of what begins with :data:`GAUGE` it is the most that there was as one of its minutes began.
    """

    start: int
    seconds: float
    figures: Counter[str]


class _Point(NamedTuple):
    """The sums of ``day`` at a moment (seconds since the Unix epoch)."""

    at: float
    day: int
    sums: Counter[str]


class Marks:
    """What is kept of a source's last day. Minutes and days are counted since the Unix epoch.

    ``kept`` are the fields of its HASH (minute.lua), ``totals`` the sums of today and of yesterday.
    """

    def __init__(self, now_us: float, kept: Any, totals: Mapping[int, Counter[str]]) -> None:
        self.now_us = now_us
        self._totals = totals
        last = minute_of(now_us)
        # A minute that lies ahead was written while the server's clock was wrong.
        numbers = {
            at: text for name, text in kept.items() if (at := whole_number(name)) is not None and at <= last
        }
        self._texts = dict(sorted(numbers.items()))
        self._minutes = list(self._texts)
        self._points: dict[int, _Point | None] = {}

    @property
    def first(self) -> int | None:
        """The first minute of which anything is known."""
        return self._minutes[0] if self._minutes else None

    @property
    def today(self) -> Counter[str]:
        """The sums of today, those of its minutes of which nothing is kept as well."""
        return self._totals.get(minute_of(self.now_us) // DAY_MINUTES, Counter())

    def between(self, bounds: Sequence[int]) -> list[CountedSpan]:
        """What was counted between each two of the minutes ``bounds``, in order; a bound ahead of us is now.

        What lies before the first minute that is kept is left out.
        """
        found = (self._stretch(start, end) for start, end in pairwise(bounds))
        return [one for one in found if one is not None]

    def since(self, minute: int) -> Counter[str]:
        """What was counted since the start of ``minute``; nothing where what is kept of it is damaged."""
        before = self._point(minute)
        return Counter() if before is None else self._between(before, self._now)

    @property
    def _now(self) -> _Point:
        return _Point(self.now_us / MICROS, minute_of(self.now_us) // DAY_MINUTES, self.today)

    def _stretch(self, start: int, end: int) -> CountedSpan | None:
        first = self.first
        if first is None or end <= first or start * 60 >= self.now_us / MICROS:
            return None
        start = max(start, first)
        before, after = self._point(start), self._point(end)
        if before is None or after is None:
            return None
        figures = self._between(before, after)
        for text in self._texts_of(start, end):
            for name, count in _GAUGES.findall(text):
                gauge = name.decode()
                figures[gauge] = max(figures[gauge], int(count))
        return CountedSpan(start, min(end * 60, self.now_us / MICROS) - start * 60, figures)

    def _texts_of(self, start: int, end: int) -> list[bytes]:
        begin, stop = bisect_left(self._minutes, start), bisect_left(self._minutes, end)
        return [self._texts[minute] for minute in self._minutes[begin:stop]]

    def _point(self, minute: int) -> _Point | None:
        """The sums as ``minute`` began; None where they are damaged.

        Whoever counts has the minute kept first: until the next that is kept, nothing was counted.
        """
        place = bisect_left(self._minutes, minute)
        if place == len(self._minutes):
            return self._now
        at = self._minutes[place]
        if at not in self._points:
            self._points[at] = self._read(at)
        return self._points[at]

    def _read(self, minute: int) -> _Point | None:
        day, sums = read_mark(self._texts[minute])
        # Just after midnight the asker may still have meant yesterday.
        return _Point(minute * 60, day, sums) if minute // DAY_MINUTES - day in (0, 1) else None

    def _between(self, before: _Point, after: _Point) -> Counter[str]:
        if before.day == after.day:
            return less(after.sums, before.sums)
        if before.day + 1 != after.day:
            return Counter()
        return less(self._totals.get(before.day, Counter()), before.sums) + _counts(after.sums)


def minute_of(moment_us: float) -> int:
    """The minute since the Unix epoch in which a moment (us) lies."""
    return int(moment_us / MICROS) // 60


def read_mark(text: bytes) -> tuple[int, Counter[str]]:
    """The day since the Unix epoch and its sums; what is damaged is left out."""
    day, _, figures = text.decode(errors="replace").partition(" ")
    pairs = (part.partition("=") for part in figures.split(","))
    sums = {metric: count for metric, _, value in pairs if (count := whole_number(value)) is not None}
    return whole_number(day) or 0, Counter(sums)


def less(later: Counter[str], sooner: Counter[str]) -> Counter[str]:
    """What was added in between; a figure that has shrunk was lost, and begins anew."""
    sums = _counts(later).items()
    return Counter({metric: more for metric, n in sums if (more := n - sooner[metric]) > 0})


def sum_over_workers(stored: Iterable[tuple[bytes, bytes]]) -> Counter[str]:
    """The sums over all workers of a day's figures."""
    total: Counter[str] = Counter()
    for name, value in stored:
        metric, count = printable(name).partition(":")[2], whole_number(value)
        if metric and count is not None:
            total[metric] += count
    return total


def _counts(figures: Counter[str]) -> Counter[str]:
    return Counter({name: count for name, count in figures.items() if not name.startswith(GAUGE)})
