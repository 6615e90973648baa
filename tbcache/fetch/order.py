"""How far back the items of an answer reach, by the order in which the upstream gives them.

Upstreams give the newest item first. So an item at the end of a page proves that all newer ones were read,
unless it stands out of order: a post may stand above newer ones because somebody pinned it, or below them for
reasons of the upstream's own. Only the times of the items show which of them are out of order.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

#: A step back in time of less than this is no gap.
_LEAST_STEP = timedelta(hours=1)
#: So many times as long as all steps before it is a step that may lead to an item out of order.
_LONG = 3
#: So few items prove no order.
_FEW = 3
#: One of so many items of a page may be out of order, and one in any case.
_ORDERED = 4


class _Place(NamedTuple):
    at: datetime
    page: int


class NewestFirst:
    """The items that stand in order, the newest first, over all the pages of an answer."""

    def __init__(self) -> None:
        self._places: list[_Place] = []
        #: False once a page has so many items out of order that its upstream has another order: then the last
        #: item proves nothing of those before it.
        self.is_kept = True

    def add(self, page: int, times: Sequence[datetime]) -> None:
        """Add the times of the items of page number ``page``, in the order of the page."""
        out_of_order = 0
        for at in times:
            # An item that stands above a newer one is out of order.
            while self._places and self._places[-1].at < at:
                out_of_order += self._places.pop().page == page
            self._places.append(_Place(at, page))
        self.is_kept &= out_of_order <= max(1, len(times) // _ORDERED)

    def passes(self, start: datetime) -> bool:
        """True where the ordered items reach further back than ``start``, and are enough to prove it."""
        led = self._led()
        if not led or led[-1].at >= start:
            return False
        return len(led) > _FEW or led[0].page < led[-1].page

    def reach(self, start: datetime) -> datetime | None:
        """The earliest time, not before ``start``, to which the ordered items reach; None where there is
        none.
        """
        return next((place.at for place in reversed(self._led()) if place.at >= start), None)

    def _led(self) -> Sequence[_Place]:
        """The places before the first gap that may be an item out of order.

        A gap is a step back that is longer than all the time that the places before it span, or than each
        step between them by far.
        """
        places = self._places if self.is_kept else []
        longest = timedelta()
        for i in range(1, len(places)):
            step, spanned = places[i - 1].at - places[i].at, places[0].at - places[i - 1].at
            is_gap = step > max(_LEAST_STEP, min(spanned, _LONG * longest))
            if is_gap and not self._is_believed(i):
                return places[:i]
            longest = max(longest, step)
        return places

    def _is_believed(self, i: int) -> bool:
        """True where a gap is one in the posts themselves: most items, or a further page, lie behind it."""
        behind = len(self._places) - i
        return behind > max(i, _FEW) or self._places[-1].page > self._places[i].page
