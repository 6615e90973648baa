"""What a load adds to the record of a symbol, and the answer that follows from a record."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from tbcache.admission import Merged, Settlement
from tbcache.fetch.naive import naive_figures
from tbcache.fetch.reader import LEAST_BEHIND, MOST_BEHIND, Fetched
from tbcache.fetch.upstream import ScoringUpstream, Upstream, search_of
from tbcache.io.log import get_logger
from tbcache.models import Failure, FetchRequest, Item, SymbolSentiment
from tbcache.models.error import ConfigurationError
from tbcache.repository import Answer, encode_answer
from tbcache.scoring import Scorer, VoiceRule, aggregate, name_of, score_items
from tbcache.store.codec import encode_sentiment
from tbcache.timeline import (
    NOT_YET,
    PRIVATE,
    RETOLD,
    Corrupt,
    Load,
    Read,
    Record,
    Scored,
    Span,
    Timeline,
    changed,
    compared,
    counted_by_upstream,
    covers_less,
    decode_record,
    encode_record,
    merged,
    pack_record,
    uses_upstream,
)

log = get_logger("tbcache.fetch")

#: A clock that went back by more was set; by less, our estimate of the server's clock was corrected.
_STEP = timedelta(minutes=1)
#: The smallest step between two loads: ``read_at`` is what tells them apart.
_RESOLUTION = timedelta(microseconds=1)
_FAR = datetime.max.replace(tzinfo=UTC)


class _Unrated:
    """The scorer of texts that none has rated yet: what has this one's scores is rated by the next."""

    name, version = "unrated", "0"

    def score(self, texts: list[str]) -> list[float]:
        return [math.nan] * len(texts)


UNRATED = _Unrated()


class Extension(NamedTuple):
    """The record after a load, its bytes for Redis (``packed``), and what the load added to it. ``brought``
    is the record of what the load has read, as if nothing had been known before it.
    """

    record: Record
    packed: bytes
    news: tuple[Scored, ...]
    reads: tuple[Read, ...]
    load: Load
    brought: Record


def record_of(packed: bytes | None, request: FetchRequest) -> Record | None:
    """The record in ``packed``; None where there is none, or where it is damaged, which is logged."""
    if packed is None:
        return None
    try:
        return decode_record(packed)
    except Corrupt as error:
        log.warning("timeline.corrupt", source=request.source, symbol=request.symbol, reason=str(error))
        return None


def record_to_extend(upstream: Upstream, packed: bytes | None, request: FetchRequest) -> Record | None:
    """The record in ``packed``, where a load of ``upstream`` may add to it. What was found by another search
    says nothing of what this one finds in the same hours: then they are asked for anew.
    """
    record = record_of(packed, request)
    return record if record and _is_of(record, search_of(upstream, request.symbol)) else None


def _is_of(record: Record, search: str) -> bool:
    """Whether ``record`` was found by ``search``, as far as both say what it was."""
    return not record.search or not search or record.search == search


def extended(
    known: Record | None,
    fetched: Fetched,
    request: FetchRequest,
    scorer: Scorer,
    clock: Callable[[], datetime],
    search: str = "",
) -> Extension:
    """``known`` with what was ``fetched`` for ``request`` by ``search`` added, all of it scored by
    ``scorer``. It was read when ``clock`` says, which is asked once all is scored."""
    before = None if known is None else rescored(known, scorer, request.symbol)
    timeline = Timeline() if before is None else before.timeline
    found = timeline.news([*fetched.items, *timeline.without(fetched.gone)], fetched.asked_at)
    scores = score_items(found, scorer, request.symbol)
    # A scorer may take seconds, in which nobody is told of the pages: the past must not tell of them either.
    read_at = _not_before(max(clock(), fetched.asked_at), known)
    news = tuple(map(Scored, timeline.news(found, read_at), scores))
    reads = tuple(Read(span, read_at) for span in fetched.spans if span.start < span.end)
    read = {item.identity for item in fetched.items}
    again = (version for identity, version in timeline.latest().items() if identity in read)
    brought = Record(
        Timeline.of([*again, *news], reads),
        fetched.asked_at,
        read_at,
        request.hours,
        name_of(scorer),
        fetched.reason,
        counted_by_upstream(fetched.counts),
        search,
    )
    extension = _added(before, brought, news, None if fetched.is_asked or known is None else known.hours)
    if known is not None and (request.hours <= known.hours or not fetched.is_asked):
        # It says nothing of more hours.
        extension = extension._replace(brought=replace(brought, hours=1))
    return extension


def _added(
    known: Record | None, brought: Record, news: tuple[Scored, ...], hours: int | None = None
) -> Extension:
    """``known`` with what a load has ``brought``, of which ``news`` were not known. ``hours`` is for how many
    the record was asked, where that is not the most of both.
    """
    whole, cut = merged(brought) if known is None else merged(known, brought)
    if hours is not None:
        # The next load asks again for the hours that this one did not come to.
        whole = replace(whole, hours=hours)
    record, kept_from, packed = pack_record(whole, cut)
    load = Load(
        brought.read_at,
        brought.asked_at,
        kept_from,
        whole.hours,
        record.scorer,
        None if known is None else known.read_at,
        record.reason,
        changed({} if known is None else known.tally, whole.tally),
    )
    return Extension(record, packed, news, brought.timeline.reads, load, brought)


def sentiment_of(record: Record, request: FetchRequest, voices: Sequence[VoiceRule]) -> SymbolSentiment:
    """The sentiment over the hours of ``request``, counted back from when ``record`` was read.

    This is a pure function, and the only one that makes an answer from a timeline, so that an answer of the
    past comes out as it did then.
    """
    timeline = record.timeline
    start = record.read_at - timedelta(hours=request.hours)
    known = timeline.since(start - RETOLD)
    versions = [version for version in known if version.at >= start]
    span = timeline.coverage.last(Span(start, _FAR))
    asked = Span(start, record.asked_at)
    behind = record.read_at - asked.end
    is_behind = behind > MOST_BEHIND
    is_short = span is not None and (span.end < asked.end or behind > LEAST_BEHIND)
    until = span.end if span is not None and is_short else None
    is_all = asked.end <= start if span is None else span.start <= start and span.end >= asked.end
    is_complete = is_all and not is_behind
    return aggregate(
        request,
        [version.item for version in versions],
        [version.score for version in versions],
        as_of=record.read_at,
        complete=is_complete,
        since=None if span is None else span.start,
        reason=None if is_complete else _why_short(record, request, is_all=is_all),
        until=until,
        scorer=record.scorer,
        voices=voices,
        volume=compared(record.tally, asked),
        volume_by_upstream=uses_upstream(record.tally, asked),
        earlier=[version.item for version in known if version.at < start and _is_article(version)],
    )


def _why_short(record: Record, request: FetchRequest, *, is_all: bool) -> str:
    """Why ``record`` does not cover the hours; ``is_all``: it does up to its ``asked_at``."""
    if is_all:
        return NOT_YET
    return record.reason or ("not_asked" if record.hours < request.hours else "page_budget")


def _is_article(version: Scored) -> bool:
    return version.item.kind == "article"


def has_baseline(record: Record, request: FetchRequest) -> bool:
    """Whether the volume of the hours of ``request`` can be compared with that of the days before."""
    start = record.read_at - timedelta(hours=request.hours)
    return compared(record.tally, Span(start, record.asked_at)).baseline is not None


class LoadResult(NamedTuple):
    """The answer of a load, and the record that it follows from, packed for Redis.

    ``hours`` is for how many hours the record was asked for. ``naive`` are the figures of whoever remembers
    nothing. ``error`` is what is wrong with the scorer or a rule, where one has failed: then the answer says
    nothing, and the record is kept for the next one. ``brought`` is as of an :class:`Extension`.
    """

    answer: Answer
    packed: bytes
    hours: int
    naive: Mapping[str, int]
    brought: Record
    error: ConfigurationError | None = None

    def settlement(self, *, is_kept: bool, is_alone: bool = False) -> Settlement:
        """How the load ends; its answer goes to the database where it ``is_kept``. ``is_alone``: Redis is
        away, and is told later of what it has brought.
        """
        failed = None if self.error is None else Failure("error", str(self.error), 0, None)
        return Settlement(
            payload=None if failed else encode_sentiment(self.answer.sentiment),
            failure=failed,
            timeline=self.packed,
            hours=self.hours,
            answer=encode_answer(self.answer) if is_kept else None,
            bought=encode_record(self.brought) if is_alone else None,
        )


def load_result(
    upstream: Upstream,
    request: FetchRequest,
    known: Record | None,
    fetched: Fetched,
    clock: Callable[[], datetime],
) -> LoadResult:
    """The answer to ``request`` from what was ``known`` before and what was ``fetched``, as of when ``clock``
    says that all is scored."""
    error, search = None, search_of(upstream, request.symbol)
    try:
        found = extended(known, fetched, request, upstream.analyzer, clock, search)
    except ConfigurationError as raised:
        # The pages are paid for: what they brought is kept, and rated when it is asked for again.
        error, found = raised, extended(known, fetched, request, UNRATED, clock, search)
    sentiment = nothing(request, found.record.read_at, "no_score", found.record.scorer)
    try:
        sentiment = sentiment if error else sentiment_of(found.record, request, upstream.voices)
    except ConfigurationError as raised:
        error = raised
    start = found.record.read_at - timedelta(hours=request.hours)
    naive = naive_figures(upstream.source, request, known, found.record, start)
    load = _load_of(found.load, upstream, request)
    answer = Answer(sentiment, found.news, found.reads, load, is_private=bool(request.rules))
    return LoadResult(answer, found.packed, found.record.hours, naive, found.brought, error)


def merged_with(
    upstream: Upstream, request: FetchRequest, there: bytes | None, parts: Sequence[bytes]
) -> Merged | None:
    """The timeline that Redis has (``there``), with what was bought without it (``parts``), and the answer to
    ``request`` that follows from it.

    None where nothing is to be stored: one of them is damaged, they were found by different searches, all of
    it is there, or answers would cover less than they do now.
    """
    try:
        known = None if there is None else _rated(there, upstream, request)
        bought = sorted((_rated(part, upstream, request) for part in parts), key=lambda one: one.read_at)
        if known is not None and not all(_is_of(known, one.search) for one in bought):
            return None
        found = _whole(bought) if known is None else _with_bought(known, bought)
        if found is None or (known is not None and covers_less(found.record, found.load.kept_from, known)):
            return None
        hours = min(request.hours, found.record.hours)
        sentiment = sentiment_of(found.record, replace(request, hours=hours), upstream.voices)
    except (Corrupt, ConfigurationError):
        return None
    # Over more hours than were asked for, it is no answer.
    payload = encode_sentiment(sentiment) if hours == request.hours else b""
    is_kept = upstream.persist_to_db and found.load.after is not None
    load = _load_of(found.load, upstream, request)
    answer = Answer(sentiment, found.news, found.reads, load, is_private=bool(request.rules))
    kept = encode_answer(answer) if is_kept else b""
    return Merged(found.packed, found.record.hours, payload, bought[-1].read_at, kept)


def _load_of(load: Load, upstream: Upstream, request: FetchRequest) -> Load:
    """``load`` as the past tells it. What has no rules of its own is for all, by whatever scorer it is."""
    is_private = request.rules and isinstance(upstream, ScoringUpstream) and upstream.has_private_scorer
    return replace(load, scorer=load.scorer + PRIVATE) if is_private else load


def _rated(packed: bytes, upstream: Upstream, request: FetchRequest) -> Record:
    return rescored(decode_record(packed), upstream.analyzer, request.symbol)


def _whole(bought: Sequence[Record]) -> Extension:
    """What was ``bought``, where nothing else is known: the first of it, which the database knows as a load,
    with the others."""
    first, *others = bought
    return (_with_bought(first, others) if others else None) or _added(None, first, ())


def _with_bought(known: Record, bought: Sequence[Record]) -> Extension | None:
    """``known`` with what was ``bought`` without it, as if that had been loaded a moment after the later of
    both: so the past can be told by one chain of loads. None where all of it is known.
    """
    last = max(known, bought[-1], key=lambda one: one.read_at)
    read_at = last.read_at + _RESOLUTION
    part = Timeline.of(
        (version for one in bought for version in one.timeline.versions),
        (read for one in bought for read in one.timeline.reads),
    )
    before = known.timeline.latest()
    newer = {
        identity: version
        for identity, version in part.latest().items()
        if identity not in before or before[identity].seen_at < version.seen_at
    }
    items = known.timeline.news((version.item for version in newer.values()), read_at)
    news = tuple(Scored(item, newer[item.identity].score) for item in items)
    reads = [Read(span, read_at) for span in part.coverage.spans]
    counts = {quarter: count for one in bought for quarter, count in one.tally.items()}
    hours = max(one.hours for one in bought)
    about = last.asked_at, read_at, hours, known.scorer, last.reason, counts, known.search
    found = _added(known, Record(Timeline.of(news, reads), *about), news)
    limits = Span(found.load.kept_from, _FAR)
    there, then = (one.timeline.coverage.within(limits) for one in (known, found.record))
    return None if last is known and not news and then == there else found


def nothing(request: FetchRequest, as_of: datetime, reason: str, scorer: str) -> SymbolSentiment:
    """The answer that says nothing, and why."""
    return aggregate(request, (), (), as_of=as_of, complete=False, since=None, reason=reason, scorer=scorer)


def _not_before(read_at: datetime, known: Record | None) -> datetime:
    """``read_at``, but later than that of ``known`` where the clock went back by a little.

    Our estimate of the server's clock is corrected with each reply, and may step back. A load that seems
    older than the one before it would count its hours back from a time that was not asked for.
    """
    is_step = known is not None and timedelta(0) <= known.read_at - read_at < _STEP
    return known.read_at + _RESOLUTION if known is not None and is_step else read_at


def rescored(record: Record, scorer: Scorer, symbol: str) -> Record:
    """``record`` with the scores of ``scorer``: those of two scorers must not be averaged."""
    if record.scorer == name_of(scorer):
        return record
    timeline = record.timeline
    items = [version.item for version in timeline.versions]
    scored = Timeline.of(_scored(items, scorer, symbol), timeline.reads)
    return replace(record, timeline=scored, scorer=name_of(scorer))


def _scored(items: Sequence[Item], scorer: Scorer, symbol: str) -> list[Scored]:
    return [Scored(*pair) for pair in zip(items, score_items(items, scorer, symbol), strict=True)]
