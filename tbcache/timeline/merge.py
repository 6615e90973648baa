"""What several records of a symbol say together: what was known before a load, and what it brought."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tbcache.timeline.coverage import Span
from tbcache.timeline.record import FULL, MOST_ITEMS, RETOLD, Record
from tbcache.timeline.tally import counted
from tbcache.timeline.timeline import Timeline


def merged(*records: Record) -> tuple[Record, datetime]:
    """One record of all that ``records`` know, and from when on it has items. All have one scorer and one
    search, and the last of them was read last.

    It is as of that one, and over the most hours of any. Items of before these hours are left out, and the
    oldest of more than MOST_ITEMS.
    """
    last = records[-1]
    timeline = Timeline.of(
        (version for record in records for version in record.timeline.versions),
        (read for record in records for read in record.timeline.reads),
    )
    hours = max(record.hours for record in records)
    start = last.read_at - timedelta(hours=hours)
    has_articles = any(version.item.kind == "article" for version in timeline.versions)
    cut = timeline.cut(start - RETOLD if has_articles else start, MOST_ITEMS)
    reasons = [record.reason for record in reversed(records) if record.reason]
    reason = FULL if cut > start else next(iter(reasons), None)
    counts = {quarter: count for record in records for quarter, count in record.tally.items()}
    tally = counted(counts, timeline, last.read_at)
    about = last.asked_at, last.read_at, hours, last.scorer, reason, tally, last.search
    return Record(timeline.kept_from(cut), *about), cut


def covers_less(record: Record, kept_from: datetime, before: Record) -> bool:
    """Whether an answer of ``record``, which has items from ``kept_from`` on, covers less of that time than
    one of ``before``: it does where what was merged has left a hole, or does not say that it is all.
    """
    limits = Span(kept_from, datetime.max.replace(tzinfo=UTC))
    last, last_before = record.timeline.coverage.last(limits), before.timeline.coverage.last(limits)
    if last_before is None or last is None:
        return last_before is not None
    is_later = last.start > last_before.start
    return is_later or record.asked_at - last.end > max(timedelta(), before.asked_at - last_before.end)
