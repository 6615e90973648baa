"""The consumer of one queue: of a source's, whose jobs come with slots, or of any other."""

from __future__ import annotations

import functools
import heapq
import itertools
import math
import uuid
from collections.abc import Iterable
from dataclasses import replace
from typing import cast

from dramatiq.broker import Consumer, MessageProxy

from tbcache.io import now, run, world
from tbcache.io.description import described
from tbcache.io.log import get_logger
from tbcache.limiter import limiter_of
from tbcache.models.job import comes_again
from tbcache.queue.asking import Asking
from tbcache.queue.context import WorkerContext
from tbcache.queue.end import Ends
from tbcache.queue.following import PAUSE_SECONDS, Following
from tbcache.queue.hand import EndedJob, Hand, HeldJob
from tbcache.queue.intake import Intake
from tbcache.queue.job import UNBEGUN, Finish, Result, dead
from tbcache.queue.script import Dequeued, HandedOut, queue_keys, slot_of
from tbcache.queue.thread import Reservation
from tbcache.settings import Source
from tbcache.settings.declared import get_work
from tbcache.store import Unavailable
from tbcache.store.wire import MICROS

log = get_logger("tbcache.queue")

#: Claims are renewed so many times in the time for which they hold.
RENEWALS = 4
#: An idle process looks at its queues once in so many of the times that a consumer blocks, and of those for
#: which claims hold. Once it has seen one it asks as that lapses.
LOOK_TIMES = 10
LOOK_PART = 5 / 3


class PacingConsumer(Consumer):
    """Of a source's queue, pops as many jobs as there are idle threads and free slots, and no more. Of any
    other, ``prefetch`` jobs at most are in hand, and those that wait for a thread go by the priorities of
    their actors.

    Jobs in hand are claimed for some seconds and renewed several times in these: when this
    process dies, any other consumer of the queue takes them up: at the first death as before, and
    at later ones each with nothing beside it.
    """

    def __init__(
        self, context: WorkerContext, hand: Hand, source: Source, timeout: float, prefetch: int = 1
    ) -> None:
        """``source`` has no limits where the queue is none of a source's; ``timeout`` (seconds) is the
        longest that it blocks."""
        self._shared, self._store, self._threads = context, context.store, context.threads
        self._source = source
        self._is_paced = bool(source.limits)
        self._prefetch = 0 if self._is_paced else prefetch
        self._timeout = min(timeout, context.claim_seconds / RENEWALS)
        self._keys = queue_keys(context.store.keys, source.name)
        if self._is_paced:
            limiter_of(context.store).process_window(source.name).configure(source.limits)
        self._hand = hand
        self._asking = Asking(context, hand, source)
        self._intake = Intake(context, hand, source, self._end)
        self._following = Following(context, source.name)
        self._presence = context.presence
        self._presence.join()
        # Claims say whose they are (see dequeue.lua).
        self._token, self._asks = f"{self._presence.name}-{uuid.uuid4().hex[:8]}", itertools.count()
        self._renew_at = -math.inf
        #: Jobs in hand that were not asked for yet: priority, number, job.
        self._buffer: list[tuple[int, int, HeldJob]] = []
        self._numbers = itertools.count()
        self._bells = context.bells_of(source.name)
        look_seconds = min(LOOK_TIMES * self._timeout, LOOK_PART * context.claim_seconds)
        self._alarm = self._bells.join(source.name, self._keys, look_seconds)
        self._ends = Ends(self._store, self._keys, hand, source, context.on_unanswered, self._alarm.ring)
        self._threads.join(is_paced=self._is_paced)

    def __next__(self) -> MessageProxy | None:
        if not self._threads.may_be_free_for(self._source.name):
            # They would wait beside a job that may kill this process, or for a worker that is stopping.
            self._give_back_buffer()
        if not self._buffer or now() >= self._renew_at:
            self._fill()
        return self._hand_out()

    def ack(self, message: MessageProxy) -> None:
        job = cast(HeldJob, message)
        # Of any other job nobody awaits the end.
        is_awaited = job.is_fetch or bool(job.options.get("cache_key"))
        result = Result() if job.is_begun else Result(message="it was skipped")
        self._finish(job, Finish("done", result if is_awaited else None))

    def nack(self, message: MessageProxy) -> None:
        job, error = cast(HeldJob, message), message._exception
        reason = "it was refused" if error is None else described(error)
        is_last_try = error is not None and comes_again(error, is_awaited=True)
        self._finish(job, dead(reason), has_failed=is_last_try and job.actor_name in get_work())

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        # As with the buffer: the last goes first.
        for message in reversed([*messages]):
            self._end(cast(HeldJob, message).claim, UNBEGUN)

    def close(self) -> None:
        self._give_back_buffer()
        self._say_last()
        self._bells.leave(self._source.name)
        self._presence.leave()

    def _say_last(self) -> None:
        """Say what is unsaid, for as long as a worker that is stopped may wait for Redis: what is not said by
        then is done once more."""
        give_up_at = now() if self._threads.is_open else self._shared.last_moment()
        while not self._hand.is_all_said:
            try:
                self._ends.say()
            except Unavailable:
                if now() >= give_up_at:
                    log.warning("queue.ends_unsaid", source=self._source.name, jobs=len(self._hand.unsaid))
                    return
            if not self._hand.is_all_said:
                # Redis is away, or another thread is saying it: where it fails, nobody else says it.
                run(world().sleep(PAUSE_SECONDS))

    def _finish(self, job: HeldJob, otherwise: Finish, *, has_failed: bool = False) -> None:
        """Say what became of a job; ``otherwise`` where nobody has decided that. ``has_failed``: see
        :class:`EndedJob`; a fetch whose try has failed may have been tried for the last time."""
        job.ended_at = now()
        self._following.send(job)
        decided = job.decide(otherwise)
        finish = Finish("done") if job.is_cancelled else decided
        is_known = job.is_fetch and not job.is_cancelled
        finish = finish if is_known else replace(finish, is_begun=job.is_begun)
        has_failed = has_failed or finish.is_try
        self._shared.jobs.drop(job.claim)
        self._ends.end(job.claim, finish, job, has_failed=has_failed)

    def _end(self, claim: bytes, finish: Finish) -> None:
        self._shared.jobs.drop(claim)
        self._ends.end(claim, finish)

    def _give_back_buffer(self) -> None:
        # The last goes first: each is put in front of those that were given back before it.
        for _, _, job in sorted(self._buffer, reverse=True):
            self._end(job.claim, UNBEGUN)
        self._buffer.clear()

    def _give_back_unbegun(self) -> None:
        """Also those that wait for a thread in dramatiq's own queue."""
        self._buffer.clear()
        for claim in reversed(self._hand.keep_from_threads()):
            self._end(claim, UNBEGUN)

    def _fill(self) -> None:
        """Take what may be run now into the buffer; wait for a while where that is nothing."""
        try:
            # This comes first: a job whose end is said in time is not done again by another worker.
            self._ends.say()
            self._give_back_unconfirmed()
            if self._buffer or self._is_to_ask():
                self._take()
        except Unavailable:
            # The server hands out no suspect now, so that the other queues need not wait for one.
            self._threads.set_free_for(self._source.name, False)
            # What it would have said is not known.
            self._alarm.set_off()
            run(world().sleep(min(self._timeout, 0.25)))

    def _is_to_ask(self) -> bool:
        """Wait for a cause to ask for jobs, and a thread for one; true as well when the claims in hand are to
        be renewed."""
        is_bound = bool(len(self._hand)) or self._threads.is_called_by(self._source.name)
        until = self._renew_at if is_bound else now() + self._timeout
        is_due = self._alarm.wait(until - now())
        if is_due and not self._threads.may_take(self._source.name, self._may_run_ahead):
            if self._alarm.give_up():
                self._bells.pass_on(self._alarm)
            is_due = self._threads.wait(self._source.name, until - now(), self._may_run_ahead)
        return is_due or is_bound

    def _take(self) -> None:
        self._threads.let_go(self._source.name)
        self._alarm.begin()
        self._presence.show()
        with self._threads.reserve(self._source.name) as reserved:
            most = reserved.count if self._is_paced or reserved.is_all else self._ahead
            self._dequeue(reserved, most)

    def _may_run_ahead(self) -> bool:
        """Whether a thread may have nothing to do, or half of the jobs in hand are done: were it one of them,
        each job would cost an ask."""
        few = max(self._prefetch // 2, self._threads.total - 1)
        return len(self._hand) < self._prefetch and len(self._hand) <= few

    @property
    def _ahead(self) -> int:
        """How many more jobs may be in hand, with a thread or without."""
        return max(0, self._prefetch - len(self._hand)) if self._threads.may_run_ahead else 0

    def _dequeue(self, reserved: Reservation, most: int) -> None:
        """Take the jobs granted, and have the alarm say when more may come."""
        suffix = f"{self._token}.{next(self._asks):x}."
        asked_at, held = now(), self._hand.claims
        self._renew_at = asked_at + self._timeout
        until, handed_out = self._hand.holds_until, list[HandedOut]()

        def on_reply(found: Dequeued) -> None:
            nonlocal until
            if self._asking.was_in_time(found):
                until = asked_at + self._shared.claim_seconds
            if not held or now() < self._hand.holds_until:
                self._hand.holds_until = until
            for job in found.jobs:
                self._hand.take(job.claim, reserved.spend() if self._is_paced or reserved.is_all else 0)
                handed_out.append(job)
            self._threads.set_free_for(self._source.name, found.is_called)

        try:
            found = self._asking.ask(suffix, reserved, most, on_reply)
        except Unavailable as error:
            if error.is_timeout:
                self._hand.unheard.append(suffix)
            raise
        finally:
            # What comes after the reply may fail: the jobs are in hand, and are given back from the buffer.
            self._add_to_buffer(handed_out)
        self._shared.jobs.cancel(found.revoked)
        if until != self._hand.holds_until:
            # The claims had lapsed by then: some jobs may be others' by now.
            known = self._claims()
            self._hand.lost.update(set(held).intersection(self._hand.claims).difference(known))
            self._hand.holds_until = until
        if found.is_stopped:
            self._give_back_unbegun()
        if len(found.jobs) < most and not found.is_called:
            self._alarm.set(_seconds_until(found))

    def _add_to_buffer(self, handed_out: Iterable[HandedOut]) -> None:
        for job in map(self._intake.read, handed_out):
            if job is not None:
                job.holds_until = functools.partial(self._hand.until, job.claim)
                job.take_up = functools.partial(self._hand.take_up, job.claim)
                job.is_given_away = self._following.is_given_away
                self._shared.jobs.add(job)
                heapq.heappush(self._buffer, (self._intake.priority(job), next(self._numbers), job))

    def _give_back_unconfirmed(self) -> None:
        """Jobs that Redis has handed out without being able to say so would wait until their claims lapse,
        count as if their worker had died, and their slots would be held for nobody."""
        hand = self._hand
        if not hand.unheard:
            return
        for claim in self._claims():
            if claim not in hand.claims and any(part in slot_of(claim) for part in hand.unheard):
                hand.unsaid.append(EndedJob(claim, UNBEGUN))
        hand.unheard.clear()
        self._ends.say()

    def _claims(self) -> list[bytes]:
        """All that Redis knows of the queue."""
        claims: list[bytes] = self._store.call("ZRANGE", self._keys.claims, 0, -1)
        return claims

    def _hand_out(self) -> HeldJob | None:
        """The most urgent job that is in hand, once there is a thread for it."""
        if not self._buffer:
            return None
        claim = self._buffer[0][2].claim
        if not self._hand.begin(claim, self._renew_at - now()):
            return None
        return heapq.heappop(self._buffer)[2]


def _seconds_until(found: Dequeued) -> float:
    """In how many seconds more may come; infinity: when a worker is notified."""
    return max(0.0, (found.retry_at - found.now) / MICROS) if found.retry_at else math.inf
