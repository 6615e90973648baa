"""Fields of an answer, which may be missing, null, or of another type than documented."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from tbcache.models import Item
from tbcache.models.untrusted import unescape

_MIN_TIMESTAMP_DIGITS = 9
_MOST = 1e9


def number(value: object) -> float | None:
    """A finite number, given as one or as text like ``"178857"`` or ``"$1,010.00"``."""
    if isinstance(value, str):
        value = value.replace(",", "").strip().lstrip("$")
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def count(value: object) -> int | None:
    """A number of things: whole, 0 where less is stated, and no more than makes sense."""
    found = number(value)
    return None if found is None or found > _MOST else max(0, int(found))


def moment(value: object) -> datetime | None:
    """A time (UTC), given as ISO 8601 or as seconds, milliseconds or microseconds since 1970."""
    if isinstance(value, str) and not _is_timestamp(value):
        return _iso(value)
    epoch = number(value)
    return None if epoch is None else _from_timestamp(epoch)


def _is_timestamp(value: str) -> bool:
    digits = value.strip().partition(".")[0]
    return digits.isascii() and digits.isdigit() and len(digits) >= _MIN_TIMESTAMP_DIGITS


def _iso(value: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(value.strip())
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _from_timestamp(value: float) -> datetime | None:
    # Seconds stay below 1e11 until the year 5138, milliseconds reach it in 1973.
    for ceiling, per_second in ((1e11, 1), (1e14, 1e3), (1e17, 1e6)):
        if 0 <= value < ceiling:
            return datetime.fromtimestamp(value / per_second, UTC)
    return None


def text(value: object) -> str:
    """Text as it was written: entities unescaped, nothing that cannot be stored."""
    return _storable(unescape(value)) if isinstance(value, str) else ""


def word(value: object) -> str | None:
    """A name or an id, given as text or as a whole number; None where it is empty or neither."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if abs(value) < 1 << 127 else None
    if not isinstance(value, str):
        return None
    return _storable(value).strip() or None


def _storable(value: str) -> str:
    # Upstreams cut texts inside a surrogate pair, and PostgreSQL takes no NUL.
    value = value.replace("\0", "")
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value


def records(value: object) -> list[dict[str, Any]]:
    """The objects in a list; whatever else stands in it is left out."""
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def holds_records(value: object) -> bool:
    """True for a list that is empty or has objects in it: one of nothing else is no page."""
    return isinstance(value, list) and (not value or any(isinstance(entry, dict) for entry in value))


def record(value: object) -> dict[str, Any]:
    """An object, or an empty one in place of anything else."""
    return value if isinstance(value, dict) else {}


def fingerprint(*parts: str | float | None) -> str:
    """An id for what the upstream gave none: the same for the same parts, in any process."""
    return hashlib.blake2b(repr(parts).encode(errors="replace"), digest_size=16).hexdigest()


def unique(items: Iterable[Item]) -> tuple[Item, ...]:
    """The items in their order, the first of each id."""
    first: dict[str, Item] = {}
    for item in items:
        first.setdefault(item.id, item)
    return tuple(first.values())
