"""Until when the running code may send and wait for an answer, by its world's monotonic clock.

A slot of a limit is held for a time; a request that is sent after it would be known to nobody. A
process may stand still between its last look at the clock and the moment it sends, so whoever has
the socket looks again: see ``tbcache.io.http_deadline``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from tbcache.io.current import now

_DEADLINE: ContextVar[float] = ContextVar("tbcache.deadline", default=math.inf)


@contextmanager
def until(moment: float) -> Iterator[None]:
    """Whatever this thread or task sends and reads meanwhile is over at ``moment``, or sooner, if so set."""
    before = _DEADLINE.set(min(_DEADLINE.get(), moment))
    try:
        yield
    finally:
        _DEADLINE.reset(before)


def seconds_left() -> float:
    """Seconds until the deadline, 0.0 or less when it has passed; infinite where there is none."""
    return _DEADLINE.get() - now()
