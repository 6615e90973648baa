"""Loads: what each has added to the record of a symbol, by which the record of any moment is made again."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tbcache.timeline.coverage import Span
from tbcache.timeline.record import Record
from tbcache.timeline.tally import KEPT, Tally, pruned
from tbcache.timeline.timeline import Read, Scored, Timeline

#: How long after its last load a record is there: then nothing is known any more.
LIFE = timedelta(days=7)
#: So far ahead of ours the times of items are believed to be, at most: by a wrong zone, as a rule.
AHEAD = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Load:
    """What a load has made of the record before it, beside the versions and reads that it added.

    ``after`` is the ``read_at`` of that record, None where there was none: the first load, or one after a
    clear. ``kept_from`` is from when on the new record has items, ``tally`` the counts that changed. The
    others are those of the record: see :class:`tbcache.timeline.Record`.
    """

    read_at: datetime
    asked_at: datetime
    kept_from: datetime
    hours: int
    scorer: str
    after: datetime | None = None
    reason: str | None = None
    tally: Tally = field(default_factory=dict, hash=False)


class Past:
    """The loads of a symbol, in any order, and what they added. ``versions`` are in the order of their
    ``seen_at``; they and the ``reads`` may be more than those of the loads.

    A record is made again from the loads that led to it, each of which names the one before it. Two that ran
    at the same time have the same one before them, and the record has what one of them added alone.
    """

    def __init__(self, loads: Sequence[Load], reads: Sequence[Read]) -> None:
        self._loads = {load.read_at: load for load in loads}
        self._moments = sorted(self._loads)
        self._reads = reads

    def last(self, moment: datetime) -> Load | None:
        """The last load of before ``moment``, or at it; None where the record of it is gone by then."""
        place = bisect_right(self._moments, moment)
        last = self._moments[place - 1] if place else None
        return None if last is None or moment - last > LIFE else self._loads[last]

    def record(self, last: Load, versions: Sequence[Scored], hours: int) -> Record:
        """The record as ``last`` has left it, as far as its last ``hours`` go."""
        oldest = last.read_at - max(KEPT, timedelta(hours=hours) + AHEAD)
        chain = self._chain(last, oldest)
        cuts = _cuts(chain)
        # What no load has seen, but a backfill, was in no record.
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
        """The loads that led to ``last``, itself included, the newest first."""
        chain, load = [last], last
        while load.after is not None and oldest <= load.after < load.read_at and load.after in self._loads:
            load = self._loads[load.after]
            chain.append(load)
        return chain


def between(versions: Sequence[Scored], start: datetime, end: datetime) -> Sequence[Scored]:
    """Those of ``versions``, which are in the order of their ``seen_at``, that were seen in that time."""
    first = bisect_left(versions, start, key=lambda version: version.seen_at)
    return versions[first : bisect_right(versions, end, key=lambda version: version.seen_at)]


def _cuts(chain: Sequence[Load]) -> dict[datetime, datetime]:
    """Of each load, from when on what it added is still there: no load after it has left that out."""
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
