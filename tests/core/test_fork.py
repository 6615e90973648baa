"""A child forked while a thread of its parent holds a lock: the child goes on."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

import tbcache
import tbcache.asyncio
from tbcache.admission.delay import PlanDelay
from tbcache.cache import CacheManager
from tbcache.cache.single_flight import _Flight
from tbcache.fetch.function.shared_load import SharedLoads
from tbcache.io import IO, background, loop, run, world
from tbcache.io import singleton as singleton_module
from tbcache.io.background import BackgroundThread
from tbcache.limiter import limiter_of
from tbcache.models import FetchRequest
from tbcache.models.secret import SecretStr
from tbcache.monitoring import UsageMonitor
from tbcache.providers.client import HttpClient
from tbcache.providers.reddit_token import RedditAuth
from tbcache.rate_limiter import RateLimiter
from tbcache.repository import SentimentRepository
from tbcache.repository.writer import Writer
from tbcache.scoring.batch import Batches
from tbcache.settings import Settings, SourceSettings
from tbcache.store import Store, get_store
from tbcache.store.memory import Memory
from tests.blocking import Admission, Membership
from tests.core.conftest import TWITTER, ask
from tests.server import Server, wait_until

LATE = replace(TWITTER, delay_hours=24.0)


#: A lock that a thread of the parent may hold, and what a child does that wants the same.
Held = tuple[Any, Callable[[], object]]


def _of_closures(store: Store, settings: Settings) -> Held:
    return limiter_of(store).closures._lock, lambda: _then(
        store, lambda: limiter_of(store).closures.close("twitter", 60.0, "closed")
    )


def _of_the_delay(store: Store, settings: Settings) -> Held:
    delay = PlanDelay(store)
    return delay._finding_out._lock, lambda: run(delay.reach(LATE, FetchRequest("twitter", "AAPL", 6)))


def _without_redis(store: Store, settings: Settings) -> Held:
    away = Store(Settings.load({"REDIS_URL": "redis://127.0.0.1:1/0"}))
    admission = Admission(away, settings, UsageMonitor(away, settings))
    return admission._fallback._lock, lambda: admission.admit(ask())


def _of_its_slots(store: Store, settings: Settings) -> Held:
    limiter = RateLimiter(TWITTER, store)
    return limiter_of(store).process_window("twitter")._lock, limiter.check_rate_limit


def _of_a_purse(store: Store, settings: Settings) -> Held:
    purse = limiter_of(store).process_window("twitter").purse
    return purse._lock, lambda: _then(store, lambda: purse.pay(1))


def _of_the_store(store: Store, settings: Settings) -> Held:
    return store.breaker._lock, lambda: _then(store, store.close)


def _of_the_servers_time(store: Store, settings: Settings) -> Held:
    def ask_time() -> None:
        store.clock._ranges.clear()
        run(store.clock.deadline_us("twitter"))

    return store.clock._asking._lock, lambda: _then(store, ask_time)


def _of_the_layout(store: Store, settings: Settings) -> Held:
    return store._agreeing._lock, lambda: _then(store, lambda: None)


def _of_a_beat(store: Store, settings: Settings) -> Held:
    membership = Membership(store)
    return membership._beating._lock, lambda: membership.beat("twitter")


def _of_figures(store: Store, settings: Settings) -> Held:
    monitor = UsageMonitor(store, settings)
    return monitor._recorder._lock, lambda: monitor.count("twitter", {"hit": 1})


def _of_figures_under_way(store: Store, settings: Settings) -> Held:
    monitor = UsageMonitor(store, settings)
    return monitor._recorder._flushing, monitor.flush


def _of_joining(store: Store, settings: Settings) -> Held:
    monitor = UsageMonitor(store, settings)

    def join() -> None:
        monitor.keep_beating("scheduler")
        monitor.leave()

    return monitor._joining, join


def _of_loads(store: Store, settings: Settings) -> Held:
    cache = CacheManager(store)
    # The load of another thread.
    cache.core._single_flight._flights["key"] = _Flight()
    return cache.core._single_flight._lock, lambda: _then(store, lambda: cache.get_or_load("key", lambda: 1))


def _of_the_layer(store: Store, settings: Settings) -> Held:
    layer = Memory(store, 1000, is_tracking=True)
    return layer._lock, lambda: layer.get("key")


def _of_a_thread(store: Store, settings: Settings) -> Held:
    thread = BackgroundThread("idle", lambda: None)
    return thread._lock, thread.start


def _of_all_threads(store: Store, settings: Settings) -> Held:
    return background._THREADS.lock, background.restart_dead


def _of_single_objects(store: Store, settings: Settings) -> Held:
    return singleton_module._lock, singleton_module.singleton(object)


def _of_event_loops(store: Store, settings: Settings) -> Held:
    async def ask() -> IO:
        return world()

    return loop._LOCK, lambda: asyncio.run(loop.drive(ask()))


def _of_threads_for_loops(store: Store, settings: Settings) -> Held:
    return loop._WORK._lock, lambda: loop._WORK.run(bool).result()


def _of_a_client(store: Store, settings: Settings) -> Held:
    client = HttpClient("news")
    return client._lock, client.blocking


def _of_a_token(store: Store, settings: Settings) -> Held:
    login = SourceSettings(client_id="id", client_secret=SecretStr("secret"))
    auth = RedditAuth("reddit", login)
    # A thread of the parent fetches one.
    auth._turn()

    def fetch_a_token() -> None:
        _, is_ours = auth._turn()
        assert is_ours

    return auth._lock, fetch_a_token


def _of_shared_loads(store: Store, settings: Settings) -> Held:
    loads = SharedLoads()

    async def load() -> int:
        return 1

    return loads._lock, lambda: asyncio.run(loads.run("key", load))


def _of_the_database(store: Store, settings: Settings) -> Held:
    database = SentimentRepository(f"sqlite:///{settings.data_dir}/database/fork.db")._database
    return database._lock, database._prepare


def _of_a_writer(store: Store, settings: Settings) -> Held:
    spill = settings.data_dir / "spill"
    writer = Writer(SentimentRepository(f"sqlite:///{settings.data_dir}/database/fork.db"), spill=spill)
    return writer._changed, lambda: writer.flush(0.0)


def _of_a_classifier(store: Store, settings: Settings) -> Held:
    batches = Batches(lambda texts: [])
    return batches._running, lambda: batches.rate([])


def _then(store: Store, act: Callable[[], object]) -> None:
    """The child uses the server before."""
    store.check()
    act()


@contextmanager
def held(lock: Any) -> Iterator[None]:
    """Another thread holds it meanwhile."""
    is_held, is_over = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            is_held.set()
            is_over.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert is_held.wait(30.0)
        yield
    finally:
        is_over.set()
        thread.join()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # forking beside threads is the point here
@pytest.mark.parametrize(
    "of",
    [
        _of_closures,
        _of_the_delay,
        _without_redis,
        _of_its_slots,
        _of_a_purse,
        _of_the_store,
        _of_the_servers_time,
        _of_the_layout,
        _of_a_beat,
        _of_figures,
        _of_figures_under_way,
        _of_joining,
        _of_loads,
        _of_the_layer,
        _of_a_thread,
        _of_all_threads,
        _of_single_objects,
        _of_event_loops,
        _of_threads_for_loops,
        _of_a_client,
        _of_a_token,
        _of_shared_loads,
        _of_the_database,
        _of_a_writer,
        _of_a_classifier,
    ],
)
def test_a_child_waits_for_no_thread_of_its_parent(
    store: Store, settings: Settings, of: Callable[[Store, Settings], Held]
) -> None:
    """That thread is not in the child, so the lock it held would never be let go of."""
    store.check()
    lock, use = of(store, settings)
    with held(lock):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                use()
                code = 0
            finally:
                os._exit(code)
    ended: list[int] = []

    def is_over() -> bool:
        pid, status = os.waitpid(child, os.WNOHANG)
        ended.extend([status] if pid else [])
        return bool(ended)

    try:
        wait_until(is_over, 20.0, "the child's end")
    finally:
        if not ended:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(ended[0]) == 0


@pytest.mark.parametrize("way", ["slot", "fetcher"])
def test_a_child_that_ends_leaves_the_slot_to_its_parent(
    server: Server, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """It was forked within the block, and ends by sys.exit(): its stack unwinds as that of the parent would,
    which has not sent anything yet."""
    monkeypatch.setenv("REDIS_URL", server.url)
    seen: list[tuple[object, object]] = []

    def kept() -> tuple[object, object]:
        keys = get_store().keys
        key = keys.lease(quote.cache_key())
        client = server.client
        return client.zrange(keys.slots("forked"), 0, -1, withscores=True), client.hgetall(key)

    def use() -> None:
        before = kept()
        if (child := os.fork()) == 0:
            raise SystemExit
        os.waitpid(child, 0)
        seen.extend((before, kept()))

    @tbcache.source("forked", limits="5/1m").fetcher
    def quote() -> float:
        use()
        return 1.5

    def hold() -> None:
        with tbcache.get_rate_limiter("forked").slot():
            use()

    parent = os.getpid()
    try:
        (hold if way == "slot" else quote)()
    finally:
        if os.getpid() != parent:
            os._exit(0)
    before, after = seen
    assert before[0]
    assert before == after


def test_a_child_that_ends_leaves_the_slot_of_a_task_to_its_parent(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same as above for a block of a task, which a child leaves as its stack unwinds."""
    monkeypatch.setenv("REDIS_URL", server.url)

    async def use() -> None:
        held = tbcache.asyncio.get_rate_limiter("forked").slot(5, 60)
        await held.__aenter__()
        slots = get_store().keys.slots("forked")
        before = server.client.zrange(slots, 0, -1, withscores=True)
        with monkeypatch.context() as child:
            child.setattr("os.getpid", lambda: 1)
            await held.__aexit__(None, None, None)
        assert before
        assert server.client.zrange(slots, 0, -1, withscores=True) == before

    asyncio.run(use())
