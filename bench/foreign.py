"""Somebody else uses the same key, and nobody says how much."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from bench import fleet
from bench.exactness import LIMIT, used
from bench.limiter import LIMITERS
from bench.load import delay
from bench.table import Bar, Table
from bench.upstream import Line, StrictUpstream, running
from tests.server import Server

#: The foreign consumer's part of the quota.
PART = 0.28
THREADS = 4
SECONDS, QUICK_SECONDS = 50.0, 4.5
PEER_SECONDS = 15.0
#: So many cases run beside each other: each is a few dozen requests a second.
BESIDE = 4


@dataclass(frozen=True)
class Case:
    """Who asks, how the foreign consumer comes, and whether the upstream's headers tell figures."""

    name: str
    rhythm: str
    tells_figures: bool


CASES = [
    Case("tbcache", "steady", False),
    Case("tbcache", "Poisson", False),
    Case("tbcache", "steady", True),
    Case("tbcache", "Poisson", True),
    Case("limits moving window", "steady", False),
    Case("pyrate-limiter", "steady", False),
]
QUICK = [CASES[0], CASES[3]]


@dataclass(frozen=True)
class Seen:
    """After the first window: our requests and those refused, the foreign ones and those refused,
    and the pace of all that was accepted over the fastest that the limit allows."""

    sent: int
    refused: int
    foreign: int
    foreign_refused: int
    used: float

    @property
    def refused_part(self) -> float:
        return self.refused / max(1, self.sent)


def work(
    process: int, start: float, case: Case, url: str, address: tuple[str, int], seconds: float, threads: int
) -> list[tuple[float, bool]]:
    """One process's requests: when each was answered, and whether it was refused."""
    limiter, end = LIMITERS[case.name](url, LIMIT, "shared"), start + seconds
    sent: list[tuple[float, bool]] = []

    def loop(thread: int) -> None:
        random_ = random.Random(f"{case} {process} {thread}")
        line = Line(address, tells_figures=case.tells_figures)
        while time.monotonic() < end:
            done = limiter.acquire(end)
            if done is None:
                continue
            time.sleep(delay(random_, "saturated"))
            answer = line.send()
            sent.append((time.monotonic(), answer.refusal is not None))
            time.sleep(delay(random_, "saturated"))
            done(answer)
        line.close()

    fleet.in_threads(start, threads, loop)
    return sent


@contextmanager
def somebody_else(upstream: StrictUpstream, rhythm: str) -> Iterator[list[tuple[float, bool]]]:
    """A foreign consumer; gives when it asked, and whether it was refused."""
    rate = PART * LIMIT.count / LIMIT.window_seconds
    random_, stop = random.Random(rhythm), threading.Event()
    asked: list[tuple[float, bool]] = []

    def ask() -> None:
        due = time.monotonic()
        while not stop.wait(max(0.0, due - time.monotonic())):
            asked.append((time.monotonic(), not upstream.arrive().accepted))
            due += random_.expovariate(rate) if rhythm == "Poisson" else 1 / rate

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield asked
    finally:
        stop.set()
        thread.join()


def run(case: Case, workers: fleet.Fleet, url: str, seconds: float, threads: int = THREADS) -> Seen:
    """One case, the first window left out."""
    workers.prepare(work)
    with running(LIMIT) as upstream, somebody_else(upstream, case.rhythm) as foreign:
        from_ = time.monotonic() + fleet.LEAD_SECONDS + LIMIT.window_seconds
        results = workers.run(work, case, url, upstream.address, seconds, threads)
        until = from_ - LIMIT.window_seconds + seconds
        own = [refused for sent in results for at, refused in sent if at >= from_]
        others = [refused for at, refused in foreign if from_ <= at < until]
        accepted = [at for at, is_accepted in upstream.arrivals if is_accepted and from_ <= at < until]
        return Seen(len(own), sum(own), len(others), sum(others), used(accepted, LIMIT) or 0.0)


def table(*, is_quick: bool) -> Table:
    """The table, in about 75 seconds; in 7 when ``is_quick``."""
    return measure(QUICK if is_quick else CASES, QUICK_SECONDS if is_quick else SECONDS)


def measure(cases: list[Case], seconds: float, processes: int = 4, threads: int = THREADS) -> Table:
    """Each case for so long."""
    found = Table(
        "Somebody else uses the same key",
        f"{processes} processes x {threads} threads as fast as they may at 50 per 2 s, 5-50 ms each way, and "
        f"a consumer that nobody told us of, with {PART:.0%} of the quota; {seconds:g} s (peers at most "
        f"{PEER_SECONDS:g}), the first window left out. A strict upstream, whose headers tell what is left "
        "or do not; 429 in either case. used: pace of all that was accepted over the fastest possible.",
        ["limiter", "the other comes", "headers", "own refused", "the other refused", "used"],
    )
    with ThreadPoolExecutor(BESIDE) as beside:
        runs = beside.map(lambda case: _run(case, seconds, processes, threads), cases)
        for case, seen in zip(cases, runs, strict=True):
            found.rows.append(row(case, seen))
            # A short run is for the most part learning.
            if case.name == "tbcache" and seconds >= SECONDS:
                found.bars += bars(case, seen)
    return found


def _run(case: Case, seconds: float, processes: int, threads: int) -> Seen:
    server = Server().start()
    seconds = seconds if case.name == "tbcache" else min(seconds, PEER_SECONDS)
    try:
        with fleet.start(processes) as workers:
            return run(case, workers, server.url, seconds, threads)
    finally:
        server.close()


def row(case: Case, seen: Seen) -> list[str]:
    return [
        case.name,
        case.rhythm,
        "tell" if case.tells_figures else "do not",
        f"{seen.refused} of {seen.sent} ({seen.refused_part:.1%})",
        f"{seen.foreign_refused} of {seen.foreign}",
        f"{seen.used:.2f}",
    ]


def bars(case: Case, seen: Seen) -> list[Bar]:
    which = f"{case.rhythm}, {'rate headers' if case.tells_figures else 'no figures'}"
    return [
        Bar(f"{which}: own refusals 1%", f"{seen.refused_part:.1%}", seen.refused_part <= 0.01),
        Bar(f"{which}: 85% of the quota used", f"{seen.used:.1%}", seen.used >= 0.85),
    ]
