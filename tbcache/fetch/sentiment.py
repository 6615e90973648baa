"""The sentiment of a symbol, as a job of the pipeline: fetch pages -> parse -> score."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from datetime import datetime

from tbcache.admission import Admission, Reach, Settled, Settlement
from tbcache.fetch.job import Attempt, Loaded
from tbcache.fetch.reader import Fetched, PageReader, Upstream
from tbcache.io import world
from tbcache.models import FetchRequest, SymbolSentiment
from tbcache.repository import Answer, encode_answer
from tbcache.repository.outbox import AnswerSink
from tbcache.scoring import aggregate, score_items
from tbcache.settings import Source
from tbcache.store.codec import decode_sentiment, encode_sentiment


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

    async def load(self, attempt: Attempt) -> Loaded[SymbolSentiment]:
        reach = await self._admission.delay.reach(self.source, self.request)
        if reach is None:
            nothing = delayed(self._upstream, self.request, self._admission.now)
            return Loaded(nothing, attempt.grant, Settlement())
        fetched = await self._read_pages(attempt, reach)
        as_of = self._admission.now
        answer = self._answer = await world().offload(
            lambda: _answer(self._upstream, self.request, fetched, as_of)
        )
        settlement = Settlement(
            payload=encode_sentiment(answer.sentiment),
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
        if where == "local":
            self._outbox().accept(self._answer)
        else:
            self._outbox().nudge()

    async def _read_pages(self, attempt: Attempt, reach: Reach) -> Fetched:
        admission = self._admission
        try:
            fetched = await PageReader(
                self._upstream, attempt, admission.turn, admission.may_send, admission.now, reach
            ).read()
        except BaseException:
            world().undo(functools.partial(admission.delay.give_up, self.source))
            raise
        await admission.delay.learn(self.source, reach.request, fetched.read, admission.now)
        return fetched


def _answer(upstream: Upstream, request: FetchRequest, fetched: Fetched, as_of: datetime) -> Answer:
    scores = score_items(fetched.items, upstream.analyzer, request.symbol)
    sentiment = aggregate(
        request,
        fetched.items,
        scores,
        as_of=as_of,
        complete=fetched.reason is None,
        since=fetched.since,
        reason=fetched.reason,
        until=fetched.until,
        scorer=upstream.analyzer,
        voices=upstream.voices,
    )
    return Answer(sentiment, tuple(zip(fetched.items, scores, strict=True)))


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
        scorer=upstream.analyzer,
    )
