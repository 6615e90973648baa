"""Counts of this process, and a hash in Redis that they are added to, with room for so many each.

They are hints: what a process has counted goes to Redis within a second, and is lost if that fails.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, Generic, TypeVar

from tbcache.io.fork import renew_in_child
from tbcache.store import Store
from tbcache.store.reply import pairs

K = TypeVar("K", bound=Hashable)


class Tally(Generic[K]):
    """Counts of this process. It takes no lock, as a count that is lost does no harm."""

    def __init__(self, most: int, wake: Callable[[], object]) -> None:
        """There is room for ``most`` keys. ``wake`` is called where there is something to be sent, and was
        nothing."""
        self._most, self._wake = most, wake
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
        if is_bounded and len(counts) >= self._most:
            return False
        counts[key] = by
        if len(counts) == 1:
            self._wake()
        return True

    def take(self) -> list[tuple[K, int]]:
        """All that was counted since it was taken last."""
        counts, self._counts = self._counts, {}
        return list(counts.items())


def add_counts(
    store: Store,
    key: str,
    counts: Mapping[str, int],
    *,
    most: int,
    kept_seconds: int,
    stand_in: Callable[[str], str] | None = None,
) -> None:
    """Add ``counts`` to the fields of the hash ``key``, which is kept for ``kept_seconds`` from now.

    A new field for which there is no room beside ``most`` others counts for its ``stand_in``, or not at all
    where there is none. Under a key of another type nothing is counted.
    """
    size, known = store.execute(("HLEN", key), ("HMGET", key, *counts))
    if not isinstance(known, list):
        return
    left, fields = most - size, list[tuple[str, int]]()
    for (field, count), there in zip(counts.items(), known, strict=True):
        left -= there is None
        if there is not None or left >= 0:
            fields.append((field, count))
        elif stand_in is not None:
            fields.append((stand_in(field), count))
    store.execute(*(("HINCRBY", key, *one) for one in fields), ("EXPIRE", key, kept_seconds))


def read_counts(store: Store, *keys: str) -> list[dict[Any, Any]]:
    """What stands in each hash; nothing under a key of another type. It may be damaged."""
    return [dict(pairs(found)) for found in store.execute(*(("HGETALL", key) for key in keys))]
