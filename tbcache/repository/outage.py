"""Whose fault an error of the database is: its own, which may be over later, or that of what was written."""

from __future__ import annotations

import sqlite3

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

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
