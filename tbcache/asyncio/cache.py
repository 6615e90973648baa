"""The cache manager, awaited, and ``@cached`` for async functions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any, ParamSpec, TypeVar, overload

from tbcache.asyncio.awaited import beside, driven
from tbcache.cache import Cached
from tbcache.cache import CacheManager as BlockingManager
from tbcache.cache import cached as keep_results
from tbcache.cache import get_cache_manager as get_blocking
from tbcache.cache.core import Cache
from tbcache.io.coroutine import is_coroutine_function
from tbcache.io.loop import drive
from tbcache.io.singleton import singleton

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class CacheManager:
    """Values by key, for the whole fleet, each with a TTL: the methods of :class:`tbcache.CacheManager`,
    awaited, which say what they do and raise. ``blocking`` is the same for the blocking API.
    """

    def __init__(self, blocking: BlockingManager) -> None:
        self.blocking = blocking
        self._core = blocking.core

    get = driven(Cache.get, BlockingManager.get)
    set = driven(Cache.set, BlockingManager.set)
    exists = driven(Cache.exists, BlockingManager.exists)
    get_ttl = driven(Cache.get_ttl, BlockingManager.get_ttl)
    delete = driven(Cache.delete, BlockingManager.delete)
    clear_pattern = driven(Cache.clear_pattern, BlockingManager.clear_pattern)
    status = beside(BlockingManager.status)

    async def get_or_load(self, key: str, loader: Callable[[], Awaitable[T]], ttl: float | None = None) -> T:
        """See :meth:`tbcache.CacheManager.get_or_load`: ``loader`` is awaited, and goes on though one of
        those who wait for it is cancelled.

        Raises:
          TypeError: ``loader`` is not async.
        """
        return await drive(self._core.get_or_load(key, lambda: _awaited(loader), ttl))


async def _awaited(loader: Callable[[], Awaitable[T]]) -> T:
    found = loader()
    # It can only be known now: a lambda may well give what an async function does.
    if not isawaitable(found):
        raise TypeError(f"{loader!r} is not async: what it returns cannot be awaited")
    return await found


@singleton
def get_cache_manager() -> CacheManager:
    """The cache manager of this process."""
    return CacheManager(get_blocking())


@overload
def cached(function: Callable[P, Awaitable[R]], /) -> Cached[P, Awaitable[R]]: ...


@overload
def cached(
    *, ttl: float | None = None, key_prefix: str | None = None, cache: CacheManager | None = None
) -> Callable[[Callable[P, Awaitable[R]]], Cached[P, Awaitable[R]]]: ...


def cached(
    function: Callable[..., Any] | None = None,
    /,
    *,
    ttl: float | None = None,
    key_prefix: str | None = None,
    cache: CacheManager | None = None,
) -> Any:
    """Keep what an ``async`` function or method comes to for ``ttl`` seconds (default 300), by its bound
    arguments; see :func:`tbcache.cached`.

        @cached(ttl=60, key_prefix="quote")
        async def quote(symbol: str) -> float: ...

        await quote("AAPL")
        await quote.invalidate("AAPL")

    Raises:
      InvalidRequest: ``ttl`` or ``key_prefix`` cannot be one; what is decorated is no function.
      TypeError: of the decorated function, where it is not ``async``.
    """
    caching = keep_results(ttl=ttl, key_prefix=key_prefix, cache=None if cache is None else cache.blocking)

    def decorate(function: Callable[..., Any]) -> Any:
        if callable(function) and not is_coroutine_function(function):
            raise TypeError(f"{function!r} is not async; use tbcache.cached")
        return caching(function)

    return decorate if function is None else decorate(function)
