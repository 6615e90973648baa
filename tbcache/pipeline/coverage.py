"""How far back the pages of one answer reach, and whether they are all there is.

Every provider says only what its answer says (:class:`tbcache.models.Page`); what follows from it is
decided here, for all of them. That no next page is named is no proof: an upstream also leaves it out where
its search goes no deeper, where a field is null, or where its format has changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal

from tbcache.models import Item, Page

#: How the pages end. ``whole``: they reach back to the start, or the upstream states that there is no more.
#: All others leave an answer incomplete, by that reason.
Ending = Literal["whole", "no_next_page", "search_depth", "no_times", "repeated_page"]


#: A time of 1970 is a zero where a time is missing.
_ZERO = datetime(1971, 1, 1, tzinfo=UTC)
#: Of fewer items than this no order is known, and a gap of less than this is none.
_MANY = 4
_GAP = timedelta(hours=1)


class Coverage:
    """Judges the pages of one answer, one after the other, against the ``start`` that was asked for."""

    def __init__(self, start: datetime) -> None:
        self._start = start
        self._reached: datetime | None = None
        self._ids: set[str] = set()
        self._tokens: set[str] = set()
        self._has_undated = False
        self._pages = 0

    @property
    def since(self) -> datetime | None:
        """Since when everything was read; None where no item says when it is of."""
        return None if self._reached is None else max(self._reached, self._start)

    def add(self, page: Page) -> Ending | None:
        """Count ``page`` in, and say how the answer ends with it; None where the next page is to be read."""
        self._pages += 1
        is_repetition = self._is_repetition(page)
        self._has_undated |= any(not _is_dated(item) for item in page.items)
        last = _last_time(page)
        if last is not None:
            self._reached = last if self._reached is None else min(last, self._reached)
            if last < self._start:
                return "whole"
        if is_repetition and (page.items or page.next is not None):
            return "repeated_page"
        return self._without_next(page) if page.next is None else None

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
        # An item without a time may be of any: that an upstream has no more says nothing of the hours.
        if self._has_undated and (page.exhausted or self._reached is None):
            return "no_times"
        if page.exhausted:
            return "whole" if page.depth is None or len(self._ids) < page.depth else "search_depth"
        return "no_next_page"


def _is_dated(item: Item) -> bool:
    return item.at is not None and item.at > _ZERO


def _last_time(page: Page) -> datetime | None:
    """When the last item that has a time is of, in the upstream's order.

    Not the oldest: one old post that stands above the others, as one pinned by a moderator does, says
    nothing of how far back the page reaches. Nor does one in last place that is further from the one before
    it than all the others span: where it is right, the next page begins there.
    """
    times = [item.at for item in page.items if item.at is not None and _is_dated(item)]
    if page.next is not None and _breaks_order(times):
        times.pop()
    return times[-1] if times else None


def _breaks_order(times: Sequence[datetime]) -> bool:
    """True where the last of many times is older than the others by more than all of these span."""
    if len(times) < _MANY:
        return False
    others = times[:-1]
    return min(others) - times[-1] > max(_GAP, max(others) - min(others))
