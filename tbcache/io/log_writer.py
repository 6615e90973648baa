"""Log lines of threads that may be interrupted: another thread writes them.

A time limit, an abort and an operator's cancel raise an exception in a worker's thread, wherever that is. If
``logging.Handler.acquire`` has just taken the lock of a handler, that lock is never released, and each thread
that logs waits for it for ever: before Python 3.13 the lock is taken by a function in Python. A line is
handed over by a queue that is written in C, where no exception comes in between.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
from collections.abc import Callable
from contextvars import copy_context
from queue import SimpleQueue

from tbcache.io.background import BackgroundThread
from tbcache.io.fork import renew_in_child

#: So many lines may wait. Whoever logs one more waits until these are written, as it would for a slow disk.
MOST_WAITING = 1000
#: Nobody waits for the lines for longer.
PATIENCE_SECONDS = 5.0


class LogWriter(logging.Filter):
    """Passes by what other threads log; a thread of its own logs what one that may be interrupted does.

    A filter of loggers, the first one: all others are asked in the thread that writes. Lines come in their
    order, with the name of the thread that logged them, and in its context.
    """

    def __init__(self) -> None:
        super().__init__()
        self._here = threading.local()
        self.renew()
        renew_in_child(self)
        self._thread = BackgroundThread("tbcache-log", self._write)

    def renew(self) -> None:
        """Have nothing to write: at the start, and in a forked child, as its parent writes what waits."""
        self._lines: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._is_on = False

    def start(self) -> None:
        """Write from now on, as a process of a worker does."""
        # It has a line of each request of a source.
        logging.getLogger("httpx2").addFilter(self)
        self._is_on = self._thread.start()
        # Importing it takes long for whoever runs no worker.
        from multiprocessing.util import Finalize

        # A worker that is told to end twice does not stop in order. Unlike handlers of atexit this is called
        # in children of multiprocessing as well, as dramatiq's processes are.
        Finalize(None, self.stop, exitpriority=0)

    def stop(self) -> None:
        """Write what waits, and no more."""
        if self._is_on:
            self._is_on = False
            self._lines.put(None)
            self._thread.stop(PATIENCE_SECONDS)

    def serve_this_thread(self) -> None:
        """This thread may be interrupted, from now on."""
        self._here.is_served = True

    def filter(self, record: logging.LogRecord) -> bool:
        if not self._is_on or not hasattr(self._here, "is_served"):
            return True
        if self._lines.qsize() >= MOST_WAITING:
            self._wait()
        if record.args:
            # What the line is about may have changed by the time it is written. What is wrong with one that
            # cannot be put in words is said by who handles it.
            with contextlib.suppress(Exception):
                record.msg, record.args = record.getMessage(), None
        self._lines.put(functools.partial(copy_context().run, _log, record))
        return False

    def _wait(self) -> None:
        """Wait until all is written that waits now."""
        done = threading.Lock()
        done.acquire()
        self._lines.put(done.release)
        done.acquire(timeout=PATIENCE_SECONDS)

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            # As whoever logs something is told of no error, too; and a handler that ends its thread does not
            # end the lines of all others.
            with contextlib.suppress(BaseException):
                line()


def _log(record: logging.LogRecord) -> None:
    logging.getLogger(record.name).handle(record)


LOG_WRITER = LogWriter()
