"""A file for each process that may go on without Redis, where others of its machine look.

It tells them two things that Redis cannot tell while it is away, or after the process is dead:

- The process is there. One that Redis has never told its part of a limit takes nothing while another
  is there: whatever is free may be that one's.
- It is clean: Redis knows of everything that it has sent. The file says so in a word; an empty one does
  not, as a full disk allows no more. When a clean process is dead, its share of the limits is given back
  at once; that of any other is kept until whatever it may have sent has left every window.

A missing file means neither. Where none can be made, the share of a dead process is kept for longer, and
processes that begin while Redis is away do not see each other.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
import time
from pathlib import Path

#: The file of a dead process is of no use any more by then: Redis was back, or nobody asks for it.
KEPT_SECONDS = 3600.0


class Marker:
    """The file of the process ``member`` of ``fleet``, in a folder of this user's own.

    ``fleet`` is any text that the processes with one Redis and one namespace have in common.
    """

    def __init__(self, fleet: str, member: str) -> None:
        self._fleet = hashlib.blake2b(fleet.encode(), digest_size=8).hexdigest()
        self._member = member

    def set_clean(self) -> None:
        """Say that the process is there, and that Redis knows of everything that it has sent."""
        self._write(b"clean")

    def set_alone(self) -> bool:
        """Say that it may send what Redis does not know; False when it would be taken for clean."""
        self._write(b"")
        return not self.is_clean

    def remove(self) -> None:
        """Say nothing any more."""
        with contextlib.suppress(OSError):
            (self._folder() / self._member).unlink(missing_ok=True)

    @property
    def is_clean(self) -> bool:
        """True when the file is there and says so."""
        try:
            folder = self._folder()
            return _is_ours(folder) and (folder / self._member).stat().st_size > 0
        except OSError:
            return False

    @property
    def has_company(self) -> bool:
        """True when another process is there, or was, and sent what Redis may not know."""
        try:
            folder = self._folder()
            files = list(folder.iterdir()) if _is_ours(folder) else []
            return any(_is_there(file) for file in files if file.name != self._member)
        except OSError:
            return False

    def _write(self, text: bytes) -> None:
        with contextlib.suppress(OSError):
            folder = self._folder()
            for part in (folder.parent, folder):
                part.mkdir(mode=0o700, exist_ok=True)
                if not _is_ours(part):
                    return
            _remove_old(folder)
            (folder / self._member).write_bytes(text)

    def _folder(self) -> Path:
        return _root() / self._fleet


def _root() -> Path:
    return Path(tempfile.gettempdir()) / f"tbcache-{os.geteuid()}"


def pid_of(member: str) -> int | None:
    """The process id in ``machine-pid.token``, the name of a process among those that share a limit."""
    pid = member.rpartition("-")[2].partition(".")[0]
    return int(pid) if pid.isdecimal() else None


def is_alive(pid: int) -> bool:
    """False for a process of this machine that is over, also where its parent has not been told."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        state = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
    except OSError:
        return True
    # The state comes after the program's name, which may hold anything.
    return state.rpartition(")")[2].split()[0] != "Z"


def _is_ours(folder: Path) -> bool:
    """True for a real folder of this user's that nobody else can write to."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    is_private = stat.S_ISDIR(found.st_mode) and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return is_private and found.st_uid == os.geteuid()


def _is_there(file: Path) -> bool:
    pid = pid_of(file.name)
    return pid is not None and (is_alive(pid) or file.stat().st_size == 0)


def _remove_old(folder: Path) -> None:
    before = time.time() - KEPT_SECONDS
    for file in folder.iterdir():
        pid = pid_of(file.name)
        # Another process may remove the same ones.
        with contextlib.suppress(OSError):
            if file.lstat().st_mtime < before and (pid is None or not is_alive(pid)):
                file.unlink(missing_ok=True)
