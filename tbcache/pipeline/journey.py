"""The journey of one request, top to bottom.

FetchRequest -> admit -> [hit | stale | go | join | wait] -> fetch pages -> parse -> score -> settle
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from tbcache.admission import (
    Admission,
    Ask,
    Failed,
    Go,
    Grant,
    Hit,
    Join,
    Reach,
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
)
from tbcache.log import get_logger
from tbcache.models import (
    Failure,
    FetchRequest,
    Lane,
    Origin,
    Outcome,
    SymbolSentiment,
    utc_now,
    wait_seconds,
)
from tbcache.monitoring import get_usage_monitor
from tbcache.pipeline.reader import Fetched, PageReader, TooLate, Upstream, closing
from tbcache.repository import Answer, encode_answer
from tbcache.repository.outbox import Outbox, get_outbox
from tbcache.scoring import aggregate, score_items
from tbcache.settings import get_settings
from tbcache.singleton import singleton
from tbcache.sources import Source
from tbcache.store import get_store
from tbcache.store.codec import DecodeError, decode_sentiment, encode_sentiment

log = get_logger("tbcache.pipeline")

PATIENCE_SECONDS = 30.0
REFRESHERS = 4
#: Those who joined ask again at least so often: another may have taken over a dead loader's job.
JOIN_SECONDS = 2.0
#: How soon to look again at a damaged value that could not be removed.
REMOVAL_SECONDS = 0.25


class Pipeline:
    """Runs requests through admission, an upstream and back."""

    def __init__(self, admission: Admission, outbox: Callable[[], Outbox] = get_outbox) -> None:
        self.admission = admission
        self._outbox = outbox
        self._local = admission.layer
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

        Any other exception is a bug, in a parser or a scorer mostly. Those who wait for the same
        load get it as an UpstreamError, and nobody tries for some seconds: the same answer would
        meet the same bug again, and each try costs a slot. A load that is interrupted (Ctrl-C, a
        worker's time limit) is no failure: whoever waits for it loads instead.
        """
        patience = wait_seconds("patience", patience)
        if not needed and slot is None and (kept := self.recall(upstream.source, request)) is not None:
            return _outcome(request, kept, "cache")
        ask = Ask(upstream.source, request, lane, needed, slot, patience)
        if self.admission.delay.is_shut(upstream.source, request):
            self.admission.give_back(ask)
            return _delayed(upstream, request)
        give_up = time.monotonic() + patience
        while True:
            token = self._local.begin(request.key) if self._local is not None else None
            match self.admission.admit(ask):
                case Hit(payload, seconds):
                    sentiment = self._read(ask, payload, give_up)
                    if sentiment is None:
                        continue
                    if self._local is not None and token is not None:
                        self._local.put(request.key, sentiment, seconds, token, len(payload))
                    return _outcome(request, sentiment, "cache")
                case Stale(payload, failure):
                    sentiment = self._read(ask, payload, give_up)
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
                    with contextlib.suppress(TooLate):
                        return self._load(upstream, grant, stale)
                case Join() as join:
                    left = give_up - time.monotonic()
                    if left <= 0:
                        raise RateLimited(request.source, utc_now(), "another worker is still fetching it")
                    self.admission.wait_for(join, request.source, min(join.seconds, left, JOIN_SECONDS))
                case Wait(seconds) as wait:
                    if time.monotonic() + seconds > give_up:
                        raise _limited(request.source, wait)
                    time.sleep(seconds)
            ask = replace(ask, slot=None, patience=max(0.0, give_up - time.monotonic()))

    def _read(self, ask: Ask, payload: bytes, give_up: float) -> SymbolSentiment | None:
        """The value of an entry; None when it is damaged, which removes it."""
        sentiment = self._peek(payload)
        if sentiment is None:
            log.warning("cache.corrupt", source=ask.source.name, key=ask.request.key)
            if not self.admission.discard(ask):
                self._await_removal(ask, give_up)
        return sentiment

    def _await_removal(self, ask: Ask, give_up: float) -> None:
        """Let somebody else remove a damaged value that Redis does not let us remove."""
        if time.monotonic() + REMOVAL_SECONDS > give_up:
            raise RateLimited(
                ask.source.name, utc_now(), "its cached answer is damaged and cannot be removed"
            )
        time.sleep(REMOVAL_SECONDS)

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
        """Fetch and settle. Raises TooLate, with everything given back, when nothing was sent."""
        request = grant.ask.request
        self._await_start(grant)
        started = time.monotonic()
        try:
            reach = self.admission.delay.reach(upstream.source, request)
            if reach is None:
                self.admission.settle(grant, Settlement())
                return _delayed(upstream, request)
            fetched = self._read_pages(upstream, grant, reach)
            answer = _answer(upstream, request, fetched)
            self._settle(upstream, fetched, answer, time.monotonic() - started)
        except TooLate:
            self.admission.settle(grant, Settlement())
            raise
        except UpstreamError as error:
            failure = self._settle_failure(grant, error, time.monotonic() - started)
            if stale is None:
                raise
            return _outcome(request, stale, "stale", failure)
        except Exception as error:
            log.error("fetch.broke", source=request.source, symbol=request.symbol, error=repr(error)[:200])
            self.admission.settle(grant, Settlement(failure=_bug(request, error), pages=1))
            raise
        except BaseException:
            self.admission.settle(grant, Settlement(is_interrupted=True, pages=1))
            raise
        return Outcome(request, answer.sentiment, "live", 0.0)

    def _read_pages(self, upstream: Upstream, grant: Grant, reach: Reach) -> Fetched:
        admission = self.admission
        try:
            fetched = PageReader(upstream, grant, admission.turn, admission.may_send, reach).read()
        except BaseException:
            admission.delay.give_up(upstream.source)
            raise
        admission.delay.learn(upstream.source, reach.request, fetched.read, utc_now())
        return fetched

    def _settle_failure(self, grant: Grant, error: UpstreamError, seconds: float) -> Failure:
        failure, request = Failure.of(error), grant.ask.request
        settlement = Settlement(failure=failure, closed_by=closing(error), seconds=seconds, pages=1)
        self.admission.settle(grant, settlement)
        log.warning(
            "fetch.failed",
            source=request.source,
            symbol=request.symbol,
            kind=failure.kind,
            reason=failure.message,
        )
        return failure

    def _settle(self, upstream: Upstream, fetched: Fetched, answer: Answer, seconds: float) -> None:
        request = fetched.grant.ask.request
        settled = self.admission.settle(
            fetched.grant,
            Settlement(
                payload=encode_sentiment(answer.sentiment),
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


def _answer(upstream: Upstream, request: FetchRequest, fetched: Fetched) -> Answer:
    scores = score_items(fetched.items, upstream.analyzer)
    sentiment = aggregate(
        request,
        fetched.items,
        scores,
        as_of=utc_now(),
        complete=fetched.reason is None,
        since=fetched.since,
        reason=fetched.reason,
        until=fetched.until,
        scorer=upstream.analyzer,
    )
    return Answer(sentiment, tuple(zip(fetched.items, scores, strict=True)))


def _delayed(upstream: Upstream, request: FetchRequest) -> Outcome:
    """What is known where all the hours that were asked for lie in the plan's delay: nothing."""
    sentiment = aggregate(
        request,
        (),
        (),
        as_of=utc_now(),
        complete=False,
        since=None,
        reason="plan_delay",
        scorer=upstream.analyzer,
    )
    return Outcome(request, sentiment, "cache", 0.0)


def _limited(source: str, wait: Wait) -> RateLimited:
    if wait.why == "budget":
        return BudgetExhausted(source, wait.retry_at, wait.reason)
    return RateLimited(source, wait.retry_at, wait.reason)


def _bug(request: FetchRequest, error: Exception) -> Failure:
    return Failure("error", f"{request.source}: the fetch broke off ({type(error).__name__})", 0, None)


def _outcome(
    request: FetchRequest, sentiment: SymbolSentiment, origin: Origin, error: Failure | None = None
) -> Outcome:
    age = max(0.0, (utc_now() - sentiment.as_of).total_seconds())
    return Outcome(request, sentiment, origin, age, error)


@singleton
def get_pipeline() -> Pipeline:
    """The pipeline of this process."""
    layer = get_cache_manager().local
    return Pipeline(Admission(get_store(), get_settings(), get_usage_monitor(), layer))
