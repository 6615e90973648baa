"""A database: its connections, its tables as this version needs them, and what an error of it means."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from tbcache.io.fork import renew_in_child
from tbcache.io.private import make_private
from tbcache.repository.engine import VARIABLE, engine_for, read_url
from tbcache.repository.error import RepositoryUnavailable
from tbcache.repository.schema import SchemaTooNew, bring_up

# Any number that no other program on the server is likely to lock.
_SCHEMA_LOCK = 0x7462_6361_6368_65


class Database:
    """Opens and makes nothing before the first :meth:`connect`. Safe to share between threads."""

    def __init__(self, url: str, busy_timeout: float) -> None:
        parsed = read_url(url)
        self.engine = engine_for(parsed, busy_timeout)
        #: The file of SQLite; None of PostgreSQL.
        self.file = Path(parsed.database or "") if self.dialect == "sqlite" else None
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
        return self.engine.dialect.name

    @property
    def address(self) -> str:
        """The database's URL, without its password."""
        return self.engine.url.render_as_string(hide_password=True)

    def close(self) -> None:
        """Close every connection; the next use opens new ones."""
        self.engine.dispose()

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """A connection, over whose tables are those of this version.

        Raises:
          RepositoryUnavailable: the database does not answer, here or in the body.
        """
        try:
            if not self._prepared.is_set():
                self._prepare()
            with self.engine.connect() as connection:
                if self.dialect == "postgresql":
                    self._limit_waiting(connection)
                yield connection
        except SchemaTooNew as error:
            raise RepositoryUnavailable(
                f"the database at {self.address} {error}, or name another one in {VARIABLE}"
            ) from None
        except (DBAPIError, PoolTimeout, OSError) as error:
            # While the tables are made, nothing is written yet that could be at fault.
            if self._prepared.is_set() and not is_outage(error):
                raise
            raise self.unavailable(error) from error

    def unavailable(self, error: Exception) -> RepositoryUnavailable:
        """What to raise for an error that is the database's fault."""
        # A database that was replaced meanwhile gets its tables at the next try.
        self._prepared.clear()
        return RepositoryUnavailable(
            f"the database at {self.address} does not answer ({first_line(error)}); "
            f"{VARIABLE} says which one to use"
        )

    def _prepare(self) -> None:
        with self._lock:
            if self._prepared.is_set():
                return
            if self.file is not None:
                make_private(self.file.parent)
            while not self._bring_up():
                pass
            self._prepared.set()

    def _bring_up(self) -> bool:
        """Take a step towards tables of this version; False while more are to come."""
        with self.engine.connect() as connection:
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


def is_outage(error: Exception) -> bool:
    """Whether it is known that the fault is the database's, and may be over later.

    What is not known is decided by trying: see ``SentimentRepository._try_sample``.
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


def first_line(error: Exception) -> str:
    """What the driver said, without the statement and its figures, which may be long."""
    return str(getattr(error, "orig", None) or error).strip().partition("\n")[0][:_LONGEST_REASON]
