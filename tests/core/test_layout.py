"""The layout of what is in Redis: processes of one layout alone use it, and nothing is lost at an upgrade."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import timedelta

import dramatiq
import msgspec
import pytest

from tbcache import fleet as fleet_module
from tbcache.io import run, utc_now
from tbcache.limiter import limiter_of
from tbcache.models import FetchRequest, Limit
from tbcache.models.error import ConfigurationError
from tbcache.models.version import __version__
from tbcache.monitoring import UsageMonitor
from tbcache.queue import PacingBroker, Queue
from tbcache.settings import Settings
from tbcache.store import Store, Unavailable
from tbcache.store.layout import ALIVE_SECONDS, LAYOUT
from tbcache.store.server import TIME, AskTime
from tbcache.store.start import require
from tests.core.test_queue import FAST, SLOW, Fleet
from tests.server import Server, wait_until

StoreFor = Callable[..., Store]


@pytest.fixture
def holder(store_for: StoreFor, server: Server) -> Store:
    """Somebody else, who writes keys past every check."""
    store = store_for(server)
    store.breaker.is_greeted = True
    return store


def write_newer(holder: Store) -> None:
    holder.client.hset(holder.keys.layout, mapping={"layout": LAYOUT + 1, "version": "9.9.0"})
    holder.client.expire(holder.keys.layout, 60)


def beat_of_0_1_0(holder: Store, age_seconds: float = 0.0) -> None:
    """A heartbeat, to the letter."""
    at = (utc_now() - timedelta(seconds=age_seconds)).isoformat().replace("+00:00", "Z")
    mark = (
        '{"role":"worker","pid":4711,"host":"box","threads":8,"busy":0,"doing":[],'
        f'"started_at":"{at}","beat_at":"{at}"}}'
    )
    holder.client.hset("trading_bot:workers", "box-4711", mark)
    holder.client.expire("trading_bot:workers", 86400)


def test_the_first_call_writes_the_layout_down(store: Store, server: Server) -> None:
    """Whoever comes later must be able to tell, also when nobody of us lives any more."""
    assert not server.client.exists(store.keys.layout)
    store.call("GET", "trading_bot:{twitter}:x")
    found = server.client.hgetall("trading_bot:layout")
    assert found == {b"layout": str(LAYOUT).encode(), b"version": __version__.encode()}
    assert server.client.ttl("trading_bot:layout") > 30 * 86400


def test_the_layout_costs_no_round_trip_on_the_hot_path(store: Store, server: Server) -> None:
    """A hit is one round trip, and the first call alone pays for the rest."""
    store.call("GET", "trading_bot:{twitter}:x")
    before = server.client.info("stats")["total_commands_processed"]
    for _ in range(20):
        store.call("GET", "trading_bot:{twitter}:x")
    assert server.client.info("stats")["total_commands_processed"] - before == 21


def test_threads_that_come_first_together_agree_once(store: Store, server: Server) -> None:
    """A worker starts eight threads at once."""
    before = server.calls("eval")
    threads = [threading.Thread(target=store.call, args=("GET", "{twitter}")) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.calls("eval") - before == 2


def test_what_a_later_tbcache_holds_is_left_alone(
    store: Store, holder: Store, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """What its keys mean is not known here: Redis counts as away, and one line says why."""
    write_newer(holder)
    ours = rf"this is tbcache {__version__} \(layout {LAYOUT}\)"
    reason = rf"layout of tbcache 9\.9\.0 \(layout {LAYOUT + 1}\); {ours}"
    with caplog.at_level(logging.WARNING, "tbcache"), pytest.raises(Unavailable, match=reason):
        store.run(TIME, AskTime(store.keys.state("twitter")))
    monitor = UsageMonitor(store, settings)
    monitor.beat("client", started_at=utc_now())
    assert list(holder.client.scan_iter("*")) == [b"trading_bot:layout"]
    assert [record.msg for record in caplog.records] == ["redis.lost"]
    with pytest.raises(ConfigurationError, match=rf"{reason}.*TBCACHE_NAMESPACE") as caught:
        require(store)
    assert "\n" not in str(caught.value)
    status = fleet_module.Fleet(settings, store).status()
    assert "tbcache 9.9.0" in status.lines[0]


def test_nothing_is_taken_of_a_limit_that_others_use_unknown_to_us(store: Store, holder: Store) -> None:
    """With Redis away a process goes on with its share; here it has none, and the others use the whole."""
    write_newer(holder)
    with pytest.raises(Unavailable):
        store.check()
    assert limiter_of(store).process_window("twitter").take("slot", 1, (Limit(5, 60.0),), 15.0) > 0.0


def test_redis_is_used_again_when_the_later_tbcache_has_gone(store: Store, holder: Store) -> None:
    """Who goes back to an earlier version need not restart what waits for it."""
    write_newer(holder)
    with pytest.raises(Unavailable):
        store.check()
    holder.client.delete(holder.keys.layout)
    wait_until(lambda: store.is_available, 10)
    assert store.call("HGET", store.keys.layout, "layout") == str(LAYOUT).encode()
    assert limiter_of(store).process_window("twitter").take("slot", 1, (Limit(5, 60.0),), 15.0) > 0.0, (
        "Redis is there"
    )


def test_redis_is_taken_over_once_no_process_of_an_earlier_tbcache_lives(store: Store, holder: Store) -> None:
    """One of 0.1.0 that still runs would take the names of claims for jobs, and lose them."""
    beat_of_0_1_0(holder)
    with pytest.raises(
        Unavailable, match=r"box-4711 of tbcache 0\.1\.0 \(layout 1\) uses Redis; this is tbcache"
    ):
        store.check()
    assert not holder.client.exists(holder.keys.layout)
    beat_of_0_1_0(holder, age_seconds=ALIVE_SECONDS + 1)
    wait_until(lambda: store.is_available, 10)
    assert holder.client.hget(holder.keys.layout, "layout") == str(LAYOUT).encode()


@pytest.mark.parametrize(
    "beat_at", ["2999-01-01T00:00:00Z", "2026-01-01T00:00:00", "0001-01-01T00:00:00+14:00"]
)
def test_what_is_damaged_keeps_nobody_out(store: Store, server: Server, beat_at: str) -> None:
    """A key of another type or a heartbeat of no time says nothing of who lives."""
    server.client.set(store.keys.layout, "junk", ex=60)
    server.client.hset(store.keys.workers, "far", f'{{"beat_at":"{beat_at}"}}')
    server.client.hset(store.keys.workers, "deep", '{"x":' * 5000)
    server.client.expire(store.keys.workers, 60)
    assert store.call("HGET", store.keys.layout, "layout") == str(LAYOUT).encode()
    store.breaker.greet_again()
    server.client.delete(store.keys.layout)
    server.client.set(store.keys.workers, "junk", ex=60)
    assert store.call("HGET", store.keys.layout, "layout") == str(LAYOUT).encode()


def test_a_heartbeat_notices_what_becomes_of_the_layout(
    store: Store, holder: Store, settings: Settings, server: Server
) -> None:
    """Redis may lose it, and a later tbcache may take it over while this process runs."""
    monitor = UsageMonitor(store, settings)
    store.call("GET", "{twitter}")
    server.client.flushall()
    monitor.beat("client", started_at=utc_now())
    assert holder.client.hget(holder.keys.layout, "layout") == str(LAYOUT).encode()
    assert holder.client.ttl(holder.keys.layout) > 30 * 86400
    write_newer(holder)
    monitor.beat("client", started_at=utc_now())
    with pytest.raises(Unavailable, match="layout of tbcache 9"):
        store.call("GET", "{twitter}")


def test_a_process_of_another_version_is_told_of_once(
    store: Store, holder: Store, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """One of 0.1.0 that is started later knows of no layouts: only an operator can stop it."""
    monitor = UsageMonitor(store, settings)
    monitor.beat("worker", started_at=utc_now())
    beat_of_0_1_0(holder)
    with caplog.at_level(logging.WARNING, "tbcache"):
        for _ in range(3):
            monitor._presence._look_at = 0.0
            monitor.beat("worker", started_at=utc_now())
    assert [record.msg for record in caplog.records] == ["fleet.other_version"]
    trouble = fleet_module.Fleet(settings, store).status().lines[0]
    assert trouble.startswith("box-4711 is of tbcache 0.1.0, which reads and writes Redis otherwise")
    ours = next(worker for worker in monitor.get_workers() if worker.name == monitor.worker)
    assert (ours.version, ours.layout) == (__version__, LAYOUT)


def queue_of_0_1_0(holder: Store, source: str, symbols: dict[str, str]) -> None:
    """Jobs as 0.1.0 queues them, to the letter: symbol -> where it lies."""
    part, now_us = f"trading_bot:{{{source}}}:queue:", round(time.time() * 1e6)
    pipe = holder.client.pipeline()
    for number, (symbol, place) in enumerate(symbols.items()):
        job_id = f"00000000-0000-4000-8000-{number:012d}"
        lane = "prewarm" if place == "prewarm" else "interactive"
        message = {
            "queue_name": source,
            "actor_name": f"fetch.{source}",
            "args": [],
            "kwargs": {"symbol": symbol, "hours": 24, "lane": lane, "needed": 0.0},
            "options": {},
            "message_id": job_id,
            "message_timestamp": now_us // 1000,
        }
        pipe.hset(part + "jobs", job_id, msgspec.json.encode(message))
        pipe.hset(part + "lanes", job_id, lane)
        pipe.hset(part + "pending", f"{source}:{symbol}:24", job_id)
        pipe.hset(part + "keys", job_id, f"{source}:{symbol}:24")
        if place in ("claims", "delayed"):
            pipe.zadd(part + place, {job_id: now_us})
        else:
            pipe.rpush(part + place, job_id)
        if place == "claims":
            pipe.hset(part + "tries", job_id, 1)
    for name in ("jobs", "lanes", "pending", "keys", "claims", "delayed", "interactive", "prewarm", "tries"):
        pipe.expire(part + name, 7 * 86400)
    pipe.execute()


def test_what_was_queued_by_the_first_version_is_run(store: Store, holder: Store, settings: Settings) -> None:
    """An upgrade in the middle of the day must lose no job: none that waits, and none that was in hand."""
    places = {"AAPL": "interactive", "MSFT": "prewarm", "NVDA": "delayed", "TSLA": "claims"}
    queue_of_0_1_0(holder, "news", places)
    joined = Queue(store, settings).enqueue(FetchRequest("news", "AAPL"))
    assert not joined.is_new
    fleet = Fleet(store, settings, FAST, SLOW)
    fleet.start(2)
    try:
        wait_until(lambda: {symbol for _, symbol in fleet.ran} == set(places), 20)
        wait_until(lambda: not holder.client.hlen(holder.keys.queue("news", "jobs")), 10)
    finally:
        fleet.stop()
    assert len(fleet.ran) == len(places)
    assert not holder.client.zcard(holder.keys.queue("news", "dead"))


def test_the_lists_of_an_earlier_layout_keep_their_order(
    store: Store, holder: Store, settings: Settings
) -> None:
    """What came first is run first, and what comes after the upgrade is run after that."""
    queue_of_0_1_0(holder, "news", dict.fromkeys(("AAPL", "MSFT", "NVDA"), "interactive"))
    queue = Queue(store, settings)
    queue.enqueue(FetchRequest("news", "TSLA"))
    assert queue.depth("news").interactive == 4
    fleet = Fleet(store, settings, FAST)
    fleet.start(1)
    try:
        wait_until(lambda: len(fleet.ran) == 4, 20)
    finally:
        fleet.stop()
    assert [symbol for _, symbol in fleet.ran] == ["AAPL", "MSFT", "NVDA", "TSLA"]


def test_a_message_comes_after_the_lists_of_an_earlier_layout(
    store: Store, holder: Store, settings: Settings
) -> None:
    queue_of_0_1_0(holder, "news", dict.fromkeys(("AAPL", "MSFT"), "interactive"))
    PacingBroker(store, settings, []).enqueue(dramatiq.Message("news", "note", (), {}, {}, message_id="it"))
    waiting = store.client.zrange(store.keys.queue("news", "interactive"), 0, -1)
    assert len(waiting) == 3
    assert waiting[-1] == b"it"


def test_the_clock_is_known_from_the_ask_for_the_layout(
    server: Server, store_for: Callable[..., Store]
) -> None:
    """What each process asks once is paid by the first fetch of every short command."""
    store = store_for(server)
    store.check()
    before = server.commands()
    assert run(store.clock.deadline_us("twitter")) > 0
    # The first look is counted by the second.
    assert server.commands() == before + 1
