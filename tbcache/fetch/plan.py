"""What of the hours that are asked for is not known yet, and is asked of the upstream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from tbcache.models import FetchRequest
from tbcache.models.request import Stretch
from tbcache.settings import Source
from tbcache.timeline import Record, Scored, Span

#: Of so many items, the id of one is taken for a bound.
SAMPLE = 3
#: Of so many known items, the newest, it is asked what became of them.
MOST_RECHECKED = 500


def stretches(
    known: Record | None, request: FetchRequest, source: Source, now: datetime
) -> tuple[Stretch, ...]:
    """The stretches of time to ask for, the newest first; none where all is to be asked for.

    That is what came since the last time, and what is older than all that is known, where ``request`` is for
    more hours than any before. Holes further back are left, as they cost pages that nobody waits for, unless
    the request is a deep one.
    """
    start = now - timedelta(hours=request.hours)
    last = None if known is None else known.timeline.coverage.last(Span(start, now))
    if known is None or last is None:
        return ()
    since = max(start, _since(last.end, now, source))
    dated = [version for version in known.timeline.versions if version.item.at is not None]
    news = _between(dated, since, None)
    if request.is_deep:
        holes = known.timeline.coverage.holes(Span(start, last.end))
        return news, *(_between(dated, *hole) for hole in reversed(holes))
    if request.hours <= known.hours or last.start <= start:
        return (news,)
    return news, replace(_between(dated, start, last.start), since_id=None)


def to_recheck(known: Record, request: FetchRequest, source: Source, now: datetime) -> tuple[str, ...]:
    """The ids of the known items of which to ask what became of them, the newest first.

    Where an item is billed once a day, those that were billed today; none where each reading is billed.
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
    """The stretch of these times, with the ids of about them of those that are known, the oldest first."""
    older = [one for one in dated if one.at <= since]
    newer = [] if until is None else [one for one in dated if one.at >= until]
    since_id, until_id = typical(older[-SAMPLE:]), typical(newer[:SAMPLE])
    return Stretch(since, until, since_id, until_id, above=len(newer))


def is_packable(news: Stretch, other: Sequence[Stretch], source: Source) -> bool:
    """Whether a symbol of which ``other`` is to be asked for may share the request that asks for ``news``.

    One request begins at one time for all. So nobody shares it who asks for more than news, or whose news
    begin much earlier or later: the others' items of the time between would be read, or paid for, again.
    """
    if len(other) != 1:
        return False
    is_billed_again = source.price.per_item and not source.price.daily_dedupe
    most = timedelta(0) if is_billed_again else timedelta(seconds=source.cache_ttl)
    return abs(other[0].since - news.since) <= most


def joined(news: Sequence[Stretch]) -> Stretch:
    """The stretch that has the ``news`` of several symbols."""
    return Stretch(min(stretch.since for stretch in news))


def _since(end: datetime, now: datetime, source: Source) -> datetime:
    """From when on to ask again, where all up to ``end`` was read: an item may turn up late.

    What is billed by the item is not asked for again where it is billed again: on X, on the next UTC day.
    """
    since = end - timedelta(seconds=source.lag_seconds)
    if not source.price.per_item:
        return since
    if not source.price.daily_dedupe:
        return end
    return max(since, min(end, datetime(now.year, now.month, now.day, tzinfo=UTC)))


def typical(versions: Sequence[Scored]) -> str | None:
    """The id in the middle of those of ``versions``; None where they are fewer than SAMPLE.

    One whose id does not fit its time, asked for as a bound, would hide all that comes after it.
    """
    ids = sorted((version.item.id for version in versions), key=_rank)
    return ids[SAMPLE // 2] if len(ids) == SAMPLE else None


def _rank(id: str) -> tuple[int, str]:
    """By this, ids of digits that count up are in their order."""
    return len(id), id
