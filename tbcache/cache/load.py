"""One load per key across the fleet: who loads holds the key's lease, the others wait for it."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass

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
        self._tokens: set[bytes] = set()

    def begin(self, key: str, known: ClearLog, *, is_patient: bool) -> Load | None:
        """The lease of ``key``; None when there is a value by now, or another's load is over.

        Who is patient waits while another loads it, and who is not loads it for himself.
        ``known`` is the log that may hide the key.
        """
        token = f"load.{uuid.uuid4().hex}"
        names = [self._store.keys.entry(key), self._store.keys.lease(key)]
        birth = known.sequence
        while True:
            answer = self._store.run("load", names, [token, self._lease_us, birth, known.cleared_at(key)])
            if answer[0] == b"hit":
                return None
            if answer[0] == b"go":
                self._tokens.add(token.encode())
                return Load(key, token, answer[1], birth)
            # A load that asks for its own key would wait for itself.
            if not is_patient or answer[1] in self._tokens:
                return Load(key)
            if self._wait(key, answer[1].decode(), answer[2] / 1e6):
                return None

    def end(self, load: Load, entry: bytes, ttl_ms: int) -> bool:
        """Give the lease back, with the entry that was loaded (b"": none); True when that is in Redis."""
        keys = self._store.keys
        names = [keys.entry(load.key), keys.lease(load.key), keys.wake_of(load.key, load.token)]
        try:
            return bool(self._store.run("keep", names, [load.token, load.generation, entry, ttl_ms]))
        finally:
            self._tokens.discard(load.token.encode())

    def _wait(self, key: str, token: str, seconds: float) -> bool:
        """Wait for the end of another's load; False when it is time to ask again."""
        give_up = time.monotonic() + min(seconds, JOIN_SECONDS)
        wake = self._store.keys.wake_of(key, token)
        while (left := give_up - time.monotonic()) > 0:
            if self._store.wait_for(wake, left):
                return True
        return False
