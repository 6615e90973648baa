"""A process group that ends with this process, however that ends."""

from __future__ import annotations

import contextlib
import subprocess
from typing import Any, Self

# The keeper reads a pipe whose other end only this process has open. When this process ends, even by SIGKILL,
# the read returns and the keeper kills its whole group, itself included. A shell does this for children of
# any kind, on Linux and macOS alike.
_KEEPER = ("/bin/sh", "-c", "read _; kill -KILL 0")


class ProcessGroup:
    """Starts processes in a group of their own, which a Ctrl-C of the terminal does not reach."""

    def __init__(self) -> None:
        self._keeper: subprocess.Popen[bytes] | None = None
        self._id = 0

    def __enter__(self) -> Self:
        self.ensure_keeper()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ensure_keeper(self) -> None:
        """Start the keeper, if it does not run."""
        if self._keeper is not None and self._keeper.poll() is None:
            return
        self._keeper = self._start(
            _KEEPER, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def spawn(self, command: tuple[str, ...], **options: Any) -> subprocess.Popen[bytes]:
        """Start a process in the group; ``options`` are those of :class:`subprocess.Popen`."""
        self.ensure_keeper()
        return self._start(command, **options)

    def close(self) -> None:
        """Kill what is left of the group."""
        if self._keeper is not None and self._keeper.stdin is not None:
            with contextlib.suppress(OSError):
                self._keeper.stdin.close()
            self._keeper.wait()
        self._keeper = None

    def _start(self, command: tuple[str, ...], **options: Any) -> subprocess.Popen[bytes]:
        try:
            process = subprocess.Popen(command, process_group=self._id, **options)
        except (PermissionError, ProcessLookupError):
            # The group ended with its last process: this process begins a new one.
            process = subprocess.Popen(command, process_group=0, **options)
            self._id = 0
        self._id = self._id or process.pid
        return process
