"""A value is loaded once, however many processes want it at the same moment."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from tbcache.admission import Ask, Go, Settlement
from tbcache.cache import MISSING, CacheManager, cached, key_lease
from tbcache.cache.key_lease import LEASE_SECONDS
from tbcache.monitoring import UsageMonitor
from tbcache.settings import Settings, get_source
from tbcache.store import Store
from tbcache.store.memory import Memory
from tests.blocking import Admission
from tests.server import Server, wait_until

pytestmark = pytest.mark.usefixtures("every_driver")

LOAD_SECONDS = 0.2


@pytest.fixture
def process_for(server: Server, store_for: Callable[..., Store]) -> Callable[..., CacheManager]:
    """Cache managers as several processes have them."""
    return lambda **options: CacheManager(store_for(server), **options)


class Loader:
    """Takes its time, and counts."""

    def __init__(self, value: Any = "value") -> None:
        self.value = value
        self.calls = 0
        self.started = threading.Event()
        self.may_end = threading.Event()

    def __call__(self) -> Any:
        self.calls += 1
        self.started.set()
        assert self.may_end.wait(30)
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


def log_of(cache: CacheManager) -> bytes:
    """The log of clears: 16 bytes, and what is not swept yet."""
    return cache.store.client.get(cache.store.keys.clears("*")) or b""


def waiters(cache: CacheManager, key: str) -> int:
    return int(cache.store.client.hget(cache.store.keys.lease(key), "waiters") or 0)


@pytest.fixture
def pool() -> Any:
    with ThreadPoolExecutor(20) as pool:
        yield pool


def test_one_load_serves_every_process(process_for: Callable[..., CacheManager], pool: Any) -> None:
    """Four processes that each ask the upstream once ask it three times too often."""
    processes = [process_for() for _ in range(4)]
    calls: list[int] = []
    start = threading.Barrier(16)

    def load() -> str:
        calls.append(1)
        time.sleep(LOAD_SECONDS)
        return "value"

    def ask(process: CacheManager) -> float:
        start.wait(30)
        began = time.monotonic()
        assert process.get_or_load("quote:AAPL", load, ttl=60) == "value"
        return time.monotonic() - began

    slowest = max(pool.map(ask, processes * 4))
    assert calls == [1]
    assert slowest < 3 * LOAD_SECONDS
    assert processes[0].get_ttl("quote:AAPL") == 60
    assert not processes[0].store.client.exists(processes[0].store.keys.lease("quote:AAPL"))


def test_processes_that_wait_send_next_to_nothing(
    process_for: Callable[..., CacheManager], pool: Any, server: Server
) -> None:
    """A poll each few milliseconds, in each of a hundred processes, would be a load of its own."""
    one, others, started = process_for(), [process_for() for _ in range(3)], threading.Event()

    def load() -> str:
        started.set()
        time.sleep(2 * LOAD_SECONDS)
        return "value"

    first = pool.submit(one.get_or_load, "quote:AAPL", load)
    assert started.wait(30)
    before = server.commands()
    waiting = [pool.submit(other.get_or_load, "quote:AAPL", load) for other in others]
    assert [each.result(30) for each in (first, *waiting)] == ["value"] * 4
    # Each asks, joins, waits in slices and reads; commands inside scripts are counted too.
    assert server.commands() - before < 75


def test_a_load_that_fails_is_tried_by_the_others_at_once(
    process_for: Callable[..., CacheManager], pool: Any
) -> None:
    """They need not wait for the end of a lease, nor for one another."""
    one, others = process_for(), [process_for() for _ in range(3)]
    failing, loader = Loader(LookupError("down")), Loader()
    first = pool.submit(one.get_or_load, "quote:AAPL", failing)
    assert failing.started.wait(30)
    waiting = [pool.submit(other.get_or_load, "quote:AAPL", loader) for other in others]
    wait_until(lambda: waiters(one, "quote:AAPL") == 3)
    failing.may_end.set()
    with pytest.raises(LookupError):
        first.result(5)
    wait_until(lambda: loader.calls >= 1)
    loader.may_end.set()
    assert [one.result(30) for one in waiting] == ["value"] * 3
    assert one.get("quote:AAPL") == "value"


def test_a_value_that_cannot_be_stored_holds_nobody_up(process_for: Callable[..., CacheManager]) -> None:
    """The lease must not outlive the error."""
    one, other = process_for(), process_for()
    with pytest.raises(TypeError, match="cannot encode"):
        one.get_or_load("quote:AAPL", object)
    assert other.get_or_load("quote:AAPL", lambda: "value") == "value"
    assert other.get("quote:AAPL") == "value"
    # Nor are those woken who do not wait.
    assert list(one.store.client.scan_iter(match="*:wake:*")) == []


def test_an_entry_of_another_redis_type_is_loaded_anew(
    process_for: Callable[..., CacheManager], server: Server
) -> None:
    """It may have come between the look and the load."""
    cache = process_for()
    server.client.hset(cache.store.keys.entry("quote:AAPL"), "a", "b")
    _, load = cache.begin_load("quote:AAPL")
    assert load is not None
    assert cache.end_load(load, "value") is True
    assert cache.get("quote:AAPL") == "value"


def test_a_dead_loader_is_taken_over_from_when_its_lease_ends(
    process_for: Callable[..., CacheManager],
) -> None:
    """Whoever was killed in the middle of it cannot say so."""
    dead, other = process_for(lease_seconds=0.3), process_for()
    _, load = dead.begin_load("quote:AAPL")
    assert load is not None
    began = time.monotonic()
    assert other.get_or_load("quote:AAPL", lambda: "value") == "value"
    assert 0.2 < time.monotonic() - began < 1.5
    # And its answer is too late.
    assert dead.end_load(load, "late") is False
    assert other.get("quote:AAPL") == "value"


def test_a_load_longer_than_its_lease_is_kept(process_for: Callable[..., CacheManager]) -> None:
    """Also where another took over from it: else, under load, none would ever be."""
    one, other = process_for(lease_seconds=0.01), process_for()
    _, load = one.begin_load("quote:AAPL")
    assert load is not None
    taken = wait_until(lambda: other.begin_load("quote:AAPL")[1], what="the other's turn")
    assert one.end_load(load, "first") is True
    assert other.get("quote:AAPL") == "first"
    assert other.end_load(taken, "second") is False
    assert other.get("quote:AAPL") == "first"


@pytest.mark.parametrize("change", ["clear", "delete"])
def test_a_load_taken_over_from_before_a_change_is_not_kept(
    process_for: Callable[..., CacheManager], change: str
) -> None:
    """The new load is none of its generation."""
    one, other = process_for(), process_for()
    _, old = one.begin_load("quote:AAPL")
    assert old is not None
    if change == "clear":
        other.store.client.set(other.store.keys.sweeper, "idle", px=60_000)
        other.clear_pattern("quote:*", wait=False)
    else:
        other.delete("quote:AAPL")
    began = time.monotonic()
    _, new = other.begin_load("quote:AAPL")
    assert new is not None
    assert time.monotonic() - began < 1
    # A sweep of what was cleared takes the old lease, and leaves the new one alone.
    other.store.client.unlink(other.store.keys.sweeper)
    wait_until(lambda: other.resume() >= 0 and len(log_of(other)) <= 16, what="the end of the sweep")
    assert one.end_load(old, "old") is False
    assert one.get("quote:AAPL") is None
    assert other.end_load(new, "new") is True
    assert one.get("quote:AAPL") == "new"


@pytest.mark.parametrize("hide", ["delete", "clear_pattern"])
def test_who_asks_after_a_change_is_not_given_what_was_being_loaded_before(
    process_for: Callable[..., CacheManager], pool: Any, hide: str
) -> None:
    """Another thread of the process may be loading what has just been deleted: that is out of date."""
    cache, loader = process_for(), Loader("old")
    load = pool.submit(cache.get_or_load, "k", loader, 60)
    assert loader.started.wait(30)
    getattr(cache, hide)("k")
    assert cache.get_or_load("k", lambda: "new", 60) == "new"
    loader.may_end.set()
    assert load.result(30) == "old"
    assert cache.get("k") == "new"


@pytest.mark.parametrize("hide", ["delete", "clear_pattern"])
@pytest.mark.parametrize("is_cut_off_first", [True, False])
def test_what_was_loaded_before_a_change_is_not_kept_without_redis(
    private_server: Server, store_for: Callable[..., Store], pool: Any, hide: str, is_cut_off_first: bool
) -> None:
    """No lease tells, where Redis went away meanwhile or was away all the time."""
    cache, loader = CacheManager(store_for(private_server)), Loader("old")
    if is_cut_off_first:
        private_server.kill()
    load = pool.submit(cache.get_or_load, "k", loader, 60)
    assert loader.started.wait(30)
    getattr(cache, hide)("k")
    if not is_cut_off_first:
        private_server.kill()
    loader.may_end.set()
    assert load.result(30) == "old"
    assert cache.get("k") is None


@pytest.mark.parametrize("hide", ["delete", "clear_pattern"])
def test_nothing_is_removed_between_a_look_for_removals_and_what_is_kept_by_it(
    private_server: Server,
    store_for: Callable[..., Store],
    pool: Any,
    hide: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another thread may remove the key at any moment: what was loaded before would be given after it."""
    cache, removals, removed = CacheManager(store_for(private_server)), Memory.removals, list[Any]()
    private_server.kill()

    def remove_meanwhile(memory: Memory, key: str) -> tuple[int, int]:
        found = removals(memory, key)
        if is_loaded:
            removed.append(pool.submit(getattr(cache, hide), "k"))
            wait_until(lambda: removed[0].done() or memory._lock.locked())
        return found

    is_loaded = False

    def load() -> str:
        nonlocal is_loaded
        is_loaded = True
        return "old"

    monkeypatch.setattr(Memory, "removals", remove_meanwhile)
    assert cache.get_or_load("k", load, 60) == "old"
    removed[0].result(30)
    assert cache.get("k") is None


def test_those_who_wait_are_woken_when_a_clear_takes_the_lease(
    process_for: Callable[..., CacheManager], pool: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They load for themselves then: what they waited for is from before the clear."""
    # Who is not woken waits for the end of the lease.
    monkeypatch.setattr(key_lease, "JOIN_SECONDS", LEASE_SECONDS)
    one, other, old, new = process_for(), process_for(), Loader("old"), Loader("new")
    first = pool.submit(one.get_or_load, "quote:AAPL", old)
    assert old.started.wait(30)
    second = pool.submit(other.get_or_load, "quote:AAPL", new)
    wait_until(lambda: waiters(one, "quote:AAPL") == 1)
    one.clear_pattern("quote:*")
    old.may_end.set()
    new.may_end.set()
    assert new.started.wait(LEASE_SECONDS / 2)
    assert (first.result(30), second.result(30)) == ("old", "new")
    assert one.get("quote:AAPL") == "new"


def test_a_fetch_of_the_same_key_is_waited_for(
    process_for: Callable[..., CacheManager], pool: Any, settings: Settings
) -> None:
    """The pipeline and a user's own loader ask the same upstream."""
    cache = process_for()
    admission = Admission(cache.store, settings, UsageMonitor(cache.store, settings))
    source = get_source("twitter", settings)
    verdict = admission.admit(Ask(source, source.request("AAPL")))
    assert isinstance(verdict, Go)
    asked = pool.submit(cache.get_or_load, "twitter:AAPL:24", Loader())
    wait_until(lambda: waiters(cache, "twitter:AAPL:24") == 1)
    admission.settle(verdict.grant, Settlement(payload=b'"fetched"', pages=1))
    assert asked.result(30) == "fetched"


def test_a_fetch_that_took_over_a_key_keeps_it(
    process_for: Callable[..., CacheManager], settings: Settings
) -> None:
    """A fetch is paid for: no late load of a user's may end its lease."""
    cache = process_for(lease_seconds=0.01)
    _, load = cache.begin_load("twitter:AAPL:24")
    assert load is not None
    admission = Admission(cache.store, settings, UsageMonitor(cache.store, settings))
    source = get_source("twitter", settings)
    ask = Ask(source, source.request("AAPL"))
    verdict = wait_until(lambda: found if isinstance(found := admission.admit(ask), Go) else None)
    assert cache.end_load(load, "late") is False
    assert admission.settle(verdict.grant, Settlement(payload=b'"fetched"', pages=1)) == "stored"
    assert cache.get("twitter:AAPL:24") == "fetched"


def test_a_coroutine_is_run_once_for_all_processes(process_for: Callable[..., CacheManager]) -> None:
    """@cached waits in a thread, and no loop stands still."""
    calls: list[str] = []

    async def quote(symbol: str) -> str:
        calls.append(symbol)
        await asyncio.sleep(LOAD_SECONDS)
        return f"{symbol} at 1"

    wrapped = [cached(cache=process_for(), key_prefix="quote")(quote) for _ in range(3)]

    async def main() -> list[str]:
        return await asyncio.gather(*(one("AAPL") for one in wrapped * 2))

    assert asyncio.run(main()) == ["AAPL at 1"] * 6
    assert calls == ["AAPL"]


def test_a_coroutine_that_fails_frees_the_key(process_for: Callable[..., CacheManager]) -> None:
    """Cancelled or raised, the next one need not wait."""
    cache = process_for()

    @cached(cache=cache, key_prefix="quote")
    async def quote(symbol: str) -> str:
        raise LookupError(symbol)

    with pytest.raises(LookupError):
        asyncio.run(quote("AAPL"))
    assert cache.begin_load(quote.cache_key("AAPL"))[1] is not None


def test_a_redis_that_goes_while_one_waits_lets_everyone_load(
    private_server: Server, store_for: Callable[..., Store], pool: Any
) -> None:
    """As without Redis from the start: once per process, and no exception."""
    one, other = CacheManager(store_for(private_server)), CacheManager(store_for(private_server))
    slow, quick = Loader("slow"), Loader("quick")
    quick.may_end.set()
    first: Future[Any] = pool.submit(one.get_or_load, "quote:AAPL", slow)
    assert slow.started.wait(30)
    second = pool.submit(other.get_or_load, "quote:AAPL", quick)
    wait_until(lambda: waiters(one, "quote:AAPL") == 1)
    private_server.kill()
    assert second.result(30) == "quick"
    slow.may_end.set()
    assert first.result(30) == "slow"
    assert (one.get("quote:AAPL"), other.get("quote:AAPL")) == ("slow", "quick")
    assert other.get("quote:MSFT", MISSING) is MISSING


def test_a_dead_loader_is_waited_for_no_longer_where_the_clock_was_set_back(
    process_for: Callable[..., CacheManager],
) -> None:
    """Its lease would hold for as long as the server's clock was set back."""
    dead, cache = process_for(lease_seconds=0.5), process_for(lease_seconds=0.5)
    slow = Loader()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(dead.get_or_load, "price:AAPL", slow, 60)
        assert slow.started.wait(20)
        cache.store.client.hincrbyfloat(cache.store.keys.lease("price:AAPL"), "until", 600e6)
        assert cache.get_or_load("price:AAPL", lambda: 5, ttl=60) == 5
        slow.may_end.set()
        first.result(30)


@pytest.mark.parametrize("until", ["inf", "1e300", "9" * 400, "999999999999999999", "nan", "banana", "-5"])
def test_a_damaged_lease_holds_nobody_up(process_for: Callable[..., CacheManager], until: str) -> None:
    """Whoever believes it waits for a load that nobody does, or asks thousands of times a second."""
    cache = process_for()
    lease = cache.store.keys.lease("price:AAPL")
    cache.store.client.hset(lease, mapping={"token": "nobody", "until": until, "since": "1" * 16})
    cache.store.client.expire(lease, 60)
    assert cache.get_or_load("price:AAPL", lambda: 5, ttl=60) == 5
