"""Until when this thread may send and wait for an answer, by its monotonic clock.

A slot of a limit is held for a time; a request that is sent after it would be known to nobody. A
process may stand still between its last look at the clock and the moment it sends, so whoever has
the socket looks again: see ``tbcache.providers.deadline``.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class _Deadline(threading.local):
    at = math.inf


_deadline = _Deadline()


@contextmanager
def until(moment: float) -> Iterator[None]:
    """Whatever this thread sends and reads meanwhile is over at ``moment``, or before, if so set."""
    before = _deadline.at
    _deadline.at = min(before, moment)
    try:
        yield
    finally:
        _deadline.at = before


def seconds_left() -> float:
    """Seconds until the deadline, 0.0 or less when it has passed; infinite where there is none."""
    return _deadline.at - time.monotonic()
