"""The tables. What changes of a table needs a step in schema.py."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
)


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

#: When the answer of each load was stored, before which nobody was given it.
load_times = Table(
    "sentiment_load_times",
    metadata,
    Column("source", String(64), primary_key=True),
    Column("symbol", String(15), primary_key=True),
    Column("read_at", UtcDateTime, primary_key=True),
    Column("stored_at", UtcDateTime, nullable=False),
    Index("ix_sentiment_load_times_moment", "read_at"),
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
