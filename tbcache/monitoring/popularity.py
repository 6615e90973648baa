"""How often each answer is asked for, so that what most callers ask for is kept warm, and is filled first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta

from tbcache.monitoring.bounded_hash import Hints
from tbcache.store import Store

HOUR_SECONDS = 3600.0


class Popularity(Hints[str]):
    """Counts the asks of this process by cache key, and reads those of the fleet in this hour and the one
    before. Whoever asks for ever new symbols fills no Redis.
    """

    most_fields = 10_000
    kept_seconds = 2 * 3600

    def __init__(self, store: Store, wake: Callable[[], object]) -> None:
        super().__init__(store, wake, store.keys.asked, lambda key: (key.partition(":")[0], key))

    # As a hit that costs no round trip pays for each call between.
    record = Hints[str].add

    def most(self, source: str, count: int) -> list[tuple[str, int]]:
        """The ``count`` keys of ``source`` that were asked for most in these two hours, and how often."""
        this, last = self._hours(source, self._store.clock.today)
        return (this + last).most_common(count)

    def rates(self, source: str) -> dict[str, float]:
        """How often a second each cache key of ``source`` was asked for in the last hour.

        The count of the hour before fades away as this one passes.
        """
        now = self._store.clock.today
        this, last = self._hours(source, now)
        left = 1 - (now - now.replace(minute=0, second=0, microsecond=0)).total_seconds() / HOUR_SECONDS
        return {key: (this[key] + left * last[key]) / HOUR_SECONDS for key in this | last}

    def _hours(self, source: str, now: datetime) -> tuple[Counter[str], Counter[str]]:
        this, last = self.read_each(source, now, now - timedelta(hours=1))
        return this, last
