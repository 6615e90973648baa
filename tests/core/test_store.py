"""The store at its end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis

from tbcache.io import run
from tbcache.limiter import limiter_of
from tbcache.limiter.member import BEAT_SECONDS
from tbcache.limiter.script import REOPEN, Reopen
from tbcache.store import Store, Unavailable
from tbcache.store import clock as clock_module
from tbcache.store import node as node_module
from tbcache.store.clock import ServerClock
from tbcache.store.node import Node
from tests.blocking import Membership, core
from tests.server import Server, wait_until


def test_a_store_closed_while_its_server_returns_stays_closed(store: Store) -> None:
    """The thread that asks for the server must not open again what was closed meanwhile."""
    store.breaker.on_return(store.close)
    store.breaker._lost(OSError("refused"))
    wait_until(lambda: not store.breaker._prober.is_running)
    assert not store.is_available


@pytest.mark.parametrize("junk", [b"", b"reddit banana why", b"reddit 1", b"\xff 1e400 \xfe", b"reddit -5 x"])
def test_a_damaged_notice_is_passed_over(store: Store, junk: bytes) -> None:
    """Any program with the right to the channel can say anything there, and all processes hear it."""
    run(store.clock.learn(10**15, 0.0, "reddit"))
    limiter_of(store).closures.on_notice(junk)
    assert limiter_of(store).closures.of("reddit") is None
    limiter_of(store).closures.on_notice(b"reddit 1100000000000000 quota")
    assert limiter_of(store).closures.of("reddit") is not None


def test_a_reopening_is_told_at_once(server: Server, store_for: Callable[..., Store]) -> None:
    """Who goes on without Redis hears of it in no other way, and would refuse everything for a month."""
    store = store_for(server, TBCACHE_REDIS_TIMEOUT="10")
    limiter_of(store).closures.close("news", 3600.0, "quota", is_from_redis=True)
    channel = store.subscribe()

    def reopen() -> Any:
        store.run(REOPEN, Reopen(store.keys.state("news")))
        return channel.get_message(timeout=1.0)

    try:
        # The subscription may come after the first.
        limiter_of(store).closures.on_notice(wait_until(reopen)["data"])
    finally:
        channel.close()
    assert limiter_of(store).closures.of("news") is None


def test_the_servers_time_is_asked_for_again_after_a_while(
    server: Server, store_for: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its clock may be set, and what is told by ours alone is wrong from then on."""
    store = store_for(server, TBCACHE_REDIS_TIMEOUT="10")
    run(store.clock.now_us("news"))
    monkeypatch.setattr(clock_module, "CLOCK_SECONDS", -1.0)
    known = store.clock._ranges[""].seen_at
    (before, _), told = store.client.time(), run(store.clock.now_us("news"))
    assert store.clock._ranges[""].seen_at > known
    assert before * 1e6 <= told


def test_the_sockets_of_a_burst_of_threads_are_closed_again(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand threads once must not be a thousand connections for ever: a server takes ten thousand."""
    node = Node(server.url, 1.0)
    try:
        for connection in [node._checkout() for _ in range(5)]:
            node._checkin(connection, node.generation)
        assert len(node._idle) == 5
        monkeypatch.setattr(node_module, "IDLE_SECONDS", 0.0)
        for _ in range(5):
            assert node.call("PING") == b"PONG"
        assert len(node._idle) == 1
    finally:
        node.close()


@pytest.mark.parametrize("end", ["disconnect", "close"])
def test_a_connection_in_use_while_all_are_closed_is_closed_when_it_comes_back(
    server: Server, end: str
) -> None:
    """A thread that is in the middle of a call while its store ends would leave a socket for ever."""
    before, node = server.connections(), Node(server.url, 30.0)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(node.call, "BLPOP", "list", "30")
        wait_until(lambda: len(server.connections() - before) == 1, what="a call under way")
        getattr(node, end)()
        assert len(server.connections() - before) == 1
        server.client.lpush("list", "1")
        assert call.result(60) == [b"list", b"1"]
    wait_until(lambda: server.connections() <= before, what="the end of the connection")
    node.close()
    # Or of a call that began before the end and comes to a connection after it.
    assert node.call("PING") == b"PONG"
    wait_until(lambda: server.connections() <= before, what="the end of its connection")


def test_what_is_asked_of_a_server_that_has_gone_is_not_in_doubt(
    private_server: Server, store_for: Callable[..., Store]
) -> None:
    """Whoever might have been heard counts as heard, and what leaves of his slots meanwhile is not his."""
    store = store_for(private_server)
    store.call("PING")
    private_server.kill()
    killed_at = time.monotonic()
    wait_until(lambda: time.monotonic() > killed_at + BEAT_SECONDS, what="the next beat")
    with pytest.raises(Unavailable) as raised:
        store.call("PING")
    assert not raised.value.is_timeout


def test_a_wait_for_an_element_ends_as_its_node_is_closed(server: Server) -> None:
    """The thread of a process that ends would wait on for seconds."""
    node = Node(server.url, 30.0)
    with ThreadPoolExecutor(1) as pool:
        wait = pool.submit(node.block, 5.0, "BLPOP", "list")
        wait_until(lambda: server.client.info("clients")["blocked_clients"] == 1, what="a wait")
        node.close()
        assert isinstance(wait.exception(60), redis.ConnectionError)


def test_a_connection_that_has_waited_long_notices_a_frozen_server_as_soon_as_any(server: Server) -> None:
    """It is used for whatever is asked next."""
    node = Node(server.url, 0.05)
    try:
        assert node.block(0.3, "BLPOP", "list") is None
        server.client.lpush("list", "1")
        assert node.block(100.0, "BLPOP", "list") == [b"list", b"1"]
        with ThreadPoolExecutor(1) as pool, server.frozen():
            assert isinstance(pool.submit(node.call, "PING").exception(30), redis.TimeoutError)
    finally:
        node.close()


@pytest.mark.parametrize("who", ["waiter", "member"])
def test_a_subscription_is_closed_whenever_its_thread_is_stopped(
    server: Server, store_for: Callable[..., Store], who: str
) -> None:
    """Also between two rounds, where the thread does nothing any more that could close it."""
    before, store, is_stopped = server.connections(), store_for(server), threading.Event()
    membership = Membership(store)
    thread: Any = store._waiter._thread if who == "waiter" else core(membership)._thread
    step = thread._step

    def last_round() -> float:
        step()
        thread.stop()
        is_stopped.set()
        return 0.0

    thread._step = last_round
    if who == "waiter":
        assert run(store.first("list", 0.01)) is None
    else:
        membership.start()
    assert is_stopped.wait(60)
    store.close()
    wait_until(lambda: server.connections() <= before, what="the end of every connection")


def test_the_day_ends_at_the_servers_midnight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures and budgets are a day's, by the server's clock, also where that is set."""
    at, midnight = [1000.0], 20_000 * 86_400
    monkeypatch.setattr(clock_module, "now", lambda: at[0])
    clock = ServerClock(_unasked, 1.0, is_cluster=False)

    def learn(server_seconds: float) -> None:
        run(clock.learn(round(server_seconds * 1e6), at[0], ""))

    learn(midnight - 10)
    days = []
    for seconds in (0.0, 9.5, 1.0, 86_399.0, 1.0):
        at[0] += seconds
        days.append(clock.day)
    assert days == [19_999, 19_999, 20_000, 20_000, 20_001]
    learn(midnight - 1)
    assert clock.day == 19_999


def test_the_day_is_worked_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each hit is counted in its day's figures, and costs little more than a GET."""
    made = []
    monkeypatch.setattr(clock_module, "day_at", lambda stamp_us: made.append(stamp_us) or 20_000)
    clock = ServerClock(_unasked, 1.0, is_cluster=False)
    run(clock.learn(20_000 * 86_400 * 1_000_000, clock_module.now(), ""))
    assert {clock.day for _ in range(100)} == {20_000}
    assert len(made) == 1


async def _unasked(source: str) -> int:
    raise AssertionError(source)
