"""What the limits and budgets of a process can hold of what it is to keep warm, with the arithmetic."""

from __future__ import annotations

import math
from collections.abc import Iterator

from tbcache.models import Limit
from tbcache.settings.model import Settings
from tbcache.settings.source import Source, get_sources
from tbcache.settings.variable import variable

#: A refresh begins so long before its answer expires, or a quarter of the TTL: a fetch takes a second or two,
#: and may have to wait for its slot.
LEAD_SECONDS = 5.0


def shortages(settings: Settings) -> list[str]:
    """A line for each source that is on, and cannot do all that is wanted of it."""
    able = (source for source in get_sources(settings).values() if source.is_enabled)
    return [line for source in able for line in _lines(source, settings)]


def lead_of(source: Source) -> float:
    """How long (s) before an answer expires its refresh is to begin, at the latest."""
    return min(LEAD_SECONDS, source.cache_ttl / 4)


def pace_of(source: Source, share: float) -> float:
    """For how many seconds each request of pre-warming uses up ``share`` of the limits."""
    return max((one.window_seconds * source.cost / _most(one, share) for one in source.limits), default=0.0)


def capacity_of(source: Source, share: float) -> int:
    """How many symbols ``share`` of the limits can keep warm."""
    pace = pace_of(source, share)
    # A source without limits holds as many as anybody asks for.
    requests = source.cache_ttl / pace if pace else 1e6
    return int(requests + 1e-9) * (source.pack if source.is_packed else 1)


def requests_of(source: Source, count: int) -> int:
    """How many requests refresh ``count`` symbols once."""
    return math.ceil(count / source.pack) if source.is_packed else count


def shortage_of(source: Source, count: int, share: float) -> str | None:
    """That ``share`` of the limits cannot keep ``count`` symbols warm, with the arithmetic; None where it
    can.
    """
    limit = _shortest(source, count, share)
    return None if limit is None else _beyond(source, limit, count, share)


def fit_of(source: Source, count: int, share: float) -> str:
    """How much of ``share`` of the limits it takes to keep ``count`` symbols warm, where they have room for
    it.
    """
    limit = min(source.limits, key=lambda one: _most(one, share) / one.window_seconds)
    requests = requests_of(source, count) * source.cost
    need = requests * limit.window_seconds / source.cache_ttl
    return (
        f"{count} symbols kept warm take {need:,.1f} requests in {limit.window_seconds:,.0f} s ({requests} "
        f"each {source.cache_ttl:g} s), and {_most(limit, share):,} of {limit} are for that: "
        f"there is room for {capacity_of(source, share):,} symbols"
    )


def _lines(source: Source, settings: Settings) -> Iterator[str]:
    # What lies in a plan's delay is not kept warm.
    count = len(settings.common_symbols) if settings.common_hours > source.delay_hours else 0
    if (line := shortage_of(source, count, settings.prewarm_share)) is not None:
        yield line
    if source.price.per_page and source.daily_budget is None:
        budget = variable(source.name, "daily_budget")
        yield (
            f"{source.name}: it costs money, and {budget} is not set: nothing bounds a day, and older hours "
            "are not filled; `tbcache status` says what a day comes to"
        )


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
