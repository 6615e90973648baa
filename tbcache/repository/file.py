"""A file that appears whole or not at all."""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Iterable
from pathlib import Path

from tbcache.io.lock import try_lock
from tbcache.io.private import make_private

_PARTIAL = ".partial"
#: A writer locks its file right after it has made it.
ABANDONED_SECONDS = 10.0


def write_whole(path: Path, parts: Iterable[bytes]) -> Path:
    """Write ``path``, and its folder where there is none; its bytes are on the disk when this returns."""
    # The data folder, and the folder in it.
    make_private(path.parent.parent)
    make_private(path.parent)
    partial = path.with_suffix(f".{uuid.uuid4().hex}{_PARTIAL}")
    try:
        with partial.open("wb") as file:
            _lock(file.fileno())
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        return partial.rename(path)
    except BaseException:
        # On a full disk, halves would take what is left.
        partial.unlink(missing_ok=True)
        raise


def remove_abandoned(folder: Path) -> None:
    """Remove what was left half written in ``folder`` by processes that are gone: their locks are free."""
    for partial in folder.glob(f"*{_PARTIAL}"):
        with contextlib.suppress(OSError), partial.open("rb") as file:
            is_old = time.time() - os.fstat(file.fileno()).st_mtime > ABANDONED_SECONDS
            if is_old and _lock(file.fileno()):
                partial.unlink()


def _lock(file: int) -> bool:
    """Whether the lock is this process's; where files cannot be locked, nobody is known to be gone."""
    try:
        return try_lock(file)
    except (ImportError, OSError):
        return False
