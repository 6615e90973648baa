"""Who gets how much of a queue at its limit: a caller with few jobs beside one with many, equals, weights."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import dramatiq

from bench.table import Bar, Table
from tbcache.io import run
from tbcache.models import Limit
from tbcache.queue import PacingBroker
from tbcache.queue.account import account_for
from tbcache.queue.batch import put_all
from tbcache.queue.script import JobAsk
from tbcache.queue.wants import Wants
from tbcache.settings import BUILT_IN, Settings
from tbcache.store import Store
from tests.server import PATIENT, Server, wait_until

BACKLOG, QUICK_BACKLOG, FEW, NAMES = 10_000, 1_000, 10, 50
LIMIT = Limit(50, 2.0)
EQUALS, WINDOWS, QUICK_WINDOWS = 8, 7, 3
MOST_TIMES, LEAST_JAIN, MOST_OFF, LEAST_USED = 1.2, 0.99, 0.03, 0.95
#: Of so many jobs queued so many are worked off, in so many rounds.
WORKED_OFF, COST_ROUNDS, MOST_COST = 1_000, 3, 1.1
GIVE_UP_SECONDS = 120.0


class Line:
    """One worker and one queue. ``begun`` has the caller of each job that began, and when."""

    def __init__(self, store: Store, settings: Settings, limit: Limit) -> None:
        self._store, self._settings = store, settings
        broker = PacingBroker(store, settings, [replace(BUILT_IN["news"], limits=(limit,))])
        self.begun: list[tuple[float, str]] = []
        self._actor = dramatiq.actor(self._act, actor_name="act", source="news", broker=broker)
        self.worker = dramatiq.Worker(broker, worker_threads=8, worker_timeout=50)

    def _act(self, caller: str) -> None:
        self.begun.append((time.monotonic(), caller))

    def put(self, caller: str, count: int, name: str = "") -> None:
        """Queue ``count`` jobs of ``caller``, in the name of ``name`` where there is one."""
        messages = [self._actor.message(caller) for _ in range(count)]
        asks = [JobAsk(one.message_id, one.encode(), "") for one in messages]
        run(
            put_all(
                self._store, "news", asks, Wants(account_for(name or caller, self._settings.caller_weights))
            )
        )

    def begin(self, caller: str, count: int) -> float:
        """Wait for ``count`` jobs of ``caller``; when the last of them began."""
        give_up = time.monotonic() + GIVE_UP_SECONDS
        while time.monotonic() < give_up:
            moments = [moment for moment, who in self.begun if who == caller]
            if len(moments) >= count:
                return moments[count - 1]
            time.sleep(0.001)
        raise TimeoutError(f"{caller}: no {count} jobs within {GIVE_UP_SECONDS:g} s")


@contextmanager
def line(server: Server, limit: Limit, weights: str = "") -> Iterator[Line]:
    server.flush()
    settings = Settings.load({"REDIS_URL": server.url, "TBCACHE_CALLER_WEIGHTS": weights, **PATIENT})
    store = Store(settings)
    found = Line(store, settings, limit)
    try:
        yield found
    finally:
        found.worker.stop()
        store.close()


def wait_of_few(server: Server, limit: Limit, backlog: int, name: Callable[[int], str]) -> float:
    """For how long the last of B's few jobs waits (s), once A has used up the window and has a backlog."""
    with line(server, limit) as queue:
        queue.put("a", limit.count)
        for number in range(NAMES if backlog else 0):
            queue.put("a", backlog // NAMES, name(number))
        queue.worker.start()
        used_up = queue.begin("a", limit.count)
        queue.put("b", FEW)
        return queue.begin("b", FEW) - used_up


def parts(
    server: Server, limit: Limit, windows: int, callers: Sequence[str], weights: str = ""
) -> tuple[list[int], float]:
    """How many jobs of each caller began in so many windows while all had enough, and how much of the limit
    was used."""
    with line(server, limit, weights) as queue:
        for caller in callers:
            queue.put(caller, limit.count * windows)
        queue.worker.start()
        began = min(queue.begin(caller, 1) for caller in callers)
        time.sleep(max(0.0, began + (windows - 0.5) * limit.window_seconds - time.monotonic()))
        counts = Counter(caller for _, caller in list(queue.begun))
    found = [counts[caller] for caller in callers]
    return found, sum(found) / (limit.count * windows)


def cost_of_a_job(server: Server, callers: int, jobs: int, worked_off: int) -> float:
    """Microseconds of scripts that the server spends on each of the first ``worked_off`` jobs, from their
    hand-out to their end, where ``jobs`` of so many callers are queued."""
    with line(server, Limit(10 * jobs, 60.0)) as queue:
        for number in range(callers):
            queue.put(f"c{number}", jobs // callers)
        before = _script_seconds(server)
        queue.worker.start()
        wait_until(lambda: len(queue.begun) >= worked_off, GIVE_UP_SECONDS)
        return 1e6 * (_script_seconds(server) - before) / len(queue.begun)


def _script_seconds(server: Server) -> float:
    """Seconds that the server has spent in scripts since it began."""
    return float(server.client.info("commandstats")["cmdstat_evalsha"]["usec"]) / 1e6


def jain(counts: Sequence[int]) -> float:
    """1 where all have the same."""
    return sum(counts) ** 2 / (len(counts) * sum(count * count for count in counts))


def table(*, is_quick: bool) -> Table:
    """The table, in about a minute."""
    server = Server().start()
    try:
        backlog, windows = (QUICK_BACKLOG, QUICK_WINDOWS) if is_quick else (BACKLOG, WINDOWS)
        return measure(server, LIMIT, backlog, windows)
    finally:
        server.close()


def measure(server: Server, limit: Limit, backlog: int, windows: int) -> Table:
    found = Table(
        "Callers share a queue",
        f"One worker with 8 threads at {limit.count} per {limit.window_seconds:g} s, in real time. A has "
        f"used up the window, and has {backlog} jobs more; then B queues {FEW}. Parts: in {windows} windows, "
        "while every caller has enough.",
        ["case", "measured", "compared"],
    )
    alone = wait_of_few(server, limit, 0, str)
    times, names = [], {"one name": "a", f"{NAMES} names below a": "a/{}"}
    for case, name in names.items():
        waited = wait_of_few(server, limit, backlog, name.format)
        times.append(waited / alone)
        found.rows.append([f"B's last beside A, {case}", f"{waited:.2f} s", f"{times[-1]:.2f} x alone"])
    equal, used = parts(server, limit, windows, [f"c{number}" for number in range(EQUALS)])
    found.rows.append([f"{EQUALS} equals", " ".join(map(str, equal)), f"Jain {jain(equal):.4f}"])
    (two, one), also_used = parts(server, limit, windows, ["two", "one"], "two=2")
    found.rows.append(["weights 2:1", f"{two} {one}", f"{two / one:.3f}"])
    off, used = abs(two / one / 2 - 1), min(used, also_used)
    worked_off = min(WORKED_OFF, backlog // 5)
    rounds = [
        [cost_of_a_job(server, callers, backlog, worked_off) for callers in (1, backlog)]
        for _ in range(COST_ROUNDS)
    ]
    by_one, by_many = (statistics.median(costs) for costs in zip(*rounds, strict=True))
    times_cost = statistics.median(many / one for one, many in rounds)
    found.rows.append(
        [
            f"scripts a job, {backlog} callers",
            f"{by_many:.0f} us",
            f"{times_cost:.2f} x one caller's {by_one:.0f}",
        ]
    )
    found.bars += [
        Bar(f"B's last within {MOST_TIMES:g} x alone", f"{max(times):.2f}", max(times) <= MOST_TIMES),
        Bar(f"Jain index >= {LEAST_JAIN:g}", f"{jain(equal):.4f}", jain(equal) >= LEAST_JAIN),
        Bar(f"2:1 within {MOST_OFF:.0%}", f"{off:.1%}", off <= MOST_OFF),
        Bar(f"use >= {LEAST_USED:g}", f"{used:.3f}", used >= LEAST_USED),
        Bar(
            f"a job costs at most {MOST_COST:g} x with {backlog} callers",
            f"{times_cost:.2f}",
            times_cost <= MOST_COST,
        ),
    ]
    return found
