"""A Valkey server of one's own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tbcache.embedded import EmbeddedServer, ProcessGroup, Supervisor
from tbcache.testing.early import SERVERS, check_early

#: A machine that runs tests is busy: a slow answer must not count as none.
_TIMEOUT_SECONDS = "5"


class RunningServer:
    """A server on a free port of 127.0.0.1, with a password of its own and nothing in it."""

    def __init__(self, server: EmbeddedServer, supervisor: Supervisor, fd: int) -> None:
        self._server = server
        self._supervisor = supervisor
        self._fd = fd

    @property
    def url(self) -> str:
        """The server's address with the password, as in ``REDIS_URL``."""
        return self._server.url

    @property
    def variables(self) -> dict[str, str]:
        """The variables that point tbcache here. The data folder, with the database, goes with the server."""
        return {
            "REDIS_URL": self.url,
            "TBCACHE_REDIS_TIMEOUT": _TIMEOUT_SECONDS,
            "TBCACHE_DATA_DIR": str(self._server.folder.parent / "data"),
        }

    @contextmanager
    def away(self) -> Iterator[None]:
        """Have nobody answer at its address in the block. After it, the server is back with all it had."""
        self._supervisor.stop()
        try:
            yield
        finally:
            self.start()

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
          TbcacheError: it did not; with the end of its log.
        """
        self._server.start(self._supervisor, self._fd, lambda: False)


@contextmanager
def server() -> Iterator[RunningServer]:
    """A started :class:`RunningServer`, which is gone after the block.

    Raises:
      MissingExtra: the extra ``embedded`` is not installed. ConfigurationError: see :func:`check_early`.
    """
    check_early()
    with tempfile.TemporaryDirectory(prefix="tbcache-testing-") as folder, ProcessGroup() as group:
        embedded = EmbeddedServer(Path(folder, "valkey"), Path(folder, "valkey.log"))
        supervisor = Supervisor(group, lambda event: None)
        with embedded.locked() as fd:
            running = RunningServer(embedded, supervisor, fd)
            try:
                running.start()
                SERVERS.add(running.url)
                yield running
            finally:
                supervisor.stop()
