"""Admission without Redis: this process gives the same verdicts, from what it knows itself."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import timedelta

import msgspec

import tbcache.io as io
from tbcache.admission.ending import backoff_seconds
from tbcache.admission.preparation import deep_part
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
from tbcache.io.fork import renew_in_child
from tbcache.limiter import ProcessWindow, limiter_of
from tbcache.models import Failure
from tbcache.models.bounded import Bounded
from tbcache.store import Store
from tbcache.store.change import Matches
from tbcache.store.memory import Memory
from tbcache.store.wire import MICROS, day_of, midnight_of, to_micros

ENTRIES = 10_000
POLL_SECONDS = 0.25
#: After so many seconds an ask that lacks money may be made again: Redis may be back by then, or a page that
#: is under way may have cost less than was set aside for it.
BUDGET_SECONDS = 5.0


@dataclass(slots=True)
class FallbackLoad:
    """The load of a key that is under way, or the failure of the last one."""

    failure: Failure | None = None
    retry_at: float = 0.0
    token: str | None = None
    lease_until: float = 0.0


class FallbackAdmission:
    """Verdicts from the memory of this process. What it records is dropped once Redis is back."""

    def __init__(self, store: Store, memory: Memory, hold_seconds: float, send_seconds: float) -> None:
        self._store = store
        self._limiter = limiter_of(store)
        self._memory = memory
        self._hold_seconds = hold_seconds
        self._send = send_seconds
        self.renew()
        renew_in_child(self)

    def renew(self) -> None:
        """Forget all loads, at the start and in a forked child.

        Another thread of the parent may have held the lock in the middle of a change. And the loads of the
        parent end in the parent.
        """
        self._loads: Bounded[str, FallbackLoad] = Bounded(ENTRIES)
        self._lock = threading.Lock()
        #: Whoever waits for the end of a load, as the token of the load and a future.
        self._waiting: list[tuple[str, Future[None]]] = []

    def forget(self) -> None:
        """Give no value any more that was loaded without Redis, and drop every load: Redis decides again."""
        with self._lock:
            self._memory.forget_fallback()
            self._loads.clear()
            self._tell_waiting()

    def end(self, matches: Matches) -> None:
        """The keys that match were removed, so values that are being loaded for them are not kept."""
        with self._lock:
            for key in [key for key in self._loads if matches(key)]:
                del self._loads[key]
            self._tell_waiting()

    def admit(self, ask: Ask, token: str) -> Verdict:
        key, now = ask.request.key, io.now()
        with self._lock:
            # Memory is read under the lock. Otherwise the load of another thread could end between the read
            # and the lease below, and the value would be loaded once more.
            kept, load = self._memory.recall(key), self._load(key)
            if kept is not None and kept.fresh_seconds > ask.needed:
                # A value that was read before Redis went away may have been changed by others since.
                return Hit(kept.payload, kept.fresh_seconds) if kept.is_fallback else Stale(kept.payload)
            held, overdue = (None, 0.0) if kept is None else (kept.payload, -kept.fresh_seconds)
            answer = held if ask.takes(overdue) else None
            if load.failure and now < load.retry_at:
                return Stale(held, load.failure) if held is not None else Failed(load.failure)
            if load.token and now < load.lease_until:
                if answer is not None:
                    return Stale(answer)
                return Join(load.token, load.lease_until - now, held, is_fallback=True)
            wait = self._take(ask, token)
            if wait is not None:
                return Stale(answer) if answer is not None else replace(wait, stale=held)
            load.token, load.lease_until = token, now + self._hold_seconds
        grant = Grant(ask, token, token, now, now, now + self._send, is_fallback=True, began=now)
        return Go(grant, held, overdue)

    async def turn(self, grant: Grant, slot: str) -> Grant | Wait:
        source = grant.ask.source
        await self._limiter.ends.commit(source.name, grant.slot, source.cost)
        with self._lock:
            wait = self._take(grant.ask, slot)
        if wait is not None:
            return wait
        now = io.now()
        return msgspec.structs.replace(
            grant, slot=slot, granted_at=now, starts_at=now, send_by=now + self._send
        )

    async def settle(self, grant: Grant, settlement: Settlement) -> bool:
        """End a load; False where it was another's by now, or its key was removed."""
        source = grant.ask.source
        await self._end_slot(grant, settlement)
        key = grant.ask.request.key
        with self._lock:
            load = self._load(key)
            is_ours = load.token == grant.token
            if is_ours:
                load.token = None
            if settlement.payload is not None:
                # A value that another thread reads from Redis just now is older than this one.
                self._memory.invalidate(key)
            if is_ours and settlement.payload is not None:
                load.failure = None
                # An answer that is made of a timeline is newer than another, but may be made of less.
                began = None if grant.ask.timeline_key else grant.began
                self._memory.put_loaded(
                    key, settlement.payload, source.cache_ttl, source.stale_ttl, began=began
                )
            elif is_ours and settlement.failure is not None:
                load.failure, load.retry_at = settlement.failure, io.now() + backoff_seconds(settlement)
            self._tell_waiting()
        return is_ours

    async def wait_for(self, token: str, seconds: float) -> None:
        """Return when the load of ``token`` is over, or after ``seconds``."""
        wait = token, Future[None]()
        with self._lock:
            self._waiting.append(wait)
            self._tell_waiting()
        try:
            await io.world().wait(wait[1], seconds)
        except TimeoutError:
            return
        finally:
            with self._lock, contextlib.suppress(ValueError):
                self._waiting.remove(wait)

    def _tell_waiting(self) -> None:
        """Wake whoever waits for a load that is over. The caller holds the lock."""
        if self._waiting:
            under_way = {load.token for load in self._loads.values()}
            for token, over in self._waiting:
                if token not in under_way and not over.done():
                    over.set_result(None)

    async def _end_slot(self, grant: Grant, settlement: Settlement) -> None:
        """End the slot for Redis as well, which may hold it: it may have granted it before it went away."""
        source = grant.ask.source
        if settlement.ending == "abandon":
            await self._limiter.ends.release(source.name, grant.slot, source.cost)
        elif settlement.ending != "interrupted":
            await self._limiter.ends.commit(source.name, grant.slot, source.cost)

    def _load(self, key: str) -> FallbackLoad:
        load = self._loads[key] = self._loads.get(key) or FallbackLoad()
        return load

    def _take(self, ask: Ask, slot: str) -> Wait | None:
        """Take a slot. The caller holds the lock: two threads that look at the budget at once would both find
        the money for one page.
        """
        limiter, source, name = self._limiter, ask.source, ask.source.name
        window = limiter.process_window(name)
        window.configure(source.limits)
        budget, page_price = to_micros(source.daily_budget or 0), to_micros(source.price.per_page)
        window.purse.configure(budget, page_price // source.cost)
        # Another command without Redis could find the money for the same page as well.
        with window.together():
            shortage = limiter.fallback.closed(name)
            if shortage is None and (lack := self._lack(ask, window)) is not None:
                return lack
            shortage = shortage or limiter.fallback.take(
                name, slot, source.cost, window.limits, self._hold_seconds
            )
        return None if shortage is None else _wait(*shortage)

    def _lack(self, ask: Ask, window: ProcessWindow) -> Wait | None:
        """How long to wait for the money for a page; None where it is there, or none is needed.

        A page is sent only if its full price is left beside the prices of all pages that are under way.
        """
        source = ask.source
        budget, page_price = to_micros(source.daily_budget or 0), to_micros(source.price.per_page)
        if not budget or not page_price:
            return None
        day = day_of(self._store.clock.today)
        if not self._store.is_shared and window.purse.left(day) is None:
            window.purse.receive(budget, day, window.purse.paid)
        left, why_alone = window.purse.left(day), self._limiter.windows.why_alone(source.name)
        if left is None:
            lack = f"{why_alone}, and what is left of the day's budget is not known to this process"
            return _wait(BUDGET_SECONDS, "budget", lack)
        if ask.is_deep:
            left -= budget - deep_part(source, budget)
        if left >= page_price * (1 + window.held / source.cost):
            return None
        lack = f"the day's budget has no room for a page (${page_price / MICROS:g})"
        if self._store.is_shared:
            return _wait(BUDGET_SECONDS, "budget", f"{why_alone}, and this process's part of {lack}")
        if left >= page_price:
            return _wait(BUDGET_SECONDS, "budget", lack)
        # Nobody else has a part of the budget: what is spent comes back at midnight, and not with Redis.
        tomorrow = midnight_of(day + 1) - self._store.clock.today
        return Wait(tomorrow.total_seconds(), io.utc_now() + tomorrow, "budget", lack)


def _wait(seconds: float, why: Why, reason: str) -> Wait:
    # The asker looks again soon, because Redis may be back at any moment, and with it the whole limit.
    return Wait(min(seconds, POLL_SECONDS), io.utc_now() + timedelta(seconds=seconds), why, reason)
