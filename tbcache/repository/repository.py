"""The repository: every item once, and every answer as it was."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Row, Select, Table, and_, func, select, update
from sqlalchemy.exc import DBAPIError

from tbcache.models import Item, SymbolSentiment, ticker
from tbcache.repository import statement, table
from tbcache.repository.answer import Answer
from tbcache.repository.database import Database, first_line
from tbcache.repository.error import AnswerRefused, RepositoryUnavailable
from tbcache.repository.hour import UsageHour
from tbcache.repository.row import (
    hour_rows,
    item_rows,
    load_rows,
    read_rows,
    snapshot_row,
    sound_rows,
    time_rows,
    to_hour,
    to_item,
    to_load,
    to_read,
    to_sentiment,
    to_version,
)
from tbcache.timeline import Load, Read, Scored

T = TypeVar("T")

_BEGINNING, _END = datetime(1970, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
#: Of so many answers the newest that is not damaged is the latest.
LATEST_TRIED = 10
#: An answer that every database of ours takes.
_SAMPLE = Answer(
    SymbolSentiment(
        "tbcache", "SAMPLE", 1, 0.0, 1, 0, 0, 1, datetime(2000, 1, 1, tzinfo=UTC), True, None, "none"
    ),
    ((Item("sample", None, "sample"), 0.0),),
)


class SentimentRepository:
    """Sentiments and their items in a database. Safe to share between threads.

    ``url`` is ``sqlite:///PATH`` or ``postgresql://...``. Nothing is opened or
    made before the first use; the tables are made, or brought up to this version, then. A call waits at most
    ``busy_timeout`` seconds for a lock or a connection; where the database does not answer, it raises
    RepositoryUnavailable, and nothing was written.

    Raises:
      ConfigurationError: no such URL. MissingExtra: PostgreSQL's driver is not installed.
    """

    def __init__(self, url: str, *, busy_timeout: float = 5.0) -> None:
        self._database = Database(url, busy_timeout)

    @property
    def dialect(self) -> str:
        return self._database.dialect

    @property
    def address(self) -> str:
        """The database's URL, without its password."""
        return self._database.address

    def save(self, records: Sequence[Answer]) -> None:
        """Write the answers in one transaction; writing them again changes nothing.

        Raises:
          AnswerRefused: nothing of it was written, and it never will be. Of several answers, at least one is
            at fault.
        """
        if not records:
            return
        try:
            with self._database.connect() as connection:
                self._write(connection, records)
                connection.commit()
        except RepositoryUnavailable:
            raise
        except Exception as error:
            if len(records) == 1:
                self._try_sample()
            raise AnswerRefused(first_line(error)) from error

    def _write(self, connection: Connection, records: Sequence[Answer]) -> None:
        self._write_items(connection, records)
        snapshots = [snapshot_row(answer.sentiment) for answer in records if not answer.is_private]
        if snapshots:
            connection.execute(statement.insert_once(self.dialect, table.snapshots), snapshots)

    def _write_items(self, connection: Connection, records: Sequence[Answer]) -> None:
        rows = _in_order(row for answer in records for row in item_rows(answer))
        loaded = _in_order(row for answer in records if answer.load for row in item_rows(answer))
        loads = [row for answer in records for row in load_rows(answer)]
        times = [row for answer in records for row in time_rows(answer)]
        reads = [row for answer in records for row in read_rows(answer)]
        if rows:
            connection.execute(statement.keep_replaced(self.dialect), rows)
            connection.execute(statement.upsert_items(self.dialect), rows)
            connection.execute(statement.keep_late(self.dialect), rows)
        if loaded:
            connection.execute(statement.keep_again(self.dialect), loaded)
        if reads:
            connection.execute(statement.insert_once(self.dialect, table.reads), reads)
        if loads:
            connection.execute(statement.insert_once(self.dialect, table.loads), loads)
        if times:
            connection.execute(statement.insert_once(self.dialect, table.load_times), times)

    def save_items(
        self,
        source: str,
        symbol: str,
        items: Sequence[tuple[Item, float | None]],
        reads: Sequence[Read],
        read_at: datetime,
        scorer: str,
    ) -> None:
        """Write items, each with the score that ``scorer`` gave it, and the ``reads`` by which they are
        known, in one transaction. What is known already stays as it is.
        """
        nothing = replace(_SAMPLE.sentiment, source=source, symbol=symbol, as_of=read_at, scorer=scorer)
        with self._database.connect() as connection:
            self._write_items(connection, [Answer(nothing, tuple(items), tuple(reads))])
            connection.commit()

    def oldest(self, source: str, symbol: str, since: datetime, limit: int) -> list[Item]:
        """The oldest items of ``since`` or later that say when they are of, the oldest first."""
        columns = table.items.c
        query = (
            select(table.items)
            .where(columns.source == source, columns.symbol == ticker(symbol), columns.at >= since)
            .order_by(columns.at, columns.external_id)
            .limit(limit)
        )
        return self._made(query, to_item)

    def _try_sample(self) -> None:
        """Whether the database takes an answer that is surely sound. Leaves nothing of it there.

        An error of which we do not know whether it is about what was written or about the
        database (no permission, a column of another type) is told apart by this.
        """
        try:
            with self._database.connect() as connection:
                self._write(connection, [_SAMPLE])
                connection.rollback()
        except RepositoryUnavailable:
            raise
        except Exception as error:
            raise self._database.unavailable(error) from error

    def latest(self, source: str, symbol: str, hours: int | None = None) -> SymbolSentiment | None:
        """The newest answer by the rules and the scorer of the settings, over ``hours`` or any; None where
        there is none."""
        query = self._snapshots(source, symbol)
        if hours is not None:
            query = query.where(table.snapshots.c.hours == hours)
        found = self._made(query.limit(LATEST_TRIED), to_sentiment)
        return found[0] if found else None

    def history(
        self, source: str, symbol: str, *, since: datetime, limit: int = 1000
    ) -> list[SymbolSentiment]:
        """The answers since ``since``, newest first, at most ``limit``."""
        query = self._snapshots(source, symbol).where(table.snapshots.c.as_of >= since).limit(limit)
        return self._made(query, to_sentiment)

    def items(self, source: str, symbol: str, *, since: datetime, limit: int = 1000) -> list[Item]:
        """The items since ``since``, newest first, at most ``limit``.

        ``score`` is what each was given. One without a time of its own counts
        from when it was first seen.
        """
        columns = table.items.c
        moment = func.coalesce(columns.at, columns.first_seen_at, type_=table.UtcDateTime)
        query = (
            select(table.items)
            .where(columns.source == source, columns.symbol == ticker(symbol), moment >= since)
            .order_by(moment.desc(), columns.external_id)
            .limit(limit)
        )
        return self._made(query, to_item)

    def loads(self, source: str, symbol: str, since: datetime, until: datetime) -> list[Load]:
        """The loads of that time, the oldest first."""
        query, keys = _of(table.loads, source, symbol, since, until), ("source", "symbol", "read_at")
        same = [table.load_times.c[key] == table.loads.c[key] for key in keys]
        query = query.add_columns(table.load_times.c.stored_at).join_from(
            table.loads, table.load_times, and_(*same), isouter=True
        )
        return self._made(query, to_load)

    def first_load(self, source: str, symbol: str) -> Load | None:
        """The oldest load of all; None where there is none."""
        query = _of(table.loads, source, symbol, _BEGINNING, _END).limit(1)
        return next(iter(self._made(query, to_load)), None)

    def is_read(self, source: str, symbol: str) -> bool:
        """Whether anything was read of the symbol, by a load or a backfill."""
        query = _of(table.reads, source, symbol, _BEGINNING, _END).limit(1)
        return bool(self._made(query, to_read))

    def reads(self, source: str, symbol: str, since: datetime, until: datetime) -> list[Read]:
        """What was read in that time, the oldest first."""
        return self._made(_of(table.reads, source, symbol, since, until), to_read)

    def versions(
        self, source: str, symbol: str, since: datetime, until: datetime
    ) -> list[tuple[Scored, str]]:
        """The versions that were seen in that time, the oldest first, each with the name of its scorer."""
        rows = [
            row
            for each in (table.items, table.versions)
            for row in self._made(_of(each, source, symbol, since, until), to_version)
        ]
        return sorted(rows, key=lambda row: row[0].seen_at)

    def save_hours(self, namespace: str, hours: Sequence[UsageHour], oldest: datetime) -> None:
        """Write hours of the usage of a fleet in one transaction, and forget those before ``oldest``. What is
        written already stays as it is.
        """
        insert = statement.insert_once(self.dialect, table.hours)
        try:
            with self._database.connect() as connection:
                if hours:
                    connection.execute(insert, hour_rows(namespace, hours))
                connection.execute(statement.delete_hours(oldest))
                connection.commit()
        except DBAPIError as error:
            raise self._database.unavailable(error) from error

    def hours(self, namespace: str, since: datetime, source: str | None = None) -> list[UsageHour]:
        """The hours of a fleet's usage since ``since``, of one source or of all, the oldest first."""
        columns = table.hours.c
        query = select(table.hours).where(columns.namespace == namespace, columns.hour >= since)
        query = query.order_by(columns.hour)
        if source is not None:
            query = query.where(columns.source == source)
        try:
            return self._made(query, to_hour)
        except DBAPIError as error:
            # Whoever reads for a view has no right to this table, and shows the rest.
            raise self._database.unavailable(error) from error

    def remove_older(self, oldest: datetime, most: int) -> int:
        """Remove what was first seen before ``oldest``, in one transaction; how many rows.

        At most ``most`` items and as many answers: no writer waits longer than for those.
        """
        with self._database.connect() as connection:
            removed = sum(
                connection.execute(statement.delete_older(each, oldest, most)).rowcount
                for each in statement.AGES
            )
            connection.commit()
        return removed

    def take_turn(self, seconds: int, latest: int) -> int | None:
        """Be the one process that prunes, for so long; None where another is, or somebody just was.

        Nobody keeps it for longer than ``latest`` seconds: a clock may have been wrong.
        """
        now, due = int(time.time()), table.schema.c.prune_at
        return self._set_turn((due <= now) | (due > now + latest), now + seconds)

    def extend_turn(self, turn: int, seconds: int) -> int | None:
        """Let nobody else prune for so long from now; None where ``turn`` is over and another's has begun."""
        return self._set_turn(table.schema.c.prune_at == turn, int(time.time()) + seconds)

    def _set_turn(self, condition: ColumnElement[bool], until: int) -> int | None:
        with self._database.connect() as connection:
            changed = connection.execute(
                update(table.schema).where(condition).values(prune_at=until)
            ).rowcount
            connection.commit()
        return until if changed else None

    def close(self) -> None:
        """Close every connection; the next use opens new ones."""
        self._database.close()

    @staticmethod
    def _snapshots(source: str, symbol: str) -> Select[Any]:
        columns = table.snapshots.c
        return (
            select(table.snapshots)
            .where(columns.source == source, columns.symbol == ticker(symbol))
            .order_by(columns.as_of.desc(), columns.hours)
        )

    def _made(self, query: Select[Any], make: Callable[[Row[Any]], T]) -> list[T]:
        with self._database.connect() as connection:
            return sound_rows(connection.execute(query), make)


def _of(one: Table, source: str, symbol: str, since: datetime, until: datetime) -> Select[Any]:
    """The rows of a symbol in a table whose moments lie between, the oldest first."""
    moment = one.c.seen_at if "seen_at" in one.c else one.c.read_at
    symbols = one.c.source == source, one.c.symbol == ticker(symbol)
    return select(one).where(*symbols, moment.between(since, until)).order_by(moment)


def _in_order(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every writer uses this order, or two writers of the same items could wait for each other."""
    return sorted(rows, key=lambda row: (row["source"], row["symbol"], row["external_id"], row["seen_at"]))
