"""``@cached``: a function's results, by its bound arguments."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from unittest.mock import Mock

import pytest

from tbcache.cache import CacheManager, cached
from tbcache.cache.single_flight import _FLIGHTS, SingleFlight
from tbcache.models.error import InvalidRequest
from tbcache.store import Store
from tests.server import Server, sending, sent_here, wait_until
from tests.task import until

pytestmark = pytest.mark.usefixtures("every_driver")


@pytest.fixture
def cache(store: Store) -> CacheManager:
    return CacheManager(store)


@pytest.fixture
def calls() -> list[Any]:
    return []


def test_a_result_is_kept_with_its_types(cache: CacheManager, calls: list[Any]) -> None:
    """The second call gives what the first gave."""

    @cached(ttl=60, cache=cache)
    def spread(symbol: str) -> tuple[float, datetime]:
        calls.append(symbol)
        return 1.5, datetime(2026, 1, 1)

    assert spread("AAPL") == spread("AAPL") == (1.5, datetime(2026, 1, 1))
    assert spread("MSFT") == (1.5, datetime(2026, 1, 1))
    assert calls == ["AAPL", "MSFT"]
    assert cache.get_ttl(spread.cache_key("AAPL")) == 60
    assert spread.__name__ == "spread"
    assert list(inspect.signature(spread).parameters) == ["symbol"]


def test_none_is_kept_and_exceptions_are_not(cache: CacheManager, calls: list[Any]) -> None:
    """ "There is none" is a result; "it failed" is not."""

    @cached(cache=cache)
    def look(key: str) -> None:
        calls.append(key)
        if key == "fails":
            raise LookupError(key)

    assert look("none") is None
    assert look("none") is None
    for _ in range(2):
        with pytest.raises(LookupError):
            look("fails")
    assert calls == ["none", "fails", "fails"]


def test_arguments_count_as_they_are_bound(cache: CacheManager) -> None:
    """f(1, b=2) and f(a=1, b=2) are one call; f(1) and f("1") are two."""

    @cached(key_prefix="f", cache=cache)
    def f(a: Any, b: Any = 2, *rest: Any, c: Any = None, **more: Any) -> Any:
        return [a, b]

    assert f.cache_key(1) == f.cache_key(1, 2) == f.cache_key(1, b=2) == f.cache_key(b=2, a=1)
    assert f.cache_key({"x": 1, "y": {3, 4}}) == f.cache_key({"y": {4, 3}, "x": 1})
    assert f.cache_key(1, z=1, y=2) == f.cache_key(1, y=2, z=1)
    different = [
        f.cache_key(1),
        f.cache_key("1"),
        f.cache_key(True),
        f.cache_key(1.0),
        f.cache_key((1,)),
        f.cache_key([1]),
        f.cache_key(1, 3),
        f.cache_key(1, 2, 3),
        f.cache_key(1, c=3),
        f.cache_key(1, d=3),
        f.cache_key("1,b=2"),
        f.cache_key(None),
    ]
    assert len(set(different)) == len(different)


def test_a_key_is_readable_while_it_is_short(cache: CacheManager) -> None:
    """Who looks into Redis sees what was asked; who asks with a page of text fills no memory."""

    @cached(key_prefix="quote", cache=cache)
    def quote(symbol: str, hours: int = 24) -> None: ...

    @cached(cache=cache)
    def named() -> None: ...

    assert quote.cache_key("AAPL") == 'quote:symbol="AAPL",hours=24'
    long = quote.cache_key("A" * 5000)
    assert long.startswith("quote:#")
    assert len(long) < 60
    assert long != quote.cache_key("A" * 5001)
    assert quote.cache_key("a\x7fb").startswith("quote:#")
    assert named.cache_key().startswith("tests.test_cached.test_a_key_is_readable")


def test_functions_of_one_name_are_told_apart_by_what_they_are_made_with(
    cache: CacheManager, calls: list[Any]
) -> None:
    """A factory's second function gave the values of the first."""

    def quotes(venue: str, depth: int | None = None) -> Any:
        @cached(cache=cache)
        def quote(symbol: str) -> str:
            calls.append((venue, depth))
            return f"{symbol} at {venue}"

        return quote

    assert [quotes(venue)("A") for venue in ("NYSE", "LSE", "NYSE")] == ["A at NYSE", "A at LSE", "A at NYSE"]
    assert [venue for venue, _ in calls] == ["NYSE", "LSE"]
    assert quotes("NYSE", 1).cache_key("A") != quotes("NYSE", 2).cache_key("A")
    # What may change is no part of a name.
    before = quotes("NYSE").cache_key("A")
    calls.append("more")
    assert quotes("NYSE").cache_key("A") == before


def test_an_argument_that_is_no_data_is_named(cache: CacheManager) -> None:
    """Its address as a key would be a miss in every process."""

    @cached(cache=cache)
    def fetch(client: object, symbol: str) -> None: ...

    with pytest.raises(TypeError, match=r"argument 'client' of .*fetch\(\) cannot be part of a cache key"):
        fetch(object(), "AAPL")
    with pytest.raises(TypeError, match="missing a required argument: 'symbol'"):
        fetch(1)  # type: ignore[call-arg]


def test_a_result_that_is_no_data_is_refused(cache: CacheManager) -> None:
    """Said at the first call, instead of never being kept."""

    @cached(cache=cache)
    def build() -> object:
        return object()

    with pytest.raises(TypeError, match="cannot encode a object"):
        build()


@pytest.mark.parametrize("ttl", [0, -1, float("nan")])
def test_a_bad_ttl_is_refused_where_it_is_written(ttl: float) -> None:
    """Not at the first call, in production."""
    with pytest.raises(InvalidRequest, match="TTL"):
        cached(ttl=ttl)
    with pytest.raises(InvalidRequest, match="key_prefix is empty"):
        cached(key_prefix="")(len)


def test_what_has_no_name_needs_one(cache: CacheManager) -> None:
    """A partial has none of its own; that was an AttributeError from within, also of a bad argument."""
    half = functools.partial(divmod, 7)
    with pytest.raises(InvalidRequest, match=r"partial.* has no name to stand in a key: say key_prefix="):
        cached(half)
    halved = cached(cache=cache, key_prefix="half")(half)
    assert halved(2) == (3, 1)
    with pytest.raises(TypeError, match=r"argument 'y' of half\(\) cannot be part of a cache key"):
        halved(object())


@pytest.mark.parametrize("figure", [60, "quote", None])
def test_a_figure_without_its_name_is_told(figure: Any) -> None:
    """Not that a number has no signature."""
    with pytest.raises(InvalidRequest, match=r"given .*, which is no function.*@cached\(ttl=60\)"):
        cached(figure) if figure else cached(ttl=60)(figure)


def test_invalidate_forgets_one_result(cache: CacheManager, calls: list[Any]) -> None:
    """The others stay."""

    @cached(cache=cache)
    def load(symbol: str) -> str:
        calls.append(symbol)
        return symbol

    load("A"), load("B")
    assert load.invalidate("A") is True
    assert load.invalidate(symbol="A") is False
    load("A"), load("B")
    assert calls == ["A", "B", "A"]


class Desk:
    """Methods of each kind; ``calls`` is shared by all of them."""

    def __init__(self, cache: CacheManager, calls: list[Any]) -> None:
        class Inner:
            @cached(key_prefix="desk.price", cache=cache)
            def price(self, symbol: str, hours: int = 24) -> float:
                calls.append(symbol)
                return 1.5

            @classmethod
            @cached(key_prefix="desk.kind", cache=cache)
            def kind(cls, symbol: str) -> str:
                calls.append(cls)
                return symbol

            @staticmethod
            @cached(key_prefix="desk.plain", cache=cache)
            def plain(symbol: str) -> str:
                calls.append(symbol)
                return symbol

        self.cls = Inner


def test_instances_share_a_methods_results(cache: CacheManager, calls: list[Any]) -> None:
    """A provider is built anew in every process, its answers are the same."""
    desk = Desk(cache, calls).cls
    assert desk().price("A") == desk().price(symbol="A", hours=24) == 1.5
    assert calls == ["A"]


def test_a_methods_key_is_asked_with_or_without_its_instance(cache: CacheManager, calls: list[Any]) -> None:
    """On an instance there is no ``self`` to give, on the class there is."""
    desk = Desk(cache, calls).cls
    one = desk()
    assert one.price.cache_key("A") == desk.price.cache_key(one, "A") == desk.price.cache_key("A")
    one.price("A")
    assert one.price.invalidate("A") is True
    one.price("A")
    assert desk.price.invalidate(one, "A") is True
    assert calls == ["A", "A"]


def test_an_overriding_methods_super_keeps_its_key(cache: CacheManager, calls: list[Any]) -> None:
    """``super().price.cache_key(self, ...)`` must not take ``self`` for the symbol."""
    desk = Desk(cache, calls).cls

    class Child(desk):  # type: ignore[valid-type, misc]
        def price(self, symbol: str, hours: int = 24) -> float:
            return 2 * float(super().price(symbol, hours))

    assert Child().price("A") == 3.0
    assert desk.price.cache_key(Child(), "A") == desk.price.cache_key("A")


def test_class_and_static_methods_work_too(cache: CacheManager, calls: list[Any]) -> None:
    """``cls`` is no argument either."""
    desk = Desk(cache, calls).cls
    assert desk.kind("A") == desk().kind("A") == "A"
    assert desk.kind.invalidate("A") is True
    assert desk.plain("A") == desk().plain("A") == "A"
    assert desk.plain.invalidate("A") is True
    assert calls == [desk, "A"]


@pytest.mark.parametrize("module_level", [True, False])
def test_a_plain_functions_argument_may_be_called_cls(cache: CacheManager, module_level: bool) -> None:
    """It is a class of assets there, and what another class has is another value."""

    def screen(cls: str) -> str:
        return cls

    if module_level:
        screen.__qualname__ = "screen"
    kept = cached(cache=cache, key_prefix="screen")(screen)
    assert (kept("equity"), kept("fx")) == ("equity", "fx")
    assert kept.invalidate("fx") is True
    assert kept.cache_key("equity") == kept.cache_key(cls="equity") == 'screen:cls="equity"'


class Screens:
    @staticmethod
    @cached
    def by(cls: str, hours: int = 24) -> str:
        return cls


def test_a_static_methods_argument_may_be_called_cls(cache: CacheManager) -> None:
    """It was taken for the class, and what one class of assets has was everyone's."""

    class Local:
        @staticmethod
        @cached(cache=cache)
        def by(cls: str) -> str:
            return cls

    desk: Any = Local
    assert (desk.by("equity"), desk().by("fx")) == ("equity", "fx")
    assert Screens.by.cache_key("fx").endswith('Screens.by:cls="fx",hours=24')


@dataclass(frozen=True)
class Sheet:
    name: str

    @staticmethod
    @cached
    def title(cls: Any) -> str:
        return str(cls.name)


def test_a_static_methods_cls_may_be_of_its_class() -> None:
    """What is given to one is an argument, whatever it is: all such calls had the value of one."""
    assert [Sheet.title(Sheet(name)) for name in "AB"] == ["A", "B"]
    with pytest.raises(TypeError, match=r"'cls' of Sheet.title\(\) cannot be part of a cache key"):
        Sheet.title(Sheet)


class Stock:
    @cached
    def price(self, symbol: str) -> float:
        return 1.5


def test_what_stands_for_an_instance_is_no_part_of_a_key() -> None:
    """A proxy, or a mock in somebody's test, was a TypeError."""

    class Local:
        @cached
        def price(self, symbol: str) -> float:
            return 1.5

    one = Local()
    assert Local.price.cache_key(weakref.proxy(one), "A") == Local.price.cache_key("A")
    assert Local.price(weakref.proxy(one), "A") == Stock.price(Mock(), "A") == 1.5
    assert Stock.price.cache_key("A") == Stock().price.cache_key("A")


def test_a_method_may_be_made_elsewhere_than_in_its_class(cache: CacheManager, calls: list[Any]) -> None:
    """By a factory, by a module whose functions are set on a class, or behind decorators of others."""

    def getter(path: str) -> Any:
        @cached(cache=cache, key_prefix=path)
        def get(self: object, symbol: str, hours: int = 24) -> str:
            calls.append(symbol)
            return f"{path}/{symbol}"

        return get

    @dataclass(frozen=True)
    class Client:
        key: str
        price = getter("price")

        @property
        @cached(cache=cache)
        def all(self) -> str:
            calls.append("all")
            return "all"

    class Late:
        pass

    Late.price = Client.price  # type: ignore[attr-defined]
    one: Any
    for one in Client("first"), Client("second"), Late():
        assert one.price("A") == "price/A"
        assert one.price.cache_key("A", 24) == Client.price.cache_key("A") == Client.price.cache_key(one, "A")
    assert (Client("first").all, Client("second").all) == ("all", "all")
    assert Client("third").price.invalidate("A") is True
    assert calls == ["A", "all"]


def test_threads_share_one_call(cache: CacheManager, calls: list[Any]) -> None:
    """Eight callers at once are one call of the upstream."""
    start = threading.Barrier(8)

    @cached(cache=cache)
    def slow(symbol: str) -> str:
        calls.append(symbol)
        time.sleep(0.05)
        return symbol

    def call() -> str:
        start.wait(30)
        return slow("A")

    with ThreadPoolExecutor(8) as pool:
        assert [f.result(30) for f in [pool.submit(call) for _ in range(8)]] == ["A"] * 8
    assert calls == ["A"]


def test_an_async_function_is_cached_as_well(cache: CacheManager, calls: list[Any]) -> None:
    """The same decorator in both worlds."""

    @cached(ttl=60, cache=cache)
    async def load(symbol: str) -> tuple[str, ...]:
        calls.append(symbol)
        return (symbol,)

    class Desk:
        @cached(cache=cache)
        async def price(self, symbol: str) -> None:
            calls.append(symbol)

    async def main() -> None:
        assert await load("A") == await load(symbol="A") == ("A",)
        assert await load.invalidate("A") is True
        assert await load("A") == ("A",)
        await Desk().price("B")
        await Desk().price("B")
        assert await Desk().price.invalidate("B") is True

    assert inspect.iscoroutinefunction(load)
    asyncio.run(main())
    assert calls == ["A", "A", "B"]


def test_tasks_share_one_call_and_its_exception(cache: CacheManager, calls: list[Any]) -> None:
    """As threads do."""

    @cached(cache=cache)
    async def slow(symbol: str) -> str:
        calls.append(symbol)
        await asyncio.sleep(0.05)
        if symbol == "fails":
            raise LookupError(symbol)
        return symbol

    async def main() -> None:
        assert await asyncio.gather(*(slow("A") for _ in range(8))) == ["A"] * 8
        failed = await asyncio.gather(*(slow("fails") for _ in range(4)), return_exceptions=True)
        assert [type(error) for error in failed] == [LookupError] * 4

    asyncio.run(main())
    assert calls == ["A", "fails"]


def test_a_cancelled_caller_takes_nobody_with_it(cache: CacheManager, calls: list[Any]) -> None:
    """A client that hangs up must not fail the others who wait for the same answer."""

    @cached(cache=cache)
    async def slow(symbol: str) -> str:
        calls.append(symbol)
        await asyncio.sleep(0.05)
        return symbol

    async def main() -> None:
        first, second = asyncio.create_task(slow("A")), asyncio.create_task(slow("A"))
        while not calls:
            await asyncio.sleep(0.001)
        first.cancel()
        assert await second == "A"
        with pytest.raises(asyncio.CancelledError):
            await first

    asyncio.run(main())
    assert calls == ["A"]


@pytest.mark.one_driver
def test_a_load_that_fails_after_its_callers_time_limit_is_no_error_of_the_loop(cache: CacheManager) -> None:
    """It stood in the log, with its whole trace, as one that nobody had retrieved."""
    heard: list[Any] = []

    @cached(cache=cache)
    async def slow() -> str:
        await has_left.wait()
        raise LookupError

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(context))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(slow(), 0.05)
        has_left.set()
        await until(lambda: not cache.core._single_flight._flights, "the end of the load")
        gc.collect()

    has_left = asyncio.Event()
    asyncio.run(main())
    assert not heard


def test_who_waits_for_a_cancelled_load_loads_instead(cache: CacheManager, calls: list[Any]) -> None:
    """A time limit inside one call must not cancel the others, who were told of none."""
    is_waited_for = asyncio.Event()

    @cached(cache=cache)
    async def slow(symbol: str) -> str:
        calls.append(symbol)
        if len(calls) == 1:
            await is_waited_for.wait()
            raise asyncio.CancelledError
        return symbol

    async def main() -> None:
        first = asyncio.create_task(slow("A"))
        while not calls:
            await asyncio.sleep(0.001)
        second = asyncio.create_task(slow("A"))
        await asyncio.to_thread(cache.get, "another thread's turn")
        is_waited_for.set()
        assert await second == "A"
        with pytest.raises(asyncio.CancelledError):
            await first

    asyncio.run(main())
    assert calls == ["A", "A"]


@pytest.mark.parametrize("has_come", [False, True])
def test_a_call_that_is_cancelled_while_it_asks_leaves_no_lease(
    store: Store, cache: CacheManager, monkeypatch: pytest.MonkeyPatch, has_come: bool
) -> None:
    """Or every other process would wait for its end, and nobody loads."""
    is_asking, ask = asyncio.Event(), store.ask

    async def cut_off(script: Any, call: Any) -> object:
        if script.name != "begin_load":
            return await ask(script, call)
        asking = asyncio.create_task(ask(script, call))
        if has_come:
            await asking
        is_asking.set()
        return await asyncio.Event().wait()

    @cached(cache=cache, key_prefix="quote")
    async def quote(symbol: str) -> str:
        raise AssertionError(symbol)

    async def main() -> None:
        call = asyncio.create_task(quote("A"))
        await asyncio.wait_for(is_asking.wait(), 30)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.wait(others, timeout=30)
        assert call.cancelled()

    with monkeypatch.context() as patch:
        patch.setattr(store, "ask", cut_off)
        asyncio.run(main())
    wait_until(lambda: not store.client.exists(store.keys.lease(quote.cache_key("A"))))


def test_an_async_load_that_landed_meanwhile_is_not_repeated(
    cache: CacheManager, calls: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with threads: looked just before it landed, wanted to load just after."""
    find = cache.core.find

    async def late(key: str) -> Any:
        found = await find(key)
        await cache.core.set(key, "landed")
        return found

    monkeypatch.setattr(cache.core, "find", late)

    @cached(cache=cache)
    async def load() -> str:
        calls.append(1)
        return "loaded again"

    assert asyncio.run(load()) == "landed"
    assert not calls


def test_an_async_call_may_ask_for_its_own_key(cache: CacheManager) -> None:
    """Awaiting oneself has no end."""
    deep: list[int] = []

    @cached(cache=cache)
    async def load(symbol: str) -> int:
        deep.append(1)
        return 1 if len(deep) == 2 else await load(symbol) + 1

    assert asyncio.run(asyncio.wait_for(load("A"), 5)) == 2


@pytest.mark.one_driver
def test_a_load_begun_by_a_task_of_another_holds_nothing_of_that_once_it_is_over(cache: CacheManager) -> None:
    """Each page may begin the load of the next: a program that reads on and on kept all that it had read."""
    begun: list[asyncio.Task[int]] = []
    held: list[int] = []

    @cached(cache=cache)
    async def page(number: int) -> int:
        held.append(len(_FLIGHTS.get()))
        if number:
            begun.append(asyncio.create_task(after(begun[-1:], number - 1)))
        return number

    async def after(tasks: list[asyncio.Task[int]], number: int) -> int:
        await until(lambda: all(one.done() for one in (first, *tasks)), "the page before")
        return await page(number)

    async def main() -> None:
        nonlocal first
        first = asyncio.create_task(page(3))
        await until(lambda: len(begun) == 3 and begun[-1].done(), "the last page")

    first: asyncio.Task[int]
    asyncio.run(main())
    assert held == [1, 1, 1, 1]


@pytest.mark.parametrize("count", [2, 3])
def test_threads_whose_loads_ask_for_each_others_keys_end(
    cache: CacheManager, calls: list[Any], count: int
) -> None:
    """Each waited for the next one's load for good."""
    all_load = threading.Barrier(count)

    def load(number: int) -> str:
        calls.append(number)
        if calls.count(number) > 1:
            return "end"
        all_load.wait(30)
        return f"{number}-{ask((number + 1) % count)}"

    def ask(number: int) -> str:
        return cache.get_or_load(f"load:{number}", lambda: load(number))

    with ThreadPoolExecutor(count) as pool:
        asked = [pool.submit(ask, number) for number in range(count)]
        assert [one.result(10)[:2] for one in asked] == [f"{number}-" for number in range(count)]
    assert count < len(calls) <= 2 * count


@pytest.mark.one_driver
@pytest.mark.parametrize("has_tasks", [False, True])
def test_tasks_whose_loads_ask_for_each_others_keys_end(
    cache: CacheManager, calls: list[Any], has_tasks: bool
) -> None:
    """As those of threads do, also where the tasks of a load ask."""
    both_load = asyncio.Barrier(2)

    @cached(cache=cache)
    async def load(number: int) -> str:
        calls.append(number)
        if calls.count(number) > 1:
            return "end"
        await both_load.wait()
        (found,) = await asyncio.gather(load(1 - number)) if has_tasks else [await load(1 - number)]
        return f"{number}-{found}"

    async def main() -> list[str]:
        return await asyncio.wait_for(asyncio.gather(load(0), load(1)), 10)

    assert [one[:2] for one in asyncio.run(main())] == ["0-", "1-"]
    assert 2 < len(calls) <= 4


def test_threads_and_tasks_share_one_call(cache: CacheManager, calls: list[Any]) -> None:
    """A bot has both, and the upstream must be asked once."""
    is_loading, may_end = threading.Event(), threading.Event()

    def slow() -> str:
        calls.append("thread")
        is_loading.set()
        assert may_end.wait(30)
        return "value"

    @cached(cache=cache, key_prefix="slow")
    async def load() -> str:
        calls.append("task")
        return "another"

    async def main() -> list[str]:
        tasks = [asyncio.create_task(load()) for _ in range(3)]
        await asyncio.sleep(0)
        may_end.set()
        return await asyncio.gather(*tasks)

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(cache.get_or_load, load.cache_key(), slow)
        assert is_loading.wait(30)
        assert asyncio.run(main()) == ["value"] * 3
        assert first.result(30) == "value"
    assert calls == ["thread"]


@pytest.mark.one_driver
def test_a_thread_gets_what_a_task_loads(cache: CacheManager, calls: list[Any]) -> None:
    """And where the loop ends first, it loads for itself."""

    async def main(is_left: bool) -> str:
        is_loading, may_end = asyncio.Event(), asyncio.Event()

        @cached(cache=cache, key_prefix=f"left-{is_left}")
        async def load() -> str:
            is_loading.set()
            await may_end.wait()
            return "task's"

        task = asyncio.create_task(load())
        await is_loading.wait()
        found.append(pool.submit(cache.get_or_load, load.cache_key(), lambda: "thread's"))
        await asyncio.to_thread(wait_until, lambda: waiting(cache))
        if is_left:
            return ""
        may_end.set()
        return await task

    found: list[Any] = []
    with ThreadPoolExecutor(1) as pool:
        assert asyncio.run(main(False)) == "task's"
        assert found.pop().result(30) == "task's"
        asyncio.run(main(True))
        assert found.pop().result(30) == "thread's"


@pytest.mark.one_driver
def test_nobody_waits_for_good_for_the_load_of_a_loop_that_stands_still(store: Store) -> None:
    """Who runs a loop until something is done may leave its other tasks as they are."""
    cache, calls = CacheManager(store, lease_seconds=0.5), list[int]()

    @cached(cache=cache)
    async def load() -> int:
        calls.append(1)
        if len(calls) == 1:
            await asyncio.Event().wait()
        return len(calls)

    async def begin() -> None:
        tasks.append(asyncio.create_task(load()))
        while not calls:
            await asyncio.sleep(0)

    async def end() -> None:
        tasks[0].cancel()
        await asyncio.wait(tasks)

    tasks: list[asyncio.Task[int]] = []
    with asyncio.Runner() as runner, ThreadPoolExecutor(2) as pool:
        runner.run(begin())
        key, task = load.cache_key(), pool.submit(asyncio.run, load())
        assert pool.submit(cache.get_or_load, key, lambda: 2).result(10) == task.result(10) == 2
        # What is loaded by those who took over is kept.
        assert cache.get(key) == 2
        runner.run(end())


@pytest.mark.one_driver
def test_a_load_that_hangs_is_begun_anew_after_its_callers_time_limit(store: Store) -> None:
    """A lost connection tells nobody. Whoever asked within a time limit waited for that load, for good."""
    cache, calls = CacheManager(store, lease_seconds=0.5), list[int]()

    @cached(cache=cache)
    async def load() -> str:
        calls.append(1)
        if len(calls) == 1:
            await asyncio.Event().wait()
        return "value"

    async def ask() -> str:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(load(), 0.1)
        return await asyncio.wait_for(load(), 10)

    assert asyncio.run(ask()) == "value"
    assert len(calls) == 2
    assert cache.get(load.cache_key()) == "value"


@pytest.mark.one_driver
@pytest.mark.parametrize("is_failing", [False, True])
def test_those_who_wait_have_the_value_that_comes_first(store: Store, is_failing: bool) -> None:
    """Another has begun to load it as the loop stood still, which goes on then. Its failure is nobody else's,
    who may still get a value."""
    cache, has_taken_over, may_end = (
        CacheManager(store, lease_seconds=0.25),
        threading.Event(),
        threading.Event(),
    )

    @cached(cache=cache)
    async def load() -> str:
        begun.append(1)
        await until(lambda: waiting(cache) == 2, "those who wait")
        if is_failing:
            raise LookupError
        return "the loop's"

    async def begin() -> asyncio.Task[str]:
        task = asyncio.create_task(load())
        await until(lambda: begun, "the load")
        return task

    async def end(task: asyncio.Task[str]) -> object:
        (found,) = await asyncio.gather(task, return_exceptions=True)
        return found

    def instead() -> str:
        has_taken_over.set()
        assert may_end.wait(30)
        return "the thread's"

    begun = list[int]()
    with asyncio.Runner() as runner, ThreadPoolExecutor(3) as pool:
        task = runner.run(begin())
        asks = [pool.submit(cache.get_or_load, load.cache_key(), instead) for _ in range(3)]
        assert has_taken_over.wait(30)
        found = runner.run(end(task))
        if is_failing:
            assert isinstance(found, LookupError)
        else:
            wait_until(lambda: sum(ask.done() for ask in asks) == 2)
            assert found == "the loop's"
        may_end.set()
        others = 0 if is_failing else 2
        assert sorted(ask.result(10) for ask in asks) == ["the loop's"] * others + ["the thread's"] * (
            3 - others
        )


@pytest.mark.one_driver
def test_a_load_that_is_cancelled_before_it_begins_stands_in_nobodys_way(
    cache: CacheManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that has not begun has no end of its own."""
    joined = SingleFlight._joined

    def cut_off(*args: Any) -> Any:
        # It is called before the task of the load is.
        asyncio.get_running_loop().call_soon(cancel_others)
        return joined(*args)

    def cancel_others() -> None:
        for task in asyncio.all_tasks() - {main_task[0]}:
            task.cancel()

    @cached(cache=cache)
    async def load() -> str:
        return "value"

    async def main() -> str:
        main_task.append(asyncio.current_task())
        with monkeypatch.context() as patch:
            patch.setattr(SingleFlight, "_joined", cut_off)
            await asyncio.wait([asyncio.create_task(load())])
        return await asyncio.wait_for(load(), 10)

    main_task: list[asyncio.Task[Any] | None] = []
    assert asyncio.run(main()) == "value"


def waiting(cache: CacheManager) -> int:
    """How many threads wait for the loads of others."""
    flights = list(cache.core._single_flight._flights.values())
    return sum(len(flight.end.future._condition._waiters) for flight in flights)  # type: ignore[attr-defined]


def test_a_blocking_call_in_a_loop_does_not_wait_for_a_task_of_it(cache: CacheManager) -> None:
    """It would wait for ever: the task cannot go on while its loop is blocked."""
    is_loading, may_end = asyncio.Event(), asyncio.Event()

    @cached(cache=cache)
    async def load() -> str:
        is_loading.set()
        await may_end.wait()
        return "task's"

    async def main() -> tuple[str, str]:
        task = asyncio.create_task(load())
        await is_loading.wait()
        here = cache.get_or_load(load.cache_key(), lambda: "here")
        may_end.set()
        return here, await task

    assert asyncio.run(main()) == ("here", "task's")


@pytest.mark.one_driver
def test_two_loops_that_block_each_other_go_on(cache: CacheManager) -> None:
    """Each waited for a task of the other, which could not go on, for good."""
    both_load = threading.Barrier(2)

    async def main(number: int) -> tuple[str, str]:
        is_loading, may_end = asyncio.Event(), asyncio.Event()

        @cached(cache=cache, key_prefix=f"loop:{number}")
        async def load() -> str:
            is_loading.set()
            await may_end.wait()
            return f"task {number}"

        task = asyncio.create_task(load())
        await is_loading.wait()
        both_load.wait(30)
        found = cache.get_or_load(f"loop:{1 - number}:", lambda: "here")
        may_end.set()
        return found, await task

    with ThreadPoolExecutor(2) as pool:
        ends = [pool.submit(asyncio.run, main(number)) for number in range(2)]
        found, tasks = zip(*(end.result(10) for end in ends), strict=True)
    assert "here" in found
    assert tasks == ("task 0", "task 1")


def test_a_blocking_call_waits_for_no_lease_that_a_task_of_its_loop_is_about_to_get(
    store: Store, cache: CacheManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis has given it, and the task cannot read that while its loop is blocked."""
    ask, here = store.ask, list[str]()

    async def late(script: Any, call: Any) -> Any:
        answer = await ask(script, call)
        if script.name == "begin_load" and not here:
            here.append("")
            here[0] = cache.get_or_load(load.cache_key(), lambda: "here")
        return answer

    async def wait(key: str, seconds: float) -> None:
        raise AssertionError(f"{key} was waited for")

    @cached(cache=cache)
    async def load() -> str:
        return "task's"

    monkeypatch.setattr(store, "ask", late)
    monkeypatch.setattr(store, "first", wait)
    assert asyncio.run(load()) == "task's"
    assert here == ["here"]


def test_a_frozen_redis_holds_up_no_event_loop(
    private_server: Server, store_for: Callable[..., Store]
) -> None:
    """An API serves hundreds of clients from one thread."""
    cache = CacheManager(store_for(private_server, TBCACHE_REDIS_TIMEOUT="1.0"))

    @cached(cache=cache)
    async def load(symbol: str) -> str:
        return symbol

    with private_server.frozen(), sending() as sent:
        assert asyncio.run(load("A")) == "A"
    assert sent
    assert not sent_here(sent), "the loop's own thread waits for no server"


def test_without_a_manager_of_its_own_it_uses_the_processes(
    server: Server, monkeypatch: pytest.MonkeyPatch, calls: list[Any]
) -> None:
    """Decorating happens at import, when no setting is read and no socket opened yet."""

    @cached
    def load(symbol: str) -> str:
        calls.append(symbol)
        return symbol

    monkeypatch.setenv("REDIS_URL", server.url)
    assert load("A") == load("A") == "A"
    name, rest = load.cache_key("A").split(":", 1)
    assert name.endswith(".load")
    assert server.client.exists(f"trading_bot:cache:{{{name}}}:{rest}")
    assert calls == ["A"]
