"""Usage figures: counted once, kept by day, summed over workers."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from redis.exceptions import NoPermissionError

from tbcache.io import fork, utc_now
from tbcache.limiter import limiter_of
from tbcache.models.error import InvalidRequest
from tbcache.monitoring import UsageMonitor, Workload, latency_bucket, recorder
from tbcache.monitoring.figure import day_metrics
from tbcache.monitoring.presence import REPEAT_SECONDS, Presence
from tbcache.rate_limiter import RateLimiter
from tbcache.settings import BUILT_IN, Settings
from tbcache.store import Store
from tbcache.store.count import COUNT, Count
from tbcache.store.layout import LAYOUT
from tests.server import Server, wait_until

pytestmark = pytest.mark.every_server

#: Python itself writes out no number as long as the longest of them.
UNSOUND = {
    "negative": -1,
    "long": 10**400,
    "longest": 10**9000,
    "vast": 1e308,
    "nan": math.nan,
    "inf": math.inf,
    "text": "0.01",
    "none": None,
    "complex": 1j,
}


@pytest.fixture
def monitor(store: Store, settings: Settings) -> UsageMonitor:
    return UsageMonitor(store, settings)


def test_recorded_requests_make_the_days_figures(monitor: UsageMonitor) -> None:
    """The seed's three ways to record one."""
    monitor.record_request("twitter", cached=True)
    monitor.record_request("twitter", cost=0.25)
    monitor.record_request("twitter", success=False)
    metrics = monitor.get_source_metrics("twitter")
    assert (metrics.requests_today, metrics.hits_today, metrics.errors_today) == (3, 1, 1)
    assert metrics.cache_hit_rate == pytest.approx(1 / 3)
    assert metrics.cost_today == pytest.approx(0.25)


def test_figures_are_the_same_before_and_after_they_are_sent(monitor: UsageMonitor) -> None:
    """A batch on its way is counted neither twice nor not at all."""
    for _ in range(5):
        monitor.record_request("news")
    before = monitor.get_source_metrics("news")
    assert monitor.flush()
    assert monitor.get_source_metrics("news") == before


def test_workers_add_up(store: Store, settings: Settings) -> None:
    """The figures are the fleet's, and each worker's."""
    for name in ("one", "two"):
        monitor = UsageMonitor(store, replace(settings, worker_name=name))
        monitor.record_request("news")
        monitor.flush()
    assert monitor.get_source_metrics("news").requests_today == 2
    assert {name: m.requests_today for name, m in monitor.get_worker_metrics("news").items()} == {
        "one": 1,
        "two": 1,
    }


def test_what_was_counted_is_told_of_several_sources_at_once(monitor: UsageMonitor) -> None:
    """Their keys lie on different nodes of a cluster."""
    monitor.record_request("news", success=False, cost=0.5)
    monitor.record_request("reddit", cached=True)
    assert monitor.flush()
    found = monitor.get_counted(["news", "reddit", "twitter"])
    assert {name: (one.hits, one.misses) for name, one in found.items()} == {
        "news": (0, 1),
        "reddit": (1, 0),
        "twitter": (0, 0),
    }
    assert (found["news"].errors_by_kind["other"], found["news"].cost) == (1, 0.5)


def test_the_summary_adds_up_the_sources(monitor: UsageMonitor) -> None:
    """total_requests_today and average_cache_hit_rate, as the seed names them."""
    monitor.record_request("news", cached=True)
    monitor.record_request("reddit", cached=False, cost=0.1)
    summary = monitor.get_usage_summary()
    assert summary["total_requests_today"] == 2
    assert summary["average_cache_hit_rate"] == pytest.approx(0.5)
    assert summary["total_cost_today"] == pytest.approx(0.1)
    assert summary["sources"]["news"].hits_today == 1


def test_days_are_kept_apart_for_a_month(monitor: UsageMonitor, store: Store) -> None:
    """Yesterday is not today, and is still there."""
    yesterday = datetime.now(UTC) - timedelta(days=1)
    store.client.hset(store.keys.usage("news", yesterday), "w:go", 7)
    store.client.expire(store.keys.usage("news", yesterday), 100)
    assert monitor.get_source_metrics("news", yesterday).requests_today == 7
    assert monitor.get_source_metrics("news").requests_today == 0
    monitor.record_request("news")
    monitor.flush()
    assert store.client.ttl(store.keys.usage("news", utc_now())) > 30 * 86400


def test_percentiles_are_within_a_bucket_of_the_truth(monitor: UsageMonitor) -> None:
    """p50 and p95 from counts: an eighth off at most."""
    for milliseconds in range(1, 101):
        monitor.count("news", {f"ms{latency_bucket(milliseconds / 1000)}": 1})
    metrics = monitor.get_source_metrics("news")
    assert metrics.latency_p50 == pytest.approx(0.050, rel=0.26)
    assert metrics.latency_p95 == pytest.approx(0.095, rel=0.26)


def test_what_is_counted_while_redis_is_away_arrives_once(
    private_server: Server, store_for: Callable[..., Store], settings_for: Callable[..., Settings]
) -> None:
    """Neither lost nor doubled."""
    store = store_for(private_server)
    monitor = UsageMonitor(store, settings_for(private_server))
    monitor.flush()
    private_server.kill()
    for _ in range(3):
        monitor.record_request("news")
    assert not monitor.flush()
    assert not monitor.flush()
    assert monitor.get_source_metrics("news").requests_today == 3
    private_server.start()
    wait_until(monitor.flush)
    # On a busy machine it may be away once more in between.
    wait_until(lambda: monitor.get_source_metrics("news").requests_today == 3)
    [count] = private_server.client.hvals(store.keys.usage("news", utc_now()))
    assert int(count) == 3


def test_what_is_being_sent_is_counted_once(
    server: Server,
    store_for: Callable[..., Store],
    settings_for: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever looks in that moment must see it neither twice nor not at all."""
    patient = {"TBCACHE_REDIS_TIMEOUT": "10"}
    store = store_for(server, **patient)
    monitor = UsageMonitor(store, settings_for(server, **patient))
    run, is_held, may_go = store.ask, threading.Event(), threading.Event()

    async def hold(script: Any, call: Any) -> Any:
        if script is COUNT and not is_held.is_set():
            is_held.set()
            assert may_go.wait(20)
        return await run(script, call)

    monkeypatch.setattr(recorder, "FLUSH_SECONDS", 3600.0)
    monkeypatch.setattr(store, "ask", hold)
    monitor.record_request("news")
    with ThreadPoolExecutor(3) as pool:
        sending = pool.submit(monitor.flush)
        assert is_held.wait(20)
        seen, again = pool.submit(monitor.get_source_metrics, "news"), pool.submit(monitor.flush)
        # Long enough for a look that does not wait.
        wait([seen], 0.1)
        may_go.set()
        assert (seen.result(20).requests_today, sending.result(20), again.result(20)) == (1, True, True)
    assert store.client.hvals(store.keys.usage("news", utc_now())) == [b"1"]


def test_a_forked_child_sends_nothing_of_what_its_parent_counted(
    monitor: UsageMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both would send it, and the day would have it twice."""
    monitor.count("news", {"hit": 3})
    monitor.ask_counts.record_in_memory("news")
    monkeypatch.setattr(fork, "_RENEWABLE", {*fork._RENEWABLE} & {monitor._recorder, monitor.ask_counts})
    fork._after_fork()
    monitor.count("news", {"hit": 1})
    monitor.flush()
    assert monitor.get_source_metrics("news").hits_today == 1


def test_a_hit_in_memory_is_seen_before_it_is_sent(
    monitor: UsageMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever looks sees what this process has answered until then."""
    monkeypatch.setattr(recorder, "FLUSH_SECONDS", 3600.0)
    monitor.ask_counts.record_in_memory("news:AAPL:24")
    assert monitor.get_source_metrics("news").hits_today == 1


def test_no_error_loses_what_was_counted(
    monitor: UsageMonitor, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that sends figures outlives an error that nobody foresaw, and so do the figures."""
    run, broken = store.ask, [True]

    async def stumble(script: Any, call: Any) -> Any:
        if script is COUNT and broken.pop(0):
            raise TypeError("nobody foresaw this")
        return await run(script, call)

    monkeypatch.setattr(recorder, "FLUSH_SECONDS", 0.01)
    monkeypatch.setattr(store, "ask", stumble)
    broken.append(False)
    monitor.record_request("twitter")
    key = store.keys.usage("twitter", utc_now())
    assert wait_until(lambda: store.client.hvals(key)) == [b"1"]


def test_a_batch_that_came_already_is_not_counted_again(monitor: UsageMonitor, store: Store) -> None:
    """The answer to the first sending was lost, not the batch."""
    usage, mark = store.keys.usage("news", utc_now()), store.keys.wake("news", "batch-1")
    batch = Count(usage, mark, store.keys.state("news"), "w", 0, ("go", 2))
    assert store.run(COUNT, batch)
    assert not store.run(COUNT, batch)
    assert monitor.get_source_metrics("news").requests_today == 2


def test_a_heartbeat_shows_a_worker_and_its_silence(monitor: UsageMonitor, store: Store) -> None:
    """Who is alive, and what each does."""
    monitor.beat("worker", started_at=utc_now(), workload=Workload(8, 3, ("twitter AAPL",)))
    [worker] = monitor.get_workers()
    assert (worker.role, worker.threads, worker.busy, worker.doing) == ("worker", 8, 3, ("twitter AAPL",))
    assert worker.is_alive
    monitor.leave()
    assert monitor.get_workers() == []


def test_figures_of_an_outage_are_one_batch(monitor: UsageMonitor, store: Store) -> None:
    """A night without Redis must not leave a batch for each second to send and to try again."""
    store.breaker.reason = "away"
    for _ in range(20):
        monitor.record_request("news")
        assert not monitor.flush()
    assert len(monitor._recorder._sending) == 1
    store.breaker.reason = None
    assert monitor.flush()
    assert monitor.flush()
    assert monitor.get_source_metrics("news").requests_today == 20


@pytest.mark.parametrize("cost", UNSOUND.values(), ids=UNSOUND)
def test_bad_input_is_refused(monitor: UsageMonitor, cost: Any) -> None:
    """A negative cost would make good what others have spent, and a vast one would break every figure."""
    with pytest.raises(InvalidRequest, match="cost must be a number of US dollars from 0 to 1000000"):
        monitor.record_request("twitter", cost=cost)
    monitor.record_request("twitter", cost=Decimal("0.25"))  # type: ignore[arg-type]
    assert monitor.get_source_metrics("twitter").cost_today == 0.25
    assert monitor.get_usage_summary()["total_requests_today"] == 1


def test_whoever_is_ahead_of_our_clock_is_left_alone(monitor: UsageMonitor, store: Store) -> None:
    """A machine whose clock is behind would take all the others off everybody's list."""
    monitor.beat("worker", started_at=utc_now())
    (mark,) = store.client.hvals(store.keys.workers)
    now = f"{utc_now():%Y-}".encode()
    ahead = mark.replace(now, f"{utc_now().year + 1}-".encode())
    behind = mark.replace(now, f"{utc_now().year - 1}-".encode())
    junk = {"damaged": "{", "deep": '{"x":' * 5000}
    store.client.hset(store.keys.workers, mapping={"ahead": ahead, "behind": behind, **junk})
    assert [worker.name for worker in monitor.get_workers()] == [monitor.worker]
    assert set(store.client.hkeys(store.keys.workers)) == {monitor.worker.encode(), b"ahead"}


def test_who_may_not_remove_the_dead_sees_the_living(
    monitor: UsageMonitor, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user that may only read has a list as well."""

    def refuse(*_: Any) -> Any:
        raise NoPermissionError("NOPERM")

    monitor.beat("worker", started_at=utc_now())
    store.client.hset(store.keys.workers, "damaged", "{")
    monkeypatch.setattr(store.client, "hdel", refuse)
    assert [worker.name for worker in monitor.get_workers()] == [monitor.worker]


def test_a_damaged_list_of_workers_does_not_hide_another_layout(
    monitor: UsageMonitor, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is there then is not for this process to read, nor to write."""
    doubts: list[str] = []
    monkeypatch.setattr(store.breaker, "greet_again", lambda: doubts.append("doubted"))
    store.client.set(store.keys.workers, "x", ex=60)
    monitor.beat("worker", started_at=utc_now())
    assert not doubts
    store.client.hset(store.keys.layout, "layout", LAYOUT + 1)
    monitor.beat("worker", started_at=utc_now())
    assert doubts


def test_what_was_paid_is_told_before_redis_takes_note_of_the_return(
    private_server: Server,
    store_for: Callable[..., Store],
    settings_for: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who is heard again has its part of the budget given to others: its bill must be known by then."""
    store = store_for(private_server)
    monitor = UsageMonitor(store, settings_for(private_server))
    assert RateLimiter(BUILT_IN["news"], store).check_rate_limit()[0]
    done: list[str] = []
    for owner, name in ((monitor._recorder, "_flush"), (limiter_of(store).restoration, "restore")):

        def noted(
            *args: object, act: Callable[..., object] = getattr(owner, name), what: str = name
        ) -> object:
            done.append(what)
            return act(*args)

        monkeypatch.setattr(owner, name, noted)
    private_server.stop()
    monitor.record_request("news", cost=1.0)
    wait_until(lambda: not (monitor.flush() or store.is_available))
    done.clear()
    private_server.start()
    wait_until(lambda: "restore" in done)
    assert done.index("_flush") < done.index("restore")


def test_a_process_that_has_nothing_new_to_say_writes_nothing(server: Server, settings: Settings) -> None:
    """What it says each second, its settings included, would fill the disk of an idle fleet's Redis."""
    store = Store(settings)
    presence, started_at = Presence(store, settings, "w"), datetime.now(UTC)

    def writes(busy: int = 0) -> int:
        before = server.client.info("persistence")["rdb_changes_since_last_save"]
        presence.beat("api", started_at, Workload(threads=8, busy=busy))
        return int(server.client.info("persistence")["rdb_changes_since_last_save"]) - int(before)

    assert writes() > 0
    assert writes() == 0
    assert writes(busy=1) > 0
    server.client.delete(store.keys.workers)
    assert writes(busy=1) > 0
    assert server.client.hexists(store.keys.workers, "w")
    written, at = presence._written
    presence._written = written, at - REPEAT_SECONDS
    assert writes(busy=1) > 0
    store.close()


def test_a_lost_grant_makes_no_figure_of_an_interval_negative() -> None:
    """It was granted in the minute before, and again in this one: a page showed a hit rate of 150%."""
    found = day_metrics("reddit", Counter(hit=3, regranted=1))
    assert (found.misses_today, found.requests_today, found.cache_hit_rate) == (0, 3, 1.0)
    assert day_metrics("reddit", Counter(go=2, regranted=1)).misses_today == 1
