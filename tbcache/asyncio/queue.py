"""Producers of jobs, awaited."""

from __future__ import annotations

from tbcache.io.loop import drive
from tbcache.models import FetchRequest, Outcome
from tbcache.queue import Handle as BlockingHandle
from tbcache.queue import put


class Handle:
    """A queued fetch; see :class:`tbcache.Handle`, which ``blocking`` is."""

    def __init__(self, blocking: BlockingHandle) -> None:
        self.blocking = blocking

    def __repr__(self) -> str:
        return repr(self.blocking)

    @property
    def request(self) -> FetchRequest:
        """What is fetched."""
        return self.blocking.request

    @property
    def job_id(self) -> str:
        """The name of the job."""
        return self.blocking.job_id

    @property
    def is_new(self) -> bool:
        """False when it joined one that was queued already."""
        return self.blocking.is_new

    async def result(self, timeout: float | None = None) -> Outcome:
        """Wait for the outcome, ``timeout`` seconds at most (None: until it comes).

        Raises:
          ResultTimeout: it did not come in time; the job goes on.
          UpstreamError: what the upstream answered instead. RedisUnreachable: Redis went away.
        """
        return await drive(self.blocking.arrival(timeout))


async def enqueue(source: str, symbol: str, hours: int = 24, *, caller: str | None = None) -> Handle:
    """Queue the fetch of ``symbol`` from ``source`` for a worker, in the name of ``caller``.

    Raises:
      UnknownSource: no such source. InvalidRequest: no ticker, hours out of range, or no name of a caller.
      RedisUnreachable: there is no queue without Redis.
    """
    return Handle(await drive(put(source, symbol, hours, caller=caller)))
