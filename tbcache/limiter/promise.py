"""The slots that a process was promised, which begin when other slots leave the window.

A promise holds only while no process of the fleet is absent. An absent process may be cut off from Redis, and
then it may take what leaves the window without asking. So a process uses a promised slot only while it knows
that a moment ago no process was absent.
"""

from __future__ import annotations

import math

import tbcache.io as io
from tbcache.store.wire import CLOCK_DRIFT

#: A promise holds for so long after the last moment at which no process was known to be absent.
PROMISE_SECONDS = 0.25
#: A span by our clock may be shorter by this factor than the same span by the slowest clock of the fleet.
#: What has to be over by every clock is therefore waited for as much longer (docs/limits.md).
SLOWEST = 1 + CLOCK_DRIFT


class Promises:
    """The promises of one source, as one process knows them. All moments are monotonic."""

    def __init__(self) -> None:
        self._all_present_at = math.inf
        self._promised_until = -math.inf

    def record_fleet(self, at: float, *, are_all_present: bool) -> None:
        """Record whether all processes of the fleet were present at the moment ``at``."""
        self._all_present_at = at if are_all_present else -math.inf

    def record(self, starts_at: float, asked_at: float) -> None:
        """Record that a slot is promised from ``starts_at`` on.

        Redis promises none while a process is absent, so at ``asked_at`` all were present.
        """
        self._promised_until = max(self._promised_until, starts_at)
        if self._all_present_at < asked_at:
            self._all_present_at = asked_at

    @property
    def are_kept(self) -> bool:
        """False where another process may be going on without Redis, and take what was promised to this one.

        It is true before the first beat, because until then no other process is known.
        """
        return io.now() - self._all_present_at <= PROMISE_SECONDS / SLOWEST

    def need_beat(self, seconds: float) -> bool:
        """True while a slot is promised and the last news of the fleet is ``seconds`` old or older."""
        now = io.now()
        return now < self._promised_until and now - self._all_present_at >= seconds
