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
    """What ``source`` would have answered on ``symbol`` at each moment from ``start`` to ``end``: see
    :func:`tbcache.history`.

    Raises:
      UnknownSource: no such source. All that :meth:`tbcache.Provider.history` raises.
    """
    return await get_provider(source).history(symbol, start, end, every, hours, hindsight=hindsight)
