"""Somebody waits, while pre-warming takes all it can get."""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from bench import fleet
from bench.exactness import LIMIT, strict, used
from bench.limiter import Done, Tbcache
from bench.load import delay, most_in_any_window
from bench.table import Bar, Table
from tbcache.models import Lane
from tests.server import Server

PREWARM_THREADS = 3
SECONDS, QUICK_SECONDS = 36.0, 3.0
#: So many cases run beside each other: each is a few dozen requests a second.
BESIDE = 2
MOST_WAIT = 0.050
PARTS = (0.05, 0.10, 0.20)


@dataclass(frozen=True)
class Seen:
    """``waits`` of interactive asks in seconds; ``used`` as for the limiters."""

    waits: Sequence[float]
    prewarmed: int
    refused: int
    most: int
    used: float

    @property
    def p50(self) -> float:
        return statistics.median(self.waits) if self.waits else 0.0

    @property
    def p99(self) -> float:
        return sorted(self.waits)[int(0.99 * len(self.waits))] if self.waits else 0.0


def work(
    process: int, start: float, url: str, key: str, part: float, prewarm: Lane, seconds: float
) -> tuple[list[float], list[float], list[float]]:
    """One process's part: the waits of its interactive asks, when those arrived, when pre-warms did.

    An interactive ask waits from the moment it was due: one that is held up holds up the next.
    """
    limiter, end = Tbcache(url, LIMIT, key), start + seconds
    waits: list[float] = []
    arrivals: dict[str, list[float]] = {"interactive": [], "prewarm": []}

    def send(random_: random.Random, lane: str, done: Done) -> None:
        time.sleep(delay(random_, "saturated"))
        arrivals[lane].append(time.monotonic())
        time.sleep(delay(random_, "saturated"))
        done()

    def warm(thread: int) -> None:
        random_ = random.Random(f"{part} {process} {thread}")
        while time.monotonic() < end:
            if (done := limiter.acquire(end, prewarm)) is not None:
                send(random_, "prewarm", done)

    def ask(senders: ThreadPoolExecutor) -> None:
        random_, rate = random.Random(f"{part} {process}"), part * LIMIT.count / LIMIT.window_seconds / 4
        due = start + random_.expovariate(rate)
        while due < end:
            time.sleep(max(0.0, due - time.monotonic()))
            # Whoever waits at the end is waited for: the longest waits are what this is about.
            if (done := limiter.acquire(end + LIMIT.window_seconds)) is not None:
                waits.append(time.monotonic() - due)
                senders.submit(send, random.Random(random_.random()), "interactive", done)
            due += random_.expovariate(rate)

    time.sleep(max(0.0, start - time.monotonic()))
    with ThreadPoolExecutor(16) as senders:
        loops = [threading.Thread(target=warm, args=(thread,)) for thread in range(PREWARM_THREADS)]
        loops.append(threading.Thread(target=ask, args=(senders,)))
        for one in loops:
            one.start()
        for one in loops:
            one.join()
    return waits, arrivals["interactive"], arrivals["prewarm"]


def run(workers: fleet.Fleet, url: str, part: float, prewarm: Lane, seconds: float) -> Seen:
    """Interactive asks at ``part`` of the quota beside pre-warms in the lane ``prewarm``."""
    key = f"lanes{round(part * 100)}{prewarm}"
    results = workers.run(work, url, key, part, prewarm, seconds)
    warmed = [at for _, _, moments in results for at in moments]
    arrivals = sorted(warmed + [at for _, moments, _ in results for at in moments])
    accepted = strict(arrivals, LIMIT)
    return Seen(
        waits=[wait for waits, _, _ in results for wait in waits],
        prewarmed=len(warmed),
        refused=len(arrivals) - len(accepted),
        most=most_in_any_window(arrivals, LIMIT.window_seconds),
        used=used(accepted, LIMIT) or 0.0,
    )


def table(*, is_quick: bool) -> Table:
    """The table, in about 80 seconds; in 5 when ``is_quick``."""
    if is_quick:
        return measure([(0.10, "prewarm")], QUICK_SECONDS)
    cases: list[tuple[float, Lane]] = [(part, "prewarm") for part in PARTS]
    return measure([*cases, (0.10, "interactive")], SECONDS)


def measure(cases: Sequence[tuple[float, Lane]], seconds: float, processes: int = 4) -> Table:
    """Each case for so long."""
    found = Table(
        "Interactive asks under saturated pre-warming",
        f"{processes} processes x {PREWARM_THREADS} threads pre-warm as fast as they may, and in each a "
        f"thread asks at Poisson times, at 50 per 2 s, 5-50 ms each way, {seconds:g} s. Waits in ms, from "
        "the moment an ask was due to the moment it may be sent. Same lane: pre-warming has none of its own. "
        "used: as for the limiters.",
        ["interactive asks", "pre-warms", "refused / most", "asks", "wait p50", "wait p99", "used"],
    )
    with ThreadPoolExecutor(BESIDE) as beside:
        runs = beside.map(lambda case: _run(case, seconds, processes), cases)
        for (part, prewarm), seen in zip(cases, runs, strict=True):
            found.rows.append(row(part, prewarm, seen))
            if prewarm == "prewarm":
                found.bars += bars(part, seen)
    return found


def _run(case: tuple[float, Lane], seconds: float, processes: int) -> Seen:
    server = Server().start()
    try:
        with fleet.start(processes) as workers:
            return run(workers, server.url, *case, seconds)
    finally:
        server.close()


def row(part: float, prewarm: Lane, seen: Seen) -> list[str]:
    return [
        f"{part:.0%} of the quota",
        f"{seen.prewarmed}{'' if prewarm == 'prewarm' else ', same lane'}",
        f"{seen.refused}/{seen.most}",
        str(len(seen.waits)),
        f"{seen.p50 * 1000:.0f}",
        f"{seen.p99 * 1000:.0f}",
        f"{seen.used:.2f}",
    ]


def bars(part: float, seen: Seen) -> list[Bar]:
    return [
        Bar(
            f"asks at {part:.0%}: p99 wait 50 ms",
            f"{seen.p99 * 1000:.0f} ms",
            bool(seen.waits) and seen.p99 <= MOST_WAIT,
        ),
        Bar(f"asks at {part:.0%}: 90% of the quota used", f"{seen.used:.1%}", seen.used >= 0.90),
        Bar(
            f"asks at {part:.0%}: never more than 50 in a window",
            f"{seen.refused}/{seen.most}",
            seen.most <= LIMIT.count,
        ),
    ]
