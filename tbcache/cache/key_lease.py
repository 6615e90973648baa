"""One load per key across the fleet: who loads holds the key's lease, the others wait for it."""

from __future__ import annotations

from dataclasses import dataclass

from tbcache.cache.script import (
    BEGIN_LOAD,
    END_LOAD,
    BeginLoad,
    EndLoad,
    LeasedReply,
    LoadingReply,
    PresentReply,
)
from tbcache.io import now, random_id, world
from tbcache.store import Store, Unavailable
from tbcache.store.clear import ClearLog

LEASE_SECONDS = 15.0
#: How often those who wait ask again at least: the loader may have died, or another has taken over.
JOIN_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class KeyLease:
    """The permission to load ``key``. Without a ``generation`` its value is for the caller alone.

    ``removals`` are those of the key in this process when it began, see :meth:`Memory.removals`, and
    ``began`` is that moment.
    """

    key: str
    token: str = ""
    generation: bytes = b""
    birth: int = 0
    removals: tuple[int, int] | None = None
    began: float = 0.0


class KeyLeases:
    """Leases of keys for one process. Every method raises Unavailable when Redis is away."""

    def __init__(self, store: Store, lease_seconds: float = LEASE_SECONDS) -> None:
        self._store = store
        self._lease_us = round(lease_seconds * 1e6)
        self._tokens: set[str] = set()

    async def begin(self, key: str, known: ClearLog, *, is_patient: bool) -> KeyLease | None:
        """The lease of ``key``; None when there is a value by now, or another's load is over.

        A patient caller waits while another loads it; any other loads it for itself.
        ``known`` is the log that may hide the key.
        """
        name = f"load.{random_id()}"
        # It is added before the ask: no load of this process waits for it, though no answer is read yet.
        self._tokens.add(name)
        load = None
        try:
            load = await self._begin(key, name, known, is_patient)
        finally:
            if load is None or not load.token:
                self._tokens.discard(name)
        return load

    async def _begin(self, key: str, name: str, known: ClearLog, is_patient: bool) -> KeyLease | None:
        while True:
            match await self._ask(key, name, known):
                case PresentReply():
                    return None
                case LeasedReply(generation):
                    return KeyLease(key, name, generation, known.sequence)
                case LoadingReply(holder, left_us):
                    # A load that asks for its own key would wait for itself.
                    if not is_patient or holder in self._tokens:
                        return KeyLease(key)
                    if await self._wait(key, holder, left_us / 1e6):
                        return None

    async def end(self, load: KeyLease, entry: bytes, ttl_ms: int) -> bool:
        """Give the lease back, with the entry that was loaded (b"": none); True when that is in Redis."""
        try:
            return await self._end(load, entry, ttl_ms)
        except Unavailable:
            raise
        except BaseException:
            # It may not have been sent yet.
            world().undo(lambda: self._end(load, entry, ttl_ms))
            raise
        finally:
            self._tokens.discard(load.token)

    async def _ask(self, key: str, name: str, known: ClearLog) -> PresentReply | LeasedReply | LoadingReply:
        keys, cleared = self._store.keys, known.cleared_at(key)
        ask = BeginLoad(keys.entry(key), keys.lease(key), name, self._lease_us, known.sequence, cleared)
        try:
            return await self._store.ask(BEGIN_LOAD, ask)
        except Unavailable:
            raise
        except BaseException:
            # Redis may have given the lease to one who is not there any more.
            world().undo(lambda: self._end(KeyLease(key, name), b"", 1))
            raise

    async def _end(self, load: KeyLease, entry: bytes, ttl_ms: int) -> bool:
        keys = self._store.keys
        woken = keys.wake_of(load.key, load.token)
        return await self._store.ask(
            END_LOAD,
            EndLoad(
                keys.entry(load.key),
                keys.lease(load.key),
                woken,
                load.token,
                load.generation,
                entry,
                ttl_ms,
            ),
        )

    async def _wait(self, key: str, holder: str, seconds: float) -> bool:
        """Wait for the end of another's load; False when it is time to ask again."""
        give_up = now() + min(seconds, JOIN_SECONDS)
        wake = self._store.keys.wake_of(key, holder)
        while (left := give_up - now()) > 0:
            if await self._store.first(wake, left) is not None:
                return True
        return False
