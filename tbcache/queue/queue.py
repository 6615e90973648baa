"""The queues of a process: what may be put into them, asked of them, and taken out again."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Unpack, cast

from tbcache.io import run, utc_now
from tbcache.io.singleton import singleton
from tbcache.models import FetchRequest, Lane, Outcome
from tbcache.models.history import past
from tbcache.models.job import Explanation
from tbcache.models.untrusted import printable, whole_number
from tbcache.queue.account import caller_name
from tbcache.queue.batch import asks_for, put_all
from tbcache.queue.dead import DeadLetters
from tbcache.queue.explain import explain, pacing_source
from tbcache.queue.handle import Handle, starts_of
from tbcache.queue.job import Deaths, QueueDepth, Result, encode_result
from tbcache.queue.listing import JobFilter, JobPage, ListedJob, Listing
from tbcache.queue.script import (
    BACKLOG,
    CANCEL,
    PROMOTE,
    Backlog,
    BacklogReply,
    Cancel,
    Moved,
    Promote,
    Queued,
    queue_keys,
)
from tbcache.queue.trace import record_sent, sending
from tbcache.queue.wants import JobOptions, Wants, is_follow_up
from tbcache.queue.weight import weights_of
from tbcache.settings import Settings, Source, get_settings, get_source
from tbcache.store import Store, get_store
from tbcache.store.codec import DecodeError, decode_sentiment
from tbcache.store.envelope import fresh_until, is_credible, value_of
from tbcache.store.reply import pairs
from tbcache.store.wire import MICROS, pack_limits, to_micros, to_time

#: In place of an outcome that cannot be read.
DAMAGED: Any = object()


class Queue:
    """Every source's queue, from the producer's side."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings

    def enqueue(
        self, request: FetchRequest, lane: Lane = "interactive", **options: Unpack[JobOptions]
    ) -> Handle:
        """Queue one fetch, or join the one that is queued for the same answer; none where that is cached.

        Raises:
          RedisUnreachable: there is no queue without Redis. Paused: an operator drains the queue.
          Fenced: another leads by now.
          InvalidRequest: ``fresh_after`` has no zone, or is still to come; no name of a caller.
        """
        return run(self.put(request, lane, **options))

    async def put(
        self, request: FetchRequest, lane: Lane = "interactive", **options: Unpack[JobOptions]
    ) -> Handle:
        """:meth:`enqueue`, in the world that it is awaited in."""
        (handle,) = await self.put_many([request], lane, **options)
        return handle

    def enqueue_many(
        self, requests: Sequence[FetchRequest], lane: Lane = "interactive", **options: Unpack[JobOptions]
    ) -> list[Handle]:
        """Queue fetches of any sources, as :meth:`enqueue` does each; what became of them, in their order.

        Raises:
          RedisUnreachable: there is no queue without Redis. Paused: an operator drains one of the queues. The
            first of them may be queued by then.
          InvalidRequest: ``fresh_after`` has no zone, or is still to come; no name of a caller.
        """
        return run(self.put_many(requests, lane, is_estimated=True, **options))

    async def put_many(
        self,
        requests: Sequence[FetchRequest],
        lane: Lane = "interactive",
        *,
        is_estimated: bool = False,
        **options: Unpack[JobOptions],
    ) -> list[Handle]:
        """:meth:`enqueue_many`, in the world that it is awaited in. ``is_estimated``: each says when it
        starts, which takes one more call of Redis for each source."""
        name, found = caller_name(options.get("caller"), self._settings), dict[int, Handle]()
        account = await weights_of(self._store).account(name, self._settings)
        wants = Wants(
            account,
            lane,
            delay_seconds=options.get("delay_seconds", 0.0),
            needed=options.get("needed", 0.0),
            token=options.get("token", 0),
            is_follow_up=is_follow_up(),
            is_new=lane == "interactive",
        )
        if valid_seconds := options.get("valid_seconds"):
            until = self._store.clock.today.timestamp() + wants.delay_seconds + valid_seconds
            wants = wants._replace(valid_until=until)
        fresh_after = options.get("fresh_after")
        for source, places in _by_source(requests).items():
            after = 0.0 if fresh_after is None else await self._server_time(source, fresh_after)
            charge = get_source(source, self._settings).charge
            some = [requests[place] for place in places]
            wanted = wants._replace(after=after, charge=charge)
            handles = await self._put_all(source, some, name, wanted, is_estimated=is_estimated)
            found.update(zip(places, handles, strict=True))
        return [found[place] for place in range(len(requests))]

    async def _put_all(
        self, source: str, requests: Sequence[FetchRequest], name: str, wants: Wants, *, is_estimated: bool
    ) -> list[Handle]:
        with sending(source) as sent:
            carrier = sent.carrier()
            asks = asks_for(requests, wants, name, carrier)
            queued = await put_all(self._store, source, asks, wants)
            record_sent(sent, queued)
        outcomes = [self._outcome(*one) for one in zip(requests, queued, strict=True)]
        if damaged := [place for place, found in enumerate(outcomes) if found is DAMAGED]:
            # A worker finds it damaged as well, and fetches it anew.
            anew = wants._replace(charge="request", is_new=False)
            again = await put_all(self._store, source, [asks[place] for place in damaged], anew)
            for place, one in zip(damaged, again, strict=True):
                queued[place], outcomes[place] = one, None
        moments = await starts_of(self._store, source, queued) if is_estimated else itertools.repeat(None)
        return [
            Handle(
                queue=source,
                job_id=one.id,
                state=one.state,
                starts_at=moment,
                _store=self._store,
                request=request,
                _outcome=outcome,
            )
            for request, one, outcome, moment in zip(requests, queued, outcomes, moments, strict=False)
        ]

    def _outcome(self, request: FetchRequest, queued: Queued) -> Outcome | None:
        """That of a hit; :data:`DAMAGED` where its entry is."""
        if queued.state != "hit":
            return None
        today, source = self._store.clock.today, get_source(request.source, self._settings)
        if not is_credible(fresh_until(queued.entry), today.timestamp() * MICROS, source.cache_ttl):
            return DAMAGED  # type: ignore[no-any-return]
        try:
            sentiment = decode_sentiment(value_of(queued.entry))
        except DecodeError:
            return DAMAGED  # type: ignore[no-any-return]
        age = (today - sentiment.as_of).total_seconds()
        return Outcome(request, sentiment, "cache", max(0.0, age))

    def explain(self, queue: str, job_id: str) -> Explanation:
        """Where a job of ``queue`` stands, which limit it waits for, and when it will start."""
        source = pacing_source(queue, self._settings)
        return run(explain(self._store, self._settings, source, job_id))

    async def _server_time(self, source: str, moment: datetime) -> float:
        """The moment by the clock of the server that has the source's queue, in seconds since 1970.

        Raises:
          InvalidRequest: it is none, or is still to come.
        """
        at = utc_now()
        seconds = (at - past("fresh_after", moment, at)).total_seconds()
        return await self._store.clock.now_us(source) / MICROS - max(0.0, seconds)

    def depth(self, queue: str) -> QueueDepth:
        """How much of ``queue`` waits, runs and died."""
        keys = self._store.keys
        parts = ("interactive", "prewarm", "delayed", "claims", "dead", "suspects")
        found = self._store.execute(*(("ZCARD", keys.queue(queue, part)) for part in parts))
        # A key of another type counts as empty.
        return QueueDepth(queue, *(whole_number(count) or 0 for count in found))

    def backlog(self, source: Source, seconds: float) -> BacklogReply:
        """What waits in the queue of ``source``, and how much of it may go within so many seconds."""
        keys, name = self._store.keys, source.name
        limits, horizon = pack_limits(source.limits), to_micros(seconds)
        ask = Backlog(
            queue_keys(keys, name), keys.slots(name), keys.state(name), limits, source.cost, horizon
        )
        return self._store.run(BACKLOG, ask)

    def deaths(self, queue: str, since: datetime) -> Deaths | None:
        """The jobs of ``queue`` that died since a moment; None where none did."""
        dead, reasons = (self._store.keys.queue(queue, part) for part in ("dead", "reasons"))
        died = pairs(
            self._store.call("ZRANGE", dead, since.timestamp() * MICROS, "+inf", "BYSCORE", "WITHSCORES")
        )
        if not died:
            return None
        (last, _), (_, first_at) = died[-1], died[0]
        words = printable(self._store.call("HGET", reasons, last) or b"nobody knows why")
        return Deaths(queue, len(died), to_time(float(first_at)), words)

    @property
    def dead(self) -> DeadLetters:
        """The jobs that died."""
        return DeadLetters(self._store, self._settings)

    def jobs(self, queue: str, where: JobFilter, most: int) -> list[ListedJob]:
        """The jobs of a queue that are meant, in the order in which they are to start, at most so many."""
        return Listing(self._store, self._settings, queue).search(where, most)

    def page(self, queue: str, where: JobFilter, most: int, skip: int) -> JobPage:
        """The same, without the first ``skip`` jobs of the queue, and where it goes on."""
        return Listing(self._store, self._settings, queue).page(where, most, skip)

    def cancel(self, queue: str, job_id: str, why: str) -> Moved:
        """Take a job out of its queue, and have its worker stop one that runs. ``why`` is what those who wait
        for it are told."""
        (state,) = self._cancel(queue, (job_id,), why, stops_running=True)
        return state

    def cancel_waiting(self, queue: str, job_ids: Sequence[str], why: str) -> Sequence[Moved]:
        """:meth:`cancel` of several in one call, but for those that run."""
        return self._cancel(queue, job_ids, why, stops_running=False)

    def _cancel(
        self, queue: str, job_ids: Sequence[str], why: str, *, stops_running: bool
    ) -> Sequence[Moved]:
        result = encode_result(Result(message=why))
        ask = Cancel(queue_keys(self._store.keys, queue), result, stops_running, tuple(job_ids))
        return cast("Sequence[Moved]", self._store.run(CANCEL, ask))

    def waiting(self, queue: str, where: JobFilter) -> list[str]:
        """The ids of the jobs of a queue that are meant and in no worker's hands."""
        return Listing(self._store, self._settings, queue).waiting(where)

    def promote(self, queue: str, job_id: str) -> Moved:
        """Put a job that waits in front of its lane."""
        return self._store.run(PROMOTE, Promote(queue_keys(self._store.keys, queue), job_id)).state


@singleton
def get_queue() -> Queue:
    """The queue as this process's settings say."""
    return Queue(get_store(), get_settings())


def _by_source(requests: Sequence[FetchRequest]) -> dict[str, list[int]]:
    """The places of each source's requests."""
    found: dict[str, list[int]] = {}
    for place, request in enumerate(requests):
        found.setdefault(request.source, []).append(place)
    return found


def enqueue(
    source: str,
    symbol: str,
    hours: int = 24,
    *,
    fresh_after: datetime | None = None,
    caller: str | None = None,
) -> Handle:
    """Queue the fetch of ``symbol`` from ``source`` for a worker, unless its answer is in the cache.

    With ``fresh_after`` the answer is one whose load begins after that moment. ``caller`` is in whose name it
    is fetched; the thread's, or the process's own, where it is None.

    Raises:
      UnknownSource: no such source. RedisUnreachable: there is no queue without Redis.
      Paused: an operator drains the queue.
      InvalidRequest: no ticker, hours out of range, a moment without a zone or still to come, or no name of a
        caller.
    """
    return run(put(source, symbol, hours, fresh_after=fresh_after, caller=caller))


async def put(
    source: str,
    symbol: str,
    hours: int = 24,
    *,
    fresh_after: datetime | None = None,
    caller: str | None = None,
) -> Handle:
    """:func:`enqueue`, in the world that it is awaited in."""
    request = get_source(source, get_settings()).request(symbol, hours)
    return await get_queue().put(request, fresh_after=fresh_after, caller=caller)
