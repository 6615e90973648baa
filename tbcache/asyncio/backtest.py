"""The past, for backtests, awaited."""

from __future__ import annotations

from datetime import datetime, timedelta

from tbcache.asyncio.provider import get_provider
from tbcache.models import History


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
