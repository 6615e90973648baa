"""This process's slots, put back into a window that Redis has lost, or in which it does not know them yet."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable

from tbcache.io import now, random_id
from tbcache.limiter.allotment import Census
from tbcache.limiter.ask import Replied, Terms
from tbcache.limiter.epoch import Epochs
from tbcache.limiter.join import Joining
from tbcache.limiter.process_window import ProcessWindow
from tbcache.limiter.promise import SLOWEST
from tbcache.limiter.script import Restore, Restored
from tbcache.limiter.slot_end import SlotEnds
from tbcache.limiter.window import Windows
from tbcache.store import Store, Unavailable
from tbcache.store.wire import to_micros

#: Asks for a source by RESTORE: the source, how the call is made, and what is called with the reply.
TakeBack = Callable[
    [str, Callable[[Terms], Restore], Callable[[Restored], object]], Awaitable[Replied[Restored]]
]


class Restoration:
    """Puts this process's slots of a source into the shared window."""

    def __init__(
        self, store: Store, windows: Windows, epochs: Epochs, ends: SlotEnds, join: Joining, take: TakeBack
    ) -> None:
        self._store, self._windows, self._epochs, self._ends = store, windows, epochs, ends
        self._join, self._take = join, take

    async def try_to_restore(self, source: str) -> None:
        """:meth:`restore`. If Redis is away again, the window is restored when it comes back."""
        with contextlib.suppress(Unavailable):
            await self.restore(source)

    async def restore(self, source: str, *, is_step_known: bool = False) -> None:
        """Put this process's slots of ``source`` into the shared window.

        By this Redis learns that the process is there, and the process learns the epoch of the window.
        ``is_step_known``: this process has noticed itself that the server's clock was set."""
        if not await self._put_back(source, is_step_known=is_step_known):
            # An answer that comes later yet names an epoch of before: see :meth:`Epochs.learn`.
            await self._put_back(source, is_step_known=False)

    async def _put_back(self, source: str, *, is_step_known: bool) -> bool:
        """Put the slots of ``source`` back; False where another thread was granted one meanwhile that is not
        among them: Redis may have lost that as well.
        """
        window, asked_at, granted = self._windows.of(source), now(), 0
        ages: list[tuple[str, float]] = []
        is_all, stay = False, None

        def call(terms: Terms) -> Restore:
            # What is asked again, as it came too late, is asked anew.
            nonlocal asked_at, granted, ages, stay
            asked_at, granted, ages, stay = now(), window.granted, window.ages(), terms.stay
            seen_ago_us = -1 if is_step_known else self._seen_ago_us(source)
            return self._call(window, source, terms, ages, seen_ago_us)

        def on_reply(found: Restored) -> None:
            nonlocal is_all
            is_all = window.granted == granted
            self._epochs.set(source, found.seen, asked_at, stay)
            window.restored(ages)

        await self._take(source, call, on_reply)
        await self._ends.report(source)
        return is_all

    def _call(
        self,
        window: ProcessWindow,
        source: str,
        terms: Terms,
        ages: list[tuple[str, float]],
        seen_ago_us: int,
    ) -> Restore:
        at = now()
        # A process that was never a member was told of no fleet, and so has the limit to itself.
        is_known = window.is_member or window.has_left
        census = window.census if is_known else Census(self._epochs.of(source), window.processes, 0.0, at)
        allowances, _, can_fall_back = window.report()
        taken = [part for slot, age in ages for part in (slot, to_micros(age))]
        # This is read after the ages, so that what another thread takes without Redis in between is in
        # neither.
        unused = [part for slot in window.unused for part in (slot, "")]
        return Restore(
            window=terms.window,
            back=self._store.keys.back(source),
            horizon=to_micros(window.horizon),
            process=terms.process,
            seen_before=terms.seen_before,
            seen_ago_us=seen_ago_us,
            epoch=random_id(),
            hold_us=to_micros(self._windows.hold_seconds),
            whole=census.epoch,
            members=census.members,
            left_us=to_micros(max(0.0, census.left_until - at) * SLOWEST),
            census_age_us=to_micros(at - census.told_at),
            asked_us=terms.asked_us,
            deadline_us=terms.deadline_us,
            # A process that has left the fleet does not come back into it.
            is_member=window.is_member and self._join.is_possible,
            going_by=f"{window.share:.9f}" if can_fall_back else "",
            allowances=allowances,
            taken=(*taken, *unused),
        )

    def _seen_ago_us(self, source: str) -> int:
        """At most so long ago (us), as an ask made now is carried out, Redis told what is known of the epoch;
        -1 where it has told nothing."""
        age = self._epochs.age(source)
        return -1 if age < 0 else to_micros((age + self._store.clock.answered_seconds) * SLOWEST)
