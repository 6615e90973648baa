"""tbcache: a distributed fetcher and cache for market sentiment.

Names are loaded when they are first used, so that ``import tbcache`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tbcache.cache import CacheManager, cached, get_cache_manager
    from tbcache.fetch.function import AsyncFetcher, Fetcher, FetcherOutcome, FunctionSource, source
    from tbcache.models import (
        CombinedSentiment,
        FetchRequest,
        History,
        HttpRequest,
        Item,
        Limit,
        Outcome,
        Page,
        RateLimitStatus,
        RawResponse,
        SymbolSentiment,
    )
    from tbcache.models.caller import caller
    from tbcache.models.error import (
        AnswerPending,
        BudgetExhausted,
        ConfigurationError,
        InvalidRequest,
        MissingExtra,
        Paused,
        RateLimited,
        RedisUnreachable,
        RepositoryUnavailable,
        ResultTimeout,
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
    )
    from tbcache.models.version import __version__ as __version__
    from tbcache.monitoring import UsageMonitor, get_usage_monitor
    from tbcache.providers import Provider, get_provider, get_symbol, history
    from tbcache.queue import (
        Explanation,
        Handle,
        PacingBroker,
        QueuedJob,
        RateLimitMiddleware,
        enqueue,
        enqueue_many,
        get_broker,
    )
    from tbcache.rate_limiter import RateLimiter, get_rate_limiter
    from tbcache.repository import SentimentRepository
    from tbcache.scoring import Scorer
    from tbcache.settings import Settings, get_settings

_HOME = {
    "__version__": "models.version",
    # cache
    "CacheManager": "cache",
    "cached": "cache",
    "get_cache_manager": "cache",
    # limits
    "RateLimiter": "rate_limiter",
    "RateLimitStatus": "models",
    "Limit": "models",
    "get_rate_limiter": "rate_limiter",
    # usage
    "UsageMonitor": "monitoring",
    "get_usage_monitor": "monitoring",
    # any function
    "source": "fetch.function",
    "FunctionSource": "fetch.function",
    "Fetcher": "fetch.function",
    "AsyncFetcher": "fetch.function",
    "FetcherOutcome": "fetch.function",
    # fetching
    "Provider": "providers",
    "get_provider": "providers",
    "get_symbol": "providers",
    "history": "providers",
    "FetchRequest": "models",
    "HttpRequest": "models",
    "History": "models",
    "RawResponse": "models",
    "Page": "models",
    "Item": "models",
    "SymbolSentiment": "models",
    "CombinedSentiment": "models",
    "Outcome": "models",
    # queueing
    "Handle": "queue",
    "caller": "models.caller",
    "QueuedJob": "queue",
    "Explanation": "queue",
    "enqueue": "queue",
    "enqueue_many": "queue",
    "PacingBroker": "queue",
    "RateLimitMiddleware": "queue",
    "get_broker": "queue",
    # parts that can be replaced
    "Scorer": "scoring",
    "SentimentRepository": "repository",
    # settings
    "Settings": "settings",
    "get_settings": "settings",
    # errors
    "TbcacheError": "models.error",
    "TbcacheWarning": "models.error",
    "ConfigurationError": "models.error",
    "UnknownSource": "models.error",
    "MissingExtra": "models.error",
    "InvalidRequest": "models.error",
    "RedisUnreachable": "models.error",
    "RateLimited": "models.error",
    "AnswerPending": "models.error",
    "BudgetExhausted": "models.error",
    "Paused": "models.error",
    "RepositoryUnavailable": "models.error",
    "ResultTimeout": "models.error",
    "UpstreamError": "models.error",
    "UpstreamThrottled": "models.error",
    "UpstreamQuotaExhausted": "models.error",
    "UpstreamAuthError": "models.error",
    "UpstreamNotEntitled": "models.error",
    "UpstreamNotFound": "models.error",
    "UpstreamBadRequest": "models.error",
    "UpstreamUnavailable": "models.error",
    "UpstreamPayloadError": "models.error",
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
    if name not in _HOME:
        raise AttributeError(f"module 'tbcache' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"tbcache.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
