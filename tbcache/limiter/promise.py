"""The slots that a process was promised, which begin when other slots leave the window.

A promise holds only while no process of the fleet is absent. An absent process may be cut off from Redis, and
then it may take what leaves the window without asking, and be back when the slot begins. So a process uses a
promised slot only where it knows that no process was absent since it was promised. Redis says with the
promise, and with each beat, for how long nobody will be: until the first of them has been silent for so long
that it counts as absent.
"""

from __future__ import annotations

import math
import threading

import tbcache.io as io
from tbcache.store.wire import CLOCK_DRIFT

#: So long before somebody may be absent it is asked again, where a slot is promised.
MARGIN_SECONDS = 0.05
#: A span by our clock may be shorter by this factor than the same span by the slowest clock of the fleet.
#: What has to be over by every clock is therefore waited for as much longer (docs/limits.md).
SLOWEST = 1 + CLOCK_DRIFT


class Promises:
    """The promises of one source, as one process knows them. All moments are monotonic.

    Each look at the fleet says until when nobody is absent. It was taken at some moment between its ask and
    its answer, and one ask may overtake another. So a look voids all that was promised before its answer,
    unless the last one reaches to that.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._looked_at = self._present_until = math.inf
        #: What was promised before may be what somebody has taken who was absent.
        self._unbroken_since = -math.inf
        self._promised_until = -math.inf

    def record_fleet(self, at: float, present: float) -> None:
        """Record that no process is absent for ``present`` seconds, as Redis has answered an ask of the
        moment ``at``; 0.0 where one is.
        """
        with self._lock:
            self._look(at, at + present / SLOWEST if present > 0 else -math.inf)

    def record(self, starts_at: float, asked_at: float, present: float) -> float:
        """Record that a slot is promised from ``starts_at`` on, to an ask of the moment ``asked_at``;
        ``present`` is that of :meth:`record_fleet`. Returns since when it stands, for :meth:`is_kept`.
        """
        with self._lock:
            self._promised_until = max(self._promised_until, starts_at)
            until = asked_at + present / SLOWEST
            if until < io.now():
                # Its own look does not reach to its answer.
                return -math.inf
            self._look(max(asked_at, self._looked_at), max(until, self._present_until))
            return io.now()

    def _look(self, at: float, until: float) -> None:
        now = io.now()
        if self._present_until < now <= until:
            self._unbroken_since = now
        self._looked_at, self._present_until = at, until

    def is_kept(self, since: float) -> bool:
        """False where another process may be going on without Redis, or has been, and may have taken what was
        promised ``since`` then.

        It is true before the first beat, because until then no other process is known.
        """
        return io.now() <= self._present_until and since >= self._unbroken_since

    def beat_at(self, seconds: float) -> float:
        """When to look at the fleet again, at most ``seconds`` after the last time: never where no slot is
        promised.
        """
        if io.now() >= self._promised_until:
            return math.inf
        return min(self._looked_at + seconds, self._present_until - MARGIN_SECONDS)
