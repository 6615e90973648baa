"""Which of the requested hours are not known yet, and have to be asked of the upstream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from tbcache.models import FetchRequest
from tbcache.models.request import Stretch
from tbcache.settings import Source
from tbcache.timeline import FINAL, Record, Scored, Span

#: Nothing is asked for in the oldest part of the hours alone.
EDGE = timedelta(seconds=2)
#: An id that bounds a request is the middle one of so many: a single id may not fit its time.
SAMPLE = 3
#: At most so many known items, the newest ones, are asked for again.
MOST_RECHECKED = 500


def stretches(
    known: Record | None, request: FetchRequest, source: Source, now: datetime
) -> tuple[Stretch, ...]:
    """The stretches of time to ask for, the newest first; an empty tuple where all hours are to be asked for.

    They are the time since the last load and, where ``request`` is for more hours than any before, the time
    before the oldest known item. Only a deep request asks for the holes in between: they cost pages for which
    nobody waits. The most hours of the requests before count as well: one for fewer hours would otherwise
    leave a hole in the answer over more.
    """
    if known is None:
        return ()
    start = now - timedelta(hours=max(request.hours, min(known.hours, source.max_hours)))
    last = known.timeline.coverage.last(Span(start, now))
    if last is None:
        return (Stretch(start),)
    since = max(start, _since(last.end, now, source))
    dated = [version for version in known.timeline.versions if version.item.at is not None]
    news = _between(dated, since, None)
    if request.is_deep:
        holes = known.timeline.coverage.holes(Span(start, last.end))
        # What the last load could not have had, or kept, the next one cannot either.
        is_final = known.reason in FINAL
        # The server's time may be found to be less than it was taken for: what that opens closes by itself.
        asked = [
            hole for hole in holes if hole.end - start >= EDGE and not (is_final and hole.start == start)
        ]
        return news, *(_between(dated, *hole) for hole in reversed(asked))
    if request.hours <= known.hours or last.start <= start:
        return (news,)
    return news, replace(_between(dated, start, last.start), since_id=None)


def to_recheck(known: Record, request: FetchRequest, source: Source, now: datetime) -> tuple[str, ...]:
    """The ids of the known items to ask for again, as they may be edited or gone; the newest first.

    Where an item is billed once a day, these are the items that were billed today already. Where each reading
    is billed, there are none.
    """
    is_billed_again = source.price.per_item and not source.price.daily_dedupe
    if not source.recheck_seconds or is_billed_again:
        return ()
    there = [
        one for one in known.timeline.since(now - timedelta(hours=request.hours)) if not one.item.is_gone
    ]
    if source.price.per_item:
        there = [one for one in there if one.seen_at.date() == now.date()]
    return tuple(one.item.id for one in reversed(there))[:MOST_RECHECKED]


def _between(dated: Sequence[Scored], since: datetime, until: datetime | None) -> Stretch:
    """The stretch from ``since`` to ``until``, with ids of known items near these bounds.

    ``dated`` are the known items that have a time, the oldest first.
    """
    older = [one for one in dated if one.at <= since]
    newer = [] if until is None else [one for one in dated if one.at >= until]
    since_id, until_id = typical(older[-SAMPLE:]), typical(newer[:SAMPLE])
    return Stretch(since, until, since_id, until_id, above=len(newer))


def is_packable(news: Stretch, other: Sequence[Stretch], source: Source) -> bool:
    """Whether a symbol that needs the stretches ``other`` may be part of the request that asks for ``news``.

    A request has one start for all its symbols. A symbol is left out where it needs more than its news, or
    where its news begin much earlier or later: items of the time between would be read, or paid for, twice.
    """
    if len(other) != 1:
        return False
    is_billed_again = source.price.per_item and not source.price.daily_dedupe
    most = timedelta(0) if is_billed_again else timedelta(seconds=source.cache_ttl)
    return abs(other[0].since - news.since) <= most


def joined(news: Sequence[Stretch]) -> Stretch:
    """One stretch that covers the ``news`` of several symbols."""
    return Stretch(min(stretch.since for stretch in news))


def _since(end: datetime, now: datetime, source: Source) -> datetime:
    """Where the next request begins, if all items up to ``end`` were read.

    It begins a little earlier than ``end``, as an item may turn up late; but not so early that the upstream
    bills an item a second time. X does so on the next UTC day.
    """
    since = end - timedelta(seconds=source.lag_seconds)
    if not source.price.per_item:
        return since
    if not source.price.daily_dedupe:
        return end
    return max(since, min(end, datetime(now.year, now.month, now.day, tzinfo=UTC)))


def typical(versions: Sequence[Scored]) -> str | None:
    """The middle one of the ids of ``versions``; None where they are fewer than SAMPLE.

    An id that does not fit the time of its item would hide all items after it, if it were the bound.
    """
    ids = sorted((version.item.id for version in versions), key=_rank)
    return ids[SAMPLE // 2] if len(ids) == SAMPLE else None


def _rank(id: str) -> tuple[int, str]:
    """A sort key: numbers that are written as text sort by their value."""
    return len(id), id
