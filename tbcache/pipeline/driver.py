"""How the journey waits: it is written once, as coroutines, and a driver runs what may block in them."""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

REFRESHERS = 4


class Driver(Protocol):
    """What the journey asks of whoever runs it. Nothing else in it blocks."""

    async def call(self, ask: Callable[[], T], undo: Callable[[T], object] | None = None) -> T:
        """What ``ask`` returns. It may block: Redis is asked there.

        Where the caller is cancelled before it knows the answer, ``undo`` is called with it.
        """

    async def wait(self, ask: Callable[[], object]) -> None:
        """Wait until ``ask`` returns, which only waits, and for a short time."""

    async def sleep(self, seconds: float) -> None:
        """Go on after ``seconds``."""

    def spawn(self, work: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Run ``work`` in the background. What it raises is lost."""


class Blocking:
    """Runs a journey in the thread of its caller: each wait blocks it, and nothing suspends."""

    def __init__(self) -> None:
        self._threads: ThreadPoolExecutor | None = None
        _DRIVERS.add(self)

    async def call(self, ask: Callable[[], T], undo: Callable[[T], object] | None = None) -> T:
        return ask()

    async def wait(self, ask: Callable[[], object]) -> None:
        ask()

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def spawn(self, work: Callable[[], Coroutine[Any, Any, object]]) -> None:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(REFRESHERS, thread_name_prefix="tbcache-refresh")
        self._threads.submit(lambda: run(work()))

    def close(self) -> None:
        """Wait for what runs in the background."""
        if self._threads is not None:
            self._threads.shutdown(wait=True)
            self._threads = None

    def forget(self) -> None:
        """In a forked child: the threads are its parent's."""
        self._threads = None


_DRIVERS: weakref.WeakSet[Blocking] = weakref.WeakSet()


def run(journey: Coroutine[Any, Any, T]) -> T:
    """What ``journey`` returns, which a :class:`Blocking` driver runs: it never suspends."""
    try:
        journey.send(None)
    except StopIteration as end:
        found: T = end.value
        return found
    journey.close()
    raise RuntimeError("a journey that blocks was run by a driver that does not")


def _after_fork() -> None:
    for driver in list(_DRIVERS):
        driver.forget()


os.register_at_fork(after_in_child=_after_fork)
