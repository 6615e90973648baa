"""Places for what takes long: so many at once, and never all of them one client's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import HTTPException

from tbcache.io.share import Shares

T = TypeVar("T")

_RETRY = {"Retry-After": "1"}


class Places:
    """``count`` places that clients share. What comes beyond is refused, for it would wait for
    nobody knows how long.
    """

    def __init__(self, count: int, what: str) -> None:
        self.shares, self._what = Shares(count), what

    @contextmanager
    def taken(self, client: str) -> Iterator[None]:
        """A place of ``client``.

        Raises:
          HTTPException: 503 where all are taken, 429 where those of ``client`` are as many as it leaves.
        """
        match self.shares.lack(client):
            case "all":
                text = f"{self.shares.count} {self._what} are being made already; try again in a second"
                raise HTTPException(503, text, _RETRY)
            case "its own":
                mine = self.shares.taken_by(client)
                text = f"{mine} {self._what} are being made for you already; try again when one of them is"
                raise HTTPException(429, text, _RETRY)
        with self.shares.taken(client):
            yield


class Crew:
    """Threads for what computes, apart from those that answer everything else: one for each place."""

    def __init__(self, count: int, what: str) -> None:
        self._places = Places(count, what)
        self._threads = CapacityLimiter(count)

    async def run(self, client: str, work: Callable[[], T]) -> T:
        """What ``work`` gives, which runs in a thread.

        Raises:
          HTTPException: there is no place for ``client``.
        """
        with self._places.taken(client):
            return await to_thread.run_sync(work, limiter=self._threads)
