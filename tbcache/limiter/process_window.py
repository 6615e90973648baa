"""What this process may take of one source without Redis, beside the slots that it has taken.

While Redis is away, a process takes slots from its share of each limit, which is counted here. The shares of
the fleet add up to the limit at most. When Redis is back, these slots are put there before anyone takes new
ones.

Redis may be away from this process alone:

- The others go on as before for ``ABSENT_SECONDS`` after this process was last heard of. From then on they
  leave its share free (member.lua).
- Of the slots that are free, a process may take its *allowance* without Redis. Redis keeps these slots from
  the others from one beat to the next (beat.lua), or until one of them needs them and this process has given
  them back.
- The others may have been promised slots that begin when ours leave the window. They use them only while they
  know that nobody is absent yet (promise.py).

So from when we were last heard until we count as absent, the others may use each of our slots that leaves the
window, by Redis's stamp. What they send with it arrives within a hold, and leaves the window one window after
that. Until then we count such a slot as used; a slot that leaves after that time is ours again.

Why no window holds more than its limit L: what the others take while we are absent leaves our allowance, or
our share, free. Without Redis we take no more than the allowance and what has left of our own slots since
then; and no more than the share once all that the others took before has left as well.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

import tbcache.io as io
from tbcache.limiter.allotment import Allotment, Census
from tbcache.limiter.promise import SLOWEST, Promises
from tbcache.limiter.purse import Purse
from tbcache.limiter.slot_record import SlotRecord
from tbcache.limiter.stay import Stays
from tbcache.models import Limit
from tbcache.store.constant import ABSENT_SECONDS, ROUNDING
from tbcache.store.wire import pack_limits, strictest

#: A process asks again after so many seconds while Redis is just coming back.
RETURN_SECONDS = 0.01
#: Even an ask without patience waits for so many seconds for a slot that another process is giving back.
GIVING_BACK_SECONDS = 0.1


class Mark(NamedTuple):
    """When a beat was sent: how many slots Redis had granted by then, and in which stay in the fleet."""

    granted: int
    stay: object | None


class ProcessWindow(SlotRecord):
    """The slots of one source that this process has taken, stamped by its monotonic clock."""

    def __init__(
        self,
        may_fall_back: Callable[[], bool] = lambda: True,
        fall_back: Callable[[float], bool] = lambda window: True,
        newcomers_share: Callable[[float], float] = lambda window: 1.0,
        stays: Stays | None = None,
    ) -> None:
        """``may_fall_back`` is true while Redis is away, until what was taken without it is being put back.

        ``fall_back`` is called before each slot that is taken without Redis, with the longest window that the
        slot may be in (seconds), and may forbid it. ``newcomers_share`` gives this process's part of a limit
        over so many seconds, as long as Redis has told it none. ``stays`` are those of this process.
        """
        self._stays = stays or Stays()
        self._may_fall_back = may_fall_back
        self._fall_back, self._newcomers_share = fall_back, newcomers_share
        #: What this process may spend of the source's daily budget while Redis is away.
        self.purse = Purse()
        super().__init__()

    def renew(self) -> None:
        """Begin as a process that has sent nothing, and that Redis has told nothing.

        That is at the start, and in a forked child.
        """
        super().renew()
        self.purse.renew()
        #: By limit, how many free slots this process may take without Redis; None where it is no member.
        self._allowances: dict[str, int] | None = None
        #: How many slots Redis has granted so far.
        self._granted = 0
        #: For how long it may be silent before the others take it for absent (seconds): at most so long.
        self._silence = ABSENT_SECONDS
        #: What the others were granted arrives within so many seconds: the longest that Redis has told.
        self._hold = 0.0
        self.promises = Promises()
        #: This process's part of each limit while Redis is away, and what would be fair.
        self.share = self.fair = 1.0
        #: True once this process has asked for a slot itself, and not only got some with jobs of the queue.
        self.can_fall_back = False
        self._announced_fallback = False
        #: The limits that an operator has set, as Redis said last.
        self._bound: tuple[Limit, ...] = ()
        #: How many processes take slots of the source, as Redis said last.
        self.processes = 1
        self.census = Census()
        #: True from when this process leaves until Redis gives it a part of this source again.
        self._is_left = False

    def must_announce(self, can_fall_back: bool) -> bool:
        """Record how an ask is made. True where a beat must come first, so that Redis gives this process a
        share.
        """
        self.can_fall_back = self.can_fall_back or can_fall_back
        return self._allowances is None or (self.can_fall_back and not self._announced_fallback)

    def in_force(self, named: tuple[Limit, ...] | None) -> tuple[Limit, ...]:
        """The limits that hold for an ask, as far as is known: those that it names, if any, and what an
        operator has set; else those of the fleet.
        """
        return strictest(named, self._bound) if named else self.limits

    @property
    def granted(self) -> int:
        """How many slots Redis has granted so far."""
        return self._granted

    @property
    def is_member(self) -> bool:
        """True once Redis knows of this process, and it knows its share."""
        return self._allowances is not None

    @property
    def has_left(self) -> bool:
        """True from when this process gives its part back until Redis gives it one again. A source that it
        asks for first after it has left is no other.
        """
        return self._is_left or (self._allowances is None and self._stays.has_left)

    # What Redis answers

    def grant(
        self,
        slot: str,
        cost: int,
        limits: Iterable[Limit],
        held_seconds: float,
        earliest: float = math.inf,
    ) -> None:
        """Record a slot that Redis granted. Until it is committed, it counts as sent ``held_seconds`` from
        now, and for Redis at that moment, or before, but not before ``earliest``.
        """
        with self._lock:
            self._record(slot, cost, limits, held_seconds, earliest)
            self._spend(cost)

    def spend(self, cost: int) -> None:
        """Record that Redis has counted ``cost`` slots for this process that are over already."""
        with self._lock:
            self._spend(cost)

    def restored(self, ages: Iterable[tuple[str, float]]) -> None:
        """Record that Redis knows these slots now, those included that were taken without it; see
        :meth:`ages`.
        """
        with self._lock:
            self._spend(self._put_back(ages))

    def report(self) -> tuple[str, Mark, bool]:
        """What a beat reports: our allowances, in the form of beat.lua; a mark, for :meth:`receive`; and
        whether this process can go on without Redis.
        """
        with self._lock:
            allowances = (self._allowances or {}).items()
            left = [(limit, allowance - len(self._fallback)) for limit, allowance in allowances]
            text = ",".join(f"{limit}={allowance}" for limit, allowance in left if allowance > 0)
            return text, Mark(self._granted, self._stays.current), self.can_fall_back

    def ask_for_silence(self, seconds: float) -> None:
        """Record that a beat is about to ask that this process may be silent for so long.

        Redis may go by that from then on, whether there is an answer or not.
        """
        with self._lock:
            self._silence = max(self._silence, seconds)

    def receive(
        self,
        allotment: Allotment,
        mark: Mark,
        *,
        can_fall_back: bool = True,
        silence: float = ABSENT_SECONDS,
    ) -> None:
        """Take over what a beat brought. It was sent with ``mark``, ``can_fall_back`` and ``silence``.

        Slots that were granted since the mark may have come out of these allowances. A part that it brings to
        one that has left, before or since, is given back by then.
        """
        with self._lock:
            if mark.stay is None or mark.stay is not self._stays.current:
                return
            self.share, self.fair, self.processes = allotment.share, allotment.fair, allotment.processes
            self.limits, self._announced_fallback = allotment.limits or self.configured, can_fall_back
            self._bound, self._hold = allotment.bound, max(self._hold, allotment.hold)
            self._silence, self._is_left = silence, False
            self._stays.receive(mark.stay)
            # While some slots are taken without Redis, the old allowances hold: Redis still reserves them.
            if not self._fallback or self._allowances is None:
                spent = self._granted - mark.granted
                self._allowances = {
                    limit: allowance - spent for limit, allowance in allotment.allowances.items()
                }

    def receive_purse(self, amount: int, day: int, paid: int, stay: object) -> None:
        """Take over a purse that was asked for in that stay: see :meth:`Purse.receive`. It is given back
        where that is over.
        """
        with self._lock:
            if stay is self._stays.current:
                self.purse.receive(amount, day, paid)

    @property
    def silence(self) -> float:
        """For how long this process may be silent before the others take it for absent (seconds), at most."""
        return self._silence

    @property
    def is_short(self) -> bool:
        """True while our share is smaller than a fair one, because the others have not given up their part
        yet.
        """
        return self.fair - self.share > ROUNDING

    def give_up_allowances(self) -> None:
        """Take no free slot without Redis until the next :meth:`receive`."""
        with self._lock:
            if self._allowances is not None:
                self._allowances = {}

    def leave(self) -> None:
        """Have no part until a :meth:`receive` of another stay: this process is about to give its own back,
        and others may have it from then on, whether Redis answers or not.
        """
        with self._lock:
            self._allowances, self._is_left = None, True
            # What it knows of the fleet is of a time at which it had a part in it.
            self.census = Census()
            self.purse.forget()

    # Without Redis

    def together(self) -> AbstractContextManager[None]:
        """What is done meanwhile is one step for all who share the window without Redis (local_window.py)."""
        return contextlib.nullcontext()

    def take(self, slot: str, cost: int, limits: Sequence[Limit], held_seconds: float) -> float:
        """Take a slot without Redis, within this process's part of each limit.

        Returns the seconds to wait; 0.0 when it is taken.
        """
        with self._lock:
            if not self._may_fall_back():
                return RETURN_SECONDS
            wait = self._longest_wait(limits, cost, slot)
            if wait == 0.0 and not self._fall_back(self._longest_window(limits)):
                return RETURN_SECONDS
            if wait == 0.0 and not self.is_member:
                # Others look as well once they have written that they use the source. So of two processes
                # that begin together, one at least sees the other.
                wait = self._longest_wait(limits, cost, slot)
            if wait == 0.0:
                self._take_fallback(slot, cost, limits, held_seconds)
        return wait

    def mine(self, limit: Limit) -> int:
        """How many slots of ``limit`` are this process's own while Redis is away."""
        if self.has_left:
            return 0
        # Redis has given no share yet to a process that it does not know.
        share = self.share
        if not self.is_member:
            share = min(share, self._newcomers_share(limit.window_seconds))
        return math.floor(limit.count * share + ROUNDING)

    def why_not(self, limits: Iterable[Limit], why_alone: str) -> str:
        """Why nothing can be taken without Redis, which is not used because ``why_alone``."""
        if self.has_left:
            return f"{why_alone}, and this process has given its part of the limit back"
        if self.is_member or all(self.mine(limit) for limit in limits):
            return f"{why_alone}: this process's share is used"
        return (
            f"{why_alone}, and this process was told no part of the limit: it takes nothing while another "
            "process of ours that uses this source is on this machine, or was within the limit's window"
        )

    def wait(self, limit: Limit, cost: int) -> float:
        """Seconds until ``cost`` slots could be taken without Redis; 0.0 for now."""
        with self._lock:
            return self._wait(limit, cost, "")

    def _longest_wait(self, limits: Sequence[Limit], cost: int, slot: str) -> float:
        return max(self._wait(limit, cost, slot) for limit in limits)

    def _wait(self, limit: Limit, cost: int, slot: str) -> float:
        now, window = io.now(), limit.window_seconds * SLOWEST
        share = self.mine(limit)
        if cost > share:
            return window
        fallback = sorted(at for name in self._fallback if (at := self._leaving(name, window, now)) > now)
        waits = [_until(fallback, len(fallback) + cost - share, now)]
        # An ask without an answer may have reached Redis, which then heard of us.
        noticed = max(self._last_seen_at, self._in_doubt_until) + self._silence * SLOWEST
        # Until then what the others took before may be in the window: their requests may be under way yet.
        gone_at = noticed + self._hold * SLOWEST + window
        if self._allowances is not None and now < gone_at:
            # The others' slots are there beside as many of ours as there were then. Of the slots that were
            # free, each process may take its allowance.
            known = [name for name in self._stamps if name not in self._fallback]
            before = [name for name in known if self._leaving(name, window, now) > self._last_seen_at]
            # By Redis's stamp and clock they may leave before they do by ours.
            soonest = noticed - limit.window_seconds / SLOWEST
            taken = [
                gone_at if self._earliest_stamp(name, now) <= soonest else self._leaving(name, window, now)
                for name in before
            ]
            inside = sorted(at for at in (*taken, *fallback) if at > now)
            # An ask with the same name is for the same slot.
            others = (asked for name, asked in self._pending.items() if name != slot)
            lost = sum(asked.cost for asked in others if not asked.is_fallback)
            allowance = max(0, self._allowances.get(pack_limits([limit]), 0)) - lost
            waits.append(_until(inside, len(inside) + cost - len(before) - max(0, allowance), now))
        else:
            inside = sorted(at for at in (self._leaving(n, window, now) for n in self._stamps) if at > now)
            waits.append(_until(inside, len(inside) + cost - share, now))
        return max(waits)

    def _spend(self, cost: int) -> None:
        self._granted += cost
        allowances = self._allowances or {}
        for limit in allowances:
            allowances[limit] -= cost


def _until(leaving: Sequence[float], over: int, now: float) -> float:
    """Seconds until ``over`` of the slots have left, which leave at these moments; 0.0 where that is now."""
    if over <= 0:
        return 0.0
    # The others fill the window, and only Redis knows when their slots leave: look again soon.
    at = leaving[over - 1] if over <= len(leaving) else now + ABSENT_SECONDS
    return max(0.001, at - now)
