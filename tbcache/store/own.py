"""What this process itself has sent: its part of every window, known without Redis.

While Redis is away a process goes on with its share of each limit, counted here;
the shares of the fleet add up to the limit. When Redis is back, these slots are put
there before anyone takes new ones.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence

from tbcache.models import Limit

SWEEP_FROM = 256


class OwnSlots:
    """One source's slots taken by this process, stamped by its monotonic clock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stamps: dict[str, float] = {}
        self._horizon = 0.0
        self._sweep_at = SWEEP_FROM

    @property
    def horizon(self) -> float:
        """The longest window asked about, in seconds."""
        return self._horizon

    def record(self, slot: str, cost: int, limits: Iterable[Limit], held_seconds: float) -> None:
        """Note a slot that was granted; it counts as sent ``held_seconds`` from now until committed."""
        now = time.monotonic()
        with self._lock:
            self._horizon = max(self._horizon, *(limit.window_seconds for limit in limits))
            if len(self._stamps) >= self._sweep_at:
                self._forget(now)
                self._sweep_at = 2 * len(self._stamps) + SWEEP_FROM
            for unit in range(1, cost + 1):
                self._stamps[_unit(slot, unit)] = now + held_seconds

    def commit(self, slot: str, cost: int) -> None:
        """The answer is in: lower the stamps to now."""
        now = time.monotonic()
        with self._lock:
            for unit in range(1, cost + 1):
                name = _unit(slot, unit)
                if name in self._stamps:
                    self._stamps[name] = min(self._stamps[name], now)

    def release(self, slot: str, cost: int) -> None:
        """Nothing was sent."""
        with self._lock:
            for unit in range(1, cost + 1):
                self._stamps.pop(_unit(slot, unit), None)

    def clear(self) -> None:
        with self._lock:
            self._stamps.clear()

    def take(
        self, slot: str, cost: int, limits: Sequence[Limit], held_seconds: float, *, parts: int
    ) -> float:
        """Take a slot within one of ``parts`` equal shares of each limit.

        Returns the seconds to wait; 0.0 when it is taken.
        """
        with self._lock:
            wait = max(self._wait(limit, cost, parts) for limit in limits)
        if wait == 0.0:
            self.record(slot, cost, limits, held_seconds)
        return wait

    def used(self, limit: Limit) -> int:
        """How many slots stand in the limit's window."""
        since = time.monotonic() - limit.window_seconds
        with self._lock:
            return sum(1 for stamp in self._stamps.values() if stamp > since)

    def wait(self, limit: Limit, cost: int, parts: int) -> float:
        """Seconds until ``cost`` slots could be taken; 0.0 for now."""
        with self._lock:
            return self._wait(limit, cost, parts)

    def ages(self) -> list[tuple[str, float]]:
        """Every slot with its age in seconds; negative while it is held."""
        now = time.monotonic()
        with self._lock:
            self._forget(now)
            return [(slot, now - stamp) for slot, stamp in self._stamps.items()]

    def _wait(self, limit: Limit, cost: int, parts: int) -> float:
        now = time.monotonic()
        mine = limit.count // parts
        if cost > mine:
            return limit.window_seconds
        inside = sorted(stamp for stamp in self._stamps.values() if stamp > now - limit.window_seconds)
        over = len(inside) + cost - mine
        if over <= 0:
            return 0.0
        return max(0.001, min(inside[over - 1], now) + limit.window_seconds - now)

    def _forget(self, now: float) -> None:
        gone = [slot for slot, stamp in self._stamps.items() if stamp <= now - self._horizon]
        for slot in gone:
            del self._stamps[slot]


def _unit(slot: str, unit: int) -> str:
    return slot if unit == 1 else f"{slot}#{unit}"
