"""What a span tells, whose child it is, and what it is linked to; and what it costs where nobody listens."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import dramatiq
import httpx2
import pytest
from opentelemetry import trace as api
from opentelemetry.semconv._incubating.attributes import messaging_attributes
from opentelemetry.semconv.attributes import (
    error_attributes,
    http_attributes,
    server_attributes,
    url_attributes,
)
from opentelemetry.semconv.schemas import Schemas

import tbcache
from tbcache.cache import get_cache_manager
from tbcache.fetch import get_pipeline
from tbcache.io import trace
from tbcache.models import HttpRequest, Limit
from tbcache.models.error import RateLimited, UpstreamError
from tbcache.providers.client import HttpClient
from tbcache.queue import PacingBroker
from tbcache.settings import BUILT_IN, Settings
from tbcache.store import Store, Unavailable
from tbcache.testing import SimulatedFleet
from tests.server import Server, wait_until
from tests.task import cancelled
from tests.tracing.conftest import Memory, Seen

PATIENCE_MS = 30_000
CONVENTIONS = (error_attributes, http_attributes, messaging_attributes, server_attributes, url_attributes)
NAMES = {value for module in CONVENTIONS for name, value in vars(module).items() if name.isupper()}


@dataclass
class Quotes:
    """Functions that fetch, each until it is released."""

    release: threading.Event = field(default_factory=threading.Event)
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        source = tbcache.source("traced", limits="50/1m", ttl=60)
        brief = tbcache.source("traced-brief", limits="50/1m", ttl=0.2, stale=600)

        @source.fetcher
        def slow(symbol: str) -> str:
            self.asked.append(symbol)
            assert self.release.wait(60)
            return symbol.lower()

        @source.fetcher
        async def slow_async(symbol: str) -> str:
            self.asked.append(symbol)
            while not self.release.is_set():
                await asyncio.sleep(0.01)
            return symbol.lower()

        @brief.fetcher(patience=0)
        def soon_old(symbol: str) -> str:
            return symbol.lower()

        @source.fetcher
        def fails(symbol: str) -> str:
            raise ValueError("the password is hunter22")

        self.slow, self.slow_async, self.soon_old, self.fails = slow, slow_async, soon_old, fails


@pytest.fixture
def quotes(server: Server) -> Quotes:
    return Quotes()


@pytest.fixture(autouse=True)
def _this_process(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("REDIS_URL", server.url)
    monkeypatch.setenv("TBCACHE_REDIS_TIMEOUT", "10")
    yield
    get_pipeline().close()
    tbcache.get_usage_monitor().leave()


def of(spans: Memory, trace_id: str) -> dict[str, Seen]:
    return {one.name: one for one in spans.all() if one.trace_id == trace_id}


def by_convention(spans: Memory) -> None:
    """Each attribute is ours by its name, or one of the semantic conventions; names of spans are few."""
    for one in spans.all():
        assert {name for name in one.facts if not name.startswith("tbcache.")} <= NAMES, one
        assert "AAPL" not in one.name
        if one.kind in ("PRODUCER", "CONSUMER"):
            operation = one.facts["messaging.operation.name"]
            assert one.name == f"{operation} {one.facts['messaging.destination.name']}"
            assert messaging_attributes.MessagingOperationTypeValues(one.facts["messaging.operation.type"])
    assert trace.SCHEMA in {value.value for value in Schemas}


# Whose child, and linked to what


@pytest.mark.parametrize("fetch", ["threads", "tasks"])
def test_who_waits_for_anothers_load_is_linked_to_its_span(spans: Memory, quotes: Quotes, fetch: str) -> None:
    """The reason why a fast path was slow lies in another trace, which nobody finds by its time alone."""

    def ask(name: str) -> None:
        with spans.tracer.start_as_current_span(name):
            assert quotes.slow("AAPL") == "aapl"

    def in_threads() -> None:
        with ThreadPoolExecutor(2) as pool:
            futures = [pool.submit(ask, "loader")]
            wait_until(lambda: quotes.asked)
            futures.append(pool.submit(ask, "joiner"))
            wait_until(lambda: len(spans.named("admit traced")) == 2)
            quotes.release.set()
            for future in futures:
                future.result()

    async def ask_async(name: str) -> None:
        with spans.tracer.start_as_current_span(name):
            assert await quotes.slow_async("AAPL") == "aapl"

    async def in_tasks() -> None:
        memory = get_cache_manager().memory
        memory.begin("AAPL")
        while not memory.is_on:
            # As the server begins to tell of changes, all that is under way counts as changed.
            await asyncio.sleep(0.01)
        loader = asyncio.create_task(ask_async("loader"))
        while not quotes.asked:
            await asyncio.sleep(0.01)
        joiner = asyncio.create_task(ask_async("joiner"))
        await asyncio.sleep(0)
        quotes.release.set()
        await asyncio.gather(loader, joiner)

    in_threads() if fetch == "threads" else asyncio.run(in_tasks())
    loader, joiner = spans.one("loader"), spans.one("joiner")
    loaded = of(spans, loader.trace_id)
    assert loaded["fetch traced"].parent == loader.id
    assert loaded["admit traced"].parent == loaded["settle traced"].parent == loaded["fetch traced"].id
    assert loaded["admit traced"].facts["tbcache.verdict"] == "go"
    assert loaded["settle traced"].facts["tbcache.settled"] == "stored"
    if fetch == "threads":
        waited = of(spans, joiner.trace_id)["fetch traced"]
        assert (waited.links, waited.facts["tbcache.origin"]) == ((loaded["fetch traced"].id,), "cache")
    else:
        # Tasks of one loop have one load, and no ask of their own.
        assert joiner.links == (loader.id,)
    by_convention(spans)


def test_a_refresh_in_the_background_is_in_the_trace_of_who_got_the_old_value(
    spans: Memory, quotes: Quotes
) -> None:
    """What it costs was caused by that ask."""
    quotes.soon_old("AAPL")

    def gets_old() -> bool:
        # A peek takes it for old a little before the server does, by as much as its time is not known.
        with spans.tracer.start_as_current_span("bot"):
            return quotes.soon_old.outcome("AAPL").origin == "stale"

    wait_until(gets_old)
    get_pipeline().close()
    found = of(spans, spans.named("bot")[-1].trace_id)
    assert found["refresh traced-brief"].parent == found["fetch traced-brief"].id
    assert found["settle traced-brief"].parent == found["refresh traced-brief"].id


def test_what_is_undone_for_a_cancelled_task_is_in_its_trace(spans: Memory, quotes: Quotes) -> None:
    """The slot that nobody used is explained where it was taken."""

    async def give_up() -> None:
        with spans.tracer.start_as_current_span("bot"):
            task = asyncio.create_task(quotes.slow_async("AAPL"))
        while not quotes.asked:
            await asyncio.sleep(0.01)
        await cancelled(task)

    asyncio.run(give_up())
    fetch = of(spans, spans.one("bot").trace_id)["fetch traced"]
    assert fetch.facts["error.type"] == "CancelledError"
    # The end of the loop cancels that as well, and it is done all the same.
    settled = spans.named("settle traced")
    assert {one.parent for one in settled} == {fetch.id}
    assert settled[-1].facts["tbcache.ending"] == "interrupted"


def test_a_job_is_tried_again_in_the_trace_of_its_ask(
    spans: Memory, store: Store, settings: Settings
) -> None:
    """A retry, a delay and a next job are all of one ask; each try is a span of its own."""
    reddit = replace(BUILT_IN["reddit"], limits=(Limit(50, 60.0),), missing=())
    broker = PacingBroker(store, settings, [reddit])
    tries: list[str] = []

    def work(what: str) -> None:
        tries.append(what)
        if len(tries) == 1:
            raise RuntimeError("not yet")
        if len(tries) == 2:
            # As a limit does, which is no failure.
            raise dramatiq.Retry("later", delay=1)

    options: Any = {"actor_name": "work", "source": "reddit", "min_backoff": 1, "max_backoff": 9}
    actor: Any = dramatiq.actor(broker=broker, **options)(work)
    with spans.tracer.start_as_current_span("bot"):
        actor.send_with_options(args=("AAPL",), delay=20)
    worker = dramatiq.Worker(broker, worker_threads=1, worker_timeout=100)
    worker.start()
    broker.join("reddit", interval=5, timeout=PATIENCE_MS)
    worker.stop(PATIENCE_MS)
    assert tries == ["AAPL"] * 3
    bot, sent, done = spans.one("bot"), spans.one("send reddit"), spans.named("process reddit")
    assert (sent.parent, sent.facts["tbcache.state"]) == (bot.id, "queued")
    assert [(one.parent, one.links) for one in done] == [(sent.id, (sent.id,))] * 3
    assert [(one.is_error, one.facts.get("error.type")) for one in done] == [
        (True, "RuntimeError"),
        (False, None),
        (False, None),
    ]
    assert [one.facts.get("tbcache.finish") for one in done] == ["later", "later", None]
    by_convention(spans)


@pytest.mark.parametrize("written", [7, None, "00-nonsense-01", "x" * 100_000, ["00"], {"a": 1}])
def test_what_others_wrote_in_place_of_a_context_begins_a_trace_of_its_own(
    spans: Memory, written: object
) -> None:
    """Whoever may write to Redis may write anything; a job is done for all that."""
    with trace.span("x", parent=trace.carrier_in({"traceparent": written, "tracestate": written})):
        pass
    found = spans.one("x")
    assert (found.parent, found.links) == ("", ())


def test_many_jobs_are_one_message_each_and_one_span(spans: Memory) -> None:
    """100,000 spans for one call would drown what sent them."""
    handles = tbcache.enqueue_many([tbcache.FetchRequest("reddit", name) for name in ("AAPL", "MSFT", "GME")])
    sent = spans.one("send reddit")
    assert sent.facts["messaging.batch.message_count"] == len(handles) == 3
    by_convention(spans)


def test_each_span_that_was_begun_ends_where_redis_is_away(
    spans: Memory,
    private_server: Server,
    settings_for: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A message to each of three queues, of which the first breaks off."""
    begun: list[str] = []
    monkeypatch.setattr(
        spans.provider._active_span_processor, "on_start", lambda span, *_, **__: begun.append(span.name)
    )
    settings = settings_for(private_server)
    broker = PacingBroker(Store(settings), settings, [])
    messages: list[dramatiq.Message[Any]] = []
    for queue in ("one", "two", "three"):
        broker.declare_queue(queue)
        messages.append(dramatiq.Message(queue, "work", (), {}, {}))
    broker.enqueue_many(messages)
    assert begun == ["send one", "send two", "send three"]
    private_server.kill()
    with pytest.raises(Unavailable):
        broker.enqueue_many(messages)
    broker.store.close()
    assert sorted(begun) == sorted(one.name for one in spans.all())


# What it tells


def exchanged(url: str, answer: Callable[[httpx2.Request], httpx2.Response], **options: Any) -> None:
    client = HttpClient("news", transport=httpx2.MockTransport(answer), **options)
    try:
        client.send(HttpRequest("GET", url, {"q": "AAPL", "apiKey": "k-12345678"}))
    except UpstreamError:
        return
    finally:
        client.close()


def test_the_span_of_a_request_shows_no_credential(spans: Memory) -> None:
    """Traces go to other companies, and are kept for weeks."""
    url = "https://me:pass-word-1@api.test:8443/v2/path-secret-9/everything"
    exchanged(url, lambda request: httpx2.Response(200), secrets=["path-secret-9"])
    sent = spans.one("GET")
    assert sent.facts == {
        "http.request.method": "GET",
        "server.address": "api.test",
        "server.port": 8443,
        "url.full": "https://api.test:8443/v2/***/everything?q=AAPL&apiKey=***",
        "http.response.status_code": 200,
    }
    assert (sent.kind, sent.is_error) == ("CLIENT", False)
    by_convention(spans)


def test_the_upstream_hears_nothing_of_the_trace(spans: Memory) -> None:
    """Our ids are not its business."""
    heard: list[httpx2.Headers] = []
    exchanged("https://api.test/", lambda request: heard.append(request.headers) or httpx2.Response(200))  # type: ignore[func-returns-value]
    assert "traceparent" not in heard[0]


def refused(request: httpx2.Request) -> httpx2.Response:
    raise httpx2.ConnectError("no route to k-12345678")


@pytest.mark.parametrize(
    ("answer", "kind"), [(lambda request: httpx2.Response(429), "429"), (refused, "ConnectError")]
)
def test_a_failed_request_says_how_it_failed(
    spans: Memory, answer: Callable[[httpx2.Request], httpx2.Response], kind: str
) -> None:
    """Errors are counted by their type."""
    exchanged("https://api.test/", answer)
    sent = spans.one("GET")
    assert (sent.facts["error.type"], sent.is_error) == (kind, True)


def test_an_ask_says_what_it_waits_for_and_why_it_is_not_sent(spans: Memory, quotes: Quotes) -> None:
    """Whoever looks into a trace wants to know why it took so long, or why nothing was asked."""
    for _ in range(2):
        with pytest.raises((ValueError, UpstreamError)):
            quotes.fails("AAPL")
    settled, refused = spans.one("settle traced").facts, spans.named("admit traced")[1].facts
    assert (settled["tbcache.ending"], settled["tbcache.failure"], settled["tbcache.pages"]) == (
        "failure",
        "error",
        1,
    )
    assert (refused["tbcache.verdict"], refused["tbcache.failure"]) == ("failed", "error")
    assert {settled["tbcache.lane"], refused["tbcache.lane"]} == {"interactive"}

    @tbcache.source("traced-few", limits="1/1m").fetcher(patience=0)
    def few(symbol: str) -> str:
        return symbol

    few("AAPL")
    with pytest.raises(RateLimited):
        few("MSFT")
    _, waiting = spans.named("admit traced-few")
    assert (waiting.facts["tbcache.verdict"], waiting.facts["tbcache.wait_for"]) == ("wait", "limit")
    assert 0 < waiting.facts["tbcache.wait_seconds"] <= 60


def test_the_words_of_a_foreign_error_are_not_told(spans: Memory, quotes: Quotes) -> None:
    """Nobody knows what a library puts into its messages."""
    with pytest.raises(ValueError, match="hunter22"):
        quotes.fails("AAPL")
    assert spans.one("fetch traced").facts["error.type"] in ("ValueError", "UpstreamError")
    assert "hunter22" not in str(spans.all())


def test_log_lines_can_name_the_span_that_runs(spans: Memory) -> None:
    """From a line to its trace, and back."""
    assert trace.ids() == {}
    with spans.tracer.start_as_current_span("bot"):
        ids = trace.ids()
    bot = spans.one("bot")
    assert ids == {"trace_id": bot.trace_id, "span_id": bot.id}


# Where nobody listens


def test_a_hit_looks_for_no_tracer(quotes: Quotes, monkeypatch: pytest.MonkeyPatch) -> None:
    """From memory or by one read of Redis, it costs what it did before there were spans."""
    quotes.release.set()
    quotes.slow("AAPL")
    # The second time the answer comes with how long it is fresh.
    quotes.slow("AAPL")
    looks: list[str] = []
    monkeypatch.setattr(trace, "tracer", lambda: looks.append("look"))
    assert quotes.slow("AAPL") == "aapl"
    get_pipeline()._memory.flush()
    assert quotes.slow("AAPL") == "aapl"
    assert (quotes.asked, looks) == (["AAPL"], [])
    quotes.slow.refresh("AAPL")
    assert looks


def test_a_program_without_a_provider_has_no_span(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither where OpenTelemetry is there, as FastAPI brings it along, nor where nobody has imported it."""
    assert trace.tracer() is None
    assert (trace.span("x").is_on, trace.carrier(), trace.ids()) == (False, {}, {})
    monkeypatch.setattr(api, "_TRACER_PROVIDER", api.NoOpTracerProvider())
    assert trace.tracer() is None
    monkeypatch.delitem(sys.modules, "opentelemetry.trace")
    assert (trace.tracer(), trace.ids()) == (None, {})


def test_a_simulated_process_is_traced_nowhere(spans: Memory, quotes: Quotes) -> None:
    """Its time is none of ours, and its steps are not to depend on who listens."""
    quotes.release.set()
    with SimulatedFleet(seed=7) as fleet:
        assert fleet.process().call(quotes.slow, "AAPL").result() == "aapl"
    assert spans.all() == []
