"""The past, for backtests: what would have been answered then."""

from __future__ import annotations

from datetime import datetime, timedelta

from tbcache.models import History
from tbcache.providers import get_provider


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
