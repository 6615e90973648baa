"""Producers of jobs, awaited."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, overload

from tbcache.io.loop import drive
from tbcache.models import FetchRequest, Outcome
from tbcache.models.job import EnqueueState
from tbcache.queue import Explanation, put
from tbcache.queue import Handle as BlockingHandle
from tbcache.queue import QueuedJob as BlockingJob
from tbcache.queue.many import Message, put_many


class QueuedJob:
    """What became of an ask for a job; see :class:`tbcache.QueuedJob`, which ``blocking`` is."""

    def __init__(self, blocking: BlockingJob) -> None:
        self.blocking = blocking

    def __repr__(self) -> str:
        return repr(self.blocking)

    @property
    def queue(self) -> str:
        """See :attr:`tbcache.QueuedJob.queue`."""
        return self.blocking.queue

    @property
    def job_id(self) -> str:
        """See :attr:`tbcache.QueuedJob.job_id`."""
        return self.blocking.job_id

    @property
    def state(self) -> EnqueueState:
        """See :attr:`tbcache.QueuedJob.state`."""
        return self.blocking.state

    @property
    def is_new(self) -> bool:
        """See :attr:`tbcache.QueuedJob.is_new`."""
        return self.blocking.is_new

    @property
    def starts_at(self) -> datetime | None:
        """See :attr:`tbcache.QueuedJob.starts_at`."""
        return self.blocking.starts_at

    async def explain(self) -> Explanation:
        """See :meth:`tbcache.QueuedJob.explain`."""
        return await drive(self.blocking.explanation())


class Handle(QueuedJob):
    """A queued fetch; see :class:`tbcache.Handle`, which ``blocking`` is."""

    def __init__(self, blocking: BlockingHandle) -> None:
        super().__init__(blocking)
        self._handle = blocking

    @property
    def request(self) -> FetchRequest:
        """See :attr:`tbcache.Handle.request`."""
        return self._handle.request

    async def result(self, timeout: float | None = None) -> Outcome:
        """See :meth:`tbcache.Handle.result`."""
        return await drive(self._handle.arrival(timeout))


async def enqueue(
    source: str,
    symbol: str,
    hours: int = 24,
    *,
    fresh_after: datetime | None = None,
    caller: str | None = None,
) -> Handle:
    """See :func:`tbcache.enqueue`."""
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
    """See :func:`tbcache.enqueue_many`."""
    placed = await drive(put_many(jobs, fresh_after=fresh_after, caller=caller))
    return [Handle(one) if isinstance(one, BlockingHandle) else QueuedJob(one) for one in placed]
