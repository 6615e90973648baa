"""Producers of jobs, awaited."""

from __future__ import annotations

from datetime import datetime

from tbcache.io.loop import drive
from tbcache.models import FetchRequest, Outcome
from tbcache.queue import Handle as BlockingHandle
from tbcache.queue import put
from tbcache.queue.script import State


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
    def state(self) -> State:
        """What became of the ask: "hit", "joined" or "queued"; see :class:`tbcache.Handle`."""
        return self.blocking.state

    @property
    def is_new(self) -> bool:
        """False where no job was queued for it: there was one, or the answer."""
        return self.blocking.is_new

    async def result(self, timeout: float | None = None) -> Outcome:
        """Wait for the outcome, ``timeout`` seconds at most (None: until it comes).

        Raises:
          ResultTimeout: it did not come in time; the job goes on.
          UpstreamError: what the upstream answered instead. RedisUnreachable: Redis went away.
        """
        return await drive(self.blocking.arrival(timeout))


async def enqueue(
    source: str,
    symbol: str,
    hours: int = 24,
    *,
    fresh_after: datetime | None = None,
    caller: str | None = None,
) -> Handle:
    """Queue the fetch of ``symbol`` from ``source`` for a worker, in the name of ``caller``; see
    :func:`tbcache.enqueue`.

    Raises:
      UnknownSource: no such source. RedisUnreachable: there is no queue without Redis.
      InvalidRequest: no ticker, hours out of range, a moment without a zone or still to come, or no name of a
        caller.
    """
    return Handle(await drive(put(source, symbol, hours, fresh_after=fresh_after, caller=caller)))
