"""The record of a symbol, which the fleet shares, and its compact form."""

from __future__ import annotations

import base64
import math
import zlib
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec

from tbcache.models import Engagement, Item, Kind, Label, Right
from tbcache.models.decoder import msgpack_decoder
from tbcache.models.request import LONGEST_HOURS
from tbcache.models.untrusted import read_json, writable
from tbcache.timeline.coverage import Span
from tbcache.timeline.tally import Tally
from tbcache.timeline.timeline import Read, Scored, Timeline

#: Articles are kept for so much longer than the hours that were asked for: what is told again on another
#: site, on Monday what is of Friday, is recognized by them.
RETOLD = timedelta(hours=72)
#: The most bytes of a timeline in its compact form, and before it is compressed.
MOST_BYTES = 1_000_000
MOST_PLAIN_BYTES = 32_000_000
MOST_ITEMS = 20_000
#: The compact form begins with this. A form that begins with anything else is not read.
_FORM = b"tl1\n"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Hours can be added to any time before this one without an overflow.
_END = datetime(9000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Corrupt(ValueError):
    """The bytes are no record of this version."""


@dataclass(frozen=True, slots=True)
class Record:
    """A timeline, and what else an answer needs.

    The upstream was asked last at ``asked_at``, and its answer was read and scored by ``read_at``. ``hours``
    is the most that was asked for since the record began, and ``reason`` is why less is covered. ``scorer``
    gave the scores. ``tally`` counts the items, for longer than the items themselves are kept. ``search``
    stands for what the items were found by: "" for the symbol alone, or where that is not known.
    """

    timeline: Timeline
    asked_at: datetime
    read_at: datetime
    hours: int
    scorer: str
    reason: str | None = None
    tally: Tally = field(default_factory=dict, hash=False)
    search: str = ""


#: The reason of a record that has no room for more of its hours.
FULL = "full"
#: The reason of an answer that has all up to when the upstream was asked, which was long before.
NOT_YET = "not_yet"
#: For these reasons there are hours that no load can bring: there are no more items, or none more is kept.
FINAL = frozenset((FULL, NOT_YET, "search_depth", "no_next_page", "no_times", "plan_delay"))


class Packed(NamedTuple):
    """``data`` is the compact form of ``record``, which has no items before ``kept_from``."""

    record: Record
    kept_from: datetime
    data: bytes


def encode_record(record: Record, most_bytes: int = MOST_BYTES) -> bytes:
    """``record`` as JSON; see :func:`pack_record`."""
    versions = record.timeline.versions
    return pack_record(record, versions[0].at if versions else record.read_at, most_bytes).data


def pack_record(record: Record, kept_from: datetime, most_bytes: int = MOST_BYTES) -> Packed:
    """``record``, which has items from ``kept_from`` on, as JSON with a timeline of at most ``most_bytes``,
    and of MOST_PLAIN_BYTES before it is compressed.

    A longer timeline loses its oldest items and the coverage of their time; its reason is FULL where some of
    its hours are among that. The hours stand first, because scripts read them.
    """
    data, share = _encode(record, most_bytes)
    while share < 1 and (most := len(record.timeline.versions)) > 1:
        kept_from = record.timeline.cut(kept_from, max(1, min(most - 1, int(most * share))))
        reason = FULL if kept_from > record.read_at - timedelta(hours=record.hours) else record.reason
        record = replace(record, timeline=record.timeline.kept_from(kept_from), reason=reason)
        data, share = _encode(record, most_bytes)
    return Packed(record, kept_from, b'{"h":%d,"t":"%b"}' % (record.hours, base64.b64encode(data)))


def decode_record(data: bytes) -> Record:
    """The record that :func:`encode_record` has encoded in ``data``.

    Raises:
      Corrupt: ``data`` is damaged, or of another version.
    """
    try:
        packed = base64.b64decode(read_json(data, _Json).t, validate=True)
        if not packed.startswith(_FORM):
            raise Corrupt("it is of another version")
        return _DECODER.decode(_inflate(packed[len(_FORM) :])).record()
    except (ValueError, OverflowError, zlib.error) as error:
        raise Corrupt(f"{len(data)} bytes are no timeline: {error}"[:200]) from None


def _inflate(data: bytes) -> bytes:
    stream = zlib.decompressobj()
    plain = stream.decompress(data, MOST_PLAIN_BYTES)
    if not stream.eof:
        raise Corrupt("it is cut, or too long")
    return plain


class _Json(msgspec.Struct):
    t: str


class _Row(msgspec.Struct, array_like=True, omit_defaults=True, gc=False):
    """A version of an item. Times are microseconds since the Unix epoch; fields that are rarely set stand
    last.
    """

    id: str
    at: int | None
    seen_at: int
    text: str
    author: str | None = None
    score: float | None = None
    label: Label | None = None
    stated: float | None = None
    weight: float = 1.0
    kind: Kind = "post"
    lang: str | None = None
    symbols: tuple[str, ...] = ()
    url: str | None = None
    engagement: tuple[int | None, int | None, int | None, int | None] = (None, None, None, None)
    origin: str | None = None
    first_id: str | None = None
    is_gone: bool = False
    right: Right | None = None
    is_multi_leg: bool = False

    @classmethod
    def of(cls, version: Scored) -> _Row:
        item, done = version.item, version.item.engagement
        return cls(
            id=item.id,
            at=None if item.at is None else _micros(item.at),
            seen_at=_micros(version.seen_at),
            text=item.text,
            author=item.author,
            score=_finite(version.score),
            label=item.label,
            stated=_finite(item.score),
            weight=_finite(item.weight) or 0.0,
            kind=item.kind,
            lang=item.lang,
            symbols=item.symbols,
            url=item.url,
            engagement=(done.likes, done.reposts, done.replies, done.followers),
            origin=item.origin,
            first_id=item.first_id,
            is_gone=item.is_gone,
            right=item.right,
            is_multi_leg=item.is_multi_leg,
        )

    def version(self) -> Scored:
        item = Item(
            id=self.id,
            at=None if self.at is None else _moment(self.at),
            text=self.text,
            author=self.author,
            label=self.label,
            score=_finite(self.stated),
            weight=_finite(self.weight) or 0.0,
            kind=self.kind,
            url=self.url,
            lang=self.lang,
            symbols=self.symbols,
            engagement=Engagement(*self.engagement),
            origin=self.origin,
            first_id=self.first_id,
            is_gone=self.is_gone,
            right=self.right,
            is_multi_leg=self.is_multi_leg,
            seen_at=_moment(self.seen_at),
        )
        return Scored(item, _finite(self.score))


class _Table(msgspec.Struct, array_like=True):
    """A record. Each of ``reads`` is the start and the end of a span, and when it was read."""

    asked_at: int
    read_at: int
    hours: int
    scorer: str
    reason: str | None
    reads: list[tuple[int, int, int]]
    rows: list[_Row]
    tally: dict[int, int] = {}
    search: str = ""

    def record(self) -> Record:
        if not 0 < self.hours <= LONGEST_HOURS or len(self.rows) > MOST_ITEMS:
            raise Corrupt(f"it is of {self.hours} hours and {len(self.rows)} items")
        reads = (Read(Span(_moment(a), _moment(b)), _moment(at)) for a, b, at in self.reads)
        timeline = Timeline.of((row.version() for row in self.rows), reads)
        asked_at, read_at = _moment(self.asked_at), _moment(self.read_at)
        if not _EPOCH < asked_at <= read_at < _END:
            raise Corrupt(f"it was asked for at {asked_at} and read at {read_at}")
        about = self.hours, self.scorer, self.reason, self.tally, self.search
        return Record(timeline, asked_at, read_at, *about)


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgpack_decoder(_Table)


def _encode(record: Record, most_bytes: int) -> tuple[bytes, float]:
    """The compact form of ``record``, and the part of it for which there is room: 1 or more is all of it."""
    reads = [
        (_micros(read.span.start), _micros(read.span.end), _micros(read.at)) for read in record.timeline.reads
    ]
    rows = [_Row.of(version) for version in record.timeline.versions]
    moments = _micros(record.asked_at), _micros(record.read_at)
    table = _Table(
        *moments,
        record.hours,
        record.scorer,
        record.reason,
        reads,
        rows,
        dict(record.tally),
        record.search,
    )
    plain = _plain(table)
    # Level 1 is the fastest: the next ones save little space and take several times as long.
    data = _FORM + zlib.compress(plain, 1)
    return data, min(most_bytes / len(data), MOST_PLAIN_BYTES / len(plain))


def _plain(table: _Table) -> bytes:
    try:
        return _ENCODER.encode(table)
    except UnicodeEncodeError:
        return _ENCODER.encode(_map_texts(msgspec.to_builtins(table)))


def _map_texts(value: object) -> object:
    if isinstance(value, str):
        return writable(value)
    return [_map_texts(part) for part in value] if isinstance(value, list | tuple) else value


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def _moment(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)


def _finite(figure: float | None) -> float | None:
    return figure if figure is not None and math.isfinite(figure) else None
