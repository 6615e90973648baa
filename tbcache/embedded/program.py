"""A program for a supervisor to run, and to start again when it dies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

LOG_BYTES = 20 * 1024 * 1024
TAIL_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Program:
    """A command with a name.

    Its output goes to the file ``log``, or to our own stderr where that is None. ``stage`` is its place in
    the order of stopping: the highest stops first. ``feed`` is written to its standard input, which is closed
    then. ``started`` is called with the pid of each process that is started for it.
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
        """The last lines of its log that are not blank."""
        if self.log is None or not self.log.exists():
            return ()
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - TAIL_BYTES))
            text = file.read().decode(errors="replace")
        return tuple(line.rstrip() for line in text.splitlines() if line.strip())[-lines:]

    def trim_log(self) -> None:
        """Empty the log where it is too long, after a copy to ``.old.log``."""
        if self.log is not None and self.log.exists() and self.log.stat().st_size > LOG_BYTES:
            # The program keeps the file open. So the file is emptied: a moved one would still get the output.
            self.log.with_suffix(".old.log").write_bytes(self.log.read_bytes())
            self.log.write_bytes(b"")
