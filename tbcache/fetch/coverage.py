"""The coverage of one answer: how far back its pages reach, and whether they are all there is.

A provider reports what its upstream answered (:class:`tbcache.models.Page`); the conclusions are drawn here,
for all providers alike. That an answer names no next page does not prove that there is none: an upstream also
leaves it out where its search goes no deeper, where a field is null, or where its format has changed.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal

from tbcache.fetch.order import NewestFirst
from tbcache.models import Item, Page

#: Why no page follows. "complete": the pages reach back to the start, or the upstream states that there is no
#: more. Every other ending leaves the answer incomplete, and is the reason that the answer gives for it.
PagingEnd = Literal["complete", "no_next_page", "search_depth", "no_times", "repeated_page"]


#: An upstream that writes 0 for a missing time dates the item to 1970.
_ZERO = datetime(1971, 1, 1, tzinfo=UTC)
#: A page that ends at a time in whole seconds, and the page before it, both have the items of that second.
_SECOND = timedelta(seconds=1)
#: The upstream's clock may be ahead of ours by so much.
_AHEAD = timedelta(minutes=5)


class PageCoverage:
    """Judges the pages of one answer, one after the other, against the ``start`` that was asked for.

    ``now`` is the end of the time that was asked for: an item that is dated later, by a wrong clock or zone,
    says nothing of the order. ``above`` is how many items the upstream has counted before the first page.
    """

    def __init__(self, start: datetime, now: datetime, above: int = 0) -> None:
        self._start = start
        self._above = above
        self._latest = now + _AHEAD
        self._reached: datetime | None = None
        self._order = NewestFirst()
        self._ids: set[str] = set()
        self._tokens: set[str] = set()
        self._has_undated = False
        self._pages = 0

    @property
    def since(self) -> datetime | None:
        """Since when all items were read; None where no item has a time."""
        return self._reached

    def add(self, page: Page) -> PagingEnd | None:
        """Count ``page`` in, and say how the answer ends with it; None where the next page is to be read."""
        self._pages += 1
        new = [item for item in page.items if item.id not in self._ids]
        is_repetition = self._is_repetition(page, new)
        self._ids.update(item.id for item in new)
        self._has_undated |= any(not _is_dated(item) for item in new)
        self._order.add(self._pages, [at for item in new if (at := self._place(item)) is not None])
        if self._order.passes(self._start):
            return "complete"
        last = self._order.reach(self._start)
        if not self._order.is_kept:
            self._reached = None
        elif last is not None:
            self._reached = last if self._reached is None else min(last, self._reached)
        if is_repetition:
            return "repeated_page"
        return self._without_next(page) if page.next is None else None

    def _place(self, item: Item) -> datetime | None:
        """The time of ``item``; None where it has none, or one that is still to come."""
        return item.at if _is_dated(item) and item.at is not None and item.at <= self._latest else None

    def _is_repetition(self, page: Page, new: list[Item]) -> bool:
        """True where the upstream repeats itself: its token was used before, or nothing on ``page`` is new.

        The first page may be empty and yet lead to a next one; the last page may be empty, or repeat only the
        end of the page before it.
        """
        is_used = page.next in self._tokens
        if page.next is not None:
            self._tokens.add(page.next)
        if is_used or new or self._pages == 1:
            return is_used
        return page.next is not None or not all(map(self._is_at_end, page.items))

    def _is_at_end(self, item: Item) -> bool:
        return self._reached is not None and item.at is not None and item.at < self._reached + _SECOND

    def _without_next(self, page: Page) -> PagingEnd:
        # An item without a time may be of any hour. So the end of the list does not say which hours it
        # covers.
        if self._has_undated and (page.exhausted or self._reached is None):
            return "no_times"
        if page.exhausted:
            depth = self._above + len(self._ids)
            return "complete" if page.depth is None or depth < page.depth else "search_depth"
        return "no_next_page"


def _is_dated(item: Item) -> bool:
    return item.at is not None and item.at > _ZERO
