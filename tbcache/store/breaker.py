"""Whether the server can be used.

The first call that fails opens the breaker: from then on calls fail at once, while a thread of our own asks
again and again whether the server is back. What went on without it is put right before anyone else uses it.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterable
from typing import Protocol

import redis

from tbcache.io import now
from tbcache.io.background import BackgroundThread
from tbcache.io.log import get_logger
from tbcache.models.error import ConfigurationError, RedisUnreachable
from tbcache.store.fault import is_passing, is_refusal, may_be_done, reason_of

log = get_logger("tbcache.store")

PROBE_SECONDS = 0.1
#: A server that is there and refuses to work is asked less and less often, at least so often.
LONGEST_PROBE_SECONDS = 1.0
#: A server that is away again so soon after its return is asked less and less often.
RELAPSE_SECONDS = 2.0
#: And for who had no time to be heard of meanwhile, it has been away all along.
LULL_SECONDS = 10.0


class Unavailable(RedisUnreachable):
    """The store cannot be used now; callers go on without it. ``is_timeout``: it did not answer in time,
    and may have done what it was asked."""

    is_timeout = False


class Refused(Unavailable):
    """The server answers, but refuses this very call: for what a key holds, or for want of a right.

    ``is_bug``: neither; a script of ours is wrong.
    """

    def __init__(self, address: str, reason: str, *, is_bug: bool = False) -> None:
        super().__init__(address, reason, is_refusal=True)
        self.is_bug = is_bug


class Repair(Protocol):
    """What must be put right before the server is used again."""

    @property
    def is_needed(self) -> bool:
        """True while the server is there, and something that it holds cannot be used."""

    def is_concerned(self, was_away: bool) -> bool:
        """Whether there is anything to put right."""

    def quiet_at(self, was_away: bool) -> float:
        """From when on the server carries out nothing that it was asked before (monotonic)."""

    def repair(self, was_away: bool) -> bool:
        """Put it right; False where nothing could be. Raises Unavailable: the server is away."""

    def done(self) -> None:
        """The server is used again."""


class Breaker:
    """Open while the server cannot be used; closed otherwise."""

    def __init__(
        self,
        address: str,
        timeout: float,
        *,
        is_configured: bool,
        greet: Callable[[], None],
    ) -> None:
        """``greet`` asks the server whether it is back, and may be used: it raises Unavailable, or
        ConfigurationError where it is another kind of server.
        """
        self._address = address if is_configured else ""
        self._timeout, self._is_configured = timeout, is_configured
        self._greet = greet
        self._first: list[Callable[[], None]] = []
        self._then: list[Callable[[], None]] = []
        self._repairs: list[Repair] = []
        self._prober = BackgroundThread("tbcache-probe", self._probe)
        self._probe_seconds = PROBE_SECONDS
        self._lost_at = self._returned_at = -math.inf
        #: True while the server is there, and refuses; or only does not answer yet.
        self.is_refusing = self.is_passing = False
        self.renew()

    def renew(self) -> None:
        """Begin anew: at the start, and after a fork."""
        self._lock = threading.Lock()
        #: Why the server cannot be used; None while it can.
        self.reason: str | None = None if self._is_configured else "no REDIS_URL is set"
        self.is_closed = False
        #: True once it is known that this process may use what the server holds.
        self.is_greeted = False
        #: True where the server holds data of another layout, whose processes use the keys otherwise.
        self.has_other_layout = False
        #: True while what went on without the server is put right.
        self.is_returning = False

    @property
    def is_ours(self) -> bool:
        """True in the thread that asks for the server, and may use it before all others."""
        return self._prober.is_current

    @property
    def absence(self) -> tuple[float, float]:
        """How many seconds ago the server went away the last time, and how many ago it was back; infinitely
        many where this process knows of none."""
        moment = now()
        return moment - self._lost_at, moment - self._returned_at

    def check(self) -> None:
        """
        Raises:
          Unavailable: the server is away, or was a moment ago.
        """
        reason = self.reason
        if reason is not None and not self.is_ours:
            raise Unavailable(self._address, reason, is_refusal=self.is_refusing, is_passing=self.is_passing)

    def open(self, error: Exception) -> Unavailable:
        """The server is away, as ``error`` says: what to raise for it."""
        self._lost(error)
        unavailable = Unavailable(
            self._address, reason_of(error), is_refusal=is_refusal(error), is_passing=is_passing(error)
        )
        unavailable.is_timeout = may_be_done(error)
        return unavailable

    def overdue(self) -> Unavailable:
        """The server acts too late to be waited for: it counts as away from now on."""
        return self.open(redis.TimeoutError())

    def greet_again(self) -> None:
        """What the server holds may be another's by now: ask before the next call."""
        self.is_greeted = False

    def look_again(self, *, is_news: bool) -> None:
        """The server is there, and something that it holds cannot be used: see :class:`Repair`."""
        if is_news:
            with self._lock:
                self._schedule_probe(is_there=True)
        # The calls that are under way are over by then.
        self._prober.start(after=max(self._timeout, self._probe_seconds))

    def on_return(self, callback: Callable[[], None], *, is_first: bool = False) -> None:
        """Call ``callback`` each time the server is back, before anyone else uses it again; ``is_first``:
        before the server takes note that this process is there, too.

        One that raises :class:`Unavailable` is called again at the next try.
        """
        (self._first if is_first else self._then).append(callback)

    def repair_with(self, repair: Repair) -> None:
        """Have ``repair`` done at each return, and while it is needed."""
        self._repairs.append(repair)

    def close(self) -> None:
        """Every call from now on raises Unavailable."""
        with self._lock:
            self.is_closed = True
            self.reason = "closed"
            self.is_refusing = self.is_passing = False
        self._prober.stop(timeout=0.0)

    def _lost(self, error: Exception) -> None:
        reason, is_there = reason_of(error), is_refusal(error)
        with self._lock:
            if self.is_closed:
                return
            self.is_greeted = False
            is_news, self.reason = self.reason is None, reason
            self.is_refusing, self.is_passing = is_there, is_passing(error)
            if is_news:
                self._schedule_probe(is_there)
                if now() - self._returned_at >= LULL_SECONDS:
                    self._lost_at = now()
        if is_news:
            log.warning("redis.lost", address=self._address, reason=reason)
            self._prober.start(after=self._probe_seconds)

    def _schedule_probe(self, is_there: bool) -> None:
        """Choose when to ask first: later, where a server is back and refuses again. The lock is held."""
        is_relapse = now() - self._returned_at < RELAPSE_SECONDS
        self._probe_seconds = _longer(self._probe_seconds) if is_relapse and is_there else PROBE_SECONDS

    def _probe(self) -> float | None:
        """Ask whether the server is back, and whether what our scripts stumbled over is mended."""
        if self.is_closed:
            return None
        try:
            self._come_back()
            is_refused = self._is_repair_needed
        except Unavailable as error:
            is_refused = error.is_refusal
        except ConfigurationError:
            is_refused = True
        if self.reason is None and not self._is_repair_needed:
            return None
        if is_refused:
            # It is there, and has better things to do; one that is not there costs nothing to ask.
            self._probe_seconds = _longer(self._probe_seconds)
        return self._probe_seconds

    @property
    def _is_repair_needed(self) -> bool:
        return any(repair.is_needed for repair in self._repairs)

    def _come_back(self) -> None:
        """Ask the server, then let everyone put right what went on without it, and use it again.

        Raises:
          Unavailable: it is away still. ConfigurationError: it is another kind of server.
        """
        was_away = self.reason is not None
        if was_away:
            self._greet()
        self._await_quiet(was_away)
        self.is_returning = True
        try:
            if self._put_right(was_away):
                self._call_back(self._then)
                with self._lock:
                    self.reason = "closed" if self.is_closed else None
                for repair in self._repairs:
                    repair.done()
                self._returned_at = now()
        finally:
            self.is_returning = False
        if was_away:
            log.info("redis.returned", address=self._address)

    def _await_quiet(self, was_away: bool) -> None:
        """What is put right must not be changed by what was asked before. The others go on without Redis."""
        quiet_at = max((repair.quiet_at(was_away) for repair in self._repairs), default=-math.inf)
        if (left := quiet_at - now()) > 0:
            self._prober.pause(left)

    def _put_right(self, was_away: bool) -> bool:
        """Whether the server can be used again, or more of it than before."""
        concerned = [repair for repair in self._repairs if repair.is_concerned(was_away)]
        self._call_back(self._first if was_away or concerned else [])
        # Every repair is tried: one that is done does not stand for the others.
        is_mended = [repair.repair(was_away) for repair in concerned]
        return was_away or any(is_mended)

    def _call_back(self, callbacks: Iterable[Callable[[], None]]) -> None:
        for callback in callbacks:
            # A refusal that is about one key must not keep everything else from coming back.
            with contextlib.suppress(Refused):
                callback()


def _longer(seconds: float) -> float:
    return min(2 * seconds, LONGEST_PROBE_SECONDS)
