"""The cache, as coroutines: with Redis, without it, and what is put right when it is back."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID

from tbcache.cache.entry import Entries, to_ms
from tbcache.cache.key import check_key
from tbcache.cache.key_lease import LEASE_SECONDS, KeyLease, KeyLeases
from tbcache.cache.single_flight import SingleFlight
from tbcache.cache.sweep import MOST_CLEARS, Sweeper
from tbcache.io import now, run, world
from tbcache.io.log import get_logger
from tbcache.models import SymbolSentiment
from tbcache.models.ttl import REAL_TIME_TTL, check_ttl
from tbcache.store import Store, Unavailable, codec, envelope
from tbcache.store.change import Changes
from tbcache.store.codec import DecodeError, NotLoaded
from tbcache.store.key import EVERYTHING
from tbcache.store.memory import MISSING, Encoded, Memory, StandIn

log = get_logger("tbcache.cache")

T = TypeVar("T")

BATCH = 100
#: How many times changes made meanwhile are put right as well. The next use of Redis puts right what is left.
ROUNDS = 5

_IMMUTABLE = (
    *(type(None), bool, int, float, str, bytes),
    *(date, datetime, timedelta, Decimal, UUID, SymbolSentiment),
)


class Cache:
    """Has the methods of :class:`tbcache.CacheManager` as coroutines. They are described there. No call
    raises because of Redis."""

    def __init__(self, store: Store, memory: Memory, lease_seconds: float = LEASE_SECONDS) -> None:
        self.store = store
        self.memory = memory
        self.hits = 0
        self.misses = 0
        # A load may first wait for that of another process, which has a lease of its own.
        self._single_flight = SingleFlight(2 * lease_seconds)
        self._sweeper = Sweeper(store)
        self._leases = KeyLeases(store, lease_seconds)
        self._entries = Entries(store)
        memory.on_removal(self._single_flight.end)
        store.breaker.on_return(lambda: run(self._put_right()))

    async def get(self, key: str, default: Any = None) -> Any:
        check_key(key)
        value = self.recall(key)
        if value is MISSING:
            value = await self.find(key)
        return default if value is MISSING else value

    def recall(self, key: str) -> Any:
        """What this process itself has of Redis's value under ``key``, or ``MISSING``: the hottest path."""
        value = self.memory.get(key)
        if value is MISSING:
            return MISSING
        try:
            # This does what `_unpack` does, without a call.
            found = codec.decode(value.payload) if type(value) is Encoded else value
        except DecodeError:
            return MISSING  # It is read from Redis, which removes it there.
        self.hits += 1
        return found

    async def find(self, key: str) -> Any:
        """What Redis has under ``key``, or ``MISSING``; while it is away, what this process knows."""
        value = await self._ask(lambda: self._read(key), lambda: self._recall(key))
        if value is MISSING:
            self.misses += 1
        else:
            self.hits += 1
        return value

    async def set(self, key: str, value: Any, ttl: float | None = None) -> bool:
        check_key(key)
        seconds = check_ttl(REAL_TIME_TTL if ttl is None else ttl)
        payload = codec.encode(value)
        return await self._change(
            key,
            lambda: self._entries.write(key, payload, seconds),
            lambda: self.memory.set(key, payload, seconds),
        )

    async def exists(self, key: str) -> bool:
        return await self._seconds_left(key) is not None

    async def get_ttl(self, key: str) -> int | None:
        left = await self._seconds_left(key)
        return None if left is None else math.ceil(left)

    async def delete(self, key: str) -> bool:
        check_key(key)

        async def remove() -> bool:
            was_there = await self._entries.remove([key]) > 0
            return self.memory.delete(key, in_redis=True) or was_there

        return await self._ask(remove, lambda: self.memory.delete(key, in_redis=False))

    async def clear_pattern(self, pattern: str, *, wait: bool = True) -> int:
        check_key(pattern, what="pattern")
        return await self._ask(
            lambda: self._clear(pattern, wait), lambda: self.memory.clear(pattern, in_redis=False)
        )

    async def resume(self) -> int:
        return await self._ask(self._sweeper.resume, lambda: 0)

    async def get_or_load(self, key: str, loader: Callable[[], Awaitable[T]], ttl: float | None = None) -> T:
        seconds = check_ttl(REAL_TIME_TTL if ttl is None else ttl)
        value: T = await self.get(key, MISSING)
        if value is not MISSING:
            return value
        loaded: _Loaded[T]
        loaded, is_anothers = await self._single_flight.run(key, lambda: self._load(key, loader, seconds))
        return loaded.once_more() if is_anothers else loaded.value

    async def begin_load(self, key: str) -> tuple[Any, KeyLease | None]:
        for is_patient in (True, False):
            removals, began = self.memory.removals(key), now()
            load = await self._ask(
                lambda is_patient=is_patient: self._leases.begin(  # type: ignore[misc]
                    key, self._entries.known(key), is_patient=is_patient
                ),
                lambda: None,
            )
            if load is not None:
                return MISSING, replace(load, removals=removals, began=began)
            value = await self.get(key, MISSING)
            if value is not MISSING:
                return value, None
        return MISSING, KeyLease(key, removals=removals)

    async def end_load(self, load: KeyLease, value: Any = MISSING, ttl: float | None = None) -> bool:
        seconds = check_ttl(REAL_TIME_TTL if ttl is None else ttl)
        payload = None
        try:
            payload = None if value is MISSING else codec.encode(value)
        finally:
            is_kept = await self._end(load, payload, seconds)
        return is_kept

    async def put_right(self) -> None:
        """Remove from Redis what was changed just as it came back, before it is used again."""
        await self.store.ready()
        await self._put_right()

    def close(self) -> None:
        self._sweeper.close()
        self.memory.close()

    # --- with Redis, or without --------------------------------------------------------

    async def _ask(self, with_redis: Callable[[], Awaitable[T]], without: Callable[[], T]) -> T:
        try:
            if self.memory.is_changed:
                await self.put_right()
            return await with_redis()
        except Unavailable:
            return without()

    async def _change(self, key: str, with_redis: Callable[[], Awaitable[T]], without: Callable[[], T]) -> T:
        async def change() -> T:
            try:
                return await with_redis()
            finally:
                # This comes before the server tells us, or this process would read its own old value.
                self.memory.discard(key)

        return await self._ask(change, without)

    async def _put_right(self) -> None:
        """Remove from Redis what was changed without it; only then is it used again."""
        for _ in range(ROUNDS):
            changes = self.memory.changes
            if not changes:
                return
            # Meanwhile others go on without Redis, and may change more.
            await self._undo(changes)
            self.memory.put_right(changes)

    async def _undo(self, changes: Changes) -> None:
        patterns = changes.patterns if len(changes.patterns) <= MOST_CLEARS else {EVERYTHING}
        for pattern in patterns:
            await self._hide(pattern)
        for keys in _batches(sorted(changes.keys)):
            await self._entries.remove(keys)
        if patterns:
            self._sweeper.start()

    # --- reading -----------------------------------------------------------------------

    async def _read(self, key: str) -> Any:
        try:
            return await self._read_through(key)
        except NotLoaded as error:
            log.info("cache.not_loaded", key=key, reason=str(error))
        except DecodeError as error:
            log.warning("cache.corrupt", key=key, reason=str(error))
            await self.store.command("UNLINK", self.store.keys.entry(key))
        return MISSING

    async def _read_through(self, key: str) -> Any:
        token = self.memory.begin(key)
        if not self.memory.is_on:
            return (await self._entries.get(key)).value
        found, ttl_ms = await self._entries.get_with_ttl(key)
        if ttl_ms > 0:
            kept = _kept(found.value, found.payload)
            seconds = min(ttl_ms / 1000, found.fresh_seconds)
            self.memory.put(key, kept, seconds, token, len(found.payload))
        return found.value

    def _recall(self, key: str) -> Any:
        """The value without Redis: of what was set or loaded since it went away, or read before."""
        kept = self._recall_fresh(key)
        try:
            return MISSING if kept is None else _unpack(kept.value)
        except DecodeError as error:
            log.info("cache.not_loaded", key=key, reason=str(error))
            return MISSING

    def _recall_fresh(self, key: str) -> StandIn | None:
        kept = self.memory.recall(key)
        return None if kept is None or kept.fresh_seconds <= 0 else kept

    def _recall_ttl(self, key: str) -> float | None:
        kept = self._recall_fresh(key)
        return None if kept is None else kept.fresh_seconds

    async def _seconds_left(self, key: str) -> float | None:
        check_key(key)
        return await self._ask(lambda: self._entries.seconds_left(key), lambda: self._recall_ttl(key))

    async def _load(self, key: str, loader: Callable[[], Awaitable[T]], seconds: float) -> _Loaded[T]:
        found: T
        found, permission = await self.begin_load(key)
        if permission is None:
            return _Loaded(found, codec.encode(found))
        try:
            found = await loader()
            payload = codec.encode(found)
        except Exception:
            await self.end_load(permission)
            raise
        except BaseException:
            world().undo(lambda: self.end_load(permission))
            raise
        await self._end(permission, payload, seconds)
        return _Loaded(found, payload)

    async def _end(self, load: KeyLease, payload: bytes | None, seconds: float) -> bool:
        entry = b"" if payload is None else envelope.seal(payload, birth=load.birth)

        async def end() -> bool:
            await self.store.ready()
            start, is_kept = self.memory.begin(load.key), False
            try:
                is_kept = bool(load.generation) and await self._leases.end(load, entry, to_ms(seconds))
            finally:
                if is_kept and payload is not None:
                    self.memory.put_own(load.key, payload, seconds, start, load.began)
                else:
                    self.memory.discard(load.key)
            return is_kept

        def without() -> bool:
            # Without a lease only this process's own memory tells what was removed meanwhile.
            return payload is not None and self.memory.set(load.key, payload, seconds, load.removals)

        return await self._ask(end, without)

    # --- removing ----------------------------------------------------------------------

    async def _clear(self, pattern: str, wait: bool) -> int:
        await self._hide(pattern)
        self.memory.clear(pattern, in_redis=True)
        count = await self._sweeper.sweep(pattern) if wait else 0
        if len(self._entries.logs[self.store.keys.clears(EVERYTHING)].clears) > MOST_CLEARS:
            await self._sweeper.sweep_all()
        elif not wait:
            self._sweeper.start()
        return count

    async def _hide(self, pattern: str) -> None:
        """Note a clear in Redis: what matches is hidden from now on."""
        self._entries.logs |= await self._sweeper.hide(pattern)


class _Loaded(NamedTuple, Generic[T]):
    """What a load has brought, for who runs it, and its JSON, as it was then."""

    value: T
    payload: bytes

    def once_more(self) -> T:
        """The value for another, who may change it as well."""
        try:
            found: T = _unpack(_kept(self.value, self.payload))
        except DecodeError:
            # Its class is one that cannot be made again.
            return self.value
        return found


def _kept(value: Any, payload: bytes) -> Any:
    """What stands for a value that is given to many: itself, or its JSON where somebody may change it."""
    return value if isinstance(value, _IMMUTABLE) else Encoded(payload)


def _unpack(value: Any) -> Any:
    return codec.decode(value.payload) if type(value) is Encoded else value


def _batches(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), BATCH):
        yield keys[start : start + BATCH]
