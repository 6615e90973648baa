"""The jobs of one queue that this process has in hand."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import dramatiq
from dramatiq.broker import MessageProxy

from tbcache.io import now
from tbcache.io.trace import Span
from tbcache.models.bounded import Bounded
from tbcache.queue.job import Finish
from tbcache.queue.thread import Threads
from tbcache.store.script import Argument

#: Of so many jobs that this worker cannot run it knows how often it has met them.
MOST_PUT_OFF = 10_000


class HeldJob(MessageProxy):
    """A job in hand. ``claim`` names this hand-out of it; ``finish`` is what is to become of it, None for
    what dramatiq says at its end. ``is_fetch``: its actor is a source's own, and no user's. ``is_begun``: the
    actor was called.
    """

    finish: Finish | None = None

    def __init__(self, message: dramatiq.Message[Any], claim: bytes, *, is_fetch: bool) -> None:
        super().__init__(message)
        self.claim = claim
        self.is_fetch = is_fetch
        #: Until when it is this process's (monotonic), as far as that is known.
        self.holds_until: Callable[[], float] = lambda: math.inf
        #: Called with it once its actor is through; True where another has it by now.
        self.is_given_away: Callable[[HeldJob], bool] = lambda job: False
        #: Called by the thread that takes it up; False where the job was given back before.
        self.take_up: Callable[[], bool] = lambda: True
        #: The slot that it came with, if one did.
        self.slot: str | None = None
        self.is_begun = False
        #: An operator has cancelled it while it was in hand: it is over, whatever comes of it.
        self.is_cancelled = False
        #: The thread in which its actor runs, whether that was interrupted, and what the thread holds from
        #: the actor's end on: until then it may be (see cancel.py).
        self.thread: int | None = None
        self.is_interrupted = False
        self.ending = threading.Lock()
        #: When a thread took it up (monotonic).
        self.began_at = now()
        #: When its actor was through (monotonic).
        self.ended_at = self.began_at
        #: The fields by which the log names it.
        self.names: dict[str, str] = {}
        #: What its end sends, as the next step of a pipeline, and after how many milliseconds each: queued
        #: before it is said to be done.
        self.following: list[tuple[dramatiq.Message[Any], int]] = []
        #: The one in which it is processed.
        self.span: Span | None = None

    def decide(self, finish: Finish) -> Finish:
        """What becomes of it: this, where that was not decided before; in one step, as another thread may
        queue it once more as it ends."""
        decided: Finish = vars(self).setdefault("finish", finish)
        return decided

    def cancel(self) -> None:
        """Nobody wants what comes of it."""
        self.is_cancelled = True
        self.options["store_results"] = False


class EndedJob(NamedTuple):
    """A job that is in hand no longer, how many slots of it are to be committed, and the job itself, where
    its actor may have been called. Where it ``has_failed``, and does not come again, its caller is left
    without an answer. ``is_again``: Redis was told of it before, and may have heard that.
    """

    claim: bytes
    finish: Finish
    used: int = 0
    job: HeldJob | None = None
    has_failed: bool = False
    is_again: bool = False


class Hand:
    """The claims that are to be renewed, the threads that their jobs have, and the slots that are to be held.

    It outlives the consumer: one that breaks off is replaced while its jobs go on.
    """

    def __init__(self, threads: Threads, queue: str) -> None:
        self._threads = threads
        self._queue = queue
        self._lock = threading.Lock()
        self._taken: dict[bytes, int] = {}
        #: The claims of those that no thread has taken up, the oldest first.
        self._unbegun: dict[bytes, None] = {}
        #: The jobs whose slots nobody else ends.
        self._used: dict[bytes, int] = {}
        #: The ends of jobs that Redis has not been told of yet: they ended while others were being told of,
        #: or while Redis is away.
        self.unsaid: deque[EndedJob] = deque()
        #: Until when the claims hold (monotonic), by the last time that they were renewed.
        self.holds_until = math.inf
        #: Those of them that Redis did not know any more after they had not been renewed in time: others have
        #: these jobs, or have done them.
        self.lost: set[bytes] = set()
        #: Parts of the names of claims that Redis may have handed out in answers that were lost.
        self.unheard: list[str] = []
        #: Held by whoever says it; the others need not wait.
        self.saying = threading.Lock()
        #: The unknown actors and options of messages that the log has been told of.
        self.unknown: set[str] = set()
        #: For how long (s) a job that this worker does not know was put off last, by its id.
        self.put_off: Bounded[str, float] = Bounded(MOST_PUT_OFF)

    def __len__(self) -> int:
        return len(self._taken)

    @property
    def is_all_said(self) -> bool:
        """True where Redis has been told of every end, and no thread is still telling it of some."""
        # Who fails to say some has put them back before it lets go.
        return not (self.unsaid or self.saying.locked() or self.unsaid)

    @property
    def claims(self) -> list[bytes]:
        """The claims in hand."""
        with self._lock:
            return list(self._taken)

    @property
    def renewals(self) -> tuple[Argument, ...]:
        """What dequeue.lua is told of the jobs in hand."""
        with self._lock:
            return tuple(part for claim in self._taken for part in (claim, self._used.get(claim, 0)))

    @property
    def used(self) -> dict[bytes, int]:
        """How many slots of which jobs are held on."""
        with self._lock:
            return dict(self._used)

    def until(self, claim: bytes) -> float:
        """Until when the job is this process's (monotonic), as far as that is known."""
        return -math.inf if claim in self.lost else self.holds_until

    def take(self, claim: bytes, threads: int) -> None:
        """A job is in hand now, and has so many threads."""
        with self._lock:
            self._taken[claim] = threads
            self._unbegun[claim] = None

    def take_up(self, claim: bytes) -> bool:
        """A thread begins the job; False where it was given back meanwhile."""
        with self._lock:
            return self._unbegun.pop(claim, False) is None

    def keep_from_threads(self) -> list[bytes]:
        """The claims of the jobs that no thread has taken up, nor takes up from now on, the oldest first."""
        with self._lock:
            claims = list(self._unbegun)
            self._unbegun.clear()
        return claims

    def begin(self, claim: bytes, seconds: float) -> bool:
        """Have the job have a thread; False where none comes free in ``seconds``."""
        if self._taken.get(claim) or not self._threads.take(self._queue, seconds):
            return bool(self._taken.get(claim))
        with self._lock:
            self._taken[claim] = 1
        return True

    def use(self, claim: bytes, slots: int) -> None:
        """The job's slots are held until it is over, and committed then."""
        with self._lock:
            self._used[claim] = slots

    def used_by(self, claim: bytes) -> int:
        """The slots that are held for the job."""
        return self._used.get(claim, 0)

    def drop(self, claim: bytes) -> None:
        """The job is in hand no longer: its threads are idle."""
        with self._lock:
            threads = self._taken.pop(claim, 0)
            self._used.pop(claim, None)
            self._unbegun.pop(claim, None)
            self.lost.discard(claim)
        self._threads.release(self._queue, threads)
