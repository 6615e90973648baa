"""The usage of each source hour by hour, for 30 days: what outlasts Redis."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec

from tbcache.models.decoder import convert
from tbcache.models.untrusted import MOST, read_json

if TYPE_CHECKING:
    from sqlalchemy import Row

#: For how long an hour is kept.
KEPT = timedelta(days=30)


class UsageHour(NamedTuple):
    """What was counted of ``source`` in the hour from ``hour`` (UTC) on, of which ``seconds`` are known."""

    source: str
    hour: datetime
    seconds: float
    figures: Counter[str]


class _HourRow(msgspec.Struct):
    """What a row has to hold; SQLite keeps a value of any kind in any column."""

    source: str
    hour: datetime
    seconds: Annotated[float, msgspec.Meta(ge=0, le=3600)]
    figures: str


def hour_rows(namespace: str, hours: Sequence[UsageHour]) -> list[dict[str, Any]]:
    """One row each; in the same order for every writer, or two could wait for each other."""
    return [
        {
            "namespace": namespace,
            **one._asdict(),
            "figures": msgspec.json.encode(dict(one.figures), order="sorted").decode(),
        }
        for one in sorted(hours, key=lambda one: one[:2])
    ]


def to_hour(found: Row[Any]) -> UsageHour:
    """
    Raises:
      msgspec.ValidationError, NotJson: the row is damaged.
    """
    row = convert({str(name): value for name, value in found._mapping.items()}, _HourRow)
    figures = read_json(row.figures, dict[str, int])
    # What is out of bounds was counted by nobody.
    counts = {name: count for name, count in figures.items() if 0 <= count <= MOST}
    return UsageHour(row.source, row.hour, row.seconds, Counter(counts))
