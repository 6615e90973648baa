"""A file for each process that may go on without Redis, where others of its machine look.

It tells them two things that Redis cannot tell while it is away, or after the process is dead:

- The process is there, or was. One that Redis has never told its part of a limit knows nothing of what
  others have sent: it takes nothing while another is there, nor until whatever those have sent that are
  over has left the window. A process that ends says ``over``, and the file's time is the moment; where
  one was killed, whoever finds it dead first says so.
- It is clean: Redis knows of everything that it has sent. The file says so in a word; an empty one does
  not, as a full disk allows no more. When a clean process is dead, its share of the limits is given back
  at once; that of any other is kept until whatever it may have sent has left every window.

A missing file means neither. Where none can be made, the share of a dead process is kept for longer, and
a process that begins while Redis is away takes nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
import time
from pathlib import Path

#: The file of a dead process is of no use any more by then: what it sent has left all but windows of days.
KEPT_SECONDS = 25 * 3600.0

_CLEAN, _OVER = b"clean", b" over"


class Marker:
    """The file of the process ``member`` of ``fleet``, in a folder of this user's own.

    ``fleet`` is any text that the processes with one Redis and one namespace have in common.
    """

    def __init__(self, fleet: str, member: str) -> None:
        self._fleet = hashlib.blake2b(fleet.encode(), digest_size=8).hexdigest()
        self._member = member

    def set_clean(self) -> None:
        """Say that the process is there, and that Redis knows of everything that it has sent."""
        self._write(_CLEAN)

    def set_alone(self) -> bool:
        """Say that it may send what Redis does not know; False when it would be taken for clean."""
        self._write(b"")
        return not self.is_clean

    def set_over(self) -> None:
        """Say that the process sends nothing any more, and as before whether Redis knows of all it sent."""
        self._end(self._folder() / self._member)

    def remove(self) -> None:
        """Say nothing any more: nothing was sent."""
        with contextlib.suppress(OSError):
            (self._folder() / self._member).unlink(missing_ok=True)

    @property
    def is_clean(self) -> bool:
        """True when the file is there and says so."""
        try:
            folder = self._folder()
            return _is_ours(folder) and (folder / self._member).read_bytes().startswith(_CLEAN)
        except OSError:
            return False

    def is_alone(self, seconds: float) -> bool:
        """True when no other process is there, and none that is over sent anything for so long."""
        folder = self._folder()
        try:
            others = [file for file in folder.iterdir() if file.name != self._member]
            # All of them: each that was killed is to be found now, and not one after the other.
            quiet = [self._is_quiet(file, seconds) for file in others]
        except OSError:
            return False
        return _is_ours(folder) and all(quiet)

    def _is_quiet(self, file: Path, seconds: float) -> bool:
        """False where a process is there, or is over for less than ``seconds``."""
        pid = pid_of(file.name)
        if pid is None:
            return True
        try:
            is_over, ended_at = file.read_bytes().endswith(_OVER), file.stat().st_mtime
        except FileNotFoundError:
            return True
        if not is_over and not is_alive(pid):
            self._end(file)
        return is_over and time.time() - ended_at >= seconds

    @staticmethod
    def _end(file: Path) -> None:
        with contextlib.suppress(OSError):
            text = file.read_bytes()
            file.write_bytes(text.removesuffix(_OVER) + _OVER)

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


def _remove_old(folder: Path) -> None:
    before = time.time() - KEPT_SECONDS
    for file in folder.iterdir():
        pid = pid_of(file.name)
        # Another process may remove the same ones.
        with contextlib.suppress(OSError):
            if file.lstat().st_mtime < before and (pid is None or not is_alive(pid)):
                file.unlink(missing_ok=True)
