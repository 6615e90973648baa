"""What each caller asks for, and where its answers come from.

These counts are hints, as those of popularity.py. What a process answers from its own memory is not counted:
such an answer costs nobody anything.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any

from tbcache.models.caller import current_caller
from tbcache.models.untrusted import printable, whole_number
from tbcache.settings import Settings
from tbcache.settings.caller import account_of
from tbcache.store import Store

KEPT_SECONDS = 31 * 86400
#: The most counts of a process between two heartbeats, and of a source in a day; the rest is one caller's.
MOST_COUNTS = 1_000
#: Whose the asks of the callers are for whom there is no room. No caller has such a name.
OTHERS = "(others)"


class CallerUsage:
    """Counts the asks of this process by caller, and reads those of the fleet."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._counted: dict[tuple[str, str | None, str], int] = {}

    def record(self, source: str, origin: str) -> None:
        """Count an ask that was answered by ``origin``: cache, stale, live or failed. It takes no lock."""
        key, counted = (source, current_caller.get(), origin), self._counted
        if key in counted or len(counted) < MOST_COUNTS:
            counted[key] = counted.get(key, 0) + 1

    def flush(self) -> None:
        """Add the counts of this process to those in Redis.

        Raises:
          Unavailable: Redis is away.
        """
        counted, self._counted = self._counted, {}
        by_source: dict[str, Counter[str]] = {}
        for (source, name, origin), asks in list(counted.items()):
            account = account_of(name or self._settings.own_caller, self._settings.caller_weights)
            by_source.setdefault(source, Counter())[f"{account}:{origin}"] += asks
        for source, asks_by in by_source.items():
            self._send(self._store.keys.callers(source, self._store.clock.today), asks_by)

    def _send(self, key: str, asks_by: Counter[str]) -> None:
        with self._store.guard():
            pipe: Any = self._store.client.pipeline(transaction=False)
            pipe.hlen(key)
            pipe.hmget(key, list(asks_by))
            # Under a key of another type nothing is counted.
            count, known = pipe.execute(raise_on_error=False)
            if not isinstance(known, list):
                return
            left = MOST_COUNTS - count
            for (field, asks), there in zip(asks_by.items(), known, strict=True):
                left -= there is None
                is_counted = there is not None or left >= 0
                pipe.hincrby(key, field if is_counted else f"{OTHERS}:{field.rpartition(':')[2]}", asks)
            pipe.expire(key, KEPT_SECONDS)
            pipe.execute(raise_on_error=False)

    def read(self, source: str, day: datetime) -> dict[str, Counter[str]]:
        """Of each caller of ``source`` how many of its asks were answered by which origin on that day.

        Raises:
          Unavailable: Redis is away.
        """
        with self._store.guard():
            pipe: Any = self._store.client.pipeline(transaction=False)
            pipe.hgetall(self._store.keys.callers(source, day))
            (found,) = pipe.execute(raise_on_error=False)
        asks: dict[str, Counter[str]] = {}
        for field, count in found.items() if isinstance(found, dict) else ():
            caller, _, origin = printable(field).rpartition(":")
            asks.setdefault(caller, Counter())[origin] += whole_number(count) or 0
        return asks
