"""The tables, and how an answer becomes their rows. What changes of a table needs a step in schema.py."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    DateTime,
    Delete,
    Dialect,
    Float,
    Index,
    Insert,
    Integer,
    MetaData,
    Row,
    String,
    Table,
    Text,
    TypeDecorator,
    and_,
    bindparam,
    delete,
    or_,
    select,
    tuple_,
)
from sqlalchemy.dialects import postgresql, sqlite

from tbcache.models import Engagement, Item, Kind, Label, Right, SymbolSentiment
from tbcache.models.answer import UNKNOWN_ENGAGEMENT
from tbcache.models.decoder import convert
from tbcache.models.untrusted import read_json
from tbcache.repository.answer import Answer, finite, storable
from tbcache.timeline import Load, Read, Scored, Span


class UtcDateTime(TypeDecorator[datetime]):
    """A moment, aware and in UTC on both sides; SQLite keeps no zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError(f"{value} has no zone")
        return value and value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = MetaData()

items = Table(
    "sentiment_items",
    metadata,
    Column("source", String(64), primary_key=True),
    Column("external_id", Text, primary_key=True),
    Column("symbol", String(15), primary_key=True),
    Column("at", UtcDateTime),
    Column("author", Text),
    Column("text", Text, nullable=False),
    Column("label", String(8)),
    Column("score", Float(53)),
    Column("weight", Float(53), nullable=False),
    Column("first_seen_at", UtcDateTime, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
    # JSON of what else the item says, and of what others did with it. Both are "" of an item without any.
    Column("facts", Text),
    Column("engagement", Text),
    Column("scorer", Text),
    Index("ix_sentiment_items_symbol_at", "source", "symbol", "at"),
    Index("ix_sentiment_items_first_seen", "first_seen_at"),
    Index("ix_sentiment_items_symbol_seen", "source", "symbol", "seen_at"),
)

#: The versions of items that later ones have replaced.
versions = Table(
    "sentiment_versions",
    metadata,
    Column("source", String(64), primary_key=True),
    Column("external_id", Text, primary_key=True),
    Column("symbol", String(15), primary_key=True),
    Column("seen_at", UtcDateTime, primary_key=True),
    Column("at", UtcDateTime),
    Column("author", Text),
    Column("text", Text, nullable=False),
    Column("label", String(8)),
    Column("score", Float(53)),
    Column("weight", Float(53), nullable=False),
    Column("first_seen_at", UtcDateTime, nullable=False),
    Column("facts", Text),
    Column("engagement", Text),
    Column("scorer", Text),
    Index("ix_sentiment_versions_seen", "seen_at"),
    Index("ix_sentiment_versions_symbol_seen", "source", "symbol", "seen_at"),
)

#: The spans that were read: all items from start to end are known that the upstream had at that time.
reads = Table(
    "sentiment_reads",
    metadata,
    Column("source", String(64), primary_key=True),
    Column("symbol", String(15), primary_key=True),
    Column("read_at", UtcDateTime, primary_key=True),
    Column("start_at", UtcDateTime, primary_key=True),
    Column("end_at", UtcDateTime, nullable=False),
    Index("ix_sentiment_reads_moment", "read_at"),
)

snapshots = Table(
    "sentiment_snapshots",
    metadata,
    Column("source", String(64), primary_key=True),
    Column("symbol", String(15), primary_key=True),
    Column("hours", Integer, primary_key=True),
    Column("as_of", UtcDateTime, primary_key=True),
    Column("score", Float(53)),
    Column("count", Integer, nullable=False),
    Column("bullish", Integer, nullable=False),
    Column("bearish", Integer, nullable=False),
    Column("neutral", Integer, nullable=False),
    Column("complete", Boolean, nullable=False),
    Column("since", UtcDateTime),
    Column("scorer", Text, nullable=False),
    Column("reason", Text),
    Column("until", UtcDateTime),
    # What the items come to by the voice rules, and JSON of what each rule took out.
    Column("voices", Float(53)),
    Column("dropped", Text),
    Index("ix_sentiment_snapshots_as_of", "source", "symbol", "as_of"),
    Index("ix_sentiment_snapshots_moment", "as_of"),
)

#: What each load has made of the record of its symbol, by which any record of the past is made again.
loads = Table(
    "sentiment_loads",
    metadata,
    Column("source", String(64), primary_key=True),
    Column("symbol", String(15), primary_key=True),
    Column("read_at", UtcDateTime, primary_key=True),
    Column("asked_at", UtcDateTime, nullable=False),
    Column("kept_from", UtcDateTime, nullable=False),
    Column("after", UtcDateTime),
    Column("hours", Integer, nullable=False),
    Column("scorer", Text, nullable=False),
    Column("reason", Text),
    # As JSON: the counts that changed, by the number of the quarter of an hour.
    Column("tally", Text, nullable=False),
    Index("ix_sentiment_loads_moment", "read_at"),
)

#: What a fleet, by its namespace, asked of each source in an hour, and what that cost. ``figures`` is JSON,
#: metric -> count, as in the day's figures in Redis: money in millionths of a dollar. ``seconds`` is how much
#: of the hour they are of.
hours = Table(
    "usage_hours",
    metadata,
    Column("namespace", String(64), primary_key=True),
    Column("source", String(64), primary_key=True),
    Column("hour", UtcDateTime, primary_key=True),
    Column("seconds", Float(53), nullable=False),
    Column("figures", Text, nullable=False),
    Index("ix_usage_hours_hour", "hour"),
)

#: One row: the version of all tables, the tbcache that made it, and when (seconds since the Unix epoch)
#: somebody is to look for what is too old.
schema = Table(
    "tbcache_schema",
    metadata,
    Column("version", Integer, nullable=False),
    Column("written_by", String(32), nullable=False),
    Column("prune_at", BigInteger, nullable=False),
)

#: The columns whose change makes another version of an item; likes that have grown make none.
_SAID = ("at", "author", "text", "label", "score", "weight", "facts")
_KEY = ("source", "external_id", "symbol")


def upsert_items(dialect: str) -> Insert:
    """Insert an item, or replace it by a later version; what says the same again changes nothing."""
    statement = _insert(dialect, items)
    return statement.on_conflict_do_update(
        index_elements=_KEY,
        set_={name: statement.excluded[name] for name in (*_SAID, "engagement", "scorer", "seen_at")},
        where=and_(
            items.c.seen_at <= statement.excluded.seen_at,
            or_(*(items.c[name].is_distinct_from(statement.excluded[name]) for name in _SAID)),
        ),
    )


def keep_replaced(dialect: str) -> Insert:
    """Put by the version of an item that a later one, whose row is given, is about to replace."""
    names = versions.c.keys()
    same = (items.c[name] == bindparam(name, type_=items.c[name].type) for name in _KEY)
    said = (items.c[name].is_distinct_from(bindparam(name, type_=items.c[name].type)) for name in _SAID)
    earlier = items.c.seen_at < bindparam("seen_at", type_=UtcDateTime)
    old = select(*(items.c[name] for name in names)).where(*same, earlier, or_(*said))
    return _insert(dialect, versions).from_select(names, old).on_conflict_do_nothing()


def keep_late(dialect: str) -> Insert:
    """Put by a version, whose row is given, that is written after a later one: outboxes know no order."""
    return _keep_given(dialect, items.c.seen_at > bindparam("seen_at", type_=UtcDateTime))


def keep_again(dialect: str) -> Insert:
    """Put by a version, whose row is given, that says the same as an earlier one, and was read anew by a load
    to which that was not known.
    """
    return _keep_given(dialect, items.c.seen_at < bindparam("seen_at", type_=UtcDateTime))


def _keep_given(dialect: str, condition: ColumnElement[bool]) -> Insert:
    names = versions.c.keys()
    given = (bindparam(name, type_=versions.c[name].type) for name in names)
    same = (items.c[name] == bindparam(name, type_=items.c[name].type) for name in _KEY)
    chosen = select(*given).select_from(items).where(*same, condition)
    return _insert(dialect, versions).from_select(names, chosen).on_conflict_do_nothing()


def insert_reads(dialect: str) -> Insert:
    """Insert what was read, once."""
    return _insert(dialect, reads).on_conflict_do_nothing()


def insert_loads(dialect: str) -> Insert:
    """Insert what a load has made of a record, once."""
    return _insert(dialect, loads).on_conflict_do_nothing()


def insert_snapshots(dialect: str) -> Insert:
    """Insert a snapshot, once."""
    return _insert(dialect, snapshots).on_conflict_do_nothing()


def insert_hours(dialect: str) -> Insert:
    """Insert an hour of the usage, once."""
    return _insert(dialect, hours).on_conflict_do_nothing()


def delete_hours(oldest: datetime) -> Delete:
    """Remove the hours of the usage before ``oldest``, of every fleet."""
    return delete(hours).where(hours.c.hour < oldest)


#: The column of each growing table from which a row's age counts: by our clock, never the upstream's.
AGES: dict[Table, Column[datetime]] = {
    items: items.c.first_seen_at,
    snapshots: snapshots.c.as_of,
    versions: versions.c.seen_at,
    reads: reads.c.read_at,
    loads: loads.c.read_at,
}


def delete_older(table: Table, oldest: datetime, most: int) -> Delete:
    """Remove the oldest rows of before ``oldest``, at most ``most``.

    Rows that a writer has locked are left for the next time.
    """
    moment = AGES[table]
    key = tuple_(*table.primary_key.columns)
    found = select(*table.primary_key.columns).where(moment < oldest).order_by(moment).limit(most)
    return delete(table).where(key.in_(found.with_for_update(skip_locked=True)))


def _insert(dialect: str, table: Table) -> postgresql.Insert | sqlite.Insert:
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)


def item_rows(answer: Answer) -> list[dict[str, Any]]:
    """One row an item."""
    sentiment = answer.sentiment
    return [
        {
            "source": sentiment.source,
            "external_id": storable(item.id),
            "symbol": sentiment.symbol,
            "at": item.at,
            "author": None if item.author is None else storable(item.author),
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
    """One row a read."""
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
    """The row of its load, if it has one."""
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


def to_load(row: Row[Any]) -> Load:
    """
    Raises:
      msgspec.ValidationError, NotJson: the row is damaged.
    """
    return convert({**_values(row), "tally": read_json(row.tally, dict[int, int])}, Load)


def to_read(row: Row[Any]) -> Read:
    """
    Raises:
      ValueError: the row is damaged.
    """
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
    row = {column.name: getattr(sentiment, column.name) for column in snapshots.columns}
    texts = {
        "scorer": storable(sentiment.scorer),
        "reason": None if sentiment.reason is None else storable(sentiment.reason),
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
    """
    Raises:
      msgspec.ValidationError, NotJson: the row is damaged.
    """
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

    A score that the item states itself is its own.

    Raises:
      msgspec.ValidationError, NotJson: the row is damaged.
    """
    facts = read_json(row.facts, _Facts) if row.facts else _Facts()
    return Scored(replace(to_item(row), score=facts.stated), row.score), row.scorer or ""


def to_sentiment(row: Row[Any]) -> SymbolSentiment:
    """
    Raises:
      msgspec.ValidationError, NotJson: the row is damaged.
    """
    # Both are NULL in a row of an earlier version.
    dropped = read_json(row.dropped, dict[str, float]) if row.dropped else {}
    return convert({**_values(row), "dropped": dropped}, SymbolSentiment)
