"""A source's figures since they began, which neither midnight nor the end of a month takes back.

The figures of a day begin anew at midnight, and are kept for a month. So those of a day that is over are
added to the totals of the source, once (carry.lua), on the day after next: by then only a process that was
away from Redis for a day still adds to them. Whoever reads sees to it: where nobody does, it costs nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from tbcache.models.untrusted import printable, whole_number
from tbcache.store.breaker import Refused
from tbcache.store.connection import Store
from tbcache.store.reply import flag, pairs
from tbcache.store.script import Key, Script
from tbcache.store.wire import midnight_of

#: The field of the totals that names the last day which is among them.
_DAY = b"day"
#: So many days are looked at that may not have been carried.
CARRIED_DAYS = 30


class CarryDays(NamedTuple):
    """Add days that are over to the totals. False where the last of them has been added before."""

    totals: Key
    days: tuple[Key, ...]
    day: int


CARRY = Script("carry", CarryDays, flag)


class DayTotals:
    """The figures of sources since they began: a counter each, which shrinks only where Redis loses data."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._carried: dict[str, int] = {}

    def read(self, sources: Iterable[str]) -> dict[str, Counter[str]]:
        """The figures of each source, over all workers; none of one whose keys are damaged."""
        keys, today = self._store.keys, self._store.clock.day
        carried = [source for source in sources if self._carry(source, today)]
        days = midnight_of(today - 1), midnight_of(today)
        names = [(keys.totals(one), *(keys.usage(one, day) for day in days)) for one in carried]
        found = iter(self._store.execute(*(("HGETALL", name) for of_source in names for name in of_source)))
        answers = {source: [next(found) for _ in range(3)] for source in carried}
        return {
            source: self._sum(source, today, *map(pairs, read))
            for source, read in answers.items()
            if all(isinstance(one, list) for one in read)
        }

    def _carry(self, source: str, today: int) -> bool:
        """See to it that the days before yesterday are among the totals. False where a key is damaged."""
        if self._carried.get(source) != today:
            keys, last = self._store.keys, today - 2
            days = (midnight_of(day) for day in range(last - CARRIED_DAYS + 1, last + 1))
            ask = CarryDays(keys.totals(source), tuple(keys.usage(source, day) for day in days), last)
            try:
                self._store.run(CARRY, ask)
            except Refused:
                return False
            self._carried[source] = today
        return True

    def _sum(self, source: str, today: int, carried: Any, *days: Any) -> Counter[str]:
        totals = dict(carried)
        last = whole_number(totals.pop(_DAY, None))
        if last is None:
            # Redis has lost them: with the next look they begin anew, with this day.
            self._carried.pop(source, None)
            last = today - 1
        total: Counter[str] = Counter()
        for name, value in totals.items():
            total[printable(name)] += whole_number(value) or 0
        for day, stored in zip((today - 1, today), days, strict=True):
            # Meanwhile another may have carried one.
            for name, value in stored if day > last else ():
                total[printable(name).partition(":")[2]] += whole_number(value) or 0
        return total
