"""How the consumer of a queue asks for jobs."""

from __future__ import annotations

from collections.abc import Callable

from tbcache.io import now, run
from tbcache.limiter import Terms, Want, limiter_of
from tbcache.queue.context import WorkerContext
from tbcache.queue.end import MOST_TRIES
from tbcache.queue.hand import Hand
from tbcache.queue.script import DEQUEUE, Dequeue, Dequeued, queue_keys, slot_of
from tbcache.queue.thread import Reservation
from tbcache.settings import Source
from tbcache.store.clock import Bounds
from tbcache.store.wire import pack_limits, to_micros

#: The claims of a process whose connection is there hold for so many times as long.
PRESENT_TIMES = 10


class Asking:
    """The asks of one consumer for jobs, and for the claims in hand to hold on."""

    def __init__(self, context: WorkerContext, hand: Hand, source: Source) -> None:
        self._shared, self._store, self._threads = context, context.store, context.threads
        self._hand, self._source = hand, source
        self._keys, self._limiter = queue_keys(context.store.keys, source.name), limiter_of(context.store)
        #: Outside of the two, the last ask did nothing.
        self._bounds = Bounds(0, 0)

    def was_in_time(self, found: Dequeued) -> bool:
        """Whether the last ask, whose reply it is, was carried out."""
        return self._bounds.have(found.now)

    def ask(
        self, suffix: str, reserved: Reservation, most: int, on_reply: Callable[[Dequeued], None]
    ) -> Dequeued:
        """Ask for ``most`` jobs, with the window's terms or, where there is none, without. The names of their
        claims end with ``suffix``.

        Raises:
          Unavailable: Redis is away, or too slow.
        """
        settings, source = self._shared.settings, self._source

        def call(terms: Terms) -> Dequeue:
            self._bounds = Bounds(terms.asked_us, terms.deadline_us)
            return Dequeue(
                queue=self._keys,
                window=terms.window,
                clears=self._store.keys.clears(source.name),
                most=most,
                limits=pack_limits(source.limits),
                prewarm_fraction=settings.prewarm_share,
                hold_us=to_micros(settings.lease_seconds),
                claim_us=to_micros(self._shared.claim_seconds),
                present_us=to_micros(PRESENT_TIMES * self._shared.claim_seconds),
                present=self._shared.presence.prefix,
                suffix=suffix,
                most_deaths=MOST_TRIES,
                asked_us=terms.asked_us,
                deadline_us=terms.deadline_us,
                process=terms.process,
                cost=source.cost,
                readiness=self._readiness(reserved),
                charge=source.charge,
                seen_before=terms.seen_before,
                in_hand=self._hand.renewals,
            )

        if self._source.limits:
            want = Want(source.name, suffix, most * source.cost, source.limits, can_fall_back=False)
            self._hold_on()
            return run(self._limiter.take(DEQUEUE, want, call, on_reply=on_reply)).reply
        found = run(self._ask_without_window(call))
        on_reply(found)
        return found

    async def _ask_without_window(self, call: Callable[[Terms], Dequeue]) -> Dequeued:
        asked_at, name = now(), self._source.name
        found: Dequeued = await self._limiter.settle(DEQUEUE, name, call)
        await self._store.clock.learn(found.now, asked_at, name)
        return found

    def _hold_on(self) -> None:
        """Slots that nobody else ends are held for as long again, by this process's own record first."""
        windows = self._limiter.windows
        window, held_seconds = windows.of(self._source.name), windows.hold_seconds
        for claim, slots in self._hand.used.items():
            window.hold_on(slot_of(claim), slots, held_seconds)

    def _readiness(self, reserved: Reservation) -> str:
        """Whether this process takes a job that may kill it: see ``dequeue.lua``."""
        if not self._threads.may_be_free_for(self._source.name):
            return ""
        if reserved.is_all:
            return "free"
        if reserved.is_idle:
            return "idle"
        return "may" if self._threads.may_be_called else ""
