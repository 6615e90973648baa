"""What this process knows of each slot of a source that it has asked for, has taken, or has ended.

docs/architecture.md draws the states of a slot. A process keeps this record so that it can go on without
Redis, and can put its slots back where Redis has lost them.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

import tbcache.io as io
from tbcache.limiter.promise import SLOWEST
from tbcache.models import Limit

SWEEP_FROM = 256


class PendingAsk(msgspec.Struct, frozen=True):
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


class SlotRecord:
    """The slots of one source, stamped by the monotonic clock of this process."""

    def __init__(self) -> None:
        #: The limits that this process was started with, from the first use of the source on, and the limits
        #: in force.
        self.configured: tuple[Limit, ...] = ()
        self.limits: tuple[Limit, ...] = ()
        self._sweep_at = SWEEP_FROM
        self._horizon = 0.0
        self.renew()

    def renew(self) -> None:
        """Begin as a process that has sent nothing: at the start, and in a forked child."""
        self._lock = threading.Lock()
        self._stamps: dict[str, float] = {}
        #: What Redis may have stamped them with, at the earliest: it acts before its answer is read.
        self._earliest: dict[str, float] = {}
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
        self._last_seen_at = -math.inf
        #: Until when Redis may carry out asks that nobody waits for any more.
        self._broken_off_until = -math.inf
        #: When it last took a slot (monotonic).
        self._took_at = io.now()

    def configure(self, limits: tuple[Limit, ...]) -> None:
        """Use the source with these limits, until a beat tells those of the fleet."""
        if limits != self.configured:
            self.configured = self.limits = limits

    @property
    def horizon(self) -> float:
        """The longest window asked about, in seconds."""
        return self._horizon

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
    def idle_seconds(self) -> float:
        """How long ago this process last took a slot, or began."""
        return io.now() - self._took_at

    # Asks

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
                cost, until = self._pending[name].cost, self._pending[name].in_doubt_until
                self._pending[name] = PendingAsk(cost, until if is_answer_lost else -math.inf, is_lost=True)

    def break_off(self, name: str) -> None:
        """Record that nobody waits for an ask any more, which Redis may carry out all the same, and hear of
        this process by it. What it may take is recorded before."""
        with self._lock:
            if (asked := self._pending.pop(name, None)) is not None:
                self._broken_off_until = max(self._broken_off_until, asked.in_doubt_until)

    @property
    def in_doubt_until(self) -> float:
        """Until when Redis may carry out what it was asked (monotonic)."""
        with self._lock:
            return self._in_doubt_until

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

    def forget_lost(self) -> None:
        """Forget the lost asks: Redis is back, and does not carry them out any more."""
        with self._lock:
            self._pending = {name: asked for name, asked in self._pending.items() if not asked.is_lost}

    # Slots

    def may_end(self, slot: str, cost: int) -> None:
        """Record that Redis may commit the slot from now on."""
        now = io.now()
        with self._lock:
            for name in _units(slot, cost):
                if name in self._stamps:
                    self._earliest[name] = min(self._earliest.get(name, now), now)

    def commit(self, slot: str, cost: int) -> None:
        """Lower the stamps of the slot to now, because the answer has come."""
        self.may_end(slot, cost)
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
                self._earliest.pop(name, None)
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
            self._earliest.clear()
            self._fallback.clear()
            self._restored.clear()

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

    @property
    def gone_in(self) -> float:
        """In how many seconds the last slot of this process leaves the longest window; 0.0 where there is
        none.
        """
        now = io.now()
        with self._lock:
            left = [stamp + self._horizon - now for stamp in self._stamps.values()]
            return max([0.0, *left]) * SLOWEST

    # What Redis is told as it returns

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

    # With the lock

    @property
    def _in_doubt_until(self) -> float:
        return max([self._broken_off_until, *(asked.in_doubt_until for asked in self._pending.values())])

    def _take_fallback(self, slot: str, cost: int, limits: Iterable[Limit], held_seconds: float) -> None:
        """The slot is taken without Redis."""
        if slot in self._pending:
            # The lost ask is for this slot, which must not count twice. Redis may still hear of us by it.
            self._pending[slot] = msgspec.structs.replace(self._pending[slot], is_fallback=True)
        self._record(slot, cost, limits, held_seconds)
        self._fallback.update(_units(slot, cost))

    def _put_back(self, ages: Iterable[tuple[str, float]]) -> int:
        """Redis knows these slots now. Returns how many of them were taken without it."""
        now, was_fallback = io.now(), 0
        for slot, age in ages:
            self._unreported.pop(slot, None)
            if slot in self._fallback:
                self._fallback.discard(slot)
                was_fallback += 1
            if age < 0 and self._stamps.get(slot, 0.0) <= now:
                # The slot ended while it was being put back as a held one, so its end is reported now.
                self._unreported[slot] = 1
            elif age < 0:
                self._restored.add(slot)
        return was_fallback

    def _leaving(self, name: str, window: float, now: float) -> float:
        """When a slot leaves the window. One that is held leaves it a window from now at the earliest."""
        return min(self._stamps[name], now) + window

    def _earliest_stamp(self, name: str, now: float) -> float:
        """What Redis may have stamped it with, at the earliest; now, where it is held."""
        return min(self._earliest.get(name, self._stamps[name]), now)

    def _record(
        self,
        slot: str,
        cost: int,
        limits: Iterable[Limit],
        held_seconds: float,
        earliest: float = math.inf,
    ) -> None:
        now = self._took_at = io.now()
        self._horizon = self._longest_window(limits)
        if len(self._stamps) >= self._sweep_at:
            self._forget(now)
            self._sweep_at = 2 * len(self._stamps) + SWEEP_FROM
        for name in _units(slot, cost):
            self._stamps[name] = now + held_seconds
            self._earliest[name] = min(earliest, now + held_seconds)

    def _longest_window(self, limits: Iterable[Limit]) -> float:
        """The longest window asked about (seconds), once these have been asked about as well."""
        longest = self._horizon
        for limit in (*limits, *self.limits):
            if limit.window_seconds > longest:
                longest = limit.window_seconds
        return longest

    def _report_again(self, slot: str, name: str) -> None:
        if name in self._restored:
            self._restored.discard(name)
            if slot not in self._unreported:
                self._unreported[name] = 1

    def _is_awaited(self, slot: str) -> bool:
        """True while its end must be reported, or while its ask is pending."""
        return slot in self._unreported or slot.partition("#")[0] in self._pending

    def _forget(self, now: float) -> None:
        # What has left the window since Redis last answered stays: without Redis its place is ours (_wait).
        left, heard_left = (at - self._horizon * SLOWEST for at in (now, min(now, self._last_seen_at)))
        old = [
            slot
            for slot, stamp in self._stamps.items()
            if stamp <= (left if slot in self._fallback else heard_left)
        ]
        # A slot whose end must be reported stays, as the window of another process may be longer.
        for slot in (slot for slot in old if not self._is_awaited(slot)):
            del self._stamps[slot]
            self._earliest.pop(slot, None)
            self._fallback.discard(slot)
            self._restored.discard(slot)


def _age(seconds: float) -> float:
    """``seconds`` as an age for Redis, whose clock may be slower or faster than ours.

    It makes no slot older than it is by any clock of the fleet, and no hold shorter.
    """
    return seconds / SLOWEST if seconds > 0 else seconds * SLOWEST


def _units(slot: str, cost: int) -> list[str]:
    if cost == 1:
        return [slot]
    return [slot if unit == 1 else f"{slot}#{unit}" for unit in range(1, cost + 1)]
