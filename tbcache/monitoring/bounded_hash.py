"""Counts that are added to a hash in Redis, in which there is room for so many fields and no more."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tbcache.store import Store


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

    Raises:
      Unavailable: Redis is away.
    """
    with store.guard():
        pipe: Any = store.client.pipeline(transaction=False)
        pipe.hlen(key)
        pipe.hmget(key, list(counts))
        size, known = pipe.execute(raise_on_error=False)
        if not isinstance(known, list):
            return
        left = most - size
        for (field, count), there in zip(counts.items(), known, strict=True):
            left -= there is None
            if there is not None or left >= 0:
                pipe.hincrby(key, field, count)
            elif stand_in is not None:
                pipe.hincrby(key, stand_in(field), count)
        pipe.expire(key, kept_seconds)
        pipe.execute(raise_on_error=False)


def read_counts(store: Store, *keys: str) -> list[dict[Any, Any]]:
    """What stands in each hash; nothing under a key of another type. It may be damaged.

    Raises:
      Unavailable: Redis is away.
    """
    with store.guard():
        pipe: Any = store.client.pipeline(transaction=False)
        for key in keys:
            pipe.hgetall(key)
        return [found if isinstance(found, dict) else {} for found in pipe.execute(raise_on_error=False)]
