"""The rate limiter on its own: a sliding window per source, which the whole fleet shares.

It uses the same slots as the pipeline. So the requests that a bot makes by itself and those that tbcache
makes for it stay within the limits of the source together.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from tbcache.admission.registration import Registration, registering, too_many
from tbcache.admission.sliding_window import SlidingWindow
from tbcache.io import run
from tbcache.io.singleton import singleton
from tbcache.models import Limit, RateLimitStatus
from tbcache.monitoring import get_usage_monitor
from tbcache.settings import Source, get_declared, get_settings, get_source, source_names, unconfigured
from tbcache.store import Store, get_store

__all__ = ["RateLimitStatus", "RateLimiter", "get_rate_limiter"]


class RateLimiter:
    """One source's sliding window.

    Without ``limit`` and ``window_seconds`` all limits of the source hold, and where another
    process was started with stricter ones, those; with them, that window alone is asked about, over
    the same slots. A source that is not configured has no limits but those: each call says both.
    """

    def __init__(
        self,
        source: Source,
        store: Store,
        hold_seconds: float = 15.0,
        registration: Registration | None = None,
    ) -> None:
        """``registration`` makes this process known to the fleet, before it takes a slot."""
        self.source = source
        #: The same methods as coroutines, for event loops.
        self.core = SlidingWindow(source, store, hold_seconds, registration or Registration())

    def check_rate_limit(
        self, limit: int | None = None, window_seconds: float | None = None, *, cost: int = 1
    ) -> tuple[bool, RateLimitStatus]:
        """Take a slot if there is one. ``(False, status)`` when there is none; nothing is counted then.

        Raises:
          InvalidRequest: a limit, window or cost below 1; no limit, of a source that has none of its own.
        """
        return run(self.core.check_rate_limit(limit, window_seconds, cost=cost))

    def wait_if_needed(
        self,
        limit: int | None = None,
        window_seconds: float | None = None,
        *,
        max_wait: float | None = None,
        cost: int = 1,
    ) -> RateLimitStatus:
        """Wait for a slot and take it; at most ``max_wait`` seconds (default: the longest window and the
        time for which a slot is held).

        Raises:
          RateLimited: none comes free in that time; raised as soon as that is known.
          InvalidRequest: as in :meth:`check_rate_limit`.
        """
        return run(self.core.wait_if_needed(limit, window_seconds, max_wait=max_wait, cost=cost))

    @contextmanager
    def slot(
        self,
        limit: int | None = None,
        window_seconds: float | None = None,
        *,
        max_wait: float | None = None,
        cost: int = 1,
    ) -> Iterator[RateLimitStatus]:
        """Hold a slot around a request of your own: exact whatever the network's delay.

        Leave the block when the answer is in, while the slot is held (15 s by default).

        Raises:
          RateLimited: no slot within ``max_wait`` seconds (default: the longest window and the time for which
            a slot is held).
          InvalidRequest: as in :meth:`check_rate_limit`.
        """
        slot, status = run(self.core.begin(limit, window_seconds, max_wait=max_wait, cost=cost))
        process = os.getpid()
        try:
            yield status
        finally:
            # A forked child that leaves the block, as by sys.exit(), must not end the slot of its parent.
            if os.getpid() == process:
                run(self.core.end(slot, cost))

    def hold(self, *, max_wait: float | None = None, cost: int = 1) -> str:
        """The name of a slot that is held until whoever fetches with it commits it, or its hold ends.

        Raises:
          RateLimited: no slot within ``max_wait`` seconds (default: the longest window and the time for which
            a slot is held).
        """
        return run(self.core.begin(max_wait=max_wait, cost=cost))[0]

    def get_status(self, limit: int | None = None, window_seconds: float | None = None) -> RateLimitStatus:
        """Where the tightest limit stands. Counts nothing."""
        return run(self.core.get_status(limit, window_seconds))

    def get_limits(self) -> tuple[Limit, ...]:
        """The limits in force: of all processes that share the source, the strictest of each window.

        While Redis is away, those that were last heard of.
        """
        return run(self.core.get_limits())

    def reopen(self) -> bool:
        """Lift the closure of the source, for the whole fleet, and keep every slot; True when it was closed.

        Use it when the reason is gone before its time: credit was bought, or the moment that the
        upstream named was wrong. Should the upstream refuse again, the source is closed again.

        Raises:
          RedisUnreachable: the closure stands in Redis.
        """
        return run(self.core.reopen())

    def reset(self) -> None:
        """Forget every slot that was taken, and any closure: the window counts from 0 again.

        The upstream does not forget what it has seen. To lift a closure alone, use :meth:`reopen`.
        """
        run(self.core.reset())


@singleton
def get_rate_limiter(source: str) -> RateLimiter:
    """The rate limiter of ``source``, which may be any name.

    One that is no configured source, and that no code has declared, is a source of its own: its limit is
    what each call says. A process, and the whole fleet within a day, may have 100 of them.

    Raises:
      InvalidRequest: no name (1-64 letters, digits, dots, dashes, underscores), or one too many.
    """
    settings, store = get_settings(), get_store()
    declared = get_declared().get(source)
    if source in source_names(settings):
        known = get_source(source, settings)
    elif declared is not None:
        known = declared.source
    else:
        known = unconfigured(source)
        if not get_usage_monitor().register(source, stacklevel=4):
            raise too_many(source)
    return RateLimiter(known, store, settings.lease_seconds, registering(source))
