"""The sentiment of a symbol from all sources at once, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from tbcache.io.loop import drive
from tbcache.models import PATIENCE_SECONDS, CombinedSentiment
from tbcache.providers.symbol import SymbolRequest


async def get_symbol(
    symbol: str,
    hours: int = 24,
    *,
    sources: Sequence[str] | None = None,
    min_coverage: float = 0.0,
    patience: float = PATIENCE_SECONDS,
) -> CombinedSentiment:
    """See :func:`tbcache.get_symbol`."""
    asked = SymbolRequest(symbol, hours, sources, min_coverage, patience)
    found = await asyncio.gather(*(drive(asked.find(provider)) for provider in asked.providers))
    return asked.combined(found)
