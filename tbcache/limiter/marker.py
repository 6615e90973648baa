"""Markers: each process that may go on without Redis has a file, at which the others of its machine look.

The file tells them what Redis cannot tell while it is away, or once the process is dead:

- **The process is there.** It holds a lock on its file. The lock ends with the process, in whatever container
  that runs.
- **The sources that it uses**, each named before the process asks Redis for its first slot, or sends
  something without it. A process that Redis has never told its share of a source's limit does not know what
  others have sent. So it takes nothing there while another process that names the source is there, and after
  the last has ended, until all that it may have sent has left the window. A process that ends writes ``over``
  to its file, whose time is then the time of its end. Where a process was killed, the first one that finds it
  dead does so.
- **The process is clean:** Redis knows of all that it has sent. When a clean process is dead, its share of
  the limits is given back at once. The share of any other is kept until all that it may have sent has left
  every window.
- **The process is unheard of:** Redis has told it no share, and it has sent something, or is about to. Its
  file has the time of its last slot, and says of which sources, and for how many seconds after the last slot
  what it sent may be in a window. It says as well when it was written by the machine's monotonic clock, which
  nobody sets. One that begins and reaches Redis (join.py) takes nothing of such a source until that has left
  the window.

A disk that is full still takes a file, and its length. One that cannot say more is empty where its process is
unheard of, and has one byte (a hole) where Redis knows the process. Where a file does not say of which
sources, as one of an earlier version, it may be any.

Where a file is missing, nothing is known of its process, and it does not count as clean. Where no file can be
made or locked, the share of a dead process is kept for longer, and a process that starts while Redis is away
takes nothing.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import math
import os
import stat
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path

import msgspec

import tbcache.io as io
from tbcache.io.boundary import boundary
from tbcache.io.fork import renew_in_child
from tbcache.io.lock import try_lock
from tbcache.models.untrusted import NotJson, read_json

#: The file of a dead process is removed after so long. What that sent has left all windows but those of days.
KEPT_SECONDS = 25 * 3600.0
#: A process that looks at a file holds its lock for a moment. So one that finds it locked tries so many
#: times, with so many seconds in between.
LOOKS, LOOK_SECONDS = 100, 0.01
#: A file that could not be written is tried again at the earliest after so long: it may never be possible.
RETRY_SECONDS = 1.0

_TEMPORARY = "/tmp", "/var/tmp"  # noqa: S108 -- only a folder of ours in there is believed
_CLEAN, _KNOWN, _UNHEARD, _FULL, _OVER = b"clean", b"known", b"", b"\0", b" over"


class _Said(msgspec.Struct):
    """What a file says in JSON: the sources that its process uses; of which it has sent what Redis does not
    know of, and for how long that may be in a window (seconds); and when it was written (monotonic).
    """

    used: list[str]
    unheard: dict[str, float]
    at: float


@boundary("marker")
class Marker:
    """The file of the process ``member`` of ``fleet``, in a folder that belongs to this user.

    ``fleet`` is any text that all processes with the same Redis and the same namespace share.
    """

    def __init__(self, fleet: str, member: str) -> None:
        self._fleet = hashlib.blake2b(fleet.encode(), digest_size=8).hexdigest()
        self._member = member
        self._held: int | None = None
        self._was_written = False
        #: When a file that is not there may be made at the next use; never, once the process has left.
        self._due_at = -math.inf
        self._status = _CLEAN
        self._used: set[str] = set()
        self._unheard: dict[str, float] = {}
        self._release: Callable[[], object] = _nothing
        self.renew()
        renew_in_child(self)

    def renew(self) -> None:
        """Hold no file: at the start, and in a forked child, which has inherited the open file, and with it
        the lock. That must end with the parent."""
        self._lock = threading.RLock()
        self._let_go()

    def begin(self) -> None:
        """Have the next use write the file, also where the process has left before."""
        self._due_at, self._was_written = -math.inf, False

    def use(self, source: str) -> None:
        """Write that the process uses ``source``, once. Whether it is clean stays as it was."""
        with self._lock:
            if source not in self._used or (self._held is None and io.now() >= self._due_at):
                self._used.add(source)
                self._write(self._status)

    def set_clean(self) -> None:
        """Write that the process is there, and that Redis knows of all that it has sent."""
        with self._lock:
            self._unheard.clear()
            self._write(_CLEAN)

    def set_fallback(self) -> bool:
        """Write that the process may send what Redis does not know of, and that Redis keeps a share for it;
        False where it still looks clean.
        """
        self._write(_KNOWN)
        return not self.is_clean

    def set_unheard(self, source: str, seconds: float) -> bool:
        """Write that the process may send what Redis does not know of, and that no share is kept for it;
        False where it still looks clean. What it sends of ``source`` may be in a window for ``seconds``.
        """
        with self._lock:
            self._used.add(source)
            self._unheard[source] = seconds
            self._write(_UNHEARD)
        return not self.is_clean

    def set_over(self) -> None:
        """Write that the process sends nothing any more. Whether it is clean stays as it was."""
        with contextlib.suppress(OSError):
            _end(self._file)
        self._due_at = math.inf
        self._let_go()

    def remove(self) -> None:
        """Remove the file, since the process has sent nothing."""
        with contextlib.suppress(OSError):
            self._file.unlink(missing_ok=True)
        self._due_at = math.inf
        self._let_go()

    @property
    def is_clean(self) -> bool:
        """True where the file is there and says that the process is clean."""
        try:
            return _is_ours(self._file.parent) and self._file.read_bytes().startswith(_CLEAN)
        except OSError:
            return False

    @property
    def is_left(self) -> bool:
        """True where the file is there, and its process has ended."""
        try:
            with self._file.open("rb") as looked_at:
                return _is_ours(self._file.parent) and _is_left(looked_at.fileno())
        except OSError:
            return False

    def is_alone(self, source: str, seconds: float) -> bool:
        """True where no other process that uses ``source`` is there, and each that was has ended at least
        ``seconds`` ago.

        A process that is about to take something has to write so first. One that only looks need not.
        """
        if self._was_written and self._held is None:
            return False
        folder = self._file.parent
        try:
            if not folder.exists():
                return True
            # All files are looked at, even after one that is not quiet: the time since the end of a killed
            # process counts from the moment at which it is found.
            quiet = [_is_quiet(file, source, seconds) for file in self._others()]
        except OSError:
            return False
        return _is_ours(folder) and all(quiet)

    def has_unheard(self, source: str, seconds: float) -> bool:
        """True where another process that Redis has told no share may have sent something of ``source`` in
        the last ``seconds``, or in a longer window that it says, which Redis does not know yet.
        """
        try:
            # What another user has planted must stop nobody.
            is_ours = _is_ours(self._file.parent)
            return is_ours and any(self._is_unheard(file, source, seconds) for file in self._others())
        except OSError:
            return False

    def _is_unheard(self, file: Path, source: str, seconds: float) -> bool:
        """True where a process that was told no share may have sent what is in a window of ``source``."""
        try:
            text, age = file.read_bytes(), _age(file)
        except FileNotFoundError:
            return False
        if text.startswith((_CLEAN, _KNOWN, _FULL)):
            return False
        said = _read(text) or _Said([], {source: 0.0}, -math.inf)
        passed = io.now() - said.at
        if machine_of(file.name) == machine_of(self._member) and 0.0 <= passed < age:
            # The machine's clock was set forward since.
            age = passed
        return source in said.unheard and age < max(seconds, min(said.unheard[source], KEPT_SECONDS))

    @property
    def _file(self) -> Path:
        return root() / self._fleet / self._member

    def _others(self) -> list[Path]:
        files = self._file.parent.iterdir()
        return [file for file in files if file.name != self._member and pid_of(file.name) is not None]

    def _write(self, status: bytes) -> None:
        with self._lock, contextlib.suppress(OSError):
            self._was_written, self._status = True, status
            self._due_at = io.now() + RETRY_SECONDS
            text = status + msgspec.json.encode(_Said(sorted(self._used), self._unheard, io.now()))
            if self._held is not None and os.fstat(self._held).st_nlink:
                # This needs no other descriptor: none may be free.
                _put(self._held, text)
                return
            folder = self._file.parent
            for part in (folder.parent, folder):
                part.mkdir(mode=0o700, exist_ok=True)
                if not _is_ours(part):
                    return
            _remove_old(folder)
            self._make(text)

    def _make(self, text: bytes) -> None:
        """Make the file, which stays open and locked for as long as this process lives.

        It gets its name last: nobody finds it without its lock, or before it says something.
        """
        self._let_go()
        draft = self._file.with_name(f"{self._member}-draft")
        held = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        self._release = weakref.finalize(self, os.close, held)
        _lock(held)
        _put(held, text)
        draft.rename(self._file)
        self._held = held

    def _let_go(self) -> None:
        self._held = None
        self._release()


def _nothing() -> None: ...


def _put(file: int, text: bytes) -> None:
    try:
        os.pwrite(file, text, 0)
    except OSError:
        os.ftruncate(file, 0)
        text = _FULL if text.startswith((_CLEAN, _KNOWN)) else b""
    # The file is cut off after the write and not before it. So a marker that says "clean" once more is not
    # empty in between. The cut sets its time, whatever it said before.
    os.ftruncate(file, len(text))


def _is_quiet(file: Path, source: str, seconds: float) -> bool:
    """False where the process may use ``source``, and is there or has ended less than ``seconds`` ago."""
    try:
        with file.open("rb") as looked_at:
            is_left, text = _is_left(looked_at.fileno()), looked_at.read()
            is_found_dead = is_left and not text.endswith(_OVER)
            if is_found_dead:
                _end(file)
            said = _read(text)
            if said is not None and source not in said.used:
                return True
            return is_left and not is_found_dead and _age(file) >= seconds
    except FileNotFoundError:
        return True


def _read(text: bytes) -> _Said | None:
    """What a file says; None where it does not say so, or only in part."""
    # Two that look at once may both have found it dead.
    said = text.partition(_OVER)[0].removeprefix(_CLEAN).removeprefix(_KNOWN)
    try:
        return read_json(said, _Said)
    except NotJson:
        return None


def _age(file: Path) -> float:
    """Seconds since the file was written.

    One that is dated ahead is from before the machine's clock was set back. It counts from now on.
    """
    now = io.clock()
    age = now - file.stat().st_mtime
    if age < 0.0:
        with contextlib.suppress(OSError):
            os.utime(file, (now, now))
    return age


def _lock(file: int) -> None:
    """Lock the file for this process.

    Raises:
      OSError: another holds the lock for longer than a look takes.
    """
    for _ in range(LOOKS):
        if try_lock(file):
            return
        time.sleep(LOOK_SECONDS)
    raise OSError("the file is locked")


def _is_left(file: int) -> bool:
    """True where no process holds the lock. Then this process holds it, until it closes the file."""
    return try_lock(file, is_shared=True)


def _end(file: Path) -> None:
    with contextlib.suppress(OSError), file.open("r+b", buffering=0) as ended:
        # What it says stays there, also where the disk is full.
        ended.seek(0, os.SEEK_END)
        ended.write(_OVER)


@functools.cache
def root() -> Path:
    """The folder of all fleets of this user.

    It is in the first of the system's temporary folders to which he may write. Python takes another one
    where that is full, in which nobody would see those who began before.
    """
    named = (os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP"))
    folders = [Path(folder).absolute() for folder in (*named, *_TEMPORARY) if folder]
    folder = next((one for one in folders if os.access(one, os.W_OK | os.X_OK)), folders[0])
    return folder / f"tbcache-{os.geteuid()}"


def machine_of(member: str) -> str:
    """The machine, since its last start, and the container in ``machine-pid.token``."""
    return member.rpartition("-")[0]


def pid_of(member: str) -> int | None:
    """The process id in ``machine-pid.token``, the name of a process in the fleet."""
    pid = member.rpartition("-")[2].partition(".")[0]
    return int(pid) if pid.isdecimal() else None


@boundary("is_alive")
def is_alive(pid: int) -> bool:
    """False for a process of this machine that has ended, even where its parent has not waited for it yet."""
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
    # The state comes after the name of the program, which may contain any character, even a parenthesis.
    return state.rpartition(")")[2].split()[0] != "Z"


def _is_ours(folder: Path) -> bool:
    """True for a real folder that belongs to this user, and that nobody else can write to."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    is_private = stat.S_ISDIR(found.st_mode) and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return is_private and found.st_uid == os.geteuid()


def _remove_old(folder: Path) -> None:
    before = io.clock() - KEPT_SECONDS
    for file in folder.iterdir():
        # Another process may be removing the same files.
        with contextlib.suppress(OSError):
            if file.lstat().st_mtime < before and _is_nobodys(file):
                file.unlink(missing_ok=True)


def _is_nobodys(file: Path) -> bool:
    with file.open("rb") as looked_at:
        return _is_left(looked_at.fileno())
