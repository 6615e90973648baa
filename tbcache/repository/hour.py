"""The usage of each source hour by hour, for 30 days: what outlasts Redis."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import NamedTuple

#: For how long an hour is kept.
KEPT = timedelta(days=30)


class UsageHour(NamedTuple):
    """What was counted of ``source`` in the hour from ``hour`` (UTC) on, of which ``seconds`` are known."""

    source: str
    hour: datetime
    seconds: float
    figures: Counter[str]
