"""tbcache for asyncio: the names of :mod:`tbcache`, and what asks Redis or an upstream is awaited.

    from tbcache.asyncio import get_provider

    outcome = await get_provider("twitter").fetch("AAPL")

Each event loop has connections of its own, which are closed with it. The blocking API may be used beside it
in one process: both share the cache in memory and the limits.

Names are loaded when they are first used, as those of :mod:`tbcache`.
"""

# ruff: noqa: F401, F811 -- what is imported for type checkers is in the list of tbcache, which is read twice.

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

import tbcache

# By this import mypy knows what the module exports, and by the assignment below pyright does.
from tbcache import __all__ as __all__

if TYPE_CHECKING:
    from tbcache import (
        AnswerPending,
        AsyncFetcher,
        AsyncQueuedCall,
        BudgetExhausted,
        CombinedSentiment,
        ConfigurationError,
        Explanation,
        Fetcher,
        FetcherOutcome,
        FetchRequest,
        FunctionSource,
        History,
        HttpRequest,
        InvalidRequest,
        Item,
        Limit,
        MissingExtra,
        Outcome,
        PacingBroker,
        Page,
        Paused,
        QueuedCall,
        RateLimited,
        RateLimitMiddleware,
        RateLimitStatus,
        RawResponse,
        RedisUnreachable,
        RepositoryUnavailable,
        ResultTimeout,
        Scorer,
        SentimentRepository,
        Settings,
        SymbolSentiment,
        TbcacheError,
        TbcacheWarning,
        UnknownJob,
        UnknownSource,
        UpstreamAuthError,
        UpstreamBadRequest,
        UpstreamError,
        UpstreamNotEntitled,
        UpstreamNotFound,
        UpstreamPayloadError,
        UpstreamQuotaExhausted,
        UpstreamThrottled,
        UpstreamUnavailable,
        caller,
        get_broker,
        get_settings,
        source,
    )
    from tbcache.asyncio.cache import CacheManager, cached, get_cache_manager
    from tbcache.asyncio.limiter import RateLimiter, get_rate_limiter
    from tbcache.asyncio.monitor import UsageMonitor, get_usage_monitor
    from tbcache.asyncio.provider import Provider, get_provider, get_symbol, history
    from tbcache.asyncio.queue import Handle, QueuedJob, enqueue, enqueue_many

__all__ = tbcache.__all__

#: What is awaited. All other names are those of tbcache.
_HOME = {
    name: module
    for module, names in {
        "cache": ("CacheManager", "cached", "get_cache_manager"),
        "limiter": ("RateLimiter", "get_rate_limiter"),
        "monitor": ("UsageMonitor", "get_usage_monitor"),
        "provider": ("Provider", "get_provider", "get_symbol", "history"),
        "queue": ("Handle", "QueuedJob", "enqueue", "enqueue_many"),
    }.items()
    for name in names
}


def __getattr__(name: str) -> object:
    if name not in __all__ and name not in tbcache._HOME:
        raise AttributeError(f"module 'tbcache.asyncio' has no attribute {name!r}")
    home = f"tbcache.asyncio.{_HOME[name]}" if name in _HOME else "tbcache"
    value: object = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
