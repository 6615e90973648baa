"""Which source an error came of: it says nothing of another, whose code has asked that one."""

from __future__ import annotations

from typing import TypeVar

E = TypeVar("E", bound=BaseException)

#: The attribute of an error that names the source.
_SOURCE = "_tbcache_source"


def met_by(source: str, error: E) -> E:
    """``error``, which a load of ``source`` has met; of loads within one another the innermost."""
    vars(error).setdefault(_SOURCE, source)
    return error


def is_of(source: str, error: BaseException) -> bool:
    """False where a load of another source has met ``error``."""
    return bool(vars(error).get(_SOURCE, source) == source)
