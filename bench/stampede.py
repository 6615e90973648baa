"""Everybody wants one cold key at once."""

from __future__ import annotations

import asyncio
import inspect
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench import cache, fleet, wire
from bench.table import Bar, Table
from tests.server import Server

CALLERS = 8
LOAD_SECONDS = 0.2

CACHES: dict[str, Callable[[str], Any]] = {
    "tbcache fetch": cache.TbcacheFetch,
    "tbcache get_or_load": cache.TbcacheManager,
    "naive GET, SET": cache.Naive,
    "django-redis get_or_set": cache.Django,
    "dogpile.cache": cache.Dogpile,
    "dogpile.cache, distributed lock": cache.dogpile_distributed,
    "aiocache cached": cache.Aiocache,
    "aiocache cached_stampede": cache.aiocache_stampede,
    "cashews": cache.Cashews,
    "cashews, lock": cache.cashews_lock,
}
QUICK = ["tbcache fetch", "naive GET, SET", "dogpile.cache, distributed lock", "cashews, lock"]

#: This process's caches, by name and server: connections are not made anew for each run.
_caches: dict[tuple[str, str], Any] = {}


@dataclass(frozen=True)
class Run:
    """One stampede. ``slowest`` in loads; ``executed`` counts commands inside scripts too."""

    loads: int
    slowest: float
    sent: int
    executed: int


def work(process: int, start: float, name: str, url: str, key: str) -> tuple[int, float, int]:
    """One process's callers: the loads they made, the slowest of them in seconds, round trips."""
    if (name, url) not in _caches:
        _caches[name, url] = CACHES[name](url)
    one = _caches[name, url]
    loads: list[int] = []
    seconds: list[float] = []
    before = wire.everyones()
    if inspect.iscoroutinefunction(one.load):
        loop = _caches.setdefault(("", "loop"), asyncio.new_event_loop())
        loop.run_until_complete(_call_tasks(one, key, start, loads, seconds))
    else:
        _call_threads(one, key, start, loads, seconds)
    return len(loads), max(seconds), wire.everyones() - before


def _call_threads(one: cache.Cache, key: str, start: float, loads: list[int], seconds: list[float]) -> None:
    def loader() -> Any:
        loads.append(1)
        return cache.sleep_and_load(LOAD_SECONDS)

    def call() -> None:
        time.sleep(max(0.0, start - time.monotonic()))
        started = time.monotonic()
        one.load(key, loader)
        seconds.append(time.monotonic() - started)

    threads = [threading.Thread(target=call) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


async def _call_tasks(
    one: cache.AsyncCache, key: str, start: float, loads: list[int], seconds: list[float]
) -> None:
    async def loader() -> Any:
        loads.append(1)
        await asyncio.sleep(LOAD_SECONDS)
        return cache.VALUE

    async def call() -> None:
        await asyncio.sleep(max(0.0, start - time.monotonic()))
        started = time.monotonic()
        await one.load(key, loader)
        seconds.append(time.monotonic() - started)

    await asyncio.gather(*(call() for _ in range(CALLERS)))


def table(*, is_quick: bool) -> Table:
    """The table, in about 50 seconds; in 12 when ``is_quick``."""
    with fleet.start() as workers:
        return measure(workers, QUICK if is_quick else [*CACHES], (4, 2) if is_quick else (20, 4))


def measure(workers: fleet.Fleet, names: list[str], runs: tuple[int, int]) -> Table:
    """Each cache, cold, so many times; tbcache's fetch the first number of them, others the second."""
    found = Table(
        "A cold stampede",
        f"{workers.size} processes x {CALLERS} callers want one cold key, whose load takes 200 ms. Loads: "
        f"fewest-most of {runs[1]} runs (tbcache fetch: {runs[0]}). Slowest caller in loads, worst run. "
        "Commands: those sent, a pipeline being one, and those the server executed, inside scripts too; "
        "medians.",
        ["cache", "loads", "slowest caller", "commands sent", "executed"],
    )
    server = Server().start()
    try:
        for name in names:
            seen = _run(workers, server, name, runs[0] if name == "tbcache fetch" else runs[1])
            found.rows.append(row(name, seen))
            if name == "tbcache fetch":
                found.bars = bars(seen)
    finally:
        server.close()
    return found


def _run(workers: fleet.Fleet, server: Server, name: str, runs: int) -> list[Run]:
    seen = []
    for number in range(runs + 1):
        before = server.commands()
        results = workers.run(work, name, server.url, f"K{number}{len(name)}")
        executed = server.commands() - before - 1
        loads, slowest, sent = zip(*results, strict=True)
        seen.append(Run(sum(loads), max(slowest) / LOAD_SECONDS, sum(sent), executed))
    # The first one connects, and loads scripts.
    return seen[1:]


def row(name: str, seen: list[Run]) -> list[str]:
    fewest, most = min(run.loads for run in seen), max(run.loads for run in seen)
    return [
        name,
        str(most) if fewest == most else f"{fewest}-{most}",
        f"{max(run.slowest for run in seen):.2f}",
        f"{statistics.median(run.sent for run in seen):.0f}",
        f"{statistics.median(run.executed for run in seen):.0f}",
    ]


def bars(seen: list[Run]) -> list[Bar]:
    single = sum(run.loads == 1 for run in seen)
    slowest = max(run.slowest for run in seen)
    sent, executed = max(run.sent for run in seen), max(run.executed for run in seen)
    return [
        Bar("exactly 1 load in every run", f"{single} of {len(seen)}", single == len(seen)),
        Bar("slowest caller 1.5 loads", f"{slowest:.2f}", slowest <= 1.5),
        Bar("150 commands in all", f"{sent} sent ({executed} executed), worst run", sent <= 150),
    ]
