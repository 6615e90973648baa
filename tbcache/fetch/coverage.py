"""How far back the pages of one answer reach, and whether they are all there is.

Every provider says only what its answer says (:class:`tbcache.models.Page`); what follows from it is
decided here, for all of them. That no next page is named is no proof: an upstream also leaves it out where
its search goes no deeper, where a field is null, or where its format has changed.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal

from tbcache.fetch.order import Order
from tbcache.models import Item, Page

#: How the pages end. ``whole``: they reach back to the start, or the upstream states that there is no more.
#: All others leave an answer incomplete, by that reason.
Ending = Literal["whole", "no_next_page", "search_depth", "no_times", "repeated_page"]


#: A time of 1970 is a zero where a time is missing.
_ZERO = datetime(1971, 1, 1, tzinfo=UTC)
#: A page that was asked for up to a time, in whole seconds, begins with what is of that second.
_SECOND = timedelta(seconds=1)
#: So far ahead of ours the upstream's clock may be.
_AHEAD = timedelta(minutes=5)


class Coverage:
    """Judges the pages of one answer, one after the other, against the ``start`` that was asked for.

    ``now`` is the end of what was asked for: what is dated later, by a wrong clock or zone, shows no order.
    ``above`` is how many items the upstream has counted before the first page.
    """

    def __init__(self, start: datetime, now: datetime, above: int = 0) -> None:
        self._start = start
        self._above = above
        self._latest = now + _AHEAD
        self._reached: datetime | None = None
        self._order = Order()
        self._ids: set[str] = set()
        self._tokens: set[str] = set()
        self._has_undated = False
        self._pages = 0

    @property
    def since(self) -> datetime | None:
        """Since when everything was read; None where no item says when it is of."""
        return self._reached

    def add(self, page: Page) -> Ending | None:
        """Count ``page`` in, and say how the answer ends with it; None where the next page is to be read."""
        self._pages += 1
        new = [item for item in page.items if item.id not in self._ids]
        is_repetition = self._is_repetition(page, new)
        self._ids.update(item.id for item in new)
        self._has_undated |= any(not _is_dated(item) for item in new)
        self._order.add(self._pages, [at for item in new if (at := self._place(item)) is not None])
        if self._order.passes(self._start):
            return "whole"
        last = self._order.reach(self._start)
        if last is not None:
            self._reached = last if self._reached is None else min(last, self._reached)
        if is_repetition:
            return "repeated_page"
        return self._without_next(page) if page.next is None else None

    def _place(self, item: Item) -> datetime | None:
        """When ``item`` is of; None where its time is none, or is still to come."""
        return item.at if _is_dated(item) and item.at is not None and item.at <= self._latest else None

    def _is_repetition(self, page: Page, new: list[Item]) -> bool:
        """True when the upstream goes in circles: its token was used before, or nothing on ``page`` is new.

        The first page may be empty and yet lead to a next one; the last one may be empty, or hold only what
        the one before it ended with.
        """
        is_used = page.next in self._tokens
        if page.next is not None:
            self._tokens.add(page.next)
        if is_used or new or self._pages == 1:
            return is_used
        return page.next is not None or not all(map(self._is_at_end, page.items))

    def _is_at_end(self, item: Item) -> bool:
        return self._reached is not None and item.at is not None and item.at < self._reached + _SECOND

    def _without_next(self, page: Page) -> Ending:
        # An item without a time may be of any: that an upstream has no more says nothing of the hours.
        if self._has_undated and (page.exhausted or self._reached is None):
            return "no_times"
        if page.exhausted:
            depth = self._above + len(self._ids)
            return "whole" if page.depth is None or depth < page.depth else "search_depth"
        return "no_next_page"


def _is_dated(item: Item) -> bool:
    return item.at is not None and item.at > _ZERO
