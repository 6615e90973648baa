"""How often each answer is asked for, so that what most callers ask for is kept warm, and is filled first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from tbcache.models.untrusted import printable, whole_number
from tbcache.monitoring.bounded_hash import Tally, add_counts, read_counts
from tbcache.store import Store

HOUR_SECONDS = 3600.0
KEPT_SECONDS = 2 * 3600
#: The most keys that a process counts within a second, and the most of a source in an hour: whoever
#: asks for ever new symbols fills no Redis.
MOST_KEYS = 1_000
MOST_OF_SOURCE = 10_000


class Popularity:
    """Counts the asks of this process, and reads those of the fleet in this hour and the one before.

    While Redis is away it raises Unavailable.
    """

    #: Count an ask for a cache key.
    record: Callable[[str], object]

    def __init__(self, store: Store, wake: Callable[[], object]) -> None:
        self._store = store
        self._tally = Tally[str](MOST_KEYS, wake)
        # The tally's own, as a hit that costs no round trip pays for each call between.
        self.record = self._tally.add

    def flush(self) -> None:
        """Add the counts of this process to those in Redis."""
        by_source: dict[str, dict[str, int]] = {}
        for key, asks in self._tally.take():
            by_source.setdefault(key.partition(":")[0], {})[key] = asks
        for source, asks_for in by_source.items():
            key = self._store.keys.asked(source, self._store.clock.today)
            add_counts(self._store, key, asks_for, most=MOST_OF_SOURCE, kept_seconds=KEPT_SECONDS)

    def most(self, source: str, count: int) -> list[tuple[str, int]]:
        """The ``count`` keys of ``source`` that were asked for most in these two hours, and how often."""
        this, last = self._counts(source, self._store.clock.today)
        return (this + last).most_common(count)

    def rates(self, source: str) -> dict[str, float]:
        """How often a second each cache key of ``source`` was asked for in the last hour.

        The count of the hour before fades away as this one passes.
        """
        now = self._store.clock.today
        this, last = self._counts(source, now)
        left = 1 - (now - now.replace(minute=0, second=0, microsecond=0)).total_seconds() / HOUR_SECONDS
        return {key: (this[key] + left * last[key]) / HOUR_SECONDS for key in this | last}

    def _counts(self, source: str, now: datetime) -> tuple[Counter[str], Counter[str]]:
        asked = self._store.keys.asked
        hours = (asked(source, hour) for hour in (now, now - timedelta(hours=1)))
        this, last = map(_sound, read_counts(self._store, *hours))
        return this, last


def _sound(found: dict[Any, Any]) -> Counter[str]:
    return Counter({printable(key): whole_number(asks) or 0 for key, asks in found.items()})
