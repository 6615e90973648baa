"""A time that a test names, checked before anything happens."""

from __future__ import annotations

import math

from tbcache.models.error import InvalidRequest
from tbcache.models.untrusted import quoted


def checked(seconds: float, what: str) -> float:
    """``seconds``, which ``what`` takes.

    Raises:
      InvalidRequest: they are no number, endless, or less than none.
    """
    if not isinstance(seconds, int | float) or not math.isfinite(seconds) or seconds < 0:
        raise InvalidRequest(f"{what}() takes seconds, 0 or more, not {quoted(seconds)}")
    return seconds
