"""Processes that are gone, and who is not: killed under a name that another takes, or unheard while Redis was
away."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from types import SimpleNamespace

import msgspec
import pytest

from tbcache.fleet import Fleet, look
from tbcache.io import utc_now
from tbcache.monitoring import UsageMonitor, Workload, presence
from tbcache.settings import Settings
from tbcache.store import Store, Unavailable
from tests.server import Server, wait_until


@pytest.fixture(autouse=True)
def _has_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "STARTING_SECONDS", 0.0)


def start(store: Store, settings: Settings, name: str, started_at: datetime, role: str = "worker") -> None:
    """Have a process beat once; it is killed after that."""
    monitor = UsageMonitor(store, settings)
    monitor.worker = name
    monitor.beat(role, started_at=started_at, workload=Workload(threads=1))


def test_a_worker_that_is_killed_and_started_again_under_its_name_is_told_as_lost(
    store: Store, settings: Settings
) -> None:
    """Its heir's heartbeat takes the place of its own, so that nobody saw that it had died: a worker that
    died each minute looked like one that is well."""
    fleet, now = Fleet(settings, store), utc_now()
    starts = [now - timedelta(minutes=minutes) for minutes in (9, 6, 3)]
    for at in starts:
        start(store, settings, "worker-1", at)
    assert sorted(one.kind for one in fleet.changes()) == ["came", "came", "came", "lost", "lost"]
    status = fleet.status()
    assert [(one.name, one.is_followed) for one in status.lost] == [("worker-1", True)] * 2
    assert [one.is_alive for one in status.workers] == [True]
    assert status.troubles == ()
    # One that is killed, and that nobody has started again, is one more.
    start(store, settings, "worker-2", starts[0])
    beat = msgspec.json.decode(store.client.hget(store.keys.workers, "worker-2") or b"")
    beat["beat_at"] = (now - timedelta(minutes=8)).isoformat()
    store.client.hset(store.keys.workers, "worker-2", msgspec.json.encode(beat))
    for seen in (fleet.status(), fleet.outline()):
        (trouble,) = seen.troubles
        assert trouble.kind == "lost"
        assert trouble.what == "3 processes were lost in the last 10 minutes, the last of them worker-1"
        assert trouble.since == now - timedelta(minutes=8)


def test_who_goes_on_is_lost_to_nobody(store: Store, settings: Settings) -> None:
    """A process that finds its own beat, as after it has put itself on the list again, has not died; and bots
    that take turns at a name are missed by nobody."""
    fleet, now = Fleet(settings, store), utc_now()
    for _ in range(2):
        start(store, settings, "worker-1", now)
    for at in (now, now + timedelta(seconds=1)):
        start(store, settings, "bot", at, "client")
    store.client.hset(store.keys.workers, "worker-2", "banana")
    start(store, settings, "worker-2", now)
    assert {one.kind for one in fleet.changes()} == {"came"}


def test_an_api_has_a_share_of_the_limits_from_its_first_fetch_on(store: Store, settings: Settings) -> None:
    """It is on the list all the time, and one that only shows the fleet takes nothing from the others."""
    monitor = UsageMonitor(store, settings)
    for role, is_joined in (("api", False), ("client", True)):
        monitor.keep_beating(role)
        assert monitor._presence._membership.is_joined == is_joined
    wait_until(lambda: [one.role for one in monitor.get_workers()] == ["api"])
    monitor.leave()


@pytest.mark.parametrize(("away_since", "is_told"), [(math.inf, True), (0.5, True), (15.0, False)])
def test_a_process_that_stood_still_is_told_once_it_goes_on(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch, away_since: float, is_told: bool
) -> None:
    """Half of all threads were gone for 20 s, and afterwards nothing had ever been. Its first calls after
    that are overdue, so that it takes Redis for away; one that Redis was away from did not stand still."""
    monitor, now = UsageMonitor(store, settings), utc_now()
    monitor.worker = "worker-1"
    monitor.beat("worker", started_at=now)
    monkeypatch.setattr(presence, "utc_now", lambda: now + timedelta(seconds=20))
    monkeypatch.setattr(presence, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + 20))
    store.breaker._lost_at = time.monotonic() - away_since
    monitor.beat("worker", started_at=now)
    fleet = Fleet(settings, store)
    told = [one.what for one in fleet.changes() if one.kind == "lost"]
    assert told == ["worker worker-1 was not heard of for 20 s: it stood still, and goes on"] * is_told
    # It is there: nobody need look why it died.
    assert fleet.status().lost == ()


def test_who_had_no_time_to_beat_since_redis_is_back_is_not_missed(
    private_server: Server, settings_for: Callable[..., Settings]
) -> None:
    """After it had stood still for twelve seconds the scheduler and all workers were told as gone. Who was
    gone before is gone."""
    settings = settings_for(private_server, TBCACHE_REDIS_TIMEOUT="0.3")
    store = Store(settings)
    now = utc_now()
    try:
        for name, age in (("worker-1", 9.0), ("worker-2", 30.0)):
            start(store, settings, name, now)
            beat = msgspec.json.decode(store.client.hget(store.keys.workers, name) or b"")
            beat["beat_at"] = (now - timedelta(seconds=age)).isoformat()
            store.client.hset(store.keys.workers, name, msgspec.json.encode(beat))
        with private_server.frozen():
            with pytest.raises(Unavailable):
                store.probe()
            wait_until(lambda: utc_now() - now > timedelta(seconds=1.2))
        wait_until(lambda: store.is_available)
        found = {
            one.name: (one.age > 10, one.is_alive) for one in UsageMonitor(store, settings).get_workers()
        }
        assert found == {"worker-1": (True, True), "worker-2": (True, False)}
    finally:
        store.close()
