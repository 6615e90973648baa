"""Admission without Redis: the same verdicts, from what this process knows."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from datetime import timedelta

from cachetools import LRUCache

from tbcache.admission.verdict import (
    Ask,
    Failed,
    Go,
    Grant,
    Hit,
    Join,
    Settlement,
    Stale,
    Verdict,
    Wait,
    Why,
)
from tbcache.limiter.slot import OwnSlots
from tbcache.models import Failure, utc_now
from tbcache.sources import Source
from tbcache.store import Store
from tbcache.store.glob import compile_glob
from tbcache.store.wire import MICROS, day_of, to_micros

ENTRIES = 10_000
BACKOFF_SECONDS = 5.0
POLL_SECONDS = 0.25
#: When to ask again for money: Redis may be back at any moment, and knows what is left.
BUDGET_SECONDS = 5.0


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
        self.renew()

    def renew(self) -> None:
        """Also after a fork: another thread of the parent may have held the lock, in the midst of a change;
        and what it has under way comes to its end there, not here."""
        self._entries: LRUCache[str, _Entry] = LRUCache(ENTRIES)
        self._lock = threading.Lock()
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

    def drop(self, key: str) -> bool:
        """Drop the value under ``key``, and one that is on its way; True when there was one."""
        with self._lock:
            entry = self._entries.pop(key, None)
            self._over.notify_all()
        return entry is not None and entry.payload is not None and time.monotonic() < entry.stale_until

    def look(self, key: str) -> Hit | None:
        """The fresh value under ``key``."""
        now = time.monotonic()
        with self._lock:
            entry = self._entries.get(key)
            if entry is None or entry.payload is None or now >= entry.fresh_until:
                return None
            return Hit(entry.payload, entry.fresh_until - now)

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
            closed = self._closed_for(ask.source.name)
            wait = closed or self._take(ask.source, token)
            if wait is not None:
                return Stale(held) if held is not None else wait
            entry.token, entry.lease_until = token, now + self._lease
        return Go(Grant(ask, token, token, now, now, now + self._send, is_local=True), held)

    def turn(self, grant: Grant, slot: str) -> Grant | Wait:
        source = grant.ask.source
        self._store.own(source.name).commit(grant.slot, source.cost)
        with self._lock:
            wait = self._take(source, slot)
        if wait is not None:
            return wait
        now = time.monotonic()
        return replace(grant, slot=slot, granted_at=now, starts_at=now, send_by=now + self._send)

    def settle(self, grant: Grant, settlement: Settlement) -> None:
        source = grant.ask.source
        end_slot(self._store.own(source.name), grant, settlement)
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

    def _take(self, source: Source, slot: str) -> Wait | None:
        """Take a slot, with the lock held: two who look at once would both see the money for one page."""
        own = self._store.own(source.name)
        own.configure(source.limits)
        if (lack := self._lack(source, own)) is not None:
            return _wait(BUDGET_SECONDS, "budget", lack)
        seconds = own.take(slot, source.cost, own.limits, self._lease)
        return _wait(seconds, "share", own.why_not(own.limits)) if seconds > 0 else None

    def _lack(self, source: Source, own: OwnSlots) -> str | None:
        """Why there is no money for a page; None where there is, or the source costs nothing.

        A page goes only where its whole price is there, beside those of the pages under way.
        """
        budget, page = to_micros(source.daily_budget or 0), to_micros(source.price.per_page)
        if not budget or not page:
            return None
        day = day_of(self._store.today)
        if not self._store.is_shared and own.purse.left(day) is None:
            own.purse.receive(budget, day, own.purse.paid)
        left = own.purse.left(day)
        if left is None:
            return "Redis is away, and what is left of the day's budget is not known to this process"
        if left < page * (1 + own.held / source.cost):
            what = f"a page (${page / MICROS:g})"
            return f"Redis is away, and this process's part of the day's budget has no room for {what}"
        return None

    def _closed_for(self, source: str) -> Wait | None:
        closure = self._store.closures.of(source)
        return None if closure is None else _wait(closure.seconds, "closed", closure.reason)


def end_slot(own: OwnSlots, grant: Grant, settlement: Settlement) -> None:
    """Do with this process's record of the slot what settle.lua does with the slot."""
    if settlement.ending == "abandon":
        own.release(grant.slot, grant.ask.source.cost)
    elif settlement.ending != "interrupted":
        own.commit(grant.slot, grant.ask.source.cost)


def _wait(seconds: float, why: Why, reason: str) -> Wait:
    # Redis may be back, and with it the whole limit, at any moment.
    return Wait(min(seconds, POLL_SECONDS), utc_now() + timedelta(seconds=seconds), why, reason)
