"""SQLAlchemy's engine for a database URL: SQLite in WAL mode, or PostgreSQL."""

from __future__ import annotations

import functools
import sqlite3
import time
from typing import Any

from sqlalchemy import URL, Engine, NullPool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from tbcache.models.error import ConfigurationError
from tbcache.models.extra import DATABASE_EXAMPLES, need

#: The variable that says which database to use.
VARIABLE = "TBCACHE_DATABASE_URL"
#: How often it is tried to change to WAL mode while another has a lock.
WAL_RETRY_SECONDS = 0.02


def read_url(url: str) -> URL:
    try:
        parsed = make_url(url.strip())
    except (ArgumentError, ValueError):
        # The message leaves the text out: where it cannot be read, its password cannot be hidden.
        raise ConfigurationError(
            f"{VARIABLE} is no database URL; it should be like {DATABASE_EXAMPLES}"
        ) from None
    if parsed.drivername in ("postgres", "postgresql", "postgresql+psycopg"):
        return parsed.set(drivername="postgresql+psycopg")
    shown = parsed.render_as_string(hide_password=True)
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite"):
        raise ConfigurationError(
            f"{VARIABLE}={shown} is for {parsed.drivername}, which is not supported; "
            f"it should be like {DATABASE_EXAMPLES}"
        )
    if not parsed.database or parsed.database == ":memory:":
        raise ConfigurationError(
            f"{VARIABLE}={shown} names no file, so that every row would be lost; "
            f"it should be like {DATABASE_EXAMPLES}"
        )
    return parsed


def engine_for(url: URL, timeout: float) -> Engine:
    """An engine that opens nothing yet, and waits at most ``timeout`` seconds for a lock or a connection."""
    if url.drivername.startswith("sqlite"):
        # There is no pool: a connection costs little, and none is carried over a fork or to a replaced file.
        engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": timeout})
        event.listen(engine, "connect", functools.partial(_set_pragmas, timeout))
        return engine
    need(f"{VARIABLE}, which is for PostgreSQL,", "psycopg")
    return create_engine(
        url,
        pool_pre_ping=True,
        pool_timeout=timeout,
        # A server that froze is noticed in seconds, not by the two hours of TCP.
        connect_args={"connect_timeout": max(2, round(timeout)), "tcp_user_timeout": 10_000},
    )


def _set_pragmas(timeout: float, connection: Any, _record: object) -> None:
    # A text that is no UTF-8 would end the whole answer.
    connection.text_factory = lambda text: text.decode(errors="replace")
    _use_wal(connection, time.monotonic() + timeout)
    connection.execute("PRAGMA synchronous=NORMAL")


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
