"""Queues beside ours: what a job that does nothing costs each."""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from bench.peer import job
from bench.table import Bar, Table
from tests.server import Server

#: Name in the table -> module in ``bench.peer``. The first is what all are compared with.
PEERS = {
    "dramatiq": "stock",
    "tbcache": "ours",
    "tbcache, paced": "ours_paced",
    "celery": "with_celery",
    "rq": "with_rq",
    "huey": "with_huey",
    "arq": "with_arq",
    "saq": "with_saq",
    "taskiq": "with_taskiq",
    "docket": "with_docket",
}
STOCK, OURS = "dramatiq", "tbcache"
#: How many jobs run at once.
THREADS = (1, 8)
#: Who takes so much longer is given so many times fewer jobs.
SLOWER = {"rq": 5, "arq": 25, "docket": 10}
#: Of stock dramatiq's jobs a second, at least; of its `.send`, at most; ms; commands.
LEAST_SPEED, MOST_SEND, MOST_COMMANDS = 1.5, 0.7, 20
MOST_PICK_UP, MOST_LATE_PICK_UP = 2.5, 5.0


class Cost(NamedTuple):
    """What jobs cost a peer: how many a second; the time that one takes to be queued (s); from then until it
    runs, where the worker is idle (s, the median, and what one in twenty exceeds); commands of Redis, those
    in scripts included."""

    speed: float
    send: float
    pick_up: float
    late_pick_up: float
    commands: float


def table(*, is_quick: bool) -> Table:
    """The table, in about eight minutes; in three when ``is_quick``."""
    return measure(list(PEERS), rounds=1 if is_quick else 2, jobs=200 if is_quick else 1000)


def measure(peers: list[str], *, rounds: int, jobs: int, threads: tuple[int, ...] = THREADS) -> Table:
    """Each peer with so many jobs at once, in turn."""
    found = Table(
        "Queues",
        f"{jobs:,} jobs that do nothing (rq: a fifth, docket: a tenth, arq: 1 in 25 of them), queued in a "
        "row and worked off by "
        f"one worker that runs {threads[0]} or {threads[-1]} at once; medians of {rounds} rounds in turn; "
        "x is beside stock dramatiq in the same round. Each as its documentation starts it: dramatiq, "
        "tbcache and huey with threads, celery with processes and no results, rq with a process for each "
        "job (a pool of workers), arq, saq, docket, and taskiq on Redis streams, with coroutines; rq, "
        "arq and saq keep results, as they do by default. A job of tbcache's is claimed and fairly "
        "queued; a paced one has a slot as well. Pick-up is from before the send until the job runs, "
        "where the worker was idle. Commands are those of the client and the worker together, those "
        "within scripts and of polling included. nan: some jobs were not done within two minutes.",
        [
            "queue",
            *(f"x jobs/s, {count}" for count in threads),
            "send, us",
            "x send",
            *(f"idle pick-up p50, ms, {count}" for count in threads),
            f"p95, ms, {threads[-1]}",
            "commands per job",
        ],
    )
    costs: dict[tuple[str, int], list[Cost]] = {(name, count): [] for name in peers for count in threads}
    for _ in range(rounds):
        for name, count in costs:
            costs[name, count].append(cost(name, count, jobs))
    for name in peers:
        found.rows.append(_row(name, costs, threads))
    if OURS in peers:
        found.bars.extend(_bars(costs, threads))
    return found


def _row(name: str, costs: dict[tuple[str, int], list[Cost]], threads: tuple[int, ...]) -> list[str]:
    most = threads[-1]
    return [
        name,
        *(f"{_x(costs, name, count, 'speed'):.2f}" for count in threads),
        f"{1e6 * _median(costs[name, most], 'send'):.0f}",
        f"{_x(costs, name, most, 'send'):.2f}",
        *(f"{1e3 * _median(costs[name, count], 'pick_up'):.1f}" for count in threads),
        f"{1e3 * _median(costs[name, most], 'late_pick_up'):.1f}",
        f"{_median(costs[name, most], 'commands'):.1f}",
    ]


def _bars(costs: dict[tuple[str, int], list[Cost]], threads: tuple[int, ...]) -> Iterator[Bar]:
    for count in threads:
        speed = _x(costs, OURS, count, "speed")
        asked = f"{OURS}, {count} at once: {LEAST_SPEED} x the jobs/s of {STOCK}"
        yield Bar(asked, f"{speed:.2f}", speed >= LEAST_SPEED)
    most = threads[-1]
    send = _x(costs, OURS, most, "send")
    yield Bar(f"{OURS}: at most {MOST_SEND} x `.send` of {STOCK}", f"{send:.2f}", send <= MOST_SEND)
    for what, part, bar in (("pick_up", "p50", MOST_PICK_UP), ("late_pick_up", "p95", MOST_LATE_PICK_UP)):
        found = 1e3 * _median(costs[OURS, most], what)
        yield Bar(f"{OURS}: idle pick-up {part} <= {bar:g} ms", f"{found:.1f} ms", found <= bar)
    commands = _median(costs[OURS, most], "commands")
    asked = f"{OURS}: at most {MOST_COMMANDS} commands per job"
    yield Bar(asked, f"{commands:.1f}", commands <= MOST_COMMANDS)


def _median(costs: list[Cost], what: str) -> float:
    return _middle(getattr(one, what) for one in costs)


def _x(costs: dict[tuple[str, int], list[Cost]], name: str, threads: int, what: str) -> float:
    """The median of the rounds' ratios to stock."""
    pairs = zip(costs[name, threads], costs[STOCK, threads], strict=True)
    return _middle(getattr(one, what) / getattr(other, what) for one, other in pairs)


def _middle(figures: Iterable[float]) -> float:
    """The median of the rounds in which all was done; nan where there is none."""
    return statistics.median([figure for figure in figures if not math.isnan(figure)] or [math.nan])


def cost(name: str, threads: int, jobs: int) -> Cost:
    """What jobs cost a peer, on a server of its own."""
    server = Server().start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            notes = Path(folder) / "notes"
            notes.touch()
            variables = {
                **server.variables,
                job.NOTES: str(notes),
                job.THREADS: str(threads),
                "TBCACHE_DATA_DIR": folder,
                "TBCACHE_LOG_LEVEL": "error",
            }
            count = max(2, jobs // SLOWER.get(name, 1))
            command = [sys.executable, "-m", "bench.peer.measure", PEERS[name], str(threads), str(count)]
            done = subprocess.run(
                command, env={**os.environ, **variables}, capture_output=True, text=True, check=False
            )
    finally:
        server.close()
    if done.returncode and name.startswith((OURS, STOCK)):
        raise RuntimeError(f"{name}: {done.stderr[-2000:]}")
    if done.returncode:
        return Cost(*[math.nan] * len(Cost._fields))
    return Cost(*map(float, done.stdout.split()))
