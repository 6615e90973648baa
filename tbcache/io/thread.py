"""A few threads for event loops: they do what blocks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

from tbcache.io.current import BLOCKING, enter
from tbcache.io.fork import renew_in_child
from tbcache.io.pool import submit

T = TypeVar("T")


class ThreadPool:
    """At most ``size`` threads, which all loops of the process share. They start with the first work."""

    def __init__(self, name: str, size: int) -> None:
        self._name, self._size = name, size
        self.renew()
        renew_in_child(self)

    def renew(self) -> None:
        """Have no threads: at the start, and in a forked child, as they are its parent's."""
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None

    def run(self, work: Callable[[], T]) -> Future[T]:
        """What ``work`` returns, in the blocking world and with the deadline of the caller."""
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._size, thread_name_prefix=self._name)
            pool = self._pool
        context = copy_context()
        context.run(enter, BLOCKING)
        return submit(pool, lambda: context.run(work))
