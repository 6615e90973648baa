"""tbcache: a distributed fetcher and cache for market sentiment.

Names are loaded when they are first used, so that ``import tbcache`` costs nothing.
"""

from __future__ import annotations

import importlib
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tbcache.cache import CacheManager, cached, get_cache_manager
    from tbcache.fetch.function import (
        AsyncFetcher,
        AsyncQueuedCall,
        Fetcher,
        FetcherOutcome,
        FunctionSource,
        QueuedCall,
        source,
    )
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

#: The module of each name, by module; all other names are errors.
_HOME = {
    name: module
    for module, names in {
        "models.version": ("__version__",),
        # cache, limits, usage
        "cache": ("CacheManager", "cached", "get_cache_manager"),
        "rate_limiter": ("RateLimiter", "get_rate_limiter"),
        "monitoring": ("UsageMonitor", "get_usage_monitor"),
        # any function
        "fetch.function": (
            "source",
            "FunctionSource",
            "Fetcher",
            "AsyncFetcher",
            "FetcherOutcome",
            "QueuedCall",
            "AsyncQueuedCall",
        ),
        # fetching
        "providers": ("Provider", "get_provider", "get_symbol", "history"),
        "models": (
            "RateLimitStatus",
            "Limit",
            "FetchRequest",
            "HttpRequest",
            "History",
            "RawResponse",
            "Page",
            "Item",
            "SymbolSentiment",
            "CombinedSentiment",
            "Outcome",
        ),
        # queueing
        "queue": (
            "Handle",
            "QueuedJob",
            "Explanation",
            "enqueue",
            "enqueue_many",
            "PacingBroker",
            "RateLimitMiddleware",
            "get_broker",
        ),
        "models.caller": ("caller",),
        # parts that can be replaced
        "scoring": ("Scorer",),
        "repository": ("SentimentRepository",),
        # settings
        "settings": ("Settings", "get_settings"),
    }.items()
    for name in names
}

__all__ = [
    "AnswerPending",
    "AsyncFetcher",
    "AsyncQueuedCall",
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
    "QueuedCall",
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
    "UnknownJob",
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
# A stub of somebody's tests has no spec, which is a ValueError.
with suppress(ValueError):
    if find_spec("sqlalchemy") is None:
        # Whoever takes all names, as help() does, wants those that there are. Asked for by its name, it says
        # what is missing.
        del __all__[__all__.index("SentimentRepository")]


def __getattr__(name: str) -> object:
    if name not in _HOME and name not in __all__:
        raise AttributeError(f"module 'tbcache' has no attribute {name!r}")
    home = _HOME.get(name, "models.error")
    value: object = getattr(importlib.import_module(f"tbcache.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
