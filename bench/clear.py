"""Table 5: clearing a tenth of many keys, and what a reader feels of it."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import redis

from bench import cache, fleet, timing
from bench.table import Bar, Table
from tbcache.store import codec
from tests.server import Server

BATCH = 20_000
STOP = "bench:stop"
SLOW_MICROS = 50
_FILL = """
for number = ARGV[1], ARGV[2] do
    redis.call('SET', (number % 10 == 0 and ARGV[3] or ARGV[4]) .. number, ARGV[5], 'EX', 3600)
end
"""


@dataclass(frozen=True)
class Way:
    """A way to clear: what its keys start with (those to go, those to stay), and whether one is seen."""

    goes: str
    stays: str
    clear: Callable[[], Any]
    is_seen: Callable[[int], bool]


@dataclass(frozen=True)
class Seen:
    """Times in GETs. ``survivors`` of those asked for right after the clear."""

    took: float
    longest_command: float
    longest_read: float
    survivors: int


def ways(server: Server, names: list[str]) -> dict[str, Way]:
    """The ways by name; a peer's objects are made when it is asked for."""
    found: dict[str, Callable[[Server], Way]] = {
        "tbcache clear_pattern": _tbcache,
        "(nobody clears)": _nobody,
        "django-redis delete_pattern": _django,
        "cashews delete_match": _cashews,
        "aiocache clear": _aiocache,
        "KEYS, DEL": _keys,
    }
    return {name: found[name](server) for name in names}


ALL = [
    "tbcache clear_pattern",
    "(nobody clears)",
    "django-redis delete_pattern",
    "cashews delete_match",
    "aiocache clear",
    "KEYS, DEL",
]


def _tbcache(server: Server) -> Way:
    part = cache.Tbcache(server.url)
    prefix = "trading_bot:cache:"
    return Way(
        f"{prefix}{{news}}:",
        f"{prefix}{{reddit}}:",
        lambda: part.manager.clear_pattern("news:*"),
        lambda number: part.manager.exists(f"news:{number}"),
    )


def _nobody(server: Server) -> Way:
    return Way("news:", "reddit:", lambda: time.sleep(0.5), lambda number: False)


def _django(server: Server) -> Way:
    one = cache.Django(server.url).cache
    return Way(":1:news:", ":1:reddit:", lambda: one.delete_pattern("news:*"), _exists(server, ":1:news:"))


def _cashews(server: Server) -> Way:
    one, loop = cache.Cashews(server.url).cache, asyncio.new_event_loop()
    clear = lambda: loop.run_until_complete(one.delete_match("news:*"))  # noqa: E731
    return Way("news:", "reddit:", clear, _exists(server, "news:"))


def _aiocache(server: Server) -> Way:
    one, loop = cache.Aiocache(server.url).cache, asyncio.new_event_loop()
    clear = lambda: loop.run_until_complete(one.clear(namespace="news"))  # noqa: E731
    return Way("news:", "reddit:", clear, _exists(server, "news:"))


def _keys(server: Server) -> Way:
    client = redis.Redis.from_url(server.url)
    return Way("news:", "reddit:", lambda: client.delete(*client.keys("news:*")), _exists(server, "news:"))


def _exists(server: Server, prefix: str) -> Callable[[int], bool]:
    return lambda number: bool(server.client.exists(f"{prefix}{number}"))


def fill(server: Server, way: Way, keys: int) -> None:
    """So many keys, a tenth of them to go."""
    server.client.flushall()
    payload = codec.seal(codec.encode(1))
    for first in range(0, keys, BATCH):
        last = min(first + BATCH, keys) - 1
        server.client.eval(_FILL, 0, first, last, way.goes, way.stays, payload)


def read(process: int, start: float, url: str) -> list[float]:
    """A reader: the seconds of each GET, until the key it reads is there."""
    client = redis.Redis.from_url(url)
    seconds: list[float] = []
    client.get(STOP)
    while True:
        started = time.perf_counter()
        value = client.get(STOP)
        seconds.append(time.perf_counter() - started)
        if value is not None:
            return seconds
        time.sleep(0.0002)


def table(*, is_quick: bool) -> Table:
    """The table on a million keys, in about 60 seconds; on 100,000 in 10 when ``is_quick``."""
    names = ["tbcache clear_pattern", "(nobody clears)", "django-redis delete_pattern"] if is_quick else ALL
    with fleet.start(1) as readers:
        return measure(readers, names, 100_000 if is_quick else 1_000_000)


def measure(readers: fleet.Fleet, names: list[str], keys: int) -> Table:
    """Each way on ``keys`` keys."""
    found = Table(
        f"Clearing a tenth of {keys:,} keys",
        "Times in bare GETs: until the clear returned; the longest command of it on the server, which "
        "is what blocks a reader; and the longest that a GET of another process took meanwhile, hiccups "
        "of the machine included (see the row where nobody clears). Survivors: of 100 cleared keys asked for "
        "right after.",
        ["way", "took", "longest command", "longest GET of a reader", "survivors"],
    )
    server = Server().start()
    try:
        for name, way in ways(server, names).items():
            fill(server, way, keys)
            seen = clear(readers, server, way, keys)
            found.rows.append(row(name, seen))
            if name == "tbcache clear_pattern":
                found.bars = bars(seen)
    finally:
        server.close()
    return found


def row(name: str, seen: Seen) -> list[str]:
    times = (seen.took, seen.longest_command, seen.longest_read)
    return [name, *(f"{gets:,.0f}" for gets in times), str(seen.survivors)]


def clear(readers: fleet.Fleet, server: Server, way: Way, keys: int) -> Seen:
    """Clear once, with a reader beside it."""
    unit = _get_seconds(server)
    server.client.config_set("slowlog-log-slower-than", SLOW_MICROS)
    server.client.config_set("slowlog-max-len", 10_000)
    server.client.slowlog_reset()
    with ThreadPoolExecutor(1) as beside:
        reading = beside.submit(readers.run, read, server.url)
        time.sleep(fleet.LEAD_SECONDS)
        started = time.perf_counter()
        way.clear()
        took = time.perf_counter() - started
        survivors = sum(way.is_seen(number) for number in range(0, min(keys, 1000), 10))
        server.client.set(STOP, "1", ex=60)
        (seconds,) = reading.result()
    server.client.delete(STOP)
    slow = [
        entry["duration"] / 1e6
        for entry in server.client.slowlog_get(10_000)
        # Emptying the log is in the log.
        if not entry["command"].startswith(b"SLOWLOG")
    ]
    return Seen(took / unit, max(slow, default=0.0) / unit, max(seconds) / unit, survivors)


def _get_seconds(server: Server) -> float:
    """A GET's median, of the quietest of some moments."""
    client = redis.Redis.from_url(server.url)
    get = timing.block(lambda: client.get(STOP))
    with timing.one_core(server):
        return min(statistics.median(get(200)) for _ in range(10))


def bars(seen: Seen) -> list[Bar]:
    return [
        Bar("visible to the whole fleet in 10 GETs", f"{seen.took:,.0f}", seen.took <= 10),
        Bar(
            "no reader blocked for longer than 10 GETs",
            f"{seen.longest_command:,.0f} at the server ({seen.longest_read:,.0f} seen by a reader)",
            seen.longest_command <= 10,
        ),
        Bar("no survivor", str(seen.survivors), seen.survivors == 0),
    ]
