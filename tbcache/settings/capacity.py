"""What the limits and budgets of a process cannot hold of what it is to keep warm, with the arithmetic."""

from __future__ import annotations

import math
from collections.abc import Iterator

from tbcache.models import Limit
from tbcache.settings.model import Settings, variable
from tbcache.settings.source import Source, get_sources


def shortages(settings: Settings) -> list[str]:
    """A line for each source that is on, and cannot do all that is wanted of it."""
    able = (source for source in get_sources(settings).values() if source.is_enabled)
    return [line for source in able for line in _lines(source, settings)]


def _lines(source: Source, settings: Settings) -> Iterator[str]:
    # What lies in a plan's delay is not kept warm.
    count = len(settings.common_symbols) if settings.common_hours > source.delay_hours else 0
    if count and (limit := _shortest(source, count, settings.prewarm_share)) is not None:
        yield _beyond(source, limit, count, settings.prewarm_share)
    if source.price.per_page and source.daily_budget is None:
        budget = variable(source.name, "daily_budget")
        yield (
            f"{source.name}: it costs money, and {budget} is not set: nothing bounds a day, and older hours "
            "are not filled; `tbcache status` says what a day comes to"
        )


def requests_of(source: Source, count: int) -> int:
    """How many requests refresh ``count`` symbols once."""
    return math.ceil(count / source.pack) if source.is_packed else count


def _shortest(source: Source, count: int, share: float) -> Limit | None:
    """The limit that falls shortest of the refreshes of ``count`` symbols; None where all have room."""
    need = requests_of(source, count) * source.cost / source.cache_ttl
    short = (one for one in source.limits if need * one.window_seconds > _most(one, share))
    return min(short, key=lambda one: _most(one, share) / one.window_seconds, default=None)


def _most(limit: Limit, share: float) -> int:
    return max(1, int(limit.count * share))


def _beyond(source: Source, limit: Limit, count: int, share: float) -> str:
    most, requests = _most(limit, share), requests_of(source, count) * source.cost
    need = requests * limit.window_seconds / source.cache_ttl
    every = requests * limit.window_seconds / most
    return (
        f"{source.name}: {count} symbols kept warm take {need:,.0f} requests in {limit.window_seconds:,.0f} "
        f"s ({requests} each {source.cache_ttl:g} s), and {most:,} of {limit} are for that: each is fresh "
        f"{source.cache_ttl:g} s of {every:,.0f}, and no older hours are filled"
    )
