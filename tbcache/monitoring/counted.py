"""What was counted of a source since its figures began: counters, for whoever compares two moments.

No midnight takes them back. They begin anew where Redis loses its data, or nobody reads them for a month.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from tbcache.models.error import UPSTREAM_ERRORS
from tbcache.monitoring.figure import latency_edge
from tbcache.store.wire import MICROS

#: The kind of all errors that are of no kind that is known.
OTHER_KIND = "other"
#: The buckets of a fetch's duration that are told, each about twice the one before: 1.5 ms to 65 s.
TOLD_BUCKETS = range(12, 61, 3)
#: Their upper ends (seconds).
EDGES = tuple(float(f"{latency_edge(bucket):.4g}") for bucket in TOLD_BUCKETS)


@dataclass(frozen=True, slots=True)
class Durations:
    """How long fetches took: ``seconds`` all ``count`` of them together. ``within`` has how many took no
    longer than each of :data:`EDGES`.
    """

    count: int
    seconds: float
    within: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Counted:
    """One source since its figures began; cost in US dollars. The names are those of ``SourceMetrics``.

    ``misses`` are fetches that were granted: one whose grant was lost on its way from Redis counts twice.
    ``prewarms`` are those for which nobody has asked.
    ``uncertain_cost`` is the part of ``cost`` that is only a bound.
    """

    source: str
    hits: int
    stale: int
    misses: int
    prewarms: int
    failed: int
    joins: int
    waits: int
    pages: int
    errors_by_kind: Mapping[str, int]
    cost: float
    uncertain_cost: float
    durations: Durations


def counted(source: str, figures: Counter[str]) -> Counted:
    return Counted(
        source=source,
        hits=figures["hit"],
        stale=figures["stale"],
        misses=figures["go"],
        prewarms=figures["prewarm"],
        failed=figures["failed"],
        joins=figures["join"],
        waits=figures["wait"],
        pages=figures["pages"],
        errors_by_kind=_errors(figures),
        cost=figures["cost"] / MICROS,
        uncertain_cost=figures["uncertain"] / MICROS,
        durations=_durations(figures),
    )


def _errors(figures: Counter[str]) -> dict[str, int]:
    """By kind; each that is known is told from the beginning, as a counter that appears has no first step."""
    errors = Counter(dict.fromkeys((*sorted(UPSTREAM_ERRORS), OTHER_KIND), 0))
    for name, count in figures.items():
        kind = name.removeprefix("error.")
        if kind != name:
            errors[kind if kind in UPSTREAM_ERRORS else OTHER_KIND] += count
    return dict(errors)


def _durations(figures: Counter[str]) -> Durations:
    by_bucket = [figures[f"ms{bucket}"] for bucket in range(81)]
    within = tuple(sum(by_bucket[: bucket + 1]) for bucket in TOLD_BUCKETS)
    return Durations(sum(by_bucket), figures["took"] / MICROS, within)
