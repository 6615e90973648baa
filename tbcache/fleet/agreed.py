"""The settings of the fleet: which sources are on, with which limits, and which symbols are kept warm.

The processes of the fleet report them with their heartbeats. The settings of the process that looks count
only where none has reported any.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tbcache.monitoring import FETCHING_ROLES, WorkerStatus, mean_pace
from tbcache.settings import Settings, Source, get_sources, unconfigured
from tbcache.settings.profile import Profile, SourceProfile
from tbcache.store.refusal import Refusal
from tbcache.store.wire import strictest

#: The roles whose reports count: the first of them that any living process has.
_ROLES = (("worker",), ("client", "api"), ("scheduler",))


@dataclass(frozen=True, slots=True)
class Agreed:
    """The sources of the fleet, by name; ``served`` are those whose jobs a living worker takes.

    ``configured`` are the sources that have settings, and are not only declared in code or used by name.
    ``is_told`` is False where no process has reported anything, and all settings are those of this process.
    ``pace`` is how many seconds a job of a queue takes on average; 0.0 where none has run yet.
    """

    sources: dict[str, Source]
    configured: frozenset[str]
    served: frozenset[str]
    symbols: tuple[str, ...]
    hours: int
    is_told: bool
    pace: dict[str, float]


def agreed(settings: Settings, names: Iterable[str], workers: Sequence[WorkerStatus]) -> Agreed:
    """The settings that ``workers`` have reported. ``names`` are further sources that somebody has used."""
    ours = get_sources(settings)
    reports = next((found for roles in _ROLES if (found := _profiles(workers, *roles))), [])
    configured = dict.fromkeys((*ours, *(name for profile in reports for name in profile.sources)))
    declared = [profile.declared for profile in _profiles(workers, *FETCHING_ROLES)]
    common = next(iter(_profiles(workers, "scheduler") or reports), None)
    return Agreed(
        sources={
            name: _source(
                ours.get(name) or unconfigured(name),
                [profile.sources for profile in reports] if name in configured else declared,
            )
            for name in dict.fromkeys((*configured, *names))
        },
        configured=frozenset(configured),
        served=frozenset(
            name
            for profile in _profiles(workers, "worker")
            for name, source in profile.sources.items()
            if source.is_served
        ),
        symbols=common.common_symbols if common else settings.common_symbols,
        hours=common.common_hours if common else settings.common_hours,
        is_told=bool(reports),
        pace=_pace(workers),
    )


def _profiles(workers: Iterable[WorkerStatus], *roles: str) -> list[Profile]:
    return [one.profile for one in workers if one.is_alive and one.role in roles and one.profile is not None]


def _source(ours: Source, reports: Iterable[Mapping[str, SourceProfile]]) -> Source:
    said = [sources[ours.name] for sources in reports if ours.name in sources]
    if not said:
        return ours
    return replace(
        ours,
        limits=strictest(*(one.parsed for one in said)),
        # It lacks nothing where one of the processes has all that it needs.
        missing=min((one.missing for one in said), key=len),
        credentials=said[0].credentials,
        max_hours=min(one.max_hours for one in said),
        delay_hours=min(one.delay_hours for one in said),
        daily_budget=min((one.daily_budget for one in said if one.daily_budget is not None), default=None),
    )


def _pace(workers: Iterable[WorkerStatus]) -> dict[str, float]:
    """By the word of all workers, also of those that are gone: a fleet without workers has a pace as well."""
    queues = dict.fromkeys(queue for one in workers for queue in one.pace)
    return {queue: mean_pace(workers, queue) for queue in queues}


#: The most different reasons that are shown.
MOST_REASONS = 3


def refusals_of(workers: Iterable[WorkerStatus]) -> dict[str, Refusal]:
    """By source, since when and why Redis refuses something to any process."""
    found: dict[str, list[Refusal]] = {}
    for worker in workers:
        for source, refusal in worker.refused.items() if worker.is_alive else ():
            found.setdefault(source, []).append(refusal)
    return {source: _together(found[source]) for source in sorted(found)}


def _together(refusals: Iterable[Refusal]) -> Refusal:
    oldest_first = sorted(refusals, key=lambda refusal: refusal.since)
    reasons = list(dict.fromkeys(refusal.reason for refusal in oldest_first))
    is_bug = any(refusal.is_bug for refusal in oldest_first)
    return Refusal(oldest_first[0].since, "; ".join(reasons[:MOST_REASONS]), is_bug)
