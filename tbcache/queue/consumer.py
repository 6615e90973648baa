"""The consumer of one source's queue."""

from __future__ import annotations

import contextlib
import itertools
import math
import uuid
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import dramatiq
from dramatiq.broker import Consumer, MessageProxy

from tbcache.io import now, run, world
from tbcache.io.log import get_logger
from tbcache.limiter import Terms, Want, limiter_of
from tbcache.queue.hand import Hand, Job
from tbcache.queue.job import Finish, Result, dead, encode_result
from tbcache.queue.reader import Unknown, Unreadable, read_message
from tbcache.queue.script import (
    DEQUEUE,
    FINISH,
    Dequeue,
    Dequeued,
    FinishJobs,
    HandedOut,
    queue_keys,
    slot_of,
)
from tbcache.queue.thread import Reservation, Threads
from tbcache.settings import Settings, Source
from tbcache.store import Store, Unavailable
from tbcache.store.script import Argument
from tbcache.store.wire import MICROS, pack_limits, to_micros

log = get_logger("tbcache.queue")

CLAIM_SECONDS = 8.0
#: Claims are renewed so many times in the time for which they hold.
RENEWALS = 8
MOST_TRIES = 4
#: For how long a job waits that only a newer worker can read.
UNKNOWN_SECONDS = 5.0
MOST_WARNINGS = 100
#: The ends of so many jobs are told in one call, at most.
MOST_ENDS = 64

UNBEGUN = Finish("back", is_begun=False)


@dataclass(slots=True)
class WorkerContext:
    """What the consumers of one worker have in common. ``claim_seconds`` is for how long a job is a worker's
    that says nothing more; ``actors`` are those that it runs, by name."""

    store: Store
    settings: Settings
    threads: Threads
    actors: Mapping[str, dramatiq.Actor[Any, Any]]
    claim_seconds: float = CLAIM_SECONDS


class PacingConsumer(Consumer):
    """Pops as many jobs as there are idle threads and free slots, and no more.

    Jobs in hand are claimed for some seconds and renewed several times in these: when this
    process dies, any other consumer of the source takes them up: at the first death as before, and
    at later ones each with nothing beside it.
    """

    def __init__(self, context: WorkerContext, hand: Hand, source: Source, timeout: float) -> None:
        """``timeout`` (seconds) is the longest that it blocks."""
        self._shared, self._store, self._threads = context, context.store, context.threads
        self._source = source
        self._timeout = min(timeout, context.claim_seconds / RENEWALS)
        self._keys = queue_keys(context.store.keys, source.name)
        self._limiter = limiter_of(context.store)
        self._window = self._limiter.process_window(source.name)
        self._window.configure(source.limits)
        self._hand = hand
        self._token, self._asks = uuid.uuid4().hex, itertools.count()
        self._renew_at = -math.inf
        #: Jobs in hand that were not asked for yet.
        self._buffer: deque[HandedOut] = deque()

    def __next__(self) -> MessageProxy | None:
        if not self._buffer:
            self._fill()
        return self._read(self._buffer.popleft()) if self._buffer else None

    def ack(self, message: MessageProxy) -> None:
        self._finish(message, Finish("done", Result(message="it was skipped")))

    def nack(self, message: MessageProxy) -> None:
        self._finish(message, dead("it was refused"))

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        for message in messages:
            self._end(cast(Job, message).claim, UNBEGUN)

    def close(self) -> None:
        while self._buffer:
            self._end(self._buffer.popleft().claim, UNBEGUN)
        with contextlib.suppress(Unavailable):
            self._say_rest()

    def _fill(self) -> None:
        """Take what may be run now into the buffer; wait for a while where that is nothing."""
        try:
            # This comes first: a job whose end is said in time is not done again by another worker.
            self._say_rest()
            self._give_back_unconfirmed()
            # A worker without a free thread asks for no job, and still renews its claims.
            self._threads.wait(self._source.name, self._renew_at - now())
            with self._threads.reserve(self._source.name) as reserved:
                retry_in = self._dequeue(reserved)
            if not self._buffer and reserved.count and not reserved.is_all:
                self._listen(retry_in)
        except Unavailable:
            # The server hands out no suspect now, so that the other queues need not wait for one.
            self._threads.set_free_for(self._source.name, False)
            run(world().sleep(min(self._timeout, 0.25)))

    def _dequeue(self, reserved: Reservation) -> float:
        """Take the jobs granted; seconds until more may come (0.0: when a worker is notified)."""
        settings, name, cost = self._shared.settings, self._source.name, self._source.cost
        suffix = f"{self._token}.{next(self._asks):x}."
        self._renew_at = now() + self._timeout

        def call(terms: Terms) -> Dequeue:
            return Dequeue(
                queue=self._keys,
                window=terms.window,
                clears=self._store.keys.clears(name),
                most=reserved.count,
                limits=pack_limits(self._source.limits),
                prewarm_fraction=settings.prewarm_share,
                hold_us=to_micros(settings.lease_seconds),
                claim_us=to_micros(self._shared.claim_seconds),
                suffix=suffix,
                most_deaths=MOST_TRIES,
                deadline_us=terms.deadline_us,
                process=terms.process,
                cost=cost,
                readiness=self._readiness(reserved),
                charge=self._source.charge,
                known=terms.known,
                in_hand=tuple(self._hand.claims),
            )

        def on_reply(found: Dequeued) -> None:
            for job in found.jobs:
                self._hand.take(job.claim, reserved)
                self._buffer.append(job)
            self._threads.set_free_for(name, found.is_called)

        want = Want(name, suffix, reserved.count * cost, self._source.limits, can_fall_back=False)
        try:
            found = run(self._limiter.take(DEQUEUE, want, call, on_reply=on_reply)).reply
        except Unavailable as error:
            if error.is_timeout:
                self._hand.unheard.append(suffix)
            raise
        return max(0.0, (found.retry_at - found.now) / MICROS) if found.retry_at else 0.0

    def _give_back_unconfirmed(self) -> None:
        """Jobs that Redis has handed out without being able to say so would wait until their claims lapse,
        count as if their worker had died, and their slots would be held for nobody."""
        hand = self._hand
        if not hand.unheard:
            return
        for claim in self._store.call("ZRANGE", self._keys.claims, 0, -1):
            if claim not in hand.claims and any(part in slot_of(claim) for part in hand.unheard):
                hand.unsaid.append((claim, UNBEGUN))
        hand.unheard.clear()
        self._say_rest()

    def _read(self, job: HandedOut) -> Job | None:
        """The job; None for one that cannot be run here, which is dead-lettered or put off by then."""
        claim, name = job.claim, slot_of(job.claim)
        try:
            message = read_message(job.message, self._source.name, self._shared.actors)
            options = {"slot": name if job.is_held else None}
            return Job(message.copy(message_id=name.rpartition("/")[0], options=options), claim)
        except Unknown as error:
            self._warn_once(str(error))
            self._end(claim, Finish("later", delay_seconds=UNKNOWN_SECONDS, is_begun=False))
        except Exception as error:
            reason = str(error) if isinstance(error, Unreadable) else f"{type(error).__name__}: {error}"
            log.warning("job.dead_lettered", source=self._source.name, reason=reason)
            self._end(claim, dead(reason, is_begun=False))
        return None

    def _warn_once(self, what: str) -> None:
        if what not in self._hand.unknown and len(self._hand.unknown) < MOST_WARNINGS:
            self._hand.unknown.add(what)
            hint = "is this worker older than who queued it?"
            log.warning("job.put_off", source=self._source.name, unknown=what, hint=hint)

    def _readiness(self, reserved: Reservation) -> str:
        """Whether this process takes a job that may kill it: see ``dequeue.lua``."""
        if not self._threads.may_be_free_for(self._source.name):
            return ""
        if reserved.is_all:
            return "free"
        return "idle" if reserved.is_idle else "may"

    def _finish(self, message: MessageProxy, otherwise: Finish) -> None:
        """Say what became of a job; ``otherwise`` where nobody has decided that."""
        job = cast(Job, message)
        self._end(job.claim, job.finish or otherwise)

    def _end(self, claim: bytes, finish: Finish) -> None:
        """The job is in hand no longer. What became of it is said later where Redis is away."""
        self._hand.unsaid.append((claim, finish))
        self._hand.drop(claim)
        with contextlib.suppress(Unavailable):
            self._say_rest()

    def _say_rest(self) -> None:
        """Say what became of jobs; what comes meanwhile goes along with the next call of whoever says it."""
        hand = self._hand
        # Asked again once the lock is free: who found it taken has left what it had to say.
        while hand.unsaid and hand.saying.acquire(blocking=False):
            try:
                self._say_some()
            finally:
                hand.saying.release()

    def _say_some(self) -> None:
        unsaid = self._hand.unsaid
        ends = [unsaid.popleft() for _ in range(min(len(unsaid), MOST_ENDS))]
        try:
            self._say(ends)
        except BaseException:
            unsaid.extendleft(reversed(ends))
            raise

    def _say(self, ends: Sequence[tuple[bytes, Finish]]) -> None:
        cost = self._source.cost
        told = tuple(part for claim, finish in ends for part in _arguments(claim, finish, cost))
        slots = self._store.keys.slots(self._source.name)
        self._store.run(FINISH, FinishJobs(self._keys, slots, MOST_TRIES, told))
        for claim, finish in ends:
            if not finish.is_begun:
                self._window.release(slot_of(claim), cost)

    def _listen(self, retry_in: float) -> None:
        """Wait for a slot, or for the bell."""
        if not self._threads.is_called_by(self._source.name):
            seconds = min(self._timeout, retry_in) if retry_in else self._timeout
            self._store.pop_list(self._keys.bell, max(seconds, 0.001))


def _arguments(claim: bytes, finish: Finish, cost: int) -> list[Argument]:
    """What finish.lua is told of a job."""
    return [
        claim,
        finish.what,
        encode_result(finish.result) if finish.result is not None else b"",
        to_micros(finish.delay_seconds),
        int(finish.is_try),
        0 if finish.is_begun else cost,
        finish.reason,
    ]
