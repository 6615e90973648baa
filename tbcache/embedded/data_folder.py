"""The data folder of ``tbcache up``: its lock, and the runtime file by which other commands find it."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from tbcache.io.lock import try_lock
from tbcache.io.private import Unsound, check_private, make_private, opened
from tbcache.models.error import ConfigurationError
from tbcache.settings.folder import LOCK, RUNTIME_FILE

# Another command takes the lock for a moment, to see whether the runtime file is still valid.
LOOK_SECONDS = 0.2
POLL_SECONDS = 0.01


class DataFolder:
    """A folder that is made when it is first used; ``path`` is absolute."""

    def __init__(self, path: Path) -> None:
        self._given = path
        self.path = path.resolve()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder for this process. The lock ends with the process, however that ends.

        Raises:
          ConfigurationError: another ``tbcache up`` has it, it cannot be written, or others may have
            put something into it.
        """
        with contextlib.ExitStack() as stack:
            try:
                lock = self._open(stack)
            except OSError as error:
                raise self._unusable(error.strerror or str(error)) from None
            except Unsound as error:
                raise self._unusable(f"{error}") from None
            os.ftruncate(lock, 0)
            os.write(lock, str(os.getpid()).encode())
            # A runtime file of a process that was killed may name the pid that is ours now.
            self.remove_runtime_file()
            stack.callback(self.remove_runtime_file)
            yield

    def write_runtime_file(self, variables: Mapping[str, str], api: str | None = None) -> None:
        """Write what other commands need to find this process. It has secrets, so only our user may read
        it.
        """
        content = {"pid": os.getpid(), "variables": dict(variables), "api": api}
        draft = self.path / f"{RUNTIME_FILE}.{os.getpid()}"
        draft.unlink(missing_ok=True)
        with opened(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as fd:
            os.write(fd, msgspec.json.encode(content))
        draft.replace(self.path / RUNTIME_FILE)

    def remove_runtime_file(self) -> None:
        (self.path / RUNTIME_FILE).unlink(missing_ok=True)

    def _open(self, stack: contextlib.ExitStack) -> int:
        """Make and check the folder, and lock it; return the descriptor of the lock."""
        make_private(self.path)
        if self._given.is_symlink():
            raise Unsound(f"it is a symbolic link; name the folder itself, {self.path}")
        home = stack.enter_context(opened(self.path, os.O_DIRECTORY))
        if not any(self.path.iterdir()):
            os.fchmod(home, 0o700)
        check_private(os.fstat(home), "it")
        lock = stack.enter_context(opened(LOCK, os.O_RDWR | os.O_CREAT, folder=home))
        self._lock(lock)
        _check_contents(self.path)
        os.fchmod(lock, 0o600)
        return lock

    def _unusable(self, reason: str) -> ConfigurationError:
        is_open = "open to other users" in reason
        mend = f"if all in it is yours, `chmod 700 {self.path}`, else " if is_open else ""
        return ConfigurationError(
            f"the data folder {self.path} cannot be used ({reason}); {mend}choose another --data-dir"
        )

    def _lock(self, fd: int) -> None:
        give_up = time.monotonic() + LOOK_SECONDS
        while not try_lock(fd):
            if time.monotonic() > give_up:
                raise ConfigurationError(
                    f"another `tbcache up`{self._holder()} runs with the data folder {self.path}; "
                    "stop it, or choose another --data-dir"
                )
            time.sleep(POLL_SECONDS)

    def _holder(self) -> str:
        with contextlib.suppress(OSError, ValueError):
            return f" (pid {int((self.path / LOCK).read_text())})"
        return ""


def _check_contents(folder: Path) -> None:
    """Check that all files in ``folder`` are plain ones of our user, before anything is written to them.

    Raises:
      Unsound: one is not.
    """
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            # Another command, or a server that is just ending, may have removed it meanwhile.
            with contextlib.suppress(FileNotFoundError):
                _check_entry(Path(parent, name))


def _check_entry(path: Path) -> None:
    found = path.lstat()
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        raise Unsound(f"{path} is no plain file or folder")
    if found.st_uid != os.geteuid():
        raise Unsound(f"{path} belongs to another user (uid {found.st_uid})")
