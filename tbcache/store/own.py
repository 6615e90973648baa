"""What this process itself has sent: its part of every window, known without Redis.

While Redis is away a process goes on with its share of each limit, counted here;
the shares of the fleet add up to the limit. When Redis is back, these slots are put
there before anyone takes new ones.

Redis may be away from this process alone. The others go on as ever for
``ABSENT_SECONDS`` after they last heard of it, and keep its share free from then on
(slots.lua). A slot that was promised to them, for when ours would leave, they use only
as long as they know that nobody is silent, as of ``PROMISE_SECONDS`` ago. So what of ours
leaves the window in both times is theirs, and we go on as if it were still in use;
whatever leaves later, we may take again.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterable, Sequence

from tbcache.models import Limit

SWEEP_FROM = 256
#: Silent for longer, a process may be cut off and sending on its own. Also in slots.lua.
ABSENT_SECONDS = 0.45
#: A promise is kept for so long after it was known that nobody is silent.
PROMISE_SECONDS = 0.25
#: Until when the others may use what leaves of ours, once we are silent.
THEIRS_SECONDS = ABSENT_SECONDS + PROMISE_SECONDS
#: Redis is just coming back: how soon to ask again.
RETURN_SECONDS = 0.01
#: What a share may miss by its rounding.
ROUNDING = 1e-6


class OwnSlots:
    """One source's slots taken by this process, stamped by its monotonic clock."""

    def __init__(self, may_go_alone: threading.Event | None = None) -> None:
        """``may_go_alone`` is cleared while Redis is told what was taken without it."""
        self._may_go_alone = may_go_alone
        self._lock = threading.Lock()
        self._stamps: dict[str, float] = {}
        #: Those taken without Redis since it was last heard of.
        self._alone: set[str] = set()
        self._horizon = 0.0
        self._sweep_at = SWEEP_FROM
        self._heard_at = -math.inf
        self._free = 1.0
        #: When nobody was silent; without beats we cannot know, and nobody tells us of a fleet.
        self._whole_at = math.inf
        self._promised_until = -math.inf
        #: The part of each limit that is this process's own while Redis is away.
        self.share = 1.0
        #: The source's limits, once it is used.
        self.limits: tuple[Limit, ...] = ()

    @property
    def horizon(self) -> float:
        """The longest window asked about, in seconds."""
        return self._horizon

    @property
    def heard_at(self) -> float:
        """When Redis last answered about this source (monotonic)."""
        return self._heard_at

    def hear(self, free: float) -> None:
        """Redis has answered just now, and ``free`` of the tightest limit was left."""
        with self._lock:
            self._heard_at, self._free = time.monotonic(), free
            self._alone.clear()

    def hear_fleet(self, at: float, *, is_whole: bool) -> None:
        """Nobody, or somebody, of the fleet was silent ``at`` that moment (monotonic)."""
        self._whole_at = at if is_whole else -math.inf

    def promise(self, starts_at: float, asked_at: float) -> None:
        """A slot is ours from ``starts_at`` on; none is promised while somebody is silent."""
        self._promised_until = max(self._promised_until, starts_at)
        if self._whole_at < asked_at:
            self._whole_at = asked_at

    @property
    def keeps_promises(self) -> bool:
        """False when somebody may be going on alone, and take again what was promised to us."""
        return time.monotonic() - self._whole_at <= PROMISE_SECONDS

    def needs_word(self, seconds: float) -> bool:
        """True while a slot is promised and nothing was heard of the fleet for ``seconds``."""
        now = time.monotonic()
        return now < self._promised_until and now - self._whole_at >= seconds

    def record(self, slot: str, cost: int, limits: Iterable[Limit], held_seconds: float) -> None:
        """Note a slot that was granted; it counts as sent ``held_seconds`` from now until committed."""
        with self._lock:
            self._record(slot, cost, limits, held_seconds)

    def commit(self, slot: str, cost: int) -> None:
        """The answer is in: lower the stamps to now."""
        now = time.monotonic()
        with self._lock:
            for name in _units(slot, cost):
                if name in self._stamps:
                    self._stamps[name] = min(self._stamps[name], now)

    def release(self, slot: str, cost: int) -> None:
        """Nothing was sent."""
        with self._lock:
            for name in _units(slot, cost):
                self._stamps.pop(name, None)
                self._alone.discard(name)

    def clear(self) -> None:
        with self._lock:
            self._stamps.clear()
            self._alone.clear()

    def take(self, slot: str, cost: int, limits: Sequence[Limit], held_seconds: float) -> float:
        """Take a slot without Redis, within this process's share of each limit.

        Returns the seconds to wait; 0.0 when it is taken.
        """
        with self._lock:
            if self._may_go_alone is not None and not self._may_go_alone.is_set():
                return RETURN_SECONDS
            wait = max(self._wait(limit, cost) for limit in limits)
            if wait == 0.0:
                self._record(slot, cost, limits, held_seconds)
                self._alone.update(_units(slot, cost))
        return wait

    def used(self, limit: Limit) -> int:
        """How many slots stand in the limit's window."""
        since = time.monotonic() - limit.window_seconds
        with self._lock:
            return sum(1 for stamp in self._stamps.values() if stamp > since)

    def mine(self, limit: Limit) -> int:
        """How many slots of a window are this process's own while Redis is away."""
        return math.floor(limit.count * self.share + ROUNDING)

    def wait(self, limit: Limit, cost: int) -> float:
        """Seconds until ``cost`` slots could be taken without Redis; 0.0 for now."""
        with self._lock:
            return self._wait(limit, cost)

    def ages(self) -> list[tuple[str, float]]:
        """Every slot with its age in seconds; negative while it is held."""
        now = time.monotonic()
        with self._lock:
            self._forget(now)
            return [(slot, now - stamp) for slot, stamp in self._stamps.items()]

    def _wait(self, limit: Limit, cost: int) -> float:
        now, window = time.monotonic(), limit.window_seconds
        share = self.mine(limit)
        if cost > share:
            return window
        alone = sorted(at for name in self._alone if (at := self._leaving(name, window, now)) > now)
        waits = [_until(alone, len(alone) + cost - share, now)]
        noticed = self._heard_at + THEIRS_SECONDS
        if now < noticed + window:
            # The others' slots of before are still in the window, beside as many of ours
            # as there were then; of what was free, each may take his part.
            known = [name for name in self._stamps if name not in self._alone]
            leaving = [self._leaving(name, window, now) for name in known]
            before = [at for at in leaving if at > self._heard_at]
            taken = [noticed + window if at <= noticed else at for at in before]
            inside = sorted(at for at in (*taken, *alone) if at > now)
            room = math.floor(limit.count * max(0.0, self._free) * self.share + ROUNDING)
            waits.append(_until(inside, len(inside) + cost - len(before) - room, now))
        else:
            inside = sorted(at for at in (self._leaving(n, window, now) for n in self._stamps) if at > now)
            waits.append(_until(inside, len(inside) + cost - share, now))
        return max(waits)

    def _leaving(self, name: str, window: float, now: float) -> float:
        """When a slot leaves the window: one that is held, a window from now at the earliest."""
        return min(self._stamps[name], now) + window

    def _record(self, slot: str, cost: int, limits: Iterable[Limit], held_seconds: float) -> None:
        now = time.monotonic()
        self._horizon = max(self._horizon, *(limit.window_seconds for limit in limits))
        if len(self._stamps) >= self._sweep_at:
            self._forget(now)
            self._sweep_at = 2 * len(self._stamps) + SWEEP_FROM
        for name in _units(slot, cost):
            self._stamps[name] = now + held_seconds

    def _forget(self, now: float) -> None:
        gone = [slot for slot, stamp in self._stamps.items() if stamp <= now - self._horizon]
        for slot in gone:
            del self._stamps[slot]
            self._alone.discard(slot)


def _until(leaving: Sequence[float], over: int, now: float) -> float:
    """Seconds until ``over`` of the slots that leave at these moments have left; 0.0 for none."""
    if over <= 0:
        return 0.0
    # A window that is full of others opens when they say so: look again soon.
    at = leaving[over - 1] if over <= len(leaving) else now + ABSENT_SECONDS
    return max(0.001, at - now)


def _units(slot: str, cost: int) -> list[str]:
    return [slot if unit == 1 else f"{slot}#{unit}" for unit in range(1, cost + 1)]
