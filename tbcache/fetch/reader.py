"""Reads the pages of one load, from ``go`` to ``settle``, until they reach back far enough."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from heapq import nlargest
from typing import NamedTuple, cast, get_args

from tbcache.admission import Grant, Reach, Wait
from tbcache.fetch.coverage import PageCoverage, PagingEnd
from tbcache.fetch.http_time import told_now
from tbcache.fetch.job import Attempt
from tbcache.fetch.page import parse_page
from tbcache.fetch.upstream import RecheckingUpstream, Upstream, sent
from tbcache.io import utc_now, world
from tbcache.io.deadline import until
from tbcache.io.description import described
from tbcache.io.log import get_logger
from tbcache.models import Failure, FetchRequest, HttpRequest, Item, Page, RateHint, RawResponse
from tbcache.models.error import UpstreamError, UpstreamPayloadError
from tbcache.models.price import NOTHING, Bill
from tbcache.models.request import Stretch
from tbcache.timeline import AHEAD, Span

log = get_logger("tbcache.fetch")

CLOSING_KINDS = ("throttled", "quota")
QUOTA_SECONDS = 3600.0
#: For these reasons there is no further page of items. The known ones may be asked for all the same.
ENDS = frozenset(get_args(PagingEnd)) - {"complete"}
#: An upstream's clock that seems to be behind by less may be right: it tells whole seconds, and the answer is
#: under way for a while. An answer that was asked for so shortly before it was made is true up to then.
LEAST_BEHIND = timedelta(seconds=2)
#: So many items that are later than the upstream's clock says prove that the clock had come to them. One or
#: two may be dated ahead, as by a wrong time zone.
_WITNESSES = 3
#: What an answer is short of by no more than this counts as answered: a load takes its time as well.
MOST_BEHIND = timedelta(minutes=5)
#: One request asks for at most so many known items again: as many as X and reddit take.
RECHECK_SIZE = 100

#: Commits the slot of the page that has come, bills the page, and takes a slot for the next one.
Turn = Callable[[Grant, Bill], Awaitable[Grant | Wait]]
MaySend = Callable[[Grant], bool]


class TooLate(Exception):
    """Nothing was sent: the time of the slot ended, or the source was closed, before the request left."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """The result of reading the pages of one load.

    ``items`` are those of the requested hours, ``read`` all items of the pages, older ones included. In
    ``spans`` of time no item is missing. ``gone`` are the ids of known items that the upstream has no more.
    ``counts`` are how many items there were in quarters of an hour, where the upstream was asked for that.
    ``is_asked`` is False where the load had to ask for more than the news, and had no page of that.
    ``asked_at`` is a moment of the upstream's clock where that is behind: its pages hold nothing newer.
    The slot and the bill of the last page are in the :class:`Attempt`, and are still to be settled.
    """

    items: tuple[Item, ...]
    read: tuple[Item, ...]
    pages: int
    spans: tuple[Span, ...]
    reason: str | None
    closed_by: Failure | None
    hints: tuple[RateHint, ...]
    asked_at: datetime
    gone: tuple[str, ...] = ()
    counts: Mapping[datetime, int] = field(default_factory=dict)
    is_asked: bool = True

    @property
    def since(self) -> datetime | None:
        """From when on, up to the moment of asking, no item is missing; None where that is unknown."""
        return self.spans[0].start if self.spans else None


class _End(NamedTuple):
    """Why no page follows: ``reason`` is None where nothing is missing, and ``closed_by`` is the refusal that
    closes the source, if there is one.
    """

    reason: str | None
    closed_by: Failure | None = None


class PageReader:
    """Reads one answer page by page, with at most as many pages as the source allows."""

    def __init__(
        self,
        upstream: Upstream,
        attempt: Attempt,
        turn: Turn,
        may_send: MaySend,
        now: datetime,
        reach: Reach | None = None,
        stretches: Sequence[Stretch] = (),
        pages: int | None = None,
        rechecked: Sequence[str] = (),
    ) -> None:
        """Hours are counted back from ``now``.

        ``reach`` is the request to send, where it is another than the one that was asked for. ``stretches``
        are the parts of its hours to ask for, the newest first; an empty sequence means all of them.
        ``pages`` is the most requests to send, where it is another number than the source's. ``rechecked``
        are the ids of known items to ask for again, after everything else was read.
        """
        self._upstream = upstream
        # Only requests for a symbol's posts are answered in pages.
        self._request = cast("FetchRequest", attempt.grant.ask.request)
        self._sent, self._delay = reach or Reach(self._request, upstream.source.delay_hours)
        self._turn = turn
        self._may_send = may_send
        self._now = now
        #: How much the server's clock, by which hours are counted, is ahead of this machine's.
        self._ahead = now - utc_now()
        self._behind = timedelta()
        start = self._now - timedelta(hours=self._request.hours)
        self._stretches = stretches or (Stretch(start),)
        #: What is older is not kept: never a part of what the pages are said to cover.
        self._start = min(start, *(stretch.since for stretch in self._stretches))
        self._is_partial = bool(stretches)
        self._kept: dict[str, Item] = {}
        self._pages = 0
        # Each stretch has its page: what is older must not wait until there are no news.
        most = max(upstream.source.pages * len(self._sent.symbols), len(self._stretches))
        self._most = most if pages is None else pages
        self._is_asked = len(self._stretches) == 1
        self._hints: tuple[RateHint, ...] = ()
        self._attempt = attempt
        self._rechecked = rechecked
        self._gone: dict[str, None] = {}

    async def read(self) -> Fetched:
        """Read until all that was asked for is there, or until no further page can or may be read.

        Raises:
          UpstreamError: the upstream failed before it gave any item. TooLate: nothing was sent.
        """
        spans: list[Span] = []
        end = _End(None)
        for stretch in self._stretches:
            end = (await self._take_slot() if self._pages else None) or await self._read_stretch(
                stretch, spans
            )
            if end.reason in ENDS:
                break
            if end.reason is not None:
                return self._fetched(spans, end)
        # That a search goes no deeper says nothing of the items that are known.
        return self._fetched(spans, _End(end.reason, (await self._recheck()).closed_by))

    async def _read_stretch(self, stretch: Stretch, spans: list[Span]) -> _End:
        """Read one stretch, and append to ``spans`` the time of which its pages leave nothing out."""
        latest = stretch.until or self._now
        # The items that were read a moment ago stand above the bound too, as the upstream counts.
        above = len(self._kept) + stretch.above if stretch.until_id else 0
        judge = PageCoverage(stretch.since, latest, above)
        end = await self._read_pages(stretch, judge, is_first=not spans)
        since = stretch.since if end.reason is None else judge.since
        if since is not None:
            spans.append(Span(since, min(latest, self._asked_at)))
        return end

    @property
    def _asked_at(self) -> datetime:
        """When the upstream was asked, by its own clock where that is behind. What it has not reached yet is
        never known, whichever of the two clocks is wrong. Its items tell that it is the ``Date`` that is."""
        by_date = self._now - self._behind
        later = (
            one.at for one in self._kept.values() if one.at is not None and by_date < one.at <= self._now
        )
        witnesses = nlargest(_WITNESSES, later)
        return max(by_date, self._start, *witnesses[_WITNESSES - 1 :])

    async def _read_pages(self, stretch: Stretch, judge: PageCoverage, *, is_first: bool) -> _End:
        cursor: str | None = None
        while True:
            try:
                page = await self._page(stretch, cursor)
            except (UpstreamError, TooLate) as error:
                # Without any item this is no answer, but a failure.
                if is_first and not self._kept:
                    raise
                return _broken_off(error)
            if (ending := judge.add(page)) is not None:
                return self._ended(ending)
            if (end := await self._take_slot()) is not None:
                return end
            cursor = page.next

    async def _recheck(self) -> _End:
        """Ask for known items again. If that fails, the answer is complete all the same."""
        upstream = cast("RecheckingUpstream", self._upstream)
        for start in range(0, len(self._rechecked), RECHECK_SIZE):
            if await self._take_slot() is not None or not self._may_send(self._attempt.grant):
                break
            http = upstream.recheck(self._rechecked[start : start + RECHECK_SIZE])
            try:
                self._take(await self._exchange(http, upstream.rechecked))
            except UpstreamError as error:
                return _End(None, closing(error))
            except Exception as error:
                # A mistake of the provider's here loses nothing of what was read, and paid for, before.
                log.warning("recheck.failed", source=self._request.source, error=described(error))
                break
        return _End(None)

    async def _take_slot(self) -> _End | None:
        """Take the slot of the next page; return why there is none, or None."""
        if self._pages >= self._most:
            return _End("page_budget")
        turn = await self._turn(self._attempt.grant, self._attempt.bill)
        self._attempt.bill = NOTHING
        if isinstance(turn, Wait):
            return _End("budget" if turn.why == "budget" else "rate_limit")
        self._attempt.grant = turn
        return None

    async def _page(self, stretch: Stretch, cursor: str | None) -> Page:
        wanted = replace(self._sent, stretch=stretch if self._is_partial else None, asked_at=self._now)
        http = self._upstream.request(wanted, cursor, wanted.start(self._now))
        if not self._may_send(self._attempt.grant):
            raise TooLate
        page = await self._exchange(http, self._upstream.parse)
        self._take(page)
        self._is_asked |= stretch is not self._stretches[0]
        return page

    def _take(self, page: Page) -> None:
        """Add the items of ``page`` to what was read, and its price to the bill."""
        self._pages += 1
        self._hints = page.hints
        self._attempt.bill = self._upstream.source.price.bill([item.id for item in page.items], page.users)
        for item in page.items:
            # An item of a time that is far off would count in each answer up to that time.
            if item.at is None or item.at <= self._now + AHEAD:
                self._kept.setdefault(item.id, item)
        self._gone |= dict.fromkeys(page.gone)

    async def _exchange(self, http: HttpRequest, parse: Callable[[RawResponse], Page]) -> Page:
        """Send, and parse the answer. Until that is done, the bill has the highest price of a page."""
        attempt = self._attempt
        attempt.sent, attempt.bill = attempt.sent + 1, self._upstream.source.price.uncertain
        try:
            # This is checked again at the socket: a process that was suspended meanwhile must not send.
            with until(attempt.grant.send_by):
                response = await sent(self._upstream, http)
            self._compare_clocks(response)
            return await world().offload(lambda: parse_page(self._upstream.source.name, parse, response))
        except UpstreamError as error:
            if not _may_be_billed(error):
                attempt.bill = NOTHING
            raise

    def _compare_clocks(self, response: RawResponse) -> None:
        stated = told_now(response)
        behind = timedelta() if stated is None else response.received_at + self._ahead - stated
        if behind > LEAST_BEHIND:
            self._behind = max(self._behind, behind)

    def _ended(self, ending: PagingEnd) -> _End:
        """The end by ``ending``, with a warning where the upstream repeats itself."""
        if ending == "repeated_page":
            request = self._request
            log.warning("page.repeated", source=request.source, symbol=request.symbol, pages=self._pages)
        return _End(None if ending == "complete" else ending)

    def _fetched(self, spans: Sequence[Span], end: _End) -> Fetched:
        items = tuple(item for item in self._kept.values() if item.at is None or item.at >= self._start)
        reason = end.reason
        if self._behind > MOST_BEHIND:
            seconds = round(self._behind.total_seconds())
            log.warning("clock.differs", source=self._request.source, seconds=seconds)
        if self._is_delayed(items):
            last = self._now - timedelta(hours=self._delay)
            spans = [Span(span.start, min(span.end, last)) for span in spans if span.start < last]
            reason = "plan_delay" if reason is None or not items else reason
        return Fetched(
            items,
            tuple(self._kept.values()),
            self._pages,
            tuple(spans),
            reason,
            end.closed_by,
            self._hints,
            self._asked_at,
            tuple(self._gone),
            is_asked=self._is_asked,
        )

    def _is_delayed(self, items: Sequence[Item]) -> bool:
        """True where no item is newer than the plan's delay. That there are none then proves nothing."""
        newest_allowed = self._now - timedelta(hours=self._delay)
        return bool(self._delay) and all(item.at is None or item.at <= newest_allowed for item in items)


def _broken_off(error: UpstreamError | TooLate) -> _End:
    """The end after a failure. The pages before it stay: they were paid for."""
    if isinstance(error, TooLate):
        return _End("rate_limit")
    return _End(error.kind, closing(error))


def _may_be_billed(error: UpstreamError) -> bool:
    """True where the upstream may have served a page that we could not read. A stated error costs nothing."""
    is_unread = isinstance(error, UpstreamPayloadError) and 200 <= error.status < 300
    return error.is_unanswered or is_unread


def closing(error: UpstreamError) -> Failure | None:
    """The failure to close the whole source with; None where ``error`` is about one request.

    An upstream that is down closes its source only where it says until when: any other failure may be about
    this request alone.
    """
    is_down_until = error.kind == "unavailable" and error.retry_at is not None
    if error.kind not in CLOSING_KINDS and not is_down_until:
        return None
    failure = Failure.of(error)
    if error.kind == "quota" and failure.retry_at is None:
        # Asking does not bring a used-up quota back, and the upstream does not say when: try in an hour.
        return replace(failure, retry_at=utc_now() + timedelta(seconds=QUOTA_SECONDS))
    return failure
