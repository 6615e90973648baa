"""The sliding window of one source, for slots without a cache, as coroutines."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable
from datetime import timedelta

import msgspec

from tbcache.admission.registration import Registration
from tbcache.admission.shared import SEND_PART
from tbcache.io import is_cancelled, now, random_id, utc_now, world
from tbcache.limiter import Terms, Want, limiter_of
from tbcache.limiter.process_window import GIVING_BACK_SECONDS
from tbcache.limiter.script import REOPEN, TAKE, Beside, Reopen, Take, Taken
from tbcache.models import Limit, RateLimitStatus, is_whole, wait_seconds
from tbcache.models.error import InvalidRequest, RateLimited
from tbcache.models.untrusted import printable, quoted
from tbcache.settings import Source
from tbcache.store import Store, Unavailable
from tbcache.store.constant import GIVING_BACK
from tbcache.store.wire import (
    CLOCK_DRIFT,
    MICROS,
    pack_limits,
    read_limits,
    strictest,
    to_micros,
    to_time,
)

TOO_LATE = "the slot was granted, and could not be used in time: this process or Redis is too slow"
#: Of a source that is not configured, at most so many of the windows that its callers name are told to the
#: fleet.
MOST_WINDOWS = 4
#: The fields of a source's state that tell of its closure, and of slots that Redis has lost.
_OF_CLOSURES_AND_LOSSES = ("closed_until", "closed_reason", "strikes", "lost_at", "whole_at")


class _Limits(msgspec.Struct, frozen=True):
    """The limits that are asked about, as they are and as they travel. Beside those that a call names holds
    what an operator has set; beside those of the source, all that are in force.
    """

    limits: tuple[Limit, ...]
    packed: str
    beside: Beside

    @property
    def named(self) -> tuple[Limit, ...] | None:
        """The window that a call names; None where it names none, and all limits in force hold."""
        return None if self.beside == "fleet" else self.limits


class _Ask(msgspec.Struct, frozen=True):
    """What is asked: ``cost`` slots of this name, which are held for ``held_seconds``. Without a ``slot`` it
    is a look, which takes nothing.

    ``patience`` is how long (seconds) the asker would wait for the slot.
    """

    about: _Limits
    cost: int = 1
    held_seconds: float = 0.0
    slot: str = ""
    patience: float = 0.0


class _Decision(msgspec.Struct, frozen=True):
    """Whether a slot was taken, and the status of the limit.

    ``seconds`` is how long to wait until the slot may be used, or until it is worth asking again.
    ``is_brief``: a slot is free, and another process only has to give it back. ``asked_at`` is when it was
    asked for (monotonic), ``promised_at`` since when it is promised (see :meth:`Promises.is_kept`).
    """

    allowed: bool
    status: RateLimitStatus
    seconds: float
    is_brief: bool = False
    asked_at: float = 0.0
    promised_at: float = 0.0


class SlidingWindow:
    """Has the methods of :class:`tbcache.RateLimiter` as coroutines. They are described there."""

    def __init__(self, source: Source, store: Store, hold_seconds: float, registration: Registration) -> None:
        self.source = source
        self._registration = registration
        self.store = store
        self._hold = hold_seconds
        self._limiter = limiter_of(store)
        self._window = self._limiter.process_window(source.name)
        self._all = _Limits(source.limits, pack_limits(source.limits), "fleet")
        if source.limits:
            self._window.configure(source.limits)

    async def check_rate_limit(
        self, limit: int | None = None, window_seconds: float | None = None, *, cost: int = 1
    ) -> tuple[bool, RateLimitStatus]:
        decision = await self._ask(_Ask(self._limits(limit, window_seconds), cost, slot=random_id()))
        return decision.allowed, decision.status

    async def wait_if_needed(
        self,
        limit: int | None = None,
        window_seconds: float | None = None,
        *,
        max_wait: float | None = None,
        cost: int = 1,
    ) -> RateLimitStatus:
        return (await self._wait(_Ask(self._limits(limit, window_seconds), cost), max_wait))[1]

    async def begin(
        self,
        limit: int | None = None,
        window_seconds: float | None = None,
        *,
        max_wait: float | None = None,
        cost: int = 1,
    ) -> tuple[str, RateLimitStatus]:
        """Wait for a slot and hold it until :meth:`end`, or until its hold expires. Returns its name and the
        status of the limit.
        """
        return await self._wait(_Ask(self._limits(limit, window_seconds), cost, self._hold), max_wait)

    async def end(self, slot: str, cost: int = 1) -> None:
        """Commit ``slot``: the answer to what was sent with it has come."""
        await self._limiter.ends.commit(self.source.name, slot, cost)

    async def give_back(self, slot: str, cost: int = 1) -> None:
        """Release ``slot``: nothing was sent with it."""
        await self._limiter.ends.release(self.source.name, slot, cost)

    async def get_status(
        self, limit: int | None = None, window_seconds: float | None = None
    ) -> RateLimitStatus:
        return (await self._ask(_Ask(self._limits(limit, window_seconds)))).status

    async def look_at(self, limit: Limit) -> RateLimitStatus:
        """Where one limit stands, whatever the others say. Counts nothing."""
        return (await self._ask(_Ask(_Limits((limit,), pack_limits([limit]), "nothing")))).status

    async def get_limits(self) -> tuple[Limit, ...]:
        try:
            found = await self.store.command("HGET", self.store.keys.state(self.source.name), "limits")
        except Unavailable:
            return self._window.limits
        return strictest(self.source.limits, read_limits((found or b"").decode(errors="replace")))

    async def reopen(self) -> bool:
        return await self.store.ask(REOPEN, Reopen(self.store.keys.state(self.source.name)))

    async def reset(self) -> None:
        self._window.clear()
        keys, name = self.store.keys, self.source.name
        with contextlib.suppress(Unavailable):
            await self.store.command("UNLINK", keys.slots(name))
            await self.store.command("HDEL", keys.state(name), *_OF_CLOSURES_AND_LOSSES)

    async def _wait(self, ask: _Ask, max_wait: float | None) -> tuple[str, RateLimitStatus]:
        """Wait for a slot. Returns its name and the status of the limit."""
        longest = max(one.window_seconds for one in self._window.in_force(ask.about.named))
        # A slot that somebody holds now leaves the window one window after its answer at the earliest. That
        # may be later than one window from now by as long as a hold lasts.
        longest_wait = longest + self._hold if max_wait is None else wait_seconds("max_wait", max_wait)
        give_up = now() + longest_wait
        while True:
            left = max(0.0, give_up - now())
            # Each ask names a new slot, because it may be unknown whether Redis holds the last one.
            ask = msgspec.structs.replace(ask, slot=random_id(), patience=left)
            asked = await self._ask(ask)
            if not asked.allowed and now() + asked.seconds > give_up:
                reason = asked.status.reason or "limit reached"
                raise RateLimited(self.source.name, asked.status.reset_at, reason)
            if await self._holds_slot(asked, ask):
                return ask.slot, asked.status
            if asked.allowed and left == 0.0:
                # Each answer may come as late as the last one.
                raise RateLimited(self.source.name, asked.status.reset_at, TOO_LATE)

    async def _holds_slot(self, asked: _Decision, ask: _Ask) -> bool:
        """Wait for as long as the decision says; True where this process has the slot then."""
        try:
            await world().sleep(asked.seconds)
        except BaseException:
            # The slot was granted for a later moment, and nobody will send with it.
            if asked.allowed:
                self._take_back(ask)
            raise
        is_held = asked.allowed and (asked.seconds == 0.0 or self._window.promises.is_kept(asked.promised_at))
        # A process that stood still as the answer came reads it late: by then the hold may be over.
        if ask.held_seconds:
            is_held = is_held and now() < asked.asked_at + asked.seconds + ask.held_seconds * SEND_PART
        if asked.allowed and not is_held:
            await self.give_back(ask.slot, ask.cost)
        return is_held

    def _limits(self, limit: int | None, window_seconds: float | None) -> _Limits:
        """The window that a call names, or all limits of the source.

        Raises:
          InvalidRequest: the call names none, and the source has none.
        """
        if not self.source.limits and (limit is None or window_seconds is None):
            raise InvalidRequest(
                f"{self.source.name} is no configured source, and has no limits of its own: say limit and "
                "window_seconds, as in check_rate_limit(limit=60, window_seconds=60)"
            )
        if limit is None and window_seconds is None:
            return self._all
        if limit is None:
            limit = self.source.limits[0].count
        if window_seconds is None:
            window_seconds = self.source.limits[0].window_seconds
        try:
            return _named(limit, window_seconds)
        except TypeError:
            # What cannot be hashed is no number, which is said as it is of any other.
            return _named.__wrapped__(limit, window_seconds)

    def _tell(self, said: Iterable[Limit]) -> None:
        """Tell the fleet which limits calls have named of a source that has none, so that its views show
        them.
        """
        known = self._window.configured
        for limit in said:
            if limit not in known:
                others = [one for one in known if one.window_seconds != limit.window_seconds]
                self._window.configure((*others, limit)[-MOST_WINDOWS:])

    async def _ask(self, ask: _Ask) -> _Decision:
        if type(ask.cost) is not int or ask.cost != 1:
            self._check_cost(ask)
        if ask.slot:
            if not self.source.limits:
                self._tell(ask.about.limits)
            if self._registration.is_due:
                await world().offload(self._registration)
        began = now()
        try:
            found = await self._ask_redis(ask)
            while found.is_brief and now() - began < GIVING_BACK_SECONDS:
                await world().sleep(found.seconds)
                found = await self._ask_redis(ask)
            return found
        except Unavailable:
            return self._ask_fallback(ask)
        except BaseException as error:
            if ask.slot and is_cancelled(error):
                # Nobody knows whether the slot was granted, and nobody will send with it.
                self._take_back(ask)
            raise

    def _check_cost(self, ask: _Ask) -> None:
        most = min(limit.count for limit in ask.about.named or self._window.limits)
        if not is_whole(ask.cost):
            raise InvalidRequest(f"cost {quoted(ask.cost)} must be a whole number")
        if not 1 <= ask.cost <= most:
            raise InvalidRequest(f"cost {quoted(ask.cost)} must be from 1 to the limit, {most}")

    async def _ask_redis(self, ask: _Ask) -> _Decision:
        name, about, slot = self.source.name, ask.about, ask.slot

        def call(terms: Terms) -> Take:
            # The values are in the order of the fields, see SharedAdmission.
            return Take(
                terms.window,
                about.packed,
                bool(slot),
                slot,
                ask.cost,
                to_micros(ask.held_seconds),
                terms.asked_us,
                terms.deadline_us,
                terms.seen_before,
                to_micros(ask.patience),
                terms.process,
                about.beside,
            )

        if not slot:
            # A process that only looks need not be known to the fleet.
            return self._read(await self._limiter.look(TAKE, name, call))
        replied = await self._limiter.take(TAKE, Want(name, slot, ask.cost, about.limits), call)
        return self._read(replied.reply, replied.asked_at, replied.promised_at)

    def _read(self, found: Taken, asked_at: float = 0.0, promised_at: float = 0.0) -> _Decision:
        status = RateLimitStatus(
            source=self.source.name,
            allowed=found.limit,
            used=found.used,
            remaining=max(0, found.limit - found.used),
            reset_at=to_time(found.retry_at),
            is_limited=not found.is_allowed,
            window_seconds=found.span / MICROS,
            reason=printable(found.reason) or None if found.reason else None,
            left_to_others=found.others,
        )
        until = found.start if found.is_allowed else found.retry_at
        seconds = max(0.0, (until - found.now) / MICROS * (1 + CLOCK_DRIFT))
        return _Decision(found.is_allowed, status, seconds, found.code == GIVING_BACK, asked_at, promised_at)

    def _ask_fallback(self, ask: _Ask) -> _Decision:
        """Decide without Redis, within this process's share of the limit."""
        window, limiter, name, asked_at = self._window, self._limiter, self.source.name, now()
        limits = window.in_force(ask.about.named)
        if ask.slot:
            shortage = limiter.fallback.take(name, ask.slot, ask.cost, limits, ask.held_seconds)
        else:
            shortage = limiter.fallback.look(name, ask.cost, limits)
        wait = 0.0 if shortage is None else shortage.seconds
        tightest = min(limits, key=lambda limit: window.mine(limit) - window.used(limit))
        count, used = window.mine(tightest), window.used(tightest)
        going_on = f"{limiter.windows.why_alone(name)}: going on with this process's share"
        status = RateLimitStatus(
            source=name,
            allowed=count,
            used=used,
            remaining=max(0, count - used),
            reset_at=utc_now() + timedelta(seconds=wait),
            is_limited=wait > 0,
            window_seconds=tightest.window_seconds,
            reason=going_on if shortage is None else shortage.reason,
        )
        return _Decision(wait == 0, status, wait, asked_at=asked_at)

    def _take_back(self, ask: _Ask) -> None:
        world().undo(functools.partial(self.give_back, ask.slot, ask.cost))


# Each ask of a limiter names the same window once more. Where a number is of another type, it may be none.
@functools.lru_cache(maxsize=256, typed=True)
def _named(count: int, window_seconds: float) -> _Limits:
    limits = (Limit(count, window_seconds),)
    return _Limits(limits, pack_limits(limits), "bound")
