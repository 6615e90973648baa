"""The repository: every item once, and every answer as it was."""

from __future__ import annotations

import functools
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import (
    URL,
    ColumnElement,
    Connection,
    Engine,
    NullPool,
    Row,
    Select,
    Table,
    create_engine,
    event,
    func,
    make_url,
    select,
    update,
)
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    InterfaceError,
    OperationalError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from tbcache.io.fork import renew_in_child
from tbcache.io.private import make_private
from tbcache.models import Item, SymbolSentiment, ticker
from tbcache.models.database import DATABASE_EXAMPLES
from tbcache.models.error import ConfigurationError
from tbcache.models.extra import need
from tbcache.repository import table
from tbcache.repository.answer import Answer
from tbcache.repository.error import AnswerRefused, RepositoryUnavailable
from tbcache.repository.hour import UsageHour, hour_rows, to_hour
from tbcache.repository.row import sound_rows
from tbcache.repository.schema import SchemaTooNew, bring_up
from tbcache.timeline import Load, Read, Scored

T = TypeVar("T")

_BEGINNING, _END = datetime(1970, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
#: Of so many answers the newest that is not damaged is the latest.
LATEST_TRIED = 10
_VARIABLE = "TBCACHE_DATABASE_URL"
_NO_SUCH_TABLE = "42P01"
#: Kinds of SQLSTATE: no connection, no login, no such database, a transaction that lost against another,
#: out of memory or disk, a lock that is held, an operator's word, an error of the system.
_POSTGRES_OUTAGES = frozenset(("08", "25", "28", "3D", "40", "53", "55", "57", "58", "XX"))
_SQLITE_OUTAGES = frozenset(
    (
        sqlite3.SQLITE_ERROR,  # our statements are sound: a table is missing
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_SCHEMA,
        sqlite3.SQLITE_NOTADB,
    )
)
_LONGEST_REASON = 200
#: How often it is tried to change to WAL mode while another has a lock.
WAL_RETRY_SECONDS = 0.02
# Any number that no other program on the server is likely to lock.
_SCHEMA_LOCK = 0x7462_6361_6368_65
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
    ``busy_timeout`` seconds for a lock or a connection.

    Raises:
      ConfigurationError: no such URL. MissingExtra: PostgreSQL's driver is not installed.
    """

    def __init__(self, url: str, *, busy_timeout: float = 5.0) -> None:
        parsed = _parse(url)
        self._engine = _engine(parsed, busy_timeout)
        self._file = Path(parsed.database or "") if self.dialect == "sqlite" else None
        self._timeout = busy_timeout
        self.renew()
        renew_in_child(self)

    def renew(self) -> None:
        """Begin anew: at the start, and in a forked child, for which no thread of the parent makes tables."""
        self._lock = threading.Lock()
        self._prepared = threading.Event()

    @property
    def dialect(self) -> str:
        """``sqlite`` or ``postgresql``."""
        return self._engine.dialect.name

    @property
    def address(self) -> str:
        """The database's URL, without its password."""
        return self._engine.url.render_as_string(hide_password=True)

    def save(self, records: Sequence[Answer]) -> None:
        """Write the answers in one transaction; writing them again changes nothing.

        Raises:
          RepositoryUnavailable: nothing of it was written; it may be later.
          AnswerRefused: nothing of it was written, and it never will be. Of several answers, at
            least one is at fault.
        """
        if not records:
            return
        try:
            with self._connect() as connection:
                self._write(connection, records)
                connection.commit()
        except RepositoryUnavailable:
            raise
        except Exception as error:
            if len(records) == 1:
                self._try_sample()
            raise AnswerRefused(_first_line(error)) from error

    def _write(self, connection: Connection, records: Sequence[Answer]) -> None:
        self._write_items(connection, records)
        snapshots = [table.snapshot_row(answer.sentiment) for answer in records]
        connection.execute(table.insert_snapshots(self.dialect), snapshots)

    def _write_items(self, connection: Connection, records: Sequence[Answer]) -> None:
        rows = _in_order(row for answer in records for row in table.item_rows(answer))
        loaded = _in_order(row for answer in records if answer.load for row in table.item_rows(answer))
        loads = [row for answer in records for row in table.load_rows(answer)]
        reads = [row for answer in records for row in table.read_rows(answer)]
        if rows:
            connection.execute(table.keep_replaced(self.dialect), rows)
            connection.execute(table.upsert_items(self.dialect), rows)
            connection.execute(table.keep_late(self.dialect), rows)
        if loaded:
            connection.execute(table.keep_again(self.dialect), loaded)
        if reads:
            connection.execute(table.insert_reads(self.dialect), reads)
        if loads:
            connection.execute(table.insert_loads(self.dialect), loads)

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

        Raises:
          RepositoryUnavailable: nothing of it was written.
        """
        nothing = replace(_SAMPLE.sentiment, source=source, symbol=symbol, as_of=read_at, scorer=scorer)
        with self._connect() as connection:
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
        return self._made(query, table.to_item)

    def _try_sample(self) -> None:
        """Whether the database takes an answer that is surely sound. Leaves nothing of it there.

        An error of which we do not know whether it is about what was written or about the
        database (no permission, a column of another type) is told apart by this.

        Raises:
          RepositoryUnavailable: it does not.
        """
        try:
            with self._connect() as connection:
                self._write(connection, [_SAMPLE])
                connection.rollback()
        except RepositoryUnavailable:
            raise
        except Exception as error:
            raise self._unavailable(error) from error

    def save_sentiment(
        self, sentiment: SymbolSentiment, items: Sequence[tuple[Item, float | None]] = ()
    ) -> None:
        """Write one answer."""
        self.save([Answer(sentiment, tuple(items))])

    def latest(self, source: str, symbol: str, hours: int | None = None) -> SymbolSentiment | None:
        """The newest answer, over ``hours`` or any; None where there is none."""
        query = self._snapshots(source, symbol)
        if hours is not None:
            query = query.where(table.snapshots.c.hours == hours)
        found = self._made(query.limit(LATEST_TRIED), table.to_sentiment)
        return found[0] if found else None

    def history(
        self, source: str, symbol: str, *, since: datetime, limit: int = 1000
    ) -> list[SymbolSentiment]:
        """The answers since ``since``, newest first, at most ``limit``."""
        query = self._snapshots(source, symbol).where(table.snapshots.c.as_of >= since).limit(limit)
        return self._made(query, table.to_sentiment)

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
        return self._made(query, table.to_item)

    def loads(self, source: str, symbol: str, since: datetime, until: datetime) -> list[Load]:
        """The loads of that time, the oldest first."""
        return self._made(_of(table.loads, source, symbol, since, until), table.to_load)

    def first_load(self, source: str, symbol: str) -> Load | None:
        """The oldest load of all; None where there is none."""
        query = _of(table.loads, source, symbol, _BEGINNING, _END).limit(1)
        return next(iter(self._made(query, table.to_load)), None)

    def is_read(self, source: str, symbol: str) -> bool:
        """Whether anything was read of the symbol, by a load or a backfill."""
        query = _of(table.reads, source, symbol, _BEGINNING, _END).limit(1)
        return bool(self._made(query, table.to_read))

    def reads(self, source: str, symbol: str, since: datetime, until: datetime) -> list[Read]:
        """What was read in that time, the oldest first."""
        return self._made(_of(table.reads, source, symbol, since, until), table.to_read)

    def versions(
        self, source: str, symbol: str, since: datetime, until: datetime
    ) -> list[tuple[Scored, str]]:
        """The versions that were seen in that time, the oldest first, each with the name of its scorer."""
        rows = [
            row
            for each in (table.items, table.versions)
            for row in self._made(_of(each, source, symbol, since, until), table.to_version)
        ]
        return sorted(rows, key=lambda row: row[0].seen_at)

    def save_hours(self, namespace: str, hours: Sequence[UsageHour], oldest: datetime) -> None:
        """Write hours of the usage of a fleet in one transaction, and forget those before ``oldest``. What is
        written already stays as it is.

        Raises:
          RepositoryUnavailable: nothing of it was written.
        """
        insert = table.insert_hours(self.dialect)
        try:
            with self._connect() as connection:
                if hours:
                    connection.execute(insert, hour_rows(namespace, hours))
                connection.execute(table.delete_hours(oldest))
                connection.commit()
        except DBAPIError as error:
            raise self._unavailable(error) from error

    def hours(self, namespace: str, since: datetime, source: str | None = None) -> list[UsageHour]:
        """The hours of a fleet's usage since ``since``, of one source or of all, the oldest first.

        Raises:
          RepositoryUnavailable: the database does not answer.
        """
        columns = table.hours.c
        query = select(table.hours).where(columns.namespace == namespace, columns.hour >= since)
        query = query.order_by(columns.hour)
        if source is not None:
            query = query.where(columns.source == source)
        try:
            return self._made(query, to_hour)
        except DBAPIError as error:
            # Whoever reads for a view has no right to this table, and shows the rest.
            raise self._unavailable(error) from error

    def count_items(self) -> int:
        """How many items are written."""
        return int(self._read(select(func.count()).select_from(table.items))[0][0])

    def remove_older(self, oldest: datetime, most: int) -> int:
        """Remove what was first seen before ``oldest``, in one transaction; how many rows.

        At most ``most`` items and as many answers: no writer waits longer than for those.

        Raises:
          RepositoryUnavailable: nothing of it was removed.
        """
        with self._connect() as connection:
            removed = sum(
                connection.execute(table.delete_older(each, oldest, most)).rowcount for each in table.AGES
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
        with self._connect() as connection:
            changed = connection.execute(
                update(table.schema).where(condition).values(prune_at=until)
            ).rowcount
            connection.commit()
        return until if changed else None

    def close(self) -> None:
        """Close every connection; the next use opens new ones."""
        self._engine.dispose()

    @staticmethod
    def _snapshots(source: str, symbol: str) -> Select[Any]:
        columns = table.snapshots.c
        return (
            select(table.snapshots)
            .where(columns.source == source, columns.symbol == ticker(symbol))
            .order_by(columns.as_of.desc(), columns.hours)
        )

    def _made(self, query: Select[Any], make: Callable[[Row[Any]], T]) -> list[T]:
        with self._connect() as connection:
            return sound_rows(connection.execute(query), make)

    def _read(self, query: Select[Any]) -> Sequence[Any]:
        with self._connect() as connection:
            return connection.execute(query).all()

    @contextmanager
    def _connect(self) -> Iterator[Connection]:
        try:
            if not self._prepared.is_set():
                self._prepare()
            with self._engine.connect() as connection:
                if self.dialect == "postgresql":
                    self._limit_waiting(connection)
                yield connection
        except SchemaTooNew as error:
            raise RepositoryUnavailable(
                f"the database at {self.address} {error}, or name another one in {_VARIABLE}"
            ) from None
        except (DBAPIError, PoolTimeout, OSError) as error:
            # While the tables are made, nothing is written yet that could be at fault.
            if self._prepared.is_set() and not _is_outage(error):
                raise
            raise self._unavailable(error) from error

    def _unavailable(self, error: Exception) -> RepositoryUnavailable:
        # A database that was replaced meanwhile gets its tables at the next try.
        self._prepared.clear()
        return RepositoryUnavailable(
            f"the database at {self.address} does not answer ({_first_line(error)}); "
            f"{_VARIABLE} says which one to use"
        )

    def _prepare(self) -> None:
        with self._lock:
            if self._prepared.is_set():
                return
            if self._file is not None:
                make_private(self._file.parent)
            while not self._bring_up():
                pass
            self._prepared.set()

    def _bring_up(self) -> bool:
        """Take a step towards tables of this version; False while more are to come."""
        with self._engine.connect() as connection:
            # Several processes start at once, and only one may change the tables.
            if self.dialect == "sqlite":
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            else:
                self._limit_waiting(connection)
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_SCHEMA_LOCK})")
            is_up = bring_up(connection)
            connection.commit()
            return is_up

    def _limit_waiting(self, connection: Connection) -> None:
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {round(self._timeout * 1000)}")


def _of(one: Table, source: str, symbol: str, since: datetime, until: datetime) -> Select[Any]:
    """The rows of a symbol in a table whose moments lie between, the oldest first."""
    moment = one.c.seen_at if "seen_at" in one.c else one.c.read_at
    symbols = one.c.source == source, one.c.symbol == ticker(symbol)
    return select(one).where(*symbols, moment.between(since, until)).order_by(moment)


def _in_order(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every writer uses this order, or two writers of the same items could wait for each other."""
    return sorted(rows, key=lambda row: (row["source"], row["symbol"], row["external_id"], row["seen_at"]))


def _is_outage(error: Exception) -> bool:
    """Whether it is known that the fault is the database's, and may be over later.

    What is not known is decided by trying: see :meth:`SentimentRepository._try_sample`.
    """
    if not isinstance(error, DBAPIError) or error.connection_invalidated:
        return True
    if isinstance(error.orig, sqlite3.Error):
        # The low byte is the kind of error, the rest says more.
        return getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in _SQLITE_OUTAGES
    state = getattr(error.orig, "sqlstate", None)
    if state is None:
        # The server said nothing: the connection failed.
        return isinstance(error, OperationalError | InterfaceError)
    return state[:2] in _POSTGRES_OUTAGES or state == _NO_SUCH_TABLE


def _first_line(error: Exception) -> str:
    """What the driver said, without the statement and its figures, which may be long."""
    return str(getattr(error, "orig", None) or error).strip().partition("\n")[0][:_LONGEST_REASON]


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url.strip())
    except (ArgumentError, ValueError):
        # The message leaves the text out: where it cannot be read, its password cannot be hidden.
        raise ConfigurationError(
            f"{_VARIABLE} is no database URL; it should be like {DATABASE_EXAMPLES}"
        ) from None
    if parsed.drivername in ("postgres", "postgresql", "postgresql+psycopg"):
        return parsed.set(drivername="postgresql+psycopg")
    shown = parsed.render_as_string(hide_password=True)
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite"):
        raise ConfigurationError(
            f"{_VARIABLE}={shown} is for {parsed.drivername}, which is not supported; "
            f"it should be like {DATABASE_EXAMPLES}"
        )
    if not parsed.database or parsed.database == ":memory:":
        raise ConfigurationError(
            f"{_VARIABLE}={shown} names no file, so that every row would be lost; "
            f"it should be like {DATABASE_EXAMPLES}"
        )
    return parsed


def _engine(url: URL, timeout: float) -> Engine:
    if url.drivername.startswith("sqlite"):
        # There is no pool: a connection costs little, and none is carried over a fork or to a replaced file.
        engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": timeout})
        event.listen(engine, "connect", functools.partial(_set_pragmas, timeout))
        return engine
    need(f"{_VARIABLE}, which is for PostgreSQL,", "psycopg")
    return create_engine(
        url,
        pool_pre_ping=True,
        pool_timeout=timeout,
        # A server that froze is noticed in seconds, not by the two hours of TCP.
        connect_args={"connect_timeout": max(2, round(timeout)), "tcp_user_timeout": 10_000},
    )


def _set_pragmas(timeout: float, connection: Any, _record: object) -> None:
    # A text that is no UTF-8 would end the whole answer.
    connection.text_factory = _decoded
    _use_wal(connection, time.monotonic() + timeout)
    connection.execute("PRAGMA synchronous=NORMAL")


def _decoded(text: bytes) -> str:
    return text.decode(errors="replace")


def _use_wal(connection: Any, give_up_at: float) -> None:
    """Have the file in WAL mode, in which it then stays.

    SQLite waits for no lock while it changes the mode, whatever its timeout: a process that begins
    while another makes the tables is told at once that the database is locked.
    """
    while connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= give_up_at:
                raise
            time.sleep(WAL_RETRY_SECONDS)
        else:
            # A file system that has no such mode goes on without it.
            return
