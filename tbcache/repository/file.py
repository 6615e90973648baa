"""A file that appears whole or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable
from pathlib import Path

from tbcache.settings.folder import make_private


def write_whole(path: Path, parts: Iterable[bytes]) -> Path:
    """Write ``path``, and its folder where there is none; its bytes are on the disk when this returns.

    Raises:
      OSError: it could not be.
    """
    # The data folder, and the folder in it.
    make_private(path.parent.parent)
    make_private(path.parent)
    partial = path.with_suffix(f".{uuid.uuid4().hex}.partial")
    try:
        with partial.open("wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        return partial.rename(path)
    except BaseException:
        # On a full disk, halves would take what is left.
        partial.unlink(missing_ok=True)
        raise
