"""Work for a pool of threads, also at the end of the program, when no pool takes any."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def submit(pool: ThreadPoolExecutor, work: Callable[[], T]) -> Future[T]:
    """What ``work`` returns, in a thread of ``pool``.

    Once the main thread has ended no pool takes any work. Other threads go on, with event loops of theirs,
    and so does what is called at exit: then it has a thread of its own, or where there is none any more the
    caller's.
    """
    if threading.main_thread().is_alive():
        return pool.submit(work)
    found: Future[T] = Future()
    thread = threading.Thread(target=_run, args=(work, found), daemon=True)
    try:
        thread.start()
    except RuntimeError:
        _run(work, found)
    return found


def _run(work: Callable[[], T], found: Future[T]) -> None:
    if not found.set_running_or_notify_cancel():
        return
    try:
        found.set_result(work())
    except BaseException as error:
        found.set_exception(error)
