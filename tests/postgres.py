"""A private PostgreSQL for tests, where one is installed."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from itertools import count
from pathlib import Path
from typing import Any

import psycopg


def has_postgres() -> bool:
    """Whether a server can be started here; root cannot run one, so it needs the user postgres."""
    return bool(shutil.which("initdb") and shutil.which("pg_ctl")) and (os.geteuid() != 0 or bool(_user()))


def _user() -> dict[str, Any]:
    """How to start processes that PostgreSQL agrees to be."""
    if os.geteuid() != 0:
        return {}
    try:
        account = pwd.getpwnam("postgres")
    except KeyError:
        return {}
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


class Postgres:
    """A server of our own: it listens on a socket in its own folder, and on no port."""

    def __init__(self) -> None:
        self._owner = _user()
        # Not pytest's folder: that belongs to root alone, and socket names must be short.
        self.folder = Path(tempfile.mkdtemp(prefix="tbcache-pg-"))
        if self._owner:
            os.chown(self.folder, self._owner["user"], self._owner["group"])
        self._data = self.folder / "data"
        self._run("initdb", "--no-sync", "-A", "trust", "-U", "postgres", "-E", "UTF8", "-D", str(self._data))
        options = f"-c listen_addresses='' -c unix_socket_directories={self.folder} -c fsync=off"
        self._options = options
        self._serial = count()
        self.start()

    def start(self) -> None:
        log = str(self.folder / "log")
        self._run("pg_ctl", "-D", str(self._data), "-w", "-t", "30", "-l", log, "-o", self._options, "start")

    def stop(self) -> None:
        """End it at once, as a crash would."""
        self._run("pg_ctl", "-D", str(self._data), "-w", "-m", "immediate", "stop")

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder)

    def new_database(self) -> str:
        """The URL of a new, empty database."""
        name = f"tbcache_{next(self._serial)}"
        with psycopg.connect(host=str(self.folder), user="postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return f"postgresql://postgres@/{name}?host={self.folder}"

    def _run(self, *command: str) -> None:
        subprocess.run(
            command, check=True, cwd=self.folder, stdout=subprocess.DEVNULL, timeout=60, **self._owner
        )
