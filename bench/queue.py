"""A queue that is worked off, beside dramatiq's own broker on the same server."""

from __future__ import annotations

import statistics
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from bench import cache
from bench.table import Bar, Table
from bench.timing import Ratio
from tbcache.models import FetchRequest, Lane, Limit
from tbcache.queue import PacingBroker, Queue, actor_name
from tests.server import Server

#: Wide: what a job costs is measured, and not how jobs are paced.
LIMIT = Limit(1_000_000, 1.0)
#: Jobs a second over RedisBroker's, at least, by kind.
LEAST = {"no-op": 1.5, "cached hit": 1.2}
DRAIN_SECONDS = 120.0
#: The longest for which an idle worker blocks: dramatiq's default.
IDLE_MS = 1000

Actor = Callable[[str], object]
#: Queues so many jobs for an actor, and gives the broker that hands them out.
Line = Callable[[Actor, int], dramatiq.Broker]


@dataclass(frozen=True)
class Cost:
    """What one job takes, in seconds: by the clock, of the worker's CPU, and of the server's."""

    clock: float
    worker: float
    server: float


class Counted:
    """An actor's function, and whether it was called as often as it is to be."""

    def __init__(self, function: Actor, calls: int) -> None:
        self._function, self._left = function, calls
        self._lock = threading.Lock()
        self.is_over = threading.Event()

    def __call__(self, symbol: str) -> None:
        self._function(symbol)
        with self._lock:
            self._left -= 1
            if not self._left:
                self.is_over.set()


def table(*, is_quick: bool) -> Table:
    """The table, in about a minute; in 15 s when ``is_quick``."""
    server = Server().start()
    try:
        return measure(server, rounds=3 if is_quick else 9, jobs=500 if is_quick else 1500)
    finally:
        server.close()


def measure(server: Server, *, rounds: int, jobs: int, threads: tuple[int, ...] = (1, 8)) -> Table:
    """Each kind of job with so many ``threads``, in a queue of ours and of stock dramatiq in turn."""
    part = cache.Tbcache(server.url, limit=LIMIT)
    found = Table(
        "The queue",
        f"{jobs:,} queued jobs that one worker works off: tbcache's PacingBroker over dramatiq's "
        f"RedisBroker, in turn; medians of {rounds} rounds, in brackets the extremes. A cached hit asks for "
        "a sentiment that is in Redis, in an actor of one's own. A no-op job of ours has a claim, a slot and "
        "a result. "
        "CPU is that of one job.",
        ["job", "threads", "x jobs/s", "x CPU of the worker", "x CPU of the server"],
    )
    try:
        for number in range(jobs):
            part.provider.fetch(_symbol("cached hit", number))
        for kind in LEAST:
            for count in threads:
                _add(found, kind, count, [_pair(server, part, kind, jobs, count) for _ in range(rounds)])
    finally:
        part.close()
    return found


def _symbol(kind: str, number: int) -> str:
    return f"{kind[0].upper()}{number}"


def _pair(server: Server, part: cache.Tbcache, kind: str, jobs: int, threads: int) -> tuple[Cost, Cost]:
    function: Actor = part.provider.get_sentiment if kind == "cached hit" else str
    ours, theirs = (
        cost(line, server, function, jobs, threads) for line in (pacing(part, kind), stock(server, kind))
    )
    return ours, theirs


def _add(found: Table, kind: str, threads: int, pairs: list[tuple[Cost, Cost]]) -> None:
    speed = _ratio([theirs.clock / ours.clock for ours, theirs in pairs])
    worker = _ratio([ours.worker / theirs.worker for ours, theirs in pairs])
    load = _ratio([ours.server / theirs.server for ours, theirs in pairs])
    found.rows.append([kind, str(threads), str(speed), str(worker), str(load)])
    asked = f"{kind}, threads: {threads}: {LEAST[kind]} x the jobs/s of RedisBroker"
    found.bars.append(Bar(asked, str(speed), speed.median >= LEAST[kind]))


def _ratio(ratios: list[float]) -> Ratio:
    return Ratio(statistics.median(ratios), min(ratios), max(ratios))


def cost(line: Line, server: Server, function: Actor, jobs: int, threads: int) -> Cost:
    """What a job takes of so many that are queued before their worker starts."""
    counted = Counted(function, jobs)
    broker = line(counted, jobs)
    worker = dramatiq.Worker(broker, worker_threads=threads, worker_timeout=IDLE_MS)
    before = time.perf_counter(), time.process_time(), _server_cpu(server)
    worker.start()
    try:
        assert counted.is_over.wait(DRAIN_SECONDS)
        after = time.perf_counter(), time.process_time(), _server_cpu(server)
    finally:
        worker.stop()
        broker.close()
        if isinstance(broker, RedisBroker):
            # It leaves its connections to the garbage collector, which warns of each that is open; and so
            # does its client, whose pool was made from a URL.
            broker.client.connection_pool.disconnect()
    return Cost(*((end - begun) / jobs for begun, end in zip(before, after, strict=True)))


def _server_cpu(server: Server) -> float:
    told = server.client.info("cpu")
    return float(told["used_cpu_user"] + told["used_cpu_sys"])


def pacing(part: cache.Tbcache, kind: str) -> Line:
    """Ours, in the namespace where the answers are."""

    def queue(function: Actor, jobs: int) -> dramatiq.Broker:
        source = part.provider.source
        broker = PacingBroker(part.store, part.settings, [source])

        def fetch(symbol: str, hours: int, lane: Lane, needed: float) -> None:
            function(symbol)

        def look(symbol: str) -> None:
            function(symbol)

        dramatiq.actor(actor_name=actor_name(source.name), queue_name=source.name, broker=broker)(fetch)
        looker = dramatiq.actor(actor_name="look", broker=broker)(look)
        producer = Queue(part.store, part.settings)
        for number in range(jobs):
            symbol = _symbol(kind, number)
            # What is cached is answered by `enqueue` itself, and no job of a source's.
            if kind == "cached hit":
                looker.send(symbol)
            else:
                producer.enqueue(FetchRequest(source.name, symbol))
        return broker

    return queue


def stock(server: Server, kind: str) -> Line:
    """dramatiq's broker for Redis, with the middleware that it comes with."""

    def queue(function: Actor, jobs: int) -> dramatiq.Broker:
        broker = RedisBroker(url=server.url, namespace=f"q{uuid.uuid4().hex}")

        def fetch(symbol: str) -> None:
            function(symbol)

        actor = dramatiq.actor(actor_name="fetch", broker=broker)(fetch)
        for number in range(jobs):
            actor.send(_symbol(kind, number))
        return broker

    return queue
