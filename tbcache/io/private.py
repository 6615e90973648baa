"""Files and folders that are this user's alone: how they are made, opened and checked."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Unsound(Exception):
    """What was found is not to be believed; the text says why."""


def make_private(folder: Path) -> None:
    """Make ``folder``, if there is none, for this user alone.

    Raises:
      OSError: it cannot be made.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def check_private(found: os.stat_result, name: str) -> None:
    """See that what is called ``name`` is this user's, and closed to all others.

    Raises:
      Unsound: it is not.
    """
    if found.st_uid != os.geteuid():
        raise Unsound(f"{name} belongs to another user (uid {found.st_uid})")
    if found.st_mode & 0o077:
        mode = f"{stat.S_IMODE(found.st_mode):04o}"
        raise Unsound(f"{name} is open to other users (mode {mode})")


@contextmanager
def opened(path: str | Path, flags: int = 0, folder: int | None = None) -> Iterator[int]:
    """A descriptor of what is really there: no symbolic link is followed, nothing blocks."""
    fd = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600, dir_fd=folder)
    try:
        yield fd
    finally:
        os.close(fd)
