"""The tally: how many items each quarter of an hour had. It is kept for longer than the items themselves."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from tbcache.models import Volume
from tbcache.timeline.coverage import Span
from tbcache.timeline.timeline import Timeline

QUARTER = timedelta(minutes=15)
#: For so long the counts are kept, so that the hours of an answer can be compared with the 7 days before it.
KEPT = timedelta(days=9)
#: A comparison needs this part of the hours on both days, and a baseline so many of the last 7 days.
LEAST_SHARE = 0.8
LEAST_DAYS = 3
DAYS = 7
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PER_DAY = timedelta(days=1) // QUARTER

#: The count of items by the number of the quarter since 1970. Only quarters that are fully covered are in it;
#: those that the upstream has counted are under their negative numbers, which earlier versions do not read.
Tally = Mapping[int, int]


def counted(before: Tally, timeline: Timeline, now: datetime) -> dict[int, int]:
    """``before``, with the quarters that ``timeline`` covers counted anew, and without quarters that are too
    old.
    """
    return pruned({**before, **tally_of(timeline)}, now)


def pruned(tally: Tally, now: datetime) -> dict[int, int]:
    """``tally`` without the quarters that are too old at ``now``; sorted by time."""
    oldest = quarter_of(now - KEPT)
    return {quarter: tally[quarter] for quarter in sorted(tally, key=abs) if abs(quarter) >= oldest}


def counted_by_upstream(counts: Mapping[datetime, int]) -> dict[int, int]:
    """The tally of what an upstream says it had in the quarter of an hour from each of these moments on."""
    return {-quarter_of(start): items for start, items in counts.items()}


def changed(before: Tally, after: Tally) -> dict[int, int]:
    """The counts of ``after`` that differ from those of ``before``."""
    return {quarter: n for quarter, n in after.items() if before.get(quarter) != n}


def tally_of(timeline: Timeline) -> dict[int, int]:
    """The counts of the quarters that ``timeline`` fully covers."""
    times = sorted(version.at for version in timeline.latest().values())
    return {
        quarter: bisect_left(times, _moment(quarter + 1)) - bisect_left(times, _moment(quarter))
        for span in timeline.coverage.spans
        for quarter in _within(span)
    }


def compared(tally: Tally, hours: Span) -> Volume:
    """The volume of ``hours``, compared with the day before and with the mean of the 7 days before."""
    now = list(_within(hours))
    known = _known(tally)
    days = [_ratio(known, now, day) for day in range(1, DAYS + 1)]
    had = [each for each in days if each is not None]
    before, baseline = days[0], None
    if len(had) >= LEAST_DAYS:
        baseline = tuple(math.fsum(part) / len(had) for part in zip(*had, strict=True))
    return Volume(*_change(before), *_change(baseline))


def uses_upstream(tally: Tally, hours: Span) -> bool:
    """Whether a quarter that :func:`compared` looks at is known by the upstream's count alone."""
    if not any(quarter < 0 for quarter in tally):
        return False
    now = list(_within(hours))
    counts = _known(tally)
    known = [day for day in range(1, DAYS + 1) if _ratio(counts, now, day) is not None]
    if len(known) < LEAST_DAYS:
        known = [day for day in known if day == 1]
    earlier = {quarter - day * _PER_DAY for quarter in now for day in known}
    return any(quarter not in tally and -quarter in tally for quarter in earlier)


def _known(tally: Tally) -> Tally:
    """The counts by positive numbers: what was counted here comes before what the upstream counts."""
    if not any(quarter < 0 for quarter in tally):
        return tally
    return {abs(quarter): tally[quarter] for quarter in sorted(tally)}


def _ratio(tally: Tally, now: Sequence[int], day: int) -> tuple[float, ...] | None:
    """The number of items so many days ago and now; None where too few quarters are known on both days.

    Both numbers are scaled up from the quarters that are known to all of the hours.
    """
    both = [quarter for quarter in now if quarter in tally and quarter - day * _PER_DAY in tally]
    if not both or len(both) < LEAST_SHARE * len(now):
        return None
    scale = len(now) / len(both)
    return (
        scale * sum(tally[quarter - day * _PER_DAY] for quarter in both),
        scale * sum(tally[quarter] for quarter in both),
    )


def _change(pair: Sequence[float] | None) -> tuple[float | None, float | None]:
    if pair is None:
        return None, None
    then, now = pair
    return round(then, 1), round(now / then - 1, 4) if then else None


def _within(span: Span) -> range:
    """The quarters that lie completely within ``span``."""
    return range(-((_EPOCH - span.start) // QUARTER), quarter_of(span.end))


def quarter_of(moment: datetime) -> int:
    """The number of the quarter of an hour that ``moment`` lies in."""
    return (moment - _EPOCH) // QUARTER


def _moment(quarter: int) -> datetime:
    return _EPOCH + quarter * QUARTER
