"""Times as ratios: each block of calls beside a block of the yardstick's, in the same moment."""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.server import Server

#: Makes so many calls and returns how long each took, in seconds.
Block = Callable[[int], list[float]]


@dataclass(frozen=True)
class Ratio:
    """Over the yardstick's median: the median over the rounds, and their extremes."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        digits = 2 if self.median < 100 else 0
        return f"{self.median:.{digits}f} ({self.low:.{digits}f}-{self.high:.{digits}f})"


@contextmanager
def one_core(server: Server) -> Iterator[None]:
    """Keep the caller and ``server`` on one core, where the system can.

    Left alone they move together and apart, and a GET takes twice as long apart: within
    one run, ratios would come from two machines. Together is where our own work weighs most.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    pids = (0, int(server.client.info("server")["process_id"]))
    before = [os.sched_getaffinity(pid) for pid in pids]
    for pid in pids:
        os.sched_setaffinity(pid, {max(before[0])})
    try:
        yield
    finally:
        for pid, cores in zip(pids, before, strict=True):
            os.sched_setaffinity(pid, cores)


@contextmanager
def own_core(server: Server) -> Iterator[None]:
    """Give ``server``'s main thread a core for itself, where there are two: whatever the caller and the
    processes it starts do meanwhile, a command then takes as long as it takes, and not as long as
    somebody else's turn.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []
    if len(cores) < 2:
        yield
        return
    main, ours = int(server.client.info("server")["process_id"]), os.getpid()
    others = [thread for thread in _threads(main) if thread != main] + _threads(ours)
    try:
        os.sched_setaffinity(main, cores[-1:])
        for thread in others:
            os.sched_setaffinity(thread, cores[:-1])
        yield
    finally:
        for thread in [main, *others]:
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(thread, cores)


def _threads(pid: int) -> list[int]:
    return [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]


def block(call: Callable[[], Any]) -> Block:
    """Blocks of a plain function."""

    def run(count: int) -> list[float]:
        seconds, clock = [], time.perf_counter
        for _ in range(count):
            started = clock()
            call()
            seconds.append(clock() - started)
        return seconds

    return run


def async_block(loop: asyncio.AbstractEventLoop, call: Callable[[], Awaitable[Any]]) -> Block:
    """Blocks of a coroutine function, each in one run of ``loop``."""

    async def run(count: int) -> list[float]:
        seconds, clock = [], time.perf_counter
        for _ in range(count):
            started = clock()
            await call()
            seconds.append(clock() - started)
        return seconds

    return lambda count: loop.run_until_complete(run(count))


def compare(yardstick: Block, blocks: Mapping[str, Block], *, rounds: int, calls: int) -> dict[str, Ratio]:
    """Each block's median over the yardstick's, taken right before it, round after round."""
    for one in (yardstick, *blocks.values()):
        one(calls)
    found: dict[str, list[float]] = {name: [] for name in blocks}
    for _ in range(rounds):
        for name, one in blocks.items():
            base = statistics.median(yardstick(calls))
            found[name].append(statistics.median(one(calls)) / base)
    return {
        name: Ratio(statistics.median(ratios), min(ratios), max(ratios)) for name, ratios in found.items()
    }
