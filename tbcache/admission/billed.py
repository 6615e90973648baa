"""The items that are billed once a day, as far as this process has read them today.

With Redis, a set that the whole fleet shares says what was billed before (settle.lua). While Redis is away,
this process bills nothing twice that it has read itself. It cannot know what others have read, so it tells
Redis of all that it billed once Redis is back, and the script counts what is new (billed.lua).
"""

from __future__ import annotations

from dataclasses import replace

from tbcache.models.price import Bill

#: At most so many ids of a source are kept, so that memory stays bounded. Then the set begins anew, and an
#: item that is read again is billed again.
MOST_IDS = 100_000


class Billed:
    """The ids of each source. They are those of one UTC day, which is counted from the Unix epoch, and of one
    ``epoch`` of the source's window: where Redis has lost its data, it bills all items anew, and so does this
    process.
    """

    def __init__(self) -> None:
        self._days: dict[str, tuple[int, str, set[str]]] = {}

    def due(self, source: str, day: int, epoch: str, bill: Bill) -> Bill:
        """``bill`` without the items that were counted before. The others count as counted from now on."""
        before = self._of(source, day, epoch)
        once = {id: price for id, price in bill.once.items() if id not in before}
        before.update(once)
        return replace(bill, once=once)

    def _of(self, source: str, day: int, epoch: str) -> set[str]:
        kept = self._days.get(source)
        if kept is None or kept[:2] != (day, epoch) or len(kept[2]) > MOST_IDS:
            kept = self._days[source] = day, epoch, set()
        return kept[2]
