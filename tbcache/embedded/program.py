"""A program that is run, and kept running."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

LOG_BYTES = 20 * 1024 * 1024
TAIL_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Program:
    """A program under a name.

    ``log`` takes its output, None: our own stderr. ``stage`` is its place in the order
    of stopping: the highest stops first. ``feed`` is written to its standard input,
    which is closed then. ``started`` is called with the pid of each of its processes.
    """

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str] | None = None
    log: Path | None = None
    stage: int = 2
    feed: bytes = b""
    folder: Path | None = None
    keep_fds: tuple[int, ...] = ()
    started: Callable[[int], None] = lambda pid: None

    def tail(self, lines: int = 3) -> tuple[str, ...]:
        """The last lines of its log that say something."""
        if self.log is None or not self.log.exists():
            return ()
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - TAIL_BYTES))
            text = file.read().decode(errors="replace")
        return tuple(line.rstrip() for line in text.splitlines() if line.strip())[-lines:]

    def trim_log(self) -> None:
        """Begin the log again when it has grown too long; what it had is kept beside it, once."""
        if self.log is not None and self.log.exists() and self.log.stat().st_size > LOG_BYTES:
            # The program has the file open to append, so it is emptied and not moved.
            self.log.with_suffix(".old.log").write_bytes(self.log.read_bytes())
            self.log.write_bytes(b"")
