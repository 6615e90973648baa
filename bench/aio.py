"""What a hit and a slot cost in an event loop, alone and with 64 tasks at once, over redis.asyncio's GET."""

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
from tbcache.io import world
from tbcache.io.loop import drive
from tbcache.store.node import Node
from tests.server import Server

CALLERS = 64
YARDSTICK = "redis.asyncio GET"
TRANSPORT = "tbcache.io GET"

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
    found = {
        TRANSPORT: lambda: drive(_get(node)),
        **await peers(server.url),
    }
    try:
        alone = await compare(lambda: client.get("yardstick"), found, 1, rounds=rounds, calls=calls)
        together = await compare(lambda: client.get("yardstick"), found, CALLERS, rounds=rounds, calls=calls)
    finally:
        await client.aclose()
        node.close()
    return Table(
        "asyncio",
        f"Time of a call over a GET of redis.asyncio (hiredis, pooled) of the same value: one task that asks "
        f"again and again, and {CALLERS} tasks at once beside as many of redis.asyncio's; in brackets the "
        "extremes of the rounds. Client and server share a core. aiolimiter keeps its limit in the process.",
        ["what", "alone", f"{CALLERS} at once"],
        [[name, str(alone[name]), str(together[name])] for name in found],
        [
            Bar("a GET alone, 0.9 x", str(alone[TRANSPORT]), alone[TRANSPORT].median <= 0.9),
            Bar(f"a GET of {CALLERS}, 0.25 x", str(together[TRANSPORT]), together[TRANSPORT].median <= 0.25),
        ],
    )


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
