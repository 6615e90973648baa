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
    from tbcache.asyncio.backtest import history
    from tbcache.asyncio.cache import CacheManager, cached, get_cache_manager
    from tbcache.asyncio.limiter import RateLimiter, get_rate_limiter
    from tbcache.asyncio.monitor import UsageMonitor, get_usage_monitor
    from tbcache.asyncio.provider import Provider, get_provider
    from tbcache.asyncio.queue import Handle, enqueue
    from tbcache.asyncio.symbol import get_symbol

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
    "enqueue": "queue",
}

__all__ = [
    "CacheManager",
    "Handle",
    "Provider",
    "RateLimiter",
    "UsageMonitor",
    "cached",
    "enqueue",
    "get_cache_manager",
    "get_provider",
    "get_rate_limiter",
    "get_symbol",
    "get_usage_monitor",
    "history",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'tbcache.asyncio' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"tbcache.asyncio.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
