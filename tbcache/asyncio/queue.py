"""Producers of jobs, awaited."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, overload

from tbcache.io.loop import drive
from tbcache.models import FetchRequest, Outcome
from tbcache.queue import Explanation, put
from tbcache.queue import Handle as BlockingHandle
from tbcache.queue import QueuedJob as BlockingJob
from tbcache.queue.many import Message, put_many
from tbcache.queue.script import EnqueueState


class QueuedJob:
    """What became of an ask for a job; see :class:`tbcache.QueuedJob`, which ``blocking`` is."""

    def __init__(self, blocking: BlockingJob) -> None:
        self.blocking = blocking

    def __repr__(self) -> str:
        return repr(self.blocking)

    @property
    def queue(self) -> str:
        """The name of its queue."""
        return self.blocking.queue

    @property
    def job_id(self) -> str:
        """The name of the job."""
        return self.blocking.job_id

    @property
    def state(self) -> EnqueueState:
        """What became of the ask: "hit", "joined" or "queued"; see :class:`tbcache.QueuedJob`."""
        return self.blocking.state

    @property
    def is_new(self) -> bool:
        """False where no job was queued for it: there was one, or the answer."""
        return self.blocking.is_new

    @property
    def starts_at(self) -> datetime | None:
        """When it will start, as far as that was known when it was queued."""
        return self.blocking.starts_at

    async def explain(self) -> Explanation:
        """Where the job stands now, which limit it waits for, and when it will start.

        Raises:
          RedisUnreachable: there is no queue without Redis.
        """
        return await drive(self.blocking.explanation())


class Handle(QueuedJob):
    """A queued fetch; see :class:`tbcache.Handle`, which ``blocking`` is."""

    def __init__(self, blocking: BlockingHandle) -> None:
        super().__init__(blocking)
        self._handle = blocking

    @property
    def request(self) -> FetchRequest:
        """What is fetched."""
        return self._handle.request

    async def result(self, timeout: float | None = None) -> Outcome:
        """Wait for the outcome, ``timeout`` seconds at most (None: until it comes).

        Raises:
          ResultTimeout: it did not come in time; the job goes on.
          UpstreamError: what the upstream answered instead. RedisUnreachable: Redis went away.
        """
        return await drive(self._handle.arrival(timeout))


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


@overload
async def enqueue_many(
    jobs: Iterable[FetchRequest], *, fresh_after: datetime | None = None, caller: str | None = None
) -> list[Handle]: ...


@overload
async def enqueue_many(
    jobs: Iterable[FetchRequest | Message],
    *,
    fresh_after: datetime | None = None,
    caller: str | None = None,
) -> list[QueuedJob]: ...


async def enqueue_many(
    jobs: Iterable[Any], *, fresh_after: datetime | None = None, caller: str | None = None
) -> list[Any]:
    """Queue many jobs in few calls of Redis; see :func:`tbcache.enqueue_many`.

    Raises:
      InvalidRequest: what is no job; a fetch that its source cannot answer; a moment without a zone or still
        to come; no name of a caller; more than 100,000. UnknownSource: no such source.
      TypeError: there are messages, and the broker of ``dramatiq.set_broker`` is not tbcache's.
      RedisUnreachable: there is no queue without Redis. Paused: an operator drains one of the queues. The
        first of them may be queued by then.
    """
    placed = await drive(put_many(jobs, fresh_after=fresh_after, caller=caller))
    return [Handle(one) if isinstance(one, BlockingHandle) else QueuedJob(one) for one in placed]
