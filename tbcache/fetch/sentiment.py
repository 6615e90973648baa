"""The sentiment of a symbol, as a job of the pipeline: fetch pages -> parse -> score -> merge."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from tbcache.admission import Admission, Merge, Merged, Reach, Settled, Settlement, Wait
from tbcache.fetch.job import Attempt, Derived, Loaded
from tbcache.fetch.outbox import AnswerSink
from tbcache.fetch.pack import SINGLE_SECONDS, Pack, Packs, is_of_request
from tbcache.fetch.plan import stretches, to_recheck
from tbcache.fetch.reader import Fetched, PageReader
from tbcache.fetch.record import (
    has_baseline,
    load_result,
    merged_with,
    nothing,
    record_of,
    record_to_extend,
    rescored,
    sentiment_of,
)
from tbcache.fetch.upstream import CountingUpstream, RecheckingUpstream, Upstream
from tbcache.io import world
from tbcache.io.deadline import until
from tbcache.io.log import get_logger
from tbcache.models import FetchRequest, SymbolSentiment
from tbcache.models.error import UpstreamError
from tbcache.models.price import NOTHING
from tbcache.models.request import Stretch
from tbcache.repository import Answer, encode_answer
from tbcache.scoring import name_of
from tbcache.settings import Source
from tbcache.store.codec import decode_sentiment, encode_sentiment
from tbcache.timeline import Record

log = get_logger("tbcache.fetch")

#: The most pages of a load that fills older hours. It holds the lease of its symbol all that time.
DEEP_PAGES = 12


class SentimentJob:
    """One request for the sentiment of a symbol, and the upstream that knows it."""

    def __init__(
        self,
        upstream: Upstream,
        request: FetchRequest,
        admission: Admission,
        outbox: Callable[[], AnswerSink],
        packs: Packs,
    ) -> None:
        self._upstream = upstream
        self._admission = admission
        self._outbox = outbox
        self._packs = packs
        self._answer: Answer | None = None
        self._naive: Mapping[str, int] = {}
        self._symbols = request.symbols
        self.request = replace(request, others=())

    @property
    def source(self) -> Source:
        return self._upstream.source

    @property
    def names(self) -> Mapping[str, str]:
        return {"symbol": self.request.symbol}

    def read(self, payload: bytes) -> SymbolSentiment:
        return decode_sentiment(payload)

    def kept(self, value: SymbolSentiment, payload: bytes) -> SymbolSentiment:
        return value

    async def derive(self, packed: bytes) -> Derived[SymbolSentiment] | None:
        return await world().offload(lambda: _derived(self._upstream, self.request, packed))

    async def merge(self, merge: Merge) -> Merged | None:
        parts = merge.bought.parts
        return await world().offload(lambda: merged_with(self._upstream, self.request, merge.timeline, parts))

    async def load(self, attempt: Attempt) -> Loaded[SymbolSentiment]:
        reach = await self._admission.delay.reach(self.source, self.request)
        if reach is None:
            why = await self._admission.delay.why_shut(self.source, self.request)
            empty = unasked(self._upstream, self.request, self._admission.now, why or "plan_unknown")
            return Loaded(empty, attempt.grant, Settlement())
        timeline = attempt.grant.timeline
        known = None
        if timeline is not None:
            known = await world().offload(lambda: record_to_extend(self._upstream, timeline, self.request))
        pack = Pack(self._upstream, self._admission, self._outbox)
        try:
            return await self._load(attempt, reach, known, pack)
        finally:
            pack.close()

    async def _load(
        self, attempt: Attempt, reach: Reach, known: Record | None, pack: Pack
    ) -> Loaded[SymbolSentiment]:
        fetched = await self._read(attempt, reach, known, pack)
        part = fetched if known is None else pack.part_of(fetched, self.request, known)
        # The members first: this load counts from when its answer is stored, and nobody is told of it before.
        await pack.settle(fetched)
        found = await world().offload(
            lambda: load_result(self._upstream, self.request, known, part, lambda: self._admission.now)
        )
        answer, self._naive = found.answer, found.naive
        self._answer = answer
        settlement = replace(
            found.settlement(is_kept=self._upstream.persist_to_db, is_alone=attempt.grant.is_fallback),
            closed_by=fetched.closed_by,
            pages=fetched.pages,
            bill=attempt.bill,
            hints=fetched.hints,
        )
        facts = {"items": len(part.items)} | ({"others": len(pack.members)} if pack.members else {})
        return Loaded(answer.sentiment, attempt.grant, settlement, facts, found.error)

    def settled(self, loaded: Loaded[SymbolSentiment], where: Settled) -> None:
        if where == "stored":
            self._admission.count(self.source, self._naive)
        if self._answer is None or not self._upstream.persist_to_db:
            return
        if where == "fallback":
            self._outbox().accept(self._answer.with_stored_at(self._admission.now))
        else:
            self._outbox().nudge()

    async def _read(self, attempt: Attempt, reach: Reach, known: Record | None, pack: Pack) -> Fetched:
        now = self._admission.now
        # Where the plan's delay is probed, the request is for other hours than the answer: no stretch fits
        # it.
        parts = stretches(known, self.request, self.source, now) if reach.request == self.request else ()
        if self.request.is_deep:
            return await self._read_deep(attempt, reach, known, parts)
        if len(parts) == 1 and not attempt.grant.is_fallback and self._packs.takes(self._upstream):
            await pack.gather(attempt.grant.ask, self._symbols, parts[0])
        if known is None or not pack.members:
            return await self._read_pages(attempt, reach, known, parts)
        together = replace(self.request, others=pack.symbols)
        try:
            stretch = pack.stretch(parts[0])
            return await self._read_pages(attempt, reach._replace(request=together), known, (stretch,))
        except UpstreamError as error:
            if not is_of_request(error):
                raise
            await self._end_pack(attempt, error)
        pack.close()
        return await self._read_pages(attempt, reach, known, parts)

    async def _read_deep(
        self, attempt: Attempt, reach: Reach, known: Record | None, parts: Sequence[Stretch]
    ) -> Fetched:
        pages, ids = max(DEEP_PAGES, self.source.pages), tuple[str, ...]()
        if known is not None and isinstance(self._upstream, RecheckingUpstream):
            ids = to_recheck(known, self.request, self.source, self._admission.now)
        fetched = await self._read_pages(attempt, reach, known, parts, pages, ids)
        return replace(fetched, counts=await self._counts(attempt, known))

    async def _counts(self, attempt: Attempt, known: Record | None) -> Mapping[datetime, int]:
        """How many items there were in the last days, where no baseline is known without it."""
        if (
            known is None
            or not isinstance(self._upstream, CountingUpstream)
            or has_baseline(known, self.request)
        ):
            return {}
        with until(attempt.grant.send_by):
            return await self._upstream.item_counts(self.request, self._admission.now)

    async def _end_pack(self, attempt: Attempt, error: UpstreamError) -> None:
        """Take a slot for another try, without the members of the pack.

        Raises:
          UpstreamError: there is no slot; it is ``error``, the refusal of the first try.
        """
        self._packs.refuse(self.source.name)
        log.warning("pack.refused", source=self.source.name, reason=error.message, seconds=SINGLE_SECONDS)
        turn = await self._admission.turn(attempt.grant, attempt.bill)
        attempt.bill = NOTHING
        if isinstance(turn, Wait):
            raise error
        attempt.grant = turn

    async def _read_pages(
        self,
        attempt: Attempt,
        reach: Reach,
        known: Record | None,
        parts: Sequence[Stretch],
        pages: int | None = None,
        ids: Sequence[str] = (),
    ) -> Fetched:
        admission = self._admission
        try:
            fetched = await PageReader(
                self._upstream,
                attempt,
                admission.turn,
                admission.may_send,
                admission.now,
                reach,
                parts,
                pages,
                ids,
            ).read()
        except BaseException:
            world().undo(functools.partial(admission.delay.give_up, self.source))
            raise
        before = [] if known is None else [version.item for version in known.timeline.versions]
        await admission.delay.learn(self.source, reach.request, [*fetched.read, *before], admission.now)
        return fetched


def _derived(upstream: Upstream, request: FetchRequest, packed: bytes) -> Derived[SymbolSentiment] | None:
    record = record_of(packed, request)
    if record is None:
        return None
    record = rescored(record, upstream.analyzer, request.symbol)
    sentiment = sentiment_of(record, request, upstream.voices)
    # By rules of one's own it is nobody else's answer, and has no row.
    is_kept = upstream.persist_to_db and not request.rules
    answer = encode_answer(Answer(sentiment)) if is_kept else None
    return Derived(sentiment, encode_sentiment(sentiment), answer)


def unasked(upstream: Upstream, request: FetchRequest, as_of: datetime, why: str) -> SymbolSentiment:
    """The empty answer, where the plan's delay hides all the hours that were asked for, or may do so."""
    return nothing(request, as_of, why, name_of(upstream.analyzer))
