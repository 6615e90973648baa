"""The slots that a process was promised: they begin when other slots leave the window.

A promise holds only while nobody of the fleet is absent: an absent process may be cut off, and take without
Redis what leaves the window. So a process keeps a promise only as long as it knows that nobody was absent a
moment ago.
"""

from __future__ import annotations

import math

import tbcache.io as io
from tbcache.store.wire import CLOCK_DRIFT

#: A promise is kept for so long after it was known that nobody is absent.
PROMISE_SECONDS = 0.25
#: A span by our clock may be shorter by this factor than by the slowest clock of the others: what has to be
#: over for them, too, is waited for by as much more (docs/limits.md).
SLOWEST = 1 + CLOCK_DRIFT


class Promises:
    """What one process knows of the promises of one source. All moments are monotonic."""

    def __init__(self) -> None:
        self._all_present_at = math.inf
        self._promised_until = -math.inf

    def record_fleet(self, at: float, *, are_all_present: bool) -> None:
        """Record that nobody of the fleet was absent at the moment ``at``, or that somebody was."""
        self._all_present_at = at if are_all_present else -math.inf

    def record(self, starts_at: float, asked_at: float) -> None:
        """Record that a slot is ours from ``starts_at`` on. None is promised while somebody is absent."""
        self._promised_until = max(self._promised_until, starts_at)
        if self._all_present_at < asked_at:
            self._all_present_at = asked_at

    @property
    def are_kept(self) -> bool:
        """False when somebody may be going on without Redis, and take again what was promised to us.

        It is true before the first beat, as nobody has told us of anybody.
        """
        return io.now() - self._all_present_at <= PROMISE_SECONDS / SLOWEST

    def need_beat(self, seconds: float) -> bool:
        """True while a slot is promised and nothing was learned of the fleet for ``seconds``."""
        now = io.now()
        return now < self._promised_until and now - self._all_present_at >= seconds
