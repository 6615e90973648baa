"""Sources that their upstreams have closed, or operators have paused, as far as this process has heard: known
without Redis.

Whoever sends to an upstream while Redis is away looks here. That it said stop was heard in an answer to this
process, or from Redis before it went.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import Literal

import tbcache.io as io

#: How soon to look again at a source that is paused: nobody knows until when.
PAUSE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class ProcessClosure:
    """``since`` and ``until`` are moments of the monotonic clock; ``reason`` is the upstream's, or says which
    operator has paused it, and why. ``is_from_redis``: it was heard from Redis last, which then knows when it
    ends."""

    since: float
    until: float
    reason: str
    is_from_redis: bool
    why: Literal["closed", "paused"] = "closed"

    @property
    def seconds(self) -> float:
        """How long it still lasts; of a pause, when to look again."""
        return PAUSE_SECONDS if self.until == math.inf else self.until - io.now()


class Closures:
    """The closures of one process, by source."""

    def __init__(self) -> None:
        self._found: dict[str, ProcessClosure] = {}
        self._paused: dict[str, ProcessClosure] = {}
        self.renew()

    def renew(self) -> None:
        """Make the lock: at the start, and after a fork, when another thread of the parent may have held it.
        The closures themselves still hold then."""
        self._lock = threading.Lock()

    def close(self, source: str, seconds: float, reason: str, *, is_from_redis: bool = False) -> None:
        """Send ``source`` nothing for ``seconds``; with 0 or less it is open again."""
        now = io.now()
        with self._lock:
            if seconds <= 0:
                self._found.pop(source, None)
                return
            before = self._found.get(source)
            until = max(now + seconds, before.until if before else 0.0)
            self._found[source] = ProcessClosure(now, until, reason, is_from_redis)

    def on_open(self, source: str, asked_at: float) -> None:
        """Redis says, to an ask of ``asked_at`` (monotonic), that ``source`` is open. What it said before is
        over; what an upstream told this process itself stays, as Redis may not know it yet."""
        with self._lock:
            found = self._found.get(source)
            if found is not None and found.is_from_redis and found.since < asked_at:
                del self._found[source]

    def pause(self, source: str, reason: str) -> None:
        """Send ``source`` nothing until :meth:`resume`."""
        with self._lock:
            since = self._paused[source].since if source in self._paused else io.now()
            self._paused[source] = ProcessClosure(since, math.inf, reason, True, "paused")

    def resume(self, source: str, asked_at: float = math.inf) -> None:
        """Redis says, to an ask of ``asked_at`` (monotonic), that ``source`` is not paused."""
        with self._lock:
            if source in self._paused and self._paused[source].since < asked_at:
                del self._paused[source]

    def of(self, source: str) -> ProcessClosure | None:
        """The pause of ``source``, or the closure that still holds."""
        closure = self._paused.get(source) or self._found.get(source)
        return closure if closure is not None and closure.seconds > 0 else None
