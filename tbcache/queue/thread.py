"""The idle threads of one worker process, shared by the consumers of all its queues."""

from __future__ import annotations

import threading
from collections import Counter


class Threads:
    """Counts jobs in hand. No queue may take every thread while others have none."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._total = 0
        self._most = 0
        self._taken: Counter[str] = Counter()

    def open(self, total: int, queues: int) -> None:
        """There are ``total`` threads for ``queues`` queues."""
        with self._changed:
            self._total = total
            self._most = max(1, total - max(0, queues - 1))
            self._changed.notify_all()

    @property
    def total(self) -> int:
        return self._total

    @property
    def busy(self) -> int:
        with self._changed:
            return self._taken.total()

    def reserve(self, queue: str) -> int:
        """Take every idle thread that ``queue`` may have; how many it got."""
        with self._changed:
            free = self._total - self._taken.total()
            got = max(0, min(free, self._most - self._taken[queue]))
            self._taken[queue] += got
            return got

    def release(self, queue: str, count: int = 1) -> None:
        with self._changed:
            self._taken[queue] = max(0, self._taken[queue] - count)
            self._changed.notify_all()

    def wait(self, seconds: float) -> None:
        """Return when a thread comes free, or after ``seconds``."""
        with self._changed:
            self._changed.wait(seconds)
