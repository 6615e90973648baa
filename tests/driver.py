"""The asyncio driver under the blocking API: what a test calls is driven in an event loop of another thread.

So one and the same test shows that the core does the same under either driver, and tests that ask from many
threads at once ask from many tasks of one loop.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from unittest import mock

from tbcache.io import blocking, current
from tbcache.io.loop import drive

#: The thread that waits for what a loop does.
_CALLER: ContextVar[str | None] = ContextVar("tests.caller", default=None)


def waiting() -> str | None:
    """The name of the thread that waits for what a loop does now."""
    return _CALLER.get()


def caller() -> str:
    """The name of the thread that is held up by what blocks now."""
    return waiting() or threading.current_thread().name


class LoopThread:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop: Future[asyncio.AbstractEventLoop] = Future()
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(),), name="test-loop")

    def start(self) -> None:
        self._thread.start()
        self._loop.result()

    def stop(self) -> None:
        self._loop.result().call_soon_threadsafe(self._over.set)
        self._thread.join()

    def complete(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """What it returns; interrupted, it is cancelled."""
        thread = threading.current_thread()
        if asyncio._get_running_loop() is not None or thread.name.startswith("tbcache-"):
            # What runs in the background, and what a user's function in a loop calls, blocks in any case.
            return blocking.complete(coroutine)
        before = _CALLER.set(threading.current_thread().name)
        asked = asyncio.run_coroutine_threadsafe(drive(coroutine), self._loop.result())
        try:
            return asked.result()
        except BaseException:
            asked.cancel()
            raise
        finally:
            _CALLER.reset(before)

    async def _serve(self) -> None:
        self._loop.set_result(asyncio.get_running_loop())
        await self._over.wait()


@contextmanager
def asyncio_below() -> Iterator[None]:
    """Meanwhile each call of the blocking API is a task of an event loop."""
    loop = LoopThread()
    loop.start()
    try:
        with mock.patch.object(current, "complete", loop.complete):
            yield
    finally:
        loop.stop()
