"""The threads of one worker process, shared by the consumers of all its queues."""

from __future__ import annotations

import itertools
import math
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tbcache.io import now

#: A worker makes itself free for so long, and is not called again for so long where a job of its own outlasts
#: that: others may be free before, and short jobs go on meanwhile.
CALL_SECONDS = 15.0
REST_SECONDS = 60.0
#: One that is still called so long after the first of these times makes itself free however long that takes:
#: where jobs that are long come all the time, no worker ever is free otherwise.
PATIENCE_SECONDS = 180.0
#: A call that comes so long after the last is the first of others.
FORGET_SECONDS = 600.0


class Reservation:
    """Threads that are kept free for the jobs of one queue while it asks for some.

    ``is_idle``: the process has nothing else in hand. ``is_all``: nor does it take anything else
    meanwhile; they are all of its threads.
    """

    def __init__(self, count: int, *, is_idle: bool, is_all: bool) -> None:
        self.count = count
        self.is_idle = is_idle
        self.is_all = is_all
        self._left = count

    @property
    def left(self) -> int:
        """How many of them no job has taken."""
        return self._left

    def spend(self) -> int:
        """A job takes one of them, or all where they are all; how many, until it releases them."""
        count = self._left if self.is_all else 1
        self._left -= count
        return count


class Threads:
    """Counts jobs in hand. Any queue may have every thread; each that comes free goes to the queue that has
    the fewest of those that wait for one, and of equals to the one whose last turn was longest ago.

    Where no queue is paced, dramatiq's own rule is kept: jobs are taken ahead of the threads, in the order of
    their priorities, whatever their queues.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._total = 0
        self._is_open = True
        self._is_paced = False
        #: The queue that the process makes itself free for, or is free for.
        self._exclusive: str | None = None
        #: A job that may kill the process has all threads: nothing is taken ahead of them meanwhile, either.
        self._is_alone = False
        #: The queue that it was last called for.
        self._called_for: str | None = None
        self._called_at = self._rests_until = -math.inf
        #: When it was first called of the times since which it has not come free.
        self._first_called_at = -math.inf
        self._taken: Counter[str] = Counter()
        #: How many wait for a thread, by queue.
        self._waiting: Counter[str] = Counter()
        #: The number of the last turn of each queue.
        self._turns: dict[str, int] = {}
        self._numbers = itertools.count()

    def join(self, *, is_paced: bool) -> None:
        """There is one more queue from now on."""
        with self._changed:
            self._is_paced = self._is_paced or is_paced

    def open(self, total: int) -> None:
        """There are ``total`` threads."""
        with self._changed:
            self._total = total
            self._is_open = True
            self._exclusive = None
            self._changed.notify_all()

    def close(self) -> None:
        """No thread takes a further job: the worker is stopping."""
        with self._changed:
            self._is_open = False

    @property
    def is_open(self) -> bool:
        """False while the worker is stopping."""
        return self._is_open

    @property
    def total(self) -> int:
        return self._total

    @property
    def busy(self) -> int:
        with self._changed:
            # Jobs that were taken ahead wait for one.
            return min(self._total, self._taken.total())

    @contextmanager
    def reserve(self, queue: str) -> Iterator[Reservation]:
        """Every idle thread that ``queue`` may have; those that no job took are idle again afterwards."""
        with self._changed:
            free = self._free_for(queue)
            is_all, is_idle = free > 0 and self._exclusive == queue, not self._taken.total()
            if free > 0 and is_idle and queue == self._called_for:
                # It has come free, though another may have had that job meanwhile.
                self._rests_until = -math.inf
            reservation = Reservation(free, is_idle=is_idle, is_all=is_all)
            self._give(queue, reservation.count)
        try:
            yield reservation
        finally:
            self._is_alone = self._is_alone or (is_all and reservation.left < reservation.count)
            self.release(queue, reservation.left)

    def release(self, queue: str, count: int = 1) -> None:
        """``count`` threads of ``queue`` are idle again."""
        with self._changed:
            self._taken[queue] -= count
            self._is_alone = self._is_alone and self._taken.total() > 0
            self._changed.notify_all()

    def take(self, queue: str, seconds: float) -> bool:
        """Take a thread for a job of ``queue`` that has none; False where none comes free in ``seconds``."""
        with self._changed:
            is_free = self._wait_for(queue, lambda: self._may_begin(queue), seconds)
            self._give(queue, int(is_free))
            return is_free

    def may_take(self, queue: str, may_run_ahead: Callable[[], bool]) -> bool:
        """Whether ``queue`` may reserve a thread, or take jobs ahead of them."""
        with self._changed:
            return self._may_take(queue, may_run_ahead)

    def wait(self, queue: str, seconds: float, may_run_ahead: Callable[[], bool] = lambda: False) -> bool:
        """True when ``queue`` may reserve a thread, or take jobs ahead of them; False after ``seconds``."""
        with self._changed:
            return self._wait_for(queue, lambda: self._may_take(queue, may_run_ahead), seconds)

    @property
    def may_run_ahead(self) -> bool:
        """False when the worker is stopping, or makes itself free for a queue, or is to do one job alone."""
        return self._is_open and self._exclusive is None and not self._is_alone

    def may_be_free_for(self, queue: str) -> bool:
        """False when the worker is stopping, or makes itself free for another queue."""
        with self._changed:
            return self._is_open and self._exclusive in (None, queue)

    def is_called_by(self, queue: str) -> bool:
        """True while the process makes itself free for ``queue``, or is."""
        return self._exclusive == queue

    def set_free_for(self, queue: str, is_wanted: bool) -> None:
        """Reserve nothing until every thread is idle, and then all of them for ``queue``; or no longer."""
        with self._changed:
            if self._exclusive in (None, queue):
                if is_wanted and self._exclusive is None:
                    self._called_for, self._called_at = queue, now()
                    if self._called_at >= self._rests_until + FORGET_SECONDS:
                        self._first_called_at = self._called_at
                self._exclusive = queue if is_wanted else None
                self._changed.notify_all()

    @property
    def may_be_called(self) -> bool:
        """False while it rests, as it did not come free when it was called."""
        return now() >= self._rests_until

    def let_go(self, queue: str) -> None:
        """Make the process free for ``queue`` no longer, where a job that it has keeps it too long, and
        it was first called not long ago."""
        with self._changed:
            is_late = self._exclusive == queue and now() >= self._called_at + CALL_SECONDS
            is_patient = now() >= self._first_called_at + PATIENCE_SECONDS
            if is_late and not is_patient and self._taken.total() > 0:
                self._exclusive, self._rests_until = None, now() + REST_SECONDS
                self._changed.notify_all()

    def _give(self, queue: str, count: int) -> None:
        if count:
            self._taken[queue] += count
            self._turns[queue] = next(self._numbers)

    def _wait_for(self, queue: str, condition: Callable[[], bool], seconds: float) -> bool:
        self._waiting[queue] += 1
        is_met = self._changed.wait_for(condition, seconds)
        self._waiting[queue] -= 1
        return is_met

    def _may_take(self, queue: str, may_run_ahead: Callable[[], bool]) -> bool:
        return self._free_for(queue) > 0 or (self.may_run_ahead and may_run_ahead())

    def _may_begin(self, queue: str) -> bool:
        if not self._is_paced and self.may_run_ahead:
            return True
        return self._exclusive is None and self._free_for(queue) > 0

    def _free_for(self, queue: str) -> int:
        idle = self._total - self._taken.total()
        if self._exclusive is not None:
            return idle if self._is_open and self._exclusive == queue and idle == self._total else 0
        return self._share(queue, max(0, idle)) if self._is_open else 0

    def _share(self, queue: str, idle: int) -> int:
        """How many of so many idle threads go to ``queue``, and not to the others that wait."""
        standing = {one: (self._taken[one], self._turns.get(one, -1)) for one in (queue, *+self._waiting)}
        share = 0
        for _ in range(idle):
            first = min(standing, key=standing.__getitem__)
            standing[first] = (standing[first][0] + 1, next(self._numbers))
            share += first == queue
        return share
