"""What a strict upstream sees of a fleet that keeps one limit.

Every thread asks for permits as fast as it may. A request arrives 5-50 ms after it is
sent and is answered 5-50 ms later; arrivals are stamped by the machine's monotonic clock.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from bench import fleet, wire
from bench.limiter import LIMITERS
from bench.load import delay, most_in_any_window
from bench.table import Bar, Table
from tbcache.models import Limit
from tests.server import Server

LIMIT = Limit(50, 2.0)
OWN_SECONDS, PEER_SECONDS, QUICK_SECONDS = 4.5, 4.0, 2.4
HOUR = 3600.0
BURST_SECONDS = 0.7
#: Column -> (shape of the load, skew of the clients' clocks in seconds).
LOADS = {
    "saturated": ("saturated", 0.0),
    "on/off bursts": ("bursts", 0.0),
    "heavy tail": ("heavy", 0.0),
    "clocks +-1 h": ("saturated", HOUR),
}


@dataclass(frozen=True)
class Seen:
    """``used`` is the pace of what was accepted over the fastest that the limit allows; None where
    too little was accepted to tell."""

    refused: int
    most: int
    used: float | None
    round_trips: float

    @property
    def cell(self) -> str:
        return f"{self.refused}/{self.most}"


def work(
    process: int, start: float, name: str, url: str, limit: Limit, key: str, load: tuple[str, int, float, int]
) -> tuple[list[float], int]:
    """One process's part: when its requests arrived, and the round trips that their permits took."""
    shape, threads, seconds, seed = load
    end = start + seconds
    limiter = LIMITERS[name](url, limit, key)
    arrivals: list[float] = []
    trips: list[int] = []

    def loop(thread: int) -> None:
        random_ = random.Random(f"{seed} {process} {thread}")
        while (now := time.monotonic()) < end:
            if shape == "bursts" and int((now - start) / BURST_SECONDS) % 2:
                time.sleep(0.01)
                continue
            before = wire.mine()
            done = limiter.acquire(end)
            if done is None:
                continue
            time.sleep(delay(random_, shape))
            arrivals.append(time.monotonic())
            time.sleep(delay(random_, shape))
            done()
            trips.append(wire.mine() - before)

    fleet.in_threads(start, threads, loop)
    return arrivals, sum(trips)


def measure(
    name: str,
    workers: fleet.Fleet,
    url: str,
    limit: Limit,
    seconds: float,
    *,
    shape: str = "saturated",
    skew_seconds: float = 0.0,
    threads: int = 4,
    seed: int = 1,
) -> Seen:
    """One limiter under one load."""
    key = f"bench{seed}{shape}{int(skew_seconds)}{name}".replace(" ", "").replace("-", "").lower()
    load = (shape, threads, seconds, seed)
    results = workers.run(work, name, url, limit, key, load, skew_seconds=skew_seconds)
    arrivals = sorted(moment for moments, _ in results for moment in moments)
    accepted = strict(arrivals, limit)
    return Seen(
        refused=len(arrivals) - len(accepted),
        most=most_in_any_window(arrivals, limit.window_seconds),
        used=used(accepted, limit),
        round_trips=sum(trips for _, trips in results) / max(1, len(arrivals)),
    )


def strict(arrivals: Iterable[float], limit: Limit) -> list[float]:
    """The arrivals that an upstream lets in which allows ``limit.count`` of them in any window."""
    accepted: list[float] = []
    for moment in arrivals:
        if (
            len(accepted) < limit.count
            or moment - accepted[len(accepted) - limit.count] >= limit.window_seconds
        ):
            accepted.append(moment)
    return accepted


def used(accepted: Sequence[float], limit: Limit) -> float | None:
    """A window over the mean time in which as many as it allows were let in.

    Unlike a count over a stretch of time, it sees every moment lost between two windows.
    """
    gaps = [later - moment for moment, later in zip(accepted, accepted[limit.count :], strict=False)]
    return limit.window_seconds / statistics.mean(gaps) if gaps else None


def table(*, is_quick: bool, seeds: int | None = None) -> Table:
    """The table, in about 6 minutes; in half of one when ``is_quick``. ``seeds`` are tbcache's: 10, or 1."""
    seeds = seeds or (1 if is_quick else 10)
    seconds = QUICK_SECONDS if is_quick else OWN_SECONDS
    peer_seconds = QUICK_SECONDS if is_quick else PEER_SECONDS
    names = ["tbcache", "pyrate-limiter"] if is_quick else [*LIMITERS]
    found = Table(
        "Limiters: what a strict upstream sees",
        f"4 processes x 4 threads, 50 per 2 s, 5-50 ms each way. tbcache: {seconds:g} s a load, seeds: "
        f"{seeds}, the worst of them (of round trips the mean); peers: {peer_seconds:g} s, one seed. Cells: "
        "refused / most arrivals in any window. used: pace of what was accepted over the fastest the limit "
        "allows, saturated and with the heavy tail (5% of calls + Exp(200 ms)). With wrong clocks, two "
        "processes are an hour ahead and two an hour behind.",
        ["limiter", *LOADS, "used", "used, heavy tail", "round trips per permit"],
    )
    server = Server().start()
    try:
        with fleet.start() as workers, ThreadPoolExecutor(1) as beside:
            long = None if is_quick else beside.submit(_minute)
            for name in names:
                is_ours = name == "tbcache"
                by_load = {}
                for column, (shape, skew) in LOADS.items():
                    runs = [
                        measure(
                            name,
                            workers,
                            server.url,
                            LIMIT,
                            seconds if is_ours else peer_seconds,
                            shape=shape,
                            skew_seconds=skew,
                            seed=seed,
                        )
                        for seed in range(1, (seeds if is_ours else 1) + 1)
                    ]
                    by_load[column] = _worst(runs)
                    server.flush()
                found.rows.append(row(name, by_load))
                if is_ours:
                    found.bars = bars(by_load, seeds)
            if long is not None:
                found.bars.append(_minute_bar(long.result()))
    finally:
        server.close()
    return found


def row(name: str, by_load: dict[str, Seen]) -> list[str]:
    saturated = by_load["saturated"]
    return [
        name,
        *(seen.cell for seen in by_load.values()),
        _share(saturated.used),
        _share(by_load["heavy tail"].used),
        f"{saturated.round_trips:.2f}",
    ]


def bars(by_load: dict[str, Seen], seeds: int) -> list[Bar]:
    saturated, heavy = by_load["saturated"].used or 0.0, by_load["heavy tail"].used or 0.0
    worst = _worst([*by_load.values()])
    return [
        Bar(
            f"0 refusals, never more than 50 in a window, under any load, seeds: {seeds}",
            worst.cell,
            worst.refused == 0 and worst.most <= 50,
        ),
        Bar("95% of the quota used", f"{saturated:.1%}", saturated >= 0.95),
        Bar("88% of it with a heavy tail", f"{heavy:.1%}", heavy >= 0.88),
        Bar(
            "2.1 round trips per fetch",
            f"{by_load['saturated'].round_trips:.2f}",
            0 < by_load["saturated"].round_trips <= 2.1,  # none at all would be a count that fails
        ),
    ]


def _minute() -> Seen:
    """tbcache alone at a window of a minute, on a server of its own, beside the other loads."""
    server = Server().start()
    try:
        with fleet.start() as workers:
            return measure("tbcache", workers, server.url, Limit(300, 60.0), 66.0)
    finally:
        server.close()


def _minute_bar(seen: Seen) -> Bar:
    share = seen.used or 0.0
    return Bar("99.5% of the quota used at 60 s windows", f"{share:.2%}", share >= 0.995)


def _worst(runs: list[Seen]) -> Seen:
    shares = [seen.used for seen in runs if seen.used is not None]
    return Seen(
        max(seen.refused for seen in runs),
        max(seen.most for seen in runs),
        min(shares, default=None),
        # That is what a permit costs: no promise is broken where one run has a few more.
        statistics.mean(seen.round_trips for seen in runs),
    )


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
