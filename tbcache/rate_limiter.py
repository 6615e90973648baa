"""The rate limiter on its own: a sliding window per source, shared by the whole fleet.

It looks at the same slots as the pipeline, so requests a bot makes by itself and
requests tbcache makes for it never exceed the source's limits together.
"""

from __future__ import annotations

import contextlib
import functools
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from tbcache.errors import InvalidRequest, RateLimited
from tbcache.foreign import printable
from tbcache.models import Limit, RateLimitStatus, utc_now
from tbcache.monitoring import get_usage_monitor
from tbcache.settings import Settings, get_settings
from tbcache.sources import Source, get_source
from tbcache.store import Store, Unavailable, get_store
from tbcache.store.own import GIVING_BACK, GIVING_BACK_SECONDS
from tbcache.store.wire import CLOCK_DRIFT, MICROS, pack_limits, to_micros, to_time


class RateLimiter:
    """One source's sliding window.

    Without ``limit`` and ``window_seconds`` all limits of the source hold; with them,
    that window alone is asked about, over the same slots.
    """

    def __init__(
        self,
        source: Source,
        store: Store,
        lease_seconds: float = 15.0,
        join: Callable[[], None] = lambda: None,
    ) -> None:
        """``join`` makes this process known to the fleet, before it takes a slot."""
        self.source = source
        self._join = join
        self._store = store
        self._lease = lease_seconds
        self._own = store.own(source.name)
        self._own.limits = source.limits

    def check_rate_limit(
        self, limit: int | None = None, window_seconds: float | None = None, *, cost: int = 1
    ) -> tuple[bool, RateLimitStatus]:
        """Take a slot if there is one. ``(False, status)`` when there is none; nothing is counted then.

        Raises:
          InvalidRequest: a limit, window or cost below 1.
        """
        slot = uuid.uuid4().hex
        return self._ask("take", self._limits(limit, window_seconds), cost, held=0.0, slot=slot)[:2]

    def wait_if_needed(
        self,
        limit: int | None = None,
        window_seconds: float | None = None,
        *,
        max_wait: float | None = None,
        cost: int = 1,
    ) -> RateLimitStatus:
        """Wait for a slot and take it; at most ``max_wait`` seconds (default: the longest window).

        Raises:
          RateLimited: none comes free in that time; raised as soon as that is known.
          InvalidRequest: a limit, window or cost below 1.
        """
        return self._wait(self._limits(limit, window_seconds), max_wait, cost, held=0.0)

    @contextmanager
    def slot(self, *, max_wait: float | None = None, cost: int = 1) -> Iterator[RateLimitStatus]:
        """Hold a slot around a request of your own: exact whatever the network's delay.

        Leave the block when the answer is in, within the lease (15 s by default).

        Raises:
          RateLimited: no slot within ``max_wait`` seconds (default: the longest window).
        """
        held = uuid.uuid4().hex
        status = self.hold(held, max_wait=max_wait, cost=cost)
        try:
            yield status
        finally:
            self._commit(held, cost)

    def hold(self, slot: str, *, max_wait: float | None = None, cost: int = 1) -> RateLimitStatus:
        """Hold ``slot`` until whoever fetches with it commits it, or its lease ends.

        Raises:
          RateLimited: no slot within ``max_wait`` seconds (default: the longest window).
        """
        return self._wait(self.source.limits, max_wait, cost, held=self._lease, slot=slot)

    def get_status(self, limit: int | None = None, window_seconds: float | None = None) -> RateLimitStatus:
        """Where the tightest limit stands. Counts nothing."""
        return self._ask("look", self._limits(limit, window_seconds), 1, held=0.0)[1]

    def reset(self) -> None:
        """Forget every slot and any closure of the source. The upstream does not forget: use with care."""
        self._own.clear()
        try:
            with self._store.guard():
                keys = self._store.keys
                self._store.client.unlink(keys.slots(self.source.name))
                self._store.client.hdel(
                    keys.state(self.source.name), "closed_until", "closed_reason", "strikes", "lost_at"
                )
        except Unavailable:
            return

    def _wait(
        self,
        limits: tuple[Limit, ...],
        max_wait: float | None,
        cost: int,
        *,
        held: float,
        slot: str | None = None,
    ) -> RateLimitStatus:
        patience = max(one.window_seconds for one in limits) if max_wait is None else max_wait
        give_up, slot = time.monotonic() + patience, slot or uuid.uuid4().hex
        while True:
            left = max(0.0, give_up - time.monotonic())
            allowed, status, wait = self._ask("take", limits, cost, held=held, slot=slot, patience=left)
            if not allowed and time.monotonic() + wait > give_up:
                raise RateLimited(self.source.name, status.reset_at, status.reason or "limit reached")
            time.sleep(wait)
            if allowed and (wait == 0.0 or self._own.keeps_promises):
                return status
            if allowed:
                self._give_back(slot, cost)

    def _limits(self, limit: int | None, window_seconds: float | None) -> tuple[Limit, ...]:
        if limit is None and window_seconds is None:
            return self.source.limits
        tightest = self.source.limits[0]
        return (
            Limit(
                tightest.count if limit is None else limit,
                tightest.window_seconds if window_seconds is None else window_seconds,
            ),
        )

    def _ask(
        self,
        mode: str,
        limits: tuple[Limit, ...],
        cost: int,
        *,
        held: float,
        slot: str = "",
        patience: float = 0.0,
    ) -> tuple[bool, RateLimitStatus, float]:
        """Whether it is allowed, the standing, and the seconds to wait: for the slot's start, or
        before asking again.
        """
        if cost < 1 or cost > min(limit.count for limit in limits):
            raise InvalidRequest(
                f"cost {cost} must be from 1 to the limit, {min(limit.count for limit in limits)}"
            )
        began = time.monotonic()
        if mode == "take":
            self._join()
        try:
            found = self._ask_redis(mode, limits, cost, held, slot, patience)
            while found[1].reason == GIVING_BACK and time.monotonic() - began < GIVING_BACK_SECONDS:
                time.sleep(found[2])
                found = self._ask_redis(mode, limits, cost, held, slot, patience)
            return found
        except Unavailable:
            return self._ask_own(mode, limits, cost, held, slot)

    def _ask_redis(
        self, mode: str, limits: tuple[Limit, ...], cost: int, held: float, slot: str, patience: float
    ) -> tuple[bool, RateLimitStatus, float]:
        keys, asked_at = self._store.keys, time.monotonic()
        # One that only looks takes nothing, and need not be known to the fleet.
        is_take = mode == "take"
        asking = self._store.asking(self.source.name, slot, cost) if is_take else contextlib.nullcontext()
        with asking:
            answer = self._store.run(
                "take",
                [keys.slots(self.source.name), keys.state(self.source.name), keys.fleet(self.source.name)],
                [
                    pack_limits(limits),
                    1,
                    mode,
                    slot,
                    cost,
                    to_micros(held),
                    self._store.deadline_us(self.source.name),
                    self._store.epoch(self.source.name),
                    to_micros(patience),
                    self._store.member,
                ],
            )
            if answer[0] == b"late":
                self._store.learn_time(int(answer[1]), asked_at, self.source.name)
                raise self._store.overdue()
            allowed, now, count, span, used, retry_at, reason, epoch, start = answer
            begins = (int(start) - int(now)) / MICROS
            if allowed and is_take:
                self._own.grant(slot, cost, (*limits, *self.source.limits), begins + held)
        self._store.learn_epoch(self.source.name, epoch.decode())
        self._own.hear()
        if allowed and is_take and begins > 0:
            self._own.promise(asked_at + begins, asked_at)
        self._store.learn_time(int(now), asked_at, self.source.name)
        status = RateLimitStatus(
            source=self.source.name,
            allowed=count,
            used=used,
            remaining=max(0, count - used),
            reset_at=to_time(int(retry_at)),
            is_limited=not allowed,
            window_seconds=int(span) / MICROS,
            reason=printable(reason) or None,
        )
        until = int(start) if allowed else int(retry_at)
        return bool(allowed), status, max(0.0, (until - int(now)) / MICROS * (1 + CLOCK_DRIFT))

    def _ask_own(
        self, mode: str, limits: tuple[Limit, ...], cost: int, held: float, slot: str
    ) -> tuple[bool, RateLimitStatus, float]:
        """Redis is away: go on with this process's share of the limit."""
        own = self._own
        wait = max(own.wait(limit, cost) for limit in limits)
        if mode == "take":
            wait = own.take(slot, cost, limits, held)
        tightest = min(limits, key=lambda limit: own.mine(limit) - own.used(limit))
        count, used = own.mine(tightest), own.used(tightest)
        status = RateLimitStatus(
            source=self.source.name,
            allowed=count,
            used=used,
            remaining=max(0, count - used),
            reset_at=utc_now() + timedelta(seconds=wait),
            is_limited=wait > 0,
            window_seconds=tightest.window_seconds,
            reason="Redis is away: going on with this process's share",
        )
        return wait == 0, status, wait

    def _give_back(self, slot: str, cost: int) -> None:
        self._own.release(slot, cost)
        self._tell("release", slot, cost)

    def _commit(self, slot: str, cost: int) -> None:
        self._own.commit(slot, cost)
        self._tell("commit", slot, cost)

    def _tell(self, script: str, slot: str, cost: int) -> None:
        # While Redis is away our own count stands for it.
        with contextlib.suppress(Unavailable):
            self._store.run(script, [self._store.keys.slots(self.source.name)], [slot, cost])


@functools.cache
def get_rate_limiter(source: str) -> RateLimiter:
    """The rate limiter of ``source``.

    Raises:
      UnknownSource: no such source; names the nearest one.
    """
    settings: Settings = get_settings()
    join = functools.partial(get_usage_monitor().keep_beating, "client")
    return RateLimiter(get_source(source, settings), get_store(), settings.lease_seconds, join)
