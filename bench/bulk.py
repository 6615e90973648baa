"""Many jobs at once: what one costs beside one that is sent, and whether it starts when it was told."""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from bench.table import Bar, Table
from bench.timing import Ratio
from tbcache.io import utc_now
from tbcache.models import FetchRequest
from tbcache.monitoring import UsageMonitor, Workload
from tbcache.queue import PacingBroker, Queue, QueuedJob
from tbcache.settings import Settings, get_source
from tbcache.store import Store
from tests.server import Server

SOURCE = "news"
#: Of what is sent by ``.send`` of the same broker, at most.
MOST = 0.15
#: Of the jobs, at least, start within so many seconds, or this part of the time that they wait.
MOST_PRECISE, SECONDS, PART = 0.9, 1.0, 0.05
LIMITS, WORK_SECONDS, THREADS = "100/2s", 0.05, 8


class Part(NamedTuple):
    """The parts of a process, over a store of its own."""

    store: Store
    broker: PacingBroker
    queue: Queue
    monitor: UsageMonitor


def table(*, is_quick: bool) -> Table:
    """The table, in about two minutes; in 15 s when ``is_quick``."""
    server = Server().start()
    try:
        return measure(server, rounds=3 if is_quick else 9, jobs=1000, paced=250 if is_quick else 1000)
    finally:
        server.close()


def measure(server: Server, *, rounds: int, jobs: int, paced: int) -> Table:
    """``jobs`` are queued in a row, by several ways in turn; ``paced`` are worked off."""
    found = Table(
        "Many jobs",
        f"{jobs:,} jobs that are queued: by `.send` of dramatiq's RedisBroker and of tbcache's broker, and "
        f"by `enqueue_many`, which also says when each starts; medians of {rounds} rounds in turn, in "
        "brackets the extremes.",
        ["what", "us a job", "x .send of tbcache's", "x .send of RedisBroker"],
    )
    with parts(server) as part:
        ways = _ways(part, server, jobs)
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, way in ways.items():
                times[name].append(_timed(way) / jobs)
                part.broker.flush(SOURCE)
                part.broker.flush("default")
        _add(found, times)
    found.bars.append(_precision(server, paced))
    return found


@contextmanager
def parts(server: Server) -> Iterator[Part]:
    """A process that has a worker beside it."""
    with tempfile.TemporaryDirectory() as folder:
        variables = {
            **server.variables,
            f"TBCACHE_{SOURCE.upper()}__LIMITS": LIMITS,
            "TBCACHE_REDIS_TIMEOUT": "10",
        }
        settings = Settings.load(variables, data_dir=Path(folder))
        store = Store(settings)
        monitor = UsageMonitor(store, settings)
        pace = {SOURCE: WORK_SECONDS, "default": WORK_SECONDS}
        monitor.keep_beating("worker", lambda: Workload(THREADS, 0, (), (SOURCE,), pace))
        monitor.beat("worker", started_at=utc_now(), workload=Workload(THREADS, 0, (), (SOURCE,), pace))
        try:
            broker = PacingBroker(store, settings, [get_source(SOURCE, settings)])
            yield Part(store, broker, Queue(store, settings), monitor)
        finally:
            monitor.leave()
            store.close()


def _ways(part: Part, server: Server, jobs: int) -> dict[str, Callable[[], object]]:
    stock = RedisBroker(url=server.url, namespace=f"q{uuid.uuid4().hex}")
    ours: Any = dramatiq.actor(actor_name="note", broker=part.broker)(str)
    theirs: Any = dramatiq.actor(actor_name="note", broker=stock)(str)
    requests = [FetchRequest(SOURCE, f"S{number}") for number in range(jobs)]
    return {
        "`.send` of RedisBroker": lambda: [theirs.send("AAPL") for _ in range(jobs)],
        "`.send` of tbcache's": lambda: [ours.send("AAPL") for _ in range(jobs)],
        "`enqueue_many` of fetches": lambda: part.queue.enqueue_many(requests),
        "`enqueue_many` of messages": lambda: part.broker.enqueue_many(
            [ours.message("AAPL") for _ in range(jobs)]
        ),
    }


def _timed(way: Callable[[], object]) -> float:
    begun = time.perf_counter()
    way()
    return time.perf_counter() - begun


def _add(found: Table, times: dict[str, list[float]]) -> None:
    theirs, ours = list(times.values())[:2]
    for name, seconds in times.items():
        by_ours, by_theirs = _ratio(seconds, ours), _ratio(seconds, theirs)
        micros = f"{statistics.median(seconds) * 1e6:.1f}"
        found.rows.append([name, micros, str(by_ours), str(by_theirs)])
        if "many" in name:
            asked = f"{name}: at most {MOST} of `.send` a job"
            found.bars.append(Bar(asked, str(by_ours), by_ours.median <= MOST))


def _ratio(seconds: list[float], others: list[float]) -> Ratio:
    ratios = [one / other for one, other in zip(seconds, others, strict=True)]
    return Ratio(statistics.median(ratios), min(ratios), max(ratios))


def _precision(server: Server, jobs: int) -> Bar:
    """How many of the jobs start when they were told."""
    begun: dict[int, float] = {}
    is_over = threading.Event()

    def note(number: int) -> None:
        begun[number] = time.time()
        time.sleep(WORK_SECONDS)
        if len(begun) == jobs:
            is_over.set()

    with parts(server) as part:
        actor: Any = dramatiq.actor(actor_name="note", source=SOURCE, broker=part.broker)(note)
        worker = dramatiq.Worker(part.broker, worker_threads=THREADS, worker_timeout=200)
        worker.start()
        try:
            queued_at = time.time()
            placed = part.broker.enqueue_many([actor.message(number) for number in range(jobs)])
            assert is_over.wait(600)
        finally:
            worker.stop()
        share = sum(_is_precise(one, begun[at], queued_at) for at, one in enumerate(placed)) / jobs
    asked = f"{MOST_PRECISE:.0%} of {jobs:,} jobs at {LIMITS} start within 1 s, or 5%, of what was told"
    return Bar(asked, f"{share:.1%}", share >= MOST_PRECISE)


def _is_precise(job: QueuedJob, begun: float, queued_at: float) -> bool:
    if job.starts_at is None:
        return False
    return abs(begun - job.starts_at.timestamp()) <= max(SECONDS, PART * (begun - queued_at))
