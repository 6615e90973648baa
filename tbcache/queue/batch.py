"""Asks for jobs, on their way into a queue: so many in one call that Redis is not blocked for long."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta

from tbcache.io import now, run, utc_now
from tbcache.io.trace import NOWHERE, Carrier
from tbcache.limiter.ask import TRIES
from tbcache.limiter.closure import PAUSE_SECONDS
from tbcache.models import FetchRequest
from tbcache.models.error import Paused
from tbcache.models.untrusted import printable
from tbcache.monitoring import monitor_of
from tbcache.queue.fence import Fenced
from tbcache.queue.job import encoded
from tbcache.queue.script import ENQUEUE, SEND, Enqueue, JobAsk, Queued, Send, SendKeys, queue_keys, queued_of
from tbcache.queue.wants import Wants
from tbcache.store import Keys, Store, Unavailable
from tbcache.store.clock import Bounds
from tbcache.store.fault import LATE
from tbcache.store.script import Argument
from tbcache.store.wire import to_micros

#: In one call, at most: Redis takes about 3 ms for as many, and does nothing else meanwhile. A hash that gets
#: more than 512 fields at once is none of the small ones from the first, which Redis searches field by field.
MOST_ASKS = 520
MOST_BYTES = 262_144
#: An ask with these is carried out whenever it comes.
ALWAYS = Bounds(0, 0)


def asks_for(
    requests: Sequence[FetchRequest], wants: Wants, name: str, carrier: Carrier = NOWHERE
) -> list[JobAsk]:
    """The asks for fetches of one source in the name of a caller, sent in the span of ``carrier``."""
    messages = encoded(requests, wants, name, carrier)
    return [JobAsk(*message, request.key) for message, request in zip(messages, requests, strict=True)]


async def put_all(
    store: Store, queue: str, asks: Sequence[JobAsk], wants: Wants, queued: list[Queued] | None = None
) -> list[Queued]:
    """Queue jobs; what became of each ask, in their order: ``queued``, also where an error comes of the rest.
    Hits are counted as those of the account's caller.

    Raises:
      RedisUnreachable: there is no queue without Redis. What was not done in time is not done later: only
        where the answer was lost, as the connection broke, may it be queued; so may the first of many.
      Paused: an operator drains the queue. What was there already is joined all the same.
    """
    queued = [] if queued is None else queued
    for chunk in _chunks(asks):
        queued.extend(await _put_in_time(store, queue, chunk, wants))
    for one in queued:
        if one.state == "fenced":
            raise Fenced(queue, int(one.entry))
        if one.state == "refused":
            raise drained(queue, printable(one.entry))
    return queued


async def _put_in_time(store: Store, queue: str, asks: Sequence[JobAsk], wants: Wants) -> list[Queued]:
    """Queue so many as go in one call; once more where that was not in time by what is known of the server's
    clock."""
    clock = store.clock
    for _ in range(TRIES):
        asked_us = (await clock.bounds_us(queue)).asked_us
        # Who only sends may have heard of that clock long ago: the earliest moment of the ask counts.
        bounds = Bounds(asked_us, asked_us + clock.answered_us)
        asked_at = now()
        replied = await store.ask(ENQUEUE, _call(store, queue, asks, wants, bounds))
        queued = queued_of((ask.id for ask in asks), replied)
        if queued[0].state != "late":
            _count(store, queue, asks, queued, wants)
            return queued
        await clock.learn(int(queued[0].entry), asked_at, queue)
    # It is there, and has done nothing: what other threads ask of it may be in time.
    raise Unavailable(store.address, LATE, is_passing=True)


def put(store: Store, queue: str, ask: JobAsk, wants: Wants) -> Queued:
    """:func:`put_all` of one ask, for threads. Where nothing is to be known of it but the job itself, the
    shortest way is tried first: whatever is in that one's way is for ENQUEUE."""
    # By an empty id SEND would reply that it has done nothing.
    is_more = not ask.id or ask.key or wants.delay_seconds or wants.token or wants.is_requeued
    if wants.lane == "interactive" and not is_more:
        asked_us = store.clock.asked_us(queue) or run(store.clock.bounds_us(queue)).asked_us
        sent = store.run_directly(
            SEND,
            Send(
                _send_keys(store.keys.namespace, queue),
                ask.id,
                ask.message,
                wants.account.caller,
                str(wants.account.stride),
                asked_us,
                asked_us + store.clock.answered_us,
            ),
        )
        if sent:
            return Queued(sent.decode())
    (queued,) = run(put_all(store, queue, [ask], wants))
    return queued


# Each job that is sent asks for them.
@functools.lru_cache(maxsize=256)
def _send_keys(namespace: str, queue: str) -> SendKeys:
    keys = Keys(namespace)
    parts = queue_keys(keys, queue)
    return SendKeys(
        parts.interactive, parts.interactive_tags, parts.jobs, parts.lanes, parts.bell, keys.state(queue)
    )


def _count(store: Store, queue: str, asks: Iterable[JobAsk], queued: Sequence[Queued], wants: Wants) -> None:
    # A pre-warm that is fresh by now is nobody's hit.
    if wants.lane == "prewarm" or (not wants.is_new and all(one.state != "hit" for one in queued)):
        return
    record, caller = monitor_of(store).ask_counts.record, wants.account.caller
    for ask, one in zip(asks, queued, strict=True):
        record(queue, "hit" if one.state == "hit" else "pending", ask.key if wants.is_new else "", caller)


def drained(queue: str, order: str) -> Paused:
    """The error for a queue that an operator drains. Nobody knows until when: it says to look again soon."""
    return Paused(queue, utc_now() + timedelta(seconds=PAUSE_SECONDS), order)


def _call(store: Store, queue: str, asks: Iterable[JobAsk], wants: Wants, bounds: Bounds = ALWAYS) -> Enqueue:
    parts: tuple[Argument, ...] = tuple(itertools.chain.from_iterable(asks))
    return Enqueue(
        queue=queue_keys(store.keys, queue),
        state=store.keys.state(queue),
        clears=store.keys.clears(queue),
        fence=store.keys.fence(queue),
        token=wants.token,
        lane=wants.lane,
        delay_us=to_micros(wants.delay_seconds),
        charge=wants.charge,
        needed=wants.needed,
        after=wants.after,
        caller=wants.account.caller,
        stride=str(wants.account.stride),
        is_requeued=wants.is_requeued,
        is_follow_up=wants.is_follow_up,
        asked_us=bounds.asked_us,
        deadline_us=bounds.deadline_us,
        asks=parts,
    )


def _chunks(asks: Sequence[JobAsk]) -> Iterator[Sequence[JobAsk]]:
    begin = size = 0
    for at, ask in enumerate(asks):
        size += len(ask.message)
        if at > begin and (at - begin == MOST_ASKS or size > MOST_BYTES):
            yield asks[begin:at]
            begin, size = at, len(ask.message)
    if begin < len(asks):
        yield asks[begin:]
