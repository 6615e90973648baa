"""How often each answer is asked for, so that what most callers ask for is kept warm, and is filled first.

These counts are hints. What a process has counted goes to Redis with its next heartbeat, and is lost if that
fails.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import Any

from tbcache.models.untrusted import printable, whole_number
from tbcache.store import Store

HOUR_SECONDS = 3600.0
KEPT_SECONDS = 2 * 3600
#: The most keys that a process counts between two heartbeats, and the most of a source in an hour: whoever
#: asks for ever new symbols fills no Redis.
MOST_KEYS = 1_000
MOST_OF_SOURCE = 10_000


class Popularity:
    """Counts the asks of this process, and reads those of the fleet in this hour and the one before."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._counted: dict[str, int] = {}

    def record(self, key: str) -> None:
        """Count an ask for a cache key. It takes no lock, as an ask that is not counted does no harm."""
        counted = self._counted
        if key in counted or len(counted) < MOST_KEYS:
            counted[key] = counted.get(key, 0) + 1

    def flush(self) -> None:
        """Add the counts of this process to those in Redis.

        Raises:
          Unavailable: Redis is away.
        """
        counted, self._counted = self._counted, {}
        if not counted:
            return
        by_source: dict[str, dict[str, int]] = {}
        for key, asks in list(counted.items()):
            by_source.setdefault(key.partition(":")[0], {})[key] = asks
        for source, asks_for in by_source.items():
            self._send(self._store.keys.asked(source, self._store.clock.today), asks_for)

    def _send(self, name: str, asks_for: dict[str, int]) -> None:
        with self._store.guard():
            pipe: Any = self._store.client.pipeline(transaction=False)
            pipe.hlen(name)
            pipe.hmget(name, list(asks_for))
            count, known = pipe.execute(raise_on_error=False)
            # Under a key of another type nothing is counted.
            if not isinstance(known, list):
                return
            left = MOST_OF_SOURCE - count
            for (key, asks), there in zip(asks_for.items(), known, strict=True):
                left -= there is None
                if there is not None or left >= 0:
                    pipe.hincrby(name, key, asks)
            pipe.expire(name, KEPT_SECONDS)
            pipe.execute(raise_on_error=False)

    def most(self, source: str, count: int) -> list[tuple[str, int]]:
        """The ``count`` cache keys of ``source`` that were asked for most in these two hours, and how often.

        Raises:
          Unavailable: Redis is away.
        """
        this, last = self._counts(source, self._store.clock.today)
        return (this + last).most_common(count)

    def rates(self, source: str) -> dict[str, float]:
        """How often a second each cache key of ``source`` was asked for in the last hour.

        The count of the hour before fades away as this one passes.

        Raises:
          Unavailable: Redis is away.
        """
        now = self._store.clock.today
        this, last = self._counts(source, now)
        left = 1 - (now - now.replace(minute=0, second=0, microsecond=0)).total_seconds() / HOUR_SECONDS
        return {key: (this[key] + left * last[key]) / HOUR_SECONDS for key in this | last}

    def _counts(self, source: str, now: datetime) -> tuple[Counter[str], Counter[str]]:
        """The counts of this hour and of the one before."""
        with self._store.guard():
            pipe: Any = self._store.client.pipeline(transaction=False)
            for hour in (now, now - timedelta(hours=1)):
                pipe.hgetall(self._store.keys.asked(source, hour))
            this, last = map(_counted, pipe.execute(raise_on_error=False))
        return this, last


def _counted(found: Any) -> Counter[str]:
    """The counts in a hash; none under a key of another type."""
    counts = found.items() if isinstance(found, dict) else ()
    return Counter({printable(key): whole_number(asks) or 0 for key, asks in counts})
