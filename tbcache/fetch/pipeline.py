"""What one request goes through, from top to bottom.

Request -> admit -> [hit | stale | derive | go | join | wait] -> load -> settle

A job says what is loaded and how: the sentiment of a symbol (``sentiment.py``), or what a function returns
(``tbcache.fetch.function``).
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Coroutine, Mapping
from contextvars import ContextVar
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Literal, TypeVar, cast

import msgspec

from tbcache.admission import (
    STOPPED,
    Admission,
    Admit,
    Ask,
    Derive,
    Failed,
    Go,
    Grant,
    Hit,
    Join,
    Merge,
    Settled,
    Settlement,
    Stale,
    Wait,
    bounded,
    traced,
)
from tbcache.cache import MISSING, get_cache_manager
from tbcache.fetch.job import Answered, Attempt, Job, Loaded
from tbcache.fetch.met import met_by
from tbcache.fetch.outbox import AnswerSink, get_outbox
from tbcache.fetch.pack import Packs
from tbcache.fetch.reader import TooLate, closing
from tbcache.fetch.sentiment import SentimentJob, unasked
from tbcache.fetch.upstream import Upstream
from tbcache.io import BLOCKING, finish, now, run, utc_now, world
from tbcache.io.asker import tell_load, tell_wait
from tbcache.io.deadline import seconds_left
from tbcache.io.description import described
from tbcache.io.log import get_logger
from tbcache.io.singleton import singleton
from tbcache.io.trace import Facts, link, span, tracer
from tbcache.models import (
    PATIENCE_SECONDS,
    Failure,
    FetchRequest,
    Lane,
    Origin,
    Outcome,
    SymbolSentiment,
    wait_seconds,
)
from tbcache.models.caller import current_caller
from tbcache.models.error import (
    AnswerPending,
    BudgetExhausted,
    Paused,
    RateLimited,
    TbcacheError,
    UpstreamError,
)
from tbcache.models.job import comes_again
from tbcache.models.price import NOTHING
from tbcache.monitoring import get_usage_monitor
from tbcache.settings import Source, get_settings
from tbcache.settings.database import why_unkept
from tbcache.store import Unavailable, get_store
from tbcache.store.codec import DecodeError, decode_sentiment

log = get_logger("tbcache.fetch")

T = TypeVar("T")

#: The loads that the running code is part of, or was begun by: who runs them, by token.
_WITHIN: ContextVar[Mapping[str, int]] = ContextVar("tbcache.loads", default=MappingProxyType({}))

#: Those who joined a load ask again at least so often (seconds), because another may have taken over the load
#: of a process that died.
JOIN_SECONDS = 2.0
#: After so many seconds a damaged value that could not be removed is looked at again.
REMOVAL_SECONDS = 0.25


class Pipeline:
    """Answers requests: from the cache, or from an upstream where admission allows it."""

    def __init__(self, admission: Admission, outbox: Callable[[], AnswerSink] = get_outbox) -> None:
        self.admission = admission
        self._outbox = outbox
        self._packs = Packs()
        self._counts = admission.ask_counts
        self._memory = admission.memory

    def run(
        self,
        upstream: Upstream,
        request: FetchRequest,
        *,
        lane: Lane = "interactive",
        patience: float = PATIENCE_SECONDS,
        needed: float = 0.0,
        slot: str | None = None,
    ) -> Outcome:
        """Answer ``request`` from the cache or the upstream; see :meth:`travel`."""
        return run(self.answer(upstream, request, lane=lane, patience=patience, needed=needed, slot=slot))

    async def answer(
        self,
        upstream: Upstream,
        request: FetchRequest,
        *,
        lane: Lane = "interactive",
        patience: float = PATIENCE_SECONDS,
        needed: float = 0.0,
        slot: str | None = None,
    ) -> Outcome:
        """Do what :meth:`run` does, as a coroutine."""
        patience = wait_seconds("patience", patience)
        source = upstream.source
        ask = Ask(source, request, lane, needed, slot, patience, can_fall_back=slot is None)
        if not needed and not slot:
            known = self.recall(source, request, is_new=ask.is_new)
            known = known or await self.find(source, request, is_new=ask.is_new)
            if known is not None:
                return self._outcome(request, Answered(known, "cache"))
        return await self.fetch(upstream, ask)

    async def fetch(self, upstream: Upstream, ask: Ask) -> Outcome:
        """Do what :meth:`answer` does, for a request whose answer is not in the memory of this process."""
        request = cast("FetchRequest", ask.request)
        if ask.is_new:
            self._counts.record(upstream.source.name, "pending", request.key)
        if why := await self.admission.delay.why_shut(upstream.source, request):
            await self.admission.give_back(ask)
            nothing = unasked(upstream, request, self.admission.now, why)
            return self._outcome(request, Answered(nothing, "cache"))
        job = SentimentJob(upstream, request, self.admission, self._outbox, self._packs)
        return self._outcome(request, await self.travel(job, ask))

    async def travel(self, job: Job[T], ask: Ask) -> Answered[T]:
        """The value that ``ask`` asks for, from the cache or loaded by ``job``.

        ``ask.patience`` is how many seconds to wait for a slot, or for the load of another. ``ask.needed`` is
        for how many seconds more the answer must be fresh. ``ask.slot`` is a slot that the queue holds for
        this request.

        Raises:
          RateLimited: there is no slot within the patience. BudgetExhausted: there is none today.
          AnswerPending: another has not loaded it within the patience.
          UpstreamError: the upstream has answered without a value, and there is no old one.
          ConfigurationError: a scorer or a rule of somebody's own has failed; what was read is kept.

        Any other exception is a bug, mostly in a parser. Those who wait for the same load get it
        as an UpstreamError, and nobody tries again for some seconds: the same answer would meet the same bug,
        and each try costs a slot. A load that is interrupted (by Ctrl-C, or by the time limit of a worker) is
        no failure. Whoever waits for it loads instead.
        """
        ask = msgspec.structs.replace(ask, caller=current_caller.get())
        try:
            if tracer() is None:
                # An ask that finds its answer pays for one look at the tracer, and nothing else.
                answered = await self._travel(job, ask, self.admission.admit)
            else:
                with span(f"fetch {job.source.name}", lambda: _facts(job, ask)) as running:
                    answered = await self._travel(job, ask, traced(self.admission.admit))
                    running.add({"tbcache.origin": answered.origin})
        except TbcacheError as error:
            met_by(job.source.name, error)
            # A job that comes again has no answer yet: where it was tried too often, the queue counts it.
            if not (ask.is_of_queue and comes_again(error, is_awaited=ask.lane != "prewarm")):
                self._count(ask, "failed")
            raise
        self._count(ask, answered.origin)
        return answered

    def _count(self, ask: Ask, origin: Origin | Literal["failed"]) -> None:
        """Count for its caller how an ask was answered; of one for which nobody asks, that it loads."""
        if ask.is_asked:
            self._counts.record(ask.source.name, origin)
        elif origin != "cache":
            self._counts.record(ask.source.name, "prewarm")

    async def _travel(self, job: Job[T], ask: Ask, admit: Admit) -> Answered[T]:
        name, key = job.source.name, job.request.key
        # A load within another load must end before the slot of the outer one does. What the outer load sends
        # later would count in no window.
        if (left := seconds_left()) < ask.patience:
            ask = msgspec.structs.replace(ask, patience=max(0.0, left))
        give_up = now() + ask.patience
        while True:
            token = self._memory.begin(key)
            match await admit(ask):
                case Hit(payload, seconds):
                    value = _peek(job, payload)
                    if value is MISSING:
                        await self._discard(job, ask, give_up)
                        continue
                    self._memory.put(key, job.kept(value, payload), seconds, token, len(payload))
                    return Answered(value, "cache")
                case Stale(payload, failure):
                    value = _peek(job, payload)
                    if value is MISSING:
                        await self._discard(job, ask, give_up)
                        continue
                    return Answered(value, "stale", failure)
                case Derive(timeline) as fresh:
                    derived = await job.derive(timeline)
                    if derived is None:
                        await self._discard(job, ask, give_up)
                        continue
                    await self.admission.store_derived(ask, fresh, derived.payload, derived.answer)
                    return Answered(derived.value, "cache")
                case Merge() as merge:
                    await self._merge(job, ask, merge)
                    continue
                case Failed(failure):
                    raise failure.to_error(name)
                case Go(grant, old, overdue):
                    stale = _peek(job, old)
                    has_some = stale is not MISSING and ask.may_be_old
                    if has_some and (give_up <= now() or ask.takes(overdue)):
                        world().spawn(functools.partial(self._refresh, job, grant, stale))
                        return Answered(stale, "stale")
                    with contextlib.suppress(TooLate):
                        return await (self._renew if has_some else self._load)(job, grant, stale)
                case Join() as join:
                    left, runner = give_up - now(), _WITHIN.get().get(join.token)
                    # A task or thread that the load has begun waits as all do: the load need not wait for it.
                    if left <= 0 or runner == world().runner():
                        if (stale := _peek(job, join.stale)) is not MISSING:
                            return Answered(stale, "stale")
                        who = "another worker" if runner is None else "the very call that asks for it"
                        raise AnswerPending(name, utc_now(), f"{who} is still fetching it")
                    tell_wait()
                    seconds = min(join.seconds, left, JOIN_SECONDS)
                    link(await self.admission.wait_for(join, name, seconds))
                case Wait(seconds) as wait:
                    if wait.why in STOPPED or now() + seconds > give_up:
                        limited = _limited(name, wait)
                        if (stale := _peek(job, wait.stale)) is not MISSING:
                            return Answered(stale, "stale", Failure.of(limited))
                        raise limited
                    tell_wait()
                    await world().sleep(seconds)
            # What a job asks again is asked for that job still, which comes with no slot any more.
            slot = "" if ask.is_of_queue else None
            ask = msgspec.structs.replace(ask, slot=slot, patience=max(0.0, give_up - now()))

    async def _merge(self, job: Job[Any], ask: Ask, merge: Merge) -> None:
        try:
            merged = await job.merge(merge)
        except Exception:
            # It is a bug, which the next ask is not to meet as well.
            await self.admission.store_merged(ask, merge, None)
            raise
        await self.admission.store_merged(ask, merge, merged)

    def _outcome(self, request: FetchRequest, answered: Answered[SymbolSentiment]) -> Outcome:
        sentiment, origin, failure = answered
        age = (self.admission.now - sentiment.as_of).total_seconds()
        return Outcome(request, sentiment, origin, 0.0 if origin == "live" else max(0.0, age), failure)

    async def _discard(self, job: Job[Any], ask: Ask, give_up: float) -> None:
        """Remove a damaged entry."""
        log.warning("cache.corrupt", source=job.source.name, key=job.request.key)
        if not await self.admission.discard(ask):
            await self._await_removal(job.source.name, give_up)

    async def _await_removal(self, source: str, give_up: float) -> None:
        """Wait for another process to remove a damaged value, as Redis does not let this one do so."""
        if now() + REMOVAL_SECONDS > give_up:
            raise AnswerPending(source, utc_now(), "its cached answer is damaged and cannot be removed")
        await world().sleep(REMOVAL_SECONDS)

    def recall(self, source: Source, request: FetchRequest, *, is_new: bool = True) -> SymbolSentiment | None:
        """The answer that this process has in memory, while it is known to be fresh: a hit without a round
        trip. ``is_new`` is that of an :class:`Ask`.
        """
        return self.recall_kept(source, request.key, SymbolSentiment, request.key if is_new else "")

    def recall_kept(self, source: Source, key: str, kind: type[T], counted: str = "") -> T | None:
        """What a job of ``source`` has put into memory under ``key``, if it is a ``kind``. ``counted`` is by
        what key the ask counts (see :class:`AskCounts`)."""
        if source.charge == "request":
            return None
        kept = self._memory.get(key)
        if not isinstance(kept, kind):
            return None
        self._counts.record_in_memory(counted or source.name)
        return kept

    async def find(
        self, source: Source, request: FetchRequest, *, is_new: bool = True
    ) -> SymbolSentiment | None:
        """The answer in Redis, where a fresh one is expected there. Such a hit costs one MGET. ``is_new`` is
        that of an :class:`Ask`.

        None where there is none. Then :meth:`fetch` finds out what is to be done.
        """
        if request.hours <= source.delay_hours:
            return None
        counted = request.key if is_new else ""
        return await self.find_kept(source, request.key, decode_sentiment, _as_it_is, counted)

    async def find_kept(
        self,
        source: Source,
        key: str,
        read: Callable[[bytes], T],
        kept: Callable[[T, bytes], object],
        counted: str = "",
    ) -> T | None:
        """Do what :meth:`find` does for any job, whose ``read`` and ``kept`` are given; ``counted`` is as in
        :meth:`recall_kept`."""
        memory = self._memory
        token = memory.begin(key) if memory.is_tracking else None
        try:
            hit = await self.admission.fresh.find(source, key)
            if hit is None:
                return None
            value = read(hit.payload)
        except (Unavailable, DecodeError):
            return None
        if token is not None:
            memory.put(key, kept(value, hit.payload), hit.fresh_seconds, token, len(hit.payload))
        self._counts.record(source.name, "hit", counted)
        return value

    def close(self) -> None:
        """Wait until the refreshes in the background are over."""
        BLOCKING.close()

    async def _refresh(self, job: Job[T], grant: Grant, stale: T) -> Answered[T]:
        with span(f"refresh {job.source.name}", lambda: _facts(job, grant.ask)):
            return await self._load(job, grant, stale)

    async def _renew(self, job: Job[T], grant: Grant, stale: T) -> Answered[T]:
        """Do what :meth:`_load` does for one who would rather have the old value than a bug of a load."""
        try:
            return await self._load(job, grant, stale)
        except TooLate:
            raise
        except Exception as error:
            return Answered(stale, "stale", _bug(error))

    async def _load(self, job: Job[T], grant: Grant, stale: T) -> Answered[T]:
        """Load and settle. ``stale`` is the value to answer with where that fails, or MISSING.

        Raises:
          TooLate: nothing was sent. The slot and the lease were given back.
        """
        await self._await_start(grant)
        tell_load()
        attempt, started = Attempt(grant), now()
        try:
            loaded = await _within(grant.token, job.load(attempt))
            if loaded.settlement == Settlement():
                await self.admission.settle(attempt.grant, Settlement())
                return Answered(loaded.value, "cache")
            await self._settle(job, loaded, attempt, now() - started)
        except TooLate:
            await self.admission.settle(attempt.grant, Settlement())
            raise
        except UpstreamError as error:
            failure = await self._settle_failure(job, attempt, error, now() - started)
            if stale is MISSING:
                raise
            return Answered(stale, "stale", failure)
        except Exception as error:
            bug = _bug(error)
            log.error("fetch.broke", source=job.source.name, **job.names, error=described(error)[:200])
            broken = Settlement(failure=bug, pages=attempt.sent, bill=attempt.bill)
            await self.admission.settle(attempt.grant, broken)
            raise
        except BaseException:
            if attempt.is_ours:
                interrupted = Settlement(is_interrupted=True, pages=attempt.sent, bill=attempt.bill)
                world().undo(functools.partial(self.admission.settle, attempt.grant, interrupted))
            raise
        if loaded.error is not None:
            raise loaded.error
        return Answered(loaded.value, "live")

    async def _settle_failure(
        self, job: Job[T], attempt: Attempt, error: UpstreamError, seconds: float
    ) -> Failure:
        failure = bounded(job.source, Failure.of(error))
        settlement = Settlement(
            failure=failure, closed_by=closing(error), seconds=seconds, pages=attempt.sent, bill=attempt.bill
        )
        await self.admission.settle(attempt.grant, settlement)
        # The caller may sleep until this moment, so it must be the one that the closure itself goes by.
        error.retry_at = failure.retry_at
        log.warning(
            "fetch.failed", source=job.source.name, **job.names, kind=failure.kind, reason=failure.message
        )
        return failure

    async def _settle(self, job: Job[T], loaded: Loaded[T], attempt: Attempt, seconds: float) -> None:
        settlement = replace(loaded.settlement, seconds=seconds)

        async def settle() -> Settled:
            where = await self.admission.settle(loaded.grant, settlement)
            # The load is billed and counted now. An error after this must not bill it again.
            attempt.bill, attempt.sent = NOTHING, 0
            return where

        where = await finish(settle)
        await world().offload(lambda: job.settled(loaded, where))
        if loaded.error is not None:
            log.error("fetch.broke", source=job.source.name, **job.names, error=str(loaded.error))
            return
        log.info(
            "fetch.finished",
            source=job.source.name,
            **job.names,
            pages=settlement.pages,
            **loaded.facts,
            seconds=round(seconds, 3),
        )

    async def _await_start(self, grant: Grant) -> None:
        """Sleep until the promised slot begins. Where the sleep is interrupted, the slot is given back."""
        try:
            tell_wait()
            while (left := grant.starts_at - now()) > 0:
                await world().sleep(left)
        except BaseException:
            world().undo(functools.partial(self.admission.settle, grant, Settlement()))
            raise


async def _within(token: str, load: Coroutine[Any, Any, T]) -> T:
    """What ``load`` brings. Where it asks for its own key, it does not wait for itself."""
    before = _WITHIN.set({**_WITHIN.get(), token: world().runner()})
    try:
        return await load
    finally:
        # A coroutine that is collected unfinished is not in its own context any more.
        with contextlib.suppress(ValueError):
            _WITHIN.reset(before)


def _facts(job: Job[Any], ask: Ask) -> Facts:
    names = {f"tbcache.{name}": value for name, value in job.names.items()}
    return {"tbcache.source": job.source.name, **names, "tbcache.lane": ask.lane}


def _as_it_is(value: T, payload: bytes) -> T:
    return value


def _peek(job: Job[T], payload: bytes | None) -> Any:
    """The value in a payload; MISSING where there is no payload, or it is damaged."""
    if payload is None:
        return MISSING
    try:
        return job.read(payload)
    except DecodeError:
        return MISSING


def _limited(source: str, wait: Wait) -> RateLimited:
    if wait.why == "budget":
        return BudgetExhausted(source, wait.retry_at, wait.reason)
    if wait.why in STOPPED:
        return Paused(source, wait.retry_at, wait.reason)
    return RateLimited(source, wait.retry_at, wait.reason)


def _bug(error: Exception) -> Failure:
    return Failure("error", f"the fetch broke off ({type(error).__name__})", 0, None)


@singleton
def get_pipeline() -> Pipeline:
    """The pipeline of this process."""
    if (reason := why_unkept(get_settings())) is not None:
        log.warning("repository.absent", reason=reason)
    memory = get_cache_manager().memory
    return Pipeline(Admission(get_store(), get_settings(), get_usage_monitor(), memory))
