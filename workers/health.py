"""Whether the threads that do a worker's work live: dramatiq does not start one again that died."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from threading import Thread

from dramatiq import Worker

from tbcache.io.background import BackgroundThread
from tbcache.io.log import get_logger

log = get_logger("tbcache.worker")

LOOK_SECONDS = 1.0


class ThreadWatch:
    """Ends the process when one of its worker's threads is gone, so that its supervisor starts another.

    ``is_well`` is False from then on. Jobs in hand of the other threads are finished first.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._thread = BackgroundThread("tbcache-worker-watch", self._look)
        self.is_well = True

    def start(self) -> None:
        self._thread.start(after=LOOK_SECONDS)

    def stop(self) -> None:
        self._thread.stop()

    def _look(self) -> float | None:
        dead = sum(not thread.is_alive() for thread in _threads(self._worker))
        if not dead:
            return LOOK_SECONDS
        self.is_well = False
        log.critical("worker.threads_died", dead=dead, hint="the worker ends; its supervisor starts another")
        os.kill(os.getpid(), signal.SIGTERM)
        return None


def _threads(worker: Worker) -> Iterator[Thread]:
    yield from worker.workers
    yield from list(worker.consumers.values())
