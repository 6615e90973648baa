"""The rate limiter, awaited."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncContextDecorator
from types import TracebackType
from typing import Any, Self

from tbcache.admission.rate_limiter import RateLimiter as BlockingLimiter
from tbcache.admission.rate_limiter import get_rate_limiter as get_blocking
from tbcache.admission.sliding_window import SlidingWindow
from tbcache.asyncio.awaited import driven
from tbcache.io import finish
from tbcache.io.loop import drive, leave_behind
from tbcache.io.singleton import singleton
from tbcache.models import RateLimitStatus

Begun = Coroutine[Any, Any, tuple[str, RateLimitStatus]]


class RateLimiter:
    """One source's sliding window, shared by the whole fleet: the methods of :class:`tbcache.RateLimiter`,
    awaited, which say what they do and raise. ``blocking`` is the same for the blocking API.
    """

    def __init__(self, blocking: BlockingLimiter) -> None:
        self.blocking = blocking
        self._core = blocking.core

    check_rate_limit = driven(SlidingWindow.check_rate_limit, BlockingLimiter.check_rate_limit)
    wait_if_needed = driven(SlidingWindow.wait_if_needed, BlockingLimiter.wait_if_needed)
    get_status = driven(SlidingWindow.get_status, BlockingLimiter.get_status)
    get_limits = driven(SlidingWindow.get_limits, BlockingLimiter.get_limits)
    reopen = driven(SlidingWindow.reopen, BlockingLimiter.reopen)
    reset = driven(SlidingWindow.reset, BlockingLimiter.reset)

    def slot(
        self,
        limit: int | None = None,
        window_seconds: float | None = None,
        *,
        max_wait: float | None = None,
        cost: int = 1,
    ) -> _Held:
        """See :meth:`tbcache.RateLimiter.slot`: held around an ``async with``."""
        return _Held(
            self._core, lambda: self._core.begin(limit, window_seconds, max_wait=max_wait, cost=cost), cost
        )


class _Held(AsyncContextDecorator, AbstractAsyncContextManager[RateLimitStatus]):
    """A slot that is held around a block. No generator: at its end a loop closes all that are left open at
    once, the one inside another as well, which would then be closed twice."""

    def __init__(self, core: SlidingWindow, begin: Callable[[], Begun], cost: int) -> None:
        self._core, self._begin, self._cost = core, begin, cost
        self._slot: str | None = None
        self._process = 0

    def _recreate_cm(self) -> Self:
        """A slot for each call of a function that it decorates."""
        return type(self)(self._core, self._begin, self._cost)

    async def __aenter__(self) -> RateLimitStatus:
        # Another task may come while this one waits for its slot.
        if self._process:
            raise RuntimeError("a slot is held around one block; ask the limiter for another")
        self._process = os.getpid()
        try:
            self._slot, status = await drive(self._begin())
        finally:
            if self._slot is None:
                self._process = 0
        return status

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is GeneratorExit:
            # The coroutine was left in the middle: it can await nothing any more.
            leave_behind(self._end)
        else:
            # It is done to its end, also where the task is cancelled meanwhile, and its loop ends.
            await drive(finish(self._end))

    async def _end(self) -> None:
        # A forked child must not end the slot of its parent.
        if self._slot is not None and self._process == os.getpid():
            await self._core.end(self._slot, self._cost)


@singleton
def get_rate_limiter(source: str) -> RateLimiter:
    """The rate limiter of ``source``, which may be any name; see :func:`tbcache.get_rate_limiter`.

    Raises:
      InvalidRequest: no name (1-64 letters, digits, dots, dashes, underscores), or one too many.
    """
    return RateLimiter(get_blocking(source))
