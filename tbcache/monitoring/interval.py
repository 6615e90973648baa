"""The figures of a source over a stretch of time: a minute, a quarter of an hour, an hour.

Nothing here asks Redis.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tbcache.monitoring.figure import day_metrics
from tbcache.store.mark import GAUGE, Stretch
from tbcache.store.wire import MICROS, to_time


@dataclass(frozen=True, slots=True)
class Interval:
    """One source from ``start`` (UTC) on, for ``seconds``: latency in seconds, cost in US dollars.

    ``waiting``, ``delayed``, ``running`` and ``dead`` are the most jobs that its queue had as one of the
    minutes began; None where nobody has looked.
    """

    start: datetime
    seconds: float
    requests: int = 0
    hits: int = 0
    stale: int = 0
    misses: int = 0
    pages: int = 0
    errors: int = 0
    errors_by_kind: Mapping[str, int] = field(default_factory=dict)
    cache_hit_rate: float = 0.0
    cost: float = 0.0
    latency_p50: float | None = None
    latency_p95: float | None = None
    waiting: int | None = None
    delayed: int | None = None
    running: int | None = None
    dead: int | None = None

    @property
    def end(self) -> datetime:
        """When it was over."""
        return self.start + timedelta(seconds=self.seconds)


def interval_of(start: datetime, seconds: float, figures: Counter[str]) -> Interval:
    """The interval in which ``figures`` were counted."""
    day = day_metrics("", figures)
    return Interval(
        start=start,
        seconds=seconds,
        requests=day.requests_today,
        hits=day.hits_today,
        stale=day.stale_today,
        misses=day.misses_today,
        pages=day.pages_today,
        errors=day.errors_today,
        errors_by_kind=day.errors_by_kind,
        cache_hit_rate=day.cache_hit_rate,
        cost=day.cost_today,
        latency_p50=day.latency_p50,
        latency_p95=day.latency_p95,
        **{name: figures.get(GAUGE + name) for name in ("waiting", "delayed", "running", "dead")},
    )


def intervals_of(stretches: Iterable[Stretch]) -> list[Interval]:
    """An interval for each."""
    return [interval_of(to_time(one.start * 60 * MICROS), one.seconds, one.figures) for one in stretches]
