"""A dramatiq broker that paces: a job leaves Redis when a thread and a slot are free for it."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from datetime import datetime
from typing import Any, NamedTuple

import dramatiq
from dramatiq.broker import Broker, Consumer, MessageProxy
from dramatiq.errors import QueueJoinTimeout, QueueNotFound
from dramatiq.middleware import CurrentMessage, Middleware, SkipMessage

from tbcache.io import now, run, world
from tbcache.io.description import described, text_of
from tbcache.io.log import get_logger
from tbcache.io.trace import NOWHERE, Carrier
from tbcache.models import Lane
from tbcache.models.caller import check_caller, current_caller
from tbcache.models.error import InvalidRequest, Paused, RedisUnreachable, UnknownSource
from tbcache.monitoring.presence import process_name
from tbcache.queue.account import caller_name
from tbcache.queue.batch import put, put_all
from tbcache.queue.cancel import interruptible
from tbcache.queue.consumer import PacingConsumer
from tbcache.queue.context import CLAIM_SECONDS, WorkerContext
from tbcache.queue.encode import encode
from tbcache.queue.hand import Hand, HeldJob
from tbcache.queue.handle import QueuedJob, starts_of
from tbcache.queue.job import Finish, actor_name, call_key
from tbcache.queue.log import JobLog
from tbcache.queue.middleware import JobMiddleware
from tbcache.queue.refused import PacedJob, minding_refusals
from tbcache.queue.script import JobAsk, Queued, queue_keys
from tbcache.queue.thread import Threads
from tbcache.queue.trace import TraceMiddleware, record_sent, sending
from tbcache.queue.wants import Wants, is_follow_up
from tbcache.queue.weight import weights_of
from tbcache.queue.work import declare_work
from tbcache.settings import Settings, Source, get_declared, is_name, unconfigured
from tbcache.settings.declared import get_work
from tbcache.store import Store, Unavailable
from tbcache.store.name import Names

log = get_logger("tbcache.store")

#: A longer message cannot be handed out in the time for which a worker waits for Redis, and those behind it
#: would wait for ever.
MOST_MESSAGE_BYTES = 8_000_000


#: The job of this thread that has ended, while its middleware hears of that.
_ending: ContextVar[MessageProxy | None] = ContextVar("ending", default=None)


class _Route(NamedTuple):
    """What messages have in common that Redis is told of in one call."""

    queue: str
    lane: Lane
    caller: str | None


def _route_of(message: dramatiq.Message[Any]) -> _Route:
    is_fetch = message.actor_name == actor_name(message.queue_name)
    lane: Lane = message.kwargs.get("lane", "interactive") if is_fetch else "interactive"
    caller = message.options.get("caller")
    return _Route(message.queue_name, lane, caller if caller is None else check_caller(caller))


def _is_given_away(message: MessageProxy) -> bool:
    """Whether nothing is to come of a job's end, as another has the job by now."""
    is_given_away = isinstance(message, HeldJob) and message.is_given_away(message)
    if is_given_away:
        message.options["store_results"] = False
    return is_given_away


def _does_something(one: Middleware, name: str) -> bool:
    """Whether a middleware does something at a signal; mostly none does."""
    method = getattr(one, name, None)
    return getattr(method, "__func__", method) is not getattr(Middleware, name, None)


class _Listeners(NamedTuple):
    """Of a signal: the methods of what is built in, and whether any middleware of the list is one."""

    built_in: list[Callable[..., None]]
    is_any: bool


class PacingBroker(Broker):
    """A broker for any actors. The queue that has a source's name is paced: its jobs take slots of the
    source.

    Needs no delay queues: what must wait, waits in Redis. ``middleware`` is dramatiq's default where it is
    not said; ``claim_seconds`` is for how long a job is a worker's that says nothing more.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        sources: Iterable[Source],
        *,
        middleware: list[Middleware] | None = None,
        claim_seconds: float = CLAIM_SECONDS,
    ) -> None:
        log_of_job = JobLog(process_name(settings))
        built_in = [_Current(), TraceMiddleware(), log_of_job, JobMiddleware(), _Boot(self)]
        #: What no list of middleware leaves out: the first before a signal, and the last after it.
        self._built_in: list[Middleware] = []
        #: By the name of a signal's method, who hears it while the list is this one: each job emits a dozen.
        self._hearing: tuple[list[Middleware], dict[str, _Listeners]] = ([], {})
        super().__init__(middleware)
        self.actor_options |= JobMiddleware().actor_options
        self._built_in, self._hearing = built_in, ([], {})
        self.store = store
        self.settings = settings
        self.sources = {source.name: source for source in sources}
        self.threads = Threads()
        self.hands: dict[str, Hand] = {}
        self.queues: dict[str, None] = {}
        #: What each job that is sent would else find out, by its route and in whose name its thread asks.
        self._known: dict[tuple[_Route, str | None], tuple[Carrier, Wants]] = {}
        #: Until when that holds (monotonic).
        self._known_until = -math.inf
        #: By these an operator knows of a queue, or of a source of the code's own, that has no worker.
        self._queues, self._declared = Names(store, store.keys.queues), Names(store)
        self.context = WorkerContext(store, settings, self.threads, self.actors, claim_seconds)
        self.context.resend = lambda message, delay_ms: self._put(message, delay_ms, is_accepted=True)

    def emit_before(self, signal: str, *args: Any, **options: Any) -> None:
        listeners = self._listeners(f"before_{signal}")
        for method in listeners.built_in:
            method(self, *args, **options)
        if listeners.is_any:
            super().emit_before(signal, *args, **options)

    def emit_after(self, signal: str, *args: Any, **options: Any) -> None:
        listeners = self._listeners(f"after_{signal}")
        if listeners.is_any:
            is_end = signal == "process_message"
            before = _ending.set(args[0] if is_end else None)
            try:
                if is_end and _is_given_away(args[0]):
                    # Whoever has it counts it in its group, and stores its result.
                    signal, options = "skip_message", {}
                super().emit_after(signal, *args, **options)
            finally:
                _ending.reset(before)
        for method in reversed(listeners.built_in):
            method(self, *args, **options)

    def _listeners(self, name: str) -> _Listeners:
        listed, known = self._hearing
        # The list is public.
        if listed != self.middleware:
            listed, known = self._hearing = [*self.middleware], {}
        if name not in known:
            built_in = [getattr(one, name) for one in self._built_in if _does_something(one, name)]
            known[name] = _Listeners(built_in, any(_does_something(one, name) for one in listed))
        return known[name]

    def source_of(self, queue_name: str) -> Source:
        """The source that paces a queue; one without limits where none does."""
        declared = get_declared().get(queue_name)
        return self.sources.get(queue_name) or (declared.source if declared else unconfigured(queue_name))

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 1000) -> Consumer:
        """A consumer of ``queue_name``; ``timeout`` (ms) is the longest it blocks, and ``prefetch`` how many
        jobs of a queue that is not paced it has in hand at most.

        Raises:
          QueueNotFound: it was not declared.
        """
        if queue_name not in self.queues and queue_name not in self.sources:
            raise QueueNotFound(queue_name)  # type: ignore[no-untyped-call]
        hand = self.hands.setdefault(queue_name, Hand(self.threads, queue_name))
        return PacingConsumer(self.context, hand, self.source_of(queue_name), timeout / 1000, prefetch)

    def declare_actor(self, actor: dramatiq.Actor[Any, Any]) -> None:
        """Declare an actor; one that has the option ``source`` waits in that source's queue, and is paced.

        Raises:
          UnknownSource: none of the broker's sources, and none that the code of this process has declared.
          ValueError: it has a queue of its own beside, or waits in that of a source without saying so.
        """
        source, queue = actor.options.get("source"), actor.queue_name
        if source is None and self.source_of(queue).limits and actor.actor_name != actor_name(queue):
            raise ValueError(
                f"{actor.actor_name} waits in the queue {queue!r}, which the limits of that source pace: "
                f"say source={queue!r} where that is meant, else call the queue {queue + '-jobs'!r}"
            )
        if source is not None:
            if not self.source_of(source).limits:
                raise UnknownSource(source, (*self.sources, *get_declared()))
            if actor.queue_name not in ("default", source):
                raise ValueError(
                    f"{actor.actor_name} is paced by {source}, whose queue it waits in: leave out the queue "
                    f"{actor.queue_name!r}"
                )
            actor.queue_name = source
        actor.fn = interruptible(actor.fn)
        # What becomes of the others is said where they are called.
        if source is not None and actor.actor_name not in (actor_name(source), *get_work()):
            actor.fn = minding_refusals(actor.fn, functools.partial(self._paced_job, actor))
        super().declare_actor(actor)

    def declare_queue(self, queue_name: str) -> None:
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues[queue_name] = None
            self.emit_after("declare_queue", queue_name)

    def enqueue(self, message: dramatiq.Message[Any], *, delay: int | None = None) -> dramatiq.Message[Any]:
        """Queue a message as it is; ``delay`` in milliseconds. Same fetches are not joined here.

        A job that is queued while it runs, as to be tried again, is put off: whether Redis hears of it or the
        worker dies first, it is there once. One that is over by then is queued anew.

        Raises:
          RedisUnreachable: there is no queue without Redis. Paused: an operator drains the queue.
          InvalidRequest: the message has more than 8 MB.
        """
        self.emit_before("enqueue", message, delay)
        if isinstance(message, HeldJob):
            self._put_off(message, delay or 0)
        elif isinstance(job := _ending.get(), HeldJob):
            # Where Redis is away, its consumer waits for it, which no middleware interrupts.
            job.following.append((message, delay or 0))
        else:
            self._put(message, delay or 0)
        self.emit_after("enqueue", message, delay)
        return message

    def enqueue_many(self, messages: Iterable[dramatiq.Message[Any]]) -> list[QueuedJob]:
        """Queue messages as they are, 520 in one call of Redis; what became of each, in their order.

        Raises:
          RedisUnreachable: there is no queue without Redis. Paused: an operator drains one of the queues. The
            first of them may be queued by then; ``left`` of the error are the others.
        """
        return run(self.put_many(list(messages)))

    def flush(self, queue_name: str) -> None:
        """Forget every message of a queue, the dead ones too."""
        self.store.call("UNLINK", *queue_keys(self.store.keys, queue_name))

    def flush_all(self) -> None:
        for queue_name in self.queues:
            self.flush(queue_name)

    def join(self, queue_name: str, *, interval: int = 100, timeout: int | None = None) -> None:
        """Wait until a queue is empty and none of its jobs runs, looking each ``interval`` (ms). For tests.

        Raises:
          QueueJoinTimeout: it is not so within ``timeout`` (ms).
        """
        give_up = None if timeout is None else now() + timeout / 1000
        while self.store.call("HLEN", self.store.keys.queue(queue_name, "jobs")):
            if give_up is not None and now() >= give_up:
                raise QueueJoinTimeout(queue_name)  # type: ignore[no-untyped-call]
            run(world().sleep(interval / 1000))

    async def place(self, message: dramatiq.Message[Any]) -> QueuedJob:
        """Queue one, as :meth:`enqueue` does; what became of it, but not when it starts, as that is one more
        call of Redis."""
        (job,) = await self.put_many([message], is_estimated=False)
        return job

    async def put_many(
        self,
        messages: Sequence[dramatiq.Message[Any]],
        *,
        is_estimated: bool = True,
        there: set[int] | None = None,
    ) -> list[QueuedJob]:
        """:meth:`enqueue_many`, in the world that it is awaited in. The places of those that are queued are
        added to ``there``, also where an error comes of the rest."""
        there = set() if there is None else there
        try:
            return await self._put_many(messages, there, is_estimated=is_estimated)
        except (RedisUnreachable, Paused) as error:
            error.left = [message for place, message in enumerate(messages) if place not in there]
            raise

    async def _put_many(
        self, messages: Sequence[dramatiq.Message[Any]], there: set[int], *, is_estimated: bool
    ) -> list[QueuedJob]:
        self._emit_all("before_enqueue", self.emit_before, messages)
        places: dict[_Route, list[int]] = {}
        for place, message in enumerate(messages):
            places.setdefault(_route_of(message), []).append(place)
        ready: list[tuple[_Route, list[int], Carrier, Wants, list[JobAsk]]] = []
        for route, some in places.items():
            added, wants = self._known_of(route) or await self._find_out(route)
            wants = wants._replace(is_follow_up=is_follow_up())
            # Whatever cannot be sent is known before anything is.
            asks = [_ask(messages[place], added) for place in some]
            ready.append((route, some, added, wants, asks))
        found: dict[int, QueuedJob] = {}
        for route, some, added, wants, asks in ready:
            placed: list[Queued] = []
            try:
                with sending(route.queue) as sent:
                    if carrier := sent.carrier():
                        asks = [_ask(messages[place], {**added, **carrier}) for place in some]
                    await put_all(self.store, route.queue, asks, wants, placed)
                    record_sent(sent, placed)
            finally:
                queued = zip(some, placed, strict=False)
                there.update(place for place, one in queued if one.state != "refused")
            starts: Sequence[datetime | None] = [None] * len(placed)
            if is_estimated:
                # They are queued: that nobody knows when they start is no error.
                with contextlib.suppress(Unavailable):
                    starts = await starts_of(self.store, route.queue, placed)
            found.update(zip(some, self._jobs(route.queue, placed, starts), strict=True))
        self._emit_all("after_enqueue", self.emit_after, messages)
        return [found[place] for place in range(len(messages))]

    def _emit_all(
        self, name: str, emit: Callable[..., None], messages: Iterable[dramatiq.Message[Any]]
    ) -> None:
        """Emit the signal for each message, where any middleware hears it."""
        if self._listeners(name).is_any:
            for message in messages:
                emit("enqueue", message, None)

    def _jobs(
        self, queue: str, queued: Sequence[Queued], starts: Sequence[datetime | None]
    ) -> list[QueuedJob]:
        return [
            QueuedJob(queue=queue, job_id=one.id, state=one.state, starts_at=moment, _store=self.store)
            for one, moment in zip(queued, starts, strict=True)
        ]

    def _put(
        self,
        message: dramatiq.Message[Any],
        delay_ms: int,
        *,
        is_joining: bool = True,
        is_accepted: bool = False,
    ) -> None:
        route = _route_of(message)
        added, wants = self._known_of(route) or run(self._find_out(route))
        if delay_ms or is_accepted or is_follow_up():
            is_accepted = is_accepted or is_follow_up()
            wants = wants._replace(delay_seconds=delay_ms / 1000, is_follow_up=is_accepted)
        with sending(route.queue) as sent:
            ask = _ask(message, {**added, **sent.carrier()} if sent.is_on else added)
            queued = put(self.store, route.queue, ask if is_joining else ask._replace(key=""), wants)
            if sent.is_on:
                record_sent(sent, [queued])

    def _known_of(self, route: _Route) -> tuple[Carrier, Wants] | None:
        """What is added to the options of such messages, and what Redis is told of them, if it is known."""
        return self._known.get((route, current_caller.get())) if now() < self._known_until else None

    async def _find_out(self, route: _Route) -> tuple[Carrier, Wants]:
        name = caller_name(route.caller, self.settings)
        source = self.source_of(route.queue)
        names = self._declared if source.limits else self._queues
        if route.queue not in self.sources and names.is_due(route.queue) and is_name(route.queue):
            # It is for views alone: no job waits for that.
            with contextlib.suppress(Unavailable):
                await names.place(route.queue)
        weights = weights_of(self.store)
        account = await weights.account(name, self.settings)
        # Who carries it out learns in whose name, where that is not the name of the process that queued it.
        is_own = route.caller is not None or name == self.settings.own_caller
        found = NOWHERE if is_own else {"caller": name}, Wants(account, route.lane, charge=source.charge)
        if self._known_until < weights.hold_until:
            self._known, self._known_until = {}, weights.hold_until
        self._known[route, current_caller.get()] = found
        return found

    def _paced_job(self, actor: dramatiq.Actor[Any, Any]) -> PacedJob | None:
        """The job of this thread, as ``actor`` begins it; None where that is called by another actor."""
        job: object = CurrentMessage.get_current_message()
        if not isinstance(job, HeldJob) or job.thread is not None:
            return None
        return PacedJob(job, actor, self.source_of(job.queue_name), self.store, _put_off_refused)

    def _put_off(self, job: HeldJob, delay_ms: int) -> None:
        if job.finish is None:
            if job.is_fetch:
                return  # What becomes of it is decided with its outcome.
            seconds, reason = delay_ms / 1000, _why_again(job)
            again = Finish("later", delay_seconds=seconds, message=job.encode(), reason=reason)
            if job.decide(again) is again:
                return
        # It is put off already, or over: this is one more.
        self._put(job._message, delay_ms, is_joining=False)


def _ask(message: dramatiq.Message[Any], added: Carrier) -> JobAsk:
    """The ask for a message that has these options as well.

    Raises:
      InvalidRequest: the message is too long.
    """
    if added:
        message = message.copy(options=added)
    data = encode(message)
    if len(data) > MOST_MESSAGE_BYTES:
        what = f"a message of {len(data) / 1e6:.1f} MB to {message.actor_name}, and the most is"
        where = "keep what is so large elsewhere, and send where it is"
        raise InvalidRequest(f"{what} {MOST_MESSAGE_BYTES / 1e6:.0f} MB: {where}")
    return JobAsk(message.message_id, data, call_key(message.args, message.options))


def _put_off_refused(job: MessageProxy, seconds: float, reason: str) -> None:
    """
    Raises:
      SkipMessage: unless its actor has queued it again itself.
    """
    again = Finish("later", delay_seconds=seconds, message=job.encode(), reason=reason)
    if isinstance(job, HeldJob) and job.decide(again) is again:
        job.options["store_results"] = False
        raise SkipMessage(reason)


def _why_again(job: HeldJob) -> str:
    """Why a job of a user's own comes again; "" where it has not failed."""
    error = job._exception
    if error is None:
        return ""
    if isinstance(error, dramatiq.Retry):
        return text_of(error) or "it asked for another try"
    return f"try {job.options.get('retries', 1)} failed: {described(error)}"


class _Current(CurrentMessage):
    """Dramatiq's own leaves a thread with a message that was skipped: what that thread queues next were taken
    for a follow-up of it."""

    def after_skip_message(self, broker: Broker, message: MessageProxy) -> None:
        self.after_process_message(broker, message)  # type: ignore[no-untyped-call]


class _Boot(Middleware):
    """Tells the broker how many threads and queues there are, before the first job is asked for, and when the
    worker is told to stop, so that no job is asked for that it would only give back.
    """

    def __init__(self, broker: PacingBroker) -> None:
        self._broker = broker

    def before_worker_boot(self, broker: Broker, worker: dramatiq.Worker) -> None:
        if not self._broker.store.is_shared:
            # Dramatiq says that the worker is ready for action.
            log.warning("redis.none", hint="no REDIS_URL is set: this worker gets no jobs")
        declare_work(broker)
        threads = self._broker.threads
        for name in worker.consumer_whitelist or self._broker.queues:
            threads.join(is_paced=bool(self._broker.source_of(name).limits))
        threads.open(worker.worker_threads)

    def before_worker_shutdown(self, broker: Broker, worker: dramatiq.Worker) -> None:
        self._broker.threads.close()
