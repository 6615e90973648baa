"""The server's clock beside ours.

Stamps are of the server's time, as processes have clocks of their own. What a process knows of that time
it has read in answers. The nodes of a cluster have clocks of their own: there, each source's is kept.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import NamedTuple

import msgspec

from tbcache.io import Mutex, now, utc_now
from tbcache.io.log import get_logger
from tbcache.store.breaker import Unavailable
from tbcache.store.wire import CLOCK_DRIFT, DAY_SECONDS, MICROS, day_at, day_of, to_micros, to_time

log = get_logger("tbcache.store")

#: For how long the server's time is told by our clock before it is asked again: it may be set.
CLOCK_SECONDS = 60.0
#: The part of the timeout in which an ask must be carried out; the rest is its answer's way.
ANSWERED_PART = 0.8


class _Range(msgspec.Struct, frozen=True):
    """How far the server's clock is ahead of ours: at least ``low`` and at most ``high`` seconds.

    The server told its time at some moment between an ask and its answer. However long either was
    under way, or this process stood still, the truth lies in between.
    """

    low: float
    high: float
    seen_at: float

    def at(self, moment: float) -> _Range:
        """The same later: the two may have gone apart by their drift."""
        drift = CLOCK_DRIFT * max(0.0, moment - self.seen_at)
        return _Range(self.low - drift, self.high + drift, moment)

    def narrowed_by(self, low: float, high: float, at: float) -> _Range:
        """What is true by this and a later one, at the moment of that: in one go, as each ask pays for it."""
        gone = at - self.seen_at
        drift = CLOCK_DRIFT * gone if gone > 0 else 0.0
        least, most = self.low - drift, self.high + drift
        return _Range(low if low > least else least, high if high < most else most, at)


class Bounds(msgspec.Struct, frozen=True):
    """When an ask is made, at the earliest, and when it is past: by the server's time (us), unless its clock
    is set."""

    asked_us: int
    deadline_us: int

    def have(self, now_us: int) -> bool:
        """Whether an ask is carried out that comes at this moment (see late.lua)."""
        return 2 * self.asked_us - self.deadline_us <= now_us <= self.deadline_us


class Jump(NamedTuple):
    """The server's clock was set, by ``seconds`` at most: where it was set back, they are below 0, and it was
    set back by so much at least. It stood as before when we last looked, at ``seen_at`` (monotonic). Since
    ``noticed_at`` it is ahead of ours by ``low`` to ``high`` seconds, unless it is set once more."""

    seconds: float
    seen_at: float
    low: float
    high: float
    noticed_at: float


#: Called with the source whose server it is.
BeforeJump = Callable[[str, Jump], Awaitable[bool]]
AfterJump = Callable[[str], Awaitable[None]]


class ServerClock:
    """What this process knows of the server's time. Moments with ``_us`` are microseconds of that time."""

    def __init__(self, ask: Callable[[str], Awaitable[int]], timeout: float, *, is_cluster: bool) -> None:
        """``ask`` asks the server that holds a source's keys for its time (us); ``timeout`` (seconds) is
        that of every ask."""
        self._ask = ask
        #: For so many seconds the answer of an ask is waited for.
        self.timeout = timeout
        #: And in so many an ask must be carried out.
        self.answered_seconds = timeout * ANSWERED_PART
        self.answered_us = to_micros(self.answered_seconds)
        self._is_cluster = is_cluster
        self._jumped: list[tuple[BeforeJump, AfterJump]] = []
        self._ranges: dict[str, _Range] = {}
        self._asking = Mutex()
        self._day = 0
        self.renew()

    def renew(self) -> None:
        """Make the lock: at the start, and after a fork, when another thread of the parent may hold it. The
        times that are known still hold then."""
        self._lock = threading.Lock()

    @property
    def is_known(self) -> bool:
        """True once the server has told its time."""
        return bool(self._ranges)

    def knows(self, source: str) -> bool:
        """True once the server that holds the source's keys has told its time."""
        return (source if self._is_cluster else "") in self._ranges

    def time_us(self, source: str = "") -> float | None:
        """The server's time by our clock; None before it is known. In a cluster: of the source's node."""
        known = self._ranges.get(source if self._is_cluster else "")
        return None if known is None else (now() + known.high) * MICROS

    def recent_us(self, source: str) -> float | None:
        """The server's time (us); None where it was not heard of for a while."""
        known = self._ranges.get(self._name(source))
        if known is None or now() - known.seen_at > CLOCK_SECONDS:
            return None
        return (now() + known.high) * MICROS

    async def now_us(self, source: str) -> float:
        """The server's time (us). A round trip where it was not heard of for a while."""
        recent = self.recent_us(source)
        return (now() + (await self._ask_now(source)).high) * MICROS if recent is None else recent

    @property
    def today(self) -> datetime:
        """Now, as the server sees it; by our own clock before its time is known."""
        now_us = self.time_us()
        return utc_now() if now_us is None else to_time(now_us)

    @property
    def day(self) -> int:
        """The UTC day of :attr:`today`, counted since the Unix epoch: that of figures, budgets and bills."""
        # Each figure that is counted pays for this: by what is known of the time it is worked out once a day.
        known, at = self._ranges.get(""), now()
        if known is None:
            return day_of(utc_now())
        seconds = at + known.high
        if not self._day * DAY_SECONDS <= seconds < (self._day + 1) * DAY_SECONDS:
            self._day = day_at(seconds * MICROS)
        return self._day

    async def deadline_us(self, source: str) -> int:
        """When an ask made now is past, in the server's time: early enough that its answer is read."""
        return (await self.bounds_us(source)).deadline_us

    async def bounds_us(self, source: str) -> Bounds:
        """:meth:`bounds_at` now, and a round trip before where the server's time is not known."""
        if not self.knows(source):
            await self.ask_first(source)
        return self.bounds_at(now(), source)

    def bounds_at(self, at: float, source: str) -> Bounds:
        """Between which moments of the server's time, which has to be known, an ask that is made at that
        moment (monotonic) is to be carried out."""
        known = self._ranges[source if self._is_cluster else ""]
        # The lower end of the range counts, so that the deadline is not later than the ask's part of the
        # timeout.
        least = at + known.low
        # Another thread may have heard of the time since that moment.
        asked = least - CLOCK_DRIFT * abs(at - known.seen_at)
        return Bounds(round(asked * MICROS), round((least + self.answered_seconds) * MICROS))

    def asked_us(self, source: str) -> int:
        """The server's time (us), at the earliest, unless its clock was set back; 0 before it is known."""
        known = (source if self._is_cluster else "") in self._ranges
        return self.moment_us(now(), source) if known else 0

    def moment_us(self, moment: float, source: str) -> int:
        """The server's time (us) at a ``moment`` of our clock, at the earliest; it has to be known."""
        known = self._ranges[source if self._is_cluster else ""]
        drift = CLOCK_DRIFT * abs(moment - known.seen_at)
        return round((moment + known.low - drift) * MICROS)

    async def learn(self, now_us: int, asked_at: float, source: str) -> None:
        """Compare the server's clock, as it answered what was asked at ``asked_at``, with ours.

        One that jumped makes every stamp wrong by as much: those that called :meth:`on_jump` are told.
        """
        if (jump := self.compare(now_us, asked_at, source)) is not None:
            await self.tell(jump, source)

    async def tell(self, jump: Jump, source: str) -> None:
        """Go by the new time, once those that called :meth:`on_jump` have put right what is wrong by it."""
        log.warning("redis.clock_jumped", seconds=round(jump.seconds, 3))
        # With the time of before, each ask of this process comes too late where the clock was set forward: no
        # thread of it takes a slot by stamps that look older than they are.
        with contextlib.suppress(Unavailable):
            for before, _ in self._jumped:
                if not await before(source, jump):
                    return
            seen = _Range(jump.low, jump.high, jump.noticed_at)
            self._ranges[self._name(source)] = self._ranges[""] = seen
            for _, after in self._jumped:
                await after(source)

    def on_jump(self, before: BeforeJump, after: AfterJump) -> None:
        """Call both when the clock of a server has jumped: ``before`` while this process goes by the old
        time, and ``after`` once it goes by the new one. Should ``before`` find the server away, or its clock
        set once more, which is False, the jump is noticed again with the next answer."""
        self._jumped.append((before, after))

    def compare(self, now_us: int, asked_at: float, source: str) -> Jump | None:
        """Go by what the server answered, see :meth:`learn`; where its clock has jumped, go on as before, and
        give the jump."""
        name, at = source if self._is_cluster else "", now()
        low, high = now_us / MICROS - at, now_us / MICROS - asked_at
        with self._lock:
            known = self._ranges.get(name)
            both = _Range(low, high, at) if known is None else known.narrowed_by(low, high, at)
            # A clock that is being corrected, by some milliseconds a second, has not jumped.
            gap = both.low - both.high
            if known is None or gap <= self.timeout:
                self._ranges[name] = self._ranges[""] = both if gap <= 0 else _Range(low, high, at)
                return None
        # Two asks may have been under way together, and the server may have carried out the other one later.
        is_later = asked_at >= known.seen_at
        seconds = high - known.at(at).low
        return Jump(seconds, known.seen_at, low, high, at) if is_later else None

    async def ask_first(self, source: str) -> None:
        """Learn the server's time before the first ask for a source: a server that is frozen must not act on
        that when it thaws."""
        async with self._asking:
            # Another thread may have asked while we waited.
            if not self.knows(source):
                await self._ask_now(source)

    async def _ask_now(self, source: str) -> _Range:
        asked_at = now()
        await self.learn(await self._ask(source), asked_at, source)
        return self._ranges[self._name(source)]

    def _name(self, source: str) -> str:
        return source if self._is_cluster else ""
