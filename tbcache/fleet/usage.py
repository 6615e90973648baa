"""What the fleet has asked for, and what that cost: by source, by worker, by day."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import TypeVar

from tbcache.fleet.warm_set import request_of
from tbcache.models.shape import Shape
from tbcache.monitoring import CallerMetrics, RecentMetrics, SourceMetrics, Totals, UsageMonitor, WorkerStatus
from tbcache.monitoring.caller_usage import OTHERS
from tbcache.settings import Source
from tbcache.store.wire import MICROS

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DayUsage:
    """One UTC day: each source's figures, by name."""

    day: date
    sources: Mapping[str, SourceMetrics]

    @property
    def total(self) -> Totals:
        return Totals.of(self.sources.values())


@dataclass(frozen=True, slots=True)
class FleetUsage:
    """Today (UTC) so far, and the last minutes, by source; ``by_worker`` has today's by worker, then source,
    ``by_caller`` by caller, then source.

    ``history`` are the days that were asked for, today first, where that is more than one. ``total`` and the
    figures of the sources are None while Redis is away: zeros would look like a quiet day, and a bill of
    nothing.
    """

    is_available: bool
    day: date
    total: Totals | None
    sources: Mapping[str, SourceMetrics | None]
    recent: Mapping[str, RecentMetrics | None]
    by_worker: Mapping[str, Mapping[str, SourceMetrics]]
    by_caller: Mapping[str, Mapping[str, CallerMetrics]]
    workers: tuple[WorkerStatus, ...]
    history: tuple[DayUsage, ...]


def read_usage(monitor: UsageMonitor, days: int) -> FleetUsage:
    """The usage of today and of ``days`` days; while Redis is away, what its caller must not believe."""
    moments = monitor.days_back(days)
    today = _day(monitor, moments[0])
    return FleetUsage(
        is_available=True,
        day=today.day,
        total=today.total,
        sources=today.sources,
        recent={name: monitor.get_recent_metrics(name) for name in today.sources},
        by_worker=_turned({name: monitor.get_worker_metrics(name, moments[0]) for name in today.sources}),
        by_caller=read_callers(monitor, moments[0]),
        workers=tuple(monitor.get_workers()),
        history=tuple(_day(monitor, moment) for moment in moments) if days > 1 else (),
    )


def unknown_usage(monitor: UsageMonitor) -> FleetUsage:
    """What is known while Redis is away."""
    nothing = dict.fromkeys(monitor.get_source_names())
    return FleetUsage(False, monitor.days_back(1)[0].date(), None, nothing, nothing, {}, {}, (), ())


def read_callers(monitor: UsageMonitor, moment: datetime) -> dict[str, dict[str, CallerMetrics]]:
    """What each caller has asked for on the day of ``moment``, by caller, then source."""
    return _turned({name: monitor.get_caller_metrics(name, moment) for name in monitor.get_source_names()})


def read_busiest(monitor: UsageMonitor, most: int) -> dict[str, dict[str, CallerMetrics]]:
    """The ``most`` callers that have asked most today, the first of them first; the rest as OTHERS."""
    found = read_callers(monitor, monitor.days_back(1)[0])
    asks = {caller: sum(one.requests for one in by_source.values()) for caller, by_source in found.items()}
    ranked = sorted(found, key=lambda caller: (caller == OTHERS, -asks[caller]))
    busiest = {caller: found[caller] for caller in ranked[:most] if caller != OTHERS}
    others: dict[str, CallerMetrics] = {}
    for caller in ranked[len(busiest) :]:
        for source, metrics in found[caller].items():
            others[source] = others.get(source, CallerMetrics()) + metrics
    return {**busiest, OTHERS: others} if others else busiest


def read_asked(monitor: UsageMonitor, sources: Iterable[Source], most: int) -> dict[str, dict[str, int]]:
    """How often each symbol was asked for in this hour and the last one, the most first, by source; so many
    answers of a source are looked at.
    """
    found: dict[str, dict[str, int]] = {}
    for source in sources:
        asks: Counter[str] = Counter()
        for key, count in monitor.popularity.most(source.name, most):
            request = request_of(source, key)
            if request is not None:
                asks[request.symbol] += count
        if asks:
            found[source.name] = dict(asks.most_common())
    return found


@dataclass(frozen=True, slots=True)
class SymbolCost(Shape):
    """What was paid for a symbol at most, in US dollars: an item that is billed once a day counts for each
    process that has read it."""

    source: str
    symbol: str
    cost: float


def read_symbol_costs(
    monitor: UsageMonitor, sources: Iterable[str], days: int, most: int
) -> list[SymbolCost]:
    """The ``most`` symbols that most was paid for in the last days, the dearest first."""
    moments = monitor.days_back(days)
    found = [
        SymbolCost(source, symbol, micros / MICROS)
        for source in sources
        for symbol, micros in monitor.symbol_costs.read(source, moments).items()
    ]
    return sorted(found, key=lambda one: (-one.cost, one.source, one.symbol))[:most]


def _day(monitor: UsageMonitor, moment: datetime) -> DayUsage:
    return DayUsage(moment.date(), monitor.get_usage_summary(moment)["sources"])


def _turned(by_source: Mapping[str, Mapping[str, T]]) -> dict[str, dict[str, T]]:
    """What is by source, then by somebody's name, by that name, then by source."""
    found: dict[str, dict[str, T]] = {}
    for source, by_name in by_source.items():
        for name, one in by_name.items():
            found.setdefault(name, {})[source] = one
    return dict(sorted(found.items()))
