"""Loads: what each added to the record of a symbol, so that the record of any moment can be rebuilt."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tbcache.timeline.coverage import Span
from tbcache.timeline.record import RETOLD, Record
from tbcache.timeline.tally import KEPT, Tally, pruned
from tbcache.timeline.timeline import Read, Scored, Timeline

#: So long after its last load a record expires in Redis; from then on nothing was known.
LIFE = timedelta(days=7)
#: The times of items may be ahead of our clock by so much, mostly because of a wrong zone.
AHEAD = timedelta(days=1)


PRIVATE = " (private)"


@dataclass(frozen=True, slots=True)
class Load:
    """What a load changed in the record before it, apart from the versions and reads that it added.

    ``after`` is the ``read_at`` of the record before it; None where there was none, as for the first load and
    for one after a clear. The new record has items from ``kept_from`` on, and ``tally`` has the counts that
    changed. ``scorer`` ends in :data:`PRIVATE` where it is that of one bot alone, by which nobody else was
    told anything. ``stored_at`` is when its answer was stored, before which nobody was given it; None in what
    an earlier version has written. The other fields are those of :class:`tbcache.timeline.Record`.
    """

    read_at: datetime
    asked_at: datetime
    kept_from: datetime
    hours: int
    scorer: str
    after: datetime | None = None
    reason: str | None = None
    tally: Tally = field(default_factory=dict, hash=False)
    stored_at: datetime | None = None

    @property
    def counts_from(self) -> datetime:
        """From when on it was known to anybody."""
        return max(self.read_at, self.stored_at or self.read_at)

    @property
    def is_private(self) -> bool:
        return self.scorer.endswith(PRIVATE)

    def seen_from(self, hours: int) -> datetime:
        """From when on an item may have been seen that an answer over ``hours`` of its record looks at."""
        return max(self.kept_from - AHEAD, self.read_at - looked_at(hours))


class Past:
    """Rebuilds records of the past from the loads of a symbol, in any order, and from what they added.

    ``reads`` may include some that belong to no load.

    A record is rebuilt from the chain of loads that led to it: each load names the one before it. Of two
    loads that ran at the same time, and so name the same one, only one is in the chain.
    """

    def __init__(self, loads: Sequence[Load], reads: Sequence[Read]) -> None:
        self._loads = {load.read_at: load for load in loads}
        self._in_order = sorted(self._loads.values(), key=lambda load: (load.counts_from, load.read_at))
        self._reads = reads

    def last(self, moment: datetime) -> Load | None:
        """The last load that counts at ``moment``; None where its record had expired by then. Whoever asks
        for the very ``read_at`` of one means that one: it is the ``as_of`` of its answers."""
        if moment in self._loads:
            return self._loads[moment]
        place = bisect_right(self._in_order, moment, key=lambda load: load.counts_from)
        last = self._in_order[place - 1] if place else None
        return None if last is None or moment - last.read_at > LIFE else last

    def record(self, last: Load, versions: Sequence[Scored], hours: int) -> Record:
        """The last ``hours`` of the record as the load ``last`` left it.

        ``versions`` are sorted by their ``seen_at``, and may include some that belong to no load.
        """
        oldest = last.read_at - max(KEPT, looked_at(hours))
        chain = self._chain(last, oldest)
        cuts = _cuts(chain)
        # A version that only a backfill has read was in no record.
        seen = [version for version in versions if version.seen_at in cuts]
        latest = Timeline.of(seen).latest().values()
        kept = (each for each in latest if each.at >= cuts[each.seen_at])
        reads = [_cut(read, cuts[read.at]) for read in self._reads if read.at in cuts]
        return Record(
            Timeline.of(kept, reads),
            last.asked_at,
            last.read_at,
            last.hours,
            last.scorer,
            last.reason,
            _tally(chain),
        )

    def _chain(self, last: Load, oldest: datetime) -> list[Load]:
        """The loads that led to ``last``, which is the first of them; the newest first."""
        chain, load = [last], last
        while load.after is not None and oldest <= load.after < load.read_at and load.after in self._loads:
            load = self._loads[load.after]
            chain.append(load)
        return chain


def looked_at(hours: int) -> timedelta:
    """How long before an answer over ``hours`` the oldest item that it looks at may have been seen."""
    return timedelta(hours=hours) + RETOLD + AHEAD


def between(versions: Sequence[Scored], start: datetime, end: datetime) -> slice:
    """Where those of ``versions``, sorted by their ``seen_at``, stand that were seen from ``start`` to
    ``end``."""
    first = bisect_left(versions, start, key=lambda version: version.seen_at)
    return slice(first, bisect_right(versions, end, key=lambda version: version.seen_at))


def _cuts(chain: Sequence[Load]) -> dict[datetime, datetime]:
    """By the ``read_at`` of each load: from when on its items are still in the last record of the chain."""
    cuts: dict[datetime, datetime] = {}
    cut = chain[0].kept_from
    for load in chain:
        cut = cuts[load.read_at] = max(cut, load.kept_from)
    return cuts


def _cut(read: Read, start: datetime) -> Read:
    return Read(Span(max(start, read.span.start), read.span.end), read.at)


def _tally(chain: Sequence[Load]) -> Mapping[int, int]:
    counts: dict[int, int] = {}
    for load in reversed(chain):
        counts.update(load.tally)
    return pruned(counts, chain[0].read_at)
