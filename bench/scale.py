"""What one Redis has to do for a large fleet: what each thing costs it, and where that ends.

    python -m bench.scale [--quick]

Each thing that a fleet does is done many times on a server of its own, and the CPU time of the server, its
commands and its memory are divided by that. A fleet is then a sum. Whether the sum is right is tried with a
mix: as many hits and loads as ten seconds of a fleet have, at once, in four threads. Ends with 1 where that
takes more than the sum says.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import dramatiq

from bench import cache, queue
from bench.table import Bar, Table
from bench.world import World
from tbcache.io import utc_now
from tbcache.models import HttpRequest, Limit, RawResponse
from tbcache.monitoring import Workload
from tbcache.providers.registry import new_provider
from tbcache.settings import BUILT_IN
from tests.server import PATIENT, Server

SOURCE = "reddit"
#: No limit holds anything up here: what the limits of the upstreams allow is a sum of its own.
LIMIT = Limit(1_000_000, 60.0)
#: What the mix may take of the sum. Less is likely: a server that has much to do finds several calls at once.
LEAST, MOST = 0.5, 1.25


@dataclass(frozen=True)
class Cost:
    """What the server had to do: seconds of CPU, commands (those in scripts as well), bytes that it sent."""

    cpu: float = 0.0
    commands: float = 0.0
    sent: float = 0.0

    def of(self, count: float) -> Cost:
        return Cost(self.cpu * count, self.commands * count, self.sent * count)

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.cpu + other.cpu, self.commands + other.commands, self.sent + other.sent)


@dataclass(frozen=True)
class Unit:
    """What one of each thing costs, and the memory of an answer with the posts that it is made of (bytes)."""

    hit: Cost
    load: Cost
    job: Cost
    process_second: Cost
    answer_bytes: float

    def second_of(self, fleet: Fleet) -> Cost:
        """What a fleet costs in a second."""
        parts = (
            self.hit.of(fleet.hits),
            self.load.of(fleet.loads),
            self.job.of(fleet.jobs),
            self.process_second.of(fleet.processes),
        )
        return sum(parts, Cost())


@dataclass(frozen=True)
class Fleet:
    """What a fleet does: ``hits``, ``loads``, ``jobs`` a second; ``processes`` beat."""

    name: str
    processes: int
    hits: float
    loads: float
    jobs: float


SYMBOLS = 10_000


def _allowed() -> Iterator[float]:
    """Of each built-in source, how many of the symbols it can load a second, each once in a TTL at most: its
    strictest limit, and as many symbols in a request as it takes."""
    for source in BUILT_IN.values():
        rate = min(limit.count / limit.window_seconds for limit in source.limits) * source.pack
        yield min(rate, SYMBOLS / source.cache_ttl)


NEEDED = sum(SYMBOLS / source.cache_ttl for source in BUILT_IN.values())
LARGE = Fleet("64 workers, 10,000 symbols x 5, no limits", 64, 1_000.0, NEEDED, NEEDED)
LIMITED = Fleet("the same under the limits of the five", 64, 1_000.0, sum(_allowed()), sum(_allowed()))
SMALL = Fleet("2 workers, 10 symbols x 5", 4, 10.0, NEEDED / 1_000, NEEDED / 1_000)


class Process:
    """A process of the fleet with Reddit's provider, whose upstream is a simulator in this one."""

    def __init__(self, url: str, ttl: float = cache.TTL) -> None:
        self._ttl = ttl
        # Commands are counted: one that goes on without a server that is slow would ask it for less.
        self.parts = cache.Tbcache(url, limit=LIMIT, cache_ttl=ttl or 0.001, **PATIENT)
        self._world = World(SOURCE, time.time())
        provider: Any = new_provider(SOURCE)
        provider.source, provider.persist_to_db = self.parts.provider.source, False
        provider.pipeline, provider.usage_monitor = self.parts.provider.pipeline, self.parts.monitor
        provider.send = self._send
        self.provider = provider

    def _send(self, request: HttpRequest) -> RawResponse:
        self._world.now = time.time()
        return self._world.send(request)

    def fetch(self, symbol: str) -> None:
        """Where the TTL is 0: a load, for which the asker waits."""
        provider = self.provider
        outcome = provider.run(provider.source.request(symbol, 24), needed=0.0 if self._ttl else 0.5)
        assert self._ttl or outcome.origin == "live", outcome

    def begin(self) -> None:
        """Join the fleet, and stay in it: then a hit is one command."""
        monitor, workload = self.parts.monitor, Workload(8, 0, (), (SOURCE,))
        monitor.beat("worker", started_at=utc_now(), workload=workload)
        monitor.keep_beating("worker", lambda: workload)


@contextmanager
def processes(server: Server, count: int, ttl: float = cache.TTL) -> Iterator[list[Process]]:
    """So many, which beat until the block ends."""
    with ExitStack() as stack:
        found = []
        for _ in range(count):
            found.append(Process(server.url, ttl))
            stack.callback(found[-1].parts.close)
            found[-1].begin()
        yield found


def spent(server: Server, way: Callable[[], object]) -> Cost:
    """What ``way`` costs the server."""
    before = _figures(server)
    way()
    return Cost(*(after - was for after, was in zip(_figures(server), before, strict=True)))


def _figures(server: Server) -> tuple[float, float, float]:
    told: Any = server.client.info()
    cpu = float(told["used_cpu_user"] + told["used_cpu_sys"])
    return cpu, float(told["total_commands_processed"]), float(told["total_net_output_bytes"])


def _symbols(count: int, prefix: str = "") -> list[str]:
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return [f"{prefix}{letters[n // 676 % 26]}{letters[n // 26 % 26]}{letters[n % 26]}" for n in range(count)]


def _fetch_all(process: Process, symbols: Sequence[str], times: int = 0) -> None:
    for number in range(times or len(symbols)):
        process.fetch(symbols[number % len(symbols)])


def measure(server: Server, *, count: int, seconds: float) -> Unit:
    """What each thing costs by itself; ``count`` of each, and ``seconds`` of processes that only beat."""
    symbols = _symbols(count)
    with processes(server, 1) as (one,):
        empty = float(_memory(server))
        _fetch_all(one, symbols)
        memory = (_memory(server) - empty) / count
        # The first hit of a process goes through a script.
        _fetch_all(one, symbols)
        hit = spent(server, lambda: _fetch_all(one, symbols, 5 * count)).of(1 / (5 * count))
    with processes(server, 1, ttl=0) as (one,):
        # From the second load on it is a refresh, as most are: the posts of a day are known.
        known = _symbols(count, "Y")
        _fetch_all(one, known)
        load = spent(server, lambda: _fetch_all(one, known)).of(1 / count)
        jobs = _jobs(server, one, count)
    with processes(server, 16):
        idle = spent(server, lambda: time.sleep(seconds)).of(1 / (16 * seconds))
    return Unit(hit, load, jobs, idle, memory)


def _jobs(server: Server, process: Process, count: int) -> Cost:
    """What a job costs beside what it loads: to be queued, handed out and ended."""
    counted = queue.Counted(str, count)
    found: list[Any] = []
    queued = spent(server, lambda: found.append(queue.pacing(process.parts, "no-op")(counted, count)))
    worker = dramatiq.Worker(found[0], worker_threads=8, worker_timeout=queue.IDLE_MS)

    def work() -> None:
        worker.start()
        assert counted.is_over.wait(queue.DRAIN_SECONDS)

    try:
        done = spent(server, work)
    finally:
        worker.stop()
        found[0].close()
    return (queued + done).of(1 / count)


def _memory(server: Server) -> int:
    return int(server.client.info("memory")["used_memory"])


def mixed(
    server: Server, unit: Unit, fleet: Fleet, seconds: float, *, symbols: int = 200
) -> tuple[Cost, Cost]:
    """What a mix costs, and what the sum says: as many hits and loads as ``seconds`` of the fleet have, by
    four threads, each of so many ``symbols``, while processes beat."""
    hits, loads = round(fleet.hits * seconds), round(fleet.loads * seconds)
    with processes(server, 2) as keeping, processes(server, 2, ttl=0) as loading:
        ways = []
        for process, prefix, times in (
            *((one, "W", hits) for one in keeping),
            *zip(loading, "XZ", (loads, loads), strict=True),
        ):
            known = _symbols(symbols, prefix)
            _fetch_all(process, known)
            ways.append(partial(_fetch_all, process, known, times // 2))
        begun = time.monotonic()
        with ThreadPoolExecutor(len(ways)) as threads:
            found = spent(server, lambda: [one.result() for one in [threads.submit(way) for way in ways]])
        took = time.monotonic() - begun
    said = unit.hit.of(hits) + unit.load.of(loads) + unit.process_second.of(len(ways) * took)
    return found, said


def table(*, is_quick: bool) -> Table:
    """The table, in about two minutes; in 20 s when ``is_quick``."""
    server = Server().start()
    try:
        unit = measure(server, count=200 if is_quick else 2000, seconds=3 if is_quick else 15)
        found, said = mixed(server, unit, LARGE, 2 if is_quick else 10)
    finally:
        server.close()
    result = Table(
        "How far one Redis goes",
        "CPU time of the server, commands and bytes that it sends. The answers are those of the simulated "
        "Reddit over 24 hours. A load is a refresh of what is known; a job is queued, handed out and ended, "
        "beside its load. A row of a fleet is what a second of it costs.",
        ["", "CPU of the server", "commands", "KB sent"],
    )
    one = {
        "a hit": unit.hit,
        "a load": unit.load,
        "a job": unit.job,
        "a process at rest, a second": unit.process_second,
    }
    result.rows += [_row(name, cost) for name, cost in one.items()]
    result.rows += [_row(fleet.name, unit.second_of(fleet)) for fleet in (LARGE, LIMITED, SMALL)]
    result.rows.append(["memory of an answer and its posts", f"{unit.answer_bytes / 1024:.1f} KB", "", ""])
    result.rows.append(_row("a mix of hits, loads and beats, measured", found))
    result.rows.append(_row("the same as the sum says", said))
    part = found.cpu / said.cpu
    asked = f"a mix takes {LEAST:.0%} to {MOST:.0%} of what the sum says"
    result.bars.append(Bar(asked, f"{part:.0%}", LEAST <= part <= MOST))
    return result


def _row(name: str, cost: Cost) -> Sequence[str]:
    cpu = f"{cost.cpu * 1e6:.0f} us" if cost.cpu < 0.01 else f"{cost.cpu:.0%} of a core"
    return [name, cpu, f"{cost.commands:,.0f}", f"{cost.sent / 1024:,.1f}"]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    found = table(is_quick=parser.parse_args().quick)
    sys.stdout.write(found.to_markdown())
    return 0 if all(bar.is_met for bar in found.bars) else 1


if __name__ == "__main__":
    sys.exit(main())
