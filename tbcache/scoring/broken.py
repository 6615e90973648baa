"""A scorer or a rule of somebody's own that does not do what it should: one error that names it."""

from __future__ import annotations

import traceback
from pathlib import Path

from tbcache.models.error import ConfigurationError


def broken(what: str, error: Exception) -> ConfigurationError:
    """What ``what`` raised, and at which line of its own."""
    # The first frame is that of the caller in here.
    frames = traceback.extract_tb(error.__traceback__)[1:2]
    where = "".join(f" ({Path(frame.filename).name}:{frame.lineno})" for frame in frames)
    return ConfigurationError(f"{what} raised {type(error).__name__}: {str(error)[:200]}{where}")
