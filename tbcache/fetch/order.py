"""How far back the items of an answer lead, in the upstream's order.

Upstreams give the newest first, and an item at the end of a page says that all the newer ones were read.
Not each one does: a post may stand above newer ones because somebody pinned it, and below them for a reason
that nobody states. Of those the times alone tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

#: A step back of less than this is none too long.
_LEAST_STEP = timedelta(hours=1)
#: Fewer items than these show no order by themselves.
_FEW = 3


class _Place(NamedTuple):
    at: datetime
    page: int


class Order:
    """The items that stand in order, the newest first, over all the pages of an answer."""

    def __init__(self) -> None:
        self._places: list[_Place] = []

    def add(self, page: int, times: Sequence[datetime]) -> None:
        """Those of the items that page number ``page`` adds, in its order."""
        for at in times:
            # What stands above a newer item is out of its order.
            while self._places and self._places[-1].at < at:
                self._places.pop()
            self._places.append(_Place(at, page))

    def passes(self, start: datetime) -> bool:
        """True where the items lead further back than ``start``, and are enough to show it."""
        led = self._led()
        if not led or led[-1].at >= start:
            return False
        return len(led) > _FEW or led[0].page < led[-1].page

    def reach(self, start: datetime) -> datetime | None:
        """The last time to which the items lead that is no earlier than ``start``; None where none is."""
        return next((place.at for place in reversed(self._led()) if place.at >= start), None)

    def _led(self) -> Sequence[_Place]:
        """The places before the first gap that is not believed."""
        places = self._places
        for i in range(1, len(places)):
            if self._is_gap(i) and not self._is_believed(i):
                return places[:i]
        return places

    def _is_gap(self, i: int) -> bool:
        """True where place ``i`` is further behind the one before it than all of those before span."""
        places = self._places
        spanned = places[0].at - places[i - 1].at
        return places[i - 1].at - places[i].at > max(_LEAST_STEP, spanned)

    def _is_believed(self, i: int) -> bool:
        """True where more items stand behind the gap than before it, or a further page goes on there."""
        behind = len(self._places) - i
        return behind > max(i, _FEW) or self._places[-1].page > self._places[i].page
