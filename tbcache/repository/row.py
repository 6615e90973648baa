"""How answers become rows of the tables, and rows become answers: one that is damaged raises an error of
``_DAMAGED``, of which :func:`sound_rows` makes a line of the log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, TypeVar

import msgspec
from sqlalchemy import CursorResult, Row

from tbcache.io.log import get_logger
from tbcache.models import Engagement, Item, Kind, Label, Right, SymbolSentiment
from tbcache.models.answer import UNKNOWN_ENGAGEMENT
from tbcache.models.decoder import convert
from tbcache.models.untrusted import MOST, NotJson, printable, read_json
from tbcache.repository import table
from tbcache.repository.answer import Answer, finite, storable
from tbcache.repository.hour import UsageHour
from tbcache.timeline import Load, Read, Scored, Span

log = get_logger("tbcache.repository")

T = TypeVar("T")

#: What a value of another kind ends in, in SQLAlchemy's own types as well: SQLite keeps any in any column.
_DAMAGED = (ValueError, TypeError, ArithmeticError, NotJson, msgspec.ValidationError)


def sound_rows(result: CursorResult[Any], make: Callable[[Row[Any]], T]) -> list[T]:
    """What ``make`` makes of each row. One that cannot be read is left out, and a line in the log says so."""
    made, damaged, why = [], 0, ""
    while True:
        try:
            # One by one: SQLAlchemy reads the values of a row as it fetches it.
            row = result.fetchone()
            if row is None:
                break
            made.append(make(row))
        except _DAMAGED as error:
            damaged, why = damaged + 1, why or str(error)
    if damaged:
        log.warning("row.damaged", count=damaged, reason=printable(why, 200))
    return made


def item_rows(answer: Answer) -> list[dict[str, Any]]:
    sentiment = answer.sentiment
    return [
        {
            "source": sentiment.source,
            "external_id": storable(item.id),
            "symbol": sentiment.symbol,
            "at": item.at,
            "author": _stored(item.author),
            "text": storable(item.text),
            "label": item.label,
            "score": finite(score),
            "weight": finite(item.weight) or 0.0,
            "first_seen_at": item.seen_at or sentiment.as_of,
            "seen_at": item.seen_at or sentiment.as_of,
            "facts": _facts(item),
            "engagement": _json(item.engagement, UNKNOWN_ENGAGEMENT),
            "scorer": storable(sentiment.scorer),
        }
        for item, score in answer.items
    ]


def read_rows(answer: Answer) -> list[dict[str, Any]]:
    sentiment = answer.sentiment
    return [
        {
            "source": sentiment.source,
            "symbol": sentiment.symbol,
            "read_at": read.at,
            "start_at": read.span.start,
            "end_at": read.span.end,
        }
        for read in answer.reads
    ]


def load_rows(answer: Answer) -> list[dict[str, Any]]:
    load = answer.load
    if load is None:
        return []
    return [
        {
            "source": answer.sentiment.source,
            "symbol": answer.sentiment.symbol,
            "read_at": load.read_at,
            "asked_at": load.asked_at,
            "kept_from": load.kept_from,
            "after": load.after,
            "hours": load.hours,
            "scorer": storable(load.scorer),
            "reason": _stored(load.reason),
            "tally": msgspec.json.encode(load.tally).decode(),
        }
    ]


def time_rows(answer: Answer) -> list[dict[str, Any]]:
    load, of = answer.load, answer.sentiment
    if load is None or load.stored_at is None:
        return []
    return [{"source": of.source, "symbol": of.symbol, "read_at": load.read_at, "stored_at": load.stored_at}]


def to_load(row: Row[Any]) -> Load:
    return convert({**_values(row), "tally": read_json(row.tally, dict[int, int])}, Load)


def to_read(row: Row[Any]) -> Read:
    return Read(Span(row.start_at, row.end_at), row.read_at)


def _values(row: Row[Any]) -> dict[str, Any]:
    # SQLAlchemy's names are of a class of its own.
    return {str(name): value for name, value in row._mapping.items()}


class _Facts(msgspec.Struct, omit_defaults=True):
    """What an item says beside what has a column of its own. ``stated`` is its own score."""

    kind: Kind = "post"
    url: str | None = None
    lang: str | None = None
    symbols: tuple[str, ...] = ()
    origin: str | None = None
    first_id: str | None = None
    is_gone: bool = False
    stated: float | None = None
    right: Right | None = None
    is_multi_leg: bool = False


def _facts(item: Item) -> str:
    return _json(
        _Facts(
            kind=item.kind,
            url=_stored(item.url),
            lang=_stored(item.lang),
            symbols=tuple(map(storable, item.symbols)),
            origin=_stored(item.origin),
            first_id=_stored(item.first_id),
            is_gone=item.is_gone,
            stated=finite(item.score),
            right=item.right,
            is_multi_leg=item.is_multi_leg,
        ),
        _Facts(),
    )


def _stored(text: str | None) -> str | None:
    return None if text is None else storable(text)


def _json(value: object, nothing: object) -> str:
    return "" if value == nothing else msgspec.json.encode(value).decode()


def snapshot_row(sentiment: SymbolSentiment) -> dict[str, Any]:
    row = {column.name: getattr(sentiment, column.name) for column in table.snapshots.columns}
    texts = {
        "scorer": storable(sentiment.scorer),
        "reason": _stored(sentiment.reason),
    }
    dropped = msgspec.json.encode(dict(sentiment.dropped)).decode()
    figures = {"score": finite(sentiment.score), "voices": finite(sentiment.voices), "dropped": dropped}
    return {**row, **texts, **figures}


class _ItemRow(msgspec.Struct):
    """What the row of an item has to hold; SQLite keeps a value of any kind in any column."""

    external_id: str
    at: datetime | None
    text: str
    author: str | None
    label: Label | None
    score: Annotated[float, msgspec.Meta(ge=-1, le=1)] | None
    weight: Annotated[float, msgspec.Meta(ge=0)]
    seen_at: datetime
    facts: str | None
    engagement: str | None


def to_item(found: Row[Any]) -> Item:
    row = convert(_values(found), _ItemRow)
    facts = read_json(row.facts, _Facts) if row.facts else _Facts()
    return Item(
        id=row.external_id,
        at=row.at,
        text=row.text,
        author=row.author,
        label=row.label,
        score=row.score,
        weight=row.weight,
        kind=facts.kind,
        url=facts.url,
        lang=facts.lang,
        symbols=facts.symbols,
        engagement=read_json(row.engagement, Engagement) if row.engagement else UNKNOWN_ENGAGEMENT,
        origin=facts.origin,
        first_id=facts.first_id,
        is_gone=facts.is_gone,
        seen_at=row.seen_at,
        right=facts.right,
        is_multi_leg=facts.is_multi_leg,
    )


def to_version(row: Row[Any]) -> tuple[Scored, str]:
    """The version that ``row`` is, with the score that it was given, and the name of its scorer.

    A score that the item states itself is its own."""
    facts = read_json(row.facts, _Facts) if row.facts else _Facts()
    return Scored(replace(to_item(row), score=facts.stated), row.score), row.scorer or ""


def to_sentiment(row: Row[Any]) -> SymbolSentiment:
    # Both are NULL in a row of an earlier version.
    dropped = read_json(row.dropped, dict[str, float]) if row.dropped else {}
    return convert({**_values(row), "dropped": dropped}, SymbolSentiment)


class _HourRow(msgspec.Struct):
    """What the row of an hour has to hold."""

    source: str
    hour: datetime
    seconds: Annotated[float, msgspec.Meta(ge=0, le=3600)]
    figures: str


def hour_rows(namespace: str, hours: Sequence[UsageHour]) -> list[dict[str, Any]]:
    """One row each; in the same order for every writer, or two could wait for each other."""
    return [
        {
            "namespace": namespace,
            **one._asdict(),
            "figures": msgspec.json.encode(dict(one.figures), order="sorted").decode(),
        }
        for one in sorted(hours, key=lambda one: one[:2])
    ]


def to_hour(found: Row[Any]) -> UsageHour:
    row = convert(_values(found), _HourRow)
    figures = read_json(row.figures, dict[str, int])
    # What is out of bounds was counted by nobody.
    counts = {name: count for name, count in figures.items() if 0 <= count <= MOST}
    return UsageHour(row.source, row.hour, row.seconds, Counter(counts))
