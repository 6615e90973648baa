"""The only way to a slot: every ask for slots of a source, and what is learned from its reply.

All code that takes slots goes through :meth:`Limiter.take`. It records each ask before that is sent, and what
was granted before anything else is done with the reply. So this process knows at any moment which of its
slots are in the window, in case Redis goes away or loses its data.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from tbcache.io import now, random_id
from tbcache.io.fork import renew_in_child
from tbcache.limiter.ask import TRIES, Given, Late, Replied, SlotScript, Terms, Want, WindowKeys
from tbcache.limiter.closure import Closures
from tbcache.limiter.epoch import Epochs
from tbcache.limiter.fallback import FallbackSlots
from tbcache.limiter.join import Joining
from tbcache.limiter.process_window import ProcessWindow
from tbcache.limiter.repair import WindowRepair
from tbcache.limiter.restoration import Restoration
from tbcache.limiter.script import RESTORE, Restore, Restored
from tbcache.limiter.slot_end import SlotEnds
from tbcache.limiter.stay import Stays
from tbcache.limiter.step import ClockSteps
from tbcache.limiter.window import Windows
from tbcache.store import Refused, Store, Unavailable
from tbcache.store.script import Script
from tbcache.store.wire import CLOCK_DRIFT, MICROS

C = TypeVar("C", bound=tuple[Any, ...])
R = TypeVar("R")


def limiter_of(store: Store) -> Limiter:
    """The limiter of ``store``, of which there is one."""
    return store.beside(Limiter)


class Limiter:
    """Takes slots of each source, and knows what this process may take while Redis is away."""

    def __init__(self, store: Store) -> None:
        self.store = store
        #: The sources that are closed or paused, as far as is known. That holds while Redis is away as well.
        self.closures = Closures(store.clock)
        self.stays = Stays(lambda: store.clock.is_known)
        self.windows = Windows(store, self.closures, self.stays)
        self.epochs = Epochs(self.stays)
        self.fallback = FallbackSlots(self.windows, self.closures)
        self.ends = SlotEnds(store, self.windows)
        self.join = Joining(store, self.windows, self.stays)
        self.restoration = Restoration(
            store, self.windows, self.epochs, self.ends, self.join, self._take_back
        )
        self._steps = ClockSteps(store, self.windows, self.epochs, self.restoration)
        store.breaker.repair_with(WindowRepair(self.windows, self.ends, self.join, self.restoration))
        renew_in_child(self)

    def renew(self) -> None:
        """Forget, in a forked child, what Redis has told the parent: it was meant for one process only."""
        self.stays.renew()
        self.windows.renew()
        self.closures.renew()
        self.epochs.renew()

    @property
    def member(self) -> str:
        """The name of this process among all that share a limit. It is unique, unlike the name in the
        figures.
        """
        return self.windows.machine.member

    def process_window(self, source: str) -> ProcessWindow:
        """The slots of ``source`` that this process has taken."""
        return self.windows.of(source)

    def window_keys(self, source: str) -> WindowKeys:
        """The keys of a source's window."""
        return self.windows.keys(source)

    async def take(
        self,
        script: SlotScript[C, R],
        want: Want,
        call: Callable[[Terms], C],
        *,
        on_reply: Callable[[R], object] | None = None,
    ) -> Replied[R]:
        """Take slots. ``call`` makes the call of the script.

        What the reply grants is recorded here. ``on_reply`` is called with the reply right after that, before
        a window that Redis has lost is restored. An ask that is not carried out in time is made again."""
        for _ in range(TRIES):
            replied = await self.try_to_take(script, want, call, on_reply)
            if replied is not None:
                return replied
        # The server is slow, or its clock runs away from ours faster than it answers.
        raise self.store.breaker.overdue()

    async def try_to_take(
        self,
        script: SlotScript[C, R],
        want: Want,
        call: Callable[[Terms], C],
        on_reply: Callable[[R], object] | None = None,
    ) -> Replied[R] | None:
        """Do what :meth:`take` does, once. None where the ask came too late, and nothing was done.

        It is one function, and awaits nothing but the ask where all is well: each ask pays for each step.
        """
        source, window, clock = want.source, self.windows.of(want.source), self.store.clock
        if want.joins and not self.join.is_over(want, window):
            await self.join.before(want, window)
        if not clock.knows(source):
            await clock.ask_first(source)
        # This comes first, because an ask that is not sent must not be recorded below.
        self.windows.broken.check(source)
        asked_at = now()
        # By the ask, the server learns that this process is there. After its deadline the script does
        # nothing. No other place records that Redis has heard of this process. One that leaves waits for what
        # is recorded here: after that its terms say nothing any more of the stay that is over.
        window.ask(want.slot, want.cost, asked_at + clock.answered_seconds)
        try:
            try:
                terms = self._terms(source, asked_at)
                asked = call(terms)
                reply = await self.store.ask(script, asked)
                is_late, starts = isinstance(reply, Late), (asked_at, asked_at)
                if not is_late:
                    starts = self._record_given(want, window, script.given(asked, reply), asked_at)
                    if on_reply is not None:
                        on_reply(reply)
            except BaseException as error:
                self._record_lost(want, window, error, asked_at)
                raise
            ahead_us = self.epochs.last_seen_us(source) - reply.now
            window.answered(want.slot, ahead_us / MICROS if ahead_us > 0 else 0.0)
            seen = None if is_late else getattr(reply, "seen", None)
            if seen is not None and not self.epochs.learn(source, seen, asked_at, terms.stay):
                await self.restoration.try_to_restore(source)
            if (jump := clock.compare(reply.now, asked_at, source)) is not None:
                await clock.tell(jump, source)
            return None if is_late else Replied(reply, asked_at, *starts)
        finally:
            window.returned(want.slot)

    async def settle(self, script: Script[C, R | Late], source: str, call: Callable[[Terms], C]) -> R:
        """Run a script that takes nothing, and that must do nothing once its caller has given up."""
        for _ in range(TRIES):
            if not self.store.clock.knows(source):
                await self.store.clock.ask_first(source)
            asked_at = now()
            reply = await self.windows.run(script, source, call(self._terms(source, asked_at)))
            if not isinstance(reply, Late):
                return reply
            await self.store.clock.learn(reply.now, asked_at, source)
        raise self.store.breaker.overdue()

    async def look(self, script: SlotScript[C, R], source: str, call: Callable[[Terms], C]) -> R:
        """Run a script so that it only looks. It has no deadline, as it takes nothing."""
        known = self.epochs.known(source)
        terms = Terms(self.windows.keys(source), 0, 0, known, self.member, self.stays.current)
        found: R = await self.windows.run(script, source, call(terms))
        return found

    def _terms(self, source: str, at: float) -> Terms:
        # The stay comes first: what is answered to one that has left says nothing of the next one. Then
        # the epoch: another thread may just learn the next one, and the time of then. Who knew that epoch
        # with the time of before would not notice that the clock is put right.
        stay, known = self.stays.current, self.epochs.known(source)
        bounds, keys = self.store.clock.bounds_at(at, source), self.windows.keys(source)
        return Terms(keys, bounds.asked_us, bounds.deadline_us, known, self.member, stay)

    def _record_lost(self, want: Want, window: ProcessWindow, error: BaseException, asked_at: float) -> None:
        """Record that an ask has no answer, so that nobody knows whether it took slots."""
        if isinstance(error, Refused):
            self.windows.refuse(want.source, error)
        if isinstance(error, Unavailable):
            window.lose(want.slot, is_answer_lost=error.is_timeout)
        else:
            # An ask that was interrupted may have taken slots as well. They count as sent, which is the safe
            # side.
            window.grant(want.slot, want.cost, window.limits, self.windows.hold_seconds, asked_at)
            window.break_off(want.slot)

    def _record_given(
        self, want: Want, window: ProcessWindow, given: Given, asked_at: float
    ) -> tuple[float, float]:
        """Record what a reply gave. Returns from when on it may be used, and since when it is promised, as
        :class:`Replied` has them."""
        starts_at = promised_at = asked_at
        lasts = given.starts_in + given.held_seconds
        for slot in given.granted:
            window.grant(slot, given.cost, want.limits, lasts, asked_at + lasts / (1 + CLOCK_DRIFT))
        if given.granted and given.starts_in > 0:
            # With this margin it is not too early even where our clock is a little fast.
            starts_at = now() + given.starts_in * (1 + CLOCK_DRIFT)
            promised_at = window.promises.record(starts_at, asked_at, given.present)
        for slot in given.released:
            window.release(slot, given.cost)
        if given.spent:
            window.spend(given.spent)
        return starts_at, promised_at

    def _take_back(
        self, source: str, call: Callable[[Terms], Restore], on_reply: Callable[[Restored], object]
    ) -> Awaitable[Replied[Restored]]:
        return self.take(RESTORE, Want(source, random_id(), 0, joins=False), call, on_reply=on_reply)
