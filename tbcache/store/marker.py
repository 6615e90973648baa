"""The clean marker of a process: a file that says that it has sent nothing Redis does not know of.

It is there while that is so, and is removed before the first slot is taken without Redis. Others of
this machine look for it once the process is dead: with it, they give its share of the limits back at
once; without it, the share is kept until whatever was sent has left every window. A missing file is
never wrong, so one that cannot be made costs time and no more.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
import time
from pathlib import Path

#: The marker of a dead process that nobody has looked for by then is of no use any more.
KEPT_SECONDS = 86400.0


class CleanMarker:
    """The marker of the process ``member``, in a folder of this user's own."""

    def __init__(self, member: str) -> None:
        self._member = member

    def set(self) -> None:
        """Say that Redis knows of everything that was sent."""
        with contextlib.suppress(OSError):
            folder = _folder()
            folder.mkdir(mode=0o700, exist_ok=True)
            if _is_ours(folder):
                _remove_old(folder)
                (folder / self._member).touch(mode=0o600)

    def remove(self) -> bool:
        """Say it no more; False when that cannot be done, and nothing may be sent then."""
        with contextlib.suppress(OSError):
            (_folder() / self._member).unlink(missing_ok=True)
        return not self.is_set

    @property
    def is_set(self) -> bool:
        try:
            return _is_ours(_folder()) and (_folder() / self._member).exists()
        except OSError:
            return False


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


def _folder() -> Path:
    return Path(tempfile.gettempdir()) / f"tbcache-{os.geteuid()}"


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
        if file.lstat().st_mtime < before and (pid is None or not is_alive(pid)):
            file.unlink(missing_ok=True)
