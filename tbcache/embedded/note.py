"""The data folder of ``tbcache up``: one at a time, and a note for the commands that look for it."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from tbcache.errors import ConfigurationError
from tbcache.settings import NOTE

LOCK = "up.lock"


class DataFolder:
    """A folder, made when it is first used; ``path`` is absolute."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()

    @contextmanager
    def own(self) -> Iterator[None]:
        """Have the folder for ourselves; the lock ends with this process, however it ends.

        Raises:
          ConfigurationError: another ``tbcache up`` has it, or it cannot be written.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = (self.path / LOCK).open("a+")
        except OSError as error:
            raise ConfigurationError(
                f"the data folder {self.path} cannot be used ({error.strerror}); choose another --data-dir"
            ) from None
        with lock:
            self._lock(lock.fileno())
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            # Left by one that was killed; our pid may be the one it names.
            self.remove_note()
            try:
                yield
            finally:
                self.remove_note()

    def write_note(self, variables: Mapping[str, str], api: str | None = None) -> None:
        """Note what other commands need to find us. It holds secrets: no one else may read it."""
        note = {"pid": os.getpid(), "variables": dict(variables), "api": api}
        draft = self.path / f"{NOTE}.{os.getpid()}"
        with open(draft, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(msgspec.json.encode(note))
        draft.replace(self.path / NOTE)

    def remove_note(self) -> None:
        (self.path / NOTE).unlink(missing_ok=True)

    def _lock(self, fd: int) -> None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(
                f"another `tbcache up`{self._holder()} runs with the data folder {self.path}; "
                "stop it, or choose another --data-dir"
            ) from None

    def _holder(self) -> str:
        with contextlib.suppress(OSError, ValueError):
            return f" (pid {int((self.path / LOCK).read_text())})"
        return ""
