"""Table 5: clearing a tenth of many keys, and what a reader feels of it."""

from __future__ import annotations

import asyncio
import functools
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import redis

from bench import cache, fleet, timing
from bench.table import Bar, Table
from tbcache.store import codec, envelope
from tests.server import Server

BATCH = 20_000
STOP = "bench:stop"
SLOW_MICROS = 50
#: What the readers and the measuring itself send.
OURS_TO_ASK = {"get", "set", "mget", "exists", "slowlog", "config", "info", "client", "hello"}
#: Between one clear and the next.
GETS = 100
_FILL = """
for number = ARGV[1], ARGV[2] do
    redis.call('SET', (number % 10 == 0 and ARGV[3] or ARGV[4]) .. number, ARGV[5], 'EX', 3600)
end
"""


@dataclass(frozen=True)
class Way:
    """A way to clear: what its keys start with (those to go, those to stay), and whether one is seen.

    ``clears`` are by the number of a key that each is the first to take; the last takes all.
    ``sweep`` does what a clear leaves to the background. ``prepare`` comes when the keys are there.
    """

    goes: str
    stays: str
    clears: dict[int, Callable[[], Any]]
    is_seen: Callable[[int], bool]
    sweep: Callable[[], Any] = lambda: None
    prepare: Callable[[], Any] = lambda: None


@dataclass(frozen=True)
class Seen:
    """Times in GETs. ``survivors`` of those asked for right after the clear."""

    returned: float
    missed: float
    swept: float
    steps: float
    longest_command: float
    longest_read: float
    survivors: int


def ways(server: Server, names: list[str]) -> dict[str, Way]:
    """The ways by name; a peer's objects are made when it is asked for."""
    found: dict[str, Callable[[Server], Way]] = {
        OURS: _tbcache,
        "(nobody clears)": _nobody,
        "django-redis delete_pattern": _django,
        "cashews delete_match": _cashews,
        "aiocache clear": _aiocache,
        "KEYS, DEL": _keys,
    }
    return {name: found[name](server) for name in names}


OURS = "tbcache clear_pattern"
ALL = [
    OURS,
    "(nobody clears)",
    "django-redis delete_pattern",
    "cashews delete_match",
    "aiocache clear",
    "KEYS, DEL",
]


def _tbcache(server: Server) -> Way:
    part, other = cache.Tbcache(server.url), cache.Tbcache(server.url)
    keys = part.store.keys

    def clear(pattern: str) -> Callable[[], Any]:
        return lambda: part.manager.clear_pattern(pattern, wait=False)

    def sweep() -> None:
        server.client.unlink(keys.sweeper)
        part.manager.resume()
        # Or the thread of its own was quicker.
        while b"\n" in (server.client.get(keys.clears("*")) or b""):
            time.sleep(0.01)

    def prepare() -> None:
        # Connects, knows the scripts, and leaves the sweep to whoever has it in hand: that is us.
        part.manager.clear_pattern("quote:*")
        server.client.set(keys.sweeper, "bench", ex=600)

    return Way(
        f"{keys.entries}{{news}}:",
        f"{keys.entries}{{reddit}}:",
        {10 * number: clear(f"news:{number}*") for number in range(10, 25)} | {0: clear("news:*")},
        lambda number: other.manager.exists(f"news:{number}"),
        sweep,
        prepare,
    )


def _nobody(server: Server) -> Way:
    return Way("news:", "reddit:", {0: lambda: time.sleep(0.5)}, lambda number: False)


def _django(server: Server) -> Way:
    one = cache.Django(server.url).cache
    clear = lambda: one.delete_pattern("news:*")  # noqa: E731
    return Way(":1:news:", ":1:reddit:", {0: clear}, _exists(server, ":1:news:"))


def _cashews(server: Server) -> Way:
    one, loop = cache.Cashews(server.url).cache, asyncio.new_event_loop()
    clear = lambda: loop.run_until_complete(one.delete_match("news:*"))  # noqa: E731
    return Way("news:", "reddit:", {0: clear}, _exists(server, "news:"))


def _aiocache(server: Server) -> Way:
    one, loop = cache.Aiocache(server.url).cache, asyncio.new_event_loop()
    clear = lambda: loop.run_until_complete(one.clear(namespace="news"))  # noqa: E731
    return Way("news:", "reddit:", {0: clear}, _exists(server, "news:"))


def _keys(server: Server) -> Way:
    client = redis.Redis.from_url(server.url)
    clear = lambda: client.delete(*client.keys("news:*"))  # noqa: E731
    return Way("news:", "reddit:", {0: clear}, _exists(server, "news:"))


def _exists(server: Server, prefix: str) -> Callable[[int], bool]:
    return lambda number: bool(server.client.exists(f"{prefix}{number}"))


def fill(server: Server, way: Way, keys: int) -> None:
    """So many keys, a tenth of them to go."""
    server.client.flushall()
    payload = envelope.seal(codec.encode(1))
    for first in range(0, keys, BATCH):
        last = min(first + BATCH, keys) - 1
        server.client.eval(_FILL, 0, first, last, way.goes, way.stays, payload)
    way.prepare()


def look(
    process: int, start: float, url: str, name: str, goes: str, numbers: list[int]
) -> tuple[list[float], list[float]]:
    """Two readers: one asks for keys that go, and says when each was gone (monotonic).

    The other says how long each GET took.
    """
    return (read(url), []) if process else ([], miss(url, name, goes, numbers))


def miss(url: str, name: str, goes: str, numbers: list[int]) -> list[float]:
    """When each key was gone; none after the key that says that it is over."""
    client = redis.Redis.from_url(url)
    part = cache.Tbcache(url) if name == OURS else None
    is_there: Callable[[int], Any] = (
        (lambda number: part.manager.get(f"news:{number}"))
        if part
        else (lambda number: client.exists(f"{goes}{number}"))
    )
    missed: list[float] = []
    for number in numbers:
        while is_there(number):
            if client.exists(STOP):
                return missed
            # Not all the time: on a small machine that would slow down what is measured.
            time.sleep(0.00005)
        missed.append(time.monotonic())
    if part is not None:
        part.close()
    return missed


def read(url: str) -> list[float]:
    """The seconds of each GET, until the key it reads is there."""
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
    names = [OURS, "(nobody clears)", "django-redis delete_pattern"] if is_quick else ALL
    server = Server().start()
    try:
        with timing.own_core(server), fleet.start(2) as readers:
            return measure(readers, server, names, 100_000 if is_quick else 1_000_000)
    finally:
        server.close()


def measure(readers: fleet.Fleet, server: Server, names: list[str], keys: int) -> Table:
    """Each way on ``keys`` keys."""
    found = Table(
        f"Clearing a tenth of {keys:,} keys",
        "Times in bare GETs: until the clear returned; until another process, which asked every few GETs, "
        "missed what was cleared (both beside GETs of the same moment, and of tbcache the medians of 16 "
        "clears); until the last key was out of Redis, which tbcache leaves to the background; what 999 of "
        "1000 of its commands took at most on the server, which is what blocks a reader, and the longest; "
        "and the longest that a GET of another process took meanwhile. The last two with the hiccups of the "
        "machine (see the row where nobody clears). Survivors: of 100 cleared keys asked for right after.",
        ["way", "returned", "missed", "swept", "a command (longest)", "longest GET of a reader", "survivors"],
    )
    for name, way in ways(server, names).items():
        fill(server, way, keys)
        seen = clear(readers, server, name, way, keys)
        found.rows.append(row(name, seen))
        if name == OURS:
            found.bars = bars(seen)
    return found


def row(name: str, seen: Seen) -> list[str]:
    times = [f"{gets:,.0f}" for gets in (seen.returned, seen.missed, seen.swept)]
    commands = f"{seen.steps:,.0f} ({seen.longest_command:,.0f})"
    return [name, *times, commands, f"{seen.longest_read:,.0f}", str(seen.survivors)]


def clear(readers: fleet.Fleet, server: Server, name: str, way: Way, keys: int) -> Seen:
    """Clear once, with two readers beside it."""
    unit = _get_seconds(server)
    get = timing.block(functools.partial(redis.Redis.from_url(server.url).get, STOP))
    server.client.config_set("slowlog-log-slower-than", SLOW_MICROS)
    server.client.config_set("slowlog-max-len", 10_000)
    units, began, ended = [], [], []
    # Or the clears would be over before the readers begin.
    readers.prepare(look)
    with ThreadPoolExecutor(1) as beside:
        reading = beside.submit(readers.run, look, server.url, name, way.goes, [*way.clears])
        time.sleep(2 * fleet.LEAD_SECONDS)
        server.client.slowlog_reset()
        server.client.config_resetstat()
        for one in way.clears.values():
            # The yardstick of the same moment; and whoever asks has missed the last one meanwhile.
            units.append(statistics.median(get(GETS)))
            began.append(time.monotonic())
            one()
            ended.append(time.monotonic())
        survivors = sum(way.is_seen(number) for number in range(0, min(keys, 1000), 10))
        way.sweep()
        swept = time.monotonic() - began[0]
        server.client.set(STOP, "1", ex=60)
        (_, missed), (seconds, _) = reading.result()
    server.client.delete(STOP)
    steps, longest = _commands(server)
    return Seen(
        _median(ended, began, units),
        _median(missed, began, units),
        swept / unit,
        steps / unit,
        longest / unit,
        max(seconds) / unit,
        survivors,
    )


def _commands(server: Server) -> tuple[float, float]:
    """What 999 of 1000 commands of the kind that took longest took at most, and the longest (seconds)."""
    kinds = {
        name.removeprefix("latency_percentiles_usec_"): found["p99.9"] / 1e6
        for name, found in server.client.info("latencystats").items()
    }
    asked = [seconds for kind, seconds in kinds.items() if kind.split("|")[0] not in OURS_TO_ASK]
    slow = [
        entry["duration"] / 1e6
        for entry in server.client.slowlog_get(10_000)
        # Emptying the log is in the log.
        if not entry["command"].startswith((b"SLOWLOG", b"CONFIG"))
    ]
    return max(asked, default=0.0), max(slow, default=0.0)


def _median(ends: list[float], starts: list[float], units: list[float]) -> float:
    """How many GETs it took; 0.0 when there was no end."""
    gets = [(end - start) / unit for end, start, unit in zip(ends, starts, units, strict=False)]
    return statistics.median(gets) if gets else 0.0


def _get_seconds(server: Server) -> float:
    """A GET's median, of the quietest of some moments."""
    client = redis.Redis.from_url(server.url)
    get = timing.block(lambda: client.get(STOP))
    with timing.one_core(server):
        return min(statistics.median(get(200)) for _ in range(10))


def bars(seen: Seen) -> list[Bar]:
    return [
        Bar(
            "visible to the whole fleet in 10 GETs",
            f"{max(seen.returned, seen.missed):,.0f}",
            max(seen.returned, seen.missed) <= 10,
        ),
        Bar(
            "no reader blocked for longer than 10 GETs",
            f"{seen.steps:,.0f} at the server for 999 of 1000 commands (the longest "
            f"{seen.longest_command:,.0f}; {seen.longest_read:,.0f} seen by a reader)",
            seen.steps <= 10,
        ),
        Bar("no survivor", str(seen.survivors), seen.survivors == 0),
    ]
