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
from typing import Any
from unittest import mock

from tbcache.io import blocking, current
from tbcache.io.loop import drive


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
        if threading.current_thread() is self._thread:
            # A function of the user that the core runs in the loop, and that calls the blocking API.
            return blocking.complete(coroutine)
        asked = asyncio.run_coroutine_threadsafe(drive(coroutine), self._loop.result())
        try:
            return asked.result()
        except BaseException:
            asked.cancel()
            raise

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
