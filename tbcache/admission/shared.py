"""Admission with Redis: what scripts decide for all processes together."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, cast

import msgspec

import tbcache.io as io
from tbcache.admission import script
from tbcache.admission.closure import closure_by, pack_hints
from tbcache.admission.ending import (
    TIMELINE_SECONDS,
    backoff_seconds,
    end_slot,
    error_kind,
    once_of,
    payload_of,
    read_failure,
)
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
from tbcache.io.trace import NOWHERE, Carrier
from tbcache.limiter import Replied, Terms, Want, limiter_of
from tbcache.limiter.process_window import GIVING_BACK_SECONDS
from tbcache.models import Lane
from tbcache.models.price import Bill
from tbcache.monitoring import UsageMonitor, latency_bucket
from tbcache.settings import Settings
from tbcache.store import Store
from tbcache.store.clear import NO_CLEARS, read_log
from tbcache.store.envelope import fresh_until, stamps_of, value_of
from tbcache.store.key import entry_and_lease
from tbcache.store.wire import MICROS, day_of, to_micros

#: A request must be sent and answered within this part of the time for which its slot is held. The rest
#: allows for this process's clock, which may be slower than the server's.
SEND_PART = 0.8
#: By up to this part of its time a value ends earlier: those that were stored together do not end together.
TTL_JITTER = 0.05


class SharedAdmission:
    """Gives verdicts by the windows and the leases that all processes share.

    Every method raises Unavailable while Redis is away.
    """

    def __init__(
        self, store: Store, settings: Settings, monitor: UsageMonitor, figures: Figures, fresh: Fresh
    ) -> None:
        self._store = store
        self._limiter = limiter_of(store)
        self._monitor = monitor
        self._figures = figures
        self._fresh = fresh
        self._fractions: dict[Lane, float] = {"interactive": 1.0, "prewarm": settings.prewarm_share}
        self._hold_us = to_micros(settings.lease_seconds)
        #: How long a request may take, from its grant to its answer.
        self.send_seconds = settings.lease_seconds * SEND_PART
        self.preparation = Preparation(self._limiter)

    async def admit(self, ask: Ask, token: str) -> Verdict:
        source, keys, key = ask.source, self._store.keys, ask.request.key
        name, timeline = source.name, ask.timeline_key or key
        constants = self.preparation.constants_of(source)

        def call(terms: Terms) -> script.Admit:
            log, today = self._fresh.logs.get(name, NO_CLEARS), self._store.today.of(name)
            entry, lease = entry_and_lease(keys, key)
            timeline_entry, timeline_lease = entry_and_lease(keys, timeline)
            cleared = log.cleared_at(key)
            # The values are in the order of the fields. Naming them would take as long as making all of them.
            return script.Admit(
                terms.window,
                entry,
                lease,
                today.usage,
                constants.clears,
                today.purses,
                timeline_entry,
                timeline_lease,
                constants.limits,
                self._fractions[ask.lane],
                source.charge,
                self._hold_us,
                to_micros(ask.needed),
                constants.ttl_us,
                constants.ttl_us if ask.may_wait else 0,
                terms.asked_us,
                terms.deadline_us,
                self._monitor.worker if ask.is_asked else "",
                token,
                source.cost,
                bool(ask.slot),
                ask.slot is not None,
                terms.seen_before,
                to_micros(ask.patience),
                constants.deep_budget if ask.is_deep else constants.budget,
                constants.page_price,
                log.head,
                cleared,
                terms.process,
                ask.hours,
                max(cleared, log.cleared_at(timeline)),
            )

        want = Want(name, token, source.cost, source.limits, ask.can_fall_back)
        began = io.now()
        while True:
            answer = await self._limiter.take(script.ADMIT, want, call)
            if isinstance(answer.reply, script.ClearedReply):
                self._fresh.logs[name] = read_log(answer.reply.log)
                continue
            verdict = self._read(ask, token, answer, answer.reply)
            is_in_time = answer.asked_at - began < GIVING_BACK_SECONDS
            if not (isinstance(verdict, Wait) and verdict.is_brief and is_in_time):
                return verdict
            await io.world().sleep(verdict.seconds)

    def _read(self, ask: Ask, token: str, asked: Replied[Any], found: script.Admitted) -> Verdict:
        name, now = ask.source.name, found.now
        match found:
            case script.GoReply():
                # The time counts from the ask. A process that was suspended before it read the answer would
                # otherwise send too late.
                send_by = asked.asked_at + (found.start - now) / MICROS + self.send_seconds
                timeline = value_of(found.timeline) if found.timeline else None
                began = asked.asked_at
                grant = Grant(
                    ask,
                    token,
                    token,
                    began,
                    asked.starts_at,
                    send_by,
                    timeline=timeline,
                    began=began,
                    promised_at=asked.promised_at,
                )
                overdue = (now - fresh_until(found.entry)) / MICROS if found.entry else 0.0
                return Go(grant, _old(found), overdue)
            case script.HitReply():
                until = fresh_until(found.entry)
                self._fresh.expect(name, ask.request.key, until)
                return Hit(value_of(found.entry), (until - now) / MICROS)
            case script.StaleReply():
                failure = read_failure(found.failure) if found.failure else None
                return Stale(value_of(found.entry), failure)
            case script.DeriveReply():
                return Derive(value_of(found.timeline), stamps_of(found.timeline))
            case script.JoinReply():
                return Join(found.token, max(0.0, (found.ends_at - now) / MICROS), _old(found))
            case script.WaitReply():
                wait = _wait(found)
                if wait.why == "closed":
                    # The closure holds for this process even if Redis goes away now.
                    self._limiter.closures.close(name, wait.seconds, wait.reason, is_from_redis=True)
                elif wait.why == "paused":
                    self._limiter.closures.pause(name, wait.reason)
                return wait
            case script.FailedReply():
                return Failed(read_failure(found.failure))

    async def turn(self, grant: Grant, slot: str, bill: Bill) -> Grant | Wait:
        ask, keys, source = grant.ask, self._store.keys, grant.ask.source
        window, today = self._limiter.process_window(source.name), self._store.clock.today
        constants, day_keys = self.preparation.constants_of(source), self._store.today.of(source.name)

        def call(terms: Terms) -> script.Turn:
            return script.Turn(
                window=terms.window,
                lease=keys.lease(ask.request.key),
                usage=day_keys.usage,
                billed=keys.billed(source.name, today),
                purses=day_keys.purses,
                timeline_lease=keys.lease(ask.timeline_key or ask.request.key),
                limits=constants.limits,
                hold_us=self._hold_us,
                fraction=self._fractions[ask.lane] if ask.is_deep else 1.0,
                id=grant.slot,
                next_id=slot,
                cost=source.cost,
                asked_us=terms.asked_us,
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
            self._figures.record_billed(grant, day_of(today), bill)
            # The page is paid before its slot is committed. In between it would be neither under way nor
            # paid, and another thread could spend its money again.
            window.purse.pay(to_micros(bill.most))
            window.commit(grant.slot, source.cost)

        want = Want(source.name, slot, source.cost, source.limits, can_fall_back=False)
        window.may_end(grant.slot, source.cost)
        turn = await self._limiter.take(script.TURN, want, call, on_reply=on_reply)
        if isinstance(turn.reply, script.WaitReply):
            return _wait(turn.reply)
        send_by = turn.asked_at + self.send_seconds
        at = turn.asked_at
        return msgspec.structs.replace(grant, slot=slot, granted_at=at, starts_at=at, send_by=send_by)

    async def settle(self, grant: Grant, settlement: Settlement, loader: Carrier = NOWHERE) -> Settled:
        """``loader`` is told to those who wait for the load."""
        source, keys, today = grant.ask.source, self._store.keys, self._store.clock.today
        name, key, constants = source.name, grant.ask.request.key, self.preparation.constants_of(source)
        timeline = grant.ask.timeline_key or key
        window = self._limiter.process_window(name)

        def call(terms: Terms) -> script.Settle:
            # By the time of this ask: the one before may have told that the server's clock was set.
            closed_until, reason = closure_by(settlement.closed_by, self._server_us)
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
                queue=constants.queue,
                others=tuple(map(keys.entry, grant.ask.others(settlement.hours))),
                id=grant.slot,
                cost=source.cost,
                worker=self._monitor.worker,
                kind=settlement.ending,
                payload=payload_of(settlement),
                fresh_us=to_micros(source.cache_ttl * io.uniform(1 - TTL_JITTER, 1)),
                stale_us=to_micros(source.stale_ttl),
                amount=to_micros(settlement.bill.dollars),
                latency="" if settlement.seconds is None else latency_bucket(settlement.seconds),
                took_us=to_micros(settlement.seconds or 0.0),
                error_kind=error_kind(settlement),
                backoff_us=to_micros(backoff_seconds(settlement)),
                closed_until=closed_until,
                reason=reason,
                answer=settlement.answer or b"",
                pages=settlement.pages,
                token=grant.token,
                hints=pack_hints(settlement.hints, window.limits, self._server_us),
                limits=constants.limits,
                asked_us=terms.asked_us,
                deadline_us=terms.deadline_us,
                budget=constants.budget,
                has_timeline=bool(grant.ask.timeline_key),
                timeline_payload=settlement.timeline or b"",
                timeline_us=to_micros(TIMELINE_SECONDS),
                loader=loader.get("traceparent", "1"),
                once=once_of(settlement.bill),
            )

        window.may_end(grant.slot, source.cost)
        found = await self._limiter.settle(script.SETTLE, name, call)
        self._figures.record_billed(grant, day_of(today), settlement.bill)
        window.purse.pay(to_micros(settlement.bill.most))
        end_slot(window, grant, settlement)
        if grant.is_lost and found.is_ours and grant.ask.is_asked:
            # Redis had granted it after all, so it was counted by the script and by the fallback.
            # No figure shrinks: who compares two moments would take it for one that has begun anew.
            self._monitor.count(name, {"regranted": 1})
        return "stored" if found.is_stored else "dropped"

    def _server_us(self, moment: datetime) -> int:
        """A moment of this process's wall clock in the server's time (us). Only the distance to now counts,
        so it does not matter whether either clock is right.
        """
        return round(self._fresh.now_us + (moment - io.utc_now()).total_seconds() * MICROS)


def _wait(found: script.WaitReply) -> Wait:
    """The verdict for a slot that cannot be had yet, by the reply of a script."""
    seconds = max(0.0, (found.retry_at - found.now) / MICROS)
    reason = found.reason.decode(errors="replace")
    retry_at = io.utc_now() + timedelta(seconds=seconds)
    return Wait(seconds, retry_at, cast(Why, found.code), reason, _old(found))


def _old(found: script.GoReply | script.JoinReply | script.WaitReply) -> bytes | None:
    return value_of(found.entry) if found.entry else None
