"""Threads for what takes long, apart from those that answer everything else."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import HTTPException

T = TypeVar("T")


class Crew:
    """So many of a kind are done at once; what comes beyond is refused, for it would wait for nobody knows
    how long."""

    def __init__(self, count: int, what: str) -> None:
        self._count, self._what = count, what
        self._threads = CapacityLimiter(count)
        self._busy = 0

    async def run(self, work: Callable[[], T]) -> T:
        """What ``work`` gives, which runs in a thread.

        Raises:
          HTTPException: 503 where all threads are taken.
        """
        if self._busy >= self._count:
            text = f"{self._count} {self._what} are being made already; try again in a second"
            raise HTTPException(503, text, {"Retry-After": "1"})
        self._busy += 1
        try:
            return await to_thread.run_sync(work, limiter=self._threads)
        finally:
            self._busy -= 1
