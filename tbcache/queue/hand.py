"""The jobs of one queue that this process has in hand."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

import dramatiq
from dramatiq.broker import MessageProxy

from tbcache.queue.job import Finish
from tbcache.queue.thread import Reservation, Threads


class Job(MessageProxy):
    """A job in hand. ``claim`` names this hand-out of it; ``finish`` is what is to become of it."""

    def __init__(self, message: dramatiq.Message[Any], claim: bytes) -> None:
        super().__init__(message)
        self.claim = claim
        self.finish: Finish | None = None


class Hand:
    """The claims that are to be renewed, and the threads that their jobs have.

    It outlives the consumer: one that breaks off is replaced while its jobs go on.
    """

    def __init__(self, threads: Threads, queue: str) -> None:
        self._threads = threads
        self._queue = queue
        self._lock = threading.Lock()
        self._taken: dict[bytes, int] = {}
        #: The ends of jobs that Redis has not been told of yet: they ended while others were being told of,
        #: or while Redis is away.
        self.unsaid: deque[tuple[bytes, Finish]] = deque()
        #: Parts of the names of claims that Redis may have handed out in answers that were lost.
        self.unheard: list[str] = []
        #: Held by whoever says it; the others need not wait.
        self.saying = threading.Lock()
        #: The unknown actors and options of messages that the log has been told of.
        self.unknown: set[str] = set()

    @property
    def claims(self) -> list[bytes]:
        """The claims in hand."""
        with self._lock:
            return list(self._taken)

    def take(self, claim: bytes, reservation: Reservation) -> None:
        """A job is in hand now, and has some of the threads that were reserved."""
        with self._lock:
            self._taken[claim] = reservation.spend()

    def drop(self, claim: bytes) -> None:
        """The job is in hand no longer: its threads are idle."""
        with self._lock:
            threads = self._taken.pop(claim, 0)
        self._threads.release(self._queue, threads)
