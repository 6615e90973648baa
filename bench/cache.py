"""The caches, each used as its documentation says, behind one protocol; sync or async as they are.

A peer is imported when it is asked for: the tests have none of them.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Protocol
from urllib.parse import urlsplit

import msgspec
import redis

from tbcache.admission import Admission
from tbcache.cache import CacheManager
from tbcache.fetch import Pipeline
from tbcache.models import FetchRequest, HttpRequest, Item, Limit, Page, RawResponse, SymbolSentiment
from tbcache.monitoring import UsageMonitor
from tbcache.providers import Provider
from tbcache.settings import BUILT_IN, Settings
from tbcache.store import Store
from tbcache.store.memory import Memory

TTL = 600
LOCAL_BYTES = 16 * 1024 * 1024
#: About as many as 16 busy callers make in a second.
HITS_BEFORE_UPDATE = 800

SENTIMENT = SymbolSentiment(
    source="reddit",
    symbol="AAPL",
    hours=24,
    score=0.125,
    count=240,
    bullish=100,
    bearish=60,
    neutral=80,
    as_of=datetime(2026, 1, 5, 14, 30, tzinfo=UTC),
    complete=True,
    since=datetime(2026, 1, 4, 14, 30, tzinfo=UTC),
    scorer="finance-vader",
)
#: The same for those who cache plain data.
VALUE = msgspec.to_builtins(SENTIMENT)

Loader = Callable[[], Any]
AsyncLoader = Callable[[], Awaitable[Any]]


class Cache(Protocol):
    """``load`` gives the value under ``key``, or the loader's, which it keeps."""

    def load(self, key: str, loader: Loader) -> Any: ...


class AsyncCache(Protocol):
    async def load(self, key: str, loader: AsyncLoader) -> Any: ...


# --- tbcache -----------------------------------------------------------------------------


class Upstream(Provider):
    """A source whose every answer is one item, and takes as long as ``loader`` does."""

    loader: Loader = staticmethod(lambda: None)

    def request(self, fetch: FetchRequest, cursor: str | None, since: datetime) -> HttpRequest:
        return HttpRequest("GET", "http://upstream.invalid")

    def send(self, request: HttpRequest) -> RawResponse:
        self.loader()
        return RawResponse(200, {}, b"")

    def parse(self, response: RawResponse) -> Page:
        return Page((Item("1", None, "to the moon", label="bullish"),))


class Tbcache:
    """Everything of one process, built by hand, so that several can stand side by side."""

    def __init__(
        self,
        url: str,
        *,
        local_bytes: int = 0,
        cache_ttl: float = TTL,
        lease_seconds: float = 15.0,
        limit: Limit = Limit(100_000, 60.0),
        **variables: str,
    ) -> None:
        settings = Settings.load(
            {
                "REDIS_URL": url,
                "TBCACHE_LOCAL_CACHE_BYTES": str(local_bytes),
                "TBCACHE_LEASE_SECONDS": str(lease_seconds),
                # What it says of itself to the fleet, which goes by the strictest limit.
                "TBCACHE_REDDIT__LIMITS": str(limit),
                **variables,
            }
        )
        self.settings = settings
        self.store = Store(settings)
        memory = Memory(self.store, local_bytes, is_tracking=True) if local_bytes else Memory(self.store)
        self.manager = CacheManager(self.store, memory)
        self.monitor = UsageMonitor(self.store, settings)
        source = replace(BUILT_IN["reddit"], limits=(limit,), missing=(), pages=1, cache_ttl=cache_ttl)
        self.provider = Upstream(source, settings.source("reddit"))
        self.provider.persist_to_db = False
        admission = Admission(self.store, settings, self.monitor, memory)
        provider: Any = self.provider
        provider.pipeline = Pipeline(admission)
        provider.usage_monitor = self.monitor

    def close(self) -> None:
        """End its threads and connections."""
        self.provider.pipeline.close()
        self.manager.close()
        self.monitor.leave()
        self.store.close()


class TbcacheFetch:
    """A provider's ``fetch``."""

    def __init__(self, url: str, cache_ttl: float = TTL, lease_seconds: float = 15.0) -> None:
        self.parts = Tbcache(url, local_bytes=LOCAL_BYTES, cache_ttl=cache_ttl, lease_seconds=lease_seconds)

    def load(self, key: str, loader: Loader) -> Any:
        provider = self.parts.provider
        provider.loader = loader
        return provider.fetch(key.upper()).sentiment


class TbcacheManager:
    """``get_or_load`` of the cache manager."""

    def __init__(self, url: str) -> None:
        self.parts = Tbcache(url, local_bytes=LOCAL_BYTES)

    def load(self, key: str, loader: Loader) -> Any:
        return self.parts.manager.get_or_load(key, loader, TTL)


# --- peers -------------------------------------------------------------------------------


class Naive:
    """redis-py alone: GET, and SET with a TTL on a miss."""

    def __init__(self, url: str, ttl: float = TTL) -> None:
        self._client = redis.Redis.from_url(url)
        self._ttl_ms = int(ttl * 1000)

    def load(self, key: str, loader: Loader) -> Any:
        found: Any = self._client.get(key)
        if found is not None:
            return msgspec.json.decode(found)
        value = loader()
        self._client.set(key, msgspec.json.encode(value), px=self._ttl_ms)
        return value


class Django:
    """django-redis: ``get_or_set``."""

    def __init__(self, url: str, ttl: float = TTL) -> None:
        from django.conf import settings
        from django_redis.cache import RedisCache

        if not settings.configured:
            settings.configure(USE_TZ=True)
        self.cache = RedisCache(url, {"TIMEOUT": ttl})

    def load(self, key: str, loader: Loader) -> Any:
        return self.cache.get_or_set(key, loader)


class Dogpile:
    """dogpile.cache: ``get_or_create``, with its lock in the process or in Redis."""

    def __init__(self, url: str, ttl: float = TTL, *, is_distributed: bool = False) -> None:
        from dogpile.cache import make_region

        arguments = {"url": url, "redis_expiration_time": int(ttl) + 60}
        if is_distributed:
            arguments |= {"distributed_lock": True, "thread_local_lock": False, "lock_timeout": 10}
        self.region = make_region().configure("dogpile.cache.redis", expiration_time=ttl, arguments=arguments)

    def load(self, key: str, loader: Loader) -> Any:
        return self.region.get_or_create(key, loader)


class Aiocache:
    """aiocache: ``@cached``, or ``@cached_stampede`` with a lease in Redis."""

    def __init__(self, url: str, *, is_locked: bool = False) -> None:
        import aiocache
        from aiocache.serializers import JsonSerializer

        where = {"endpoint": "127.0.0.1", "port": urlsplit(url).port}
        self.cache = aiocache.RedisCache(serializer=JsonSerializer(), **where)
        decorator: Any = aiocache.cached_stampede if is_locked else aiocache.cached
        self._decorate = lambda key: decorator(
            ttl=TTL, key=key, cache=aiocache.RedisCache, serializer=JsonSerializer(), **where
        )
        self._loads: dict[str, Any] = {}

    async def load(self, key: str, loader: AsyncLoader) -> Any:
        if key not in self._loads:
            self._loads[key] = self._decorate(key)(loader)
        return await self._loads[key]()


class Cashews:
    """cashews: the decorator, with or without ``lock``; or one that refreshes before the value is
    gone: ``early`` in the last half of its time, ``hit`` after so many reads."""

    def __init__(
        self, url: str, *, is_locked: bool = False, ttl: float = TTL, strategy: str = "plain"
    ) -> None:
        import cashews

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.cache = cashews.Cache()
            self.cache.setup(url)
        decorators: dict[str, Callable[[str], Any]] = {
            "plain": lambda key: self.cache(ttl=ttl, key=key, lock=is_locked),
            "early": lambda key: self.cache.early(ttl=ttl, early_ttl=ttl / 2, key=key),
            "hit": lambda key: self.cache.hit(
                ttl=ttl, cache_hits=100_000, update_after=HITS_BEFORE_UPDATE, key=key
            ),
        }
        self._decorate = decorators[strategy]
        self._loads: dict[str, Any] = {}

    async def load(self, key: str, loader: AsyncLoader) -> Any:
        if key not in self._loads:
            self._loads[key] = self._decorate(key)(loader)
        return await self._loads[key]()


def dogpile_distributed(url: str) -> Dogpile:
    return Dogpile(url, is_distributed=True)


def aiocache_stampede(url: str) -> Aiocache:
    return Aiocache(url, is_locked=True)


def cashews_lock(url: str) -> Cashews:
    return Cashews(url, is_locked=True)


def sleep_and_load(seconds: float) -> Any:
    time.sleep(seconds)
    return VALUE
