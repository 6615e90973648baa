"""The two tables, and how an answer becomes their rows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    DateTime,
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
    Index("ix_sentiment_snapshots_as_of", "source", "symbol", "as_of"),
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
