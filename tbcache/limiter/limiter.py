"""The windows of all sources, as one process knows them, with Redis and without.

All code that takes slots goes through :meth:`Limiter.take`. It records each ask before that is sent, and what
was granted before anything else is done with the reply. So this process knows at any moment which of its
slots are in the window, in case Redis goes away or loses its data.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from tbcache.io import Mutex, now, random_id, run
from tbcache.limiter.allotment import Census
from tbcache.limiter.ask import Given, Late, Replied, SlotScript, Terms, Want, WindowKeys
from tbcache.limiter.broken import Broken
from tbcache.limiter.closure import Closures
from tbcache.limiter.epoch import Epochs
from tbcache.limiter.machine import Machine
from tbcache.limiter.process_window import ProcessWindow
from tbcache.limiter.promise import SLOWEST
from tbcache.limiter.script import COMMIT, LOSE, RELEASE, RESTORE, TAKE, End, Lose, Restore, Restored, Take
from tbcache.limiter.shortage import Shortage
from tbcache.models import Limit
from tbcache.models.untrusted import MOST_US, whole_number
from tbcache.store import Refused, Store, Unavailable
from tbcache.store.clock import Jump
from tbcache.store.script import Script
from tbcache.store.wire import CLOCK_DRIFT, MICROS, UNSEEN, Seen, pack_limits, to_micros

C = TypeVar("C", bound=tuple[Any, ...])
R = TypeVar("R")


def limiter_of(store: Store) -> Limiter:
    """The limiter of ``store``, of which there is one."""
    return store.beside(Limiter)


class Limiter:
    """Takes slots of each source, and knows what this process may take while Redis is away."""

    def __init__(self, store: Store) -> None:
        self.store = store
        #: For how long (seconds) a slot is held for one request.
        self.hold_seconds = store.settings.lease_seconds
        #: The sources that are closed or paused, as far as is known. That holds while Redis is away as well.
        self.closures = Closures()
        self.machine = Machine(store)
        self.epochs = Epochs()
        self.broken = Broken(store)
        self._windows: dict[str, ProcessWindow] = {}
        self._window_keys: dict[str, WindowKeys] = {}
        self._join: Callable[[str], Awaitable[None]] | None = None
        self._joining = Mutex()
        store.on_fork(self._renew)
        store.clock.on_jump(self._give_up_windows, self._put_back_windows)
        store.breaker.repair_with(self)

    @property
    def member(self) -> str:
        """The name of this process among all that share a limit. It is unique, unlike the name in the
        figures.
        """
        return self.machine.member

    @property
    def fleet_size(self) -> int:
        """How many processes share a limit, by what Redis said last: the largest number of any source."""
        return max((window.processes for window in self._windows.copy().values()), default=1)

    @property
    def sources_in_use(self) -> list[str]:
        """The sources that this process takes slots of."""
        return [source for source, window in self._windows.copy().items() if window.limits]

    def process_window(self, source: str) -> ProcessWindow:
        """The slots of ``source`` that this process has taken."""
        window = self._windows.get(source)
        if window is None:
            may_fall_back = functools.partial(self._may_fall_back, source)
            new = ProcessWindow(may_fall_back, self.machine.fall_back, self._newcomers_share)
            window = self._windows.setdefault(source, new)
        return window

    def window_keys(self, source: str) -> WindowKeys:
        """The keys of a source's window."""
        window = self._window_keys.get(source)
        if window is None:
            keys = self.store.keys
            window = WindowKeys(keys.slots(source), keys.state(source), keys.fleet(source))
            self._window_keys[source] = window
        return window

    # Asks

    async def take(
        self,
        script: SlotScript[C, R],
        want: Want,
        call: Callable[[Terms], C],
        *,
        on_reply: Callable[[R], object] = lambda reply: None,
        tries: int = 1,
    ) -> Replied[R]:
        """Take slots. ``call`` makes the call of the script.

        What the reply grants is recorded here. ``on_reply`` is called with the reply right after that, before
        a window that Redis has lost is restored. An ask that comes too late is made again, ``tries`` times in
        all.

        Raises:
          Unavailable: the server is away, or too slow. Refused: the keys of the source cannot be used.
        """
        for _ in range(tries):
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
        on_reply: Callable[[R], object],
    ) -> Replied[R] | None:
        """Do what :meth:`take` does, once. None where the ask came too late, and nothing was done."""
        source, asked_at, window = want.source, now(), self.process_window(want.source)
        if want.joins:
            await self._join_before(want, window)
        # This comes first, because an ask that is not sent must not be recorded below.
        self.broken.check(source)
        deadline_us = await self.store.clock.deadline_us(source)
        # By the ask, the server learns that this process is there. After its deadline the script does
        # nothing. No other place records that Redis has heard of this process.
        window.ask(want.slot, want.cost, now() + self.store.clock.answered_seconds)
        try:
            return await self._answer(script, want, call, deadline_us, on_reply, asked_at)
        finally:
            window.returned(want.slot)

    async def _answer(
        self,
        script: SlotScript[C, R],
        want: Want,
        call: Callable[[Terms], C],
        deadline_us: int,
        on_reply: Callable[[R], object],
        asked_at: float,
    ) -> Replied[R] | None:
        source, window = want.source, self.process_window(want.source)
        try:
            asked = call(self._terms(source, deadline_us))
            reply = await self._run(script, source, asked)
            if not isinstance(reply, Late):
                starts_at = self._record_given(want, window, script.given(asked, reply), asked_at)
                on_reply(reply)
        except BaseException as error:
            self._record_lost(want, error)
            raise
        ahead_us = self.epochs.last_seen_us(source) - reply.now
        window.answered(want.slot, max(0.0, ahead_us / MICROS))
        if isinstance(reply, Late):
            await self.store.clock.learn(reply.now, asked_at, source)
            return None
        jump = None if self.epochs.of(source) else self.store.clock.go_back(reply.now, asked_at, source)
        await self._learn(source, getattr(reply, "seen", UNSEEN), asked_at)
        await self.store.clock.learn(reply.now, asked_at, source)
        await self.store.clock.mend(source, jump)
        return Replied(reply, asked_at, starts_at)

    async def settle(self, script: Script[C, R | Late], source: str, call: Callable[[Terms], C]) -> R:
        """Run a script that takes nothing, and that must do nothing once its caller has given up.

        Raises:
          Unavailable: the server is away, or too slow. Refused: the keys of the source cannot be used.
        """
        asked_at = now()
        reply = await self._run(
            script, source, call(self._terms(source, await self.store.clock.deadline_us(source)))
        )
        if isinstance(reply, Late):
            await self.store.clock.learn(reply.now, asked_at, source)
            raise self.store.breaker.overdue()
        return reply

    async def look(self, script: SlotScript[C, R], source: str, call: Callable[[Terms], C]) -> R:
        """Run a script so that it only looks. It has no deadline, as it takes nothing.

        Raises:
          Unavailable: the server is away. Refused: the keys of the source cannot be used.
        """
        asked_at = now()
        reply: Any = await self._run(script, source, call(self._terms(source, deadline_us=0)))
        await self.store.clock.learn(reply.now, asked_at, source)
        found: R = reply
        return found

    def _terms(self, source: str, deadline_us: int) -> Terms:
        return Terms(self.window_keys(source), deadline_us, self.epochs.known(source), self.member)

    async def _join_before(self, want: Want, window: ProcessWindow) -> None:
        """Have Redis know of this process, and of how it takes slots, before it takes the first one."""
        await self.store.ready()
        self.join_machine()
        if not window.must_announce(want.can_fall_back) or self._join is None:
            return
        async with self._joining:
            # Where many asks come first at the same time, one of them does it for all.
            if window.must_announce(want.can_fall_back) and self._join is not None:
                await self._join(want.source)

    def _record_lost(self, want: Want, error: BaseException) -> None:
        """Record that an ask has no answer, so that nobody knows whether it took slots."""
        window = self.process_window(want.source)
        if isinstance(error, Unavailable):
            window.lose(want.slot, is_answer_lost=error.is_timeout)
        else:
            # An ask that was interrupted may have taken slots as well. They count as sent, which is the safe
            # side.
            window.grant(want.slot, want.cost, window.limits, self.hold_seconds)
            window.answered(want.slot)

    def _record_given(self, want: Want, window: ProcessWindow, given: Given, asked_at: float) -> float:
        """Record what a reply gave. Returns from when on it may be used (monotonic)."""
        starts_at = asked_at
        for slot in given.granted:
            window.grant(slot, given.cost, want.limits, given.starts_in + given.held_seconds)
        if given.granted and given.starts_in > 0:
            # With this margin it is not too early even where our clock is a little fast.
            starts_at = now() + given.starts_in * (1 + CLOCK_DRIFT)
            window.promises.record(starts_at, asked_at)
        for slot in given.released:
            window.release(slot, given.cost)
        if given.spent:
            window.spend(given.spent)
        return starts_at

    async def _run(self, script: Script[C, R], source: str, call: C) -> R:
        self.broken.check(source)
        try:
            return await self.store.ask(script, call)
        except Refused as error:
            if source in self._windows:
                self.broken.add(source, error)
            raise

    # The end of a slot

    async def commit(self, source: str, slot: str, cost: int) -> None:
        """Commit a slot: what was sent with it was answered. Redis is told now, or once it is back."""
        window = self.process_window(source)
        window.must_report(slot, cost)
        window.commit(slot, cost)
        await self.try_to_report_ends(source)

    async def release(self, source: str, slot: str, cost: int) -> None:
        """Release a slot: nothing was sent with it. Redis is told now, or once it is back.

        No other slot may have its name afterwards, because Redis may be told at any later moment.
        """
        window = self.process_window(source)
        window.must_report(slot, cost)
        window.release(slot, cost)
        await self.try_to_report_ends(source)

    async def try_to_report_ends(self, source: str) -> None:
        with contextlib.suppress(Unavailable):
            await self._report_ends(source)

    async def _report_ends(self, source: str) -> None:
        """Tell Redis of the slots that are over. Otherwise it would hold each until its hold expires.

        Raises:
          Unavailable: the server is away. Refused: the keys of the source cannot be used.
        """
        window, slots = self.process_window(source), self.store.keys.slots(source)
        for slot, cost, is_unused in window.unreported:
            await self._run(RELEASE if is_unused else COMMIT, source, End(slots, slot, cost))
            window.reported(slot)

    # Without Redis

    def closed(self, source: str) -> Shortage | None:
        """The closure or the pause of ``source``, as far as this process knows of one."""
        closure = self.closures.of(source)
        return None if closure is None else Shortage(closure.seconds, closure.why, closure.reason)

    def take_without_redis(
        self, source: str, slot: str, cost: int, limits: Sequence[Limit], held_seconds: float
    ) -> Shortage | None:
        """Take a slot of ``source`` from this process's share of each limit. None where it was taken."""
        if (closed := self.closed(source)) is not None:
            return closed
        seconds = self.process_window(source).take(slot, cost, limits, held_seconds)
        return self._shortage(source, limits, seconds)

    def look_without_redis(self, source: str, cost: int, limits: Sequence[Limit]) -> Shortage | None:
        """What :meth:`take_without_redis` would return. This takes nothing."""
        window = self.process_window(source)
        seconds = max(window.wait(limit, cost) for limit in limits)
        return self.closed(source) or self._shortage(source, limits, seconds)

    def _shortage(self, source: str, limits: Sequence[Limit], seconds: float) -> Shortage | None:
        if seconds <= 0:
            return None
        reason = self.process_window(source).why_not(limits, self.why_alone(source))
        return Shortage(seconds, "share", reason)

    def _may_fall_back(self, source: str) -> bool:
        breaker = self.store.breaker
        # While Redis is returning, no slot is taken without it: such a slot would come after those that are
        # put back, and Redis would never know of it.
        is_without = breaker.reason is not None or source in self.broken
        # It is unknown how much of the limits processes with another layout use.
        return is_without and not breaker.is_returning and not breaker.has_other_layout

    def why_alone(self, source: str) -> str:
        """Why slots of ``source`` are taken without Redis, in words for users."""
        if not self.store.is_shared:
            return "no Redis is configured"
        return self.broken.why(source) or "Redis is away"

    def _newcomers_share(self, window: float) -> float:
        """This process's part of a limit over ``window`` seconds, if Redis is away and has never told it one.

        It is nothing while other processes of this machine may have slots in that window.
        """
        if not self.store.is_shared:
            return 1.0
        is_alone = self.machine.marker.is_alone(self.hold_seconds + window)
        return 1 / self.fleet_size if is_alone else 0.0

    def stay_clean(self) -> None:
        """Have the marker say that Redis knows of all that was sent, unless something was sent without it."""
        if not any(window.has_fallback_slots for window in self._windows.copy().values()):
            self.machine.stay_clean()

    # Joining and leaving

    def on_first_ask(self, join: Callable[[str], Awaitable[None]] | None) -> None:
        """Call ``join`` with the name of a source before this process first asks for its slots.

        None says that the process is about to leave.
        """
        self._join, self.epochs.is_leaving = join, join is None

    def join_machine(self) -> None:
        """Make this process's marker, before it sends anything and before Redis gives it a part of a limit.

        A process that starts while Redis is away must be able to see that this one is there.
        """
        if not self.machine.is_marked:
            self.stay_clean()

    def leave_machine(self) -> None:
        """This process ends, and sends nothing any more."""
        self.machine.leave(has_sent=any(window.has_taken for window in self._windows.copy().values()))

    # What is told to all

    def on_notice(self, message: bytes) -> str | None:
        """Pass on what the scripts tell everyone (notice.lua).

        Returns the source whose allowances somebody needs; None for any other notice, a damaged one included.
        """
        source, *closure = message.decode(errors="replace").split(" ", 2)
        if not closure:
            return source
        if closure[0] == "paused":
            self.closures.pause(source, closure[1] if len(closure) == 2 else closure[0])
        elif closure[0] == "resumed":
            self.closures.resume(source)
        until_us = whole_number(closure[0], most=MOST_US)
        if until_us is not None and len(closure) == 2:
            self.on_closure(source, until_us, closure[1])
        return None

    def on_closure(self, source: str, until_us: int, reason: str) -> None:
        """Learn until when ``source`` is closed, in the server's time."""
        now_us = self.store.clock.time_us(source)
        if now_us is not None:
            self.closures.close(source, (until_us - now_us) / MICROS, reason, is_from_redis=True)

    # What Redis has lost

    async def _learn(self, source: str, seen: Seen, asked_at: float) -> None:
        """Put our slots back where Redis has lost the window, or has forgotten this process."""
        if not self.epochs.learn(source, seen, asked_at):
            # If Redis is away again, the window is restored when it comes back.
            with contextlib.suppress(Unavailable):
                await self.restore(source)

    async def restore(self, source: str, *, is_step_known: bool = False) -> None:
        """Put this process's slots of ``source`` into the shared window.

        By this Redis learns that the process is there, and the process learns the epoch of the window.
        ``is_step_known``: this process has noticed itself that the server's clock was set.

        Raises:
          Unavailable: the server is away.
        """
        window, asked_at = self.process_window(source), now()
        ages: list[tuple[str, float]] = []

        def call(terms: Terms) -> Restore:
            ages.extend(window.ages())
            seen_ago_us = -1 if is_step_known else self._seen_ago_us(source)
            return self._restore(window, source, terms, ages, seen_ago_us)

        jumps: list[Jump | None] = []

        def on_reply(found: Restored) -> None:
            jumps.append(self.store.clock.go_back(found.now, asked_at, source))
            self.epochs.set(source, found.seen, asked_at)
            window.restored(ages)

        await self.take(RESTORE, Want(source, random_id(), 0, joins=False), call, on_reply=on_reply)
        for jump in jumps:
            await self.store.clock.mend(source, jump)
        await self._report_ends(source)

    def _restore(
        self,
        window: ProcessWindow,
        source: str,
        terms: Terms,
        ages: list[tuple[str, float]],
        seen_ago_us: int,
    ) -> Restore:
        at = now()
        # A process that is no member was told of no fleet, and so has the limit to itself.
        census = (
            window.census if window.is_member else Census(self.epochs.of(source), window.processes, 0.0, at)
        )
        allowances, _, can_fall_back = window.report()
        taken = [part for slot, age in ages for part in (slot, to_micros(age))]
        # This is read after the ages, so that what another thread takes without Redis in between is in
        # neither.
        unused = [part for slot in window.unused for part in (slot, "")]
        return Restore(
            window=terms.window,
            back=self.store.keys.back(source),
            horizon=to_micros(window.horizon),
            process=terms.process,
            seen_before=terms.seen_before,
            seen_ago_us=seen_ago_us,
            epoch=random_id(),
            hold_us=to_micros(self.hold_seconds),
            whole=census.epoch,
            members=census.members,
            left_us=to_micros(max(0.0, census.left_until - at) * SLOWEST),
            census_age_us=to_micros(at - census.told_at),
            deadline_us=terms.deadline_us,
            # A process that has left the fleet does not come back into it.
            is_member=window.is_member and self._join is not None,
            going_by=f"{window.share:.9f}" if can_fall_back else "",
            allowances=allowances,
            taken=(*taken, *unused),
        )

    def _seen_ago_us(self, source: str) -> int:
        """At most so long ago (us), as an ask made now is carried out, Redis told what is known of the epoch;
        -1 where it has told nothing."""
        age = self.epochs.age(source)
        return -1 if age < 0 else to_micros((age + self.store.clock.answered_seconds) * SLOWEST)

    async def _give_up_windows(self, source: str, jump: Jump) -> bool:
        """The clock of the server that holds the keys of ``source`` has jumped: their windows' stamps are
        off by as much, until each process puts back its own slots by its own clock. False where it has jumped
        once more since.

        Raises:
          Unavailable: the server is away.
        """
        return all([await self._give_up(concerned, jump) for concerned in self._of_server(source)])

    async def _give_up(self, source: str, jump: Jump) -> bool:
        at = now()
        lose = Lose(
            window=self.window_keys(source),
            step_us=to_micros(jump.seconds),
            ago_us=to_micros(at - jump.seen_at),
            earliest_us=to_micros(at + jump.low),
            latest_us=to_micros(at + jump.high + self.store.clock.timeout),
            epoch=random_id(),
        )
        # A source whose keys are damaged must not keep the stamps of the others from being mended.
        with contextlib.suppress(Refused):
            return await self._run(LOSE, source, lose)
        return True

    async def _put_back_windows(self, source: str) -> None:
        for concerned in self._of_server(source):
            with contextlib.suppress(Refused):
                # What it was told before may be a moment by either time.
                await self.restore(concerned, is_step_known=True)

    def _of_server(self, source: str) -> list[str]:
        """The sources of which this process knows something, and whose keys the same server holds."""
        known = [source] if self.store.settings.redis_cluster else self.epochs.sources
        return [one for one in known if self.epochs.of(one)]

    # As Redis comes back

    @property
    def is_needed(self) -> bool:
        """See :class:`tbcache.store.breaker.Repair`."""
        return bool(self.broken)

    def is_concerned(self, was_away: bool) -> bool:
        """See :class:`tbcache.store.breaker.Repair`."""
        return bool(self._concerned(was_away))

    def quiet_at(self, was_away: bool) -> float:
        """See :class:`tbcache.store.breaker.Repair`."""
        return max(
            (self.process_window(source).in_doubt_until for source in self._concerned(was_away)),
            default=-math.inf,
        )

    def repair(self, was_away: bool) -> bool:
        """Tell the server of the slots that were taken without it."""
        # Every source is tried. That one could be mended says nothing of the others.
        mended = [run(self._put_back(source)) for source in self._concerned(was_away)]
        return any(mended)

    def done(self) -> None:
        """See :class:`tbcache.store.breaker.Repair`."""
        if self.machine.is_marked or self.machine.is_marked_fallback:
            self.stay_clean()
        for source in list(self._windows):
            # Slots may have ended since they were put back.
            run(self.try_to_report_ends(source))

    def _concerned(self, was_away: bool) -> list[str]:
        return [source for source in list(self._windows) if was_away or source in self.broken]

    async def _put_back(self, source: str) -> bool:
        """Tell the server of the slots that were taken without it; False where it cannot store them."""
        try:
            if source in self.broken and self.process_window(source).limits:
                await self._look_at(source)
            await self.restore(source)
            if source in self.broken and self._join is not None:
                # A beat reads all keys of the source's window, so it fails where one is still damaged.
                await self._join(source)
        except Refused:
            return False
        self.process_window(source).forget_lost()
        self.broken.mended(source)
        return True

    async def _look_at(self, source: str) -> None:
        """Look at the window as every ask does, but without a name, so that Redis does not record who looks.

        After Redis has heard of a process, that counts each of its slots that leaves the window as used by
        the others for one window more. If each try were heard, it would have nothing left to go on with.

        Raises:
          Unavailable: the server is away. Refused: the source's keys cannot be used.
        """
        ask = Take(
            window=self.window_keys(source),
            limits=pack_limits(self.process_window(source).limits),
            is_take=False,
            id="",
            cost=1,
            held_us=0,
            deadline_us=0,
            seen_before="",
            patience_us=0,
            process="",
            ignores_fleet=False,
        )
        await self._run(TAKE, source, ask)

    def _renew(self) -> None:
        """Forget, in a forked child, what Redis has told the parent: it was meant for one process only."""
        for window in self._windows.values():
            window.renew()
        self.closures.renew()
        self.epochs.renew()
        self.broken.renew()
        self.machine.renew()
        self._joining.renew()
