"""What a process of the fleet was started with, as its heartbeat tells the others.

Whoever looks at the fleet has settings of its own, and they may be other ones.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import islice

import msgspec

from tbcache.models import Limit, ticker
from tbcache.models.error import InvalidRequest
from tbcache.models.shape import Shape
from tbcache.models.untrusted import NotJson, printable, read_json
from tbcache.settings.declared import get_declared
from tbcache.settings.model import Settings
from tbcache.settings.source import Source, get_source, is_name, source_names
from tbcache.settings.upstream import MOST_DOLLARS

#: How many sources and symbols of one process's heartbeat are read at most.
MOST_SOURCES = 200
MOST_SYMBOLS = 1000
MOST_VARIABLES = 10
MOST_WORDS = 80


@dataclass(frozen=True, slots=True)
class SourceProfile(Shape):
    """What a process was started with of a source."""

    limits: str
    """As in its variable."""
    missing: tuple[str, ...] = ()
    """The variables that it lacks."""
    credentials: tuple[str, ...] = ()
    """The settings without which it is off."""
    max_hours: int = 168
    delay_hours: float = 0.0
    is_served: bool = True
    """A worker takes the source's jobs."""
    daily_budget: float | None = None
    query_filter: str | None = None
    """Null: the source's own counts."""
    cache_ttl: float | None = None
    """For how many seconds an answer is fresh; null: not told."""
    subreddits: str | None = None
    """Null where it has none."""

    @property
    def parsed(self) -> tuple[Limit, ...]:
        return Limit.parse_all(self.limits)


@dataclass(frozen=True, slots=True)
class Profile(Shape):
    """What a process was started with: its sources by name, and the symbols that it would have warm."""

    sources: dict[str, SourceProfile]
    common_symbols: tuple[str, ...]
    common_hours: int
    declared: dict[str, SourceProfile] = field(default_factory=dict)
    """The sources that its code has declared: no worker takes jobs of them, and none is kept warm."""
    words: str = ""
    """Stands for the names, languages and sites that it searches by; empty of a version that says none."""


def profile_of(settings: Settings, serves: Iterable[str] | None = None) -> Profile:
    """What ``settings`` and the code of this process say. ``serves`` are the sources whose jobs a worker
    takes; None for all.
    """
    names = source_names(settings)
    served, sources = set(names if serves is None else serves), {}
    for name in names:
        # A class that cannot be imported here is no source here. Whatever its module raises besides must
        # not silence the heartbeat.
        with contextlib.suppress(Exception):
            source = get_source(name, settings)
            sources[name] = SourceProfile(
                limits=_text(source),
                missing=source.missing,
                credentials=source.credentials,
                max_hours=source.max_hours,
                delay_hours=source.delay_hours,
                is_served=name in served,
                daily_budget=source.daily_budget,
                query_filter=settings.source(name).query_filter,
                cache_ttl=source.cache_ttl,
                subreddits=settings.source(name).subreddits if name == "reddit" else None,
            )
    declared = {
        name: SourceProfile(
            _text(one.source),
            is_served=False,
            daily_budget=one.source.daily_budget,
            cache_ttl=one.source.cache_ttl,
        )
        for name, one in get_declared().copy().items()
    }
    return Profile(sources, settings.common_symbols, settings.common_hours, declared, _words(settings))


def _words(settings: Settings) -> str:
    """The languages, what stands for the names, which may be many, and the sites of news."""
    named = repr(sorted(settings.names.items())).encode("utf-8", "replace")
    names = f", names {hashlib.sha256(named).hexdigest()[:8]}" if settings.names else ""
    sites = f", sites {found}" if (found := settings.source("news").domains) else ""
    return f"{','.join(settings.languages)}{names}{sites}"


def _text(source: Source) -> str:
    return ",".join(map(str, source.limits))


def read_profile(data: bytes | msgspec.Raw) -> Profile | None:
    """The profile in a heartbeat; None where it has none, or a damaged one."""
    try:
        found = read_json(data, Profile)
        sources, declared = _sound(found.sources), _sound(found.declared)
        symbols = tuple(map(ticker, found.common_symbols[:MOST_SYMBOLS]))
    except (NotJson, InvalidRequest, ValueError):
        return None
    words = printable(found.words, MOST_WORDS)
    return Profile(sources, symbols, max(1, found.common_hours), declared, words)


def _sound(sources: dict[str, SourceProfile]) -> dict[str, SourceProfile]:
    first = islice(sources.items(), MOST_SOURCES)
    return {name: _checked(source) for name, source in first if is_name(name)}


def _checked(source: SourceProfile) -> SourceProfile:
    source.parsed  # noqa: B018 -- raises
    budget = source.daily_budget or 0.0
    missing, credentials = (
        tuple(printable(name, 80) for name in names[:MOST_VARIABLES])
        for names in (source.missing, source.credentials)
    )
    return replace(
        source,
        missing=missing,
        credentials=credentials,
        max_hours=max(1, source.max_hours),
        delay_hours=max(0.0, source.delay_hours),
        daily_budget=min(budget, MOST_DOLLARS) if budget > 0 else None,
        query_filter=None if source.query_filter is None else printable(source.query_filter),
        subreddits=None if source.subreddits is None else printable(source.subreddits),
    )
