"""When an exchange is open, by the calendars of the package ``exchange_calendars``.

It brings pandas along, and is an extra for that: only the scheduler needs it.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from tbcache.models.error import ConfigurationError
from tbcache.models.extra import need

Session = tuple[datetime, datetime]
#: The sessions of so many days are read at once, and again in good time before the last.
DAYS, SPARE_DAYS = 400, 30


class Market:
    """The sessions of an exchange, from the first bell to the last, breaks included."""

    def __init__(self, sessions: Callable[[date, date], Sequence[Session]]) -> None:
        """``sessions`` gives those of the days from the first to the last."""
        self._read = sessions
        #: Those that were read, and the first and the last day for which they are enough.
        self._sessions: Sequence[Session] = ()
        self._first, self._last = date.max, date.min

    def is_open(self, at: datetime, ahead: timedelta = timedelta()) -> bool:
        """Whether a session is on at ``at``, or begins within ``ahead`` of it."""
        if not self._first <= at.date() <= self._last:
            self._first, self._last = at.date(), at.date() + timedelta(days=DAYS - SPARE_DAYS)
            # A session may have begun on another day (UTC).
            self._sessions = self._read(at.date() - timedelta(days=2), at.date() + timedelta(days=DAYS))
        return any(begin - ahead <= at < end for begin, end in self._sessions)


def market_of(name: str | None) -> Market | None:
    """The market that ``TBCACHE_MARKET`` names; None where it names none.

    Raises:
      MissingExtra: the extra ``calendar`` is not installed.
      ConfigurationError: there is no such exchange.
    """
    if name is None:
        return None
    need("TBCACHE_MARKET", "exchange_calendars", otherwise="leave it unset")
    # It is imported here, because it comes with an extra, and takes a second.
    import exchange_calendars

    known: list[str] = exchange_calendars.get_calendar_names()
    if name not in known:
        near = ", ".join(difflib.get_close_matches(name, known, cutoff=0.5)) or "XNYS, XLON"
        raise ConfigurationError(f"TBCACHE_MARKET={name} is no exchange that is known; there are {near}")

    def sessions(first: date, last: date) -> Sequence[Session]:
        # What the package says of its own use of pandas is nothing to whoever reads our log.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            calendar: Any = exchange_calendars.get_calendar(name, start=str(first), end=str(last))
            bells = zip(calendar.opens, calendar.closes, strict=True)
            return [(_moment(begin), _moment(end)) for begin, end in bells]

    return Market(sessions)


def _moment(stamp: Any) -> datetime:
    found: datetime = stamp.to_pydatetime()
    return found.astimezone(UTC)
