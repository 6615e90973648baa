"""How far back the pages of one answer reach, and whether they are all there is.

Every provider says only what its answer says (:class:`tbcache.models.Page`); what follows from it is
decided here, for all of them. That no next page is named is no proof: an upstream also leaves it out where
its search goes no deeper, where a field is null, or where its format has changed.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from tbcache.models import Page

#: How the pages end. ``whole``: they reach back to the start, or the upstream states that there is no more.
#: All others leave an answer incomplete, by that reason.
Ending = Literal["whole", "no_next_page", "search_depth", "no_times", "repeated_page"]


#: A time of 1970 is a zero where a time is missing.
_ZERO = datetime(1971, 1, 1, tzinfo=UTC)


class Coverage:
    """Judges the pages of one answer, one after the other, against the ``start`` that was asked for."""

    def __init__(self, start: datetime) -> None:
        self._start = start
        self._reached: datetime | None = None
        self._ids: set[str] = set()
        self._tokens: set[str] = set()
        self._pages = 0

    @property
    def since(self) -> datetime | None:
        """Since when everything was read; None where no item says when it is of."""
        return None if self._reached is None else max(self._reached, self._start)

    def add(self, page: Page) -> Ending | None:
        """Count ``page`` in, and say how the answer ends with it; None where the next page is to be read."""
        self._pages += 1
        is_repetition = self._is_repetition(page)
        last = _last_time(page)
        if last is not None:
            self._reached = last if self._reached is None else min(last, self._reached)
            if last < self._start:
                return "whole"
        if page.next is None:
            return self._without_next(page)
        return "repeated_page" if is_repetition else None

    def _is_repetition(self, page: Page) -> bool:
        """True when the upstream goes in circles: its token was used before, or nothing on ``page`` is new.

        The first page may be empty and yet lead to a next one.
        """
        ids = {item.id for item in page.items}
        has_new = self._pages == 1 or not ids <= self._ids
        is_used = page.next in self._tokens
        self._ids |= ids
        if page.next is not None:
            self._tokens.add(page.next)
        return is_used or not has_new

    def _without_next(self, page: Page) -> Ending:
        if page.exhausted:
            return "whole" if page.depth is None or len(self._ids) < page.depth else "search_depth"
        return "no_times" if self._ids and self._reached is None else "no_next_page"


def _last_time(page: Page) -> datetime | None:
    """When the last item that has a time is of, in the upstream's order.

    Not the oldest: one old post that stands above the others, as one pinned by a moderator does, says
    nothing of how far back the page reaches.
    """
    times = (item.at for item in reversed(page.items))
    return next((at for at in times if at is not None and at > _ZERO), None)
