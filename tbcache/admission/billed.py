"""What this process has read today of what is billed once a day: while Redis is away it is not billed again.

With Redis the fleet's own set decides (settle.lua). What others have read is known only there: when it is
back it is told of all that was read without it, and counts what of it is new (billed.lua).
"""

from __future__ import annotations

from dataclasses import replace

from tbcache.models.price import Bill

#: How many ids of a source are kept. Beyond them the set begins anew, and an item read again counts again.
MOST_IDS = 100_000


class Billed:
    """The ids by source, each of one UTC day (counted since the Unix epoch)."""

    def __init__(self) -> None:
        self._days: dict[str, tuple[int, set[str]]] = {}

    def record(self, source: str, day: int, bill: Bill) -> None:
        """``bill`` has been counted."""
        self._of(source, day).update(bill.once)

    def due(self, source: str, day: int, bill: Bill) -> Bill:
        """What of ``bill`` was not counted before; it is from now on."""
        before = self._of(source, day)
        once = {id: price for id, price in bill.once.items() if id not in before}
        before.update(once)
        return replace(bill, once=once)

    def _of(self, source: str, day: int) -> set[str]:
        kept = self._days.get(source)
        if kept is None or kept[0] != day or len(kept[1]) > MOST_IDS:
            kept = self._days[source] = day, set()
        return kept[1]
