"""The figures of a source: of a day, of the last minutes, of several together. Nothing here asks Redis.

A figure is a name and a count, as ``hit`` or ``error.auth``; those of a fetch's duration are in buckets.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tbcache.models.shape import Shape
from tbcache.store.state import Failing
from tbcache.store.wire import MICROS

#: The kinds of failures that no later fetch mends by itself.
HOPELESS = {"auth", "not_entitled"}
#: So many fetches that end alike tell of the source; fewer are chance.
SURE = 3

# Latency buckets grow by a quarter each: a percentile is at most 12% off.
_GROWTH = 1.25
_FIRST_MS = 0.1
_LATENCY = re.compile(r"ms\d{1,2}")


def latency_bucket(seconds: float) -> int:
    bucket, edge = 0, _FIRST_MS
    while edge < seconds * 1000 and bucket < 80:
        bucket, edge = bucket + 1, edge * _GROWTH
    return bucket


def latency_edge(bucket: int) -> float:
    """The longest latency (seconds) that a bucket counts."""
    return float(_FIRST_MS * _GROWTH**bucket / 1000)


@dataclass(frozen=True, slots=True)
class SourceMetrics:
    """One source on one UTC day. Latency in seconds, cost in US dollars.

    ``requests_today`` is what was asked for; ``prewarms_today`` are fetches beside it, for which nobody has
    asked.
    """

    source: str
    requests_today: int = 0
    hits_today: int = 0
    stale_today: int = 0
    misses_today: int = 0
    joins_today: int = 0
    waits_today: int = 0
    pages_today: int = 0
    errors_today: int = 0
    errors_by_kind: Mapping[str, int] = field(default_factory=dict)
    cache_hit_rate: float = 0.0
    cost_today: float = 0.0
    #: The part of the cost that is only a bound: the requests were sent, and their answers lost or not read.
    uncertain_cost_today: float = 0.0
    latency_mean: float | None = None
    latency_p50: float | None = None
    latency_p95: float | None = None
    prewarms_today: int = 0

    @property
    def served_today(self) -> int:
        """Asks that were answered from the cache."""
        return self.hits_today + self.stale_today

    @property
    def failed_today(self) -> int:
        """Asks that were refused because the last fetch had failed."""
        return self.requests_today - self.served_today - self.misses_today


@dataclass(frozen=True, slots=True)
class Totals(Shape):
    """The figures of several sources together."""

    requests: int = 0
    served: int = 0
    misses: int = 0
    errors: int = 0
    cost: float = 0.0
    prewarms: int = 0
    """Fetches for which nobody has asked, beside the requests."""
    cache_hit_rate: float = 0.0
    """0..1; stale answers count as hits."""

    @classmethod
    def of(cls, metrics: Iterable[SourceMetrics]) -> Totals:
        each = list(metrics)
        requests, served = (sum(one.requests_today for one in each), sum(one.served_today for one in each))
        return cls(
            requests=requests,
            served=served,
            misses=sum(one.misses_today for one in each),
            errors=sum(one.errors_today for one in each),
            cost=round(sum(one.cost_today for one in each), 6),
            prewarms=sum(one.prewarms_today for one in each),
            cache_hit_rate=served / requests if requests else 0.0,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanMetrics(Shape):
    """What a source did in a span of time. Latency in seconds, cost in US dollars."""

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


@dataclass(frozen=True, slots=True)
class RecentMetrics(SpanMetrics):
    """One source in the last ``seconds``: latency in seconds, cost in US dollars.

    ``failed`` counts the errors that the source is to blame for, and ``settled`` the fetches that came to an
    end, good or bad; ``failed_since`` is about when the first of these errors was (UTC), and ``recovered``
    are the fetches that ended since a minute with any. ``last`` are the failures since a fetch last went
    well, some minutes ago or more; None where the last fetch went well. ``plain`` counts the requests that
    ask for words, as the plan has refused the cashtag. ``pages`` are the requests that fetches took.
    ``naive_cost`` and ``naive_pages`` are what they would have come to had each fetched all its hours again;
    0 where nothing costs money.
    """

    source: str
    seconds: float = 0.0
    settled: int = 0
    failed: int = 0
    latency_mean: float | None = None
    last: Failing | None = None
    plain: int = 0
    naive_cost: float = 0.0
    naive_pages: int = 0
    failed_since: datetime | None = None
    recovered: int = 0

    @property
    def since(self) -> datetime | None:
        """Since when it fails: since the last good fetch, or about since these minutes' first failure."""
        return self.last.since if self.last else self.failed_since

    @property
    def kinds(self) -> Sequence[str]:
        """Of which kinds the last failures are."""
        return self.last.kinds if self.last else sorted(self.errors_by_kind)

    @property
    def is_failing(self) -> bool:
        """True where most fetches failed, or the last ones did: three, or one that no later one mends."""
        last = self.last
        is_sure = last is not None and (last.count >= SURE or not HOPELESS.isdisjoint(last.kinds))
        return is_sure or self.is_mostly_failing

    @property
    def is_mostly_failing(self) -> bool:
        """True where every fetch failed, or most of them did, and too few went well since."""
        # Of jobs only those are counted that fail: where nothing was fetched, a later one has gone well.
        is_over = self.last is None and (self.recovered >= SURE or not self.settled)
        return (not is_over and self.failed > 0) and (
            self.failed >= self.settled or (self.failed >= SURE and 2 * self.failed >= self.settled)
        )


def span_figures(figures: Counter[str]) -> dict[str, Any]:
    """The fields of :class:`SpanMetrics`, of what was counted in a span of time."""
    # A fetch whose grant was lost on its way from Redis was granted twice; the first time may lie before.
    hits, stale, misses = figures["hit"], figures["stale"], max(0, figures["go"] - figures["regranted"])
    requests = hits + stale + misses + figures["failed"]
    errors = {name.removeprefix("error."): n for name, n in figures.items() if name.startswith("error.")}
    return {
        "requests": requests,
        "hits": hits,
        "stale": stale,
        "misses": misses,
        "pages": figures["pages"],
        "errors": sum(errors.values()),
        "errors_by_kind": dict(sorted(errors.items())),
        "cache_hit_rate": (hits + stale) / requests if requests else 0.0,
        "cost": figures["cost"] / MICROS,
        "latency_p50": _percentile(figures, 0.50),
        "latency_p95": _percentile(figures, 0.95),
    }


def day_metrics(source: str, figures: Counter[str]) -> SourceMetrics:
    span = SpanMetrics(**span_figures(figures))
    return SourceMetrics(
        source=source,
        requests_today=span.requests,
        hits_today=span.hits,
        stale_today=span.stale,
        misses_today=span.misses,
        joins_today=figures["join"],
        waits_today=figures["wait"],
        pages_today=span.pages,
        errors_today=span.errors,
        errors_by_kind=span.errors_by_kind,
        cache_hit_rate=span.cache_hit_rate,
        cost_today=span.cost,
        uncertain_cost_today=figures["uncertain"] / MICROS,
        latency_mean=_mean(figures),
        latency_p50=span.latency_p50,
        latency_p95=span.latency_p95,
        prewarms_today=figures["prewarm"],
    )


def recent_metrics(
    source: str, seconds: float, figures: Counter[str], since: Mapping[int, Counter[str]] = {}
) -> RecentMetrics:
    """What was counted in the last ``seconds``, and ``since`` each minute of them (see
    ``store/minute.py``)."""
    first, recovered = _failures(since)
    return RecentMetrics(
        source=source,
        seconds=seconds,
        **span_figures(figures),
        settled=_settled(figures),
        failed=_failed(figures),
        latency_mean=_mean(figures),
        plain=figures["plain"],
        naive_cost=figures["naive"] / MICROS,
        naive_pages=figures["naive_pages"],
        failed_since=None if first is None else datetime.fromtimestamp(first * 60, UTC),
        recovered=recovered,
    )


def _failures(since: Mapping[int, Counter[str]]) -> tuple[int | None, int]:
    """The first of the minutes in which anything failed, and how many fetches ended since the last of
    them."""
    first, most = None, 0
    for minute, figures in sorted(since.items(), reverse=True):
        if (failed := _failed(figures)) > most:
            first, most = minute, failed
    well = [figures for figures in since.values() if not _failed(figures)]
    return first, max(map(_settled, well), default=0)


def _settled(figures: Counter[str]) -> int:
    """How many fetches came to an end; a request that somebody recorded has no latency."""
    return sum(n for name, n in figures.items() if _LATENCY.fullmatch(name)) or max(
        0, figures["go"] - figures["regranted"]
    )


def _failed(figures: Counter[str]) -> int:
    """How many errors are the source's fault; that a symbol does not exist is none."""
    return sum(n for name, n in figures.items() if name.startswith("error.") and name != "error.not_found")


def _mean(figures: Counter[str]) -> float | None:
    """By the upper ends of the buckets: an eighth too long at most, on average."""
    buckets = [(int(name[2:]), n) for name, n in figures.items() if _LATENCY.fullmatch(name)]
    total = sum(n for _, n in buckets)
    return sum(n * _FIRST_MS * _GROWTH**bucket / 1000 for bucket, n in buckets) / total if total else None


def _percentile(figures: Counter[str], part: float) -> float | None:
    buckets = sorted((int(name[2:]), n) for name, n in figures.items() if _LATENCY.fullmatch(name))
    wanted = part * sum(n for _, n in buckets)
    seen = 0
    for bucket, n in buckets:
        seen += n
        if seen >= wanted:
            return float(_FIRST_MS * _GROWTH**bucket / 1000)
    return None
