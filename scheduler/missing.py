"""Which answers have less than was asked for, and which is filled next. Nothing here asks Redis."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from tbcache.models import FetchRequest, RateLimitStatus, SymbolSentiment
from tbcache.settings import Source

#: Why an answer lacks what could be read all the same, later or with more pages. For any other reason, as
#: where a search goes no deeper, asking again brings nothing.
FILLABLE = frozenset(("page_budget", "rate_limit", "budget", "throttled", "quota", "unavailable"))
#: So much of a day's budget older hours may have cost: the rest is for what is asked for.
BUDGET_PART = 0.5
#: A load begins with the news: with room for fewer pages most of them would be that.
LEAST_PAGES = 6


class Candidate(NamedTuple):
    """An answer as it is kept, and how often it was asked for of late."""

    request: FetchRequest
    answer: SymbolSentiment
    asks: int

    @property
    def is_fillable(self) -> bool:
        return not self.answer.complete and self.answer.reason in FILLABLE

    @property
    def per_hour(self) -> float:
        """How many items an hour has that is covered."""
        return self.answer.count / max(self.answer.covered_hours, 1 / 60)


def next_of(candidates: Iterable[Candidate]) -> Candidate | None:
    """Of what is asked for most, the busiest, until it has all its hours; None where nothing is missing.

    Of a busy symbol a first answer covers least. Were it the one of which least is known, all would be begun
    before any is done.
    """
    able = (one for one in candidates if one.is_fillable)
    return max(able, key=lambda one: (one.asks, one.per_hour), default=None)


def may_spend(source: Source, spent: float) -> bool:
    """Whether ``source``, which has cost ``spent`` (US dollars) today, may pay for what nobody waits for."""
    if not source.price.per_page:
        return True
    return source.daily_budget is not None and spent < BUDGET_PART * source.daily_budget


def has_room(status: RateLimitStatus, fraction: float) -> bool:
    """Whether the window has room for a load that is worth it, beside what is left to others."""
    most = int(status.allowed * fraction)
    return status.allowed - status.remaining + min(LEAST_PAGES, max(2, most)) <= most
