"""The file in which what was sent to a source is kept, where there is no Redis that could keep it.

It is one file for each source, in a folder of this user: ``tbcache-UID`` in ``XDG_STATE_HOME``, which is
``~/.local/state`` by default. Where that cannot be written, it is the temporary folder in which the markers
are. Nothing is believed of a folder that others may have written to.

It is read and written under a lock, in place. Its sum shows where a process was killed in the midst of that,
or the machine has lost its power. It holds moments by the clock of the machine that nobody can set, so
that they count wherever the wall clock is set to. Only what was written before the machine was last started
is as old as the wall clock says, and no younger than now.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pwd
import time
import zlib
from pathlib import Path
from typing import NamedTuple

import msgspec

import tbcache.io as io
from tbcache.io.boundary import boundary
from tbcache.io.lock import try_lock, unlock
from tbcache.io.private import Unsound, check_private, make_private, opened
from tbcache.limiter import marker
from tbcache.models.untrusted import NotJson, read_json

#: So long (seconds) is waited for the lock, which another process holds for less than a millisecond.
LOCK_SECONDS, LOOK_SECONDS = 1.0, 0.001
#: The length of a sum, in digits.
_SUM = 8
_BOOT_ID, _CLOCKS = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/time")
#: It counts the time for which the machine sleeps, which the clock of Python does not on each system.
_AWAKE = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Held(NamedTuple):
    """A slot whose request may be under way until ``until`` (monotonic), and may cost ``price`` at most.

    The price is in millionths of a dollar.
    """

    until: float
    price: int


class _Moment(msgspec.Struct, frozen=True):
    """When a file was written, by each clock of its machine, and since which start of that."""

    boot: str
    monotonic: float
    awake: float
    wall: float

    @classmethod
    def now(cls) -> _Moment:
        # The monotonic clock comes first here, and last in `passed`: so the other clocks never say that more
        # has passed than it does, unless the machine has slept.
        monotonic = io.now()
        return cls(_boot(), monotonic, _awake(), io.clock())

    @property
    def is_of_this_start(self) -> bool:
        """True unless the machine was started since, as far as the system tells."""
        return self.boot == _boot() and self.awake <= _awake()

    def passed(self) -> tuple[float, float]:
        """How many seconds have passed since, at least; and what the monotonic clock says now."""
        awake, wall, now = _awake() - self.awake, io.clock() - self.wall, io.now()
        return max(now - self.monotonic, awake) if self.is_of_this_start else max(0.0, wall), now


class Kept(msgspec.Struct):
    """What is kept of a source. All moments are by the monotonic clock of this process.

    ``sent`` are the stamps of what was sent, for as long as the longest window in which a slot was taken
    (``horizon``, seconds), and ``held`` the slots that are not over, by name. ``paid`` is what each UTC day
    has cost, in millionths of a dollar; days count from the Unix epoch. ``closed_until`` is set where the
    upstream has closed the source, with the reason.
    """

    sent: list[float] = []
    held: dict[str, Held] = {}
    horizon: float = 0.0
    paid: dict[int, int] = {}
    closed_until: float | None = None
    closed_reason: str = ""
    at: _Moment = msgspec.field(default_factory=_Moment.now)

    def renew(self) -> None:
        """Have all moments be by the clock of this process, wherever the file was written."""
        passed, now = self.at.passed()
        later = now - passed - self.at.monotonic
        self.sent = [at + later for at in self.sent]
        self.held = {name: Held(one.until + later, one.price) for name, one in self.held.items()}
        if self.closed_until is not None:
            self.closed_until += later


@boundary("slot_file")
class SlotFile:
    """The file of ``source`` in ``namespace``. It is used by one thread of a process at a time."""

    def __init__(self, namespace: str, source: str) -> None:
        # No namespace and no source has such a sign.
        self.path = _folder() / f"{namespace}@{source}.json"
        self._file = -1
        self._text = b""
        self._open = contextlib.ExitStack()

    def lock(self, *, is_made: bool) -> None:
        """Keep the other processes from it, until :meth:`unlock`. Where ``is_made``, it is made first.

        Raises:
          FileNotFoundError: there is none. Unsound, OSError: it cannot be locked, or is not to be believed.
        """
        if is_made:
            make_private(self.path.parent)
        give_up = time.monotonic() + LOCK_SECONDS
        while not self._try_lock(os.O_CREAT if is_made else 0):
            if time.monotonic() > give_up:
                raise Unsound("another process has locked it")
            time.sleep(LOOK_SECONDS)

    def unlock(self) -> None:
        """Let others use it."""
        if self._file >= 0:
            unlock(self._file)
        self.renew()

    def renew(self) -> None:
        """Leave the lock, where there is one, to the parent: in a forked child."""
        self._open.close()
        self._file = -1

    def read(self) -> Kept:
        """What is kept. It must be locked.

        Raises:
          NotJson: it is damaged. OSError: it cannot be read.
        """
        with open(self._file, "rb", closefd=False) as whole:
            self._text = whole.read()
        if not self._text:
            return Kept()
        line, end, _ = self._text.partition(b"\n")
        if not end or line[:_SUM] != _sum(line[_SUM:]):
            raise NotJson("it was not written to its end")
        kept = read_json(line[_SUM:], Kept)
        kept.renew()
        return kept

    def write(self, kept: Kept) -> None:
        """Keep this instead of what was read. It must be locked.

        Raises:
          OSError: it cannot be written, and is as it was.
        """
        kept.at = _Moment.now()
        text = msgspec.json.encode(kept)
        try:
            self._put(_sum(text) + text + b"\n")
        except OSError:
            with contextlib.suppress(OSError):
                self._put(self._text)
            raise

    def _put(self, text: bytes) -> None:
        # It is not written anew beside it: to make a file takes a hundred times as long.
        done = 0
        while done < len(text):
            done += os.pwrite(self._file, text[done:], done)
        os.ftruncate(self._file, len(text))
        self._text = text

    def _try_lock(self, flags: int) -> bool:
        with contextlib.ExitStack() as stack:
            home = stack.enter_context(opened(self.path.parent, os.O_DIRECTORY))
            check_private(os.fstat(home), "its folder")
            file = stack.enter_context(opened(self.path.name, os.O_RDWR | flags, folder=home))
            # Where it was removed meanwhile, others use another one.
            if not try_lock(file) or os.fstat(file).st_nlink == 0:
                return False
            self._file, self._open = file, stack.pop_all()
        return True


def _sum(text: bytes) -> bytes:
    return b"%08x" % zlib.crc32(text)


def _awake() -> float:
    """Seconds since the machine was started, those included for which it slept."""
    return time.clock_gettime(_AWAKE)


@functools.cache
def _boot() -> str:
    """The present start of the machine, where the system tells; a container may have clocks of its own."""
    try:
        return f"{_BOOT_ID.read_text('ascii').strip()} {_CLOCKS.readlink()}"
    except OSError:
        return ""


def _folder() -> Path:
    named = os.environ.get("XDG_STATE_HOME", "")
    try:
        home = Path(named or f"{pwd.getpwuid(os.geteuid()).pw_dir}/.local/state")
    except KeyError:
        # In a container a user may have no name, and no home.
        return marker.root()
    folder = home / f"tbcache-{os.geteuid()}"
    there = next((one for one in (folder, *folder.parents) if os.access(one, os.F_OK)), folder)
    # One that is there is used, also where it cannot be written any more: elsewhere nobody would see what it
    # says. What lies in the folder where a command is run is not believed.
    is_used = home.is_absolute() and (there == folder or os.access(there, os.W_OK | os.X_OK))
    return folder if is_used else marker.root()
