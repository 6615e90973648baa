"""Producers: queue a fetch by the name of its actor, and wait for its outcome."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tbcache.io import now, run
from tbcache.io.singleton import singleton
from tbcache.models import FetchRequest, Lane, Outcome
from tbcache.models.error import ResultTimeout, TbcacheError
from tbcache.models.untrusted import printable, whole_number
from tbcache.queue.account import account_for, caller_name
from tbcache.queue.job import DeadLetter, Deaths, QueueDepth, decode_result, message
from tbcache.queue.script import ENQUEUE, Enqueue, queue_keys
from tbcache.settings import Settings, get_settings, get_source
from tbcache.store import Store, get_store
from tbcache.store.wire import MICROS, to_micros, to_time

#: How often a caller who waits looks whether there is still a job to wait for.
LOOK_SECONDS = 5.0
#: How many dead jobs are queued again at a time.
MOST_RETRIED = 1000


@dataclass(frozen=True, slots=True)
class Handle:
    """A queued fetch. ``is_new`` is False when it joined one that was queued already."""

    request: FetchRequest
    job_id: str
    is_new: bool
    _store: Store = field(repr=False, compare=False)

    def result(self, timeout: float | None = None) -> Outcome:
        """Wait for the outcome, ``timeout`` seconds at most (None: until it comes).

        Raises:
          ResultTimeout: it did not come in time; the job goes on.
          UpstreamError: what the upstream answered instead. RedisUnreachable: Redis went away.
        """
        return run(self.arrival(timeout))

    async def arrival(self, timeout: float | None = None) -> Outcome:
        """:meth:`result`, in the world that it is awaited in."""
        key = self._store.keys.result(self.request.source, self.job_id)
        give_up = None if timeout is None else now() + timeout
        look_at = now() + LOOK_SECONDS
        while True:
            left = LOOK_SECONDS if give_up is None else give_up - now()
            found = await self._store.first(key, min(max(left, 0.001), LOOK_SECONDS))
            if found is not None:
                return decode_result(found).get(self.request.source)
            if now() >= look_at:
                look_at = now() + LOOK_SECONDS
                if await self._is_lost(key):
                    raise TbcacheError(
                        f"{self.request.source} {self.request.symbol}: Redis has lost the job; queue it again"
                    )
            if give_up is not None and now() >= give_up:
                raise ResultTimeout(
                    f"{self.request.source} {self.request.symbol}: no result within {timeout:g} s; "
                    "the job goes on. Is a worker running? `tbcache status` tells."
                )

    async def _is_lost(self, result: str) -> bool:
        """True when neither the job nor its result is in Redis any more."""
        jobs = self._store.keys.queue(self.request.source, "jobs")
        # The job is looked for first: one that ends in between leaves its result.
        if await self._store.command("HEXISTS", jobs, self.job_id):
            return False
        return not await self._store.command("EXISTS", result)


class Queue:
    """Every source's queue, from the producer's side."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings

    def enqueue(
        self,
        request: FetchRequest,
        lane: Lane = "interactive",
        *,
        delay_seconds: float = 0.0,
        needed: float = 0.0,
        caller: str | None = None,
    ) -> Handle:
        """Queue one fetch, or join the one that is queued for the same answer.

        ``caller`` is in whose name; the thread's, or the process's own, where it is None.

        Raises:
          InvalidRequest: no name of a caller. RedisUnreachable: there is no queue without Redis.
        """
        return run(self.put(request, lane, delay_seconds=delay_seconds, needed=needed, caller=caller))

    async def put(
        self,
        request: FetchRequest,
        lane: Lane = "interactive",
        *,
        delay_seconds: float = 0.0,
        needed: float = 0.0,
        caller: str | None = None,
    ) -> Handle:
        """:meth:`enqueue`, in the world that it is awaited in."""
        name = caller_name(caller, self._settings)
        account = account_for(name, self._settings)
        job = message(request, lane, needed, name)
        keys, source = self._store.keys, request.source
        ask = Enqueue(
            queue=queue_keys(keys, source),
            clears=keys.clears(source),
            id=job.message_id,
            message=job.encode(),
            key=request.key,
            lane=lane,
            delay_us=to_micros(delay_seconds),
            charge=get_source(source, self._settings).charge,
            caller=account.caller,
            stride=account.stride,
        )
        queued = await self._store.ask(ENQUEUE, ask)
        return Handle(request, queued.id, queued.is_new, self._store)

    def depth(self, source: str) -> QueueDepth:
        """How much of ``source`` waits, runs and died.

        Raises:
          RedisUnreachable: there is no queue without Redis.
        """
        keys = self._store.keys
        with self._store.guard():
            pipe: Any = self._store.client.pipeline(transaction=False)
            for part in ("interactive", "prewarm", "delayed", "claims", "dead", "suspects"):
                pipe.zcard(keys.queue(source, part))
            # A key of another type counts as empty.
            counts = [whole_number(count) or 0 for count in pipe.execute(raise_on_error=False)]
            return QueueDepth(source, *counts)

    def depths(self, sources: Iterable[str]) -> list[QueueDepth]:
        return [self.depth(source) for source in sources]

    def deaths(self, source: str, since: datetime) -> Deaths | None:
        """The jobs of ``source`` that died since a moment; None where none did.

        Raises:
          RedisUnreachable: there is no queue without Redis.
        """
        dead, reasons = (self._store.keys.queue(source, part) for part in ("dead", "reasons"))
        with self._store.guard():
            died: Any = self._store.client.zrange(
                dead, since.timestamp() * MICROS, "+inf", byscore=True, withscores=True
            )
            if not died:
                return None
            reason: Any = self._store.client.hget(reasons, died[-1][0])
        words = printable(reason or b"nobody knows why")
        return Deaths(source, len(died), to_time(died[0][1]), to_time(died[-1][1]), words)

    def forget_dead(self, source: str) -> int:
        """Forget the jobs of ``source`` that died; how many.

        Raises:
          RedisUnreachable: there is no queue without Redis.
        """
        with self._store.guard():
            pipe: Any = self._store.client.pipeline(transaction=False)
            pipe.zcard(self._store.keys.queue(source, "dead"))
            for part in ("dead", "dead-jobs", "reasons"):
                pipe.unlink(self._store.keys.queue(source, part))
            return whole_number(pipe.execute(raise_on_error=False)[0]) or 0

    def retry_dead(self, source: str, most: int = MOST_RETRIED) -> int:
        """Queue again the fetches of ``source`` that died last, at most ``most``; how many.

        What is no fetch, or is no longer one that the source can answer, stays among the dead.

        Raises:
          RedisUnreachable: there is no queue without Redis.
        """
        known, count = get_source(source, self._settings), 0
        for letter in self.dead_letters(source, most):
            asked = letter.asked()
            if asked is None or asked[0].hours > known.max_hours:
                continue
            request, lane, needed = asked
            # It is queued before it is forgotten: where this breaks off in between, a second job of the same
            # fetch joins the first.
            self.enqueue(request, lane, needed=needed)
            self._forget(letter)
            count += 1
        return count

    def _forget(self, letter: DeadLetter) -> None:
        part = functools.partial(self._store.keys.queue, letter.source)
        with self._store.guard():
            pipe: Any = self._store.client.pipeline(transaction=False)
            pipe.zrem(part("dead"), letter.job_id)
            pipe.hdel(part("dead-jobs"), letter.job_id)
            pipe.hdel(part("reasons"), letter.job_id)
            pipe.execute()

    def dead_letters(self, source: str, most: int = 10) -> list[DeadLetter]:
        """The jobs of ``source`` that died last, and why; at most ``most``.

        Raises:
          RedisUnreachable: there is no queue without Redis.
        """
        part = functools.partial(self._store.keys.queue, source)
        with self._store.guard():
            died: Any = self._store.client.zrange(part("dead"), 0, most - 1, desc=True, withscores=True)
            pipe: Any = self._store.client.pipeline(transaction=False)
            for job_id, _ in died:
                pipe.hget(part("reasons"), job_id)
                pipe.hget(part("dead-jobs"), job_id)
            texts = [(text or b"").decode(errors="replace") for text in pipe.execute()]
        return [
            DeadLetter(source, job_id.decode(errors="replace"), to_time(stamp), reason, text)
            for (job_id, stamp), reason, text in zip(died, texts[::2], texts[1::2], strict=True)
        ]


@singleton
def get_queue() -> Queue:
    """The queue as this process's settings say."""
    return Queue(get_store(), get_settings())


def enqueue(source: str, symbol: str, hours: int = 24, *, caller: str | None = None) -> Handle:
    """Queue the fetch of ``symbol`` from ``source`` for a worker, in the name of ``caller``.

    Raises:
      UnknownSource: no such source. InvalidRequest: no ticker, hours out of range, or no name of a caller.
      RedisUnreachable: there is no queue without Redis.
    """
    return run(put(source, symbol, hours, caller=caller))


async def put(source: str, symbol: str, hours: int = 24, *, caller: str | None = None) -> Handle:
    """:func:`enqueue`, in the world that it is awaited in."""
    return await get_queue().put(get_source(source, get_settings()).request(symbol, hours), caller=caller)
