"""Which answers lack hours that were asked for, and which of them comes first. Nothing here asks Redis."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from tbcache.models import FetchRequest, RateLimitStatus, SymbolSentiment
from tbcache.settings import Source
from tbcache.timeline import FINAL

#: For these another load may bring them at once. What else was met, as a page that could not be read, may be
#: met again: it is tried once in RETRY_SECONDS.
PASSING = frozenset(("page_budget", "rate_limit", "budget", "throttled", "quota", "unavailable"))
RETRY_SECONDS = 3600.0
#: A load begins with the newest items. With room for fewer pages it would hardly reach older ones.
LEAST_PAGES = 6


class Candidate(NamedTuple):
    """A cached answer, and how often it was asked for in the last hours."""

    request: FetchRequest
    answer: SymbolSentiment
    asks: int

    @property
    def is_fillable(self) -> bool:
        return not self.answer.complete and self.answer.reason not in FINAL

    @property
    def is_doubtful(self) -> bool:
        """True where the same may stop the next load as well."""
        return self.answer.reason not in PASSING

    def lacks(self, hours: int) -> bool:
        """Whether it covers less than the last ``hours``, as far as they were asked for."""
        return self.answer.covered_hours < min(hours, self.request.hours)

    @property
    def per_hour(self) -> float:
        """The mean number of items in a covered hour."""
        return self.answer.count / max(self.answer.covered_hours, 1 / 60)


def next_of(candidates: Iterable[Candidate], first_hours: int) -> Candidate | None:
    """The candidate that is asked for most and, of several, has most items; None where none lacks anything.

    Those that lack some of their last ``first_hours`` come before the others: a week of a busy symbol takes
    as many loads as the last day of several.

    Taking the one that covers least would move on to another symbol after each load, as busy symbols cover
    little at first. All would be begun before any is complete.
    """
    able = (one for one in candidates if one.is_fillable)
    return max(able, key=lambda one: (one.lacks(first_hours), one.asks, one.per_hour), default=None)


def may_spend(source: Source, spent: float) -> bool:
    """Whether older hours of ``source``, which has cost ``spent`` US dollars today, may cost more."""
    if not source.price.per_page:
        return True
    return source.daily_budget is not None and spent < source.deepening_share * source.daily_budget


def has_room(status: RateLimitStatus, fraction: float) -> bool:
    """Whether the window has room for a useful load within ``fraction`` of its limit."""
    most = int(status.allowed * fraction)
    return status.allowed - status.remaining + min(LEAST_PAGES, max(2, most)) <= most
