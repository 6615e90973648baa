"""How the sources have come to where they are, in pictures with their figures beside them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from markupsafe import Markup

from tbcache.api.page import svg, words
from tbcache.api.page.live import Seen
from tbcache.fleet import FleetStatus, Interval, SourceStatus, Trend, UsageHistory, cost_by_hour

DAY_HOURS = 24
CENT = 0.01


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture, and what it shows in words: the picture alone tells nobody a figure."""

    picture: Markup
    words: str


@dataclass(frozen=True, slots=True)
class Plots:
    """Those of one source."""

    recent: Plot
    day: Plot
    queue: Plot
    latency: Plot
    #: None of a source that costs nothing.
    cost: Plot | None
    hours: tuple[Interval, ...]
    reason: str | None


@dataclass(frozen=True, slots=True)
class Past:
    """Those of the sources, and what all have cost today by the hour."""

    sources: dict[str, Plots]
    #: None where no more than one of them costs money.
    cost: Plot | None


def past(seen: Seen) -> Past:
    """Of the sources that are on, or were asked."""
    trends = {
        source.name: found
        for source in seen.status.sources
        if (found := seen.trends.get(source.name)) and (source.is_enabled or found.day.requests)
    }
    status = seen.status
    drawn = {one.name: plots(trends[one.name], one, status) for one in status.sources if one.name in trends}
    if sum(one.cost is not None for one in drawn.values()) < 2:
        return Past(drawn, None)
    midnight = _midnight(status.at)
    hours = cost_by_hour((one.hours for one in trends.values()), midnight)
    unknown = sum(one.unknown_cost(midnight) for one in trends.values())
    return Past(drawn, _cost(hours, status.today.cost if status.server.is_available else None, unknown))


def plots(trend: Trend, source: SourceStatus, status: FleetStatus) -> Plots:
    """The pictures of one source."""
    midnight, spent = _midnight(status.at), source.usage.cost_today if source.usage else None
    hours, unknown = trend.hours.cost_by_hour(midnight), trend.unknown_cost(midnight)
    return Plots(
        recent=_asks(trend.recent, "15 minutes"),
        day=_asks(trend.day, "24 hours"),
        queue=_queue(trend.day),
        latency=_latency(trend.day),
        cost=_cost(hours, spent, unknown) if spent or trend.hours.cost else None,
        hours=tuple(reversed(trend.hours.intervals)),
        reason=trend.day.reason,
    )


def _asks(found: UsageHistory, span: str) -> Plot:
    text = f"{words.many(found.requests, 'ask')}, {words.many(found.errors, 'error')}"
    if found.reason and not found.intervals:
        text = "not known"
    steps = _steps(found, _rate(lambda one: one.requests), _rate(lambda one: one.errors))
    most = found.busiest
    when = f", most at {most.start:%H:%M}: {most.requests} in {svg.span(most.seconds)}" if most else ""
    return Plot(svg.steps(steps, f"Asks in the last {span}: {text}{when}"), text)


def _queue(found: UsageHistory) -> Plot:
    most = found.most_waiting
    text = "not known" if most is None else f"at most {most:,} waited"
    steps = _steps(found, lambda one: one.waiting or 0)
    return Plot(svg.steps(steps, f"Jobs that waited in the last 24 hours: {text}"), text)


def _latency(found: UsageHistory) -> Plot:
    slowest = max((one.latency_p95 or 0.0 for one in found.intervals), default=0.0)
    text = f"at most {words.milliseconds(slowest)}" if slowest else "nothing was fetched"
    steps = [step for step in _steps(found, lambda one: one.latency_p95 or 0.0) if step.high]
    return Plot(svg.steps(steps, f"95th percentile of the latency in the last 24 hours: {text}"), text)


def _cost(hours: list[tuple[datetime, float]], total: float | None, unknown: float) -> Plot:
    """``total`` is of the whole day, None where nobody knows it; ``unknown`` is in none of the ``hours``."""
    text = "not known" if total is None else words.dollars(total)
    rest = f", {words.dollars(unknown)} of it at hours that are not known" if unknown >= CENT / 2 else ""
    spent = [f"{hour:%H}:00 {words.dollars(cost)}" for hour, cost in hours if cost >= CENT / 2]
    label = (
        f"Cost today by the hour (UTC), {text} in all{rest}: {', '.join(spent) or 'less than a cent each'}"
    )
    return Plot(svg.bars([cost for _, cost in hours], DAY_HOURS, label), text + rest)


def _steps(
    found: UsageHistory, high: Callable[[Interval], float], wrong: Callable[[Interval], float] | None = None
) -> list[svg.Step]:
    seconds = (found.end - found.start).total_seconds()

    def part(moment: datetime) -> float:
        return min(1.0, max(0.0, (moment - found.start).total_seconds() / seconds))

    # One that has just begun has no rate yet, but of a fleet that has just begun there is no other.
    whole = [one for one in found.intervals if 2 * one.seconds >= found.step_seconds]
    shown = whole or found.intervals
    return [
        svg.Step(part(one.start), part(one.end), high(one), wrong(one) if wrong else 0.0) for one in shown
    ]


def _rate(count: Callable[[Interval], float]) -> Callable[[Interval], float]:
    return lambda one: count(one) / one.seconds


def _midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)
