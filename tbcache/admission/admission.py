"""Admission: Redis decides, and this process itself while Redis is away."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
from collections import deque
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, cast

import tbcache.io as io
from tbcache.admission import script
from tbcache.admission.closure import believed, closure_by, pack_hints
from tbcache.admission.delay import PlanDelay
from tbcache.admission.ending import (
    BACKOFF_SECONDS,
    backoff_seconds,
    end_slot,
    error_kind,
    once_of,
    payload_of,
    read_failure,
)
from tbcache.admission.fallback import FallbackAdmission
from tbcache.admission.figure import Figures
from tbcache.admission.fresh import Fresh
from tbcache.admission.preparation import Preparation
from tbcache.admission.verdict import (
    Ask,
    Derive,
    Failed,
    Go,
    Grant,
    Hit,
    Join,
    Settled,
    Settlement,
    Stale,
    Verdict,
    Wait,
    Why,
)
from tbcache.limiter import Replied, Terms, Want, limiter_of
from tbcache.limiter.process_window import GIVING_BACK_SECONDS
from tbcache.models import Failure, Lane
from tbcache.models.price import NOTHING, Bill
from tbcache.monitoring import UsageMonitor, latency_bucket
from tbcache.settings import Settings, Source
from tbcache.store import Refused, Store, Unavailable
from tbcache.store.clear import NO_CLEARS, read_log
from tbcache.store.envelope import fresh_until, stamps_of, value_of
from tbcache.store.memory import Memory
from tbcache.store.wire import MICROS, day_of, to_micros

#: The part of the lease in which a request must be off and answered; the rest covers
#: the difference between our clock's rate and the server's.
SEND_PART = 0.8
TTL_JITTER = 0.05

#: How long to wait before asking again what Redis has refused.
REFUSED_SECONDS = 0.25
#: For how long a timeline is kept that nobody asks for: as far back as most upstreams answer.
TIMELINE_SECONDS = 7 * 86400.0

_ONE_HIT = {"hit": 1}


class Admission:
    """Verdicts for one process; see ``admit.lua`` and ``settle.lua`` for the rules."""

    def __init__(
        self, store: Store, settings: Settings, monitor: UsageMonitor, memory: Memory | None = None
    ) -> None:
        """``memory`` has what this process remembers of values; the cache manager has the same one."""
        self.memory = Memory(store) if memory is None else memory
        self._store = store
        self._limiter = limiter_of(store)
        #: It knows whose plans have their items late.
        self.delay = PlanDelay(store)
        self._monitor = monitor
        self.popularity = monitor.popularity
        self._fractions: dict[Lane, float] = {"interactive": 1.0, "prewarm": settings.prewarm_share}
        self._hold_seconds = settings.lease_seconds
        self._hold_us = to_micros(self._hold_seconds)
        self._preparation = Preparation(store, self._limiter)
        self._figures = Figures(store, self._limiter, monitor)
        #: The values that are fresh.
        self.fresh = Fresh(store, self.count_hit)
        self._ids = itertools.count()
        self._prefix = f"{io.random_id(8)}."
        self._fallback = FallbackAdmission(store, self.memory, self._hold_seconds, self.send_seconds)
        store.on_fork(self._fallback.renew)
        #: What Redis must still be told: loads it takes for under way, and what closed a source.
        self._unsettled: deque[tuple[Grant, Settlement]] = deque()
        store.breaker.on_return(self._fallback.forget)
        store.breaker.on_return(self._give_back)
        self.memory.on_removal(self._fallback.end)

    @property
    def send_seconds(self) -> float:
        """How long a request may take, from its grant to its answer."""
        return self._hold_seconds * SEND_PART

    @property
    def now(self) -> datetime:
        """Now, as the server sees it: the processes of a fleet may have clocks of their own."""
        return self._store.clock.today

    async def admit(self, ask: Ask) -> Verdict:
        """Ask whether ``ask`` may go upstream. One round trip."""
        token = ask.slot or self._new_id()
        try:
            is_hit_enough = not ask.needed and ask.slot is None
            hit = await self.fresh.find(ask.source, ask.request.key) if is_hit_enough else None
            return await self._admit(ask, token) if hit is None else hit
        except Unavailable:
            is_lost = self._limiter.process_window(ask.source.name).is_asked(token)
            verdict = self._fallback.admit(ask, token)
            self._figures.count_verdict(ask, verdict)
            if isinstance(verdict, Go):
                # The timeline that this process has loaded before is not bought again.
                timeline = self.memory.timeline(ask.timeline_key)
                verdict = Go(verdict.grant._replace(timeline=timeline), verdict.stale)
            return self._record_lost(ask, token, verdict) if is_lost else verdict
        except BaseException:
            # It was interrupted, or has a bug: Redis may have granted it, and nobody must wait for its lease.
            io.world().undo(functools.partial(self._take_back, ask, token))
            raise

    def may_send(self, grant: Grant) -> bool:
        """False when the grant's time is over, or the source was closed since it was granted, or it was
        promised for later and somebody may be going on without Redis by now."""
        source = grant.ask.source.name
        if grant.starts_at > grant.granted_at and not self._limiter.process_window(source).promises.are_kept:
            return False
        closure = self._limiter.closures.of(source)
        is_closed = closure is not None and closure.since > grant.granted_at
        return io.now() <= grant.send_by and not is_closed

    async def turn(self, grant: Grant, bill: Bill = NOTHING) -> Grant | Wait:
        """Commit the slot of the page that came, bill it, and take one for the next."""
        slot = self._new_id()
        if grant.is_fallback:
            self._figures.count_bill(grant, bill)
            return await self._fallback.turn(grant, slot)
        try:
            began, turn = io.now(), await self._turn(grant, slot, bill)
            while isinstance(turn, Wait) and turn.is_brief and io.now() - began < GIVING_BACK_SECONDS:
                # The page is billed by now, whatever becomes of the next asks.
                bill = NOTHING
                await io.world().sleep(turn.seconds)
                turn = await self._turn(grant, slot, bill)
            return turn
        except Unavailable:
            self._figures.count_bill(grant, bill)
            return await self._fallback.turn(grant, slot)
        except BaseException as error:
            if io.is_cancelled(error):
                # Whether it was granted or not, nobody sends with it.
                io.world().undo(
                    functools.partial(
                        self._limiter.release, grant.ask.source.name, slot, grant.ask.source.cost
                    )
                )
            raise

    async def free(self, grant: Grant) -> None:
        """Give the slot back and keep the lease: what is loaded comes with the page of another."""
        source = grant.ask.source
        await self._limiter.release(source.name, grant.slot, source.cost)

    async def settle(self, grant: Grant, settlement: Settlement) -> Settled:
        """End a load."""
        if settlement.bill.is_uncertain:
            self._figures.count_uncertain(grant, settlement.bill)
        settlement = believed(grant.ask.source, settlement)
        if settlement.closed_by:
            self._record_closure(grant.ask.source, settlement.closed_by)
        if not grant.is_fallback:
            try:
                settled = await self._settle(grant, settlement)
                if settled == "stored":
                    self._remember(grant, settlement, in_redis=True)
                return settled
            except Unavailable:
                pass
        if not grant.is_fallback or grant.is_lost or settlement.closed_by:
            # A slot that was not used is given back all the same.
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
        """Keep the timeline for when Redis is away; one that a clear has overtaken is not."""
        if settlement.timeline is not None:
            self.memory.put_timeline(grant.ask.timeline_key, settlement.timeline, in_redis=in_redis)

    async def give_back(self, ask: Ask) -> None:
        """Give back the slot that the queue holds for ``ask``: it needs none."""
        if ask.slot is not None:
            await self._take_back(ask, ask.slot)

    def count_hit(self, source: Source) -> None:
        """Count a hit that needed no verdict."""
        self._monitor.count(source.name, _ONE_HIT)

    def count(self, source: Source, figures: Mapping[str, int]) -> None:
        """Add ``figures`` to today's of ``source``."""
        if figures:
            self._monitor.count(source.name, figures)

    async def look(self, source: str, key: str) -> Hit | None:
        """The fresh value under ``key``, without asking for anything: nothing is counted, or loaded."""
        try:
            return await self.fresh.look(source, key)
        except Unavailable:
            kept = self.memory.recall(key)
            is_fresh = kept is not None and kept.fresh_seconds > 0
            return Hit(kept.payload, kept.fresh_seconds) if kept is not None and is_fresh else None

    async def discard(self, ask: Ask) -> bool:
        """Remove a value that cannot be read; False when it may still be there."""
        damaged = [self._store.keys.entry(key) for key in (ask.request.key, ask.timeline_key) if key]
        try:
            await self._store.command("UNLINK", *damaged)
        except Unavailable:
            self.memory.discard(ask.request.key)
            # Where Redis refuses this command alone, it is asked again, and still has the value.
            return not self._store.is_available
        return True

    async def store_derived(self, ask: Ask, derive: Derive, payload: bytes, answer: bytes | None) -> None:
        """Keep an answer that was made of a timeline, for all, while that timeline is there."""
        keys, source = self._store.keys, ask.source
        call = script.StoreDerived(
            entry=keys.entry(ask.request.key),
            timeline=keys.entry(ask.timeline_key),
            outbox=keys.outbox(source.name),
            head=derive.head,
            payload=payload,
            stale_us=to_micros(source.stale_ttl),
            answer=answer or b"",
        )
        with contextlib.suppress(Unavailable):
            if await self._store.ask(script.DERIVE, call):
                self.fresh.expect(source.name, ask.request.key, fresh_until(derive.head))

    async def wait_for(self, join: Join, source: str, seconds: float) -> None:
        """Return when the load that ``join`` names is over, or after about ``seconds``."""
        if join.is_fallback:
            await self._fallback.wait_for(join.token, seconds)
            return
        give_up = io.now() + seconds
        wake = self._store.keys.wake(source, join.token)
        try:
            while (left := give_up - io.now()) > 0 and await self._store.first(wake, left) is None:
                pass
        except Unavailable:
            # Where Redis refuses this command alone, the next ask would be refused at once.
            if self._store.is_available:
                await io.world().sleep(min(seconds, REFUSED_SECONDS))

    # With Redis

    async def _admit(self, ask: Ask, token: str) -> Verdict:
        name, began = ask.source.name, io.now()
        while True:
            answer = await self._ask(ask, token)
            if isinstance(answer.reply, script.ClearedReply):
                self.fresh.logs[name] = read_log(answer.reply.log)
                continue
            verdict = self._read(ask, token, answer, answer.reply)
            is_in_time = answer.asked_at - began < GIVING_BACK_SECONDS
            if not (isinstance(verdict, Wait) and verdict.is_brief and is_in_time):
                return verdict
            await io.world().sleep(verdict.seconds)

    async def _ask(self, ask: Ask, token: str) -> Replied[script.Admitted | script.ClearedReply]:
        source, keys, key = ask.source, self._store.keys, ask.request.key
        timeline = ask.timeline_key or key
        constants, (usage, purses) = (
            self._preparation.constants_of(source),
            self._preparation.keys_of_today(source.name),
        )

        def call(terms: Terms) -> script.Admit:
            log = self.fresh.logs.get(source.name, NO_CLEARS)
            # In the order of its fields: to name them all would cost as much as all that they are made of.
            return script.Admit(
                terms.window,
                keys.entry(key),
                keys.lease(key),
                usage,
                keys.clears(source.name),
                purses,
                keys.entry(timeline),
                keys.lease(timeline),
                constants.limits,
                self._fractions[ask.lane],
                source.charge,
                self._hold_us,
                to_micros(ask.needed),
                terms.deadline_us,
                self._monitor.worker,
                token,
                source.cost,
                bool(ask.slot),
                terms.seen_before,
                to_micros(ask.patience),
                constants.deep_budget if ask.is_deep else constants.budget,
                constants.page_price,
                log.head,
                log.cleared_at(key),
                terms.process,
                ask.hours,
                max(log.cleared_at(key), log.cleared_at(timeline)),
            )

        want = Want(source.name, token, source.cost, source.limits, can_fall_back=ask.slot is None)
        return await self._limiter.take(script.ADMIT, want, call, tries=2)

    def _read(self, ask: Ask, token: str, asked: Replied[Any], found: script.Admitted) -> Verdict:
        name, now = ask.source.name, found.now
        match found:
            case script.GoReply():
                # The time runs from the ask: a process that stood still before it read the answer would send
                # too late.
                send_by = asked.asked_at + (found.start - now) / MICROS + self.send_seconds
                timeline = value_of(found.timeline) if found.timeline else None
                grant = Grant(ask, token, token, asked.asked_at, asked.starts_at, send_by, timeline=timeline)
                return Go(grant, value_of(found.entry) if found.entry else None)
            case script.HitReply():
                until = fresh_until(found.entry)
                self.fresh.expect(name, ask.request.key, until)
                return Hit(value_of(found.entry), (until - now) / MICROS)
            case script.StaleReply():
                return Stale(value_of(found.entry), read_failure(found.failure) if found.failure else None)
            case script.DeriveReply():
                return Derive(value_of(found.timeline), stamps_of(found.timeline))
            case script.JoinReply():
                return Join(found.token, max(0.0, (found.ends_at - now) / MICROS))
            case script.WaitReply():
                wait = _wait(found)
                if wait.why == "closed":
                    # Should Redis go, the upstream's word holds all the same.
                    self._limiter.closures.close(name, wait.seconds, wait.reason, is_from_redis=True)
                return wait
            case script.FailedReply():
                return Failed(read_failure(found.failure))

    async def _turn(self, grant: Grant, slot: str, bill: Bill) -> Grant | Wait:
        ask, keys, source = grant.ask, self._store.keys, grant.ask.source
        window, today = self._limiter.process_window(source.name), self._store.clock.today
        constants, (usage, purses) = (
            self._preparation.constants_of(source),
            self._preparation.keys_of_today(source.name),
        )

        def call(terms: Terms) -> script.Turn:
            return script.Turn(
                window=terms.window,
                lease=keys.lease(ask.request.key),
                usage=usage,
                billed=keys.billed(source.name, today),
                purses=purses,
                timeline_lease=keys.lease(ask.timeline_key or ask.request.key),
                limits=constants.limits,
                hold_us=self._hold_us,
                fraction=self._fractions[ask.lane] if ask.is_deep else 1.0,
                id=grant.slot,
                next_id=slot,
                cost=source.cost,
                deadline_us=terms.deadline_us,
                token=grant.token,
                worker=self._monitor.worker,
                budget=constants.deep_budget if ask.is_deep else constants.budget,
                page_price=constants.page_price,
                amount=to_micros(bill.dollars),
                process=terms.process,
                seen_before=terms.seen_before,
                once=once_of(bill),
            )

        def on_reply(_: script.TurnedReply | script.WaitReply) -> None:
            self._figures.record_billed(source.name, day_of(today), bill)
            # It is paid before it is committed, so that at no moment it is neither under way nor paid.
            window.purse.pay(to_micros(bill.most))
            window.commit(grant.slot, source.cost)

        want = Want(source.name, slot, source.cost, source.limits, can_fall_back=False)
        turn = await self._limiter.take(script.TURN, want, call, on_reply=on_reply)
        if isinstance(turn.reply, script.WaitReply):
            return _wait(turn.reply)
        send_by = turn.asked_at + self.send_seconds
        at = turn.asked_at
        return grant._replace(slot=slot, granted_at=at, starts_at=at, send_by=send_by)

    async def _settle(self, grant: Grant, settlement: Settlement) -> Settled:
        source, keys, today = grant.ask.source, self._store.keys, self._store.clock.today
        name, key, constants = source.name, grant.ask.request.key, self._preparation.constants_of(source)
        timeline = grant.ask.timeline_key or key
        window, (closed_until, reason) = (
            self._limiter.process_window(name),
            closure_by(settlement.closed_by, self._server_us),
        )

        def call(terms: Terms) -> script.Settle:
            return script.Settle(
                slots=terms.window.slots,
                state=terms.window.state,
                entry=keys.entry(key),
                lease=keys.lease(key),
                usage=keys.usage(name, today),
                woken=keys.wake(name, grant.token),
                outbox=keys.outbox(name),
                billed=keys.billed(name, today),
                timeline=keys.entry(timeline),
                timeline_lease=keys.lease(timeline),
                id=grant.slot,
                cost=source.cost,
                worker=self._monitor.worker,
                kind=settlement.ending,
                payload=payload_of(settlement),
                fresh_us=to_micros(source.cache_ttl * io.uniform(1 - TTL_JITTER, 1)),
                stale_us=to_micros(source.stale_ttl),
                amount=to_micros(settlement.bill.dollars),
                latency="" if settlement.seconds is None else latency_bucket(settlement.seconds),
                error_kind=error_kind(settlement),
                backoff_us=to_micros(backoff_seconds(settlement)),
                closed_until=closed_until,
                reason=reason,
                answer=settlement.answer or b"",
                pages=settlement.pages,
                token=grant.token,
                hints=pack_hints(settlement.hints, window.limits, self._server_us),
                limits=constants.limits,
                deadline_us=terms.deadline_us,
                budget=constants.budget,
                has_timeline=bool(grant.ask.timeline_key),
                timeline_payload=settlement.timeline or b"",
                timeline_us=to_micros(TIMELINE_SECONDS),
                once=once_of(settlement.bill),
            )

        found = await self._limiter.settle(script.SETTLE, name, call)
        self._figures.record_billed(name, day_of(today), settlement.bill)
        window.purse.pay(to_micros(settlement.bill.most))
        end_slot(window, grant, settlement)
        if grant.is_lost and found.is_ours:
            # Redis had granted it, and counted it as well.
            self._monitor.count(name, {"go": -1})
        return "stored" if found.is_stored else "dropped"

    async def _take_back(self, ask: Ask, token: str) -> None:
        """End a load that never began. What was not granted is left alone."""
        grant = Grant(ask, token, token, 0.0, 0.0, 0.0)
        try:
            await self._settle(grant, Settlement())
        except Unavailable:
            self._unsettled.append((grant, Settlement()))

    def _give_back(self) -> None:
        """End the loads that were over while Redis was away: nobody must wait for their leases."""
        for _ in range(len(self._unsettled)):
            try:
                io.run(self._settle(*self._unsettled[0]))
            except Refused:
                # The keys of one source are damaged, and the loads of the others are ended all the same.
                self._unsettled.rotate(-1)
            else:
                self._unsettled.popleft()

    def _new_id(self) -> str:
        # The pid keeps a forked child's ids apart from its parent's.
        return f"{self._prefix}{os.getpid():x}.{next(self._ids):x}"

    def _server_us(self, moment: datetime) -> int:
        """A moment of our wall clock in the server's time: how far either is off plays no part."""
        return round(self.fresh.now_us + (moment - io.utc_now()).total_seconds() * MICROS)

    # Without

    def _record_lost(self, ask: Ask, token: str, verdict: Verdict) -> Verdict:
        """Redis may have granted what it could not answer: it is told how that ended once it is back."""
        if isinstance(verdict, Go):
            return Go(verdict.grant._replace(is_lost=True), verdict.stale)
        self._unsettled.append((Grant(ask, token, token, 0.0, 0.0, 0.0, is_lost=True), Settlement()))
        return verdict

    def _record_closure(self, source: Source, closed_by: Failure) -> None:
        until = closed_by.retry_at
        seconds = BACKOFF_SECONDS if until is None else (until - io.utc_now()).total_seconds()
        if seconds > 0:
            self._limiter.closures.close(source.name, seconds, closed_by.message)


def _wait(found: script.WaitReply) -> Wait:
    """What a script says of a slot that cannot be had yet."""
    seconds = max(0.0, (found.retry_at - found.now) / MICROS)
    reason = found.reason.decode(errors="replace")
    return Wait(seconds, io.utc_now() + timedelta(seconds=seconds), cast(Why, found.code), reason)
