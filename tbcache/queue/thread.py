"""The threads of one worker process, shared by the consumers of all its queues."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class Reservation:
    """Threads that are kept free for the jobs of one queue while it asks for some."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._left = count

    @property
    def left(self) -> int:
        """How many of them no job has taken."""
        return self._left

    def spend(self, count: int = 1) -> None:
        """Jobs have taken ``count`` of them, until these are released."""
        self._left -= count


class Threads:
    """Counts jobs in hand. No queue may take every thread while others have none."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._total = 0
        self._most = 0
        self._is_open = False
        self._taken: Counter[str] = Counter()

    def open(self, total: int, queues: int) -> None:
        """There are ``total`` threads for ``queues`` queues."""
        with self._changed:
            self._total = total
            self._most = max(1, total - max(0, queues - 1))
            self._is_open = True
            self._changed.notify_all()

    def close(self) -> None:
        """No thread takes a further job: the worker is stopping."""
        with self._changed:
            self._is_open = False

    @property
    def total(self) -> int:
        return self._total

    @property
    def busy(self) -> int:
        with self._changed:
            return self._taken.total()

    @contextmanager
    def reserve(self, queue: str) -> Iterator[Reservation]:
        """Every idle thread that ``queue`` may have; those that no job took are idle again afterwards."""
        with self._changed:
            reservation = Reservation(self._room(queue))
            self._taken[queue] += reservation.count
        try:
            yield reservation
        finally:
            self.release(queue, reservation.left)

    def release(self, queue: str, count: int = 1) -> None:
        """``count`` threads of ``queue`` are idle again."""
        with self._changed:
            self._taken[queue] -= count
            self._changed.notify_all()

    def wait(self, queue: str, seconds: float) -> None:
        """Return when ``queue`` may reserve a thread, or after ``seconds``."""
        with self._changed:
            self._changed.wait_for(lambda: self._room(queue) > 0, seconds)

    def _room(self, queue: str) -> int:
        idle = self._total - self._taken.total()
        return max(0, min(idle, self._most - self._taken[queue])) if self._is_open else 0
