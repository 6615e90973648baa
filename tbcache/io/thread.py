"""A few threads for event loops: they do what blocks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

from tbcache.io.current import BLOCKING, enter
from tbcache.io.fork import renew_in_child

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
        """What ``work`` returns, in the blocking world and with the deadline of the caller.

        Once the main thread has ended no pool takes any work. Other threads go on, with event loops of
        theirs, and so does what is called at exit: then it has a thread of its own, or where there is none
        any more the caller's.
        """
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._size, thread_name_prefix=self._name)
            pool = self._pool
        context = copy_context()
        context.run(enter, BLOCKING)
        if threading.main_thread().is_alive():
            return pool.submit(context.run, work)
        return _run_alone(lambda: context.run(work))


def _run_alone(work: Callable[[], T]) -> Future[T]:
    found: Future[T] = Future()

    def run() -> None:
        if not found.set_running_or_notify_cancel():
            return
        try:
            found.set_result(work())
        except BaseException as error:
            found.set_exception(error)

    try:
        threading.Thread(target=run, daemon=True).start()
    except RuntimeError:
        run()
    return found
