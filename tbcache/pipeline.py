"""The journey of one request, top to bottom.

FetchRequest -> admit -> [hit | stale | go | join | wait] -> fetch pages -> parse -> score -> settle
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from tbcache.admission import (
    NOTHING,
    Admission,
    Ask,
    Bill,
    Failed,
    Go,
    Grant,
    Hit,
    Join,
    Settled,
    Settlement,
    Stale,
    Wait,
)
from tbcache.cache import get_cache_manager
from tbcache.errors import (
    BudgetExhausted,
    RateLimited,
    UpstreamError,
    UpstreamPayloadError,
    UpstreamUnavailable,
)
from tbcache.log import get_logger
from tbcache.models import (
    Failure,
    FetchRequest,
    HttpRequest,
    Item,
    Lane,
    Origin,
    Outcome,
    Page,
    RateHint,
    RawResponse,
    SymbolSentiment,
    utc_now,
)
from tbcache.monitoring import get_usage_monitor
from tbcache.repository import Answer, encode_answer
from tbcache.repository.outbox import Outbox, get_outbox
from tbcache.scoring import Scorer, aggregate, score_items
from tbcache.settings import get_settings
from tbcache.sources import Source
from tbcache.store import get_store
from tbcache.store.codec import DecodeError, decode_sentiment, encode_sentiment
from tbcache.store.local import LocalCache

log = get_logger("tbcache.pipeline")

PATIENCE_SECONDS = 30.0
REFRESHERS = 4
#: Those who joined ask again at least so often: another may have taken over a dead loader's job.
JOIN_SECONDS = 2.0
CLOSING_KINDS = ("throttled", "quota")
QUOTA_SECONDS = 3600.0


class Upstream(Protocol):
    """All the pipeline knows of a source."""

    @property
    def source(self) -> Source: ...

    @property
    def analyzer(self) -> Scorer: ...

    @property
    def persist_to_db(self) -> bool: ...

    def request(self, fetch: FetchRequest, cursor: str | None, now: datetime) -> HttpRequest: ...

    def send(self, request: HttpRequest) -> RawResponse: ...

    def parse(self, response: RawResponse) -> Page: ...


@dataclass(frozen=True, slots=True)
class _Fetched:
    """What the pages brought: ``items`` in the asked time, and the ``bill`` of the last page."""

    items: tuple[Item, ...]
    pages: int
    complete: bool
    since: datetime | None
    reason: str | None
    bill: Bill
    closed_by: Failure | None
    hints: tuple[RateHint, ...]


class Pipeline:
    """Runs requests through admission, an upstream and back."""

    def __init__(
        self,
        admission: Admission,
        outbox: Callable[[], Outbox] = get_outbox,
        local: LocalCache | None = None,
    ) -> None:
        self.admission = admission
        self._outbox = outbox
        self._local = local
        self._refreshers: ThreadPoolExecutor | None = None

    def run(
        self,
        upstream: Upstream,
        request: FetchRequest,
        *,
        lane: Lane = "interactive",
        patience: float = PATIENCE_SECONDS,
        needed: float = 0.0,
        slot: str | None = None,
    ) -> Outcome:
        """Answer ``request`` from the cache or the upstream.

        ``patience`` is how many seconds to wait for a slot or for another's load;
        ``needed`` how many seconds the answer must still be fresh for; ``slot`` one
        that the queue holds for this request.

        Raises:
          RateLimited: no slot within ``patience``. BudgetExhausted: none today.
          UpstreamError: the upstream answered with no page, and nothing old is kept.
        """
        if not needed and slot is None and (kept := self.recall(upstream.source, request)) is not None:
            return _outcome(request, kept, "cache")
        ask = Ask(upstream.source, request, lane, needed, slot, patience)
        give_up = time.monotonic() + patience
        while True:
            token = self._local.begin(request.key) if self._local is not None else None
            match self.admission.admit(ask):
                case Hit(payload, seconds):
                    sentiment = self._read(ask, payload)
                    if sentiment is None:
                        continue
                    if self._local is not None and token is not None:
                        self._local.put(request.key, sentiment, seconds, token, len(payload))
                    return _outcome(request, sentiment, "cache")
                case Stale(payload, failure):
                    sentiment = self._read(ask, payload)
                    if sentiment is None:
                        continue
                    return _outcome(request, sentiment, "stale", failure)
                case Failed(failure):
                    raise failure.to_error(request.source)
                case Go(grant, old):
                    stale = self._peek(old)
                    if stale is not None and lane == "interactive" and slot is None:
                        self._refresh(upstream, grant, stale)
                        return _outcome(request, stale, "stale")
                    return self._load(upstream, grant, stale)
                case Join() as join:
                    left = give_up - time.monotonic()
                    if left <= 0:
                        raise RateLimited(request.source, utc_now(), "another worker is still fetching it")
                    self.admission.wait_for(join, request.source, min(join.seconds, left, JOIN_SECONDS))
                case Wait(seconds, retry_at, reason):
                    if time.monotonic() + seconds > give_up:
                        raise _limited(request.source, retry_at, reason)
                    time.sleep(seconds)
            ask = replace(ask, slot=None, patience=max(0.0, give_up - time.monotonic()))

    def _read(self, ask: Ask, payload: bytes) -> SymbolSentiment | None:
        """The value of an entry; None when it is damaged, which removes it."""
        sentiment = self._peek(payload)
        if sentiment is None:
            log.warning("cache.corrupt", key=ask.request.key)
            self.admission.discard(ask)
        return sentiment

    def _peek(self, payload: bytes | None) -> SymbolSentiment | None:
        if payload is None:
            return None
        try:
            return decode_sentiment(payload)
        except DecodeError:
            return None

    def recall(self, source: Source, request: FetchRequest) -> SymbolSentiment | None:
        """This process's own copy while it is known to be fresh: a hit without a round trip."""
        if self._local is None or source.charge == "request":
            return None
        kept = self._local.get(request.key)
        if not isinstance(kept, SymbolSentiment):
            return None
        self.admission.count_hit(source)
        return kept

    def close(self) -> None:
        """Wait for refreshes in the background."""
        if self._refreshers is not None:
            self._refreshers.shutdown(wait=True)
            self._refreshers = None

    def _refresh(self, upstream: Upstream, grant: Grant, stale: SymbolSentiment) -> None:
        if self._refreshers is None:
            self._refreshers = ThreadPoolExecutor(REFRESHERS, thread_name_prefix="tbcache-refresh")
        self._refreshers.submit(self._load, upstream, grant, stale)

    def _load(self, upstream: Upstream, grant: Grant, stale: SymbolSentiment | None) -> Outcome:
        request = grant.ask.request
        self._await_start(grant)
        started = time.monotonic()
        try:
            fetched, last = self._fetch(upstream, grant)
            sentiment, answer = _answer(upstream, request, fetched)
        except UpstreamError as error:
            failure = Failure.of(error)
            seconds = time.monotonic() - started
            self.admission.settle(
                grant, Settlement(failure=failure, closed_by=_closing(error), seconds=seconds, pages=1)
            )
            log.warning("fetch.failed", source=request.source, symbol=request.symbol, kind=failure.kind)
            if stale is not None:
                return _outcome(request, stale, "stale", failure)
            raise
        except BaseException:
            # Ours, not the upstream's: the slot stays spent, as the request may have gone out.
            self.admission.settle(grant, Settlement(failure=_unexpected(request), pages=1))
            raise
        seconds = time.monotonic() - started
        settled = self.admission.settle(
            last,
            Settlement(
                payload=encode_sentiment(sentiment),
                closed_by=fetched.closed_by,
                seconds=seconds,
                pages=fetched.pages,
                bill=fetched.bill,
                answer=encode_answer(answer) if upstream.persist_to_db else None,
                hints=fetched.hints,
            ),
        )
        if self._local is not None:
            # Before the server tells us, or we would read our own old value.
            self._local.discard(request.key)
        if upstream.persist_to_db:
            self._keep(settled, answer)
        log.info(
            "fetch.finished",
            source=request.source,
            symbol=request.symbol,
            pages=fetched.pages,
            items=len(fetched.items),
            seconds=round(seconds, 3),
        )
        return Outcome(request, sentiment, "live", 0.0)

    def _await_start(self, grant: Grant) -> None:
        """Sleep until the promised slot begins; give it back if that is interrupted."""
        try:
            while (left := grant.starts_at - time.monotonic()) > 0:
                time.sleep(left)
        except BaseException:
            self.admission.settle(grant, Settlement())
            raise

    def _keep(self, settled: Settled, answer: Answer) -> None:
        outbox = self._outbox()
        if settled == "local":
            outbox.accept(answer)
        else:
            outbox.nudge()

    def _fetch(self, upstream: Upstream, grant: Grant) -> tuple[_Fetched, Grant]:
        """Read pages until one is older than asked for, within the source's page budget."""
        request, now = grant.ask.request, utc_now()
        start = now - timedelta(hours=request.hours)
        kept: dict[str, Item] = {}
        reason: str | None = None
        closed_by: Failure | None = None
        cursor: str | None = None
        hints: tuple[RateHint, ...] = ()
        bill = NOTHING
        pages = 0
        while True:
            try:
                page = _page(upstream, grant, cursor, now)
            except UpstreamError as error:
                if pages == 0:
                    raise
                reason, closed_by = error.kind, _closing(error)
                break
            pages, hints, bill = pages + 1, page.hints, _bill(upstream.source, page)
            kept.update({item.id: item for item in page.items if item.id not in kept})
            if page.next is None or _oldest(page.items, now) < start:
                break
            if pages == upstream.source.pages:
                reason = "page_budget"
                break
            cursor, turn = page.next, self.admission.turn(grant, bill)
            bill = NOTHING
            if isinstance(turn, Wait):
                reason = "budget" if turn.reason == "budget" else "rate_limit"
                break
            grant = turn
        items = tuple(item for item in kept.values() if item.at is None or item.at >= start)
        if reason is None and _is_delayed(upstream.source, items, now):
            reason = "plan_delay"
        return (
            _Fetched(
                items=items,
                pages=pages,
                complete=reason is None,
                since=start if reason is None else _oldest(items, now) if items else None,
                reason=reason,
                bill=bill,
                closed_by=closed_by,
                hints=hints,
            ),
            grant,
        )


def _page(upstream: Upstream, grant: Grant, cursor: str | None, now: datetime) -> Page:
    http = upstream.request(grant.ask.request, cursor, now)
    if time.monotonic() > grant.send_by:
        # The slot may be given to someone else by the time the request arrives.
        raise UpstreamUnavailable(grant.ask.source.name, "held its slot too long and was not sent")
    response = upstream.send(http)
    try:
        return upstream.parse(response)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        # A parser that is surprised: the answer is not of the shape it was written for.
        what = f"the answer is not as expected ({type(error).__name__}: {error})"
        raise UpstreamPayloadError(grant.ask.source.name, what[:200], status=response.status) from error


def _answer(upstream: Upstream, request: FetchRequest, fetched: _Fetched) -> tuple[SymbolSentiment, Answer]:
    scores = score_items(fetched.items, upstream.analyzer)
    sentiment = aggregate(
        request,
        fetched.items,
        scores,
        as_of=utc_now(),
        complete=fetched.complete,
        since=fetched.since,
        reason=fetched.reason,
        scorer=upstream.analyzer,
    )
    return sentiment, Answer(sentiment, tuple(zip(fetched.items, scores, strict=True)))


def _bill(source: Source, page: Page) -> Bill:
    """What ``page`` costs, by the source's own rules."""
    price = source.price
    if price.daily_dedupe:
        return Bill(price.per_request, [item.id for item in page.items] if price.per_item else ())
    return Bill(price.per_request + price.per_item * len(page.items))


def _closing(error: UpstreamError) -> Failure | None:
    """The refusal as one that holds for the whole source; None for one that does not."""
    if error.kind not in CLOSING_KINDS:
        return None
    failure = Failure.of(error)
    if error.kind == "quota" and failure.retry_at is None:
        # A used-up quota does not come back by asking: look again in an hour.
        return replace(failure, retry_at=utc_now() + timedelta(seconds=QUOTA_SECONDS))
    return failure


def _oldest(items: Sequence[Item], now: datetime) -> datetime:
    return min((item.at for item in items if item.at is not None), default=now)


def _is_delayed(source: Source, items: Sequence[Item], now: datetime) -> bool:
    """True when nothing is newer than the plan's delay: silence then says nothing."""
    if not source.delay_hours:
        return False
    newest_allowed = now - timedelta(hours=source.delay_hours)
    return all(item.at is None or item.at <= newest_allowed for item in items)


def _limited(source: str, retry_at: datetime, reason: str) -> RateLimited:
    if reason == "budget":
        return BudgetExhausted(source, retry_at)
    return RateLimited(source, retry_at, reason)


def _unexpected(request: FetchRequest) -> Failure:
    return Failure("error", f"{request.source}: the fetch broke off", 0, None)


def _outcome(
    request: FetchRequest, sentiment: SymbolSentiment, origin: Origin, error: Failure | None = None
) -> Outcome:
    age = max(0.0, (utc_now() - sentiment.as_of).total_seconds())
    return Outcome(request, sentiment, origin, age, error)


@functools.cache
def get_pipeline() -> Pipeline:
    """The pipeline of this process."""
    admission = Admission(get_store(), get_settings(), get_usage_monitor())
    return Pipeline(admission, local=get_cache_manager().local)
