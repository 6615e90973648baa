"""The moments that an HTTP answer tells: of the upstream's clock, and in the time of ours."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from tbcache.models import RawResponse
from tbcache.models.coerce import number

_LONGEST_WAIT = 366 * 86400.0
_LONGEST_AGE = 366 * 86400.0
#: The comma after a number or a zone. One after the name of a day is within a date.
_BETWEEN_VALUES = re.compile(r"(?<=\d|T)\s*,\s*")


def told_now(response: RawResponse) -> datetime | None:
    """The time of the upstream's clock when ``response`` was received, to the second; None where the answer
    does not tell it.
    """
    said = _http_date(response.headers.get("date", ""))
    return said and said + _age(response)


def upstream_now(response: RawResponse) -> datetime:
    """The same as :func:`told_now`, or the time of our clock where the answer does not tell it."""
    return told_now(response) or response.received_at


def by_our_clock(response: RawResponse, moment: datetime | None) -> datetime | None:
    """A moment of the upstream's clock in the time of our clock; None where there is none.

    The Date header has whole seconds only, and the answer was under way for a while. So the result may be too
    late by that much (about 1 s), and it is never too early.
    """
    try:
        return moment and moment + (response.received_at - upstream_now(response))
    except OverflowError:
        return None


def after(response: RawResponse, seconds: float) -> datetime | None:
    """The moment ``seconds`` after ``response`` was received; None where that is no plausible wait.

    Only our clock is used, because a wait in seconds does not depend on the clock of the upstream.
    """
    return response.received_at + timedelta(seconds=seconds) if 0 <= seconds <= _LONGEST_WAIT else None


def renewal(response: RawResponse, rule: Callable[[datetime], datetime]) -> datetime | None:
    """When an upstream counts anew, by our clock. ``rule`` tells it by the clock of the upstream, like its
    next midnight.
    """
    return by_our_clock(response, rule(upstream_now(response)))


def _age(response: RawResponse) -> timedelta:
    """For how long a cache on the way has kept the answer, as the Age header says."""
    seconds = number(response.headers.get("age"))
    return timedelta(seconds=seconds) if seconds is not None and 0 <= seconds <= _LONGEST_AGE else timedelta()


def next_midnight(start: datetime) -> datetime:
    """The next UTC midnight."""
    day = start.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return day + timedelta(days=1)


def next_month(start: datetime) -> datetime:
    """The first moment of the next month, in UTC."""
    today = next_midnight(start) - timedelta(days=1)
    return (today.replace(day=28) + timedelta(days=4)).replace(day=1)


def retry_after(response: RawResponse) -> datetime | None:
    """The moment that ``Retry-After`` names, in seconds or as a date; the latest where it names several, as
    where both a proxy and the upstream do."""
    values = _BETWEEN_VALUES.split(response.headers.get("retry-after", ""))
    return max(filter(None, (_retry_after(response, value) for value in values)), default=None)


def _retry_after(response: RawResponse, value: str) -> datetime | None:
    seconds = number(value)
    return by_our_clock(response, _http_date(value)) if seconds is None else after(response, seconds)


def _http_date(value: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(value)
        found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return found if 1970 <= found.year < 9000 else None
