"""The cache manager: get, set, exists, delete, clear, whether Redis is there or not."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import redis

from tbcache.cache.flight import Flights
from tbcache.cache.load import LEASE_SECONDS, Load, Loads
from tbcache.cache.sweep import MOST_CLEARS, Sweeper
from tbcache.errors import InvalidRequest
from tbcache.io.singleton import singleton
from tbcache.models import SymbolSentiment
from tbcache.settings import get_settings
from tbcache.settings.log import get_logger
from tbcache.sources import REAL_TIME_TTL
from tbcache.store import Refused, Store, Unavailable, codec, get_store
from tbcache.store.clear import NO_CLEARS, ClearLog, read_log
from tbcache.store.codec import DecodeError, NotLoaded
from tbcache.store.key import EVERYTHING
from tbcache.store.memory import MISSING, Changes, Kept, Memory, Packed
from tbcache.store.server import ask_facts
from tbcache.store.wire import MICROS

log = get_logger("tbcache.cache")

T = TypeVar("T")

MAX_KEY_CHARS = 512
MAX_TTL = 10 * 365 * 86400
BATCH = 100
#: So often what was changed meanwhile is put right as well; what is left is, by whoever uses Redis first.
ROUNDS = 5

# A lone surrogate is no text, so no key either.
_CONTROL = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_IMMUTABLE = (
    *(type(None), bool, int, float, str, bytes),
    *(date, datetime, timedelta, Decimal, UUID, SymbolSentiment),
)


@dataclass(frozen=True, slots=True)
class CacheStatus:
    """Where the cache stands.

    ``keys`` counts everything in the Redis database; ``hits`` and ``misses`` are those of
    this process. What only Redis knows is None while it is away. ``local_entries`` are values of Redis
    that this process has in memory, ``fallback_entries`` those that were set or loaded without it;
    ``local_bytes`` is the size of both.
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
    removed from it. No call raises because of Redis.

    With a ``memory`` that is tracking, values read are also kept in this process and dropped when
    anyone changes them. While Redis is away they stand in for it until their TTL is over.
    """

    def __init__(
        self, store: Store, memory: Memory | None = None, lease_seconds: float = LEASE_SECONDS
    ) -> None:
        self.store = store
        self.memory = Memory(store) if memory is None else memory
        self._flights = Flights()
        self._sweeper = Sweeper(store)
        self._loads = Loads(store, lease_seconds)
        self._logs: dict[str, ClearLog] = {}
        self._hits = 0
        self._misses = 0
        store.breaker.on_return(self._put_right)

    def get(self, key: str, default: Any = None) -> Any:
        """The value under ``key``, or ``default``.

        Raises:
          InvalidRequest: ``key`` cannot be one.
        """
        check_key(key)
        value = self._get_local(key)
        if value is MISSING:
            value = self._ask(lambda client: self._read(client, key), lambda: self._recall(key))
        if value is MISSING:
            self._misses += 1
            return default
        self._hits += 1
        return value

    def set(self, key: str, value: Any, ttl: float | None = None) -> bool:
        """Keep ``value`` for ``ttl`` seconds (default 300); False when it was too large to keep.

        Raises:
          InvalidRequest: ``key`` or ``ttl`` cannot be one.
          TypeError: names the type that cannot be stored.
        """
        check_key(key)
        seconds = check_ttl(REAL_TIME_TTL if ttl is None else ttl)
        payload = codec.encode(value)

        return self._change(
            key,
            lambda client: self._write(client, key, payload, seconds),
            lambda: self.memory.set(key, payload, seconds),
        )

    def exists(self, key: str) -> bool:
        """True when there is a value under ``key``, be it None or 0.

        Raises:
          InvalidRequest: ``key`` cannot be one.
        """
        return self._seconds_left(key) is not None

    def get_ttl(self, key: str) -> int | None:
        """Seconds until ``key`` is gone (or, for a source's answer, no longer fresh), rounded up.

        None when there is no such key.

        Raises:
          InvalidRequest: ``key`` cannot be one.
        """
        left = self._seconds_left(key)
        return None if left is None else math.ceil(left)

    def delete(self, key: str) -> bool:
        """Remove ``key``; True when it was there. An answer being fetched for it is not stored.

        Raises:
          InvalidRequest: ``key`` cannot be one.
        """
        check_key(key)

        def remove(client: redis.Redis) -> bool:
            was_there = self._unlink(client, [key]) > 0
            return self.memory.delete(key, in_redis=True) or was_there

        return self._ask(remove, lambda: self.memory.delete(key, in_redis=False))

    def clear_pattern(self, pattern: str, *, wait: bool = True) -> int:
        """Clear every key that matches a Redis glob like ``twitter:*``; how many were removed.

        They are gone at once, for everyone; so are the answers being fetched for such keys.
        Removing them from Redis takes longer: with ``wait=False`` that goes on in the
        background, and 0 is returned.

        Raises:
          InvalidRequest: ``pattern`` cannot match a key.
        """
        check_key(pattern, what="pattern")

        return self._ask(
            lambda client: self._clear(pattern, wait), lambda: self.memory.clear(pattern, in_redis=False)
        )

    def resume(self) -> int:
        """Go on with a sweep whose process has died, if there is one; how many keys that removed.

        Workers and the scheduler ask for this now and then.
        """
        return self._ask(lambda client: self._sweeper.resume(), lambda: 0)

    def get_or_load(self, key: str, loader: Callable[[], T], ttl: float | None = None) -> T:
        """The value under ``key``, or what ``loader`` returns, which is then kept.

        It is loaded once, however many threads and processes ask for it at the same moment. It is
        not kept where the key was cleared meanwhile. An exception of the loader is raised to all
        threads that wait for it and not kept; other processes try for themselves.

        Raises:
          InvalidRequest: ``key`` or ``ttl`` cannot be one.
          TypeError: names the loaded value's type that cannot be stored.
        """
        seconds = check_ttl(REAL_TIME_TTL if ttl is None else ttl)
        value: T = self.get(key, MISSING)
        if value is not MISSING:
            return value

        def load() -> T:
            found: T
            found, permission = self.begin_load(key)
            if permission is None:
                return found
            try:
                found = loader()
            except BaseException:
                self.end_load(permission)
                raise
            self.end_load(permission, found, seconds)
            return found

        shared: T = self._flights.share(key, load)
        return shared

    def begin_load(self, key: str) -> tuple[Any, Load | None]:
        """What another process has loaded just now, or the permission to load it here.

        Waits while another does. Whoever is permitted calls :meth:`end_load` after it.
        """
        for is_patient in (True, False):
            load = self._ask(
                lambda client, is_patient=is_patient: self._loads.begin(  # type: ignore[misc]
                    key, self._known(key), is_patient=is_patient
                ),
                lambda: None,
            )
            if load is not None:
                return MISSING, load
            value = self.get(key, MISSING)
            if value is not MISSING:
                return value, None
        return MISSING, Load(key)

    def end_load(self, load: Load, value: Any = MISSING, ttl: float | None = None) -> bool:
        """End a load: keep its ``value``, if there is one and the key was not cleared meanwhile.

        Raises:
          InvalidRequest: ``ttl`` cannot be one.
          TypeError: names the type that cannot be stored.
        """
        seconds = check_ttl(REAL_TIME_TTL if ttl is None else ttl)
        payload = None
        try:
            payload = None if value is MISSING else codec.encode(value)
        finally:
            is_kept = self._end(load, payload, seconds)
        return is_kept

    def status(self) -> CacheStatus:
        """Where the cache stands."""
        seen = self._ask(_look, lambda: _Seen(None, None, None, None))
        kept = self.memory.stats
        return CacheStatus(
            is_available=seen.ping_ms is not None,
            address=self.store.address,
            hits=self._hits,
            misses=self._misses,
            fallback_entries=kept.alone,
            local_entries=kept.entries,
            local_bytes=kept.bytes,
            **seen._asdict(),
        )

    def close(self) -> None:
        """End the memory and sweeps in the background. The store is not ours to close."""
        self._sweeper.close()
        self.memory.close()

    # --- with Redis, or without --------------------------------------------------------

    def _ask(self, with_redis: Callable[[redis.Redis], T], without: Callable[[], T]) -> T:
        try:
            with self.store.guard():
                # A change that was noted just as Redis came back is put right here.
                if self.memory.is_changed:
                    self._put_right()
                return with_redis(self.store.client)
        except Unavailable:
            return without()

    def _change(self, key: str, with_redis: Callable[[redis.Redis], T], without: Callable[[], T]) -> T:
        def change(client: redis.Redis) -> T:
            changed = with_redis(client)
            # Before the server tells us, or we would read our own old value.
            self.memory.discard(key)
            return changed

        return self._ask(change, without)

    def _put_right(self) -> None:
        """Remove from Redis what was changed without it; only then is it used again."""
        for _ in range(ROUNDS):
            changes = self.memory.changes
            if not changes:
                return
            # Meanwhile others go on without Redis, and may change more.
            self._undo(self.store.client, changes)
            self.memory.put_right(changes)

    def _undo(self, client: redis.Redis, changes: Changes) -> None:
        patterns = changes.patterns if len(changes.patterns) <= MOST_CLEARS else {EVERYTHING}
        for pattern in patterns:
            self._hide(pattern)
        for keys in _batches(sorted(changes.keys)):
            self._unlink(client, keys)
        if patterns:
            self._sweeper.start()

    # --- reading -----------------------------------------------------------------------

    def _get_local(self, key: str) -> Any:
        # As `_unpack` does, without a call: this is the hottest path.
        value = self.memory.get(key)
        return codec.decode(value.payload) if type(value) is Packed else value

    def _read(self, client: redis.Redis, key: str) -> Any:
        try:
            return self._read_through(client, key)
        except NotLoaded as error:
            log.info("cache.not_loaded", key=key, reason=str(error))
        except DecodeError as error:
            log.warning("cache.corrupt", key=key, reason=str(error))
            client.unlink(self.store.keys.entry(key))
        return MISSING

    def _get(self, key: str) -> tuple[bytes | None, ClearLog]:
        """An entry, and the log that may hide it."""
        keys = self.store.keys
        entry, name = keys.entry(key), keys.clears_of(key)
        if self.store.settings.redis_cluster:
            # They may lie on two nodes.
            data, cleared = self.store.call("GET", entry), self.store.call("GET", name)
        else:
            data, cleared = self.store.call("MGET", entry, name)
        if data is None:
            # Nothing, or a key of another type.
            try:
                data = self.store.call("GET", entry)
            except Refused as error:
                raise DecodeError(error.reason) from None
        return data, self._learn(name, cleared)

    def _open(self, key: str, data: bytes | None, known: ClearLog) -> _Opened:
        """What an entry holds; ``_NOTHING`` when there is none, it is no longer fresh, or cleared.

        Raises:
          DecodeError: it is corrupt.
        """
        if data is None:
            return _NOTHING
        fresh_until, birth, payload = codec.open_envelope(data)
        fresh_seconds = self._left(key, fresh_until)
        if fresh_seconds <= 0 or (known.clears and known.hides(key, birth)):
            return _NOTHING
        return _Opened(codec.decode(payload), payload, fresh_seconds)

    def _read_through(self, client: redis.Redis, key: str) -> Any:
        token = self.memory.begin(key)
        if not self.memory.is_on:
            return self._open(key, *self._get(key)).value
        entry, name = self.store.keys.entry(key), self.store.keys.clears_of(key)
        pipe = client.pipeline(transaction=False)
        pipe.get(entry)
        pipe.pttl(entry)
        pipe.get(name)
        data, ttl_ms, cleared = self.store.execute(pipe)
        found = self._open(key, _reply(data), self._learn(name, cleared))
        if found.value is not MISSING and _reply(ttl_ms) > 0:
            kept = found.value if isinstance(found.value, _IMMUTABLE) else Packed(found.payload)
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

    def _recall_fresh(self, key: str) -> Kept | None:
        kept = self.memory.recall(key)
        return None if kept is None or kept.fresh_seconds <= 0 else kept

    def _recall_ttl(self, key: str) -> float | None:
        kept = self._recall_fresh(key)
        return None if kept is None else kept.fresh_seconds

    def _seconds_left(self, key: str) -> float | None:
        check_key(key)
        return self._ask(lambda client: self._look_at(client, key), lambda: self._recall_ttl(key))

    def _look_at(self, client: redis.Redis, key: str) -> float | None:
        entry, name = self.store.keys.entry(key), self.store.keys.clears_of(key)
        pipe = client.pipeline(transaction=False)
        pipe.getrange(entry, 0, codec.HEAD_BYTES - 1)
        pipe.pttl(entry)
        pipe.get(name)
        data, ttl_ms, cleared = self.store.execute(pipe)
        try:
            fresh_until, birth = codec.read_head(_reply(data))
        except DecodeError:
            return None
        if self._learn(name, cleared).hides(key, birth):
            return None
        left: float = min(ttl_ms / 1000, self._left(key, fresh_until))
        return left if left > 0 else None

    def _left(self, key: str, fresh_until: int) -> float:
        """For how many seconds more an entry is fresh."""
        if fresh_until >= codec.FOREVER:
            return math.inf
        # By the clock of the server, which wrote the moment: ours may be an hour off.
        return (fresh_until - self.store.clock.now_us(key.partition(":")[0])) / MICROS

    # --- writing -----------------------------------------------------------------------

    def _write(self, client: redis.Redis, key: str, payload: bytes, seconds: float) -> bool:
        """Set an entry, newer than every clear until now."""
        known = self._known(key)
        while True:
            is_set, seen = self._set(client, key, payload, seconds, known)
            # Mostly the log is as it was. Where it is not, the entry is born anew.
            if seen.head == known.head:
                return is_set
            known = seen

    def _set(
        self, client: redis.Redis, key: str, payload: bytes, seconds: float, known: ClearLog
    ) -> tuple[bool, ClearLog]:
        """Set an entry, born of the log that is known; and the log as it is after that."""
        name = self.store.keys.clears_of(key)
        pipe = client.pipeline(transaction=False)
        envelope = codec.seal(payload, birth=known.sequence)
        pipe.set(self.store.keys.entry(key), envelope, px=_to_ms(seconds))
        pipe.get(name)
        is_set, cleared = self.store.execute(pipe)
        return bool(_reply(is_set)), self._learn(name, cleared)

    def _end(self, load: Load, payload: bytes | None, seconds: float) -> bool:
        entry = b"" if payload is None else codec.seal(payload, birth=load.birth)

        def without() -> bool:
            return payload is not None and self.memory.set(load.key, payload, seconds)

        return self._change(
            load.key,
            lambda client: bool(load.generation) and self._loads.end(load, entry, _to_ms(seconds)),
            without,
        )

    def _known(self, key: str) -> ClearLog:
        """The log that may hide ``key``, as it was last seen."""
        return self._logs.get(self.store.keys.clears_of(key), NO_CLEARS)

    def _learn(self, name: str, cleared: Any) -> ClearLog:
        known = self._logs[name] = read_log(cleared)
        return known

    # --- removing ----------------------------------------------------------------------

    def _unlink(self, client: redis.Redis, keys: Sequence[str]) -> int:
        """Remove entries; how many there were.

        Their leases go first: without its lease, an answer under way is not stored.
        """
        pipe = client.pipeline(transaction=False)
        pipe.unlink(*(self.store.keys.lease(key) for key in keys))
        pipe.unlink(*(self.store.keys.entry(key) for key in keys))
        return int(pipe.execute()[1])

    def _clear(self, pattern: str, wait: bool) -> int:
        self._hide(pattern)
        self.memory.clear(pattern, in_redis=True)
        count = self._sweeper.sweep(pattern) if wait else 0
        if len(self._logs[self.store.keys.clears(EVERYTHING)].clears) > MOST_CLEARS:
            self._sweeper.sweep_all()
        elif not wait:
            self._sweeper.start()
        return count

    def _hide(self, pattern: str) -> None:
        """Note a clear in Redis: what matches is hidden from now on."""
        self._logs |= self._sweeper.note(pattern)


def _unpack(value: Any) -> Any:
    return codec.decode(value.payload) if type(value) is Packed else value


class _Opened(NamedTuple):
    value: Any
    payload: bytes
    fresh_seconds: float


class _Seen(NamedTuple):
    ping_ms: float | None
    keys: int | None
    memory_bytes: int | None
    server_version: str | None


_NOTHING = _Opened(MISSING, b"", 0.0)


@singleton
def get_cache_manager() -> CacheManager:
    """The cache manager of this process, as its settings say."""
    store, settings = get_store(), get_settings()
    size = settings.local_cache_bytes
    memory = Memory(store, size, is_tracking=True) if size else Memory(store)
    return CacheManager(store, memory, settings.lease_seconds)


def check_key(key: str, what: str = "key") -> None:
    """
    Raises:
      InvalidRequest: ``key`` is no text, empty, longer than 512 characters, or has control characters.
    """
    if not isinstance(key, str):
        raise InvalidRequest(f"cache {what} {key!r:.60} is a {type(key).__name__}, not a str")
    if not key:
        raise InvalidRequest(f"cache {what} is empty")
    if len(key) > MAX_KEY_CHARS:
        raise InvalidRequest(
            f"cache {what} {key[:40]!r}... has {len(key)} characters; the most is {MAX_KEY_CHARS}"
        )
    if _CONTROL.search(key):
        raise InvalidRequest(f"cache {what} {key[:60]!r} has control characters")


def check_ttl(ttl: float) -> float:
    """``ttl`` in seconds.

    Raises:
      InvalidRequest: not a number, not above 0, or more than ten years.
    """
    if isinstance(ttl, bool) or not isinstance(ttl, int | float) or not 0 < ttl <= MAX_TTL:
        raise InvalidRequest(f"TTL {ttl!r:.40} must be a number of seconds above 0, at most {MAX_TTL}")
    return float(ttl)


def _to_ms(seconds: float) -> int:
    return math.ceil(seconds * 1000)


def _reply(reply: Any) -> Any:
    """A reply, when it is no error.

    Raises:
      DecodeError: the entry is of another Redis type.
      redis.ResponseError: any other error.
    """
    if not isinstance(reply, redis.ResponseError):
        return reply
    if "WRONGTYPE" in str(reply):
        raise DecodeError("no string but another Redis type")
    raise reply


def _look(client: redis.Redis) -> _Seen:
    facts = ask_facts(client)
    keys = client.dbsize()
    started = time.perf_counter()
    client.ping()
    ping_ms = (time.perf_counter() - started) * 1000
    return _Seen(round(ping_ms, 3), keys, facts.memory_bytes, facts.version)


def _batches(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), BATCH):
        yield keys[start : start + BATCH]
