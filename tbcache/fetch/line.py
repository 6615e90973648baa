"""What a load adds to the timeline of a symbol, and the answers that are made of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from tbcache.fetch.reader import Fetched, Upstream
from tbcache.io.log import get_logger
from tbcache.models import FetchRequest, Item, SymbolSentiment
from tbcache.repository import Answer
from tbcache.scoring import Scorer, VoiceRule, aggregate, name_of, score_items
from tbcache.timeline import (
    Corrupt,
    Load,
    Read,
    Record,
    Scored,
    Span,
    Timeline,
    changed,
    compared,
    counted,
    decode_record,
    pack_record,
)
from tbcache.timeline.record import MOST_ITEMS

log = get_logger("tbcache.fetch")

#: By more the clock of a server was set back.
_STEP = timedelta(minutes=1)
#: Two loads are told apart by when they were read.
_RESOLUTION = timedelta(microseconds=1)
_FAR = datetime.max.replace(tzinfo=UTC)


class Learned(NamedTuple):
    """What is known after a load: the record, its form for Redis, and what of it is new."""

    record: Record
    line: bytes
    news: tuple[Scored, ...]
    reads: tuple[Read, ...]
    load: Load


def recalled(line: bytes | None, request: FetchRequest) -> Record | None:
    """The record that ``line`` is; None where there is none, or it cannot be read."""
    if line is None:
        return None
    try:
        return decode_record(line)
    except Corrupt as error:
        log.warning("timeline.corrupt", source=request.source, symbol=request.symbol, reason=str(error))
        return None


def learned(
    known: Record | None, fetched: Fetched, request: FetchRequest, scorer: Scorer, read_at: datetime
) -> Learned:
    """``known`` with what was ``fetched`` for ``request``, all of it scored by ``scorer``."""
    read_at = _mended(max(read_at, fetched.asked_at), known)
    before = Timeline() if known is None else rescored(known, scorer, request.symbol).timeline
    items = before.news([*fetched.items, *before.without(fetched.gone)], read_at)
    news = tuple(_scored(items, scorer, request.symbol))
    reads = tuple(Read(span, read_at) for span in fetched.spans if span.start < span.end)
    hours = max(request.hours, 0 if known is None else known.hours)
    timeline = before | Timeline.of(news, reads)
    cut = timeline.cut(read_at - timedelta(hours=hours), MOST_ITEMS)
    reason = fetched.reason or (None if known is None else known.reason)
    counts = {} if known is None else known.tally
    tally = counted(counts, timeline, read_at)
    about = fetched.asked_at, read_at, hours, name_of(scorer), reason, tally
    record, kept_from, line = pack_record(Record(timeline.kept_from(cut), *about), cut)
    after = None if known is None else known.read_at
    load = Load(
        read_at, fetched.asked_at, kept_from, hours, record.scorer, after, reason, changed(counts, tally)
    )
    return Learned(record, line, news, reads, load)


def told(record: Record, request: FetchRequest, voices: Sequence[VoiceRule]) -> SymbolSentiment:
    """What ``record`` says of the hours of ``request``, as of when it was read.

    A pure function, the only one that makes an answer of a timeline, be it of now or of the past.
    """
    timeline = record.timeline
    start = record.read_at - timedelta(hours=request.hours)
    versions = timeline.since(start)
    span = timeline.coverage.last(Span(start, _FAR))
    until = None if span is None or span.end >= record.asked_at else span.end
    is_complete = span is not None and span.start <= start and until is None
    return aggregate(
        request,
        [version.item for version in versions],
        [version.score for version in versions],
        as_of=record.read_at,
        complete=is_complete,
        since=None if span is None else span.start,
        reason=None if is_complete else record.reason or "page_budget",
        until=until,
        scorer=record.scorer,
        voices=voices,
        volume=compared(record.tally, Span(start, record.asked_at)),
    )


class Made(NamedTuple):
    """What a load comes to: the answer, and the timeline that it was made of as JSON."""

    answer: Answer
    line: bytes


def made(
    upstream: Upstream, request: FetchRequest, known: Record | None, fetched: Fetched, read_at: datetime
) -> Made:
    """What ``fetched`` comes to with what was ``known``."""
    found = learned(known, fetched, request, upstream.analyzer, read_at)
    sentiment = told(found.record, request, upstream.voices)
    return Made(Answer(sentiment, found.news, found.reads, found.load), found.line)


def _mended(read_at: datetime, known: Record | None) -> datetime:
    """Later than what was read before: what is known of the server's clock is mended with each look, and
    may step back a little meanwhile. An answer would begin before all that was asked for."""
    is_step = known is not None and timedelta(0) <= known.read_at - read_at < _STEP
    return known.read_at + _RESOLUTION if known is not None and is_step else read_at


def rescored(record: Record, scorer: Scorer, symbol: str) -> Record:
    """The record with the scores of ``scorer``: others may be of another make."""
    if record.scorer == name_of(scorer):
        return record
    timeline = record.timeline
    items = [version.item for version in timeline.versions]
    scored = Timeline.of(_scored(items, scorer, symbol), timeline.reads)
    return replace(record, timeline=scored, scorer=name_of(scorer))


def _scored(items: Sequence[Item], scorer: Scorer, symbol: str) -> list[Scored]:
    return [Scored(*pair) for pair in zip(items, score_items(items, scorer, symbol), strict=True)]
