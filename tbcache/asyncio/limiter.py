"""The rate limiter, awaited."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tbcache.admission.rate_limiter import RateLimiter as BlockingLimiter
from tbcache.admission.rate_limiter import get_rate_limiter as get_blocking
from tbcache.admission.sliding_window import SlidingWindow
from tbcache.io import finish
from tbcache.io.loop import drive
from tbcache.io.singleton import singleton
from tbcache.models import Limit, RateLimitStatus


class RateLimiter:
    """One source's sliding window, shared by the whole fleet; see :class:`tbcache.RateLimiter`.

    ``blocking`` is the same for the blocking API.
    """

    def __init__(self, blocking: BlockingLimiter) -> None:
        self.blocking = blocking
        self._core = blocking.core

    async def check_rate_limit(
        self, limit: int | None = None, window_seconds: float | None = None, *, cost: int = 1
    ) -> tuple[bool, RateLimitStatus]:
        """Take a slot if there is one. ``(False, status)`` when there is none; nothing is counted then.

        Raises:
          InvalidRequest: a limit, window or cost below 1; no limit, of a source that has none of its own.
        """
        return await drive(self._core.check_rate_limit(limit, window_seconds, cost=cost))

    async def wait_if_needed(
        self,
        limit: int | None = None,
        window_seconds: float | None = None,
        *,
        max_wait: float | None = None,
        cost: int = 1,
    ) -> RateLimitStatus:
        """Wait for a slot and take it; at most ``max_wait`` seconds (default: the longest window).

        Raises:
          RateLimited: none comes free in that time; raised as soon as that is known.
          InvalidRequest: as in :meth:`check_rate_limit`.
        """
        return await drive(self._core.wait_if_needed(limit, window_seconds, max_wait=max_wait, cost=cost))

    @asynccontextmanager
    async def slot(
        self,
        limit: int | None = None,
        window_seconds: float | None = None,
        *,
        max_wait: float | None = None,
        cost: int = 1,
    ) -> AsyncIterator[RateLimitStatus]:
        """Hold a slot around a request of your own: exact whatever the network's delay.

        Leave the block when the answer is in, within the lease (15 s by default).

        Raises:
          RateLimited: no slot within ``max_wait`` seconds (default: the longest window).
          InvalidRequest: as in :meth:`check_rate_limit`.
        """
        held, status = await drive(self._core.begin(limit, window_seconds, max_wait=max_wait, cost=cost))
        try:
            yield status
        finally:
            await drive(_finished(self._core, held, cost))

    async def get_status(
        self, limit: int | None = None, window_seconds: float | None = None
    ) -> RateLimitStatus:
        """Where the tightest limit stands. Counts nothing."""
        return await drive(self._core.get_status(limit, window_seconds))

    async def get_limits(self) -> tuple[Limit, ...]:
        """The limits in force: of all processes that share the source, the strictest of each window."""
        return await drive(self._core.get_limits())

    async def reopen(self) -> bool:
        """Lift the closure of the source, for the whole fleet, and keep every slot; True when it was closed.

        Raises:
          RedisUnreachable: the closure stands in Redis.
        """
        return await drive(self._core.reopen())

    async def reset(self) -> None:
        """Forget every slot that was taken, and any closure: the window counts from 0 again."""
        await drive(self._core.reset())


async def _finished(core: SlidingWindow, slot: str, cost: int) -> None:
    """End the slot, also where the task is cancelled meanwhile, and its loop ends."""
    await finish(lambda: core.end(slot, cost))


@singleton
def get_rate_limiter(source: str) -> RateLimiter:
    """The rate limiter of ``source``, which may be any name; see :func:`tbcache.get_rate_limiter`.

    Raises:
      InvalidRequest: no name (1-64 letters, digits, dots, dashes, underscores), or one too many.
    """
    return RateLimiter(get_blocking(source))
