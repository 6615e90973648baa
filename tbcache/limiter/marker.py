"""A file for each process that may go on without Redis, where others of its machine look.

It tells them what Redis cannot tell while it is away, or after the process is dead:

- The process is there: it holds a lock on its file, which ends with it, in whatever container it runs.
- The process was there. One that Redis has never told its part of a limit knows nothing of what others
  have sent: it takes nothing while another is there, nor until whatever those have sent that are over
  has left the window. A process that ends says ``over``, and the file's time is the moment; where one was
  killed, whoever finds it dead first says so.
- It is ``clean``: Redis knows of everything that it has sent. When a clean process is dead, its share of the
  limits is given back at once; that of any other, whose file is empty as a full disk allows no more, is
  kept until whatever it may have sent has left every window.

A missing file means neither clean nor known. Where none can be made or locked, the share of a dead
process is kept for longer, and a process that begins while Redis is away takes nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path

import tbcache.io as io
from tbcache.io.boundary import boundary
from tbcache.io.lock import try_lock

#: The file of a dead process is of no use any more by then: what it sent has left all but windows of days.
KEPT_SECONDS = 25 * 3600.0
#: A process that looks at a file holds it for a moment; the others try again so often, and after so long.
LOOKS, LOOK_SECONDS = 100, 0.01

_CLEAN, _OVER = b"clean", b" over"


@boundary("marker")
class Marker:
    """The file of the process ``member`` of ``fleet``, in a folder of this user's own.

    ``fleet`` is any text that the processes with one Redis and one namespace have in common.
    """

    def __init__(self, fleet: str, member: str) -> None:
        self._fleet = hashlib.blake2b(fleet.encode(), digest_size=8).hexdigest()
        self._member = member
        self._lock = threading.Lock()
        self._held: int | None = None
        self._was_written = False
        self._release: Callable[[], object] = _nothing
        _MARKERS.add(self)

    def set_clean(self) -> None:
        """Say that the process is there, and that Redis knows of everything that it has sent."""
        self._write(_CLEAN)

    def set_fallback(self) -> bool:
        """Say that it may send what Redis does not know; False when it would be taken for clean."""
        self._write(b"")
        return not self.is_clean

    def set_over(self) -> None:
        """Say that the process sends nothing any more, and as before whether Redis knows of all it sent."""
        with contextlib.suppress(OSError):
            _end(self._file)
        self._let_go()

    def remove(self) -> None:
        """Say nothing any more: nothing was sent."""
        with contextlib.suppress(OSError):
            self._file.unlink(missing_ok=True)
        self._let_go()

    @property
    def is_clean(self) -> bool:
        """True when the file is there and says so."""
        try:
            return _is_ours(self._file.parent) and self._file.read_bytes().startswith(_CLEAN)
        except OSError:
            return False

    @property
    def is_left(self) -> bool:
        """True when the file is there, and its process is over."""
        try:
            with self._file.open("rb") as looked_at:
                return _is_ours(self._file.parent) and _is_left(looked_at.fileno())
        except OSError:
            return False

    def is_alone(self, seconds: float) -> bool:
        """True when no other process is there, and none that is over sent anything for so long.

        Whoever is to take something says first that it is there; who only looks need not."""
        if self._was_written and self._held is None:
            return False
        folder = self._file.parent
        try:
            if not folder.exists():
                return True
            others = [file for file in folder.iterdir() if file.name != self._member]
            # All are looked at: each that was killed is to be found now, and not one after the other.
            quiet = [_is_quiet(file, seconds) for file in others if pid_of(file.name) is not None]
        except OSError:
            return False
        return _is_ours(folder) and all(quiet)

    @property
    def _file(self) -> Path:
        return _root() / self._fleet / self._member

    def _write(self, text: bytes) -> None:
        self._was_written = True
        with contextlib.suppress(OSError):
            folder = self._file.parent
            for part in (folder.parent, folder):
                part.mkdir(mode=0o700, exist_ok=True)
                if not _is_ours(part):
                    return
            _remove_old(folder)
            with self._lock:
                held = self._hold()
                # The write comes first, so that a marker that says "clean" again is never empty in between.
                os.pwrite(held, text, 0)
                os.ftruncate(held, len(text))

    def _hold(self) -> int:
        """The file, open and locked for as long as this process lives."""
        if self._held is None or os.fstat(self._held).st_nlink == 0:
            self._let_go()
            held = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            self._release = weakref.finalize(self, os.close, held)
            _lock(held)
            self._held = held
        return self._held

    def _let_go(self) -> None:
        self._held = None
        self._release()


_MARKERS: weakref.WeakSet[Marker] = weakref.WeakSet()


def _after_fork() -> None:
    # The lock came along with the open file: the parent's must end with the parent.
    for marker in list(_MARKERS):
        marker._let_go()


os.register_at_fork(after_in_child=_after_fork)


def _nothing() -> None: ...


def _is_quiet(file: Path, seconds: float) -> bool:
    """False where a process is there, or is over for less than ``seconds``."""
    try:
        with file.open("rb") as looked_at:
            if not _is_left(looked_at.fileno()):
                return False
            is_over = looked_at.read().endswith(_OVER)
            ended_at = os.fstat(looked_at.fileno()).st_mtime
            if not is_over:
                _end(file)
    except FileNotFoundError:
        return True
    return is_over and io.clock() - ended_at >= seconds


def _lock(file: int) -> None:
    """
    Raises:
      OSError: somebody else holds it, for longer than to look at it.
    """
    for _ in range(LOOKS):
        if try_lock(file):
            return
        time.sleep(LOOK_SECONDS)
    raise OSError("the file is locked")


def _is_left(file: int) -> bool:
    """True when no process holds it; it is held by us until it is closed."""
    return try_lock(file, is_shared=True)


def _end(file: Path) -> None:
    text = file.read_bytes()
    with contextlib.suppress(OSError):
        file.write_bytes(text.removesuffix(_OVER) + _OVER)


def _root() -> Path:
    return Path(tempfile.gettempdir()) / f"tbcache-{os.geteuid()}"


def pid_of(member: str) -> int | None:
    """The process id in ``machine-pid.token``, the name of a process among those that share a limit."""
    pid = member.rpartition("-")[2].partition(".")[0]
    return int(pid) if pid.isdecimal() else None


@boundary("is_alive")
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
    before = io.clock() - KEPT_SECONDS
    for file in folder.iterdir():
        # Another process may remove the same ones.
        with contextlib.suppress(OSError):
            if file.lstat().st_mtime < before and _is_nobodys(file):
                file.unlink(missing_ok=True)


def _is_nobodys(file: Path) -> bool:
    with file.open("rb") as looked_at:
        return _is_left(looked_at.fileno())
