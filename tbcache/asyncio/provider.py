"""The providers, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

from tbcache.asyncio.awaited import driven
from tbcache.io.loop import drive
from tbcache.io.singleton import singleton
from tbcache.models import (
    PATIENCE_SECONDS,
    CombinedSentiment,
    History,
    Outcome,
    SymbolSentiment,
)
from tbcache.models.request import fraction
from tbcache.providers import Provider as BlockingProvider
from tbcache.providers import get_provider as get_blocking
from tbcache.providers.symbol import SymbolRequest


class Provider:
    """One upstream; see :class:`tbcache.Provider`.

    ``blocking`` is the same for the blocking API. What is set there (``analyzer``, ``voices``, ``cache_ttl``,
    ``persist_to_db``) holds here as well; here nothing is set.
    """

    blocking: BlockingProvider

    def __init__(self, blocking: BlockingProvider) -> None:
        object.__setattr__(self, "blocking", blocking)

    def __setattr__(self, name: str, value: object) -> None:
        # It would change nothing, and nobody would notice.
        raise AttributeError(f"a provider's tools are set once for both APIs: provider.blocking.{name} = ...")

    run = driven(BlockingProvider.answer, BlockingProvider.run)
    history = driven(BlockingProvider.sentiments_then, BlockingProvider.history)
    backfill = driven(BlockingProvider.backfilled, BlockingProvider.backfill)

    @property
    def _core(self) -> BlockingProvider:
        return self.blocking

    async def fetch(self, symbol: str, hours: int = 24, *, patience: float = PATIENCE_SECONDS) -> Outcome:
        """See :meth:`tbcache.Provider.fetch`."""
        return await self.run(self.blocking.source.request(symbol, hours), patience=patience)

    async def get_sentiment(
        self,
        symbol: str,
        hours: int = 24,
        *,
        min_coverage: float = 0.0,
        as_of: datetime | None = None,
    ) -> SymbolSentiment | None:
        """See :meth:`tbcache.Provider.get_sentiment`."""
        fraction("min_coverage", min_coverage)
        blocking = self.blocking
        request = blocking.source.request(symbol, hours)
        found = None if as_of is not None else blocking.recall(request)
        found = found or await drive(blocking.sentiment(request, as_of))
        return blocking.covering(found, min_coverage, as_of)


@singleton
def get_provider(name: str) -> Provider:
    """The provider of source ``name``; see :func:`tbcache.get_provider`."""
    return Provider(get_blocking(name))


async def get_symbol(
    symbol: str,
    hours: int = 24,
    *,
    sources: Sequence[str] | None = None,
    min_coverage: float = 0.0,
    patience: float = PATIENCE_SECONDS,
    as_of: datetime | None = None,
) -> CombinedSentiment:
    """See :func:`tbcache.get_symbol`."""
    asked = SymbolRequest(symbol, hours, sources, min_coverage, patience, as_of)
    found = await asyncio.gather(*(drive(asked.find(provider)) for provider in asked.providers))
    return asked.combined(found)


async def history(
    symbol: str,
    source: str,
    start: datetime,
    end: datetime,
    every: float | timedelta = 3600.0,
    hours: int = 24,
    *,
    hindsight: bool = False,
) -> History:
    """See :func:`tbcache.history`."""
    return await get_provider(source).history(symbol, start, end, every, hours, hindsight=hindsight)
