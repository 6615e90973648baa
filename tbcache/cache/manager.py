"""The cache manager: get, set, exists, delete, clear, whether Redis is there or not."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from tbcache.cache.core import Cache
from tbcache.cache.key import check_key
from tbcache.cache.key_lease import LEASE_SECONDS, KeyLease
from tbcache.io import run, world
from tbcache.io.singleton import singleton
from tbcache.models.ttl import REAL_TIME_TTL, check_ttl
from tbcache.store import Store, Unavailable, get_store
from tbcache.store.memory import MISSING, Memory
from tbcache.store.server import facts_of

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CacheStatus:
    """Where the cache stands.

    ``keys`` counts everything in the Redis database; ``hits`` and ``misses`` are those of
    this process. What only Redis knows is None while it is away. ``local_entries`` are values of Redis
    that this process has in memory, ``fallback_entries`` those that were set or loaded without it;
    ``local_bytes`` is the size of both, and of timelines.
    """

    is_available: bool
    address: str
    ping_ms: float | None
    keys: int | None
    memory_bytes: int | None
    server_version: str | None
    hits: int
    misses: int
    fallback_entries: int
    local_entries: int
    local_bytes: int


class CacheManager:
    """Values by key, for the whole fleet, each with a TTL.

    A call takes at most the store's timeout. While Redis is away, values are kept in this
    process, bounded; when it returns they are forgotten, and what was changed meanwhile is
    removed from it. No call raises because of Redis. Each raises InvalidRequest for what cannot be a key, a
    pattern or a TTL, and TypeError, with the name of the type, for what cannot be stored.

    With a ``memory`` that is tracking, values read are also kept in this process and dropped when
    anyone changes them. While Redis is away they stand in for it until their TTL is over.

    Its methods block; ``core`` has them as coroutines, for event loops.
    """

    def __init__(
        self, store: Store, memory: Memory | None = None, lease_seconds: float = LEASE_SECONDS
    ) -> None:
        self.store = store
        self.memory = Memory(store) if memory is None else memory
        self.core = Cache(store, self.memory, lease_seconds)

    def get(self, key: str, default: Any = None) -> Any:
        """The value under ``key``, or ``default``."""
        check_key(key)
        # A value in memory needs no coroutine.
        value = self.core.recall(key)
        if value is MISSING:
            value = run(self.core.find(key))
        return default if value is MISSING else value

    def set(self, key: str, value: Any, ttl: float | None = None) -> bool:
        """Keep ``value`` for ``ttl`` seconds (default 300); False when it was too large to keep."""
        return run(self.core.set(key, value, ttl))

    def exists(self, key: str) -> bool:
        """True when there is a value under ``key``, be it None or 0."""
        return run(self.core.exists(key))

    def get_ttl(self, key: str) -> int | None:
        """Seconds until ``key`` is gone (or, for a source's answer, no longer fresh), rounded up.

        None when there is no such key."""
        return run(self.core.get_ttl(key))

    def delete(self, key: str) -> bool:
        """Remove ``key``; True when it was there. An answer being fetched for it is not stored."""
        return run(self.core.delete(key))

    def clear_pattern(self, pattern: str, *, wait: bool = True) -> int:
        """Clear every key that matches a Redis glob like ``twitter:*``; how many were removed.

        They are gone at once, for everyone; so are the answers being fetched for such keys.
        Removing them from Redis takes longer: with ``wait=False`` that goes on in the
        background, and 0 is returned."""
        return run(self.core.clear_pattern(pattern, wait=wait))

    def resume(self) -> int:
        """Go on with a sweep whose process has died, if there is one; how many keys that removed.

        Workers and the scheduler ask for this now and then.
        """
        return run(self.core.resume())

    def get_or_load(self, key: str, loader: Callable[[], T], ttl: float | None = None) -> T:
        """The value under ``key``, or what ``loader`` returns, which is then kept.

        It is loaded once, however many threads and processes ask for it at the same moment. It is
        not kept where the key was cleared meanwhile. An exception of the loader is raised to all
        in this process who wait for it, and not kept; other processes try for themselves."""
        check_key(key)
        check_ttl(REAL_TIME_TTL if ttl is None else ttl)
        kept: T = self.core.recall(key)
        if kept is not MISSING:
            return kept
        try:
            return run(self.core.get_or_load(key, lambda: world().offload(lambda: _call(loader)), ttl))
        except _Stopped as stopped:
            raise stopped.iteration from None

    def begin_load(self, key: str) -> tuple[Any, KeyLease | None]:
        """What another process has loaded just now, or the permission to load it here.

        Waits while another does. Whoever is permitted calls :meth:`end_load` after it.
        """
        return run(self.core.begin_load(key))

    def end_load(self, load: KeyLease, value: Any = MISSING, ttl: float | None = None) -> bool:
        """End a load: keep its ``value``, if there is one and the key was not cleared meanwhile."""
        return run(self.core.end_load(load, value, ttl))

    def status(self) -> CacheStatus:
        """Where the cache stands."""
        ping_ms = keys = info = None
        with suppress(Unavailable):
            run(self.core.put_right())
            (info,) = self.store.execute(("INFO",))
            keys = self.store.call("DBSIZE")
            started = time.perf_counter()
            self.store.call("PING")
            ping_ms = round((time.perf_counter() - started) * 1000, 3)
        facts, kept = facts_of(info), self.memory.stats
        return CacheStatus(
            is_available=ping_ms is not None,
            address=self.store.address,
            ping_ms=ping_ms,
            keys=keys,
            memory_bytes=facts.memory_bytes,
            server_version=facts.version,
            hits=self.core.hits,
            misses=self.core.misses,
            fallback_entries=kept.fallback,
            local_entries=kept.entries,
            local_bytes=kept.bytes,
        )

    def close(self) -> None:
        """End the memory and sweeps in the background. The store is not ours to close."""
        self.core.close()


class _Stopped(Exception):
    """A loader raised StopIteration, which no coroutine can."""

    def __init__(self, iteration: StopIteration) -> None:
        super().__init__()
        self.iteration = iteration


def _call(loader: Callable[[], T]) -> T:
    try:
        return loader()
    except StopIteration as iteration:
        raise _Stopped(iteration) from None


@singleton
def get_cache_manager() -> CacheManager:
    """The cache manager of this process, as its settings say."""
    store = get_store()
    size = store.settings.local_cache_bytes
    memory = Memory(store, size, is_tracking=True) if size else Memory(store)
    return CacheManager(store, memory, store.settings.lease_seconds)
