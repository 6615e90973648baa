"""How limits and moments travel to the scripts and back: integers, microseconds."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from tbcache.models import Limit
from tbcache.models.untrusted import LAST

MICROS = 1_000_000
_LAST_SECOND = LAST.timestamp()
DAY_SECONDS = 86_400
#: The most by which two clocks' rates differ: quartz 1e-4 at worst, and NTP slews a clock by 5e-4 more
#: (adjtime(3)); with room to spare.
CLOCK_DRIFT = 1e-3


class Seen(NamedTuple):
    """What Redis has replied of a source: the epoch in force, and when it noted that this process was heard
    (us of its time; 0: it has no such note). ``check_in`` in epoch.lua compares it with what Redis knows."""

    epoch: str = ""
    last_seen_us: int = 0

    def __str__(self) -> str:
        return f"{self.epoch} {self.last_seen_us}" if self.epoch else ""


def read_seen(reply: bytes) -> Seen:
    """``EPOCH HEARD`` as ``check_in`` replies it; nothing where a script only looked."""
    epoch, _, heard = reply.decode(errors="backslashreplace").partition(" ")
    return Seen(epoch, int(heard or 0))


def to_micros(seconds: float) -> int:
    return round(seconds * MICROS)


def read_time(answer: Any) -> int:
    """The moment (us since the Unix epoch) that an answer to TIME tells."""
    seconds, micros = map(int, answer)
    return seconds * MICROS + micros


def to_time(stamp_us: float) -> datetime:
    """Microseconds since the Unix epoch as UTC; what the calendar does not have is its nearest end."""
    return datetime.fromtimestamp(min(max(stamp_us / MICROS, 0.0), _LAST_SECOND), UTC)


def day_at(stamp_us: float) -> int:
    """:func:`day_of` the moment that :func:`to_time` gives."""
    return int(min(max(stamp_us / MICROS, 0.0), _LAST_SECOND)) // DAY_SECONDS


def day_of(moment: datetime) -> int:
    """The UTC day of ``moment``, counted since the Unix epoch: that of figures, budgets and bills."""
    return day_at(moment.timestamp() * MICROS)


def midnight_of(day: int) -> datetime:
    """When a day that :func:`day_of` gave begins."""
    return datetime.fromtimestamp(day * DAY_SECONDS, UTC)


def pack_limits(limits: Iterable[Limit]) -> str:
    """Limits as limit.lua reads them: ``count:span_us,...``."""
    return ",".join(f"{limit.count}:{to_micros(limit.window_seconds)}" for limit in limits)


def read_limits(text: str) -> tuple[Limit, ...]:
    """What :func:`pack_limits` wrote; what is damaged is left out."""
    found = []
    for count, _, span in (part.partition(":") for part in text.split(",")):
        with contextlib.suppress(ValueError, OverflowError):
            found.append(Limit(int(count), int(span) / MICROS))
    return tuple(found)


def strictest(*several: Iterable[Limit]) -> tuple[Limit, ...]:
    """Limits that hold together: of each window the smallest count."""
    by_window: dict[float, Limit] = {}
    for limit in (limit for limits in several for limit in limits):
        known = by_window.get(limit.window_seconds, limit)
        by_window[limit.window_seconds] = min(known, limit, key=lambda one: one.count)
    return tuple(by_window.values())
