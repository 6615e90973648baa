"""The answers of moments in the past: the same function as for now, over what was known at the time.

Whatever reads the database raises RepositoryUnavailable where that does not answer.
"""

from __future__ import annotations

import functools
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from tbcache.fetch.record import sentiment_of
from tbcache.fetch.upstream import Upstream
from tbcache.models import FetchRequest, SymbolSentiment
from tbcache.scoring import name_of, score_items
from tbcache.scoring.voices.memory import remembering
from tbcache.timeline import RETOLD, Load, Past, Read, Record, Scored, Span, Timeline, tally_of
from tbcache.timeline.load import AHEAD, LIFE, between, looked_at
from tbcache.timeline.tally import KEPT

if TYPE_CHECKING:
    from tbcache.repository import SentimentRepository

_FAR = datetime.max.replace(tzinfo=UTC)


def answered(
    repository: SentimentRepository, upstream: Upstream, request: FetchRequest, at: Sequence[datetime]
) -> list[SymbolSentiment | None]:
    """The answer that ``request`` would have had at each moment of ``at``, which is sorted.

    It is None also where a part of what it was made of is not kept any more.
    """
    symbol, back = (request.source, request.symbol), looked_at(request.hours)
    if not at:
        return []
    loads = repository.loads(*symbol, at[0] - LIFE - max(KEPT, back), at[-1])
    past = Past(loads, [])
    # The load before the oldest that is kept, and what that and all before it brought, is not kept.
    first = repository.first_load(*symbol)
    lost = None if first is None else first.after

    def kept(load: Load | None) -> Load | None:
        is_kept = load is not None and (lost is None or lost < load.seen_from(request.hours))
        return load if is_kept else None

    lasts = [kept(past.last(moment)) for moment in at]
    found = [load for load in lasts if load is not None]
    if not found:
        return [None] * len(at)
    reads = repository.reads(*symbol, min(load.read_at for load in found) - back, at[-1])
    seen_from = min(load.seen_from(request.hours) for load in found)
    all_versions = Versions(repository.versions(*symbol, seen_from, at[-1]), upstream, request)
    with remembering():
        return list(_answers(Past(loads, reads), lasts, all_versions, upstream, request))


def _answers(
    past: Past,
    lasts: Sequence[Load | None],
    all_versions: Versions,
    upstream: Upstream,
    request: FetchRequest,
) -> Iterator[SymbolSentiment | None]:
    known: Load | None = None
    answer: SymbolSentiment | None = None
    for last in lasts:
        if last is not None and last is not known:
            scorer, versions = all_versions.of(last)
            record = past.record(replace(last, scorer=scorer), versions, request.hours)
            answer = sentiment_of(record, request, upstream.voices)
        known = last
        yield None if last is None else answer


def unknown(repository: SentimentRepository, request: FetchRequest, *, hindsight: bool) -> str:
    """Why nothing was known of ``request`` at the moments that were asked for."""
    about = f"{request.symbol} in {request.source}"
    first = repository.first_load(request.source, request.symbol)
    if first is not None:
        gone = "" if first.after is None else ", and a part of what the next answers were made of is not kept"
        return f"what the database has of {about} begins at {first.read_at:%Y-%m-%d %H:%M} UTC{gone}"
    if repository.is_read(request.source, request.symbol):
        else_ = "of other hours" if hindsight else "and counts with hindsight alone"
        return f"{about} was never asked for: what there is was read by a backfill, {else_}"
    return (
        f"nothing is recorded of {about}: it was never asked for, or longer ago than TBCACHE_KEEP_DAYS, or "
        "what came is not written yet"
    )


def looked_back(
    repository: SentimentRepository, upstream: Upstream, request: FetchRequest, at: Sequence[datetime]
) -> list[SymbolSentiment | None]:
    """The answer of each moment of ``at``, made from all that the database has now of what was posted by
    then.

    Unlike :func:`answered`, it uses items that were read only later.
    """
    if not at:
        return []
    symbol, hours = (request.source, request.symbol), timedelta(hours=request.hours)
    start = at[0] - max(KEPT, hours + RETOLD) - AHEAD
    reads = repository.reads(*symbol, start, _FAR)
    all_versions = Versions(repository.versions(*symbol, start, _FAR), upstream, request)
    timeline = Timeline.of(all_versions.anew, reads)
    tally, latest = tally_of(timeline), timeline.since(start)

    def answer(moment: datetime) -> SymbolSentiment | None:
        window = Span(moment - hours, moment)
        covered = timeline.coverage.within(window).spans
        items = _of_time(latest, Span(window.start - RETOLD, moment))
        known = Timeline.of(items, (Read(span, moment) for span in covered))
        record = Record(known, moment, moment, request.hours, all_versions.present, "not_asked", tally)
        is_known = bool(covered or _of_time(items, window))
        return sentiment_of(record, request, upstream.voices) if is_known else None

    with remembering():
        return [answer(moment) for moment in at]


def _of_time(versions: Sequence[Scored], window: Span) -> Sequence[Scored]:
    """Those of ``versions``, sorted by their times, that are dated within ``window``."""
    first = bisect_left(versions, window.start, key=lambda version: version.at)
    return versions[first : bisect_right(versions, window.end, key=lambda version: version.at)]


class Versions:
    """The versions of the items of a symbol, in the order they were seen, and who scored each."""

    def __init__(
        self, versions: Sequence[tuple[Scored, str]], upstream: Upstream, request: FetchRequest
    ) -> None:
        self._stored = [version for version, _ in versions]
        self._scorers = [scorer for _, scorer in versions]
        self._analyzer = upstream.analyzer
        self._request = request
        self.present = name_of(upstream.analyzer)

    def of(self, load: Load) -> tuple[str, Sequence[Scored]]:
        """The versions that an answer of the record of ``load`` may look at, and the scorer that rated them
        all.

        That is the scorer of the load, where the database has its scores and all were told them; else it is
        the present one. Scores of two scorers are never averaged, and none is said to be another's.
        """
        seen = between(self._stored, load.seen_from(self._request.hours), load.read_at)
        is_of_then = load.scorer != self.present and not load.is_private
        if is_of_then and set(self._scorers[seen]) <= {load.scorer}:
            return load.scorer, self._stored[seen]
        return self.present, self.anew[seen]

    @functools.cached_property
    def anew(self) -> Sequence[Scored]:
        """All versions by the present scorer: those of another one are rated anew, as a load does."""
        others = [
            version.item
            for version, scorer in zip(self._stored, self._scorers, strict=True)
            if scorer != self.present
        ]
        scores = iter(score_items(others, self._analyzer, self._request.symbol))
        return [
            version if scorer == self.present else Scored(version.item, next(scores))
            for version, scorer in zip(self._stored, self._scorers, strict=True)
        ]
