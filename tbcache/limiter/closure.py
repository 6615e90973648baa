"""The sources that their upstreams have closed or operators have paused, as far as this process knows.

A process that sends to an upstream while Redis is away looks here. It has learned of a closure from an answer
of the upstream to itself, or from Redis before that went away.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import Literal

import tbcache.io as io
from tbcache.models.untrusted import MOST_US, whole_number
from tbcache.store.clock import ServerClock
from tbcache.store.wire import MICROS

#: After so many seconds a paused source is looked at again, as nobody knows until when it is paused.
PAUSE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class ProcessClosure:
    """A closure or a pause of one source. ``since`` and ``until`` are moments of the monotonic clock.

    ``reason`` is the message of the upstream, or it says which operator has paused the source, and why.
    ``is_from_redis``: Redis told of it last, so Redis also knows when it is over.
    """

    since: float
    until: float
    reason: str
    is_from_redis: bool
    why: Literal["closed", "paused"] = "closed"

    @property
    def seconds(self) -> float:
        """For how long it still holds; for a pause, in how many seconds to look again."""
        return PAUSE_SECONDS if self.until == math.inf else self.until - io.now()


class Closures:
    """The closures of one process, by source."""

    def __init__(self, clock: ServerClock) -> None:
        self._clock = clock
        self._found: dict[str, ProcessClosure] = {}
        self._paused: dict[str, ProcessClosure] = {}
        self.renew()

    def renew(self) -> None:
        """Make the lock, at the start and in a forked child, where another thread of the parent may have held
        it.

        The closures hold in the child as well.
        """
        self._lock = threading.Lock()

    def close(self, source: str, seconds: float, reason: str, *, is_from_redis: bool = False) -> None:
        """Have nothing sent to ``source`` for ``seconds``. With 0 or less it is open again."""
        now = io.now()
        with self._lock:
            if seconds <= 0:
                self._found.pop(source, None)
                return
            before = self._found.get(source)
            until = max(now + seconds, before.until if before else 0.0)
            self._found[source] = ProcessClosure(now, until, reason, is_from_redis)

    def on_open(self, source: str, asked_at: float) -> None:
        """Redis has replied that ``source`` is open, to an ask that was made at ``asked_at`` (monotonic).

        A closure that Redis told of before is over then. One that the upstream told this process stays,
        because Redis may not know of it yet.
        """
        with self._lock:
            found = self._found.get(source)
            if found is not None and found.is_from_redis and found.since < asked_at:
                del self._found[source]

    def pause(self, source: str, reason: str) -> None:
        """Have nothing sent to ``source`` until :meth:`resume`."""
        with self._lock:
            since = self._paused[source].since if source in self._paused else io.now()
            self._paused[source] = ProcessClosure(since, math.inf, reason, True, "paused")

    def resume(self, source: str, asked_at: float = math.inf) -> None:
        """Redis has replied that ``source`` is not paused, to an ask that was made at ``asked_at``
        (monotonic).
        """
        with self._lock:
            if source in self._paused and self._paused[source].since < asked_at:
                del self._paused[source]

    def of(self, source: str) -> ProcessClosure | None:
        """The pause or the closure of ``source`` that holds now; None where there is none."""
        closure = self._paused.get(source) or self._found.get(source)
        return closure if closure is not None and closure.seconds > 0 else None

    # What Redis tells

    def on_notice(self, message: bytes) -> str | None:
        """Learn what the scripts tell everyone (notice.lua).

        Returns the source whose allowances somebody needs; None for any other notice, a damaged one included.
        """
        source, *closure = message.decode(errors="replace").split(" ", 2)
        if not closure:
            return source
        if closure[0] == "paused":
            self.pause(source, closure[1] if len(closure) == 2 else closure[0])
        elif closure[0] == "resumed":
            self.resume(source)
        until_us = whole_number(closure[0], most=MOST_US)
        if until_us is not None and len(closure) == 2:
            self.close_until(source, until_us, closure[1])
        return None

    def close_until(self, source: str, until_us: int, reason: str) -> None:
        """Learn until when ``source`` is closed, in the server's time."""
        now_us = self._clock.time_us(source)
        if now_us is not None:
            self.close(source, (until_us - now_us) / MICROS, reason, is_from_redis=True)
