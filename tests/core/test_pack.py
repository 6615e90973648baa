"""Several symbols in one request: each gets its own, and what fails for all is tried by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from tbcache.admission import Ask, Go
from tbcache.fetch import Pipeline
from tbcache.limiter import limiter_of
from tbcache.models import FetchRequest, HttpRequest, Item, Limit, Page
from tbcache.models.error import UpstreamBadRequest, UpstreamThrottled, UpstreamUnavailable
from tbcache.monitoring import UsageMonitor
from tbcache.settings import Settings
from tbcache.store import Store
from tbcache.store.memory import Memory
from tests.blocking import Admission, core
from tests.core.conftest import TWITTER, Kept, Upstream
from tests.server import wait_until

pytestmark = [pytest.mark.every_server, pytest.mark.usefixtures("every_driver")]

ALL = ("AAPL", "TSLA", "NVDA")
PACKED = replace(TWITTER, limits=(Limit(100, 60.0),), pack=10)


def post(id: str, hours: float, *symbols: str) -> Item:
    return Item(id, datetime.now(UTC) - timedelta(hours=hours), " ".join(symbols), symbols=symbols)


@dataclass
class Packing(Upstream):
    """An upstream that notes which symbols each request is for."""

    source: object = PACKED  # type: ignore[assignment]
    pages: Callable[[tuple[str, ...]], Page] = lambda symbols: Page((), exhausted=True)

    def __post_init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []

    def request(self, fetch: FetchRequest, cursor: str | None, since: datetime) -> HttpRequest:
        self.asked.append(fetch.symbols)
        self.answer = lambda cursor: self.pages(fetch.symbols)
        return super().request(fetch, cursor, since)

    def packs(self, symbols: Sequence[str]) -> tuple[str, ...]:
        return tuple(symbols)

    def is_of(self, item: Item, symbol: str) -> bool:
        return symbol in item.symbols


def request(*symbols: str) -> FetchRequest:
    return FetchRequest("twitter", symbols[0], others=symbols[1:])


def refresh(pipeline: Pipeline, upstream: Upstream, *symbols: str, needed: float = 1000.0) -> None:
    pipeline.run(upstream, request(*symbols), lane="prewarm", needed=needed)


@pytest.fixture
def upstream(pipeline: Pipeline) -> Packing:
    """All three are known, by a request each."""
    upstream = Packing(pages=lambda symbols: Page((post(f"old-{symbols[0]}", 2, *symbols),), exhausted=True))
    for symbol in ALL:
        pipeline.run(upstream, request(symbol))
    upstream.asked.clear()
    return upstream


def counts(pipeline: Pipeline, upstream: Packing) -> dict[str, int]:
    found = {symbol: pipeline.run(upstream, request(symbol)) for symbol in ALL}
    assert {outcome.origin for outcome in found.values()} == {"cache"}
    assert all(outcome.complete for outcome in found.values()), found
    return {symbol: outcome.sentiment.count for symbol, outcome in found.items()}


def asks(pipeline: Pipeline, store: Store) -> int:
    """How many asks the figures of the source have, however they ended, and pre-warms."""
    assert pipeline.admission._monitor.flush()
    found = store.client.hgetall(store.keys.usage("twitter", datetime.now(UTC)))
    ended = ("go", "hit", "stale", "failed", "prewarm")
    return sum(int(count) for name, count in found.items() if name.decode().rpartition(":")[2] in ended)


@pytest.mark.parametrize("slot", ["held", ""])
def test_what_is_asked_for_a_job_gives_its_worker_no_share(
    pipeline: Pipeline, store: Store, slot: str
) -> None:
    """It does nothing without the queue: what was kept for it would be kept from the others. So it rests."""
    page = Page((post("new", 0, *ALL),), exhausted=True)
    pipeline.run(Packing(pages=lambda symbols: page), request(*ALL), lane="prewarm", needed=9.0, slot=slot)
    assert not limiter_of(store).process_window("twitter").can_fall_back


def test_one_request_refreshes_all_and_each_gets_its_own(
    pipeline: Pipeline, upstream: Packing, store: Store
) -> None:
    """Ten symbols cost ten requests a round; and a post of one is no voice for another."""
    slots = store.keys.slots("twitter")
    before = store.client.zcard(slots)
    news = (post("both", 0.2, "AAPL", "NVDA"), post("one", 0.3, "TSLA"), post("none", 0.4))
    upstream.pages = lambda symbols: Page(news, exhausted=True)
    asked = asks(pipeline, store)
    refresh(pipeline, upstream, *ALL)
    assert upstream.asked == [ALL]
    assert store.client.zcard(slots) == before + 1
    # Nobody has asked for those that came along, be they fresh or not.
    assert asks(pipeline, store) == asked + 1
    assert counts(pipeline, upstream) == {"AAPL": 2, "TSLA": 2, "NVDA": 2}


def test_each_counts_from_when_all_of_it_is_scored(pipeline: Pipeline, upstream: Packing) -> None:
    """By the past, a backtest knew what a slow scorer was still reading, seconds before any bot could."""
    scored: list[datetime] = []

    class Slow:
        name, version = "slow", "1"

        def score(self, texts: list[str]) -> list[float]:
            before = pipeline.admission.now
            wait_until(lambda: pipeline.admission.now - before > timedelta(milliseconds=50))
            scored.append(pipeline.admission.now)
            return [0.1] * len(texts)

    slow = type("Slowly", (Packing,), {"analyzer": property(lambda self: Slow())})()
    slow.pages = lambda symbols: Page((post("new", 0.2, *ALL),), exhausted=True)
    refresh(pipeline, slow, *ALL)
    as_of = [pipeline.run(slow, request(symbol)).sentiment.as_of for symbol in ALL]
    # What is known of each is scored anew and then the news; whoever leads is told last.
    assert slow.asked == [ALL]
    assert len(scored) == 6
    assert min(as_of) >= scored[1]
    assert as_of[0] >= scored[5]


def test_what_is_known_of_a_symbol_stays_its_own_when_its_text_is_gone(
    pipeline: Pipeline, upstream: Packing
) -> None:
    """A removed post names nothing any more, and must not count on."""
    gone = replace(post("old-TSLA", 2), text="", is_gone=True)
    upstream.pages = lambda symbols: Page((gone,), exhausted=True)
    refresh(pipeline, upstream, *ALL)
    assert pipeline.run(upstream, request("TSLA")).sentiment.dropped
    assert not pipeline.run(upstream, request("NVDA")).sentiment.dropped


def test_who_is_fresh_or_unknown_is_not_taken_along(
    pipeline: Pipeline, upstream: Packing, store: Store
) -> None:
    """The one needs nothing, the other all its hours, which nobody else does."""
    upstream.source = replace(PACKED, cache_ttl=5000.0, stale_ttl=6000.0)
    pipeline.run(upstream, request("TSLA"), needed=1000.0)
    upstream.asked.clear()
    asked = asks(pipeline, store)
    refresh(pipeline, upstream, "AAPL", "GME", "NVDA", "TSLA")
    assert (upstream.asked, asks(pipeline, store)) == ([("AAPL", "NVDA")], asked + 1)
    assert pipeline.run(upstream, request("GME")).origin == "live"


def test_who_lacks_more_than_news_is_not_taken_along(pipeline: Pipeline, upstream: Packing) -> None:
    """One request begins at one time for all: the hours that one lacks would be read of each again."""
    pipeline.run(upstream, FetchRequest("twitter", "GME", 1))
    upstream.asked.clear()
    refresh(pipeline, upstream, "AAPL", "GME", "NVDA")
    assert upstream.asked == [("AAPL", "NVDA")]


@pytest.mark.one_server
def test_who_is_granted_without_redis_is_not_taken_along(
    store: Store, settings: Settings, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis goes away between two of them: what this process knows of one may be older than the fleet's."""
    memory, monitor = Memory(store, is_tracking=True), UsageMonitor(store, settings)
    pipeline = Pipeline(
        core(Admission(store, settings, monitor, memory)),
        lambda: kept,  # type: ignore[arg-type, return-value]
    )
    upstream = Packing(pages=lambda symbols: Page((post("old", 2, *symbols),), exhausted=True))
    for symbol in ALL:
        pipeline.run(upstream, request(symbol))
    upstream.asked.clear()
    admit, verdicts = pipeline.admission.admit, list[object]()

    async def admitted(ask: Ask) -> object:
        if "TSLA" not in str(ask.request.key):
            return await admit(ask)
        with monkeypatch.context() as patch:
            patch.setattr(store.breaker, "reason", "away")
            verdicts.append(await admit(ask))
        return verdicts[-1]

    monkeypatch.setattr(pipeline.admission, "admit", admitted)
    refresh(pipeline, upstream, *ALL)
    (verdict,) = verdicts
    assert isinstance(verdict, Go)
    assert (verdict.grant.is_fallback, verdict.grant.timeline is None) == (True, False)
    assert upstream.asked == [("AAPL", "NVDA")]
    assert (monitor.flush(), asks(pipeline, store)) == (True, len(ALL) + 1)
    pipeline.close()
    memory.close()


def test_what_is_refused_together_is_asked_for_alone(pipeline: Pipeline, upstream: Packing) -> None:
    """A query that the plan does not take must not leave all its symbols without news, again and again."""

    def pages(symbols: tuple[str, ...]) -> Page:
        if len(symbols) > 1:
            raise UpstreamBadRequest("twitter", "too many operators", status=400)
        return Page((), exhausted=True)

    upstream.pages = pages
    refresh(pipeline, upstream, *ALL)
    assert upstream.asked == [ALL, ("AAPL",)]
    refresh(pipeline, upstream, "TSLA", "NVDA")
    refresh(pipeline, upstream, "NVDA")
    assert upstream.asked[2:] == [("TSLA",), ("NVDA",)]


@pytest.mark.parametrize("refusal", [UpstreamThrottled, UpstreamUnavailable])
def test_what_fails_gives_the_others_back(
    pipeline: Pipeline, upstream: Packing, store: Store, refusal: type[UpstreamThrottled]
) -> None:
    """They were not tried: nothing stands against them, and nobody waits for a lease that nobody uses."""

    def pages(symbols: tuple[str, ...]) -> Page:
        raise refusal("twitter", "not now", status=503)

    upstream.pages, asked = pages, asks(pipeline, store)
    assert pipeline.run(upstream, request(*ALL), lane="prewarm", needed=1000.0).origin == "stale"
    assert (upstream.asked, asks(pipeline, store)) == ([ALL], asked + 1)
    leases = [store.keys.lease(request(symbol).key) for symbol in ALL[1:]]
    wait_until(lambda: not store.client.exists(*leases), what="the leases of the others to be given back")


def test_a_page_that_breaks_off_covers_no_more_for_anyone(pipeline: Pipeline, upstream: Packing) -> None:
    """What one request did not reach, it did not reach for any of them."""
    # Of after all that was read before: what lies between is not known.
    upstream.pages = lambda symbols: Page((post("a", -0.01, "AAPL"),), next="again")
    refresh(pipeline, upstream, "AAPL", "TSLA")
    for symbol in ("AAPL", "TSLA"):
        found = pipeline.run(upstream, request(symbol)).sentiment
        assert (found.complete, found.until is None) == (False, False)
