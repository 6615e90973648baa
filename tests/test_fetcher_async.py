"""Async functions as fetchers: the loop goes on, and a cancelled task leaves nothing behind."""

from __future__ import annotations

import asyncio
import inspect
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from traceback import extract_tb
from typing import Any

import pytest

import tbcache
from tbcache import FetcherOutcome, get_cache_manager, get_usage_monitor
from tbcache.admission import Ask, Verdict
from tbcache.cache.core import Cache
from tbcache.fetch import get_pipeline
from tbcache.fetch.function.shared_load import SharedLoads, _SharedLoad
from tbcache.io import run
from tbcache.models.error import AnswerPending, RateLimited, UpstreamError
from tbcache.store import Store, get_store
from tbcache.store.memory import Memory
from tests.kept import grow_old
from tests.server import Server, wait_until
from tests.task import SECONDS, cancelled, until


@pytest.fixture(autouse=True)
def _this_process(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """With Redis, on a machine that may be busy."""
    monkeypatch.setenv("REDIS_URL", server.url)
    monkeypatch.setenv("TBCACHE_REDIS_TIMEOUT", "10")
    yield
    get_pipeline().close()
    get_usage_monitor().leave()


@pytest.fixture
def quotes() -> tbcache.FunctionSource:
    return tbcache.source("alphavantage", limits="20/1m,500/1d", ttl=60)


def left_behind(key: str) -> tuple[bool, int]:
    """Whether the key's lease is held, and how many slots are taken."""
    store = get_store()
    is_held = bool(store.client.hget(store.keys.lease(key), "token"))
    return is_held, int(store.client.zcard(store.keys.slots("alphavantage")))


def quote_cost() -> float:
    """What was billed, today or just before midnight."""
    now, monitor = datetime.now(UTC), get_usage_monitor()
    monitor.flush()
    days = (now, now - timedelta(days=1))
    return sum(monitor.get_source_metrics("alphavantage", day).cost_today for day in days)


async def peek(fetch: Any) -> Any:
    return await fetch.peek("AAPL")


def test_an_async_function_is_awaited_in_its_own_loop(quotes: tbcache.FunctionSource) -> None:
    """Its client belongs to that loop; and all that a sync one can do, it can."""
    loops = []

    @quotes.fetcher
    async def quote(symbol: str) -> float:
        loops.append(asyncio.get_running_loop())
        return 1.5

    async def use() -> None:
        assert await quote("AAPL") == await quote("AAPL") == 1.5
        assert (await quote.outcome("AAPL")).origin == "cache"
        assert await quote.peek("AAPL") == 1.5
        assert await quote.refresh("AAPL") == 1.5
        assert await quote.invalidate("AAPL")
        assert await quote.peek("AAPL") is None
        assert await quote.prewarm(["AAPL", "MSFT"]) == 2
        assert loops == [asyncio.get_running_loop()] * 4

    asyncio.run(use())


def test_an_async_function_is_still_known_as_one(quotes: tbcache.FunctionSource) -> None:
    """Schedulers and web frameworks look before they call."""

    @quotes.fetcher
    async def quote(symbol: str) -> float:
        return 1.5

    is_one = inspect.iscoroutinefunction if sys.version_info >= (3, 12) else asyncio.iscoroutinefunction
    assert is_one(quote)


def test_a_thousand_tasks_that_want_the_same_make_one_call(quotes: tbcache.FunctionSource) -> None:
    """With a handful of threads: what a bot asks for at the opening bell."""
    calls, before = [], threading.active_count()

    @quotes.fetcher
    async def quote(symbol: str) -> list[float]:
        calls.append(threading.active_count())
        return [1.5]

    async def use() -> None:
        found = await asyncio.gather(*(quote("AAPL") for _ in range(1000)))
        assert found == [[1.5]] * 1000

    asyncio.run(use())
    assert len(calls) == 1
    assert calls[0] - before < 16 + 8  # its heartbeats beside them


def test_nobody_changes_what_another_task_gets(quotes: tbcache.FunctionSource) -> None:
    """They share the call. Each bot adds its own last tick to what it was given."""

    @quotes.fetcher
    async def closes(symbol: str) -> list[float]:
        return [1.5]

    async def use(tick: float) -> list[float]:
        found = await closes("AAPL")
        found.append(tick)
        return found

    async def all_of_them() -> list[list[float]]:
        return await asyncio.gather(*map(use, (1.0, 2.0, 3.0)))

    assert asyncio.run(all_of_them()) == [[1.5, 1.0], [1.5, 2.0], [1.5, 3.0]]


@pytest.mark.parametrize("how", ["invalidate", "clear", "another's clear"])
def test_nobody_joins_a_call_from_before_a_removal(
    server: Server, store_for: Callable[..., Store], quotes: tbcache.FunctionSource, how: str
) -> None:
    """The bot knows that the world has changed, says so, and asks again."""
    world, goes_on = ["old"], threading.Event()
    memory = get_cache_manager().memory

    @quotes.fetcher
    async def news(symbol: str) -> str:
        found = world[-1]
        if found == "old":
            await until(goes_on.is_set, "the removal")
        return found

    async def remove() -> None:
        if how == "invalidate":
            await news.invalidate("AAPL")
        elif how == "clear":
            await asyncio.to_thread(get_cache_manager().clear_pattern, "alphavantage:*")
        else:
            store = store_for(server)
            await until(lambda: memory.is_on, "the news of changes")
            before = memory.begin("AAPL")
            await asyncio.to_thread(lambda: run(Cache(store, Memory(store)).clear_pattern("alphavantage:*")))
            await until(lambda: memory.begin("AAPL")[:2] != before[:2], "the news of the clear")

    async def use() -> None:
        first = asyncio.create_task(news("AAPL"))
        await until(lambda: store_for(server).client.exists(get_store().keys.lease(key)), "the load")
        await remove()
        world.append("new")
        assert await news("AAPL") == "new"
        goes_on.set()
        assert await first == "old"
        assert await news("AAPL") == "new"

    key = news.cache_key("AAPL")
    asyncio.run(use())


def test_the_first_calls_of_a_process_share_a_load(quotes: tbcache.FunctionSource) -> None:
    """The server begins to tell of changes as that is under way: who asked after it asked the fleet, and
    got its word for an error of their own function."""
    memory = get_cache_manager().memory

    @quotes.fetcher
    async def quote(symbol: str) -> float:
        await until(lambda: waiting(quote) == 2, "the other task")
        raise ZeroDivisionError

    async def use() -> list[Any]:
        first = asyncio.create_task(quote("AAPL"))
        await until(lambda: memory.is_on, "the news of changes")
        return await asyncio.gather(first, quote("AAPL"), return_exceptions=True)

    assert [type(error) for error in asyncio.run(use())] == [ZeroDivisionError] * 2


def test_who_waits_for_a_call_that_is_cancelled_from_within_makes_it_himself(
    quotes: tbcache.FunctionSource,
) -> None:
    """A task that the function waits for may be cancelled. Those who shared the call were it as well, and a
    server dropped their requests without a word."""
    calls: list[str] = []

    @quotes.fetcher
    async def quote(symbol: str) -> float:
        calls.append(symbol)
        await until(lambda: waiting(quote) == 4 - len(calls), "the other tasks")
        if len(calls) < 3:
            raise asyncio.CancelledError
        return 1.5

    async def use() -> list[Any]:
        return await asyncio.gather(*(quote("AAPL") for _ in range(3)), return_exceptions=True)

    found = asyncio.run(use())
    assert [one for one in found if one == 1.5] == [1.5]
    assert len([one for one in found if isinstance(one, asyncio.CancelledError)]) == 2
    assert len(calls) == 3


def waiting(fetch: Any) -> int:
    """How many tasks wait for loads."""
    return sum(one.waiting for loads in list(fetch._shared._loads.values()) for one in list(loads.values()))


def test_a_call_that_asks_for_itself_is_told_so(quotes: tbcache.FunctionSource) -> None:
    """It waited for itself until its slot was over."""

    @quotes.fetcher
    async def quote(symbol: str) -> float:
        return await quote(symbol)  # type: ignore[no-any-return, misc]

    with pytest.raises(AnswerPending, match="the very call that asks for it is still fetching it"):
        asyncio.run(quote("AAPL"))  # type: ignore[arg-type]


def test_a_task_that_a_load_has_begun_has_its_value(quotes: tbcache.FunctionSource) -> None:
    """A subscriber of the first load outlives that: it was refused, as if the load waited for it."""
    begun: list[asyncio.Task[FetcherOutcome[float]]] = []

    @quotes.fetcher
    async def quote(symbol: str) -> float:
        begun.append(asyncio.create_task(quote.outcome(symbol)))  # type: ignore[arg-type]
        await until(lambda: waiting(quote) == 2, "the task waits for the load")
        return 1.5

    async def use() -> None:
        assert await quote("AAPL") == (await begun[0]).value == 1.5  # type: ignore[misc]

    asyncio.run(use())


def test_two_loops_that_want_the_same_make_one_call(quotes: tbcache.FunctionSource) -> None:
    """Threads with a loop each are one process as much as a fleet is one bot."""
    calls, has_joined = [], threading.Event()
    admission = get_pipeline().admission
    wait_for = admission.wait_for

    async def join(*args: Any) -> None:
        has_joined.set()
        await wait_for(*args)

    admission.wait_for = join  # type: ignore[method-assign]

    @quotes.fetcher
    async def quote(symbol: str) -> float:
        calls.append(symbol)
        await until(has_joined.is_set, "the other's joining")
        return 1.5

    async def call() -> float:
        return await quote("AAPL")

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda _: asyncio.run(call()), range(2))) == [1.5, 1.5]
    assert calls == ["AAPL"]


def test_the_loop_goes_on_while_redis_is_asked(quotes: tbcache.FunctionSource) -> None:
    """Redis may take its time; every other task of the bot must not."""
    admission, has_gone_on = get_pipeline().admission, threading.Event()
    admit = admission.admit

    async def slow(ask: Ask) -> Verdict:
        await until(has_gone_on.is_set, "the loop waits for Redis")
        return await admit(ask)

    admission.admit = slow  # type: ignore[method-assign]

    @quotes.fetcher
    async def quote(symbol: str) -> float:
        return 1.5

    async def use() -> None:
        task = asyncio.ensure_future(quote("AAPL"))
        await asyncio.sleep(0)
        has_gone_on.set()
        assert await task == 1.5

    asyncio.run(use())


def test_a_task_that_is_cancelled_while_it_waits_leaves_neither_slot_nor_lease() -> None:
    """A slot that was promised to it is somebody else's again at once."""
    source = tbcache.source("alphavantage", limits="1/1m")

    @source.fetcher(patience=120.0)
    async def quote(symbol: str) -> float:
        return 1.5

    async def use() -> None:
        await quote("AAPL")
        task = asyncio.ensure_future(quote("MSFT"))
        await until(lambda: left_behind(quote.cache_key("MSFT")) == (True, 2), "a slot being promised")
        await cancelled(task)
        await until(lambda: left_behind(quote.cache_key("MSFT")) == (False, 1), "its being given back")

    asyncio.run(use())


def test_what_is_granted_to_a_task_that_is_gone_is_given_back(quotes: tbcache.FunctionSource) -> None:
    """It was cancelled while Redis was being asked, and the answer finds nobody."""
    store, is_granted = get_store(), threading.Event()
    ask = store.ask

    async def late(script: Any, call: Any) -> Any:
        answer = await ask(script, call)
        if script.name == "admit":
            is_granted.set()
            await asyncio.sleep(3600)
        return answer

    @quotes.fetcher
    async def quote(symbol: str) -> float:
        return 1.5

    async def use() -> None:
        store.ask = late  # type: ignore[method-assign]
        task = asyncio.ensure_future(quote("AAPL"))
        await until(is_granted.is_set, "the answer")
        assert left_behind(quote.cache_key("AAPL")) == (True, 1)
        await cancelled(task)

    asyncio.run(use())
    get_pipeline().close()
    assert left_behind(quote.cache_key("AAPL")) == (False, 0)


def test_a_load_that_is_cancelled_is_another_tasks_to_do(quotes: tbcache.FunctionSource) -> None:
    """Its request may have gone out, so its slot stays held until the lease ends; its lease does not."""
    has_begun = threading.Event()
    ends = []

    @quotes.fetcher
    async def quote(symbol: str) -> float:
        if has_begun.is_set():
            return 1.5
        has_begun.set()
        try:
            await asyncio.sleep(3600)
        finally:
            ends.append("cancelled")
        raise AssertionError

    async def use() -> None:
        task = asyncio.ensure_future(quote("AAPL"))
        await until(has_begun.is_set, "the call")
        await cancelled(task)
        await until(lambda: left_behind(quote.cache_key("AAPL")) == (False, 1), "the lease's end")
        assert await quote("AAPL") == 1.5

    asyncio.run(use())
    assert ends == ["cancelled"]


def test_a_load_that_is_cancelled_at_its_very_end_is_billed_once() -> None:
    """Its value is on its way to Redis, and that goes on all the same."""
    source = tbcache.source("alphavantage", limits="20/1m", cost_per_request=0.25)
    admission, is_settling, may_settle = get_pipeline().admission, threading.Event(), threading.Event()
    settle = admission.settle

    async def late(*args: Any) -> Any:
        is_settling.set()
        await until(may_settle.is_set, "its being let go on")
        return await settle(*args)

    admission.settle = late  # type: ignore[method-assign]

    @source.fetcher
    async def quote(symbol: str) -> float:
        return 1.5

    async def use() -> None:
        task = asyncio.ensure_future(quote("AAPL"))
        await until(is_settling.is_set, "the end of the load")
        task.cancel()
        # What it was about to do next, it does.
        for _ in range(10):
            await asyncio.sleep(0)
        may_settle.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: left_behind(quote.cache_key("AAPL")) == (False, 1), "the lease's end")

    asyncio.run(use())
    get_pipeline().close()
    assert quote_cost() == 0.25
    assert asyncio.run(peek(quote)) == 1.5


def test_a_shared_load_ends_with_the_last_who_waits_for_it(quotes: tbcache.FunctionSource) -> None:
    """One task's timeout is not another's."""
    may_end, calls = threading.Event(), []

    @quotes.fetcher
    async def quote(symbol: str) -> float:
        calls.append(symbol)
        await until(may_end.is_set, "its end")
        return 1.5

    async def use() -> None:
        first, second = asyncio.ensure_future(quote("AAPL")), asyncio.ensure_future(quote("AAPL"))
        await until(lambda: calls, "the call")
        await cancelled(first)
        may_end.set()
        assert await second == 1.5

    asyncio.run(use())
    assert calls == ["AAPL"]


def test_a_call_ends_with_its_slot(monkeypatch: pytest.MonkeyPatch, quotes: tbcache.FunctionSource) -> None:
    """What is sent after that would be known to nobody."""
    monkeypatch.setenv("TBCACHE_LEASE_SECONDS", "1")
    tbcache.get_settings.cache_clear()

    @quotes.fetcher
    async def quote(symbol: str) -> float:
        await asyncio.sleep(3600)
        return 1.5

    with pytest.raises(
        TimeoutError, match=r"quote\(\) was not over within the 0\.\d+ s that its slot may take"
    ):
        asyncio.run(quote("AAPL"))  # type: ignore[arg-type]


def test_a_failure_is_everyones_who_shares_the_call(quotes: tbcache.FunctionSource) -> None:
    """The function ran for them all."""
    calls = []

    @quotes.fetcher
    async def quote(symbol: str) -> float:
        calls.append(symbol)
        raise ZeroDivisionError

    async def use() -> None:
        errors = await asyncio.gather(*(quote("AAPL") for _ in range(3)), return_exceptions=True)
        assert [type(error) for error in errors] == [ZeroDivisionError] * 3
        assert isinstance((await quote.outcome("AAPL")).error, UpstreamError)

    asyncio.run(use())
    assert calls == ["AAPL"]


@pytest.mark.parametrize("kind", [ZeroDivisionError, RateLimited])
def test_those_who_share_a_failure_raise_errors_of_their_own(kind: type[Exception]) -> None:
    """An error collects the traces and notes of all who raise it: 1,000 tasks made 4,000 frames of one."""
    source = tbcache.source("failing", limits="1/1m")

    @source.fetcher(patience=0.0)
    async def quote(symbol: str) -> float:
        return 1 / (symbol != "AAPL")

    async def ask() -> Exception:
        try:
            await quote("AAPL")
        except Exception as error:
            error.add_note("mine")
            return error
        raise AssertionError("it was answered")

    async def use() -> list[Exception]:
        if kind is RateLimited:
            await quote("MSFT")
        return await asyncio.gather(*(ask() for _ in range(20)))

    errors = asyncio.run(use())
    assert {type(error) for error in errors} == {kind}
    assert len(set(map(id, errors))) == 20
    assert [error.__notes__ for error in errors] == [["mine"]] * 20
    lengths = [len(extract_tb(error.__traceback__)) for error in errors]
    assert max(lengths) - min(lengths) < 5


def test_who_asks_after_an_interrupt_shares_no_load_that_is_over() -> None:
    """It came just after the load had begun, before that was told to leave at its end."""
    loads, numbers = SharedLoads(), iter([1, 2])

    async def load() -> int:
        return next(numbers)

    async def use() -> None:
        begun = asyncio.create_task(load())
        loads._loads[asyncio.get_running_loop()] = {"key": _SharedLoad(begun)}
        assert await begun == 1
        assert await loads.run("key", load) == (2, False)

    asyncio.run(use())


def test_what_exceeds_the_limit_is_told(quotes: tbcache.FunctionSource) -> None:
    """As in a thread."""
    source = tbcache.source("small", limits="1/1m")

    @source.fetcher(patience=0.0)
    async def quote(symbol: str) -> float:
        return 1.5

    async def use() -> None:
        assert await quote("AAPL") == 1.5
        with pytest.raises(RateLimited):
            await quote("MSFT")
        assert isinstance((await quote.outcome("GME")).error, RateLimited)

    asyncio.run(use())


def test_a_value_twice_as_old_as_its_ttl_is_loaded_anew() -> None:
    """Of two tasks that ask for it one loads, and the other waits for that."""
    source = tbcache.source("alphavantage", limits="20/1m", ttl=300, stale=3600)
    prices = iter([1.0, 2.0])

    @source.fetcher
    async def quote(symbol: str) -> float:
        await asyncio.sleep(0.01)
        return next(prices)

    async def use() -> None:
        assert await quote("AAPL") == 1.0
        grow_old(get_store(), [quote.cache_key("AAPL")], 301.0)
        assert await asyncio.gather(quote("AAPL"), quote("AAPL")) == [2.0, 2.0]

    asyncio.run(use())


def test_an_old_value_is_refreshed_by_a_task_in_the_background() -> None:
    """Nobody waits for it, and the loop prints no error of it."""
    source = tbcache.source("alphavantage", limits="20/1m", ttl=0.05, stale=60)
    prices = iter([1.0])

    @source.fetcher
    async def quote(symbol: str) -> float:
        try:
            return next(prices)
        except StopIteration:
            raise LookupError from None

    async def has_failed() -> bool:
        found = await quote.outcome("AAPL")
        assert found.value == 1.0
        return found.origin == "stale" and isinstance(found.error, UpstreamError)

    async def use() -> None:
        assert await quote("AAPL") == 1.0
        async with asyncio.timeout(SECONDS):
            while not await has_failed():
                await asyncio.sleep(0.01)

    asyncio.run(use())


def test_sync_and_async_functions_of_a_source_share_its_limits(quotes: tbcache.FunctionSource) -> None:
    """Half of a bot is seldom rewritten at once."""
    source = tbcache.source("small", limits="2/1m")

    @source.fetcher(patience=0.0)
    def quote(symbol: str) -> float:
        return 1.5

    @source.fetcher(patience=0.0)
    async def later(symbol: str) -> float:
        return 2.5

    async def use() -> None:
        assert (quote("AAPL"), await later("AAPL")) == (1.5, 2.5)
        assert (quote.outcome("MSFT").origin, (await later.outcome("MSFT")).origin) == (None, None)

    asyncio.run(use())


def test_a_loop_that_ends_leaves_nothing_to_wait_for(quotes: tbcache.FunctionSource) -> None:
    """`asyncio.run` cancels what is left, as at the end of a script."""
    has_begun = threading.Event()

    @quotes.fetcher
    async def quote(symbol: str) -> float:
        has_begun.set()
        await asyncio.sleep(3600)
        return 1.5

    async def use() -> Awaitable[float]:
        task = asyncio.ensure_future(quote("AAPL"))
        await until(has_begun.is_set, "the call")
        return task

    asyncio.run(use())
    wait_until(lambda: not left_behind(quote.cache_key("AAPL"))[0], what="the lease's end")
