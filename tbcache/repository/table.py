"""The tables, and how an answer becomes their rows. What changes here needs a step in schema.py."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
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
    delete,
    select,
    tuple_,
)
from sqlalchemy.dialects import postgresql, sqlite

from tbcache.models import Item, SymbolSentiment
from tbcache.repository.answer import Answer, finite, storable


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
    Index("ix_sentiment_items_symbol_at", "source", "symbol", "at"),
    Index("ix_sentiment_items_first_seen", "first_seen_at"),
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
    Index("ix_sentiment_snapshots_as_of", "source", "symbol", "as_of"),
    Index("ix_sentiment_snapshots_moment", "as_of"),
)

#: One row: the version of all tables, the tbcache that made it, and when (seconds since the epoch)
#: somebody is to look for what is too old.
schema = Table(
    "tbcache_schema",
    metadata,
    Column("version", Integer, nullable=False),
    Column("written_by", String(32), nullable=False),
    Column("prune_at", BigInteger, nullable=False),
)

_SEEN_AGAIN = ("at", "author", "text", "label", "score", "weight", "seen_at")


def upsert_items(dialect: str) -> Insert:
    """Insert an item, or bring it up to date; an answer older than the one written last changes nothing."""
    statement = _insert(dialect, items)
    return statement.on_conflict_do_update(
        index_elements=["source", "external_id", "symbol"],
        set_={name: statement.excluded[name] for name in _SEEN_AGAIN},
        where=items.c.seen_at <= statement.excluded.seen_at,
    )


def insert_snapshots(dialect: str) -> Insert:
    """Insert a snapshot, once."""
    return _insert(dialect, snapshots).on_conflict_do_nothing()


#: Of each table that grows, from when a row's age counts: by our clock, never the upstream's.
AGES: dict[Table, Column[datetime]] = {items: items.c.first_seen_at, snapshots: snapshots.c.as_of}


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
            "first_seen_at": sentiment.as_of,
            "seen_at": sentiment.as_of,
        }
        for item, score in answer.items
    ]


def snapshot_row(sentiment: SymbolSentiment) -> dict[str, Any]:
    row = {column.name: getattr(sentiment, column.name) for column in snapshots.columns}
    texts = {
        "scorer": storable(sentiment.scorer),
        "reason": None if sentiment.reason is None else storable(sentiment.reason),
    }
    return {**row, **texts, "score": finite(sentiment.score)}


def to_item(row: Row[Any]) -> Item:
    return Item(
        id=row.external_id,
        at=row.at,
        text=row.text,
        author=row.author,
        label=row.label,
        score=row.score,
        weight=row.weight,
    )


def to_sentiment(row: Row[Any]) -> SymbolSentiment:
    return SymbolSentiment(**row._mapping)
