"""What was asked for in a span of days and what that cost: by source, by worker, by caller, or by day."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from tbcache.models.shape import Shape
from tbcache.monitoring import CallerMetrics, SourceMetrics, Totals, UsageMonitor, day_metrics

#: What the rows of a report can be of.
By = Literal["source", "worker", "caller", "day"]


#: The row of the asks that no caller is known of. No caller has such a name.
NOBODY = "(nobody's)"


@dataclass(frozen=True, slots=True)
class UsageRow(Shape):
    """The figures of one source, worker, caller or UTC day; what is not counted by caller is null there. What
    is in no caller's name, as older hours that are filled in the background, is a row of its own."""

    name: str
    requests: int
    hits: int
    stale: int
    misses: int
    failed: int
    """The asks that got no answer."""
    cache_hit_rate: float
    pages: int | None = None
    """The requests that fetches took."""
    errors: int | None = None
    cost: float | None = None
    """Of a caller at most: an item counts for each who has read it."""
    latency_p50: float | None = None
    latency_p95: float | None = None
    cost_most: float | None = None
    """The same of a caller; null of all others, whose cost is known."""
    prewarms: int = 0
    """Fetches for which nobody has asked, beside the requests."""


@dataclass(frozen=True, slots=True)
class UsageReport(Shape):
    """What was asked for in UTC days, from `first` to `last`, and what that cost; the most asks first, and
    days in their order."""

    by: By
    first: date
    last: date
    rows: tuple[UsageRow, ...]
    total: Totals
    """Of all sources, or of the one that was asked for."""


def read_report(monitor: UsageMonitor, days: int, by: By, sources: Sequence[str]) -> UsageReport:
    """The report of the last ``days`` days of ``sources``."""
    moments = monitor.days_back(days)
    figures = [
        (source, day, worker, metric, count)
        for source in sources
        for day in moments
        for (worker, metric), count in monitor.read_figures(source, day).items()
    ]
    by_source = _metrics((source, metric, count) for source, _, _, metric, count in figures)
    rows = {
        "source": lambda: _rows(by_source),
        "worker": lambda: _rows(_metrics((worker, metric, n) for _, _, worker, metric, n in figures)),
        "day": lambda: _rows(_metrics((f"{day:%Y-%m-%d}", metric, n) for _, day, _, metric, n in figures)),
        "caller": lambda: _with_nobody(_callers(monitor, sources, moments), by_source.values()),
    }[by]()
    ordered = sorted(rows, key=lambda one: (0 if by == "day" else -one.requests, one.name))
    return UsageReport(
        by, moments[-1].date(), moments[0].date(), tuple(ordered), Totals.of(by_source.values())
    )


def _metrics(figures: Iterable[tuple[str, str, int]]) -> dict[str, SourceMetrics]:
    """The figures of each name, put together: percentiles cannot be added up, what they are made of can."""
    together: dict[str, Counter[str]] = {}
    for name, metric, count in figures:
        together.setdefault(name, Counter())[metric] += count
    return {name: day_metrics(name, found) for name, found in together.items()}


def _rows(metrics: dict[str, SourceMetrics]) -> list[UsageRow]:
    return [
        UsageRow(
            name=name,
            requests=one.requests_today,
            hits=one.hits_today,
            stale=one.stale_today,
            misses=one.misses_today,
            failed=one.failed_today,
            cache_hit_rate=one.cache_hit_rate,
            pages=one.pages_today,
            errors=one.errors_today,
            cost=one.cost_today,
            latency_p50=one.latency_p50,
            latency_p95=one.latency_p95,
            prewarms=one.prewarms_today,
        )
        for name, one in metrics.items()
    ]


def _callers(monitor: UsageMonitor, sources: Sequence[str], days: Sequence[datetime]) -> list[UsageRow]:
    asks: dict[str, CallerMetrics] = {}
    for source in sources:
        for day in days:
            for caller, found in monitor.get_caller_metrics(source, day).items():
                asks[caller] = asks.get(caller, CallerMetrics()) + found
    return [_caller(name, found) for name, found in asks.items()]


def _with_nobody(rows: list[UsageRow], metrics: Iterable[SourceMetrics]) -> list[UsageRow]:
    """The rows of the callers, and one for what is missing of the asks of all sources."""
    of_sources = _rows({str(at): one for at, one in enumerate(metrics)})
    missing = {
        name: sum(getattr(one, name) for one in of_sources) - sum(getattr(row, name) for row in rows)
        for name in ("hits", "stale", "misses", "failed")
    }
    # An old answer that is given as the fetch has failed is its caller's, and a miss of its source; so is an
    # ask whose fetch has failed: the source counts as failed who gets that told without a fetch.
    missing["misses"] += min(0, missing["stale"]) + min(0, missing["failed"])
    missing = {name: max(0, count) for name, count in missing.items()}
    asks = sum(missing.values())
    if not asks:
        return rows
    return [
        *rows,
        UsageRow(NOBODY, asks, **missing, cache_hit_rate=(missing["hits"] + missing["stale"]) / asks),
    ]


def _caller(name: str, asks: CallerMetrics) -> UsageRow:
    counts = (asks.requests, asks.hits, asks.stale, asks.live, asks.failed)
    cost = asks.cost_most
    return UsageRow(name, *counts, asks.hit_rate or 0.0, cost=cost, cost_most=cost, prewarms=asks.prewarms)
