"""The in-process layer is fast, bounded, and never sure when it should not be."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tbcache.store import Store, Unavailable, tracking
from tbcache.store import memory as memory_module
from tbcache.store.memory import MISSING, OVERHEAD_BYTES, Memory
from tests.server import Server, wait_until

PREFIX = "trading_bot:cache:"
KEY = "twitter:AAPL:24"


@pytest.fixture
def layer_for() -> Iterator[Callable[..., Memory]]:
    """Layers that are on, closed after the test."""
    layers: list[Memory] = []

    def build(store: Store, max_bytes: int = 1 << 20) -> Memory:
        layers.append(Memory(store, max_bytes, is_tracking=True))
        turn_on(layers[-1])
        return layers[-1]

    yield build
    for layer in layers:
        layer.close()


@pytest.fixture
def layer(store: Store, layer_for: Callable[..., Memory]) -> Memory:
    return layer_for(store)


def turn_on(layer: Memory) -> None:
    layer.begin(KEY)
    wait_until(lambda: layer.is_on, what="the layer's being on")


def keep(layer: Memory, key: str, value: Any, ttl: float = 60, size: int = 10) -> bool:
    return layer.put(key, value, ttl, layer.begin(key), size)


def change(server: Server, store: Store, key: str, value: str = "new") -> None:
    server.client.set(store.keys.entry(key), value, ex=60)


def test_it_gives_what_was_put_and_counts_it(layer: Memory) -> None:
    """None is a value; a miss is something else."""
    assert layer.get(KEY) is MISSING
    assert keep(layer, KEY, None, size=10)
    assert layer.get(KEY) is None
    assert layer.stats.entries == 1
    assert layer.stats.bytes == 10 + len(KEY) + OVERHEAD_BYTES
    assert layer.stats.hits == 1


def test_it_opens_no_connection_before_its_first_use(server: Server, store: Store) -> None:
    """A process that only enqueues should not pay for a thread."""
    before = threading.active_count()
    layer = Memory(store, 1000, is_tracking=True)
    assert layer.get(KEY) is MISSING
    assert not layer.is_on
    assert threading.active_count() == before
    layer.close()


def test_a_change_by_anyone_drops_the_value(server: Server, store: Store, layer: Memory) -> None:
    """Else this process would serve an old answer until its TTL ends."""
    keep(layer, KEY, "old")
    keep(layer, "reddit:GME:24", "other")
    change(server, store, KEY)
    wait_until(lambda: layer.get(KEY) is MISSING, what="the drop")
    assert layer.get("reddit:GME:24") == "other"


def test_keys_outside_the_prefix_are_none_of_its_business(server: Server, layer: Memory) -> None:
    """Slots and queues change all the time."""
    keep(layer, KEY, "value")
    server.client.set("trading_bot:other:{twitter}:AAPL:24", "x", ex=60)
    change_seen = layer.begin(KEY)
    server.client.set(f"{PREFIX}{{marker}}:1", "x", ex=60)
    wait_until(lambda: layer.begin("marker:1").changes > 0, what="the marker's invalidation")
    assert layer.get(KEY) == "value"
    assert layer.begin(KEY).changes == change_seen.changes


def test_a_value_read_before_a_change_is_not_put_after_it(
    server: Server, store: Store, layer: Memory
) -> None:
    """The classic race: its invalidation has come and gone, and the old value would stay."""
    start = layer.begin(KEY)
    change(server, store, KEY)
    wait_until(lambda: layer.begin(KEY).changes > start.changes, what="the invalidation")
    assert not layer.put(KEY, "old", 60, start, 10)
    assert layer.get(KEY) is MISSING
    assert keep(layer, KEY, "new")


@pytest.mark.parametrize("event", ["discard", "flush"])
def test_own_changes_refuse_values_read_before_them(layer: Memory, event: str) -> None:
    """A thread that writes must not be overtaken by one that was reading."""
    start = layer.begin(KEY)
    if event == "discard":
        layer.discard(KEY)
    else:
        layer.flush()
    assert not layer.put(KEY, "old", 60, start, 10)


def test_a_flush_of_the_server_empties_it(server: Server, layer: Memory) -> None:
    """FLUSHALL names no keys, it means all of them."""
    keep(layer, KEY, "value")
    start = layer.begin(KEY)
    server.client.flushall()
    wait_until(lambda: layer.get(KEY) is MISSING, what="the flush")
    assert not layer.put(KEY, "value", 60, start, 10)
    assert layer.is_on


def test_an_entry_ends_with_its_ttl(layer: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted from before the read, so that a slow read makes no value older than allowed."""
    now = time.monotonic()
    clock = [now]
    monkeypatch.setattr(memory_module.time, "monotonic", lambda: clock[0])
    start = layer.begin(KEY)
    clock[0] = now + 0.3
    assert layer.put(KEY, "value", 0.5, start, 10)
    assert layer.get(KEY) == "value"
    clock[0] = now + 0.5
    assert layer.get(KEY) is MISSING
    assert layer.stats.entries == 0


def test_a_stalled_thread_turns_it_off(layer: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was stopped for a minute must not trust what it knew before."""
    keep(layer, KEY, "value", ttl=3600)
    later = time.monotonic() + 60
    monkeypatch.setattr(memory_module.time, "monotonic", lambda: later)
    assert layer.get(KEY) is MISSING
    assert not layer.is_on


def test_it_is_bounded_in_bytes_and_drops_the_least_recently_used(
    store: Store, layer_for: Callable[..., Memory]
) -> None:
    """A worker's memory may not grow with the number of symbols."""
    size = 1000 - OVERHEAD_BYTES - len("key:0")
    layer = layer_for(store, max_bytes=3000)
    for n in range(3):
        assert keep(layer, f"key:{n}", n, size=size)
    assert layer.get("key:0") == 0
    assert keep(layer, "key:3", 3, size=size)
    assert [layer.get(f"key:{n}") for n in (0, 2, 3)] == [0, 2, 3]
    assert layer.get("key:1") is MISSING
    assert layer.stats.bytes == 3000
    assert not keep(layer, "key:4", 4, size=3000)
    keep(layer, "key:3", "again", size=size)
    assert (layer.stats.entries, layer.stats.bytes) == (3, 3000)


def test_a_killed_server_turns_it_off_and_its_return_on(
    private_server: Server, store_for: Callable[..., Store], layer_for: Callable[..., Memory]
) -> None:
    """Nobody tells of changes made while we were cut off."""
    layer = layer_for(store_for(private_server))
    keep(layer, KEY, "value")
    start = layer.begin(KEY)
    private_server.kill()
    wait_until(lambda: not layer.is_on, what="noticing the kill")
    assert layer.get(KEY) is MISSING
    assert not layer.put(KEY, "value", 60, start, 10)
    cut_off = layer.begin(KEY)
    private_server.start()
    wait_until(lambda: layer.is_on, what="coming back")
    assert layer.get(KEY) is MISSING
    assert not layer.put(KEY, "value", 60, start, 10)
    assert not layer.put(KEY, "value", 60, cut_off, 10)
    assert keep(layer, KEY, "new")


def test_what_was_kept_stands_in_while_the_server_is_away(
    private_server: Server,
    store_for: Callable[..., Store],
    layer_for: Callable[..., Memory],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Fresh a moment ago beats nothing at all; what may have changed since its return does not."""
    store = store_for(private_server)
    layer = layer_for(store)
    for key in (KEY, "dropped", "cleared"):
        keep(layer, key, "value", ttl=60)
    assert layer.recall(KEY) is None
    private_server.kill()
    wait_until(lambda: not layer.is_on, what="noticing the kill")
    with pytest.raises(Unavailable):
        store.call("PING")
    kept = layer.recall(KEY)
    assert kept is not None
    assert kept == ("value", pytest.approx(60, abs=5), False)
    layer.discard("dropped")
    assert layer.recall("dropped") is None
    now = time.monotonic()
    with monkeypatch.context() as patch:
        patch.setattr(memory_module.time, "monotonic", lambda: now + 61)
        assert layer.recall(KEY) is None
    assert layer.recall("cleared") is not None
    layer.clear("clear*", in_redis=False)
    assert layer.recall("cleared") is None
    assert layer.recall(KEY) is not None


@pytest.mark.parametrize("is_told_first", [True, False])
def test_what_this_process_stored_stands_in_until_another_changes_it(
    server: Server, store: Store, layer: Memory, monkeypatch: pytest.MonkeyPatch, is_told_first: bool
) -> None:
    """It was paid for a second before the server went. While that is there, it is asked."""

    def put(key: str) -> None:
        start, began = layer.begin(key), time.monotonic()
        if is_told_first:
            change(server, store, key)
            wait_until(lambda: layer.begin(key).changes > start.changes, what="the news of our own change")
        assert layer.put_own(key, b"1", 60, start, began)
        if not is_told_first:
            start = layer.begin(key)
            change(server, store, key)
            wait_until(lambda: layer.begin(key).changes > start.changes, what="the news of our own change")

    for key in (KEY, "twitter:MSFT:24"):
        put(key)
    start = layer.begin(KEY)
    server.client.delete(store.keys.entry(KEY))
    wait_until(lambda: layer.begin(KEY).changes > start.changes, what="the news of the other's change")
    assert layer.get("twitter:MSFT:24") is MISSING
    monkeypatch.setattr(type(store), "is_available", False)
    assert layer.recall(KEY) is None
    kept = layer.recall("twitter:MSFT:24")
    assert kept is not None
    assert (kept.payload, kept.is_fallback) == (b"1", False)


def test_what_may_not_be_as_this_process_stored_it_does_not_stand_in(
    store: Store, layer: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clear during its load, two changes, a deletion by this process, a read that may be of a newer one."""
    began = time.monotonic()
    layer.flush()
    assert not layer.put_own(KEY, b"1", 60, layer.begin(KEY), began)
    start, began = layer.begin(KEY), time.monotonic()
    for _ in range(2):
        layer.invalidate(KEY)
    assert not layer.put_own(KEY, b"1", 60, start, began)
    start = layer.begin(KEY)
    layer.delete(KEY, in_redis=True)
    assert not layer.put_own(KEY, b"1", 60, start, began)
    assert layer.put_own(KEY, b"1", 60, layer.begin(KEY), began)
    assert keep(layer, "reddit:GME:24", "read")
    monkeypatch.setattr(Memory, "is_on", False)
    for key in (KEY, "reddit:GME:24"):
        assert not keep(layer, key, "newer")
    monkeypatch.setattr(type(store), "is_available", False)
    assert layer.recall(KEY) is layer.recall("reddit:GME:24") is None
    assert not layer.put_own(KEY, b"1", 60, layer.begin(KEY), began), "nobody would tell of a change"


def test_nothing_stands_in_from_before_an_earlier_outage(
    private_server: Server,
    store_for: Callable[..., Store],
    layer_for: Callable[..., Memory],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Between the two, others could change it, and told nobody who was not connected."""
    store = store_for(private_server)
    layer = layer_for(store)
    keep(layer, KEY, "value")

    def cannot_connect() -> None:
        raise ConnectionError

    # The layer's own connection is slower to be back than the store, all the while.
    monkeypatch.setattr(layer._tracking, "_track", cannot_connect)
    for expected in (True, False):
        private_server.kill()
        with pytest.raises(Unavailable):
            store.call("PING")
        assert (layer.recall(KEY) is not None) is expected
        private_server.start()
        wait_until(lambda: store.is_available, what="coming back")


def test_a_frozen_server_is_noticed(
    private_server: Server, store_for: Callable[..., Store], layer_for: Callable[..., Memory]
) -> None:
    """A connection that stays open and says nothing looks like one with nothing to say."""
    layer = layer_for(store_for(private_server))
    keep(layer, KEY, "value")
    with private_server.frozen():
        started = time.monotonic()
        wait_until(lambda: layer.get(KEY) is MISSING, what="noticing the freeze")
        assert time.monotonic() - started < 3
        assert not layer.is_on
    wait_until(lambda: layer.is_on, what="coming back")


def test_a_lost_connection_is_replaced(server: Server, layer: Memory) -> None:
    """Someone's CLIENT KILL or a firewall's idle timeout is no reason to stay off."""
    keep(layer, KEY, "value")
    generation = layer.begin(KEY).generation
    server.client.client_kill_filter(_type="normal", skipme=True)
    wait_until(lambda: layer.begin(KEY).generation > generation and layer.is_on, what="a new connection")
    assert layer.get(KEY) is MISSING


#: Of writes, each of which the readers have to see.
ROUNDS = 200


def test_no_reader_sees_an_old_value_once_its_invalidation_is_in(
    server: Server,
    store_for: Callable[..., Store],
    layer_for: Callable[..., Memory],
) -> None:
    """Two processes' worth of readers and a writer: after the last write all agree on it."""
    stores = [store_for(server) for _ in range(2)]
    layers = [layer_for(store) for store in stores]
    keys = [f"twitter:K{n}:24" for n in range(5)]
    done = threading.Event()
    wrong: list[str] = []

    def read_on(store: Store, layer: Memory) -> None:
        newest = dict.fromkeys(keys, 0)
        # They let the writer go on: readers without a pause have most of the time of a machine with one core.
        while not done.wait(0.0001):
            for key in keys:
                value = layer.get(key)
                if value is MISSING:
                    start = layer.begin(key)
                    value = int(store.client.get(store.keys.entry(key)) or 0)
                    layer.put(key, value, 60, start, 10)
                if value < newest[key]:
                    wrong.append(f"{key}: {value} after {newest[key]}")
                newest[key] = value

    pairs = list(zip(stores, layers, strict=True))
    threads = [threading.Thread(target=read_on, args=pair) for pair in pairs]
    for thread in threads:
        thread.start()
    for round_ in range(1, ROUNDS + 1):
        for key in keys:
            change(server, stores[0], key, str(round_))
    wait_until(
        lambda: all(layer.get(key) == ROUNDS for layer in layers for key in keys), what="the last write"
    )
    done.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert all(layer.stats.hits > 0 for layer in layers)


def _in_child(layer: Memory, results: Any) -> None:
    found = layer.get(KEY)
    turn_on(layer)
    keep(layer, KEY, "child's")
    results.put((found is MISSING, layer.get(KEY), layer.is_on))
    layer.close()
    results.close()
    results.join_thread()
    os._exit(0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # forking beside threads is the point here
def test_a_forked_child_starts_afresh(store: Store, layer: Memory) -> None:
    """The child has the parent's memory, but neither its thread nor its connection."""
    keep(layer, KEY, "parent's")
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    child = context.Process(target=_in_child, args=(layer, results))
    child.start()
    try:
        assert results.get(timeout=60) == (True, "child's", True)
    finally:
        child.join(30)
        results.close()
    assert layer.get(KEY) == "parent's"


def test_closing_ends_the_thread_and_keeps_it_off(
    store: Store, layer_for: Callable[..., Memory], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stopping worker must not wait for a thread that waits for the server."""
    monkeypatch.setattr(tracking, "PING_SECONDS", 60.0)
    layer = layer_for(store)
    before = [thread for thread in threading.enumerate() if thread.name == "tbcache-local"]
    assert before
    layer.close()
    wait_until(lambda: not any(thread.is_alive() for thread in before), what="the thread's end")
    # The thread may have had the answer to its last ping in hand.
    layer.trust(time.monotonic() + 1)
    layer.begin(KEY)
    assert not layer.is_on
    assert not keep(layer, KEY, "value")
