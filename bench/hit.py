"""What a hit costs, over one bare GET of the same value."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable

import msgspec
import redis
from redis.cache import CacheConfig

from bench import cache, timing
from bench.table import Bar, Table
from tests.server import Server

WITHOUT_LOCAL = "tbcache get_sentiment, no in-process layer"
WITH_LOCAL = "tbcache get_sentiment, in-process layer"
CLIENT_CACHE = "redis-py client cache"


def table(*, is_quick: bool) -> Table:
    """The table, in about 25 seconds; in 6 when ``is_quick``."""
    server = Server().start()
    rounds, calls = (5, 150) if is_quick else (25, 300)
    try:
        with timing.one_core(server):
            return measure(server, peers(server.url), rounds=rounds, calls=calls)
    finally:
        server.close()


def measure(server: Server, peers: dict[str, timing.Block | str], *, rounds: int, calls: int) -> Table:
    """tbcache and ``peers`` (or why one cannot run), each beside the same GET."""
    client = redis.Redis.from_url(server.url)
    client.set("yardstick", msgspec.json.encode(cache.VALUE))
    sides = {"no in-process layer": 0, "in-process layer": cache.LOCAL_BYTES}
    parts = {side: cache.Tbcache(server.url, local_bytes=size) for side, size in sides.items()}
    blocks = {name: peer for name, peer in peers.items() if not isinstance(peer, str)}
    for side, part in parts.items():
        blocks[f"tbcache CacheManager.get, {side}"] = timing.block(_manager(part))
        blocks[f"tbcache get_sentiment, {side}"] = timing.block(_sentiment(part))
    try:
        ratios = timing.compare(
            timing.block(lambda: client.get("yardstick")), blocks, rounds=rounds, calls=calls
        )
    finally:
        for part in parts.values():
            part.close()
    refused = [[name, why] for name, why in peers.items() if isinstance(why, str)]
    return Table(
        "A hit",
        "Median time of a hit over one bare redis-py GET (hiredis, pooled) of the same value; in brackets "
        "the extremes of the rounds. Client and server share a core. "
        "The naive pattern is a limit (MULTI), a GET and three counters; "
        "get_sentiment does limit, cache and usage too.",
        ["cache", "x GET"],
        [*([name, str(ratio)] for name, ratio in ratios.items()), *refused],
        [
            _bar("1.0 x GET without the in-process layer", ratios[WITHOUT_LOCAL], 1.0),
            _bar("0.05 x GET with it", ratios[WITH_LOCAL], 0.05),
        ],
    )


def _bar(asked: str, ratio: timing.Ratio, most: float) -> Bar:
    return Bar(f"get_sentiment on a warm symbol, {asked}", str(ratio), ratio.median <= most)


def _sentiment(part: cache.Tbcache) -> Callable[[], object]:
    part.provider.fetch("AAPL")
    _warm(part, lambda: part.provider.get_sentiment("AAPL"))
    return lambda: part.provider.get_sentiment("AAPL")


def _manager(part: cache.Tbcache) -> Callable[[], object]:
    part.manager.set("bench:manager", cache.SENTIMENT, cache.TTL)
    _warm(part, lambda: part.manager.get("bench:manager"))
    return lambda: part.manager.get("bench:manager")


def _warm(part: cache.Tbcache, ask: Callable[[], object]) -> None:
    """Ask until the in-process layer has answered, where there is one."""
    memory = part.manager.memory
    deadline = time.monotonic() + 5
    while memory.is_tracking and memory.stats.hits == 0 and time.monotonic() < deadline:
        ask()
    ask()


def peers(url: str) -> dict[str, timing.Block | str]:
    """Every peer with its value in place; of one that cannot run, why."""
    loop = asyncio.new_event_loop()
    dogpile, django = cache.Dogpile(url), cache.Django(url)
    dogpile.region.set("dogpile", cache.VALUE)
    django.cache.set("django", cache.VALUE)
    aio, cashews = cache.Aiocache(url), cache.Cashews(url)
    loop.run_until_complete(aio.cache.set("aiocache", cache.VALUE))
    loop.run_until_complete(cashews.cache.set("cashews", cache.VALUE, expire=cache.TTL))
    return {
        "naive pattern (limit, GET, counters)": timing.block(naive(url)),
        "dogpile.cache": timing.block(lambda: dogpile.region.get("dogpile")),
        "django-redis": timing.block(lambda: django.cache.get("django")),
        "aiocache": timing.async_block(loop, lambda: aio.cache.get("aiocache")),
        "cashews": timing.async_block(loop, lambda: cashews.cache.get("cashews")),
        CLIENT_CACHE: client_cache(url),
    }


def naive(url: str) -> Callable[[], object]:
    """A limit kept in a sorted set, the value, and three figures, as one would write it by hand."""
    client = redis.Redis.from_url(url)
    client.set("naive:value", msgspec.json.encode(cache.VALUE))

    def ask() -> object:
        now = time.time()
        with client.pipeline() as pipe:
            pipe.zremrangebyscore("naive:limit", 0, now - 60)
            pipe.zcard("naive:limit")
            pipe.zadd("naive:limit", {uuid.uuid4().hex: now})
            pipe.expire("naive:limit", 60)
            pipe.execute()
        value = msgspec.json.decode(client.get("naive:value"))
        for field in ("requests", "hits", "cost"):
            client.hincrby("naive:usage", field, 1)
        return value

    return ask


def client_cache(url: str) -> timing.Block | str:
    """redis-py's own, where the server is of a version it takes."""
    try:
        client = redis.Redis.from_url(url, protocol=3, cache_config=CacheConfig())
        client.set("tracked", msgspec.json.encode(cache.VALUE))
        client.get("tracked")
    except redis.RedisError as error:
        return f"- ({type(error).__name__}: it refuses a server that reports a version below 7.4)"
    return timing.block(lambda: msgspec.json.decode(client.get("tracked")))
