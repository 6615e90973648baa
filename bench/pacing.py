"""Paced jobs beside others in one worker: what they cost each other, and who has the idle threads."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import dramatiq

from bench.table import Bar, Table
from tbcache.models import Limit
from tbcache.models.untrusted import whole_number
from tbcache.queue import PacingBroker
from tbcache.settings import BUILT_IN, Settings
from tbcache.store import Store
from tests.server import PATIENT, Server

LIMIT = Limit(20, 1.0)
#: No job waits for it.
WIDE = Limit(1_000_000, 1.0)
JOBS, QUICK_JOBS, WORK_SECONDS, THREADS = 500, 100, 0.05, 8
PACED, PLAIN = "news", "default"
MOST_TIMES, MOST_LATE, LEAST_THREADS = 1.2, 1.03, 7.5
GIVE_UP_SECONDS = 300.0


class Shop:
    """One worker, and the jobs of its queues, which last for ``work_seconds`` each: when each began."""

    def __init__(
        self, store: Store, settings: Settings, limits: dict[str, Limit], work_seconds: float
    ) -> None:
        sources = [replace(BUILT_IN[name], limits=(limit,), missing=()) for name, limit in limits.items()]
        self._store, self._work_seconds = store, work_seconds
        self._broker = PacingBroker(store, settings, sources)
        self.begun: dict[str, list[float]] = {PLAIN: [], **{name: [] for name in limits}}
        for name in self.begun:
            options = {} if name == PLAIN else {"source": name}
            dramatiq.actor(self._act, actor_name=f"act-{name}", broker=self._broker, **options)

    def _act(self, queue: str) -> None:
        self.begun[queue].append(time.monotonic())
        time.sleep(self._work_seconds)

    def work_off(self, counts: dict[str, int]) -> None:
        """Queue so many jobs of each queue, and have them done."""
        for queue, count in counts.items():
            actor: Any = self._broker.get_actor(f"act-{queue}")
            self._broker.enqueue_many([actor.message(queue) for _ in range(count)])
        worker = dramatiq.Worker(self._broker, worker_threads=THREADS, worker_timeout=1000)
        worker.start()
        try:
            for queue in counts:
                self._broker.join(queue, interval=5, timeout=round(GIVE_UP_SECONDS * 1000))
        finally:
            worker.stop()

    def seconds(self, queue: str) -> float:
        """From the first of its jobs to the last."""
        return self.begun[queue][-1] - self.begun[queue][0]

    def handed_out(self, queue: str) -> int:
        """How often a job of it was, in the last minutes."""
        counted = self._store.call("HVALS", self._store.keys.queue(queue, "pace"))
        return sum(whole_number(one) or 0 for one in counted)


@contextmanager
def shop(server: Server, work_seconds: float, **limits: Limit) -> Iterator[Shop]:
    server.flush()
    settings = Settings.load({"REDIS_URL": server.url, **PATIENT})
    store = Store(settings)
    try:
        yield Shop(store, settings, limits, work_seconds)
    finally:
        store.close()


def table(*, is_quick: bool) -> Table:
    """The table, in about a minute."""
    server = Server().start()
    try:
        return measure(server, LIMIT, QUICK_JOBS if is_quick else JOBS, WORK_SECONDS)
    finally:
        server.close()


def measure(server: Server, limit: Limit, jobs: int, work_seconds: float) -> Table:
    found = Table(
        "Paced jobs beside others",
        f"One worker with {THREADS} threads, jobs of {work_seconds * 1e3:g} ms: {jobs} of a queue without a "
        f"limit, alone and beside {jobs} at {limit.count} per {limit.window_seconds:g} s. The bound: a slot "
        "is free again a window after its job is over. Then five sources, of which one has jobs.",
        ["case", "measured", "compared"],
    )
    with shop(server, work_seconds, **{PACED: limit}) as alone:
        alone.work_off({PLAIN: jobs})
    with shop(server, work_seconds, **{PACED: limit}) as both:
        both.work_off({PLAIN: jobs, PACED: jobs})
        handed_out = both.handed_out(PACED)
    times = both.seconds(PLAIN) / alone.seconds(PLAIN)
    bound = (jobs - 1) // limit.count * (limit.window_seconds + work_seconds)
    late = both.seconds(PACED) / bound
    most = max(
        sum(begun <= other < begun + limit.window_seconds for other in both.begun[PACED])
        for begun in both.begun[PACED]
    )
    names = list(BUILT_IN)[:5]
    with shop(server, work_seconds, **dict.fromkeys(names, WIDE)) as one:
        one.work_off({names[0]: jobs})
    threads = (jobs - 1) * work_seconds / one.seconds(names[0])
    found.rows += [
        ["without a limit", f"{both.seconds(PLAIN):.2f} s", f"{times:.2f} x alone"],
        ["at the limit", f"{both.seconds(PACED):.2f} s", f"{late:.3f} x the bound"],
        ["handed out, of those", str(handed_out), f"{handed_out / jobs:.2f} a job"],
        ["one source of five", f"{one.seconds(names[0]):.2f} s", f"{threads:.1f} threads of {THREADS}"],
    ]
    found.bars += [
        Bar(
            f"without a limit: at most {MOST_TIMES:g} x their time alone", f"{times:.2f}", times <= MOST_TIMES
        ),
        Bar(f"at the limit: at most {MOST_LATE:g} x the bound", f"{late:.3f}", late <= MOST_LATE),
        Bar("each handed out once", f"{handed_out / jobs:.2f}", handed_out == jobs),
        Bar(f"never more than {limit.count} in a window", str(most), most <= limit.count),
        Bar(
            f"one busy source of five has {LEAST_THREADS:g} of {THREADS} threads",
            f"{threads:.1f}",
            threads >= LEAST_THREADS,
        ),
    ]
    return found
