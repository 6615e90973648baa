"""A Redis that Sentinel watches: the fleet follows a failover, and loses nothing by it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from tbcache import RateLimiter
from tbcache.asyncio.cache import CacheManager as AwaitedCache
from tbcache.cache import CacheManager
from tbcache.models import FetchRequest, Limit
from tbcache.models.error import ConfigurationError
from tbcache.queue import Queue
from tbcache.settings import BUILT_IN, Settings
from tbcache.store import Store, Unavailable
from tbcache.store.start import require
from tests.server import SentinelServer, free_port, wait_until

StoreFor = Callable[..., Store]
SOURCE = replace(BUILT_IN["news"], limits=(Limit(8, 600.0),), missing=())
ADDRESSES = {"REDIS_URL": "redis://fleet/0", "REDIS_SENTINELS": "s1:26379,s2:26379"}


@pytest.fixture
def watched() -> Iterator[SentinelServer]:
    server = SentinelServer()
    try:
        yield server.start()
    finally:
        server.close()


def test_a_promoted_replica_is_followed_and_has_everything(
    watched: SentinelServer, store_for: StoreFor
) -> None:
    """The primary is killed: what was cached and queued is still there, and what was sent still counts."""
    store = store_for(watched, TBCACHE_LOCAL_CACHE_BYTES="0")
    require(store)
    cache, queue, limiter = CacheManager(store), Queue(store, store.settings), RateLimiter(SOURCE, store)
    cache.set("head:x", 1, ttl=600)
    queue.enqueue(FetchRequest("news", "AAPL"))
    taken = [limiter.check_rate_limit()[0] for _ in range(3)]
    wait_until(watched.is_replicated, 20, "the replica's having all of it")

    watched.primary.kill()

    def is_followed() -> bool:
        # It is asked all the while, with Redis and without.
        taken.append(limiter.check_rate_limit()[0])
        return store.is_available and watched.primary is watched.nodes[1]

    wait_until(is_followed, 60, "the failover")
    assert cache.get("head:x") == 1
    assert asyncio.run(AwaitedCache(cache).get("head:x")) == 1
    assert queue.depth("news").interactive == 1
    wait_until(lambda: taken.append(limiter.check_rate_limit()[0]) or sum(taken) >= 8, 30, "all of the limit")
    assert not any(limiter.check_rate_limit()[0] for _ in range(20))
    assert sum(taken) == 8


def test_sentinels_that_are_not_there_are_a_redis_that_is_away() -> None:
    """The words say what was asked for, not the address of a server that nobody has named."""
    variables = {**ADDRESSES, "REDIS_SENTINELS": f"127.0.0.1:{free_port()},127.0.0.1:{free_port()}"}
    store = Store(Settings.load(variables))
    with pytest.raises(Unavailable, match="No master found for 'fleet'"):
        store.check()
    store.close()


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"REDIS_SENTINELS": "s1"}, "HOST:PORT"),
        ({"REDIS_SENTINELS": ","}, "HOST:PORT"),
        ({"REDIS_SENTINELS": "s1:x"}, "HOST:PORT"),
        ({"REDIS_SENTINELS": "s1:1/fleet"}, "HOST:PORT"),
        ({"REDIS_URL": ""}, "it needs a REDIS_URL that says which service"),
        ({"REDIS_URL": "unix:///redis.sock"}, "no socket file"),
        ({"REDIS_CLUSTER": "true"}, "a cluster promotes its replicas itself"),
    ],
)
def test_what_sentinel_cannot_watch_is_refused(variables: dict[str, str], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=f"REDIS_SENTINELS=.*{problem}"):
        Settings.load({**ADDRESSES, **variables})
