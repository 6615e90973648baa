"""The data folder: whose it is, and the runtime file that a running ``tbcache up`` leaves in it.

Anyone can plant files: in a repository that is cloned, in a folder that is shared. So what lies in a
data folder counts only where nobody but this user may have put it there, and the runtime file only while its
writer runs, which the writer's lock shows.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from tbcache.io.lock import try_lock
from tbcache.io.private import Unsound, check_private, opened
from tbcache.models.untrusted import NotJson, read_json

RUNTIME_FILE = "up.json"
LOCK = "up.lock"
#: The data folder, in the folder where a command is run, unless another one is named.
DATA_DIR = Path(".tbcache")
MOST_BYTES = 65536

# The form of a demo simulator's address. It allows no more, as programs differ in how they read odd URLs.
_SIMULATOR = re.compile(r"http://127\.0\.0\.1:[0-9]{1,5}(/[a-z_]+)?")


@dataclass(frozen=True, slots=True)
class RuntimeFile:
    """The variables that a running ``tbcache up`` chose. ``problem``: why the one found does not count."""

    variables: Mapping[str, str] = field(default_factory=dict)
    problem: str | None = None


class _Written(msgspec.Struct, frozen=True):
    pid: int
    variables: dict[str, str]


def read_runtime_file(folder: Path) -> RuntimeFile:
    """The runtime file of the ``tbcache up`` that runs with ``folder``; an empty one where there is none."""
    try:
        return RuntimeFile(_read(folder))
    except FileNotFoundError:
        return RuntimeFile()
    except (Unsound, OSError, NotJson) as error:
        return RuntimeFile(problem=f"{folder / RUNTIME_FILE} is ignored: {_reason(error)}")


def find_runtime_file(named: Path) -> tuple[Path, RuntimeFile]:
    """The data folder that is meant by ``named``, and its runtime file: the folder itself, or the one in it
    of a ``tbcache up`` that was started there.
    """
    inside = named / DATA_DIR
    if (found := read_runtime_file(named)).variables:
        return named, found
    inner = read_runtime_file(inside)
    # One that has ended leaves its lock: to start it again there is not to begin anew beside it.
    is_inside = inner.variables or (_is_there(inside / LOCK) and not _is_there(named / LOCK))
    return (inside, inner) if is_inside else (named, found)


def _is_there(file: Path) -> bool:
    """Whether there is one, as far as this user may look."""
    try:
        return file.exists()
    except PermissionError:
        return False


def _read(folder: Path) -> dict[str, str]:
    # Everything is looked at through descriptors: what is checked is what is read.
    os.lstat(folder / RUNTIME_FILE)
    if folder.is_symlink():
        raise Unsound("its folder is a symbolic link")
    with ExitStack() as stack:
        home = stack.enter_context(opened(folder, os.O_DIRECTORY))
        file = stack.enter_context(opened(RUNTIME_FILE, folder=home))
        check_private(os.fstat(home), "its folder")
        check_private(os.fstat(file), "it")
        written = read_json(_text(file), _Written)
        _check_writer(home, written.pid)
    _check_addresses(written.variables)
    return written.variables


def _text(fd: int) -> bytes:
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        raise Unsound("it is no plain file")
    return os.read(fd, MOST_BYTES)


def _check_writer(home: int, pid: int) -> None:
    """See that the process that wrote the runtime file runs: it holds the lock, in which its pid stands.

    Its pid alone shows nothing: it may long be that of another process. The lock's file is closed to
    others, so nobody else can hold the lock.
    """
    gone = Unsound(f"no `tbcache up` (pid {pid}) runs here")
    try:
        with opened(LOCK, folder=home) as lock:
            check_private(os.fstat(lock), LOCK)
            if _text(lock).strip() != str(pid).encode() or try_lock(lock, is_shared=True):
                raise gone
    except FileNotFoundError:
        raise gone from None


def _check_addresses(variables: Mapping[str, str]) -> None:
    for name, value in variables.items():
        if name.endswith(("__BASE_URL", "__AUTH_URL")) and not _SIMULATOR.fullmatch(value):
            raise Unsound(f"its {name} is no simulator on this machine")


def _reason(error: Exception) -> str:
    if isinstance(error, NotJson):
        return "it is damaged"
    if isinstance(error, OSError):
        return (error.strerror or str(error)).lower()
    return str(error)
