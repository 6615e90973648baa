"""One load per key across the fleet: who loads holds the key's lease, the others wait for it."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass

from tbcache.cache.script import BEGIN_LOAD, END_LOAD, BeginLoad, EndLoad, Go, Hit, Join
from tbcache.store import Store
from tbcache.store.clear import ClearLog

LEASE_SECONDS = 15.0
#: Those who wait ask again at least so often: the loader may have died, or been taken over from.
JOIN_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Load:
    """The permission to load ``key``. Without a ``generation`` its value is for the caller alone."""

    key: str
    token: str = ""
    generation: bytes = b""
    birth: int = 0


class Loads:
    """Leases of keys for one process. Every method raises Unavailable when Redis is away."""

    def __init__(self, store: Store, lease_seconds: float = LEASE_SECONDS) -> None:
        self._store = store
        self._lease_us = round(lease_seconds * 1e6)
        self._tokens: set[str] = set()

    def begin(self, key: str, known: ClearLog, *, is_patient: bool) -> Load | None:
        """The lease of ``key``; None when there is a value by now, or another's load is over.

        Who is patient waits while another loads it, and who is not loads it for himself.
        ``known`` is the log that may hide the key.
        """
        token = f"load.{uuid.uuid4().hex}"
        keys = self._store.keys
        ask = BeginLoad(
            keys.entry(key), keys.lease(key), token, self._lease_us, known.sequence, known.cleared_at(key)
        )
        while True:
            match self._store.run(BEGIN_LOAD, ask):
                case Hit():
                    return None
                case Go(generation):
                    self._tokens.add(token)
                    return Load(key, token, generation, known.sequence)
                case Join(holder, left_us):
                    # A load that asks for its own key would wait for itself.
                    if not is_patient or holder in self._tokens:
                        return Load(key)
                    if self._wait(key, holder, left_us / 1e6):
                        return None

    def end(self, load: Load, entry: bytes, ttl_ms: int) -> bool:
        """Give the lease back, with the entry that was loaded (b"": none); True when that is in Redis."""
        keys = self._store.keys
        entry_key, lease, woken = (
            keys.entry(load.key),
            keys.lease(load.key),
            keys.wake_of(load.key, load.token),
        )
        try:
            return self._store.run(
                END_LOAD, EndLoad(entry_key, lease, woken, load.token, load.generation, entry, ttl_ms)
            )
        finally:
            self._tokens.discard(load.token)

    def _wait(self, key: str, token: str, seconds: float) -> bool:
        """Wait for the end of another's load; False when it is time to ask again."""
        give_up = time.monotonic() + min(seconds, JOIN_SECONDS)
        wake = self._store.keys.wake_of(key, token)
        while (left := give_up - time.monotonic()) > 0:
            if self._store.peek_list(wake, left) is not None:
                return True
        return False
