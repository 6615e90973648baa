"""Moments and durations as they are written in a command."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from tbcache.io import utc_now
from tbcache.models.error import InvalidRequest
from tbcache.models.history import aware
from tbcache.models.untrusted import quoted

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_DURATION = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)([smhdw])\Z")


def duration(name: str, text: str) -> timedelta:
    """How long ``text`` is, like ``90m``, ``1h`` or ``7d``."""
    found = _DURATION.match(text.strip().lower())
    if found is None:
        raise InvalidRequest(f"{name} {quoted(text)} is no duration: it should be like 90m, 1h or 7d")
    return timedelta(seconds=float(found[1]) * _UNITS[found[2]])


def moment(name: str, text: str) -> datetime:
    """When ``text`` is: so long ago, like ``7d``, or ISO 8601, in UTC where it says no zone."""
    if _DURATION.match(text.strip().lower()):
        return _ago(name, text)
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise InvalidRequest(
            f"{name} {quoted(text)} is no moment: it should be like 7d (so long ago) or 2026-07-28T12:00"
        ) from None
    return aware(name, found.replace(tzinfo=UTC) if found.tzinfo is None else found)


def _ago(name: str, text: str) -> datetime:
    span = duration(name, text)
    try:
        return aware(name, utc_now() - span)
    except (OverflowError, InvalidRequest):
        raise InvalidRequest(f"{name} {quoted(text)} is longer ago than anything is known of") from None
