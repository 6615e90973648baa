"""What a hit costs in an event loop, alone and with 64 tasks at once, over redis.asyncio's GET."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
import redis.asyncio

from bench import cache, timing
from bench.table import Bar, Table
from tbcache.asyncio.cache import CacheManager
from tbcache.asyncio.provider import Provider
from tbcache.io import world
from tbcache.io.loop import drive
from tbcache.store.node import Node
from tests.server import Server

CALLERS = 64
YARDSTICK = "redis.asyncio GET"
TRANSPORT = "tbcache.io GET"
WITHOUT_MEMORY = "tbcache.asyncio get_sentiment, no in-process layer"

Call = Callable[[], Awaitable[Any]]


def table(*, is_quick: bool) -> Table:
    """The table, in about 30 seconds; in 6 when ``is_quick``."""
    server = Server().start()
    rounds, calls = (5, 320) if is_quick else (25, 1280)
    try:
        with timing.one_core(server):
            return asyncio.run(measure(server, peers, rounds=rounds, calls=calls))
    finally:
        server.close()


async def measure(
    server: Server, peers: Callable[[str], Awaitable[Mapping[str, Call]]], *, rounds: int, calls: int
) -> Table:
    """tbcache and ``peers``, each beside the same GET."""
    client: Any = redis.asyncio.Redis.from_url(server.url)
    node = Node(server.url, 5.0)
    await client.set("yardstick", msgspec.json.encode(cache.VALUE))
    sides = {"no in-process layer": 0, "in-process layer": cache.LOCAL_BYTES}
    parts = {side: cache.Tbcache(server.url, local_bytes=size) for side, size in sides.items()}
    found: dict[str, Call] = {TRANSPORT: lambda: drive(_get(node))}
    for side, part in parts.items():
        found |= {f"tbcache.asyncio {what}, {side}": call for what, call in (await _calls(part)).items()}
    found |= await peers(server.url)
    try:
        alone = await compare(lambda: client.get("yardstick"), found, 1, rounds=rounds, calls=calls)
        together = await compare(lambda: client.get("yardstick"), found, CALLERS, rounds=rounds, calls=calls)
    finally:
        await client.aclose()
        node.close()
        for part in parts.values():
            await asyncio.to_thread(part.close)
    return Table(
        "asyncio",
        f"Time of a call over a GET of redis.asyncio (hiredis, pooled) of the same value: one task that asks "
        f"again and again, and {CALLERS} tasks at once beside as many of redis.asyncio's; in brackets the "
        "extremes of the rounds. Client and server share a core. aiolimiter keeps its limit in the process.",
        ["what", "alone", f"{CALLERS} at once"],
        [[name, str(alone[name]), str(together[name])] for name in found],
        [
            _bar("a warm hit alone, 0.9 x a GET of redis.asyncio", alone[WITHOUT_MEMORY], 0.9),
            _bar(f"a warm hit of {CALLERS} tasks, 0.25 x", together[WITHOUT_MEMORY], 0.25),
        ],
    )


def _bar(asked: str, ratio: timing.Ratio, most: float) -> Bar:
    return Bar(asked, str(ratio), ratio.median <= most)


async def _calls(part: cache.Tbcache) -> dict[str, Call]:
    """A hit of each kind."""
    provider, manager = Provider(part.provider), CacheManager(part.manager)
    await provider.fetch("AAPL")
    await manager.set("bench:manager", cache.SENTIMENT, cache.TTL)
    for _ in range(20):
        # Until the layer in the process is on, where there is one.
        await provider.get_sentiment("AAPL")
        await manager.get("bench:manager")
        await asyncio.sleep(0.05)
    return {
        "get_sentiment": lambda: provider.get_sentiment("AAPL"),
        "CacheManager.get": lambda: manager.get("bench:manager"),
    }


async def compare(
    yardstick: Call, others: Mapping[str, Call], callers: int, *, rounds: int, calls: int
) -> dict[str, timing.Ratio]:
    """Each one's time a call over the yardstick's, taken right before it, round after round."""
    for one in (yardstick, *others.values()):
        await seconds_each(one, callers, calls)
    found: dict[str, list[float]] = {name: [] for name in others}
    for _ in range(rounds):
        for name, one in others.items():
            base = await seconds_each(yardstick, callers, calls)
            found[name].append(await seconds_each(one, callers, calls) / base)
    return {
        name: timing.Ratio(statistics.median(ratios), min(ratios), max(ratios))
        for name, ratios in found.items()
    }


async def seconds_each(call: Call, callers: int, calls: int) -> float:
    """What one of ``calls`` takes, of ``callers`` tasks that each make their part one after the other."""

    async def caller() -> None:
        for _ in range(calls // callers):
            await call()

    started = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return (time.perf_counter() - started) / calls


async def _get(node: Node) -> Any:
    return await world().call(node, ("GET", "yardstick"))


async def peers(url: str) -> dict[str, Call]:
    """Every peer with its value in place."""
    from aiolimiter import AsyncLimiter

    aio, cashews = cache.Aiocache(url), cache.Cashews(url)
    await aio.cache.set("aiocache", cache.VALUE)
    await cashews.cache.set("cashews", cache.VALUE, expire=cache.TTL)
    limiter = AsyncLimiter(10_000_000, 1.0)
    return {
        "cashews get": lambda: cashews.cache.get("cashews"),
        "aiocache get": lambda: aio.cache.get("aiocache"),
        "aiolimiter acquire": limiter.acquire,
    }
