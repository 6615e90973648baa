"""Admission: Redis decides what may go upstream, and this process itself decides while Redis is away."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
from collections import deque
from collections.abc import Mapping
from datetime import datetime

from msgspec.structs import replace

import tbcache.io as io
from tbcache.admission import script
from tbcache.admission.closure import believed
from tbcache.admission.delay import PlanDelay
from tbcache.admission.ending import (
    BACKOFF_SECONDS,
)
from tbcache.admission.fallback import FallbackAdmission
from tbcache.admission.figure import Figures
from tbcache.admission.fresh import Fresh
from tbcache.admission.shared import SharedAdmission
from tbcache.admission.stock import Stock
from tbcache.admission.trace import record_settled, settling
from tbcache.admission.verdict import (
    Ask,
    Derive,
    Go,
    Grant,
    Hit,
    Join,
    Merge,
    Merged,
    Settled,
    Settlement,
    Verdict,
    Wait,
)
from tbcache.io.fork import renew_in_child
from tbcache.io.trace import NOWHERE, Carrier, carrier, carrier_of
from tbcache.limiter import limiter_of
from tbcache.limiter.process_window import GIVING_BACK_SECONDS
from tbcache.models import Failure
from tbcache.models.price import NOTHING, Bill
from tbcache.monitoring import UsageMonitor
from tbcache.settings import Settings, Source
from tbcache.store import Refused, Store, Unavailable
from tbcache.store.envelope import fresh_until
from tbcache.store.memory import Bought, Memory, ReadStart
from tbcache.store.wire import to_micros

#: So long (seconds) is waited before Redis is asked again for what it has refused.
REFUSED_SECONDS = 0.25


class Admission:
    """Gives the verdicts of one process. ``admit.lua`` and ``settle.lua`` have the rules."""

    def __init__(
        self, store: Store, settings: Settings, monitor: UsageMonitor, memory: Memory | None = None
    ) -> None:
        """``memory`` holds the values that this process has in memory. The cache manager uses the same
        object.
        """
        self.memory = Memory(store) if memory is None else memory
        self._store = store
        self._limiter = limiter_of(store)
        #: It knows which plans have items that come late.
        self.delay = PlanDelay(store)
        self._monitor = monitor
        self.ask_counts = monitor.ask_counts
        self._figures = Figures(store, self._limiter, monitor)
        #: It reads the values that are expected to be fresh.
        self.fresh = Fresh(store)
        self._ids = itertools.count()
        self.renew()
        renew_in_child(self)
        self._shared = SharedAdmission(store, settings, monitor, self._figures, self.fresh)
        self._fallback = FallbackAdmission(store, self.memory, settings.lease_seconds, self.send_seconds)
        #: The ends of loads that Redis has not been told of yet: it takes these loads for under way, and does
        #: not know what has closed a source.
        self._unsettled: deque[tuple[Grant, Settlement]] = deque()
        self._stock = Stock(store, self.memory)
        store.breaker.on_return(self._fallback.forget)
        # What is offered has to be offered before it is looked for in Redis.
        store.breaker.on_return(self.fresh.renew)
        store.breaker.on_return(self._give_back)
        self.memory.on_removal(self._fallback.end)

    def renew(self) -> None:
        """Have names of loads that nobody else has: at the start, and in a forked child."""
        self._prefix = f"{io.random_id(8)}.{os.getpid():x}."

    @property
    def send_seconds(self) -> float:
        """How long a request may take, from its grant to its answer."""
        return self._shared.send_seconds

    @property
    def now(self) -> datetime:
        """Now, as the server sees it: the processes of a fleet may have clocks of their own."""
        return self._store.clock.today

    async def admit(self, ask: Ask) -> Verdict:
        """Ask whether ``ask`` may go upstream. One round trip."""
        token = ask.slot or self._new_id()
        try:
            if self.memory.has_due:
                if (merge := await self._stock.look(ask)) is not None:
                    return merge
                await self._stock.offer(ask.source.name, ask.request.key)
            verdict: Verdict | None = None
            if not ask.needed and not ask.slot and self.fresh.is_expected(ask.source, ask.request.key):
                verdict = await self.fresh.find(ask.source, ask.request.key)
            if verdict is None:
                verdict = await self._shared.admit(ask, token)
                if ask.is_asked:
                    # The script has counted it.
                    return verdict
            self._figures.count_verdict(ask, verdict)
            return verdict
        except Unavailable:
            is_lost = self._limiter.process_window(ask.source.name).is_asked(token)
            verdict = self._fallback.admit(ask, token)
            self._figures.count_verdict(ask, verdict)
            if isinstance(verdict, Go):
                # With the timeline that this process has loaded before, no item of it is paid for again.
                timeline = self.memory.timeline(ask.timeline_key)
                verdict = replace(verdict, grant=replace(verdict.grant, timeline=timeline))
            if is_lost:
                return self._record_lost(ask, token, verdict)
            if not isinstance(verdict, Go):
                await self.give_back(ask)
            return verdict
        except BaseException:
            # The ask was interrupted, or there is a bug. Redis may have granted it, and then others would
            # wait for its lease until that expires.
            io.world().undo(functools.partial(self._take_back, ask, token))
            raise

    def may_send(self, grant: Grant) -> bool:
        """Whether a request may still be sent with ``grant``.

        It may not once its time is over, or the source was closed after it was granted. Nor may it where the
        slot was promised for a later moment and another process may be going on without Redis by now, since
        that process may count on the same slot.
        """
        source = grant.ask.source.name
        promises = self._limiter.process_window(source).promises
        if grant.starts_at > grant.granted_at and not promises.is_kept(grant.promised_at):
            return False
        closure = self._limiter.closures.of(source)
        is_closed = closure is not None and closure.since > grant.granted_at
        return io.now() <= grant.send_by and not is_closed

    async def turn(self, grant: Grant, bill: Bill = NOTHING) -> Grant | Wait:
        """Commit the slot of the page that has come, bill that page, and take a slot for the next page."""
        slot = self._new_id()
        if grant.is_fallback:
            self._figures.count_bill(grant, bill)
            return await self._fallback.turn(grant, slot)
        try:
            began, turn = io.now(), await self._shared.turn(grant, slot, bill)
            while isinstance(turn, Wait) and turn.is_brief and io.now() - began < GIVING_BACK_SECONDS:
                # The first ask has billed the page, so the asks after it must not do so again.
                bill = NOTHING
                await io.world().sleep(turn.seconds)
                turn = await self._shared.turn(grant, slot, bill)
            return turn
        except Unavailable:
            self._figures.count_bill(grant, bill)
            return await self._fallback.turn(grant, slot)
        except BaseException as error:
            if io.is_cancelled(error):
                # Nobody knows whether the slot was granted, and nobody will send with it.
                io.world().undo(
                    functools.partial(
                        self._limiter.ends.release, grant.ask.source.name, slot, grant.ask.source.cost
                    )
                )
            raise

    async def free(self, grant: Grant) -> None:
        """Give the slot back and keep the lease: another load asks for the page that has the value."""
        source = grant.ask.source
        await self._limiter.ends.release(source.name, grant.slot, source.cost)

    async def settle(self, grant: Grant, settlement: Settlement) -> Settled:
        """End a load: store its value or its failure, commit its last slot, and count what it cost."""
        loader = carrier()
        with settling(grant) as running:
            settled = await self._settle(grant, settlement, loader)
            record_settled(running, settlement, settled)
            return settled

    async def _settle(self, grant: Grant, settlement: Settlement, loader: Carrier) -> Settled:
        if settlement.bill.is_uncertain:
            self._figures.count_uncertain(grant, settlement.bill)
        settlement = believed(grant.ask.source, settlement)
        if settlement.closed_by:
            self._record_closure(grant.ask.source, settlement.closed_by)
        if not grant.is_fallback:
            start = self.memory.begin(grant.ask.request.key)
            try:
                settled = await self._shared.settle(grant, settlement, loader)
                self._put_own(grant, settlement, settled, start)
                return settled
            except Unavailable:
                pass
        if not grant.is_fallback or grant.is_lost or settlement.closed_by:
            # An empty settlement means that nothing was sent: then Redis gives the slot back as well.
            is_over = settlement != Settlement()
            rest = Settlement(
                closed_by=settlement.closed_by, is_over=is_over, is_interrupted=settlement.is_interrupted
            )
            self._unsettled.append((grant, rest))
        self._figures.count_settled(grant, settlement)
        if await self._fallback.settle(grant, settlement):
            self._remember(grant, settlement, in_redis=False)
        return "fallback"

    def _remember(self, grant: Grant, settlement: Settlement, *, in_redis: bool) -> None:
        """Keep the timeline in memory, for use while Redis is away. Memory drops it where a clear has come
        since.
        """
        if settlement.timeline is None:
            return
        bought = None
        # Before the server's time is known, what is read has times of another clock than all others have.
        if settlement.bought is not None and self._store.clock.is_known:
            ended, is_whole = io.now(), grant.timeline is None
            fresh_until = ended + grant.ask.source.cache_ttl
            bought = Bought((settlement.bought,), grant.began, ended, fresh_until, is_whole)
        key = grant.ask.timeline_key
        self.memory.put_timeline(key, settlement.timeline, in_redis=in_redis, bought=bought)

    def _put_own(self, grant: Grant, settlement: Settlement, settled: Settled, start: ReadStart) -> None:
        """Keep what Redis has of a load of this process, for use while that is away. What was read before is
        forgotten: it would be given until Redis tells of the change.
        """
        ask, payload = grant.ask, settlement.payload
        if payload is None and settlement.timeline is None:
            return
        if settled == "stored":
            self._remember(grant, settlement, in_redis=True)
        # Whoever loads for the queue is seldom asked for the same again.
        if settled == "stored" and payload is not None and ask.slot is None:
            self.memory.put_own(ask.request.key, payload, ask.source.cache_ttl, start, grant.began)
        else:
            self.memory.discard(ask.request.key)
        for key in ask.others(settlement.hours):
            self.memory.discard(key)

    async def give_back(self, ask: Ask) -> None:
        """Give back the slot that the queue holds for ``ask``, which does not need it."""
        if ask.slot:
            await self._take_back(ask, ask.slot)

    def count(self, source: Source, figures: Mapping[str, int]) -> None:
        """Add ``figures`` to the figures that ``source`` has today."""
        if figures:
            self._monitor.count(source.name, figures)

    async def look(self, source: Source, key: str) -> Hit | None:
        """The fresh value under ``key``. Nothing is counted and nothing is loaded."""
        try:
            return await self.fresh.look(source, key)
        except Unavailable:
            kept = self.memory.recall(key)
            is_fresh = kept is not None and kept.fresh_seconds > 0
            return Hit(kept.payload, kept.fresh_seconds) if kept is not None and is_fresh else None

    async def discard(self, ask: Ask) -> bool:
        """Remove a value that cannot be read; False where it may still be there."""
        damaged = [self._store.keys.entry(key) for key in (ask.request.key, ask.timeline_key) if key]
        try:
            await self._store.command("UNLINK", *damaged)
        except Unavailable:
            self.memory.discard(ask.request.key)
            # Where Redis refuses this one command, it is not away: it still has the value, and would be asked
            # again.
            return not self._store.is_available
        return True

    async def store_derived(self, ask: Ask, derive: Derive, payload: bytes, answer: bytes | None) -> None:
        """Store an answer that was made from a timeline, for all, if that timeline is still there."""
        keys, source = self._store.keys, ask.source
        call = script.StoreDerived(
            entry=keys.entry(ask.request.key),
            timeline=keys.entry(ask.timeline_key),
            outbox=keys.outbox(source.name),
            queue=script.fetch_queue(keys, source.name),
            head=derive.head,
            payload=payload,
            stale_us=to_micros(source.stale_ttl),
            answer=answer or b"",
        )
        with contextlib.suppress(Unavailable):
            if await self._store.ask(script.DERIVE, call):
                self.fresh.expect(source.name, ask.request.key, fresh_until(derive.head))

    async def store_merged(self, ask: Ask, merge: Merge, merged: Merged | None) -> None:
        """Store a timeline with what this process has bought of it, for all; None: it is not to be stored."""
        with contextlib.suppress(Unavailable):
            await self._stock.store(ask, merge, merged)

    async def wait_for(self, join: Join, source: str, seconds: float) -> Carrier:
        """Wait until the load that ``join`` names is over, or about ``seconds``; return the context of the
        span that it ran in, as far as that is known.
        """
        if join.is_fallback:
            await self._fallback.wait_for(join.token, seconds)
            return NOWHERE
        give_up = io.now() + seconds
        wake = self._store.keys.wake(source, join.token)
        try:
            while (left := give_up - io.now()) > 0:
                if (element := await self._store.first(wake, left)) is not None:
                    return carrier_of(element)
        except Unavailable:
            # Where Redis refuses this one command, it would be asked, and refuse, again and again without a
            # pause.
            if self._store.is_available:
                await io.world().sleep(min(seconds, REFUSED_SECONDS))
        return NOWHERE

    async def _take_back(self, ask: Ask, token: str) -> None:
        """End a load that never began. Where nothing was granted, the script changes nothing."""
        grant = Grant(ask, token, token, 0.0, 0.0, 0.0)
        try:
            await self._shared.settle(grant, Settlement())
        except Unavailable:
            self._unsettled.append((grant, Settlement()))

    def _give_back(self) -> None:
        """End the loads that were over while Redis was away, so that nobody waits for their leases."""
        for _ in range(len(self._unsettled)):
            try:
                io.run(self._shared.settle(*self._unsettled[0]))
            except Refused:
                # The keys of one source are damaged. The loads of the other sources are ended all the same.
                self._unsettled.rotate(-1)
            else:
                self._unsettled.popleft()

    def _new_id(self) -> str:
        return f"{self._prefix}{next(self._ids):x}"

    # Without

    def _record_lost(self, ask: Ask, token: str, verdict: Verdict) -> Verdict:
        """Remember an ask whose answer was lost: Redis may have granted it, and is told how it ended once it
        is back.
        """
        if isinstance(verdict, Go):
            return replace(verdict, grant=replace(verdict.grant, is_lost=True))
        self._unsettled.append((Grant(ask, token, token, 0.0, 0.0, 0.0, is_lost=True), Settlement()))
        return verdict

    def _record_closure(self, source: Source, closed_by: Failure) -> None:
        until = closed_by.retry_at
        seconds = BACKOFF_SECONDS if until is None else (until - io.utc_now()).total_seconds()
        if seconds > 0:
            self._limiter.closures.close(source.name, seconds, closed_by.message)
