"""tbcache for asyncio: the names of :mod:`tbcache`, and what asks Redis or an upstream is awaited.

    from tbcache.asyncio import get_provider

    outcome = await get_provider("twitter").fetch("AAPL")

Each event loop has connections of its own, which are closed with it. The blocking API may be used beside it
in one process: both share the cache in memory and the limits.

Names are loaded when they are first used, as those of :mod:`tbcache`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tbcache import (
        AnswerPending,
        AsyncFetcher,
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
    from tbcache.asyncio.backtest import history
    from tbcache.asyncio.cache import CacheManager, cached, get_cache_manager
    from tbcache.asyncio.limiter import RateLimiter, get_rate_limiter
    from tbcache.asyncio.monitor import UsageMonitor, get_usage_monitor
    from tbcache.asyncio.provider import Provider, get_provider
    from tbcache.asyncio.queue import Handle, QueuedJob, enqueue, enqueue_many
    from tbcache.asyncio.symbol import get_symbol

#: What is awaited. All other names are those of tbcache.
_HOME = {
    "CacheManager": "cache",
    "cached": "cache",
    "get_cache_manager": "cache",
    "RateLimiter": "limiter",
    "get_rate_limiter": "limiter",
    "UsageMonitor": "monitor",
    "get_usage_monitor": "monitor",
    "Provider": "provider",
    "get_provider": "provider",
    "get_symbol": "symbol",
    "history": "backtest",
    "Handle": "queue",
    "QueuedJob": "queue",
    "enqueue": "queue",
    "enqueue_many": "queue",
}

__all__ = [
    "AnswerPending",
    "AsyncFetcher",
    "BudgetExhausted",
    "CacheManager",
    "CombinedSentiment",
    "ConfigurationError",
    "Explanation",
    "FetchRequest",
    "Fetcher",
    "FetcherOutcome",
    "FunctionSource",
    "Handle",
    "History",
    "HttpRequest",
    "InvalidRequest",
    "Item",
    "Limit",
    "MissingExtra",
    "Outcome",
    "PacingBroker",
    "Page",
    "Paused",
    "Provider",
    "QueuedJob",
    "RateLimitMiddleware",
    "RateLimitStatus",
    "RateLimited",
    "RateLimiter",
    "RawResponse",
    "RedisUnreachable",
    "RepositoryUnavailable",
    "ResultTimeout",
    "Scorer",
    "SentimentRepository",
    "Settings",
    "SymbolSentiment",
    "TbcacheError",
    "TbcacheWarning",
    "UnknownSource",
    "UpstreamAuthError",
    "UpstreamBadRequest",
    "UpstreamError",
    "UpstreamNotEntitled",
    "UpstreamNotFound",
    "UpstreamPayloadError",
    "UpstreamQuotaExhausted",
    "UpstreamThrottled",
    "UpstreamUnavailable",
    "UsageMonitor",
    "cached",
    "caller",
    "enqueue",
    "enqueue_many",
    "get_broker",
    "get_cache_manager",
    "get_provider",
    "get_rate_limiter",
    "get_settings",
    "get_symbol",
    "get_usage_monitor",
    "history",
    "source",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'tbcache.asyncio' has no attribute {name!r}")
    home = f"tbcache.asyncio.{_HOME[name]}" if name in _HOME else "tbcache"
    value: object = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
