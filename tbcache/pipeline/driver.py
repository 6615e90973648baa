"""How the journey waits: it is written once, as coroutines, and a driver runs what may block in them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")

REFRESHERS = 4
#: Threads that ask Redis for event loops, and those that wait for the loads of other processes: these wait
#: for seconds, and must not keep the others from giving a slot back.
CALLERS, WAITERS = 8, 64


class Driver(Protocol):
    """What the journey asks of whoever runs it. Nothing else in it blocks."""

    async def call(self, ask: Callable[[], T], undo: Callable[[T], object] | None = None) -> T:
        """What ``ask`` returns. It may block: Redis is asked there.

        Where the caller is cancelled before it knows the answer, ``undo`` is called with it.
        """

    async def finish(self, ask: Callable[[], T]) -> T:
        """:meth:`call`, where what comes after a cancellation must know that ``ask`` is over."""

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

    async def finish(self, ask: Callable[[], T]) -> T:
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


class Asyncio:
    """Runs journeys in event loops: what blocks is done in threads, and a caller who is cancelled leaves
    nothing behind that was granted to it."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[object]] = set()
        self.forget()
        _DRIVERS.add(self)

    async def call(self, ask: Callable[[], T], undo: Callable[[T], object] | None = None) -> T:
        return await _Call(self._calls(), ask, undo).answer()

    async def finish(self, ask: Callable[[], T]) -> T:
        asking = asyncio.ensure_future(self.call(ask))
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            await asyncio.wait([asking])
            raise

    async def wait(self, ask: Callable[[], object]) -> None:
        await _Call(self._waits(), ask, None).answer()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def spawn(self, work: Callable[[], Coroutine[Any, Any, object]]) -> None:
        task = asyncio.get_running_loop().create_task(work())
        # The loop itself would forget it.
        self._tasks.add(task)
        task.add_done_callback(self._forget)

    def close(self) -> None:
        """Wait for what its threads do."""
        for threads in (self._callers, self._waiters):
            if threads is not None:
                threads.shutdown(wait=True)
        self.forget()

    def forget(self) -> None:
        """In a forked child: the threads are its parent's."""
        self._callers: ThreadPoolExecutor | None = None
        self._waiters: ThreadPoolExecutor | None = None

    def _calls(self) -> ThreadPoolExecutor:
        if self._callers is None:
            self._callers = ThreadPoolExecutor(CALLERS, thread_name_prefix="tbcache-call")
        return self._callers

    def _waits(self) -> ThreadPoolExecutor:
        if self._waiters is None:
            self._waiters = ThreadPoolExecutor(WAITERS, thread_name_prefix="tbcache-wait")
        return self._waiters

    def _forget(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            # Looked at, or the loop would print it.
            task.exception()


class _Call(Generic[T]):
    """One call in a thread, for a task that may be cancelled before it knows the answer.

    The thread goes on all the same; what it brings is then undone.
    """

    def __init__(
        self, threads: ThreadPoolExecutor, ask: Callable[[], T], undo: Callable[[T], object] | None
    ) -> None:
        self._threads = threads
        self._ask = ask
        self._undo = undo
        self._loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[T] = self._loop.create_future()
        self._lock = threading.Lock()
        self._is_left = False
        self._found: list[T] = []

    async def answer(self) -> T:
        self._threads.submit(self._run)
        try:
            return await self._answer
        except asyncio.CancelledError:
            with self._lock:
                self._is_left = True
                is_due = bool(self._found)
            if is_due:
                self._threads.submit(self._take_back)
            raise

    def _run(self) -> None:
        try:
            found = self._ask()
        except BaseException as error:
            self._tell(self._answer.set_exception, error)
            return
        with self._lock:
            self._found.append(found)
            is_left = self._is_left
        if is_left:
            self._take_back()
        else:
            self._tell(self._answer.set_result, found)

    def _take_back(self) -> None:
        if self._undo is not None:
            self._undo(self._found[0])

    def _tell(self, settle: Callable[[Any], object], what: object) -> None:
        # A loop that is closed has nobody who waits.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(lambda: self._answer.done() or settle(what))


_DRIVERS: weakref.WeakSet[Blocking | Asyncio] = weakref.WeakSet()


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
