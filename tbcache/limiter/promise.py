"""The slots that a process was promised, which begin when other slots leave the window.

A promise holds only while no process of the fleet is absent. An absent process may be cut off from Redis, and
then it may take what leaves the window without asking, and be back when the slot begins. So a process uses a
promised slot only where it knows that no process was absent since it was promised, until a moment ago.
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
        #: Since then no process was absent for so long that it may have taken something.
        self._unbroken_since = -math.inf
        self._promised_until = -math.inf

    def record_fleet(self, at: float, *, are_all_present: bool) -> None:
        """Record whether all processes of the fleet were present, as Redis has answered an ask of the moment
        ``at``.
        """
        if are_all_present and io.now() - self._all_present_at > PROMISE_SECONDS / SLOWEST:
            self._unbroken_since = at
        self._all_present_at = at if are_all_present else -math.inf

    def record(self, starts_at: float, asked_at: float) -> None:
        """Record that a slot is promised from ``starts_at`` on, to an ask of the moment ``asked_at``.

        Redis promises none while a process is absent, so all were present.
        """
        self._promised_until = max(self._promised_until, starts_at)
        if self._all_present_at < asked_at:
            self.record_fleet(asked_at, are_all_present=True)

    def is_kept(self, asked_at: float) -> bool:
        """False where another process may be going on without Redis, or has since ``asked_at``, and may have
        taken what was promised to this one then.

        It is true before the first beat, because until then no other process is known.
        """
        is_known = io.now() - self._all_present_at <= PROMISE_SECONDS / SLOWEST
        return is_known and asked_at >= self._unbroken_since

    def need_beat(self, seconds: float) -> bool:
        """True while a slot is promised and the last news of the fleet is ``seconds`` old or older."""
        now = io.now()
        return now < self._promised_until and now - self._all_present_at >= seconds
