"""What the headers of an HTTP answer say of the upstream's rate limits.

The five upstreams use the same few headers with different names and units. All of them are read here, where
the name and the size of a value tell its meaning.
"""

from __future__ import annotations

from datetime import datetime

from tbcache.fetch.http_time import after, by_our_clock, retry_after
from tbcache.models import RateHint, RawResponse
from tbcache.models.coerce import count, moment, number

_FIRST_TIMESTAMP = 1e9
_RESETS = ("x-rate-limit-reset", "x-ratelimit-reset")
_UW_RESET = "x-uw-req-per-minute-reset"


def window_end(response: RawResponse) -> datetime | None:
    """When to ask again: the first of the hints that is in the future, so that ``Retry-After: 0`` is passed
    over.
    """
    hints = [retry_after(response), *(_reset(response, name) for name in (*_RESETS, _UW_RESET))]
    known = [hint for hint in hints if hint is not None]
    return next((hint for hint in known if hint > response.received_at), known[0] if known else None)


def _reset(response: RawResponse, name: str) -> datetime | None:
    value = number(response.headers.get(name))
    if value is None or value < 0:
        return None
    if name == _UW_RESET:
        return after(response, value / 1000)
    return by_our_clock(response, moment(value)) if value >= _FIRST_TIMESTAMP else after(response, value)


def hints(response: RawResponse) -> tuple[RateHint, ...]:
    """How many requests are left in each window of the upstream, by the headers."""
    names = [
        (f"{prefix}-remaining", f"{prefix}-reset", f"{prefix}-limit", f"{prefix}-used")
        for prefix in ("x-rate-limit", "x-ratelimit", "x-app-limit-24hour", "x-user-limit-24hour")
    ]
    names.append(("x-uw-req-per-minute-remaining", _UW_RESET, "", ""))
    found = (_rate_hint(response, *four) for four in names)
    return tuple(hint for hint in found if hint is not None)


def _rate_hint(response: RawResponse, remaining: str, reset: str, limit: str, used: str) -> RateHint | None:
    left = count(response.headers.get(remaining))
    reset_at = _reset(response, reset)
    if left is None or reset_at is None:
        return None
    most, spent = count(response.headers.get(limit)), count(response.headers.get(used))
    return RateHint(left, reset_at, left + spent if most is None and spent is not None else most)
