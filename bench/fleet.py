"""Four processes that do the same thing at the same moment, and whose clocks can be set wrong."""

from __future__ import annotations

import logging
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from bench import wire

T = TypeVar("T")

#: How long a process takes to begin once it is asked to.
LEAD_SECONDS = 0.3

_skew_seconds = 0.0
_time, _time_ns = time.time, time.time_ns


class Fleet:
    """Runs a function of a module in every process; see :func:`start`."""

    def __init__(self, pool: Any, size: int) -> None:
        self._pool = pool
        self._imported: set[str] = set()
        self.size = size

    def prepare(self, work: Callable[..., Any]) -> None:
        """Have the module of ``work`` imported in each process, which takes longer than the lead."""
        if work.__module__ not in self._imported:
            # It is when a process is handed the function.
            self._pool.map(_hold, [work] * self.size, chunksize=1)
            self._imported.add(work.__module__)

    def run(self, work: Callable[..., T], *args: Any, skew_seconds: float = 0.0) -> list[T]:
        """``work(process, start, *args)`` in each process; they begin at ``start`` (monotonic).

        Every other process has its ``time.time()`` ``skew_seconds`` ahead, the rest as much behind.
        """
        self.prepare(work)
        start = time.monotonic() + LEAD_SECONDS
        calls = [(work, process, start, skew_seconds * (-1) ** process, args) for process in range(self.size)]
        results: list[T] = self._pool.starmap(_call, calls, chunksize=1)
        return results


@contextmanager
def start(size: int = 4) -> Iterator[Fleet]:
    """A fleet of ``size`` processes."""
    with multiprocessing.get_context("spawn").Pool(size, initializer=_prepare) as pool:
        # Until every process is up.
        pool.map(time.sleep, [LEAD_SECONDS] * size, chunksize=1)
        yield Fleet(pool, size)


def in_threads(start: float, threads: int, loop: Callable[[int], None]) -> None:
    """``loop(thread)`` in so many threads, from ``start`` (monotonic) until all have ended."""
    time.sleep(max(0.0, start - time.monotonic()))
    loops = [threading.Thread(target=loop, args=(thread,)) for thread in range(threads)]
    for one in loops:
        one.start()
    for one in loops:
        one.join()


def _prepare() -> None:
    # Before any peer is imported: some of them take the function out of the module.
    time.time = lambda: _time() + _skew_seconds
    time.time_ns = lambda: _time_ns() + int(_skew_seconds * 1e9)
    logging.disable(logging.CRITICAL)
    wire.count_round_trips()


def _hold(work: Callable[..., Any]) -> None:
    # Long enough that no process takes a second one.
    time.sleep(LEAD_SECONDS)


def _call(
    work: Callable[..., T], process: int, start: float, skew_seconds: float, args: tuple[Any, ...]
) -> T:
    global _skew_seconds
    _skew_seconds = skew_seconds
    try:
        return work(process, start, *args)
    finally:
        _skew_seconds = 0.0
