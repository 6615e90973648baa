"""A scorer or a rule of somebody's own that does not do what it should: one error that names it."""

from __future__ import annotations

import traceback
from pathlib import Path

from tbcache.models.error import ConfigurationError

_OURS = Path(__file__).parents[1]


def broken(what: str, error: Exception) -> ConfigurationError:
    """What ``what`` raised, and at which line of its own."""
    frames = [(Path(frame.filename), frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    theirs = [f" ({path.name}:{line})" for path, line in frames if _OURS not in path.parents]
    where = theirs[0] if theirs else ""
    return ConfigurationError(f"{what} raised {type(error).__name__}: {str(error)[:200]}{where}")
