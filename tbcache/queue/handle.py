"""What whoever has queued a job holds: where it stands, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from tbcache.io import now, run
from tbcache.io.trace import carrier_in
from tbcache.models import FetchRequest, Outcome
from tbcache.models.error import ResultTimeout, TbcacheError
from tbcache.models.job import EnqueueState, Explanation
from tbcache.queue.explain import explain, pacing_source, prospect_of
from tbcache.queue.job import Result, decode_result
from tbcache.queue.script import Queued
from tbcache.queue.trace import awaiting
from tbcache.store import Store

#: How often a caller who waits looks whether there is still a job to wait for.
LOOK_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedJob:
    """What became of an ask for a job. ``state`` is "queued" where a job is queued for it, "joined" where one
    of the same fetch was queued before, and "hit" where the answer was in the cache.

    ``starts_at`` is when the job will start, by what was known when it was queued: None of a hit, where no
    worker takes the queue's jobs, and where it was not asked for (see :func:`tbcache.enqueue_many`).
    """

    queue: str
    job_id: str
    state: EnqueueState
    starts_at: datetime | None = None
    _store: Store = field(repr=False, compare=False)

    @property
    def is_new(self) -> bool:
        """False where no job was queued for it: there was one, or the answer."""
        return self.state == "queued"

    def explain(self) -> Explanation:
        """Where the job stands now, which limit it waits for, and when it will start.

        Raises:
          RedisUnreachable: there is no queue without Redis.
        """
        return run(self.explanation())

    async def explanation(self) -> Explanation:
        """:meth:`explain`, in the world that it is awaited in."""
        settings = self._store.settings
        return await explain(self._store, settings, pacing_source(self.queue, settings), self.job_id)

    async def over(self, timeout: float | None = None) -> None:
        """Return once the job, the call of a fetcher, is over, or lost.

        Raises:
          ResultTimeout: it is not within ``timeout`` seconds. TbcacheError: it died, or was cancelled.
          RedisUnreachable: Redis went away.
        """
        if self.state == "hit":
            return
        with awaiting(self.queue, self.job_id):
            found = await self._await_result(timeout)
        if found is not None and not found.is_plain_end:
            found.get(self.queue)

    @property
    def _what(self) -> str:
        return f"{self.queue} {self.job_id}"

    async def _await_result(self, timeout: float | None) -> Result | None:
        """What the job came to; None where it is in Redis no more, and its result neither."""
        key = self._store.keys.result(self.queue, self.job_id)
        give_up = None if timeout is None else now() + timeout
        look_at = now() + LOOK_SECONDS
        while True:
            left = LOOK_SECONDS if give_up is None else give_up - now()
            found = await self._store.first(key, min(max(left, 0.001), LOOK_SECONDS))
            if found is not None:
                return decode_result(found)
            if now() >= look_at:
                look_at = now() + LOOK_SECONDS
                if await self._is_lost(key):
                    return None
            if give_up is not None and now() >= give_up:
                why = await self._put_off()
                raise ResultTimeout(
                    f"{self._what}: no result within {timeout:.3g} s{why}; the job goes on, and "
                    f"`tbcache queue explain {self.job_id}` says what it waits for"
                )

    async def _put_off(self) -> str:
        """Why the job was put off, as after a failed try; "" where it was not, or nobody can say."""
        try:
            found = await self.explanation()
        except TbcacheError:
            return ""
        return f" ({found.cause})" if found.state == "delayed" else ""

    async def _is_lost(self, result: str) -> bool:
        """True when neither the job nor its result is in Redis any more."""
        jobs = self._store.keys.queue(self.queue, "jobs")
        # The job is looked for first: one that ends in between leaves its result.
        if await self._store.command("HEXISTS", jobs, self.job_id):
            return False
        return not await self._store.command("EXISTS", result)


@dataclass(frozen=True, slots=True, kw_only=True)
class Handle(QueuedJob):
    """What became of an ask for a fetch; see :class:`QueuedJob`."""

    request: FetchRequest
    _outcome: Outcome | None = field(default=None, repr=False, compare=False)

    @property
    def _what(self) -> str:
        return f"{self.request.source} {self.request.symbol}"

    def result(self, timeout: float | None = None) -> Outcome:
        """Wait for the outcome, ``timeout`` seconds at most (None: until it comes).

        Raises:
          ResultTimeout: it did not come in time; the job goes on.
          UpstreamError: what the upstream answered instead. RedisUnreachable: Redis went away.
        """
        return run(self.arrival(timeout))

    async def arrival(self, timeout: float | None = None) -> Outcome:
        """:meth:`result`, in the world that it is awaited in."""
        if self._outcome is not None:
            return self._outcome
        with awaiting(self.queue, self.job_id) as waiting:
            found = await self._await_result(timeout)
            if found is None:
                raise TbcacheError(f"{self._what}: Redis has lost the job; queue it again")
            waiting.link(carrier_in(found.carrier))
            return found.get(self.request.source)


async def starts_of(store: Store, queue: str, queued: Sequence[Queued]) -> list[datetime | None]:
    """When jobs of one queue will start, as far as that is known; None of a hit.

    Raises:
      RedisUnreachable: there is no queue without Redis.
    """
    ids = [one.id for one in queued if one.state != "hit"]
    if not ids:
        return [None] * len(queued)
    prospect = await prospect_of(store, store.settings, pacing_source(queue, store.settings), ids)
    moments = prospect.starts_after_queueing()
    return [None if one.state == "hit" else next(moments) for one in queued]
