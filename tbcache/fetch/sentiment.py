"""The sentiment of a symbol, as a job of the pipeline: fetch pages -> parse -> score -> merge."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import NamedTuple

from tbcache.admission import Admission, Reach, Settled, Settlement
from tbcache.fetch.job import Attempt, Derived, Loaded
from tbcache.fetch.line import learned, recalled, rescored, told
from tbcache.fetch.plan import stretches
from tbcache.fetch.reader import Fetched, PageReader, Upstream
from tbcache.io import world
from tbcache.models import FetchRequest, SymbolSentiment
from tbcache.repository import Answer, encode_answer
from tbcache.repository.outbox import AnswerSink
from tbcache.scoring import aggregate, name_of
from tbcache.settings import Source
from tbcache.store.codec import decode_sentiment, encode_sentiment
from tbcache.timeline import Record, encode_record


class SentimentJob:
    """One request for the sentiment of a symbol, and the upstream that knows it."""

    def __init__(
        self,
        upstream: Upstream,
        request: FetchRequest,
        admission: Admission,
        outbox: Callable[[], AnswerSink],
    ) -> None:
        self._upstream = upstream
        self._admission = admission
        self._outbox = outbox
        self._answer: Answer | None = None
        self.request = request

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

    async def derive(self, line: bytes) -> Derived[SymbolSentiment] | None:
        return await world().offload(lambda: _derived(self._upstream, self.request, line))

    async def load(self, attempt: Attempt) -> Loaded[SymbolSentiment]:
        reach = await self._admission.delay.reach(self.source, self.request)
        if reach is None:
            nothing = delayed(self._upstream, self.request, self._admission.now)
            return Loaded(nothing, attempt.grant, Settlement())
        line = attempt.grant.line
        known = None if line is None else await world().offload(lambda: recalled(line, self.request))
        fetched = await self._read_pages(attempt, reach, known)
        read_at = self._admission.now
        made = await world().offload(lambda: _made(self._upstream, self.request, known, fetched, read_at))
        answer = self._answer = made.answer
        settlement = Settlement(
            payload=encode_sentiment(answer.sentiment),
            line=made.line,
            closed_by=fetched.closed_by,
            pages=fetched.pages,
            bill=attempt.bill,
            answer=encode_answer(answer) if self._upstream.persist_to_db else None,
            hints=fetched.hints,
        )
        return Loaded(answer.sentiment, attempt.grant, settlement, {"items": len(fetched.items)})

    def settled(self, loaded: Loaded[SymbolSentiment], where: Settled) -> None:
        if self._answer is None or not self._upstream.persist_to_db:
            return
        if where == "fallback":
            self._outbox().accept(self._answer)
        else:
            self._outbox().nudge()

    async def _read_pages(self, attempt: Attempt, reach: Reach, known: Record | None) -> Fetched:
        admission, now = self._admission, self._admission.now
        # To find out about the plan, other hours are asked for than those that an answer is of.
        parts = stretches(known, self.request, self.source, now) if reach.request == self.request else ()
        try:
            fetched = await PageReader(
                self._upstream, attempt, admission.turn, admission.may_send, now, reach, parts
            ).read()
        except BaseException:
            world().undo(functools.partial(admission.delay.give_up, self.source))
            raise
        before = [] if known is None else [version.item for version in known.timeline.versions]
        await admission.delay.learn(self.source, reach.request, [*fetched.read, *before], admission.now)
        return fetched


class _Made(NamedTuple):
    """What a load comes to: the answer, and the timeline that it was made of as JSON."""

    answer: Answer
    line: bytes


def _made(
    upstream: Upstream, request: FetchRequest, known: Record | None, fetched: Fetched, read_at: datetime
) -> _Made:
    found = learned(known, fetched, request, upstream.analyzer, read_at)
    sentiment = told(found.record, request, upstream.voices)
    return _Made(Answer(sentiment, found.news, found.reads), encode_record(found.record))


def _derived(upstream: Upstream, request: FetchRequest, line: bytes) -> Derived[SymbolSentiment] | None:
    record = recalled(line, request)
    if record is None:
        return None
    record = rescored(record, upstream.analyzer, request.symbol)
    sentiment = told(record, request, upstream.voices)
    answer = encode_answer(Answer(sentiment)) if upstream.persist_to_db else None
    return Derived(sentiment, encode_sentiment(sentiment), answer)


def delayed(upstream: Upstream, request: FetchRequest, as_of: datetime) -> SymbolSentiment:
    """What is known where all the hours that were asked for lie in the plan's delay: nothing."""
    return aggregate(
        request,
        (),
        (),
        as_of=as_of,
        complete=False,
        since=None,
        reason="plan_delay",
        scorer=name_of(upstream.analyzer),
    )
