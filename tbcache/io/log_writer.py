"""Log lines of threads that may be interrupted: another thread writes them.

A time limit, an abort and an operator's cancel raise an exception in a worker's thread, wherever that is. If
``logging.Handler.acquire`` has just taken the lock of a handler, that lock is never released, and each thread
that logs waits for it for ever: before Python 3.13 the lock is taken by a function in Python. A line is
handed over by a queue that is written in C, and waited for by a lock that is, where no exception comes in
between. So it is written before the job goes on, and is there where the process is killed at once.
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

#: Nobody waits for a line for longer, as where the disk stands still.
PATIENCE_SECONDS = 5.0


class LogWriter(logging.Filter):
    """Passes by what other threads log; a thread of its own logs what one that may be interrupted does.

    A filter of loggers, the first one: all others are asked in the thread that writes. It writes a line with
    the name of the thread that logged it, and in its context.
    """

    def __init__(self) -> None:
        super().__init__()
        self._here = threading.local()
        self.renew()
        renew_in_child(self)
        self._thread = BackgroundThread("tbcache-log", self._write)

    def renew(self) -> None:
        """Have nothing to write: at the start, and in a forked child, as its parent writes what waits."""
        self._lines: SimpleQueue[tuple[Callable[[], object], threading.Lock]] = SimpleQueue()
        self._is_on = False

    def start(self) -> None:
        """Write from now on, until the process ends."""
        # It has a line of each request of a source.
        logging.getLogger("httpx2").addFilter(self)
        self._is_on = self._thread.start()

    def serve_this_thread(self) -> None:
        """This thread may be interrupted, from now on."""
        self._here.is_served = True

    def filter(self, record: logging.LogRecord) -> bool:
        if not self._is_on or not hasattr(self._here, "is_served"):
            return True
        if record.args:
            # Where it is not written in time, what it is about may have changed. What is wrong with one that
            # cannot be put in words is said by who handles it.
            with contextlib.suppress(Exception):
                record.msg, record.args = record.getMessage(), None
        written = threading.Lock()
        written.acquire()
        self._lines.put((functools.partial(copy_context().run, _log, record), written))
        written.acquire(timeout=PATIENCE_SECONDS)
        return False

    def _write(self) -> None:
        while True:
            line, written = self._lines.get()
            # As whoever logs something is told of no error, too; and a handler that ends its thread does not
            # end the lines of all others.
            with contextlib.suppress(BaseException):
                line()
            written.release()


def _log(record: logging.LogRecord) -> None:
    logging.getLogger(record.name).handle(record)


LOG_WRITER = LogWriter()
