"""What only a Redis Cluster does: hash slots that move, nodes that die, clocks of their own."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tbcache.admission import Go
from tbcache.asyncio.cache import CacheManager as AwaitedCache
from tbcache.cache import CacheManager
from tbcache.fetch import Pipeline
from tbcache.fleet import Fleet
from tbcache.io import run, utc_now
from tbcache.io.loop import drive
from tbcache.limiter import limiter_of
from tbcache.limiter.script import TAKE, Take
from tbcache.models import FetchRequest
from tbcache.models.error import ConfigurationError
from tbcache.monitoring import UsageMonitor
from tbcache.queue.script import queue_keys
from tbcache.settings import Settings
from tbcache.store import Keys, Store, Unavailable
from tbcache.store.cluster import HASH_SLOTS, hash_slot
from tbcache.store.memory import Memory
from tbcache.store.server import facts_of
from tbcache.store.start import require
from tbcache.store.wire import Seen, read_time
from tests.blocking import Admission, core, peek_list
from tests.core.conftest import TWITTER, Kept, Upstream, ask
from tests.server import ClusterServer, Server, sending, sent_here, wait_until

#: Served by the primary that has a replica.
NEWS = replace(TWITTER, name="news")

StoreFor = Callable[..., Store]


@pytest.fixture
def cluster(_cluster: ClusterServer) -> Iterator[ClusterServer]:
    """Three nodes for all, to be left as they were."""
    _cluster.flush()
    yield _cluster
    assert _cluster.keys_without_ttl() == []


@pytest.fixture(scope="module")
def frail() -> Iterator[ClusterServer]:
    """Three primaries, of which the first has a replica: to kill and to promote."""
    cluster = ClusterServer(replicas=1).start()
    yield cluster
    cluster.close()


names = st.from_regex(r"[a-z_][a-z0-9_]{0,30}", fullmatch=True) | st.sampled_from(
    ["ñandú", "数据", "_", "x1"]
)
symbols = st.from_regex(r"[A-Z0-9][A-Z0-9.\-]{0,14}", fullmatch=True)


@given(source=names, symbol=symbols, hours=st.integers(1, 10_000), token=st.text(max_size=40))
def test_everything_of_a_source_lies_in_one_hash_slot(
    source: str, symbol: str, hours: int, token: str
) -> None:
    """A script may touch keys of one hash slot only."""
    keys, now, key = Keys("trading_bot"), utc_now(), FetchRequest(source, symbol, hours).key
    found = [
        keys.slots(source),
        keys.state(source),
        keys.back(source),
        keys.fleet(source),
        keys.outbox(source),
    ]
    found += [keys.usage(source, now), keys.billed(source, now), keys.entry(key), keys.lease(key)]
    found += [keys.wake(source, token), keys.result(source, token), *queue_keys(keys, source)]
    assert {hash_slot(name) for name in found} == {hash_slot(source)}


def test_the_commands_of_one_ask_reach_every_node(cluster: ClusterServer, store_for: StoreFor) -> None:
    """Keys of one command, and of several that are sent together, may lie anywhere."""
    store = store_for(cluster)
    keys = [f"key-{number}" for number in range(30)]
    *done, refused, told = store.execute(
        *(("SET", key, 1, "EX", 60) for key in keys), ("HGET", "key-7", "field"), ("TIME",)
    )
    assert done == [b"OK"] * 30
    assert "WRONGTYPE" in str(refused)
    assert read_time(told) / 1e6 == pytest.approx(time.time(), abs=60)
    assert all(node.client.dbsize() for node in cluster.nodes)
    # And the layout.
    assert store.call("DBSIZE") == 31
    memory = [node.client.info("memory")["used_memory"] for node in cluster.nodes]
    assert (facts_of(store.call("INFO")).memory_bytes or 0) > max(memory)
    assert store.execute(("UNLINK", *keys[:20]), ("UNLINK", keys[20])) == [20, 1]
    assert store.call("EXISTS", *keys[20:23]) == 2


def test_the_cache_is_cleared_on_every_node(cluster: ClusterServer, store_for: StoreFor) -> None:
    """A pattern knows no nodes."""
    cache = CacheManager(store_for(cluster))
    for number in range(40):
        cache.set(f"head{number}:x", number)
    assert [cache.get(f"head{number}:x") for number in range(40)] == list(range(40))
    status = cache.status()
    # And the layout.
    assert (status.is_available, status.keys) == (True, 41)
    assert cache.clear_pattern("head1*:x") == 11
    assert cache.clear_pattern("*") == 29
    assert not cache.exists("head2:x")


def test_the_tasks_of_a_loop_ask_every_node(cluster: ClusterServer, store_for: StoreFor) -> None:
    """A loop has no connection of its own to a node: a few threads ask, and each task gets its own answer."""
    store = store_for(cluster, TBCACHE_REDIS_TIMEOUT="10")
    cache = AwaitedCache(CacheManager(store))
    limiter = limiter_of(store)

    async def ask(number: int) -> tuple[Any, Any, Any]:
        key = f"head{number}:x"
        await cache.set(key, number)
        ttls = await drive(store.pipeline(("PTTL", store.keys.entry(key)), ("GET", store.keys.entry("no:x"))))
        keys = limiter.window_keys(f"s{number}")
        said = Take(keys, "5:60000000", False, "", 1, 0, 0, 0, "", 0, limiter.member, "bound")
        return await cache.get(key), ttls, (await drive(store.ask(TAKE, said))).limit

    async def main() -> list[tuple[Any, Any, Any]]:
        found = await asyncio.gather(*(ask(number) for number in range(40)))
        asking = [thread for thread in threading.enumerate() if thread.name.startswith("tbcache-call")]
        assert 1 <= len(asking) <= 8
        return found

    for number, (value, (ttl, nothing), limit) in enumerate(asyncio.run(main())):
        assert (value, nothing, limit) == (number, None, 5)
        assert ttl > 0
    assert all(node.client.dbsize() for node in cluster.nodes)


def test_a_task_that_is_cancelled_as_it_asks_a_cluster_leaves_the_answers_of_the_others(
    cluster: ClusterServer, store_for: StoreFor
) -> None:
    """Its thread has the answer to itself, and goes on to the next ask."""
    store = store_for(cluster, TBCACHE_REDIS_TIMEOUT="10")

    async def ask(number: int) -> Any:
        key = f"echo{number}"
        await drive(store.command("SET", key, number, "EX", 60))
        return await drive(store.command("GET", key))

    async def main() -> list[Any]:
        tasks = [asyncio.create_task(ask(number)) for number in range(60)]
        await asyncio.sleep(0)
        for task in tasks[::3]:
            task.cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    for number, found in enumerate(asyncio.run(main())):
        assert isinstance(found, asyncio.CancelledError) if number % 3 == 0 else found == str(number).encode()
    assert [store.call("GET", f"echo{number}") for number in (1, 2, 4)] == [b"1", b"2", b"4"]


def test_the_fleet_is_seen_through_a_cluster(
    cluster: ClusterServer, store_for: StoreFor, settings_for: Callable[..., Settings]
) -> None:
    """Sources lie on different nodes, and one page shows them all."""
    status = Fleet(settings_for(cluster), store_for(cluster)).status()
    assert status.server.is_available
    assert {source.name for source in status.sources} >= {"twitter", "reddit", "news"}


def test_the_in_process_layer_stays_off(cluster: ClusterServer, store_for: StoreFor) -> None:
    """One connection hears of one node's changes only: rather no layer than an old value."""
    layer = Memory(store_for(cluster), 1 << 20, is_tracking=True)
    before = threading.active_count()
    token = layer.begin("twitter:AAPL:24")
    assert not layer.put("twitter:AAPL:24", "value", 60, token, 10)
    assert threading.active_count() == before


def test_clocks_of_nodes_are_not_compared_with_each_other(
    cluster: ClusterServer, store_for: StoreFor
) -> None:
    """An hour between two nodes is no jump: no window is given up for it."""
    store, now, now_us = store_for(cluster), time.monotonic(), round(time.time() * 1e6)
    limiter_of(store).epochs.learn("twitter", Seen("one"), 0.0, None)
    run(store.clock.learn(now_us - 3_600_000_000, now, "twitter"))
    run(store.clock.learn(now_us, now, "reddit"))
    assert limiter_of(store).epochs.of("twitter") == "one"
    assert run(store.clock.deadline_us("reddit")) - run(store.clock.deadline_us("twitter")) == pytest.approx(
        3.6e9, abs=1e6
    )
    asked_at, now_us = time.monotonic(), round(time.time() * 1e6)
    run(store.clock.learn(now_us, asked_at, "twitter"))
    assert limiter_of(store).epochs.of("twitter") != "one"


def test_settings_that_contradict_the_server_are_named(
    cluster: ClusterServer, server: Server, store_for: StoreFor, settings_for: Callable[..., Settings]
) -> None:
    """One clear line, wherever the variable is missing or too much."""
    plain = store_for(cluster, REDIS_CLUSTER="false")
    keys = [plain.keys.slots(source) for source in ("twitter", "reddit", "news")]
    with pytest.raises(ConfigurationError, match="set REDIS_CLUSTER=true"):
        [plain.call("GET", key) for key in keys]
    with pytest.raises(ConfigurationError, match="set REDIS_CLUSTER=true"):
        plain.execute(*(("GET", key) for key in keys))
    with pytest.raises(ConfigurationError, match="does not run as a cluster"):
        require(store_for(server, REDIS_CLUSTER="true"))
    with pytest.raises(ConfigurationError, match="no database but 0"):
        settings_for(cluster, REDIS_URL="redis://127.0.0.1:7000/3")


def give_away(cluster: ClusterServer, key: str, *, wholly: bool) -> tuple[Server, Server]:
    """Let the hash slot of ``key`` move to another node; without ``wholly``, only begin to."""
    number = hash_slot(key)
    giver = cluster.node_of(key)
    taker = next(node for node in cluster.nodes[:3] if node is not giver)
    taker.client.execute_command("CLUSTER", "SETSLOT", number, "IMPORTING", cluster.id_of(giver))
    giver.client.execute_command("CLUSTER", "SETSLOT", number, "MIGRATING", cluster.id_of(taker))
    if wholly:
        keys = giver.client.execute_command("CLUSTER", "GETKEYSINSLOT", number, 100)
        if keys:
            giver.client.migrate("127.0.0.1", taker.port, keys, 0, 5000)
        for node in (taker, giver):
            node.client.execute_command("CLUSTER", "SETSLOT", number, "NODE", cluster.id_of(taker))
    return giver, taker


def test_a_key_is_found_while_its_hash_slot_moves(frail: ClusterServer, store_for: StoreFor) -> None:
    """What is not there any more is asked for where it goes to."""
    store = store_for(frail)
    giver, taker = give_away(frail, "{moving}", wholly=False)
    try:
        assert store.call("SET", "{moving}a", "1", "EX", 60) == b"OK"
        assert store.client.set("{moving}b", "2", ex=60) is True
        pipe: Any = store.client.pipeline(transaction=False)
        pipe.get("{moving}a")
        pipe.get("elsewhere")
        pipe.rpush("{moving}list", "x")
        pipe.expire("{moving}list", 60)
        assert pipe.execute() == [b"1", None, 1, True]
        assert peek_list(store, "{moving}list", 0.1) == b"x"
        assert taker.client.dbsize() >= 3
    finally:
        for node in (taker, giver):
            node.client.execute_command(
                "CLUSTER", "SETSLOT", hash_slot("{moving}"), "NODE", frail.id_of(taker)
            )


def test_a_hash_slot_that_moved_is_followed(frail: ClusterServer, store_for: StoreFor) -> None:
    """By commands, pipelines, scripts and those who wait for a list."""
    store = store_for(frail)
    keys = limiter_of(store).window_keys("moved")
    ask = Take(keys, "5:60000000", True, "id", 1, 0, 0, 0, "", 0, "me", "fleet")
    assert store.call("GET", "{moved}") is None
    for use in (
        lambda: store.call("SET", "{moved}", "1", "EX", 60),
        lambda: store.client.get("{moved}"),
        lambda: store.client.pipeline(transaction=False).get("{moved}").execute(),
        lambda: store.run(TAKE, ask),
        lambda: peek_list(store, "{moved}list", 0.01),
    ):
        wait_until(frail.agrees)
        _, taker = give_away(frail, "{moved}", wholly=True)
        use()
        before = taker.calls("get")
        store.call("GET", "{moved}")
        assert taker.calls("get") == before + 1


def test_a_replica_that_is_promoted_is_followed(frail: ClusterServer, store_for: StoreFor) -> None:
    """A planned change of roles is noticed by nobody."""
    store = store_for(frail)
    store.call("SET", "{news}planned", "1", "EX", 60)
    primary = frail.node_of("{news}")
    replica = next(node for node in frail.nodes if node.client.info("replication")["role"] == "slave")
    waiter = Waiter(store, "{news}list")
    wait_until(lambda: primary.calls("lindex"))
    replica.client.execute_command("CLUSTER", "FAILOVER")
    wait_until(lambda: replica.client.info("replication")["role"] == "master", 10)
    wait_until(lambda: primary.client.info("replication")["role"] == "slave", 10)
    assert store.call("GET", "{news}planned") == b"1"
    store.client.rpush("{news}list", "x")
    store.client.expire("{news}list", 60)
    waiter.join(30)
    assert waiter.found == b"x"
    assert store.is_available
    wait_until(lambda: primary.client.info("replication")["master_link_status"] == "up", 10)


class Waiter(threading.Thread):
    """Waits for a list in a thread of its own, as long as it takes."""

    def __init__(self, store: Store, key: str) -> None:
        super().__init__(daemon=True)
        self.found: bytes | None = None
        self._store, self._key = store, key
        self.start()

    def run(self) -> None:
        while self.found is None:
            self.found = peek_list(self._store, self._key, 1.0)


def test_a_primary_that_dies_raises_to_no_caller_and_its_replica_goes_on(
    frail: ClusterServer, store_for: StoreFor, settings_for: Callable[..., Settings]
) -> None:
    """As when Redis is away: the share of the limit at first, the window again afterwards."""
    store, settings = store_for(frail), settings_for(frail)
    admission = Admission(store, settings, UsageMonitor(store, settings))
    kept = Kept()
    pipeline = Pipeline(core(admission), lambda: kept)  # type: ignore[arg-type, return-value]
    upstream = Upstream(NEWS)
    assert pipeline.run(upstream, FetchRequest("news", "AAPL")).origin == "live"
    primary = frail.node_of("{news}")
    primary.kill()
    with sending() as sent:
        assert pipeline.run(upstream, FetchRequest("news", "MSFT")).origin == "live"
        assert pipeline.run(upstream, FetchRequest("news", "MSFT")).origin == "cache"
    assert len(sent_here(sent)) == 1
    with pytest.raises(Unavailable, match=f"node 127.0.0.1:{primary.port}"):
        store.call("GET", "{news}")
    wait_until(lambda: store.is_available, 15, "the replica's promotion")
    assert store.client.zcard(store.keys.slots("news")) == 2
    assert isinstance(admission.admit(ask("GME", NEWS)), Go)
    primary.start()
    wait_until(lambda: primary.client.info("replication")["role"] == "slave", 10)
    wait_until(lambda: primary.client.info("replication")["master_link_status"] == "up", 10)
    pipeline.close()


def test_a_primary_that_hangs_holds_nobody_up(frail: ClusterServer, store_for: StoreFor) -> None:
    """One call waits for it; the others know, also those for other nodes."""
    store = store_for(frail, TBCACHE_REDIS_TIMEOUT="1.0")
    store.client.ping()
    with frail.node_of("{twitter}").frozen():
        with sending() as sent, pytest.raises(Unavailable):
            store.call("GET", "{twitter}")
        assert sent_here(sent).count("GET") == 1
        with sending() as sent, pytest.raises(Unavailable):
            store.call("GET", "{reddit}")
        assert not sent_here(sent)
    wait_until(lambda: store.is_available, 10)
    assert store.call("GET", "{twitter}") is None


def test_callers_who_find_a_cluster_hanging_wait_side_by_side(
    frail: ClusterServer, store_for: StoreFor
) -> None:
    """One of them asks for the nodes; the others must not each do so after it."""
    store, seconds = store_for(frail, TBCACHE_REDIS_TIMEOUT="1.0"), []

    def call() -> None:
        started = time.monotonic()
        with pytest.raises(Unavailable):
            store.call("GET", "{twitter}")
        seconds.append(time.monotonic() - started)

    with frail.nodes[0].frozen():
        callers = [threading.Thread(target=call) for _ in range(8)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
    assert max(seconds) < 4 * store.settings.redis_timeout
    wait_until(lambda: store.is_available, 10)


def test_a_node_whose_cluster_is_incomplete_is_no_server(
    store_for: StoreFor, settings_for: Callable[..., Settings]
) -> None:
    """A cluster that serves a part of the hash slots only is as good as away."""
    lone = Server(**{"cluster-enabled": "yes", "cluster-port": "0"})
    lone.start()
    try:
        lone.client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, HASH_SLOTS // 2)
        store = store_for(lone, REDIS_CLUSTER="true")
        with pytest.raises(Unavailable):
            store.call("GET", next(key for key in "abcdefgh" if hash_slot(key) > HASH_SLOTS // 2))
        lone.client.execute_command("CLUSTER", "ADDSLOTSRANGE", HASH_SLOTS // 2 + 1, HASH_SLOTS - 1)
        wait_until(lambda: store.is_available, 10)
        assert store.call("GET", "a") is None
    finally:
        lone.close()
