"""The figures of a source over a stretch of time: a minute, a quarter of an hour, an hour.

Nothing here asks Redis.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from tbcache.monitoring.figure import SpanMetrics, span_figures
from tbcache.store.mark import GAUGE, CountedSpan
from tbcache.store.wire import MICROS, to_time


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval(SpanMetrics):
    """What was counted from `start` on, for `seconds`: `pages` are the requests that fetches took, and the
    jobs the most that its queue had as a minute began."""

    start: datetime
    seconds: float
    waiting: int | None = None
    """Null where nobody has looked."""
    delayed: int | None = None
    running: int | None = None
    dead: int | None = None

    @property
    def end(self) -> datetime:
        return self.start + timedelta(seconds=self.seconds)


def interval_of(start: datetime, seconds: float, figures: Counter[str]) -> Interval:
    return Interval(
        start=start,
        seconds=seconds,
        **span_figures(figures),
        waiting=figures.get(f"{GAUGE}waiting"),
        delayed=figures.get(f"{GAUGE}delayed"),
        running=figures.get(f"{GAUGE}running"),
        dead=figures.get(f"{GAUGE}dead"),
    )


def intervals_of(stretches: Iterable[CountedSpan]) -> list[Interval]:
    return [interval_of(to_time(one.start * 60 * MICROS), one.seconds, one.figures) for one in stretches]
