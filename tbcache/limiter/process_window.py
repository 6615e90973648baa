"""The slots that this process has taken of one source, so that it can go on without Redis.

docs/architecture.md draws the states of a slot.

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
  know that nobody was absent ``PROMISE_SECONDS`` ago.

So for ``THEIRS_SECONDS`` the others may use each of our slots that leaves the window. We count such a slot as
used until one window later; a slot that leaves after that time is ours again.

Why no window holds more than its limit L: what the others take while we are absent leaves our allowance, or
our share, free. Without Redis we take no more than the allowance and what has left of our own slots since
then; and no more than the share once all that the others took before has left as well.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import tbcache.io as io
from tbcache.limiter.allotment import Allotment, Census
from tbcache.limiter.promise import PROMISE_SECONDS, SLOWEST, Promises
from tbcache.limiter.purse import Purse
from tbcache.models import Limit
from tbcache.store.constant import ABSENT_SECONDS, ROUNDING
from tbcache.store.wire import pack_limits

SWEEP_FROM = 256
#: Once we are absent, the others may use the slots of ours that leave the window for so long.
THEIRS_SECONDS = ABSENT_SECONDS + PROMISE_SECONDS
#: A process asks again after so many seconds while Redis is just coming back.
RETURN_SECONDS = 0.01
#: Even an ask without patience waits for so many seconds for a slot that another process is giving back.
GIVING_BACK_SECONDS = 0.1


class PendingAsk(NamedTuple):
    """An ask that may take ``cost`` slots. Redis may carry it out until ``in_doubt_until`` (monotonic).

    ``is_lost``: it gets no answer any more. ``is_fallback``: its slots were taken without Redis then.
    """

    cost: int
    in_doubt_until: float
    is_lost: bool = False
    is_fallback: bool = False


class Ended(NamedTuple):
    """A slot that is over: its request was answered, or no request was sent with it (``is_unused``)."""

    slot: str
    cost: int
    is_unused: bool


class ProcessWindow:
    """The slots of one source that this process has taken, stamped by its monotonic clock."""

    def __init__(
        self,
        may_fall_back: Callable[[], bool] = lambda: True,
        fall_back: Callable[[], bool] = lambda: True,
        newcomers_share: Callable[[float], float] = lambda window: 1.0,
    ) -> None:
        """``may_fall_back`` is true while Redis is away, until what was taken without it is being put back.

        ``fall_back`` is called before each slot that is taken without Redis, and may forbid it; and before a
        process that Redis has never heard of asks for one. ``newcomers_share`` gives this process's part of a
        limit over so many seconds, as long as Redis has told it none.
        """
        self._may_fall_back = may_fall_back
        self._fall_back = fall_back
        self._newcomers_share = newcomers_share
        #: The limits that this process was started with, from the first use of the source on, and the limits
        #: in force.
        self.configured: tuple[Limit, ...] = ()
        self.limits: tuple[Limit, ...] = ()
        self._sweep_at = SWEEP_FROM
        self._horizon = 0.0
        #: What this process may spend of the source's daily budget while Redis is away.
        self.purse = Purse()
        self.renew()

    def renew(self) -> None:
        """Begin as a process that has sent nothing, and that Redis has told nothing.

        That is at the start, and in a forked child.
        """
        self._lock = threading.Lock()
        self.purse.renew()
        self._stamps: dict[str, float] = {}
        #: The slots that were taken without Redis, and that Redis does not know yet.
        self._fallback: set[str] = set()
        #: The asks that are under way, and those whose answers were lost.
        self._pending: dict[str, PendingAsk] = {}
        #: The asks whose callers have no answer yet, with their cost: these slots will be used only later.
        self._unreturned: dict[str, int] = {}
        #: The slots that are over, with their cost, where Redis does not know so yet.
        self._unreported: dict[str, int] = {}
        #: The slots that were put back as held. One of them may have ended in Redis before, by a script whose
        #: answer is still on its way: its end is reported once more as that answer is read.
        self._restored: set[str] = set()
        #: By limit, how many free slots this process may take without Redis; None where it is no member.
        self._allowances: dict[str, int] | None = None
        #: How many slots Redis has granted so far.
        self._granted = 0
        self._last_seen_at = -math.inf
        #: For how long it may be silent before the others take it for absent (seconds): at most so long.
        self._silence = ABSENT_SECONDS
        #: When it last took a slot (monotonic).
        self._took_at = io.now()
        self.promises = Promises()
        #: This process's part of each limit while Redis is away, and what would be fair.
        self.share = self.fair = 1.0
        #: True once this process has asked for a slot itself, and not only got some with jobs of the queue.
        self.can_fall_back = False
        self._announced_fallback = False
        #: How many processes take slots of the source, as Redis said last.
        self.processes = 1
        self.census = Census()

    def configure(self, limits: tuple[Limit, ...]) -> None:
        """Use the source with these limits, until a beat tells those of the fleet."""
        if limits != self.configured:
            self.configured = self.limits = limits

    def must_announce(self, can_fall_back: bool) -> bool:
        """Record how an ask is made. True where a beat must come first, so that Redis gives this process a
        share.
        """
        self.can_fall_back = self.can_fall_back or can_fall_back
        return not self.is_member or (self.can_fall_back and not self._announced_fallback)

    @property
    def horizon(self) -> float:
        """The longest window asked about, in seconds."""
        return self._horizon

    @property
    def granted(self) -> int:
        """How many slots Redis has granted so far."""
        return self._granted

    @property
    def last_seen_at(self) -> float:
        """When Redis last answered about this source (monotonic)."""
        return self._last_seen_at

    @property
    def has_taken(self) -> bool:
        """True once this process has taken a slot, with Redis or without."""
        return self._horizon > 0.0

    @property
    def has_fallback_slots(self) -> bool:
        """True while Redis has not been told of something that was taken without it."""
        return bool(self._fallback)

    @property
    def is_member(self) -> bool:
        """True once Redis knows of this process, and it knows its share."""
        return self._allowances is not None

    # What Redis answers

    def ask(self, name: str, cost: int, in_doubt_until: float) -> None:
        """Record an ask that may take ``cost`` slots; until it is answered they count as taken.
        Redis does not carry it out after ``in_doubt_until`` (monotonic)."""
        with self._lock:
            self._pending[name] = PendingAsk(cost, in_doubt_until)
            self._unreturned[name] = cost

    def returned(self, name: str) -> None:
        """Record that the caller of this ask has its answer."""
        self._unreturned.pop(name, None)

    def lose(self, name: str, *, is_answer_lost: bool) -> None:
        """Record that an ask gets no answer. Where ``is_answer_lost``, Redis may have carried it out."""
        with self._lock:
            if name in self._pending:
                cost, until, *_ = self._pending[name]
                self._pending[name] = PendingAsk(cost, until if is_answer_lost else -math.inf, is_lost=True)

    @property
    def in_doubt_until(self) -> float:
        """Until when Redis may carry out what it was asked (monotonic)."""
        with self._lock:
            return max((asked.in_doubt_until for asked in self._pending.values()), default=-math.inf)

    def is_asked(self, name: str) -> bool:
        """True while that ask is under way, or its answer was lost."""
        return name in self._pending

    def answered(self, name: str, ahead: float = 0.0) -> None:
        """Record that the ask is over, and that Redis has heard of this process. Its grants are recorded
        before.

        A moment that is later than the true one is safe: Redis then takes this process for absent later than
        we do. ``ahead`` is by how many seconds the moment that Redis has is ahead of now, where its clock was
        set back.
        """
        with self._lock:
            self._pending.pop(name, None)
            self._last_seen_at = io.now() + ahead

    def grant(self, slot: str, cost: int, limits: Iterable[Limit], held_seconds: float) -> None:
        """Record a slot that Redis granted. Until it is committed, it counts as sent ``held_seconds`` from
        now.
        """
        with self._lock:
            self._record(slot, cost, limits, held_seconds)
            self._spend(cost)

    def spend(self, cost: int) -> None:
        """Record that Redis has counted ``cost`` slots for this process that are over already."""
        with self._lock:
            self._spend(cost)

    def report(self) -> tuple[str, int, bool]:
        """What a beat reports: our allowances, in the form of beat.lua; a mark, for :meth:`receive`; and
        whether this process can go on without Redis.
        """
        with self._lock:
            allowances = (self._allowances or {}).items()
            left = [(limit, allowance - len(self._fallback)) for limit, allowance in allowances]
            text = ",".join(f"{limit}={allowance}" for limit, allowance in left if allowance > 0)
            return text, self._granted, self.can_fall_back

    def ask_for_silence(self, seconds: float) -> None:
        """Record that a beat is about to ask that this process may be silent for so long.

        Redis may go by that from then on, whether there is an answer or not.
        """
        with self._lock:
            self._silence = max(self._silence, seconds)

    def receive(
        self,
        allotment: Allotment,
        mark: int,
        *,
        can_fall_back: bool = True,
        silence: float = ABSENT_SECONDS,
    ) -> None:
        """Take over what a beat brought. It was sent with ``mark``, ``can_fall_back`` and ``silence``.

        Slots that were granted since the mark may have come out of these allowances.
        """
        with self._lock:
            self.share, self.fair, self.processes = allotment.share, allotment.fair, allotment.processes
            self.limits, self._announced_fallback = allotment.limits or self.configured, can_fall_back
            self._silence = silence
            # While some slots are taken without Redis, the old allowances hold: Redis still reserves them.
            if not self._fallback or self._allowances is None:
                spent = self._granted - mark
                self._allowances = {
                    limit: allowance - spent for limit, allowance in allotment.allowances.items()
                }

    @property
    def silence(self) -> float:
        """For how long this process may be silent before the others take it for absent (seconds), at most."""
        return self._silence

    @property
    def idle_seconds(self) -> float:
        """How long ago this process last took a slot, or began."""
        return io.now() - self._took_at

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

    # Slots

    def commit(self, slot: str, cost: int) -> None:
        """Lower the stamps of the slot to now, because the answer has come."""
        now = io.now()
        with self._lock:
            for name in _units(slot, cost):
                if name in self._stamps:
                    self._stamps[name] = min(self._stamps[name], now)
                self._report_again(slot, name)

    def hold_on(self, slot: str, cost: int, seconds: float) -> None:
        """Record that a held slot stays held for ``seconds`` from now."""
        now = io.now()
        with self._lock:
            for name in _units(slot, cost):
                # One that was committed meanwhile is over.
                if self._stamps.get(name, 0.0) > now:
                    self._stamps[name] = max(self._stamps[name], now + seconds)

    def release(self, slot: str, cost: int) -> None:
        """Forget the slot: nothing was sent with it."""
        with self._lock:
            for name in _units(slot, cost):
                self._stamps.pop(name, None)
                self._fallback.discard(name)
                self._report_again(slot, name)

    def must_report(self, slot: str, cost: int) -> None:
        """Record that the end of a slot must be reported, unless Redis does not know the slot. This is called
        before the slot ends.
        """
        with self._lock:
            if slot not in self._fallback:
                self._unreported[slot] = cost

    @property
    def unreported(self) -> list[Ended]:
        """The slots whose end must be reported to Redis."""
        now = io.now()
        with self._lock:
            ended = [
                Ended(slot, cost, is_unused=slot not in self._stamps)
                for slot, cost in self._unreported.items()
            ]
            return [one for one in ended if one.is_unused or self._stamps[one.slot] <= now]

    def reported(self, slot: str) -> None:
        """Record that Redis knows the end of ``slot``."""
        with self._lock:
            self._unreported.pop(slot, None)

    def clear(self) -> None:
        with self._lock:
            self._stamps.clear()
            self._fallback.clear()
            self._restored.clear()

    def take(self, slot: str, cost: int, limits: Sequence[Limit], held_seconds: float) -> float:
        """Take a slot without Redis, within this process's part of each limit.

        Returns the seconds to wait; 0.0 when it is taken.
        """
        with self._lock:
            if not self._may_fall_back():
                return RETURN_SECONDS
            if not self.is_member:
                # It announces itself before it looks at the others. So of two processes that begin together,
                # each sees the other.
                self._fall_back()
            wait = max(self._wait(limit, cost, slot) for limit in limits)
            if wait == 0.0:
                if not self._fall_back():
                    return RETURN_SECONDS
                if slot in self._pending:
                    # The lost ask is for this slot, which must not count twice. Redis may still hear of us by
                    # it.
                    self._pending[slot] = self._pending[slot]._replace(is_fallback=True)
                self._record(slot, cost, limits, held_seconds)
                self._fallback.update(_units(slot, cost))
        return wait

    def restored(self, ages: Iterable[tuple[str, float]]) -> None:
        """Record that Redis knows these slots now, those included that were taken without it; see
        :meth:`ages`.
        """
        now = io.now()
        with self._lock:
            for slot, age in ages:
                self._unreported.pop(slot, None)
                if slot in self._fallback:
                    self._fallback.discard(slot)
                    self._spend(1)
                if age < 0 and self._stamps.get(slot, 0.0) <= now:
                    # The slot ended while it was being put back as a held one, so its end is reported now.
                    self._unreported[slot] = 1
                elif age < 0:
                    self._restored.add(slot)

    def forget_lost(self) -> None:
        """Forget the lost asks: Redis is back, and does not carry them out any more."""
        with self._lock:
            self._pending = {name: asked for name, asked in self._pending.items() if not asked.is_lost}

    def used(self, limit: Limit) -> int:
        """How many slots of this process are in the window of ``limit``."""
        since = io.now() - limit.window_seconds * SLOWEST
        with self._lock:
            return sum(1 for stamp in self._stamps.values() if stamp > since)

    @property
    def held(self) -> int:
        """How many slots are held: their requests may be under way."""
        now = io.now()
        with self._lock:
            return sum(1 for stamp in self._stamps.values() if stamp > now)

    def mine(self, limit: Limit) -> int:
        """How many slots of ``limit`` are this process's own while Redis is away."""
        # Redis has given no share yet to a process that it does not know.
        share = self.share
        if not self.is_member:
            share = min(share, self._newcomers_share(limit.window_seconds))
        return math.floor(limit.count * share + ROUNDING)

    def why_not(self, limits: Iterable[Limit], why_alone: str) -> str:
        """Why nothing can be taken without Redis, which is not used because ``why_alone``."""
        if self.is_member or all(self.mine(limit) for limit in limits):
            return f"{why_alone}: this process's share is used"
        return (
            f"{why_alone}, and this process was told no part of the limit: others of this machine use "
            "it, or did within its window"
        )

    def wait(self, limit: Limit, cost: int) -> float:
        """Seconds until ``cost`` slots could be taken without Redis; 0.0 for now."""
        with self._lock:
            return self._wait(limit, cost, "")

    @property
    def gone_in(self) -> float:
        """In how many seconds the last slot of this process leaves the longest window; 0.0 where there is
        none.
        """
        now = io.now()
        with self._lock:
            left = [stamp + self._horizon - now for stamp in self._stamps.values()]
            return max([0.0, *left]) * SLOWEST

    def ages(self) -> list[tuple[str, float]]:
        """Every slot with its age in seconds; negative while it is held."""
        now = io.now()
        with self._lock:
            for name, cost in tuple(self._unreturned.items()):
                for slot in _units(name, cost):
                    if slot in self._stamps:
                        self._stamps[slot] = max(self._stamps[slot], now)
            self._forget(now)
            return [(slot, _age(now - stamp)) for slot, stamp in self._stamps.items()]

    @property
    def unused(self) -> list[str]:
        """The slots of lost asks with which nothing was sent."""
        with self._lock:
            lost = [(name, ask.cost) for name, ask in self._pending.items() if ask.is_lost]
            return [unit for name, cost in lost for unit in _units(name, cost) if unit not in self._stamps]

    def _wait(self, limit: Limit, cost: int, slot: str) -> float:
        now, window = io.now(), limit.window_seconds * SLOWEST
        share = self.mine(limit)
        if cost > share:
            return window
        fallback = sorted(at for name in self._fallback if (at := self._leaving(name, window, now)) > now)
        waits = [_until(fallback, len(fallback) + cost - share, now)]
        # A lost ask may have reached Redis, which then heard of us.
        heard = [self._last_seen_at, *(asked.in_doubt_until for asked in self._pending.values())]
        noticed = max(heard) + (self._silence + PROMISE_SECONDS) * SLOWEST
        if self._allowances is not None and now < noticed + window:
            # The slots that others took before are still in the window, beside as many of ours as there were
            # then. Of the slots that were free, each process may take its allowance.
            known = [name for name in self._stamps if name not in self._fallback]
            leaving = [self._leaving(name, window, now) for name in known]
            before = [at for at in leaving if at > self._last_seen_at]
            taken = [noticed + window if at <= noticed else at for at in before]
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
        if self._allowances is not None:
            self._allowances = {limit: allowance - cost for limit, allowance in self._allowances.items()}

    def _leaving(self, name: str, window: float, now: float) -> float:
        """When a slot leaves the window. One that is held leaves it a window from now at the earliest."""
        return min(self._stamps[name], now) + window

    def _record(self, slot: str, cost: int, limits: Iterable[Limit], held_seconds: float) -> None:
        now = self._took_at = io.now()
        for limit in (*limits, *self.limits):
            if limit.window_seconds > self._horizon:
                self._horizon = limit.window_seconds
        if len(self._stamps) >= self._sweep_at:
            self._forget(now)
            self._sweep_at = 2 * len(self._stamps) + SWEEP_FROM
        for name in _units(slot, cost):
            self._stamps[name] = now + held_seconds

    def _report_again(self, slot: str, name: str) -> None:
        if name in self._restored:
            self._restored.discard(name)
            if slot not in self._unreported:
                self._unreported[name] = 1

    def _is_awaited(self, slot: str) -> bool:
        """True while its end must be reported, or while its ask is pending."""
        return slot in self._unreported or slot.partition("#")[0] in self._pending

    def _forget(self, now: float) -> None:
        # A slot whose end must be reported stays, as the window of another process may be longer.
        old = [slot for slot, stamp in self._stamps.items() if stamp <= now - self._horizon * SLOWEST]
        for slot in (slot for slot in old if not self._is_awaited(slot)):
            del self._stamps[slot]
            self._fallback.discard(slot)
            self._restored.discard(slot)


def _until(leaving: Sequence[float], over: int, now: float) -> float:
    """Seconds until ``over`` of the slots have left, which leave at these moments; 0.0 where that is now."""
    if over <= 0:
        return 0.0
    # The others fill the window, and only Redis knows when their slots leave: look again soon.
    at = leaving[over - 1] if over <= len(leaving) else now + ABSENT_SECONDS
    return max(0.001, at - now)


def _age(seconds: float) -> float:
    """``seconds`` as an age for Redis, whose clock may be slower or faster than ours.

    It makes no slot older than it is by any clock of the fleet, and no hold shorter.
    """
    return seconds / SLOWEST if seconds > 0 else seconds * SLOWEST


def _units(slot: str, cost: int) -> list[str]:
    if cost == 1:
        return [slot]
    return [slot if unit == 1 else f"{slot}#{unit}" for unit in range(1, cost + 1)]
