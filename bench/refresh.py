"""A key that expires while many ask for it, and a loader that dies."""

from __future__ import annotations

import asyncio
import inspect
import multiprocessing
import os
import signal
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench import cache, fleet
from bench.table import Bar, Table
from tbcache import io
from tbcache.admission import Ask, Go, Settlement
from tbcache.models import FetchRequest
from tests.server import Server

CALLERS = 4
TTL = 1.0
LOAD_SECONDS = 0.2
PAUSE_SECONDS = 0.01
SECONDS, QUICK_SECONDS = 5.0, 2.2
LEASE_SECONDS = 1.0
DEATHS, QUICK_DEATHS = 5, 1
#: A call that takes so long has waited for a load.
SEEN_SECONDS = LOAD_SECONDS / 2

CACHES: dict[str, Callable[[str], Any]] = {
    "tbcache fetch": lambda url: cache.TbcacheFetch(url, TTL),
    "naive GET, SET": lambda url: cache.Naive(url, TTL),
    "dogpile.cache": lambda url: cache.Dogpile(url, TTL),
    "dogpile.cache, distributed lock": lambda url: cache.Dogpile(url, TTL, is_distributed=True),
    "cashews": lambda url: cache.Cashews(url, ttl=TTL),
    "cashews, early": lambda url: cache.Cashews(url, ttl=TTL, strategy="early"),
    "cashews, hit": lambda url: cache.Cashews(url, ttl=TTL, strategy="hit"),
}
QUICK = ["tbcache fetch", "dogpile.cache, distributed lock"]


@dataclass(frozen=True)
class Seen:
    """What callers met once the key was warm; times in seconds."""

    loads: int
    calls: int
    waited: int
    longest: float
    seconds: float

    @property
    def loads_per_ttl(self) -> float:
        return self.loads / (self.seconds / TTL)


def work(process: int, start: float, name: str, url: str, seconds: float) -> tuple[list[float], list[float]]:
    """One process's callers: when they loaded, and how long each call took, the key being warm."""
    one = CACHES[name](url)
    loads: list[float] = []
    took: list[float] = []
    # Cold callers wait in any cache; those are another table's. A peer may take long to import.
    start = max(start, time.monotonic())
    warm, end = start + TTL, start + TTL + seconds
    if inspect.iscoroutinefunction(one.load):
        asyncio.run(_call_tasks(one, start, warm, end, loads, took))
    else:
        _call_threads(one, start, warm, end, loads, took)
    if isinstance(one, cache.TbcacheFetch):
        one.parts.close()
    return [at for at in loads if at >= warm], took


def _call_threads(
    one: cache.Cache, start: float, warm: float, end: float, loads: list[float], took: list[float]
) -> None:
    def loader() -> Any:
        loads.append(time.monotonic())
        return cache.sleep_and_load(LOAD_SECONDS)

    def call() -> None:
        time.sleep(max(0.0, start - time.monotonic()))
        while (started := time.monotonic()) < end:
            one.load("K", loader)
            if started >= warm:
                took.append(time.monotonic() - started)
            time.sleep(PAUSE_SECONDS)

    threads = [threading.Thread(target=call) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


async def _call_tasks(
    one: cache.AsyncCache, start: float, warm: float, end: float, loads: list[float], took: list[float]
) -> None:
    async def loader() -> Any:
        loads.append(time.monotonic())
        await asyncio.sleep(LOAD_SECONDS)
        return cache.VALUE

    async def call() -> None:
        await asyncio.sleep(max(0.0, start - time.monotonic()))
        while (started := time.monotonic()) < end:
            await one.load("K", loader)
            if started >= warm:
                took.append(time.monotonic() - started)
            await asyncio.sleep(PAUSE_SECONDS)

    await asyncio.gather(*(call() for _ in range(CALLERS)))


def table(*, is_quick: bool) -> Table:
    """The table, in about 60 seconds; in 8 when ``is_quick``."""
    with fleet.start() as workers:
        if is_quick:
            return measure(workers, QUICK, QUICK_SECONDS, QUICK_DEATHS)
        return measure(workers, [*CACHES], SECONDS, DEATHS)


def measure(workers: fleet.Fleet, names: list[str], seconds: float, deaths: int) -> Table:
    """Each cache for so long, then so many loaders that die."""
    found = Table(
        "A warm key expires",
        f"{workers.size} processes x {CALLERS} callers ask for one key all the time; TTL {TTL:g} s, its load "
        f"takes 200 ms, {seconds:g} s. Waited: calls that took half a load or more. Longest call in loads. "
        f"Then a loader is killed in mid-load, {deaths} times, with a lease of {LEASE_SECONDS:g} s, while "
        "another process waits for the key.",
        ["cache", "loads per TTL", "calls", "waited", "longest call"],
    )
    server = Server().start()
    try:
        for name in names:
            server.flush()
            seen = run(workers, name, server.url, seconds)
            found.rows.append(row(name, seen))
            if name == "tbcache fetch":
                found.bars += bars(seen)
        died = [after_death(server.url, number) for number in range(deaths)]
        found.bars += death_bars(died, late_answers(server.url))
    finally:
        server.close()
    return found


def run(workers: fleet.Fleet, name: str, url: str, seconds: float) -> Seen:
    """One cache."""
    results = workers.run(work, name, url, seconds)
    took = [one for _, each in results for one in each]
    return Seen(
        loads=sum(len(loads) for loads, _ in results),
        calls=len(took),
        waited=sum(one >= SEEN_SECONDS for one in took),
        longest=max(took),
        seconds=seconds,
    )


def row(name: str, seen: Seen) -> list[str]:
    return [
        name,
        f"{seen.loads_per_ttl:.2f}",
        str(seen.calls),
        f"{seen.waited} ({seen.waited / seen.calls:.1%})",
        f"{seen.longest / LOAD_SECONDS:.2f}",
    ]


def bars(seen: Seen) -> list[Bar]:
    return [
        Bar("1.1 loads per TTL", f"{seen.loads_per_ttl:.2f}", seen.loads_per_ttl <= 1.1),
        Bar("no caller sees the load's latency", f"{seen.waited} of {seen.calls}", seen.waited == 0),
    ]


# --- a loader that dies ------------------------------------------------------------------


def after_death(url: str, number: int) -> float:
    """Seconds from the death of a loader to the start of the next load, by one who waited for the first."""
    key, context = f"DEAD{number}", multiprocessing.get_context("spawn")
    is_loading = context.Event()
    loader = context.Process(target=load_for_ever, args=(url, key, is_loading), daemon=True)
    loader.start()
    is_loading.wait()
    heir, started = cache.TbcacheFetch(url, lease_seconds=LEASE_SECONDS), threading.Event()
    waiter = threading.Thread(target=heir.load, args=(key, started.set))
    waiter.start()
    pid = loader.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    died = time.monotonic()
    started.wait(LEASE_SECONDS * 10)
    seconds = time.monotonic() - died
    waiter.join()
    loader.join()
    heir.parts.close()
    return seconds


def load_for_ever(url: str, key: str, is_loading: Any) -> None:
    """A load that only a signal ends."""

    def loader() -> None:
        is_loading.set()
        time.sleep(3600)

    cache.TbcacheFetch(url, lease_seconds=LEASE_SECONDS).load(key, loader)


def late_answers(url: str) -> list[str]:
    """What became of the answers of dead leases: one while the heir still loads, one after it."""
    parts = cache.Tbcache(url, lease_seconds=LEASE_SECONDS / 4)
    admission, found = parts.provider.pipeline.admission, []
    for is_heir_done in (False, True):
        ask = Ask(parts.provider.source, FetchRequest("reddit", f"LATE{int(is_heir_done)}"))
        late = io.run(admission.admit(ask))
        assert isinstance(late, Go)
        while not isinstance(heir := io.run(admission.admit(ask)), Go):
            time.sleep(0.01)
        if is_heir_done:
            io.run(admission.settle(heir.grant, Settlement(payload=b'"heir"', pages=1)))
        found.append(io.run(admission.settle(late.grant, Settlement(payload=b'"late"', pages=1))))
    parts.close()
    return found


def death_bars(seconds: list[float], late: list[str]) -> list[Bar]:
    most, median = LEASE_SECONDS + 0.1, statistics.median(seconds)
    stored = late.count("stored")
    return [
        Bar(
            "loader killed: the next load starts within the lease + 100 ms",
            f"{max(seconds) / most:.2f} of it, worst of {len(seconds)} (median {median / most:.2f})",
            max(seconds) <= most,
        ),
        Bar("no late answer of a dead lease is stored", f"{stored} of {len(late)}", stored == 0),
    ]
