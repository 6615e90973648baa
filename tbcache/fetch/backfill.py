"""Fetches into the database, a page at a time, items that are older than anybody has asked for yet.

The database alone says what is known, and each page is written before the next one is asked for. So a
backfill that was killed continues where it stopped.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple, Protocol

from tbcache.admission import Admission, Ask
from tbcache.fetch.job import Attempt, Loaded
from tbcache.fetch.pipeline import Pipeline
from tbcache.fetch.plan import SAMPLE, typical
from tbcache.fetch.reader import Fetched
from tbcache.fetch.record import UNRATED
from tbcache.fetch.unanswered import ALWAYS, UnansweredJob
from tbcache.fetch.upstream import Upstream
from tbcache.io import now as clock
from tbcache.io import utc_now, world
from tbcache.models import FetchRequest, Item
from tbcache.models.error import BudgetExhausted, ConfigurationError, InvalidRequest, RateLimited
from tbcache.models.request import Stretch
from tbcache.scoring import name_of, score_items
from tbcache.settings import Source, variable
from tbcache.timeline import Coverage, Read, Scored, Span

if TYPE_CHECKING:
    from tbcache.repository import SentimentRepository

#: A backfill leaves the last hour to the next ordinary fetch.
RECENT = timedelta(hours=1)
#: A stretch of time of which not all is known.
Hole = Span
#: A moment such as ``7d`` ago is looked at so long after it was named, at most.
_BEGINS = timedelta(minutes=1)
#: A shorter hole is ignored: the times of the upstream have no finer steps.
_LEAST = timedelta(seconds=2)


class Filled(NamedTuple):
    """What a page brought: how many items, and from when on none is missing (None where it proves nothing).

    ``reason`` is why the upstream gives nothing older; None where there may be more.
    """

    items: int
    since: datetime | None
    reason: str | None


#: Stands for a page that another process is fetching.
_OTHERS = Filled(0, None, "others")
#: How many seconds to wait before looking whether the other process has finished.
_LOOK_SECONDS = 1.0


class Backfilled(Upstream, Protocol):
    """An upstream with the database that a backfill writes to."""

    @property
    def repository(self) -> SentimentRepository: ...


def require_budget(source: Source) -> None:
    """
    Raises:
      ConfigurationError: each page of ``source`` costs money, and nobody has said how much may be spent.
    """
    if source.price.per_page and source.daily_budget is None:
        raise ConfigurationError(
            f"{source.name} bills what is read, and a backfill reads much: set "
            f"{variable(source.name, 'daily_budget')} to what a day may cost (US dollars)"
        )


def reachable(start: datetime, now: datetime, source: Source) -> datetime:
    """``start``, or the oldest moment that ``source`` can answer where that was ``start`` just now.

    Raises:
      InvalidRequest: it is older than that, or still to come.
    """
    oldest = now - timedelta(hours=source.max_hours)
    if start > now:
        raise InvalidRequest(f"since {_utc(start)} is still to come: it is {_utc(now)}")
    if start < oldest - _BEGINS:
        raise InvalidRequest(
            f"since {_utc(start)} is further back than {source.name} can answer; "
            f"the most is {source.max_hours} hours: since {_utc(oldest)}"
        )
    return max(start, oldest)


def _utc(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def holes(upstream: Backfilled, request: FetchRequest, since: datetime, now: datetime) -> tuple[Span, ...]:
    """The stretches of time from ``since`` on that the database does not cover, the newest first.

    Raises:
      RepositoryUnavailable: the database does not answer.
    """
    reads = upstream.repository.reads(request.source, request.symbol, since, datetime.max.replace(tzinfo=UTC))
    found = Coverage.of(read.span for read in reads).holes(Span(since, now))
    newest = now - RECENT
    return tuple(hole for hole in reversed(found) if hole.start < newest and hole.end - hole.start >= _LEAST)


async def fill(
    pipeline: Pipeline, upstream: Backfilled, request: FetchRequest, hole: Span, patience: float
) -> Filled:
    """Fetch the newest page of ``hole``, once there are a slot and money for it, and store it.

    Raises:
      RateLimited: no slot within ``patience`` seconds. BudgetExhausted: today's part of the budget is spent.
      UpstreamError: the upstream's refusal. RepositoryUnavailable: the database does not answer.
    """
    give_up = clock() + patience
    while True:
        job = BackfillJob(pipeline.admission, upstream, request, hole)
        left = max(0.0, give_up - clock())
        ask = Ask(job.source, job.request, "prewarm", ALWAYS, patience=left, is_backfill=True)
        try:
            filled = (await pipeline.travel(job, ask)).value
        except BudgetExhausted as error:
            reason = f"{error.reason}; {_part(job.source)}"
            raise BudgetExhausted(error.source, error.retry_at, reason) from None
        if filled is not _OTHERS:
            return filled
        if left < _LOOK_SECONDS:
            raise RateLimited(upstream.source.name, utc_now(), "another process fetches the same")
        await world().sleep(_LOOK_SECONDS)


def _part(source: Source) -> str:
    share = variable(source.name, "deepening_share")
    return f"a backfill may take {source.deepening_share:.0%} of a day's budget ({share})"


class BackfillJob(UnansweredJob[Filled]):
    """One page of a hole."""

    def __init__(self, admission: Admission, upstream: Backfilled, request: FetchRequest, hole: Span) -> None:
        super().__init__(admission, upstream, request, "backfill")
        # A page before must not stand in for one that is refused.
        self.source = _unkept(upstream.source)
        self._repository = upstream.repository
        self._hole = hole

    def read(self, payload: bytes) -> Filled:
        """What stands under the key is from another backfill, which has the lease or was killed with it."""
        return _OTHERS

    async def load(self, attempt: Attempt) -> Loaded[Filled]:
        stretch = await world().offload(self._stretch)
        fetched = await self._read(attempt, (stretch,), pages=1)
        # The page is stored before it is settled, so that what was paid for is not lost.
        await world().offload(lambda: self._write(fetched, self._admission.now))
        is_open = fetched.reason in (None, "page_budget", "plan_delay")
        filled = Filled(len(fetched.items), fetched.since, None if is_open else fetched.reason)
        return self._loaded(filled, attempt, fetched)

    def _stretch(self) -> Stretch:
        newer = self._repository.oldest(self.request.source, self.request.symbol, self._hole.end, SAMPLE)
        return Stretch(
            self._hole.start, self._hole.end, None, typical([Scored(item, None) for item in newer])
        )

    def _write(self, fetched: Fetched, read_at: datetime) -> None:
        analyzer, symbol = self._upstream.analyzer, self.request.symbol
        error = None
        try:
            scores = score_items(fetched.items, analyzer, symbol)
        except ConfigurationError as raised:
            # The page is paid for.
            error, analyzer = raised, UNRATED
            scores = score_items(fetched.items, analyzer, symbol)
        reads = [Read(span, read_at) for span in fetched.spans if span.start < span.end]
        scored: list[tuple[Item, float | None]] = list(zip(fetched.items, scores, strict=True))
        self._repository.save_items(self.request.source, symbol, scored, reads, read_at, name_of(analyzer))
        if error is not None:
            raise error


@functools.lru_cache(maxsize=64)
def _unkept(source: Source) -> Source:
    return replace(source, cache_ttl=0.001, stale_ttl=0.0)


async def fill_all(
    upstream: Backfilled,
    request: FetchRequest,
    since: datetime,
    now: datetime,
    fill_next: Callable[[Span], Awaitable[Filled]],
) -> str | None:
    """Fill the holes since ``since`` with ``fill_next``, the newest first; return why one stays, or None.

    It ends with a page that makes no hole smaller.
    """
    if since > now - RECENT:
        return "recent"

    def look() -> tuple[Span, ...]:
        return holes(upstream, request, since, now)

    found = await world().offload(look)
    while found:
        hole = found[0]
        filled = await fill_next(hole)
        if filled.reason is not None:
            return filled.reason
        found = await world().offload(look)
        if found and found[0] == hole:
            return "nothing_older"
    return None
