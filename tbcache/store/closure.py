"""Whether an upstream has closed its source to everyone, as it stands in Redis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tbcache.foreign import moment, printable

FIELDS = ("closed_until", "closed_reason")


@dataclass(frozen=True, slots=True)
class Closure:
    """Until when a source is closed to everyone, and why."""

    until: datetime
    reason: str


def closure_of(found: Any, now: datetime) -> Closure | None:
    """The closure that the ``FIELDS`` of a source's state tell of; None when it is over, or damaged."""
    if not isinstance(found, Sequence):
        return None
    until, reason = found
    ends_at = moment(until)
    if ends_at is None or ends_at <= now:
        return None
    return Closure(ends_at, printable(reason or b"closed"))
