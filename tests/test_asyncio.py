"""tbcache.asyncio: the names of tbcache, awaited; many tasks, few threads; a cancelled one leaves nothing."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import tbcache
from tbcache import asyncio as awaited
from tbcache.asyncio import (
    cached,
    enqueue,
    get_cache_manager,
    get_provider,
    get_rate_limiter,
    get_symbol,
    get_usage_monitor,
    history,
)
from tbcache.fetch import get_pipeline
from tbcache.io import http_loop, loop
from tbcache.io.command import pack
from tbcache.io.loop import Asyncio
from tbcache.models import RateLimitStatus
from tbcache.models.error import ConfigurationError, InvalidRequest, RateLimited, ResultTimeout, UnknownSource
from tbcache.providers.client import HttpClient
from tbcache.scoring import VoiceRule
from tbcache.store import get_store
from tbcache.testing import RunningSimulator, simulator
from tests.cli.command import clean_environment
from tests.io.conftest import Run
from tests.io.conftest import run as run
from tests.server import Server, wait_until
from tests.task import SECONDS, cancelled, until

#: Of the asyncio driver (calls, work), of the core in the background, and of the loop's own resolver.
MOST_THREADS = 8 + 8 + 4 + 6


@pytest.fixture(scope="module")
def upstream() -> Iterator[RunningSimulator]:
    with simulator() as running:
        yield running


@pytest.fixture(autouse=True)
def _this_process(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """With Redis, on a machine that may be busy."""
    monkeypatch.setenv("REDIS_URL", server.url)
    monkeypatch.setenv("TBCACHE_REDIS_TIMEOUT", "10")
    monkeypatch.setenv("TBCACHE_LEASE_SECONDS", "120")
    yield
    get_pipeline().close()
    tbcache.get_usage_monitor().leave()


@pytest.fixture
def sources(upstream: RunningSimulator, monkeypatch: pytest.MonkeyPatch) -> RunningSimulator:
    """The simulator's five sources, whose figures begin afresh."""
    for name, value in {**upstream.variables, "TBCACHE_STOCKTWITS__PAGES": "1"}.items():
        monkeypatch.setenv(name, value)
    upstream.reset()
    return upstream


def slots(source: str) -> int:
    store = get_store()
    return int(store.client.zcard(store.keys.slots(source)))


# The same names


def test_the_names_are_those_of_the_blocking_api() -> None:
    """Who moves to asyncio changes an import and writes `await`."""
    assert awaited.__all__ == tbcache.__all__
    for name in awaited.__all__:
        ours, theirs = getattr(awaited, name), getattr(tbcache, name)
        if ours is not theirs:
            assert ours.__module__.startswith("tbcache.asyncio.")
            assert ours.__name__ == name
            assert inspect.getdoc(ours)


@pytest.mark.parametrize(
    "name",
    [
        "CacheManager",
        "Handle",
        "Provider",
        "QueuedJob",
        "RateLimiter",
        "UsageMonitor",
        "enqueue",
        "enqueue_many",
    ],
)
def test_what_is_awaited_takes_the_same_arguments(name: str) -> None:
    """And means the same by them: names, order, defaults."""
    ours, theirs = getattr(awaited, name), getattr(tbcache, name)
    if inspect.isfunction(ours):
        assert inspect.signature(ours).parameters == inspect.signature(theirs).parameters
        return
    public = [method for method in vars(ours) if not method.startswith("_")]
    methods = [method for method in public if inspect.isfunction(getattr(ours, method))]
    assert methods
    for method in methods:
        found, expected = (inspect.signature(getattr(one, method)).parameters for one in (ours, theirs))
        if method == "get_or_load":
            found, expected = ({**one, "loader": None} for one in (found, expected))
        assert found == expected, method


def test_import_of_the_package_loads_nothing_but_itself() -> None:
    """A name that a bot does not use costs it nothing."""
    assert set(dir(awaited)) >= set(awaited.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'get_everything'"):
        awaited.get_everything  # noqa: B018


# Fetching


def test_a_provider_is_awaited(sources: RunningSimulator, run: Run) -> None:
    """What the seed's `get_sentiment` gives, without holding up the loop."""

    async def main() -> None:
        provider = get_provider("stocktwits")
        live = await provider.fetch("AAPL")
        kept = await provider.fetch("AAPL")
        assert (live.origin, kept.origin) == ("live", "cache")
        assert await provider.get_sentiment("AAPL") == live.sentiment
        assert tbcache.get_provider("stocktwits").get_sentiment("AAPL") == live.sentiment
        with pytest.raises(InvalidRequest):
            await provider.fetch("no ticker")

    run(main())
    assert sources.stats()["stocktwits"]["accepted"] == 1


def test_what_is_given_from_memory_was_asked_for_as_well(sources: RunningSimulator, run: Run) -> None:
    """Else the answers that bots ask for most would not be kept warm."""
    monitor = tbcache.get_usage_monitor()

    async def main() -> None:
        provider = get_provider("news")
        await provider.fetch("AAPL")
        for _ in range(3):
            assert await provider.get_sentiment("AAPL")

    run(main())
    monitor.flush()
    assert dict(monitor.popularity.most("news", 9)) == {"news:AAPL:24": 4}


def test_what_is_queued_was_asked_for_as_well(sources: RunningSimulator, run: Run) -> None:
    """A bot that has workers ask is a bot that asks."""
    monitor = tbcache.get_usage_monitor()

    async def main() -> None:
        await get_provider("reddit").fetch("AAPL")
        for symbol, states in (("AAPL", ["hit", "hit"]), ("MSFT", ["queued", "joined"])):
            jobs = await enqueue("reddit", symbol), tbcache.enqueue("reddit", symbol)
            assert [job.state for job in jobs] == states

    run(main())
    monitor.flush()
    assert dict(monitor.popularity.most("reddit", 9)) == {"reddit:AAPL:24": 3, "reddit:MSFT:24": 2}


def test_an_answer_that_covers_too_little_is_none(sources: RunningSimulator, run: Run) -> None:
    """A bot that trades on a day must not be given an hour for it."""
    blocking = tbcache.get_provider("stocktwits")
    found = blocking.fetch("NVDA").sentiment
    assert 0 < found.coverage < 0.9

    async def main() -> None:
        provider = get_provider("stocktwits")
        assert await provider.get_sentiment("NVDA", min_coverage=0.9) is None
        assert await provider.get_sentiment("NVDA", min_coverage=found.coverage) == found
        with pytest.raises(InvalidRequest, match="min_coverage 2"):
            await provider.get_sentiment("NVDA", min_coverage=2)

    run(main())
    assert blocking.get_sentiment("NVDA", min_coverage=0.9) is None
    assert blocking.get_sentiment("NVDA", min_coverage=found.coverage) == found
    with pytest.raises(InvalidRequest, match="min_coverage -1"):
        blocking.get_sentiment("NVDA", min_coverage=-1)


def test_rules_of_ones_own_make_answers_of_their_own(sources: RunningSimulator, run: Run) -> None:
    """One bot's experiment was the answer of all bots, and theirs was its."""
    plain = tbcache.get_provider("reddit")
    mine = type(plain)(plain.source, plain.settings)
    mine.voices = (*plain.voices, VoiceRule("robot", lambda voices: [0.0] * len(voices)))
    for first, second in (plain, mine), (mine, plain):
        asked = [provider.fetch("GME", hours=6) for provider in (first, second, first, second)]
        assert [outcome.origin for outcome in asked] == ["live", "cache", "cache", "cache"]
        for outcome, provider in zip(asked, (first, second, first, second), strict=True):
            is_mine = provider is mine
            assert ("robot" in outcome.sentiment.dropped, outcome.sentiment.score is None) == (
                is_mine,
                is_mine,
            )
            assert provider.get_sentiment("GME", hours=6) == outcome.sentiment
        assert tbcache.get_cache_manager().clear_pattern("reddit:GME:*") >= 2
    assert run(get_provider("reddit").get_sentiment("GME", hours=6)) is not None


def test_a_rule_without_a_name_is_named(sources: RunningSimulator) -> None:
    """A function in the place of a rule ended in an AttributeError that said nothing of rules."""
    plain = tbcache.get_provider("reddit")
    mine = type(plain)(plain.source, plain.settings)
    mine.voices = (*plain.voices, len)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="<built-in function len> is no voice rule: give it a name"):
        mine.fetch("GME", hours=6)


def test_a_scorer_of_ones_own_makes_answers_of_its_own(sources: RunningSimulator) -> None:
    """One bot's experiment was the answer of all bots, and theirs was its."""

    class Mine:
        name, version = "mine", "1"

        def score(self, texts: list[str]) -> list[float]:
            return [1.0] * len(texts)

    plain = tbcache.get_provider("reddit")
    mine, same = (type(plain)(plain.source, plain.settings) for _ in range(2))
    mine.analyzer, same.analyzer = Mine(), type(plain.analyzer)()  # type: ignore[call-arg]
    found = {provider: provider.fetch("GME", hours=6) for provider in (mine, plain, same)}
    assert [outcome.origin for outcome in found.values()] == ["live", "cache", "cache"]
    assert found[mine].sentiment.score == 1.0
    assert found[plain].sentiment.scorer == found[same].sentiment.scorer != "mine/1"
    assert found[plain].sentiment == found[same].sentiment
    for provider in (plain, mine):
        assert provider.get_sentiment("GME", hours=6) == found[provider].sentiment
    # The past is that of whoever asks as well, though it was the one that loaded.
    at = datetime.now(UTC)
    wait_until(lambda: plain.get_sentiment("GME", hours=6, as_of=at) is not None, 20)
    for provider in (plain, mine):
        assert provider.get_sentiment("GME", hours=6, as_of=at) == found[provider].sentiment
    # A worker that has one answers jobs as everybody asks for them.
    request = plain.source.request("GME", 6)
    job = mine.run(request, lane="prewarm", slot="", needed=1000.0)
    assert job.sentiment.scorer == plain.fetch("GME", hours=6).sentiment.scorer == "mine/1"


def test_a_symbol_is_asked_of_all_sources_that_are_on(sources: RunningSimulator, run: Run) -> None:
    """One figure for a bot, and what it is made of for its owner."""
    found = tbcache.get_symbol("AAPL")
    parts = {part.source: part for part in found.parts}
    assert len(parts) > 1
    assert all(part.sentiment is not None for part in parts.values())
    assert found.score is not None
    assert 0 < found.confidence < 1

    async def main() -> None:
        again = await get_symbol("aapl", sources=["stocktwits", "stocktwits"], min_coverage=0.01)
        assert [part.share for part in again.parts] == [1.0]
        assert again.score == parts["stocktwits"].sentiment.score  # type: ignore[union-attr]
        thin = await get_symbol("NVDA", sources=["stocktwits"], min_coverage=1)
        assert thin.score is None
        assert "of 24 hours are known" in (thin.parts[0].missing or "")
        for wrong in ({"symbol": "no ticker"}, {"symbol": "AAPL", "hours": 0}):
            with pytest.raises(InvalidRequest):
                await get_symbol(**wrong)  # type: ignore[arg-type]
        with pytest.raises(UnknownSource, match="stocktwits"):
            await get_symbol("AAPL", sources=["stocktwit"])

    run(main())
    accepted = sources.stats()["stocktwits"]["accepted"]
    tbcache.get_symbol("AAPL", sources=["stocktwits"])
    assert sources.stats()["stocktwits"]["accepted"] == accepted


def test_what_was_answered_is_answered_for_its_moment(sources: RunningSimulator, run: Run) -> None:
    """A backtest asks for the past what a bot was told then."""
    provider = tbcache.get_provider("stocktwits")
    before = datetime.now(UTC)
    day, hour = provider.fetch("AAPL").sentiment, provider.fetch("AAPL", 1).sentiment

    def then(hours: int, as_of: datetime) -> tbcache.SymbolSentiment | None:
        return provider.get_sentiment("AAPL", hours, as_of=as_of)

    # They go to the database in the background.
    wait_until(lambda: [then(24, day.as_of), then(1, hour.as_of)] == [day, hour], 30)
    assert then(24, before) is None

    async def main() -> None:
        assert await get_provider("stocktwits").get_sentiment("AAPL", as_of=day.as_of) == day
        together = await get_symbol("AAPL", sources=["stocktwits", "twitter"], as_of=day.as_of)
        assert together == tbcache.get_symbol("AAPL", sources=["stocktwits", "twitter"], as_of=day.as_of)
        assert (together.score, together.as_of) == (day.score, day.as_of)
        assert [part.sentiment for part in together.parts] == [day, None]
        assert together.parts[1].missing == "nothing was known then"
        later = day.as_of + timedelta(seconds=1)
        thin = await get_symbol("AAPL", sources=["stocktwits"], min_coverage=1, as_of=later)
        assert "of 24 hours are known" in (thin.parts[0].missing or "")
        found = await history("AAPL", "stocktwits", day.as_of - timedelta(hours=1), day.as_of, 3600)
        assert [point.sentiment for point in found] == [None, day]
        with pytest.raises(InvalidRequest, match="needs a zone"):
            await get_provider("stocktwits").get_sentiment("AAPL", as_of=datetime.now())

    run(main())
    found = tbcache.history("AAPL", "stocktwits", day.as_of, day.as_of + timedelta(minutes=1), 60, hours=24)
    assert found[0].sentiment == day


def test_a_backfill_is_awaited(sources: RunningSimulator, run: Run) -> None:
    """It was there behind `.blocking` alone, and all tasks stood still for as long as it took."""
    since, pages = datetime.now(UTC) - timedelta(hours=2), list[int]()

    async def main() -> None:
        def on_page(items: int, since: datetime | None) -> None:
            pages.append(items)

        filling = asyncio.create_task(get_provider("reddit").backfill("NVDA", since, on_page=on_page))
        await asyncio.sleep(0)
        assert not filling.done()
        assert await filling is None

    run(main())
    assert pages
    assert tbcache.get_provider("reddit").backfill("NVDA", since) is None


def test_an_unknown_source_is_named() -> None:
    """A typing error is found where it is made."""
    with pytest.raises(UnknownSource, match="twitter"):
        get_provider("twiter")


@pytest.mark.parametrize("tool", ["analyzer", "voices"])
def test_a_tool_that_is_set_where_it_changes_nothing_is_refused(tool: str) -> None:
    """Who gave a bot a scorer of his own went on trading by ours."""
    with pytest.raises(AttributeError, match=rf"provider\.blocking\.{tool} = "):
        setattr(get_provider("twitter"), tool, ())
    given = tbcache.get_provider("reddit").voices
    assert get_provider("reddit").blocking.voices is given


def test_a_thousand_tasks_are_one_load_a_symbol_over_a_few_threads(
    sources: RunningSimulator, server: Server, run: Run
) -> None:
    """What a bot asks for at the opening bell: no stampede, no thread or socket for each."""
    symbols, before = [f"SY{chr(65 + n)}" for n in range(20)], threading.active_count()
    most = 0

    async def ask(symbol: str) -> str:
        nonlocal most
        outcome = await get_provider("stocktwits").fetch(symbol)
        most = max(most, threading.active_count())
        return outcome.request.symbol

    async def main() -> list[str]:
        connected = server.connections()
        found = await asyncio.gather(*(ask(symbols[n % 20]) for n in range(1000)))
        assert len(server.connections() - connected) < MOST_THREADS
        return found

    assert run(main()) == symbols * 50
    assert sources.stats()["stocktwits"]["accepted"] == 20
    assert most - before <= MOST_THREADS


def test_a_fetch_is_two_round_trips_and_a_hit_one(
    monkeypatch: pytest.MonkeyPatch, sources: RunningSimulator
) -> None:
    """As in the blocking way: what a bot waits for is the network."""
    monkeypatch.setenv("TBCACHE_LOCAL_CACHE_BYTES", "0")
    sent = []
    call = Asyncio.call

    async def counted(driver: Asyncio, server: Any, command: Any) -> Any:
        sent.append(str(command[0]))
        return await call(driver, server, command)

    monkeypatch.setattr(Asyncio, "call", counted)

    async def cost(symbol: str) -> list[str]:
        sent.clear()
        await get_provider("stocktwits").fetch(symbol)
        return sent.copy()

    async def main() -> list[list[str]]:
        return [await cost(symbol) for symbol in (f"SY{letter}" for letter in "AABBCCDDEE")]

    costs = asyncio.run(main())
    # The first makes the process known as well, and so does one on a machine that stood still.
    assert min(costs[::2], key=len) == ["EVALSHA", "EVALSHA"]
    assert min(len(hit) for hit in costs[1::2]) == 1


def test_a_hit_that_is_asked_for_again_is_not_packed_again(
    monkeypatch: pytest.MonkeyPatch, sources: RunningSimulator
) -> None:
    """Of many tasks that want what is cached, each pays for its packing otherwise."""
    monkeypatch.setenv("TBCACHE_LOCAL_CACHE_BYTES", "0")
    packed = []

    def noted(command: Any) -> bytes:
        bytes_ = pack(command)
        if command[0] == "MGET":
            packed.append(bytes_)
        return bytes_

    monkeypatch.setattr(loop, "pack", noted)

    async def main() -> None:
        for _ in range(5):
            await get_provider("stocktwits").fetch("AAPL")

    asyncio.run(main())
    assert len(packed) >= 2
    assert packed[-1] is packed[-2]


def test_a_fetch_that_is_cancelled_leaves_neither_slot_nor_lease(
    monkeypatch: pytest.MonkeyPatch, sources: RunningSimulator, run: Run
) -> None:
    """The next who asks is neither refused nor kept waiting."""
    monkeypatch.setenv("TBCACHE_STOCKTWITS__LIMITS", "1/1m")
    key = get_provider("stocktwits").blocking.source.request("MSFT", 24).key
    store = get_store()

    def is_leased() -> bool:
        return bool(store.client.hget(store.keys.lease(key), "token"))

    async def main() -> None:
        provider = get_provider("stocktwits")
        await provider.fetch("AAPL")
        waiting = asyncio.create_task(provider.fetch("MSFT", patience=100.0))
        await until(lambda: slots("stocktwits") == 2 and is_leased(), "a slot being promised")
        await cancelled(waiting)
        await until(lambda: slots("stocktwits") == 1 and not is_leased(), "its being given back")

    run(main())


def test_a_loop_that_ends_gives_back_what_its_tasks_had(
    monkeypatch: pytest.MonkeyPatch, sources: RunningSimulator, server: Server, run: Run
) -> None:
    """Ctrl-C in the middle costs nobody a window."""
    monkeypatch.setenv("TBCACHE_STOCKTWITS__LIMITS", "1/1m")
    get_store().check()
    before = server.connections()

    async def main() -> None:
        provider = get_provider("stocktwits")
        await provider.fetch("AAPL")
        asyncio.create_task(provider.fetch("MSFT", patience=100.0))  # noqa: RUF006 -- its end is the test
        await until(lambda: slots("stocktwits") == 2, "a slot being promised")

    run(main())
    assert slots("stocktwits") == 1
    # One for the counting above, and one for the thread of the heartbeats.
    wait_until(lambda: len(server.connections() - before) <= 4, 20, "the end of the loop's connections")


# The cache


def test_the_cache_manager_is_awaited_and_shared_with_the_blocking_one(run: Run) -> None:
    """Half a program may have moved."""

    async def main() -> None:
        cache = get_cache_manager()
        assert await cache.set("quote:AAPL", {"price": 1.5}, ttl=60)
        assert await cache.get("quote:AAPL") == {"price": 1.5}
        assert tbcache.get_cache_manager().get("quote:AAPL") == {"price": 1.5}
        assert await cache.exists("quote:AAPL")
        assert await cache.get_ttl("quote:AAPL") == 60
        assert await cache.delete("quote:AAPL")
        assert await cache.get("quote:AAPL", "nothing") == "nothing"
        await cache.set("quote:MSFT", 1)
        assert await cache.clear_pattern("quote:*") == 1
        assert (await cache.status()).is_available

    run(main())


def test_one_load_serves_a_thousand_tasks(run: Run) -> None:
    """And those that want another key are not kept waiting by it."""
    calls = []

    async def load(key: str) -> str:
        calls.append(key)
        await asyncio.sleep(0.01)
        return key

    async def main() -> list[str]:
        cache = get_cache_manager()
        return await asyncio.gather(
            *(cache.get_or_load(f"k{n % 10}", lambda n=n: load(f"k{n % 10}")) for n in range(1000))
        )

    assert run(main()) == [f"k{n % 10}" for n in range(1000)]
    assert sorted(calls) == [f"k{n}" for n in range(10)]


def test_a_loader_that_is_not_async_is_named(run: Run) -> None:
    """Who comes from the blocking API is told what to change, and nothing is kept, nor loading any more."""

    async def main() -> None:
        cache, plain = get_cache_manager(), lambda: 5
        with pytest.raises(TypeError, match=r"<lambda>.* is not async: what it returns cannot be awaited"):
            await cache.get_or_load("plain", plain)  # type: ignore[arg-type]
        assert await cache.get_or_load("plain", lambda: asyncio.sleep(0, 6)) == 6

    run(main())


def test_an_async_function_is_cached(run: Run) -> None:
    """By its arguments, as a plain one is; a plain one is not for here."""
    calls = []

    @cached(ttl=60, key_prefix="quote")
    async def quote(symbol: str, currency: str = "USD") -> float:
        calls.append(symbol)
        return 1.5

    async def main() -> None:
        assert await quote("AAPL") == await quote("AAPL", "USD") == 1.5
        assert await quote.invalidate("AAPL")
        await quote("AAPL")

    run(main())
    assert calls == ["AAPL", "AAPL"]
    assert cached(quote.__wrapped__).cache_key("AAPL") == cached()(quote.__wrapped__).cache_key("AAPL")
    with pytest.raises(TypeError, match="not async"):
        cached(len)  # type: ignore[arg-type]


# Limits


def test_a_limiter_is_awaited_over_the_slots_of_all(run: Run) -> None:
    """Requests of a bot's own, blocking or not, never exceed the limit together."""
    said = {"limit": 3, "window_seconds": 60}

    async def main() -> None:
        limiter = get_rate_limiter("my_exchange")
        assert (await limiter.check_rate_limit(**said))[0]
        assert (await limiter.wait_if_needed(**said)).used == 2
        assert tbcache.get_rate_limiter("my_exchange").check_rate_limit(**said)[0]
        allowed, status = await limiter.check_rate_limit(**said)
        assert (allowed, status.used, (await limiter.get_status(**said)).used) == (False, 3, 3)
        with pytest.raises(RateLimited):
            await limiter.wait_if_needed(**said, max_wait=0.1)
        await limiter.reset()
        assert (await limiter.get_status(**said)).used == 0

    run(main())


def test_a_slot_and_a_value_that_is_forgotten_need_no_thread(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fleet knows the process after the first; a thread for each of thousands would be the cost of it."""
    quotes = tbcache.source("my_quotes", limits="1000/1m", ttl=60)

    @quotes.fetcher
    async def quote(symbol: str) -> float:
        return 1.5

    async def main() -> None:
        limiter = get_rate_limiter("my_exchange")
        said = {"limit": 100, "window_seconds": 60}
        await limiter.check_rate_limit(**said)
        await quote("AAPL")
        offloaded: list[Any] = []
        monkeypatch.setattr(Asyncio, "offload", lambda driver, work: offloaded.append(work))
        for _ in range(3):
            assert (await limiter.check_rate_limit(**said))[0]
        assert await quote.invalidate("AAPL")
        assert await quote.peek("AAPL") is None
        assert offloaded == []

    run(main())


def test_the_first_fetch_loads_what_it_needs_beside_the_loop(
    sources: RunningSimulator, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It held the loop for a quarter of a second of computing: what a websocket said meanwhile came late."""
    made: dict[str, int] = {}

    def watched(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def call(*args: Any) -> Any:
            made.setdefault(name, threading.get_ident())
            return real(*args)

        monkeypatch.setattr(owner, name, call)

    watched(HttpClient, "blocking")
    watched(HttpClient, "asyncio")
    watched(http_loop, "_load")

    async def main() -> None:
        assert (await get_provider("news").fetch("AAPL")).origin == "live"
        assert made.keys() == {"blocking", "asyncio", "_load"}
        assert threading.get_ident() not in made.values()

    run(main())


def test_a_slot_is_held_around_a_request(run: Run) -> None:
    """Until the answer is in, however long it takes; then it lasts its window."""

    async def main() -> None:
        limiter = get_rate_limiter("my_exchange")
        async with limiter.slot(limit=1, window_seconds=60) as status:
            assert status.used == 1
            held = _score()
        assert _score() < held

    run(main())


def test_of_a_burst_the_ones_beyond_the_limit_wait_for_slots_that_are_held(run: Run) -> None:
    """By default: a slot that is held leaves its window later than one window after they came."""

    async def main() -> None:
        async def send(number: int) -> int:
            async with get_rate_limiter("my_exchange").slot(limit=1, window_seconds=0.2):
                return number

        assert await asyncio.gather(*(send(number) for number in range(2))) == [0, 1]

    run(main())


def test_a_slot_of_a_task_that_is_cancelled_is_committed(run: Run) -> None:
    """Its request may be out; but the slot is not held for the whole lease."""

    async def main() -> None:
        entered = asyncio.Event()

        async def hold() -> None:
            async with get_rate_limiter("my_exchange").slot(limit=1, window_seconds=60):
                entered.set()
                await asyncio.sleep(SECONDS)

        task = asyncio.create_task(hold())
        await entered.wait()
        held = _score()
        await cancelled(task)
        assert _score() < held

    run(main())


def test_a_slot_in_a_generator_that_is_left_open_ends_with_the_loop(run: Run) -> None:
    """``async for`` with a ``break``: at its end the loop must not stumble over the slot."""
    problems: list[Any] = []
    left: list[Any] = []

    async def pages() -> AsyncIterator[int]:
        async with get_rate_limiter("my_exchange").slot(limit=1, window_seconds=60):
            yield 1

    async def main() -> float:
        asyncio.get_running_loop().set_exception_handler(lambda _, problem: problems.append(problem))
        left.append(pages())
        await anext(left[0])
        return _score()

    held = run(main())
    wait_until(lambda: _score() < held, 20, "the slot's end")
    assert not problems


def test_a_slot_of_a_loop_that_was_just_closed_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its task is collected in the middle of the block, and can await nothing any more."""
    problems: list[Any] = []
    entered: list[RateLimitStatus] = []
    monkeypatch.setattr("sys.unraisablehook", problems.append)
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _, problem: None)

    async def hold() -> None:
        async with get_rate_limiter("my_exchange").slot(limit=1, window_seconds=60) as status:
            entered.append(status)
            await asyncio.sleep(SECONDS)

    def is_over() -> bool:
        # Nothing is collected while another thread collects.
        gc.collect()
        return _score() < held

    holding = [loop.create_task(hold())]
    # Redis has the slot before the block begins.
    loop.run_until_complete(until(lambda: entered, "the slot"))
    held = _score()
    loop.close()
    del loop
    holding.clear()
    wait_until(is_over, 20, "the slot's end")
    assert not problems


def test_a_slot_is_held_around_each_call_of_a_function_and_around_one_block(run: Run) -> None:
    """Two blocks at once would end each other's."""
    slot = get_rate_limiter("my_exchange").slot(limit=5, window_seconds=60)

    @slot
    async def ask() -> int:
        return slots("my_exchange")

    async def main() -> None:
        assert [await ask() for _ in range(2)] == [1, 2]
        async with slot:
            with pytest.raises(RuntimeError, match="one block"):
                async with slot:
                    raise AssertionError("it is held twice")

    run(main())


def test_a_slot_that_one_task_waits_for_is_no_other_tasks(run: Run) -> None:
    """Of two that take it at once one would be held until its time is over."""
    slot = get_rate_limiter("my_exchange").slot(limit=1, window_seconds=60, max_wait=0)

    async def hold() -> str:
        try:
            async with slot:
                await asyncio.sleep(0)
        except RateLimited:
            return "there is none"
        except RuntimeError:
            return "refused"
        return "held"

    async def main() -> None:
        await get_rate_limiter("my_exchange").check_rate_limit(limit=1, window_seconds=60)
        assert await asyncio.gather(hold(), hold()) == ["there is none", "refused"]
        await get_rate_limiter("my_exchange").reset()
        # It may be tried again where there was none.
        assert await asyncio.gather(hold(), hold()) == ["held", "refused"]

    run(main())


def _score() -> float:
    """The stamp of the one slot that is taken."""
    store = get_store()
    ((_, stamp),) = store.client.zrange(store.keys.slots("my_exchange"), 0, -1, withscores=True)
    return float(stamp)


def test_a_task_that_is_cancelled_as_it_waits_for_a_slot_leaves_none(run: Run) -> None:
    """It was promised to it for later, and is somebody else's now."""

    async def main() -> None:
        limiter = get_rate_limiter("my_exchange")
        await limiter.check_rate_limit(limit=1, window_seconds=60)
        waiting = asyncio.create_task(limiter.wait_if_needed(limit=1, window_seconds=60))
        await until(lambda: slots("my_exchange") == 2, "a slot being promised")
        await cancelled(waiting)
        await until(lambda: slots("my_exchange") == 1, "its being given back")

    run(main())


# Figures and jobs


def test_figures_are_counted_and_read(run: Run) -> None:
    """`record_request` asks nobody, so it is no coroutine."""

    async def main() -> None:
        monitor = get_usage_monitor()
        monitor.record_request("my_exchange", cost=0.25)
        await monitor.flush()
        metrics = await monitor.get_source_metrics("my_exchange")
        assert (metrics.requests_today, metrics.cost_today) == (1, 0.25)
        assert "my_exchange" in await monitor.get_source_names()
        assert (await monitor.get_usage_summary())["total_requests_today"] >= 1

    run(main())


def test_a_job_is_queued_and_waited_for(sources: RunningSimulator, run: Run) -> None:
    """Without a worker it does not come, and the loop goes on meanwhile."""

    async def main() -> None:
        first, second = await enqueue("stocktwits", "AAPL"), await enqueue("stocktwits", "AAPL")
        assert (first.is_new, second.is_new, first.job_id) == (True, False, second.job_id)
        assert first.request.symbol == "AAPL"
        ticks = asyncio.create_task(asyncio.sleep(0))
        with pytest.raises(ResultTimeout, match=r"no result within 0\.1 s"):
            await first.result(timeout=0.1)
        assert ticks.done()
        store = get_store()
        waiting = asyncio.create_task(second.result())
        await asyncio.sleep(0)
        store.client.rpush(store.keys.result("stocktwits", first.job_id), b'{"kind":"gone","error":"over"}')
        store.client.expire(store.keys.result("stocktwits", first.job_id), 60)
        with pytest.raises(tbcache.TbcacheError):
            await waiting

    run(main())


# Loops and processes


def test_the_blocking_api_is_used_beside_it_by_threads_and_by_tasks(run: Run) -> None:
    """One process is one member of the fleet, whatever its drivers."""

    async def main() -> None:
        ours, theirs = get_cache_manager(), tbcache.get_cache_manager()
        await ours.set("key", 1)
        assert theirs.get("key") == 1
        assert await asyncio.to_thread(theirs.set, "key", 2)
        assert await ours.get("key") == 2
        assert ours.blocking is theirs

    run(main())


def test_each_loop_of_a_program_works_after_the_other() -> None:
    """A script calls asyncio.run for each of its steps."""
    for n in range(3):
        assert asyncio.run(get_cache_manager().set(f"key{n}", n))
        assert asyncio.run(get_cache_manager().get(f"key{n}")) == n


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # forking beside threads is the point here
def test_a_forked_child_goes_on_with_a_loop_of_its_own() -> None:
    """A server that forks its workers has asked before."""
    cache = get_cache_manager()
    asyncio.run(cache.set("key", 1))
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if asyncio.run(cache.get("key")) == 1 and asyncio.run(cache.set("other", 2)) else 1
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert asyncio.run(cache.get("other")) == 2


def test_without_redis_everything_goes_on_in_memory(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    """No call raises because of Redis."""
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")

    async def main() -> None:
        cache = get_cache_manager()
        await cache.set("key", 1)
        assert await cache.get("key") == 1
        assert (await get_rate_limiter("my_exchange").check_rate_limit(limit=1, window_seconds=60))[0]
        assert not (await cache.status()).is_available

    run(main())


def test_a_loop_goes_on_where_the_main_thread_has_ended(server: Server) -> None:
    """That of another thread, and one that begins at exit. No pool of threads takes any work then, and there
    was no thread to open the first connection in."""
    program = """
import asyncio, atexit, threading, tbcache
quotes = tbcache.source("alphavantage", limits="5/1m")

@quotes.fetcher
async def quote(symbol: str) -> float:
    return 1.5

async def ask(symbol):
    print(await quote.outcome(symbol), flush=True)

def later():
    threading.main_thread().join()
    asyncio.run(ask("AAPL"))

atexit.register(lambda: asyncio.run(ask("MSFT")))
threading.Thread(target=later).start()
"""
    env = clean_environment(REDIS_URL=server.url, TBCACHE_REDIS_TIMEOUT="10")
    done = subprocess.run(
        [sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.count("origin='live'") == 2, done.stdout + done.stderr
