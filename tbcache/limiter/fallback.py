"""Slots that are taken without Redis, from this process's share of each limit."""

from __future__ import annotations

from collections.abc import Sequence

from tbcache.limiter.closure import Closures
from tbcache.limiter.shortage import Shortage
from tbcache.limiter.window import Windows
from tbcache.models import Limit


class FallbackSlots:
    """Takes slots while Redis cannot be used."""

    def __init__(self, windows: Windows, closures: Closures) -> None:
        self._windows, self._closures = windows, closures

    def closed(self, source: str) -> Shortage | None:
        """The closure or the pause of ``source``, as far as this process knows of one."""
        closure = self._closures.of(source)
        return None if closure is None else Shortage(closure.seconds, closure.why, closure.reason)

    def take(
        self, source: str, slot: str, cost: int, limits: Sequence[Limit], held_seconds: float
    ) -> Shortage | None:
        """Take a slot of ``source`` from this process's share of each limit. None where it was taken."""
        window = self._windows.of(source)
        with window.together():
            if (closed := self.closed(source)) is not None:
                return closed
            return self._shortage(source, limits, window.take(slot, cost, limits, held_seconds))

    def look(self, source: str, cost: int, limits: Sequence[Limit]) -> Shortage | None:
        """What :meth:`take` would return. This takes nothing."""
        window = self._windows.of(source)
        seconds = max(window.wait(limit, cost) for limit in limits)
        return self.closed(source) or self._shortage(source, limits, seconds)

    def _shortage(self, source: str, limits: Sequence[Limit], seconds: float) -> Shortage | None:
        if seconds <= 0:
            return None
        reason = self._windows.of(source).why_not(limits, self._windows.why_alone(source))
        return Shortage(seconds, "share", reason)
