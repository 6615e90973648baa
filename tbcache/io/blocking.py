"""The blocking driver: what the core waits for blocks the thread of the caller, and nothing suspends."""

from __future__ import annotations

import functools
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from contextvars import Context
from typing import TYPE_CHECKING, Any, TypeVar

from tbcache.io.description import described
from tbcache.io.fork import renew_in_child
from tbcache.io.pool import BackgroundPool
from tbcache.io.trace import carried
from tbcache.io.world import Argument, Connections, Reply, Server

if TYPE_CHECKING:
    import httpx2

T = TypeVar("T")

BACKGROUND_THREADS = 4

# The logger is the standard library's, as this module stands below `tbcache.io.log`.
log = logging.getLogger("tbcache.io")


class RealTime:
    """What the worlds of a real machine have in common: its clocks, and its chance."""

    def now(self) -> float:
        return time.monotonic()

    def clock(self) -> float:
        return time.time()

    def random_id(self, size: int) -> str:
        return os.urandom(size).hex()

    def uniform(self, low: float, high: float) -> float:
        return random.uniform(low, high)


class Blocking(RealTime):
    """See :class:`tbcache.io.world.IO`."""

    def __init__(self) -> None:
        self.renew()
        renew_in_child(self)

    def renew(self) -> None:
        """Have no threads: at the start, and in a forked child, as they are its parent's."""
        self._pool = BackgroundPool("tbcache-refresh", BACKGROUND_THREADS)

    async def call(self, server: Server, command: Sequence[Argument]) -> Any:
        return server.call(*command)

    async def pipeline(self, server: Server, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        return server.pipeline(*commands)

    async def sleep(self, seconds: float) -> None:
        time.sleep(max(0.0, seconds))

    async def wait(self, future: Future[T], seconds: float | None = None) -> T:
        return future.result(seconds)

    async def send(self, connections: Connections, request: httpx2.Request, most_bytes: int) -> Reply:
        from tbcache.io.http import exchange

        return exchange(connections.blocking(), request, most_bytes)

    async def offload(self, work: Callable[[], T]) -> T:
        return work()

    async def detach(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return await work()

    def runner(self) -> int:
        return threading.get_ident()

    def runs(self, thread: threading.Thread) -> bool:
        return thread.is_alive()

    def spawn(self, work: Callable[[], Coroutine[Any, Any, object]]) -> None:
        # Of its caller the work has the trace, and neither the deadline nor the world.
        self._pool.submit(functools.partial(Context().run, _logged, carried(work)))

    def undo(self, work: Callable[[], Coroutine[Any, Any, object]]) -> None:
        Context().run(_logged, carried(work))

    def close(self) -> None:
        """Wait for what runs in the background."""
        pool = self._pool
        self.renew()
        pool.close()


def complete(coroutine: Coroutine[Any, Any, T]) -> T:
    """What ``coroutine`` returns, which never suspends in the blocking world.

    Raises:
      RuntimeError: it does.
    """
    try:
        coroutine.send(None)
    except StopIteration as end:
        found: T = end.value
        return found
    coroutine.close()
    raise RuntimeError("a coroutine that suspends was run where nothing does; await it in an event loop")


def log_failure(error: BaseException) -> None:
    """Say what ended work in the background, which nobody waits for."""
    reason = described(error)
    log.error("background.failed", exc_info=error, extra={"reason": reason})


def _logged(work: Callable[[], Coroutine[Any, Any, object]]) -> None:
    try:
        complete(work())
    except Exception as error:
        log_failure(error)
