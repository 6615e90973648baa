"""Many jobs at once: fetches, calls of fetchers, and messages of any actors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, cast, overload

import dramatiq

from tbcache.io import run
from tbcache.models import FetchRequest
from tbcache.models.error import InvalidRequest, Paused, RedisUnreachable
from tbcache.models.untrusted import quoted
from tbcache.queue.account import caller_name
from tbcache.queue.broker import PacingBroker
from tbcache.queue.handle import Handle, QueuedJob
from tbcache.queue.queue import get_queue
from tbcache.settings import get_settings, get_source

#: More are a mistake, or are queued in several calls.
MOST_JOBS = 100_000

Message = dramatiq.Message[Any]


@overload
def enqueue_many(
    jobs: Iterable[FetchRequest], *, fresh_after: datetime | None = None, caller: str | None = None
) -> list[Handle]: ...


@overload
def enqueue_many(
    jobs: Iterable[FetchRequest | Message],
    *,
    fresh_after: datetime | None = None,
    caller: str | None = None,
) -> list[QueuedJob]: ...


def enqueue_many(
    jobs: Iterable[Any], *, fresh_after: datetime | None = None, caller: str | None = None
) -> list[Any]:
    """Queue many jobs in few calls of Redis; what became of each, in their order.

    A job is a :class:`FetchRequest`, or a message: ``actor.message(...)`` of an actor, or of a fetcher. Each
    is a hit, joined or queued, and says when it will start (``starts_at``), as far as the limits, what waits
    before it, and the workers' threads let one know. ``fresh_after`` is as in :func:`enqueue`, for fetches
    alone; ``caller`` is in whose name all are, but for messages that name one.

    Nothing is queued where one of them cannot be.

    Raises:
      InvalidRequest: what is no job; a fetch that its source cannot answer; a moment without a zone or still
        to come; no name of a caller; more than 100,000. UnknownSource: no such source.
      TypeError: there are messages, and the broker of ``dramatiq.set_broker`` is not tbcache's.
      RedisUnreachable: there is no queue without Redis. Paused: an operator drains one of the queues. The
        first of them may be queued by then; ``left`` of the error are the others, to be given to it again.
    """
    return run(put_many(jobs, fresh_after=fresh_after, caller=caller))


async def put_many(
    jobs: Iterable[Any], *, fresh_after: datetime | None = None, caller: str | None = None
) -> list[QueuedJob]:
    """:func:`enqueue_many`, in the world that it is awaited in."""
    wanted = _checked(jobs)
    fetches = [place for place, job in enumerate(wanted) if isinstance(job, FetchRequest)]
    others = [place for place, job in enumerate(wanted) if not isinstance(job, FetchRequest)]
    if others and fresh_after is not None:
        raise InvalidRequest("fresh_after is for fetches, and there are messages among these jobs")
    broker = _broker() if others else None
    found: dict[int, QueuedJob] = {}
    if fetches:
        caller_name(caller, get_settings())
    messages = [_named(cast(Message, wanted[place]), caller) for place in others]
    requests, there = [cast(FetchRequest, wanted[place]) for place in fetches], set[int]()
    try:
        if broker is not None:
            # First, as their arguments are checked on the way.
            found.update(zip(others, await broker.put_many(messages, there=there), strict=True))
        if fetches:
            handles = await get_queue().put_many(
                requests, fresh_after=fresh_after, caller=caller, is_estimated=True
            )
            found.update(zip(fetches, handles, strict=True))
    except (RedisUnreachable, Paused) as error:
        # A fetch that is queued already is joined.
        queued = {others[place] for place in there}
        error.left = [job for place, job in enumerate(wanted) if place not in queued]
        raise
    return [found[place] for place in range(len(wanted))]


def _checked(jobs: Iterable[Any]) -> Sequence[FetchRequest | Message]:
    found: list[FetchRequest | Message] = []
    if not isinstance(jobs, Iterable) or isinstance(jobs, str | bytes | dict):
        raise InvalidRequest(f"jobs {quoted(jobs)} must be a list of fetch requests and messages")
    for job in jobs:
        if len(found) == MOST_JOBS:
            raise InvalidRequest(f"more than {MOST_JOBS:,} jobs at once: queue them in several calls")
        found.append(_check(job, len(found)))
    for source in {job.source for job in found if isinstance(job, FetchRequest)}:
        known = get_source(source, get_settings())
        for job in found:
            if isinstance(job, FetchRequest) and job.source == source and job.hours > known.max_hours:
                known.request(job.symbol, job.hours)
    return found


def _check(job: object, place: int) -> FetchRequest | Message:
    if isinstance(job, FetchRequest | dramatiq.Message):
        return job
    raise InvalidRequest(
        f"job {place}, {quoted(job)}, is neither a FetchRequest nor a message, like actor.message(...)"
    )


def _broker() -> PacingBroker:
    broker = dramatiq.get_broker()
    if not isinstance(broker, PacingBroker):
        kind = type(broker).__name__
        raise TypeError(f"{kind} queues one message at a time: dramatiq.set_broker(tbcache.get_broker())")
    return broker


def _named(message: Message, caller: str | None) -> Message:
    if caller is None or "caller" in message.options:
        return message
    return message.copy(options={**message.options, "caller": caller})
