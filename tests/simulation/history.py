"""What Redis tells of the past of a source, as it is read at the end of a world."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from tbcache.store.key import Keys
from tbcache.store.mark import DAY_MINUTES, Marks, minute_of, read_mark, sum_over_workers
from tbcache.store.wire import to_time
from tbcache.testing.simulated.keyspace import Keyspace
from tests.simulation.process import NOTED

DAY_US = DAY_MINUTES * 60_000_000


class Told:
    """How often something was counted: by day, and by minute."""

    def __init__(self, marks: Marks, first_day: int, totals: Mapping[int, Counter[str]]) -> None:
        self._marks, self._first_day = marks, first_day
        self.totals = {day: figures[NOTED] for day, figures in totals.items()}

    @property
    def since_first(self) -> int:
        """What the days tell from that of the first minute on that is kept.

        Whoever counts as the first of all may do so before midnight, and tell it after.
        """
        return sum(count for day, count in self.totals.items() if day >= self._first_day)

    def by_minute(self) -> Counter[int]:
        """What each minute that is kept tells, as history reads it."""
        first, last = self._marks.first, minute_of(self._marks.now_us)
        if first is None:
            return Counter()
        stretches = self._marks.between(range(first, last + 2))
        return Counter({one.start: one.figures[NOTED] for one in stretches})


class History:
    """That of one source, by the keys of the server."""

    def __init__(self, keyspace: Keyspace, keys: Keys, source: str) -> None:
        self._keyspace, self._keys, self._source = keyspace, keys, source

    def marks(self, now_us: int) -> Told:
        """What is told at a moment."""
        today = minute_of(now_us) // DAY_MINUTES
        days = {
            today - back: self._read(self._keys.usage(self._source, to_time(now_us - back * DAY_US)))
            for back in (0, 1)
        }
        totals = {day: sum_over_workers(found.items()) for day, found in days.items()}
        kept = self._read(self._keys.minutes(self._source))
        first_day = read_mark(kept[min(kept, key=int)])[0] if kept else today
        return Told(Marks(now_us, kept, totals), first_day, totals)

    def _read(self, key: str) -> dict[bytes, bytes]:
        found = self._keyspace.do("HGETALL", [key.encode()])
        return dict(zip(found[::2], found[1::2], strict=True))
