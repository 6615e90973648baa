"""The sentiment of a symbol from all sources at once, and of the past from one."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import NamedTuple

from tbcache.fetch.combine import combine
from tbcache.io import run
from tbcache.models import PATIENCE_SECONDS, FetchRequest, History, Outcome, SymbolSentiment
from tbcache.models.combined import CombinedSentiment
from tbcache.models.error import ConfigurationError, InvalidRequest, RateLimited, UpstreamError
from tbcache.models.history import past
from tbcache.models.request import fraction
from tbcache.providers import get_provider
from tbcache.providers.base import Provider
from tbcache.settings import get_settings, get_source, get_sources


class Found(NamedTuple):
    """The result of a source: its answer, or why it has none; ``error`` is why an answer is an older one."""

    answer: SymbolSentiment | str
    error: str | None = None


def get_symbol(
    symbol: str,
    hours: int = 24,
    *,
    sources: Sequence[str] | None = None,
    min_coverage: float = 0.0,
    patience: float = PATIENCE_SECONDS,
    as_of: datetime | None = None,
) -> CombinedSentiment:
    """The sentiment of ``symbol`` over the last ``hours``, from several sources, each by its confidence.

    ``sources`` are all that are on, where none are named. Each is asked at the same time, from the cache or
    its upstream, and waits at most ``patience`` seconds for a slot. One that has no answer, or covers less
    than the share ``min_coverage`` (0..1) of the hours, does not count, and its part says why. With
    ``as_of``, an aware moment of the past, it is made of what each would have answered then: nothing is asked
    upstream, and a source that is named may be off.

    Raises:
      InvalidRequest: no ticker, hours that are none, or a moment that is still to come.
      UnknownSource, ConfigurationError: a source that was named is none, or is off; or none is on.
      MissingExtra, RepositoryUnavailable: with ``as_of``, there is no database to be read, or none answers.
    """
    asked = SymbolRequest(symbol, hours, sources, min_coverage, patience, as_of)
    with ThreadPoolExecutor(len(asked.providers), "tbcache-symbol") as pool:
        found = pool.map(lambda provider: run(asked.find(provider)), asked.providers)
        return asked.combined(list(found))


class SymbolRequest:
    """A symbol that is asked for of several providers."""

    def __init__(
        self,
        symbol: str,
        hours: int,
        sources: Sequence[str] | None,
        min_coverage: float,
        patience: float,
        as_of: datetime | None,
    ) -> None:
        self._least = fraction("min_coverage", min_coverage)
        self._patience = patience
        self.providers = [get_provider(name) for name in _named(sources, is_asked=as_of is None)]
        now = self.providers[0].pipeline.admission.now
        self._as_of = None if as_of is None else past("as_of", as_of, now)
        self._request = FetchRequest("any", symbol, hours)

    async def find(self, provider: Provider) -> Found:
        """What ``provider`` has, in the world that this is awaited in."""
        try:
            request = provider.source.request(self._request.symbol, self._request.hours)
            if self._as_of is not None:
                return self._then(provider, await provider.sentiment(request, self._as_of))
            outcome = await provider.answer(request, patience=self._patience)
        except (UpstreamError, RateLimited, InvalidRequest, ConfigurationError) as error:
            return Found(str(error))
        sentiment = outcome.sentiment
        if provider.covering(sentiment, self._least) is None:
            return Found(f"{_known(provider, sentiment)}{_old(outcome)}")
        return Found(sentiment, None if outcome.error is None else outcome.error.message)

    def _then(self, provider: Provider, sentiment: SymbolSentiment | None) -> Found:
        if sentiment is None:
            return Found("nothing was known then")
        enough = provider.covering(sentiment, self._least, self._as_of)
        return Found(enough or _known(provider, sentiment, self._as_of))

    def combined(self, found: Sequence[Found]) -> CombinedSentiment:
        names = [provider.source.name for provider in self.providers]
        answers = {name: one.answer for name, one in zip(names, found, strict=True)}
        errors = {name: one.error for name, one in zip(names, found, strict=True) if one.error}
        return combine(self._request.symbol, self._request.hours, answers, errors)


def _known(provider: Provider, found: SymbolSentiment, at: datetime | None = None) -> str:
    return f"{round(provider.known_hours(found, at), 3):g} of {found.hours} hours are known"


def _old(outcome: Outcome) -> str:
    return f", as of {outcome.age:.0f} s ago" if outcome.origin == "stale" else ""


def _named(sources: Sequence[str] | None, *, is_asked: bool) -> list[str]:
    """The sources that are named, each once; else all that are on. One that ``is_asked`` has to be on.

    Raises:
      UnknownSource, ConfigurationError: as :func:`get_symbol`.
    """
    settings = get_settings()
    if sources is None:
        sources = [source.name for source in get_sources(settings).values() if not source.missing]
    elif isinstance(sources, str) or not sources:
        raise InvalidRequest(f"sources {sources!r} should be names of sources, like ['twitter', 'news']")
    names = list(dict.fromkeys(sources))
    if not names:
        raise ConfigurationError("no source is on: `tbcache status` says what each of them needs")
    for name in names:
        found = get_source(name, settings)
        if is_asked:
            found.require()
    return names


def history(
    symbol: str,
    source: str,
    start: datetime,
    end: datetime,
    every: float | timedelta = 3600.0,
    hours: int = 24,
    *,
    hindsight: bool = False,
) -> History:
    """What ``source`` would have answered on ``symbol`` over ``hours``, at each moment from ``start`` to
    ``end``, ``every`` so many seconds: see :meth:`tbcache.Provider.history`.

    Raises:
      UnknownSource: no such source; names the nearest one. All that :meth:`tbcache.Provider.history` raises.
    """
    return get_provider(source).history(symbol, start, end, every, hours, hindsight=hindsight)
