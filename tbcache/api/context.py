"""What the routes read from; made once for each app."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Self

from fastapi import Depends, Request

from tbcache.cache import CacheManager
from tbcache.errors import ConfigurationError, RedisUnreachable
from tbcache.fleet import Fleet
from tbcache.monitoring import UsageMonitor
from tbcache.queue import Queue
from tbcache.rate_limiter import RateLimiter
from tbcache.settings import Settings
from tbcache.sources import Source, get_sources
from tbcache.store import Store, Unavailable


@dataclass(frozen=True, slots=True)
class Context:
    """The fleet, seen from the API. Opens no socket before the first request.

    ``sources`` are those that the API itself was started with.
    """

    settings: Settings
    sources: dict[str, Source]
    store: Store
    cache: CacheManager
    monitor: UsageMonitor
    queue: Queue
    fleet: Fleet
    limiters: dict[str, RateLimiter]

    @classmethod
    def of(cls, settings: Settings) -> Self:
        store, sources = Store(settings), get_sources(settings)
        monitor, queue = UsageMonitor(store, settings), Queue(store, settings)
        return cls(
            settings=settings,
            sources=sources,
            store=store,
            cache=CacheManager(store),
            monitor=monitor,
            queue=queue,
            fleet=Fleet(settings, store, monitor, queue),
            limiters={name: RateLimiter(source, store) for name, source in sources.items()},
        )

    def limiter(self, source: Source) -> RateLimiter:
        """To look at the limits of ``source``."""
        return self.limiters.get(source.name) or RateLimiter(source, self.store)

    def why_away(self) -> str | None:
        """Why Redis cannot be used, in one line; None when it can. One round trip."""
        try:
            self.store.require()
        except (RedisUnreachable, ConfigurationError) as error:
            return str(error)
        return None

    def check(self) -> None:
        """Make sure that what was just read is no stand-in for a Redis that is away.

        Raises:
          Unavailable: it is.
        """
        if not self.store.is_available:
            raise Unavailable(self.store.address, "it went away")

    def close(self) -> None:
        self.cache.close()
        self.store.close()


def get_context(request: Request) -> Context:
    context = request.app.state.context
    assert isinstance(context, Context)  # noqa: S101 -- narrows an untyped attribute
    return context


Ctx = Annotated[Context, Depends(get_context)]
