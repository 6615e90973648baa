"""The pipeline: pages, coverage, errors, stale answers, joins."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from dramatiq.middleware import TimeLimitExceeded

from tbcache.admission import Ask, Failed, Go, Grant, Join, Verdict, Wait
from tbcache.fetch import Pipeline
from tbcache.io import run, utc_now
from tbcache.limiter import limiter_of
from tbcache.models import Failure, FetchRequest, HttpRequest, Limit, Outcome, Page
from tbcache.models.error import (
    BudgetExhausted,
    RateLimited,
    UpstreamError,
    UpstreamQuotaExhausted,
    UpstreamThrottled,
    UpstreamUnavailable,
)
from tbcache.models.price import Price
from tbcache.monitoring import UsageMonitor
from tbcache.settings import Settings
from tbcache.store import Store
from tbcache.store.envelope import seal
from tbcache.store.memory import MISSING, Memory
from tests.blocking import Admission, core
from tests.core.conftest import TWITTER, Kept, Upstream, ask, item
from tests.kept import grow_old
from tests.server import Server, sending, sent_here, wait_until
from tests.today import set_today

pytestmark = [pytest.mark.every_server, pytest.mark.usefixtures("every_driver")]

AAPL = FetchRequest("twitter", "AAPL")
#: The keys of what is known of AAPL.
KNOWN = (AAPL.key, AAPL.timeline_key)


def hours_ago(hours: float) -> datetime:
    return datetime.now(UTC) - timedelta(hours=hours)


def test_the_first_ask_is_live_and_the_next_a_hit(pipeline: Pipeline) -> None:
    """One upstream request serves all who ask."""
    upstream = Upstream()
    assert pipeline.run(upstream, AAPL).origin == "live"
    again = pipeline.run(upstream, AAPL)
    assert (again.origin, len(upstream.sent)) == ("cache", 1)
    assert again.sentiment.score is not None
    assert again.sentiment.score > 0


def test_pages_are_read_until_one_is_older_than_asked(pipeline: Pipeline) -> None:
    """24 hours are 24 hours: no page more, and what is older is left out."""
    pages = {
        None: Page((item("1", hours_ago(1)), item("2", hours_ago(16))), next="a"),
        "a": Page((item("2", hours_ago(16)), item("3", hours_ago(30))), next="b"),
    }
    upstream = Upstream(answer=lambda cursor: pages[cursor])
    outcome = pipeline.run(upstream, AAPL)
    assert upstream.sent == [None, "a"]
    assert outcome.complete
    assert outcome.sentiment.count == 2
    assert outcome.sentiment.since == pytest.approx(hours_ago(24), abs=timedelta(seconds=5))


def test_hours_are_counted_back_from_the_servers_time(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process whose clock is ahead asked for the wrong day, and called it complete."""
    theirs = hours_ago(10)
    set_today(monkeypatch, theirs)
    asked: list[datetime] = []

    class Noting(Upstream):
        def request(self, fetch: FetchRequest, cursor: str | None, since: datetime) -> HttpRequest:
            asked.append(since)
            return super().request(fetch, cursor, since)

    page = Page((item("1", theirs - timedelta(hours=20)),), exhausted=True)
    upstream = Noting(answer=lambda cursor: page)
    outcome = pipeline.run(upstream, AAPL)
    assert asked == [theirs - timedelta(hours=24)]
    assert (outcome.sentiment.count, outcome.sentiment.since) == (1, theirs - timedelta(hours=24))
    assert outcome.as_of == theirs
    again = pipeline.run(upstream, AAPL)
    assert (again.origin, again.age) == ("cache", 0.0)


def test_an_answer_cut_by_the_page_budget_says_how_far_back_it_is_true(pipeline: Pipeline) -> None:
    """A busy symbol has more than we may read; the caller must know."""
    upstream = Upstream(answer=lambda cursor: Page((item(f"{cursor}", hours_ago(1)),), next=f"{cursor}x"))
    outcome = pipeline.run(upstream, AAPL)
    assert len(upstream.sent) == TWITTER.pages
    assert not outcome.complete
    assert outcome.sentiment.reason == "page_budget"
    assert outcome.sentiment.since == pytest.approx(hours_ago(1), abs=timedelta(seconds=5))


def test_an_answer_cut_by_the_limit_is_kept_as_far_as_it_came(pipeline: Pipeline) -> None:
    """What was paid for is used."""
    source = replace(TWITTER, limits=(Limit(1, 60.0),))
    upstream = Upstream(source, lambda cursor: Page((item(f"{cursor}", hours_ago(1)),), next="more"))
    outcome = pipeline.run(upstream, AAPL)
    assert (outcome.origin, outcome.sentiment.reason, len(upstream.sent)) == ("live", "rate_limit", 1)


def test_an_answer_whose_second_page_fails_is_kept_as_far_as_it_came(pipeline: Pipeline) -> None:
    """And the refusal still closes the source."""

    def answer(cursor: str | None) -> Page:
        if cursor:
            raise UpstreamThrottled("twitter", "slow down", status=429, retry_at=hours_ago(-1))
        return Page((item("1", hours_ago(1)),), next="more")

    outcome = pipeline.run(Upstream(answer=answer), AAPL)
    assert outcome.sentiment.reason == "throttled"
    with pytest.raises(RateLimited, match="slow down"):
        pipeline.run(Upstream(), FetchRequest("twitter", "MSFT"), patience=0)


def test_a_plan_that_delays_its_items_is_no_neutral_answer(pipeline: Pipeline) -> None:
    """Silence by construction must not read as calm."""
    source = replace(TWITTER, delay_hours=24.0)
    outcome = pipeline.run(Upstream(source, lambda cursor: Page(())), AAPL)
    assert (outcome.complete, outcome.sentiment.reason, outcome.sentiment.score) == (
        False,
        "plan_delay",
        None,
    )


def test_an_upstream_error_reaches_the_caller_and_is_remembered(pipeline: Pipeline) -> None:
    """The second caller gets the same word without a second request."""

    def down(cursor: str | None) -> Page:
        raise UpstreamUnavailable("twitter", "on fire", status=503)

    upstream = Upstream(answer=down)
    for _ in range(2):
        with pytest.raises(UpstreamUnavailable, match="on fire") as caught:
            pipeline.run(upstream, AAPL)
        assert caught.value.status == 503
    assert len(upstream.sent) == 1


def test_a_failed_refresh_serves_the_old_answer_with_its_reason(pipeline: Pipeline) -> None:
    """Stale and said so beats nothing."""
    source = replace(TWITTER, cache_ttl=0.01)
    pipeline.run(Upstream(source), AAPL)

    def down(cursor: str | None) -> Page:
        raise UpstreamUnavailable("twitter", "on fire", status=503)

    failing = Upstream(source, down)

    def reason() -> Outcome | None:
        outcome = pipeline.run(failing, AAPL)
        return outcome if outcome.error else None

    outcome = wait_until(reason)
    assert outcome.origin == "stale"
    assert outcome.error is not None
    assert outcome.error.kind == "unavailable"


def test_nobody_waits_for_a_refresh(pipeline: Pipeline) -> None:
    """Stale while revalidate: the load's latency is seen by no caller."""
    source = replace(TWITTER, cache_ttl=0.5)
    pipeline.run(Upstream(source), AAPL)
    release = threading.Event()

    def slow(cursor: str | None) -> Page:
        release.wait(30)
        return Page((item("2"),))

    upstream = Upstream(source, slow)
    wait_until(lambda: pipeline.run(upstream, AAPL).origin == "stale")
    assert pipeline.run(upstream, AAPL).origin == "stale"
    wait_until(lambda: len(upstream.sent) == 1)
    release.set()


@pytest.mark.parametrize("options", [{"lane": "prewarm"}, {"slot": "of-a-job"}])
def test_who_is_to_refresh_an_answer_loads_it_at_once(
    pipeline: Pipeline, store: Store, options: dict[str, Any]
) -> None:
    """In the background, a job would be over, and its worker may end, before anything is loaded."""
    upstream = Upstream()
    pipeline.run(upstream, AAPL)
    grow_old(store, KNOWN, 0.9 * TWITTER.cache_ttl)
    assert pipeline.run(upstream, AAPL, **options).origin == "live"


def test_who_asks_seldom_is_given_no_answer_of_the_last_time(pipeline: Pipeline, store: Store) -> None:
    """A bot that runs once an hour would always trade on the answer of an hour ago."""
    upstream = Upstream()
    pipeline.run(upstream, AAPL)
    grow_old(store, KNOWN, 0.9 * TWITTER.cache_ttl)
    assert pipeline.run(upstream, AAPL).origin == "stale"
    wait_until(lambda: pipeline.run(upstream, AAPL).origin == "cache", what="the refresh in the background")
    grow_old(store, KNOWN, 1.1 * TWITTER.cache_ttl)
    assert pipeline.run(upstream, AAPL).origin == "live"
    grow_old(store, KNOWN, 1.1 * TWITTER.cache_ttl)
    assert pipeline.run(upstream, AAPL, patience=0).origin == "stale"
    wait_until(lambda: pipeline.run(upstream, AAPL).origin == "cache", what="the refresh in the background")
    assert len(upstream.sent) == 4


@pytest.mark.parametrize("hours", [AAPL.hours, 2 * AAPL.hours])
def test_who_asks_seldom_waits_for_the_load_of_another(pipeline: Pipeline, store: Store, hours: int) -> None:
    """One load serves both, also one over more hours. The second waits for it within its patience alone."""
    pipeline.run(Upstream(), AAPL)
    grow_old(store, KNOWN, 1.1 * TWITTER.cache_ttl)
    is_sent, release = threading.Event(), threading.Event()

    def slow(cursor: str | None) -> Page:
        is_sent.set()
        release.wait(30)
        return Page((item("2"),))

    upstream = Upstream(answer=slow)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(pipeline.run, upstream, FetchRequest("twitter", "AAPL", hours))
        assert is_sent.wait(30)
        assert pipeline.run(upstream, AAPL, patience=0.01).origin == "stale"
        second = pool.submit(pipeline.run, upstream, AAPL)
        with pytest.raises(TimeoutError):
            second.result(0.05)
        release.set()
        assert (first.result(30).origin, second.result(30).origin) == ("live", "cache")
    assert len(upstream.sent) == 1


def test_who_asks_seldom_is_given_the_old_answer_where_there_is_no_new_one(
    pipeline: Pipeline, store: Store
) -> None:
    """It says why, be that the upstream or a bug of ours; nobody waits for a slot that does not come."""

    def down(cursor: str | None) -> Page:
        raise UpstreamUnavailable("twitter", "on fire", status=503)

    class Broken(Upstream):
        def request(self, fetch: FetchRequest, cursor: str | None, since: datetime) -> HttpRequest:
            raise RuntimeError("a bug")

    pipeline.run(Upstream(), AAPL)
    grow_old(store, KNOWN, 1.1 * TWITTER.cache_ttl)
    for upstream, kind in ((Upstream(answer=down), "unavailable"), (Broken(), "error")):
        for _ in range(2):
            outcome = pipeline.run(upstream, AAPL)
            assert outcome.error is not None
            assert (outcome.origin, outcome.error.kind) == ("stale", kind)
        store.client.unlink(store.keys.lease(AAPL.key))
    outcome = pipeline.run(Upstream(replace(TWITTER, limits=(Limit(1, 3600.0),))), AAPL)
    assert outcome.error is not None
    assert (outcome.origin, outcome.error.kind) == ("stale", "rate_limited")
    assert isinstance(outcome.error.to_error("twitter"), RateLimited)


def test_who_asks_seldom_waits_for_a_slot(pipeline: Pipeline, store: Store) -> None:
    """A bot of more symbols than slots would be given the same old answers of the last ones, for ever."""
    upstream, symbols = Upstream(replace(TWITTER, limits=(Limit(2, 1.0),))), ("AAPL", "MSFT", "GME")
    requests = [FetchRequest("twitter", symbol) for symbol in symbols]
    for request in requests:
        pipeline.run(upstream, request)
    known = [key for request in requests for key in (request.key, request.timeline_key)]
    grow_old(store, known, 1.1 * TWITTER.cache_ttl)
    with ThreadPoolExecutor(3) as pool:
        origins = list(pool.map(lambda request: pipeline.run(upstream, request).origin, requests))
    assert origins == ["live"] * 3


def test_without_redis_who_asks_seldom_waits_for_a_slot_too() -> None:
    """What stands in is as old there, and a slot comes free as well."""
    settings = Settings.load({"REDIS_URL": "redis://127.0.0.1:1/0"})
    store = Store(settings)
    memory = Memory(store)
    pipeline = Pipeline(core(Admission(store, settings, UsageMonitor(store, settings), memory)), Kept)
    upstream = Upstream(replace(TWITTER, limits=(Limit(1, 0.5),), cache_ttl=0.01))
    assert pipeline.run(upstream, AAPL).origin == "live"
    wait_until(lambda: (old := memory.recall(AAPL.key)) is not None and old.fresh_seconds <= -0.01)
    assert pipeline.run(upstream, AAPL, patience=0.01).error is not None
    assert pipeline.run(upstream, AAPL).origin == "live"
    store.close()


def test_a_quota_closes_the_source_until_it_resets(pipeline: Pipeline) -> None:
    """A quota is no window: it is not asked again."""

    def spent(cursor: str | None) -> Page:
        raise UpstreamQuotaExhausted("twitter", "monthly cap", status=429, until=hours_ago(-200))

    upstream = Upstream(answer=spent)
    with pytest.raises(UpstreamQuotaExhausted):
        pipeline.run(upstream, AAPL)
    for symbol in ("AAPL", "MSFT"):
        with pytest.raises(RateLimited, match="monthly cap"):
            pipeline.run(upstream, FetchRequest("twitter", symbol))
    assert len(upstream.sent) == 1


@pytest.mark.parametrize(
    ("named", "wait"),
    [(datetime(2100, 1, 1, tzinfo=UTC), timedelta(days=1)), (datetime(1970, 1, 1, tzinfo=UTC), None)],
    ids=["in many years", "long ago"],
)
def test_who_asked_is_told_no_moment_that_the_closure_does_not_go_by(
    pipeline: Pipeline, named: datetime, wait: timedelta | None
) -> None:
    """A bot sleeps until ``error.retry_at``, and a queued job is put off until then."""

    def refuse(cursor: str | None) -> Page:
        raise UpstreamThrottled("twitter", "slow down", status=429, retry_at=named)

    with pytest.raises(UpstreamThrottled) as caught:
        pipeline.run(Upstream(answer=refuse), AAPL)
    said = caught.value.retry_at
    assert said is None if wait is None else said == pytest.approx(utc_now() + wait, abs=timedelta(minutes=1))
    with pytest.raises(RateLimited) as closed:
        pipeline.run(Upstream(), FetchRequest("twitter", "MSFT"), patience=0)
    assert wait is None or closed.value.retry_at == pytest.approx(said, abs=timedelta(minutes=1))
    assert ("later than its limits can mean" in closed.value.reason) == (wait is not None)


def test_an_upstream_that_is_down_until_a_moment_is_closed_until_then(pipeline: Pipeline) -> None:
    """It said so to one symbol and means every request; one that is merely down may answer the next."""
    until = utc_now() + timedelta(seconds=40)

    def down(cursor: str | None) -> Page:
        raise UpstreamUnavailable("twitter", "maintenance", status=503, retry_at=until)

    with pytest.raises(UpstreamUnavailable):
        pipeline.run(Upstream(answer=down), AAPL)
    with pytest.raises(RateLimited, match="maintenance") as caught:
        pipeline.run(Upstream(), FetchRequest("twitter", "MSFT"), patience=0)
    assert 20 < caught.value.retry_after < 41


def test_a_spent_budget_has_its_own_error(pipeline: Pipeline) -> None:
    """The caller can tell money from speed."""
    source = replace(TWITTER, price=Price(per_request=0.5), daily_budget=0.5)
    upstream = Upstream(source)
    pipeline.run(upstream, AAPL)
    with pytest.raises(BudgetExhausted):
        pipeline.run(upstream, FetchRequest("twitter", "MSFT"))


def test_a_short_wait_is_waited_and_a_long_one_refused_at_once(pipeline: Pipeline) -> None:
    """A caller's patience is the caller's to give."""
    source = replace(TWITTER, limits=(Limit(1, 0.3),))
    upstream = Upstream(source)
    pipeline.run(upstream, AAPL)
    with pytest.raises(RateLimited):
        pipeline.run(upstream, FetchRequest("twitter", "MSFT"), patience=0.0)
    assert pipeline.run(upstream, FetchRequest("twitter", "MSFT"), patience=5.0).origin == "live"


def test_many_callers_of_a_cold_key_make_one_load(pipeline: Pipeline) -> None:
    """However many ask."""
    gate = threading.Barrier(9)

    def slow(cursor: str | None) -> Page:
        return Page((item("1"),))

    upstream = Upstream(answer=slow)
    origins: list[str] = []

    def call() -> None:
        gate.wait()
        origins.append(pipeline.run(upstream, AAPL).origin)

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    gate.wait()
    for thread in threads:
        thread.join()
    assert sorted(origins) == ["cache"] * 7 + ["live"]
    assert len(upstream.sent) == 1


def test_a_bug_in_a_parser_frees_the_key(pipeline: Pipeline, store: Store) -> None:
    """A crash of ours must not leave a lease that blocks everyone else."""

    def crash(cursor: str | None) -> Page:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        pipeline.run(Upstream(answer=crash), AAPL)
    assert store.client.hget(store.keys.lease(AAPL.key), "token") is None


@pytest.mark.one_driver
@pytest.mark.parametrize("is_away", [False, True])
@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, TimeLimitExceeded])
def test_who_waits_for_an_interrupted_load_loads_instead(
    pipeline: Pipeline,
    store: Store,
    store_for: Callable[..., Store],
    server: Server,
    settings: Settings,
    interrupt: type[BaseException],
    is_away: bool,
) -> None:
    """Ctrl-C in one shell is no failure of the upstream, and its request may have gone out."""
    other = pipeline
    if is_away:
        store.breaker.reason = "pulled"
    else:
        far = store_for(server)
        other = Pipeline(core(Admission(far, settings, UsageMonitor(far, settings))))
    is_sent, has_joined = threading.Event(), threading.Event()
    wait_for = other.admission.wait_for

    async def wait(join: Join, source: str, seconds: float) -> None:
        has_joined.set()
        await wait_for(join, source, seconds)

    other.admission.wait_for = wait  # type: ignore[method-assign]

    def broken_off(cursor: str | None) -> Page:
        is_sent.set()
        assert has_joined.wait(30)
        raise interrupt

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(pipeline.run, Upstream(answer=broken_off), AAPL)
        assert is_sent.wait(30)
        second = pool.submit(other.run, Upstream(), AAPL)
        assert isinstance(first.exception(5), interrupt)
        assert second.result(30).origin == "live"
    window = limiter_of(store).process_window("twitter")
    held = [stamp for stamp in window._stamps.values() if stamp > time.monotonic()]
    assert len(held) == 1
    if not is_away:
        assert store.client.zcount(store.keys.slots("twitter"), time.time() * 1e6, "+inf") == 1


def hear_all(layer: Memory, store: Store) -> None:
    """Wait until all changes until now are heard of, as what is read afterwards would be dropped for them."""
    assert layer.put("last", "", 60.0, layer.begin("last"), 1)
    store.client.set(store.keys.entry("last"), b"", ex=60)
    wait_until(lambda: layer.get("last") is MISSING, what="hearing of the last change")


@pytest.mark.one_server
def test_an_answer_this_process_knows_stands_in_while_redis_is_away(
    private_server: Server, settings_for: Callable[..., Settings], kept: Kept
) -> None:
    """What is fresh for minutes more costs no request because Redis went; with its return that ends."""
    settings = settings_for(private_server)
    store = Store(settings)
    layer = Memory(store, 1 << 20, is_tracking=True)
    admission = Admission(store, settings, UsageMonitor(store, settings), layer)
    pipeline = Pipeline(core(admission), lambda: kept)  # type: ignore[arg-type, return-value]
    upstream = Upstream(replace(TWITTER, limits=(Limit(50, 60.0),)))
    symbols = [FetchRequest("twitter", symbol) for symbol in ("AAPL", "MSFT", "GME", "TSLA")]
    for request in symbols:
        pipeline.run(upstream, request)
    wait_until(lambda: layer.is_on, what="the layer's being on")
    hear_all(layer, store)
    assert {pipeline.run(upstream, request).origin for request in symbols} == {"cache"}
    private_server.kill()
    wait_until(lambda: not layer.is_on, what="noticing the kill")
    outcomes = [pipeline.run(upstream, request) for request in symbols]
    assert [(one.origin, one.error) for one in outcomes] == [("stale", None)] * 4
    assert pipeline.run(upstream, AAPL, lane="prewarm", needed=60.0).origin == "stale"
    assert len(upstream.sent) == 4
    # Expiring sooner than wanted, it is fetched alone; what that brings goes before what was kept.
    assert pipeline.run(upstream, AAPL, lane="prewarm", needed=301.0).origin == "live"
    assert pipeline.run(upstream, AAPL).origin == "cache"
    assert pipeline.run(upstream, symbols[1]).origin == "stale"
    private_server.start()
    wait_until(lambda: store.is_available, what="coming back")
    assert pipeline.run(upstream, symbols[2]).origin == "live"
    layer.close()
    store.close()


@pytest.mark.one_driver
def test_an_interrupted_ask_leaves_neither_lease_nor_slot(
    pipeline: Pipeline, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis may have granted what nobody hears of; nothing was sent, so nothing is to be waited for."""
    run = store.ask

    async def broken_off(script: Any, call: Any) -> Any:
        answer = await run(script, call)
        if script.name == "admit":
            raise KeyboardInterrupt
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(store, "ask", broken_off)
        with pytest.raises(KeyboardInterrupt):
            pipeline.run(Upstream(), AAPL)
    assert not store.client.exists(store.keys.lease(AAPL.key))
    assert store.client.zcard(store.keys.slots("twitter")) == 0
    assert pipeline.run(Upstream(), AAPL, patience=0).origin == "live"


@pytest.mark.one_driver
def test_an_interrupted_ask_is_taken_back_once_redis_is_there(
    admission: Admission, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It went away at that very moment: until its lease ends everybody else would wait for nobody."""
    run = store.ask

    async def broken_off(script: Any, call: Any) -> Any:
        answer = await run(script, call)
        if script.name == "admit":
            store.breaker.reason = "away"
            raise KeyboardInterrupt
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(store, "ask", broken_off)
        with pytest.raises(KeyboardInterrupt):
            admission.admit(ask())
    assert store.client.exists(store.keys.lease(AAPL.key))
    store.breaker.reason = None
    admission._give_back()
    assert not store.client.exists(store.keys.lease(AAPL.key))
    assert store.client.zcard(store.keys.slots("twitter")) == 0


def test_who_waits_for_a_load_that_meets_a_bug_gets_its_name(pipeline: Pipeline) -> None:
    """The same answer would meet the same bug again, and every try costs a slot."""

    def crash(cursor: str | None) -> Page:
        raise ZeroDivisionError

    upstream = Upstream(answer=crash)
    with pytest.raises(ZeroDivisionError):
        pipeline.run(upstream, AAPL)
    with pytest.raises(UpstreamError, match=r"^twitter: the fetch broke off \(ZeroDivisionError\)$"):
        pipeline.run(upstream, AAPL)
    assert len(upstream.sent) == 1


@pytest.mark.one_driver
@pytest.mark.one_server
def test_what_a_request_costs_in_round_trips(
    server: Server, store_for: Callable[..., Store], settings: Settings, kept: Kept
) -> None:
    """The figures of the architecture: 0 from memory, 1 a hit, 2 a fetch, 1 each further page."""
    # On a busy machine a slow answer is no outage.
    store = store_for(server, TBCACHE_REDIS_TIMEOUT="10")
    layer = Memory(store, 1 << 20, is_tracking=True)
    pages = {None: Page((item("1", hours_ago(1)),), next="a"), "a": Page((item("2", hours_ago(30)),))}
    short, long = Upstream(), Upstream(answer=lambda cursor: pages[cursor])
    plain, remembering = (
        Pipeline(core(Admission(store, settings, UsageMonitor(store, settings), one)), lambda: kept)  # type: ignore[arg-type, return-value]
        for one in (None, layer)
    )

    def cost(pipeline: Pipeline, upstream: Upstream, symbol: str) -> int:
        with sending() as sent:
            pipeline.run(upstream, FetchRequest("twitter", symbol))
        return len(sent_here(sent))

    # The server gets to know the scripts.
    cost(plain, long, "WARM")
    assert cost(plain, short, "AAPL") == 2
    assert cost(plain, long, "MSFT") == 3
    assert cost(plain, short, "AAPL") == 1
    assert cost(plain, short, "AAPL") == 1
    wait_until(lambda: cost(remembering, short, "AAPL") == 0, what="the answer's being remembered")
    layer.close()


@pytest.mark.one_driver
def test_a_hit_goes_through_few_layers(
    server: Server, store_for: Callable[..., Store], settings: Settings
) -> None:
    """Redis answers sooner than a few dozen calls of Python return: they are what a hit costs."""
    store = store_for(server, TBCACHE_REDIS_TIMEOUT="10")
    pipeline, upstream = Pipeline(core(Admission(store, settings, UsageMonitor(store, settings)))), Upstream()  # type: ignore[arg-type]
    for _ in range(3):
        pipeline.run(upstream, AAPL)
    called: list[str] = []

    def note(frame: Any, event: str, _: object) -> None:
        if event == "call":
            called.append(frame.f_code.co_qualname)

    sys.setprofile(note)
    try:
        found = run(pipeline.find(upstream.source, AAPL))
    finally:
        sys.setprofile(None)
    assert found is not None
    assert len(called) <= 60, called


def test_an_answer_for_the_database_takes_no_further_round_trip(
    pipeline: Pipeline, kept: Kept, server: Server
) -> None:
    """It travels with settle."""
    upstream = Upstream(persist_to_db=True)
    pipeline.run(upstream, AAPL)
    before = server.calls("evalsha")
    pipeline.run(upstream, FetchRequest("twitter", "MSFT"))
    assert server.calls("evalsha") - before == 2
    assert kept.nudges == 2


def test_an_answer_fetched_while_redis_is_away_goes_to_the_writer(
    pipeline: Pipeline, kept: Kept, store: Store
) -> None:
    """Accepted is accepted, with Redis or without."""
    store.breaker.reason = "pulled"
    pipeline.run(Upstream(persist_to_db=True), AAPL)
    assert [answer.sentiment.symbol for answer in kept.accepted] == ["AAPL"]


@pytest.mark.parametrize("damage", [b"garbage", seal(b'{"x":1}'), seal(b'{"x":' * 5000), b""])
def test_a_damaged_entry_is_fetched_anew(pipeline: Pipeline, store: Store, damage: bytes) -> None:
    """Corrupt bytes in Redis cost one fetch and lose nothing."""
    store.client.set(store.keys.entry(AAPL.key), damage, ex=60)
    assert pipeline.run(Upstream(), AAPL).origin == "live"
    assert pipeline.run(Upstream(), AAPL).origin == "cache"


def test_a_quota_without_a_date_is_looked_at_again_in_an_hour(pipeline: Pipeline) -> None:
    """It does not come back by asking each second."""

    def spent(cursor: str | None) -> Page:
        raise UpstreamQuotaExhausted("twitter", "credits depleted", status=402)

    with pytest.raises(UpstreamQuotaExhausted):
        pipeline.run(Upstream(answer=spent), AAPL)
    with pytest.raises(RateLimited) as caught:
        pipeline.run(Upstream(answer=spent), AAPL)
    assert 3500 < caught.value.retry_after < 3601


def test_a_job_that_a_limit_puts_off_has_not_failed_for_its_caller(pipeline: Pipeline) -> None:
    """The queue asks for it again, up to twice a second: a fleet without an error showed failures."""

    def spent(cursor: str | None) -> Page:
        raise UpstreamQuotaExhausted("twitter", "credits depleted", status=402)

    def failed() -> int:
        assert pipeline.admission._monitor.flush()
        callers = pipeline.admission._monitor.callers
        return sum(asks["failed"] for asks in callers.read("twitter", pipeline.admission.now).values())

    with pytest.raises(UpstreamQuotaExhausted):
        pipeline.run(Upstream(answer=spent), AAPL)
    assert failed() == 1
    with pytest.raises(RateLimited):
        pipeline.run(Upstream(answer=spent), AAPL, slot="job/1")
    assert failed() == 1
    with pytest.raises(RateLimited):
        pipeline.run(Upstream(answer=spent), AAPL)
    assert failed() == 2


def test_what_is_fetched_for_a_job_was_counted_as_it_was_queued(pipeline: Pipeline) -> None:
    """Each ask by `enqueue` would count twice, and be kept warm for half of what that takes."""
    monitor = pipeline.admission._monitor

    def asked() -> dict[str, int]:
        assert monitor.flush()
        return dict(monitor.popularity.most("twitter", 9))

    for _ in range(2):
        pipeline.run(Upstream(), AAPL, slot="")
    assert asked() == {}
    for _ in range(2):
        pipeline.run(Upstream(), AAPL)
    assert asked() == {AAPL.key: 2}


def test_what_a_job_asks_again_was_accepted_as_it_was_queued(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a drained source it was put off as if it were new, once its slot had gone to another's load."""
    asks = list[Ask]()

    async def admit(asked: Ask) -> Verdict:
        asks.append(asked)
        if len(asks) < 3:
            return Wait(0.0, utc_now(), "limit", "why")
        return Failed(Failure("failed", "why", None, None))

    monkeypatch.setattr(pipeline.admission, "admit", admit)
    for slot, later in (("job/1", ""), (None, None)):
        with pytest.raises(UpstreamError):
            pipeline.run(Upstream(), AAPL, slot=slot)
        assert [one.slot for one in asks] == [slot, later, later]
        asks.clear()


def test_a_permit_past_its_deadline_is_given_back_and_asked_for_anew(
    pipeline: Pipeline, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was paused must not send on a slot that others may count as gone."""
    upstream = Upstream()
    grants: list[Grant] = []
    admit = pipeline.admission.admit

    async def paused_once(ask: Ask) -> Verdict:
        verdict = await admit(ask)
        assert isinstance(verdict, Go)
        grants.append(verdict.grant)
        late = msgspec.structs.replace(verdict.grant, send_by=0.0) if len(grants) == 1 else verdict.grant
        return msgspec.structs.replace(verdict, grant=late)

    monkeypatch.setattr(pipeline.admission, "admit", paused_once)
    assert pipeline.run(upstream, AAPL).origin == "live"
    assert (len(grants), len(upstream.sent)) == (2, 1)
    assert store.client.zcard(store.keys.slots("twitter")) == 1
