"""Pre-warming: what is due, once, in its own lane."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from scheduler.prewarm import Prewarm
from tbcache.admission import Go, Settlement
from tbcache.fleet import Fleet
from tbcache.models import Failure, Limit
from tbcache.monitoring import UsageMonitor
from tbcache.queue import Queue
from tbcache.queue.script import queue_keys
from tbcache.settings import Settings
from tbcache.store import Store
from tbcache.store.envelope import seal
from tbcache.store.wire import pack_limits
from tests.blocking import Admission
from tests.core.conftest import ask

pytestmark = pytest.mark.every_server

CREDENTIALS = {"TBCACHE_TWITTER__BEARER_TOKEN": "t", "TBCACHE_COMMON_SYMBOLS": "AAPL,MSFT"}


@pytest.fixture
def warm_settings(settings_for: object, server: object) -> Settings:
    loaded: Settings = settings_for(server, **CREDENTIALS)  # type: ignore[operator]
    return loaded


@pytest.fixture
def prewarm(store: Store, warm_settings: Settings) -> Prewarm:
    monitor = UsageMonitor(store, warm_settings)
    return Prewarm(store, Queue(store, warm_settings), warm_settings, monitor)


def due(prewarm: Prewarm, source: str = "twitter") -> list[str]:
    return [one.request.symbol for one in prewarm.due() if one.request.source == source]


def settle(admission: Admission, symbol: str, settlement: Settlement, ttl: float = 300.0) -> None:
    verdict = admission.admit(ask(symbol, replace(ask().source, cache_ttl=ttl)))
    assert isinstance(verdict, Go)
    admission.settle(verdict.grant, settlement)


def test_what_is_missing_is_due(prewarm: Prewarm) -> None:
    """A cold start warms everything that is on, and nothing that is off."""
    assert due(prewarm) == ["AAPL", "MSFT"]
    assert due(prewarm, "stocktwits") == ["AAPL", "MSFT"]
    assert due(prewarm, "news") == []


def test_what_is_fresh_is_not(prewarm: Prewarm, admission: Admission) -> None:
    """Nothing is fetched before its time."""
    settle(admission, "AAPL", Settlement(payload=b"1"))
    assert due(prewarm) == ["MSFT"]


def test_what_is_fresh_for_longer_than_it_was_written_for_is_due(
    prewarm: Prewarm, admission: Admission, store: Store, warm_settings: Settings
) -> None:
    """After the server's clock was set back by an hour nothing was kept warm for as long."""
    settle(admission, "AAPL", Settlement(payload=b"1"))
    entry = store.keys.entry(ask("AAPL").request.key)
    later = int(time.time() + 3900) * 1_000_000
    store.client.set(entry, seal(b"1", later), keepttl=True)
    assert due(prewarm) == ["AAPL", "MSFT"]
    [twitter] = [one for one in Fleet(warm_settings, store).status().sources if one.name == "twitter"]
    assert twitter.warm == 0


def test_what_is_about_to_expire_is(prewarm: Prewarm, admission: Admission) -> None:
    """It is put off; the job asks for more freshness than is left then, so that it is no hit."""
    settle(admission, "AAPL", Settlement(payload=b"1"), ttl=12.0)
    [one] = [one for one in prewarm.due() if one.request.symbol == "AAPL" and one.request.source == "twitter"]
    assert 6 < one.delay < 7.1
    assert 5.9 < one.needed < 6.1


def test_what_is_asked_for_is_kept_warm_beside_the_list(
    prewarm: Prewarm, store: Store, warm_settings: Settings
) -> None:
    """Nobody need know beforehand what the bots will trade."""
    monitor = UsageMonitor(store, warm_settings)
    for symbol, asks in (("GME", 40), ("TSLA", 30), ("PLTR", 2)):
        for _ in range(asks):
            monitor.popularity.record(f"stocktwits:{symbol}:24")
    monitor.popularity.flush()
    assert due(prewarm, "stocktwits") == ["AAPL", "MSFT", "GME", "TSLA"]
    assert due(prewarm) == ["AAPL", "MSFT"]


def test_what_failed_lately_is_left_alone(prewarm: Prewarm, admission: Admission) -> None:
    """Its back-off holds for the scheduler too."""
    settle(admission, "AAPL", Settlement(failure=Failure("unavailable", "down", 503, None), pages=1))
    assert due(prewarm) == ["MSFT"]


def test_two_runs_queue_once(prewarm: Prewarm, store: Store, warm_settings: Settings) -> None:
    """The second finds the first's jobs."""
    assert prewarm.run(0) == 4
    assert prewarm.run(0) == 0
    depth = Queue(store, warm_settings).depth("twitter")
    assert (depth.prewarm, depth.interactive) == (2, 0)


def test_limits_that_others_have_lowered_hold_for_what_is_kept_warm(
    prewarm: Prewarm, store: Store, warm_settings: Settings
) -> None:
    """What the fleet may send is no more than its strictest process, or an operator, allows; of a source that
    one has stopped nothing is queued.
    """
    monitor = UsageMonitor(store, warm_settings)
    for _ in range(90):
        monitor.popularity.record("stocktwits:GME:24")
    monitor.popularity.flush()
    key = store.keys.state("stocktwits")
    store.client.hset(key, "limits", pack_limits((Limit(3, 300.0),)))
    store.client.expire(key, 60)
    assert due(prewarm, "stocktwits") == ["AAPL", "MSFT"]
    operator = Fleet(warm_settings, store).as_operator("jo")
    operator.pause("stocktwits", "a test")
    assert due(prewarm, "stocktwits") == []
    operator.resume("stocktwits")


def test_what_is_damaged_in_one_source_leaves_no_other_cold(prewarm: Prewarm, store: Store) -> None:
    """A lease that says nothing sensible, or a queue of another type, is one source's trouble."""
    lease = store.keys.lease("twitter:AAPL:24")
    store.client.hset(lease, mapping={"retry_at": "banana", "since": "\x1b["})
    store.client.expire(lease, 60)
    assert {due.request.symbol for due in prewarm.due()} >= {"AAPL", "MSFT"}
    first = prewarm._sources[0].name
    broken = store.keys.queue(first, "jobs")
    store.client.set(broken, "no hash", ex=60)
    assert prewarm.run(0) > 0
    store.client.unlink(*queue_keys(store.keys, first))
