"""The version of the tables, and the steps by which a database of an earlier version becomes one of this.

Steps are plain SQL that both dialects understand, but for ``{moment}``, which is the dialect's type of a
moment. They are never changed once released: a database goes through them in order, each in a transaction of
its own. A table that is only added needs none, and no new version: an earlier tbcache goes on beside it.
"""

from __future__ import annotations

import contextlib

from sqlalchemy import Connection, DateTime, inspect, select, update
from sqlalchemy.exc import DBAPIError

from tbcache.io.log import get_logger
from tbcache.models.version import __version__
from tbcache.repository import table

log = get_logger("tbcache.repository")

#: The version of a database that has our tables and says nothing of its version: tbcache 0.1.0 made it.
FIRST = 1
#: ``STEPS[n]`` makes a database of version ``n + 2`` out of one of version ``n + 1``.
STEPS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE tbcache_schema (
            version INTEGER NOT NULL, written_by VARCHAR(32) NOT NULL, prune_at BIGINT NOT NULL
        )""",
        "INSERT INTO tbcache_schema (version, written_by, prune_at) VALUES (1, '', 0)",
        "CREATE INDEX ix_sentiment_items_first_seen ON sentiment_items (first_seen_at)",
        "CREATE INDEX ix_sentiment_snapshots_moment ON sentiment_snapshots (as_of)",
    ),
    ("ALTER TABLE sentiment_snapshots ADD COLUMN until {moment}",),
    (
        "ALTER TABLE sentiment_items ADD COLUMN facts TEXT",
        "ALTER TABLE sentiment_items ADD COLUMN engagement TEXT",
        "ALTER TABLE sentiment_items ADD COLUMN scorer TEXT",
        """CREATE TABLE sentiment_versions (
            source VARCHAR(64) NOT NULL, external_id TEXT NOT NULL, symbol VARCHAR(15) NOT NULL,
            seen_at {moment} NOT NULL, at {moment}, author TEXT, text TEXT NOT NULL, label VARCHAR(8),
            score FLOAT, weight FLOAT NOT NULL, first_seen_at {moment} NOT NULL,
            facts TEXT, engagement TEXT, scorer TEXT, PRIMARY KEY (source, external_id, symbol, seen_at)
        )""",
        "CREATE INDEX ix_sentiment_versions_seen ON sentiment_versions (seen_at)",
        """CREATE TABLE sentiment_reads (
            source VARCHAR(64) NOT NULL, symbol VARCHAR(15) NOT NULL, read_at {moment} NOT NULL,
            start_at {moment} NOT NULL, end_at {moment} NOT NULL,
            PRIMARY KEY (source, symbol, read_at, start_at)
        )""",
        "CREATE INDEX ix_sentiment_reads_moment ON sentiment_reads (read_at)",
    ),
    (
        """CREATE TABLE sentiment_loads (
            source VARCHAR(64) NOT NULL, symbol VARCHAR(15) NOT NULL, read_at {moment} NOT NULL,
            asked_at {moment} NOT NULL, kept_from {moment} NOT NULL, after {moment}, hours INTEGER NOT NULL,
            scorer TEXT NOT NULL, reason TEXT, tally TEXT NOT NULL, PRIMARY KEY (source, symbol, read_at)
        )""",
        "CREATE INDEX ix_sentiment_loads_moment ON sentiment_loads (read_at)",
        "CREATE INDEX ix_sentiment_items_symbol_seen ON sentiment_items (source, symbol, seen_at)",
        "CREATE INDEX ix_sentiment_versions_symbol_seen ON sentiment_versions (source, symbol, seen_at)",
    ),
    (
        "ALTER TABLE sentiment_snapshots ADD COLUMN voices FLOAT",
        "ALTER TABLE sentiment_snapshots ADD COLUMN dropped TEXT",
    ),
)
VERSION = FIRST + len(STEPS)


class SchemaTooNew(Exception):
    """A later tbcache has changed the tables: what they mean is not known here."""


def bring_up(connection: Connection) -> bool:
    """Make the tables, or take one step towards :data:`VERSION`, in the transaction of ``connection``.

    The caller holds a lock, so that no other process does the same. Returns False while
    more is to come.

    Raises:
      SchemaTooNew: the database is of a later version.
    """
    found, written_by = _version(connection)
    if found > VERSION:
        raise SchemaTooNew(
            f"has tables of version {found}, made by tbcache {written_by}; this is tbcache {__version__}, "
            f"which knows up to version {VERSION}: upgrade it"
        )
    if FIRST <= found < VERSION:
        moment = DateTime(timezone=True).compile(connection.dialect)
        for statement in STEPS[found - FIRST]:
            connection.exec_driver_sql(statement.replace("{moment}", moment))
        connection.execute(update(table.schema).values(version=found + 1, written_by=__version__))
        log.info("repository.migrated", version=found + 1)
        return False
    # A table that an earlier tbcache did not have is made, and so is one that somebody has dropped.
    others = [each for each in table.metadata.sorted_tables if each is not table.hours]
    table.metadata.create_all(connection, others)
    _make_hours(connection)
    if found != VERSION:
        connection.execute(table.schema.insert().values(version=VERSION, written_by=__version__, prune_at=0))
    return True


def _make_hours(connection: Connection) -> None:
    """Make the table of the usage's hours, which answers do without: where this user may make none, whoever
    reads or writes hours is told that it is missing.
    """
    with contextlib.suppress(DBAPIError), connection.begin_nested():
        table.hours.create(connection, checkfirst=True)


def _version(connection: Connection) -> tuple[int, str]:
    """The version, and the tbcache that made it; 0 where there are no tables of ours."""
    tables = inspect(connection)
    if tables.has_table(table.schema.name):
        row = connection.execute(select(table.schema)).first()
        if row is not None:
            return row.version, row.written_by
    return (FIRST if tables.has_table(table.items.name) else 0), ""
