"""Counts of this process, and the hashes in Redis that they are added to, with room for so many each.

They are hints: what a process has counted goes to Redis within a second, and is lost if that fails.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from datetime import datetime
from typing import Generic, TypeVar

from tbcache.io.fork import renew_in_child
from tbcache.models.untrusted import printable, whole_number
from tbcache.store import Store
from tbcache.store.reply import pairs

K = TypeVar("K", bound=Hashable)


class Hints(Generic[K]):
    """Counts of this process by any key, and of the fleet in a hash of Redis for each source and time.

    It takes no lock, as a count that is lost does no harm. While Redis is away it raises Unavailable.
    """

    #: There is room for so many counts of a process within a second, and for so many in a hash, which is kept
    #: for so long. What has no room there counts for the ``_spare`` field, or not at all.
    most_here = most_fields = 1_000
    kept_seconds = 31 * 86400

    def __init__(
        self,
        store: Store,
        wake: Callable[[], object],
        hash_of: Callable[[str, datetime], str],
        place_of: Callable[[K], tuple[str, str]],
    ) -> None:
        """``wake`` is called where there is something to be sent, and was nothing; ``hash_of`` a source and a
        moment is where its counts stand, and ``place_of`` a key its source and its field there."""
        self._store, self._wake, self._hash_of, self._place_of = store, wake, hash_of, place_of
        self.renew()
        renew_in_child(self)

    def renew(self) -> None:
        """Begin with no counts: at the start, and in a forked child, whose parent sends its own."""
        self._counts: dict[K, int] = {}

    def add(self, key: K, by: int = 1, *, is_bounded: bool = True) -> bool:
        """Add to the count of ``key``; False where that is a new one, and there is no room for it."""
        counts = self._counts
        if key in counts:
            counts[key] += by
            return True
        if is_bounded and len(counts) >= self.most_here:
            return False
        counts[key] = by
        if len(counts) == 1:
            self._wake()
        return True

    def flush(self) -> None:
        """Add the counts of this process to those in Redis."""
        counts, self._counts = self._counts, {}
        by_source: dict[str, Counter[str]] = {}
        for key, count in list(counts.items()):
            source, field = self._place_of(key)
            by_source.setdefault(source, Counter())[field] += count
        for source, found in by_source.items():
            self._send(self._hash_of(source, self._store.clock.today), found)

    def _send(self, key: str, counts: Mapping[str, int]) -> None:
        """Under a key of another type nothing is counted."""
        size, known = self._store.execute(("HLEN", key), ("HMGET", key, *counts))
        if not isinstance(known, list):
            return
        left, fields = self.most_fields - size, list[tuple[str, int]]()
        for (field, count), there in zip(counts.items(), known, strict=True):
            left -= there is None
            if there is not None or left >= 0:
                fields.append((field, count))
            elif (spare := self._spare(field)) is not None:
                fields.append((spare, count))
        self._store.execute(*(("HINCRBY", key, *one) for one in fields), ("EXPIRE", key, self.kept_seconds))

    def _spare(self, field: str) -> str | None:
        return None

    def read_each(self, source: str, *times: datetime) -> list[Counter[str]]:
        """What stands in the hash of each of these times; nothing of one that is damaged."""
        found = self._store.execute(*(("HGETALL", self._hash_of(source, time)) for time in times))
        return [Counter({printable(k): whole_number(n) or 0 for k, n in pairs(one)}) for one in found]
