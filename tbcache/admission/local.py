"""Admission without Redis: the same verdicts, from what this process knows."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from datetime import timedelta

from cachetools import LRUCache

from tbcache.admission.verdict import Ask, Failed, Go, Grant, Hit, Join, Settlement, Stale, Verdict, Wait
from tbcache.models import Failure, utc_now
from tbcache.store import Store
from tbcache.store.glob import compile_glob

ENTRIES = 10_000
BACKOFF_SECONDS = 5.0


@dataclass(slots=True)
class _Entry:
    payload: bytes | None = None
    fresh_until: float = 0.0
    stale_until: float = 0.0
    failure: Failure | None = None
    retry_at: float = 0.0
    token: str | None = None
    lease_until: float = 0.0


class LocalAdmission:
    """Verdicts from memory; forgotten when Redis is back."""

    def __init__(self, store: Store, lease_seconds: float, send_seconds: float) -> None:
        self._store = store
        self._lease = lease_seconds
        self._send = send_seconds
        self._lock = threading.Lock()
        self._entries: LRUCache[str, _Entry] = LRUCache(ENTRIES)
        self._over = threading.Condition(self._lock)

    def forget(self) -> None:
        """Drop every value: Redis knows better again."""
        with self._lock:
            self._entries.clear()
            self._over.notify_all()

    def clear(self, pattern: str) -> None:
        """Drop the values whose key matches ``pattern``, and those that are on their way."""
        matching = compile_glob(pattern)
        with self._lock:
            for key in [key for key in self._entries if matching.fullmatch(key.encode())]:
                del self._entries[key]
            self._over.notify_all()

    def admit(self, ask: Ask, token: str) -> Verdict:
        now = time.monotonic()
        with self._lock:
            entry = self._entry(ask.request.key)
            held = entry.payload if now < entry.stale_until else None
            if held is not None and now + ask.needed < entry.fresh_until:
                return Hit(held, entry.fresh_until - now)
            if entry.failure and now < entry.retry_at:
                return Stale(held, entry.failure) if held is not None else Failed(entry.failure)
            if entry.token and now < entry.lease_until:
                if held is not None:
                    return Stale(held)
                return Join(entry.token, entry.lease_until - now, is_local=True)
            own = self._store.own(ask.source.name)
            wait = own.take(token, 1, ask.source.limits, self._lease, parts=self._store.fleet_size)
            if wait > 0:
                return Stale(held) if held is not None else self._wait(wait)
            entry.token, entry.lease_until = token, now + self._lease
        return Go(Grant(ask, token, token, now, now + self._send, is_local=True), held)

    def turn(self, grant: Grant, slot: str) -> Grant | Wait:
        own = self._store.own(grant.ask.source.name)
        own.commit(grant.slot, 1)
        wait = own.take(slot, 1, grant.ask.source.limits, self._lease, parts=self._store.fleet_size)
        if wait > 0:
            return self._wait(wait)
        now = time.monotonic()
        return replace(grant, slot=slot, starts_at=now, send_by=now + self._send)

    def settle(self, grant: Grant, settlement: Settlement) -> None:
        source = grant.ask.source
        own = self._store.own(source.name)
        if settlement.payload is None and settlement.failure is None:
            own.release(grant.slot, 1)
        else:
            own.commit(grant.slot, 1)
        now = time.monotonic()
        with self._lock:
            entry = self._entry(grant.ask.request.key)
            if entry.token == grant.token:
                entry.token = None
                if settlement.payload is not None:
                    entry.payload, entry.failure = settlement.payload, None
                    entry.fresh_until = now + source.cache_ttl
                    entry.stale_until = entry.fresh_until + source.stale_ttl
                elif settlement.failure is not None:
                    entry.failure, entry.retry_at = settlement.failure, now + BACKOFF_SECONDS
            self._over.notify_all()

    def wait_for(self, token: str, seconds: float) -> None:
        """Return when the load of ``token`` is over, or after ``seconds``."""
        with self._lock:
            self._over.wait_for(
                lambda: all(entry.token != token for entry in self._entries.values()), timeout=seconds
            )

    def _entry(self, key: str) -> _Entry:
        if key not in self._entries:
            self._entries[key] = _Entry()
        return self._entries[key]

    def _wait(self, seconds: float) -> Wait:
        return Wait(
            seconds, utc_now() + timedelta(seconds=seconds), "Redis is away: this process's share is used"
        )
