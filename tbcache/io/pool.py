"""A few threads in the background that share what there is to do."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

from tbcache.io.background import BackgroundThread


class BackgroundPool:
    """At most ``size`` threads, which begin what they are given in its order. Each starts with some.

    No interrupt of whoever gives them something leaves a lock taken, as it may with a ThreadPoolExecutor: its
    locks are taken by functions in Python, and then all executors of the process stand still, and its exit.
    """

    def __init__(self, name: str, size: int) -> None:
        self._waiting: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._threads = [BackgroundThread(f"{name}_{number}", self._work) for number in range(size)]
        self._turns = itertools.cycle(self._threads)

    def submit(self, work: Callable[[], object]) -> None:
        """Where no thread can be started, as at the end of the interpreter, it is done at once."""
        self._waiting.put(work)
        if not next(self._turns).start():
            self._do_what_waits()

    def close(self) -> None:
        """Wait until all is done. After that nothing is taken any more."""
        self._waiting.put(None)
        try:
            # A thread that has not begun yet would end without a look.
            self._work()
        finally:
            for thread in self._threads:
                thread.stop(threading.TIMEOUT_MAX)

    def _work(self) -> None:
        while (work := self._waiting.get()) is not None:
            work()
        # The others end by it as well.
        self._waiting.put(None)

    def _do_what_waits(self) -> None:
        with contextlib.suppress(Empty):
            while (work := self._waiting.get_nowait()) is not None:
                work()
            # It is closed: see above.
            self._waiting.put(None)
