"""The views of the fleet: whichever of them somebody looks at, it tells the same."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, get_args

import msgspec
import pytest
from rich.console import Console

from tbcache.cli.dashboard import _STATE_STYLE, dashboard, summary
from tbcache.fleet import Fleet
from tbcache.fleet.model import State
from tbcache.io import utc_now
from tbcache.models import FetchRequest
from tbcache.monitoring import UsageMonitor, Workload
from tbcache.queue import Queue
from tbcache.rate_limiter import RateLimiter
from tbcache.settings import Settings, get_source
from tbcache.store import Store
from tests.api.conftest import client, client_for
from tests.server import Server, wait_until

__all__ = ["client", "client_for"]

SettingsFor = Callable[..., Settings]


class Views:
    """Each view of one fleet, read anew."""

    def __init__(self, fleet: Fleet, client: Any) -> None:
        self.seen = fleet.status()
        self.printed = json.loads(msgspec.json.encode(self.seen))
        self.page = {one["name"]: one for one in self.printed["sources"]}
        paths = ("status", "rate-limits", "usage", "cache/status")
        self.status, self.limits, self.usage, self.cache = (
            client.get(f"/api/monitoring/{path}").json() for path in paths
        )
        self.metrics = client.get("/metrics").text

    def metric(self, name: str, **labels: str) -> float | None:
        written = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
        sample = f"{name}{{{written}}}" if labels else name
        found = re.search(rf"^{re.escape(sample)} (\S+)$", self.metrics, re.MULTILINE)
        return float(found[1]) if found else None


def shown(views: Views) -> str:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(dashboard(views.seen, 200))
    return captured.get()


def test_every_view_tells_the_same_of_a_fleet(settings: Settings, store: Store, client: Any) -> None:
    """A figure that is worked out in two places is two in the end, and nobody knows which is right."""
    # Of a day that ends meanwhile nothing would be told.
    wait_until(lambda: time.time() % 86_400 < 86_340, seconds=90)
    RateLimiter(get_source("reddit", settings), store).check_rate_limit(cost=60)
    key, until = store.keys.state("stocktwits"), time.time() + 3600
    store.client.hset(key, mapping={"closed_until": int(until * 1e6), "closed_reason": "quota"})
    store.client.expire(key, 60)
    monitor = UsageMonitor(store, settings)
    monitor.beat("worker", started_at=utc_now(), workload=Workload(threads=8, busy=3))
    # Of a source that is off by now: what it cost today was paid.
    monitor.record_request("twitter", cost=0.25)
    for cached in (True, True, False):
        monitor.record_request("stocktwits", cached=cached)
    assert monitor.flush()
    Queue(store, settings).enqueue(FetchRequest("stocktwits", "AAPL"))
    views = Views(Fleet(settings, store), client)

    reddit, stocktwits = views.page["reddit"]["limits"][0], views.page["stocktwits"]
    told = views.limits["sources"]["reddit"]
    assert (reddit["used"], reddit["remaining"], reddit["is_limited"]) == (60, 0, True)
    assert {name: told["limits"][0][name] for name in reddit if name != "count"} == {
        name: value for name, value in reddit.items() if name != "count"
    } | {name: told["limits"][0][name] for name in ("reset_at", "reason")}  # They count seconds.
    assert (told["is_limited"], told["limits"][0]["allowed"]) == (True, reddit["count"])
    assert views.metric("tbcache_slots_used", source="reddit", window="1m") == 60

    assert stocktwits["state"] == "closed"
    assert views.limits["sources"]["stocktwits"]["closed_until"] == stocktwits["closed_until"]
    assert views.metric("tbcache_source_closed_until_seconds", source="stocktwits") == pytest.approx(until)
    assert [one["state"] for one in views.status["sources"]] == [one["state"] for one in views.page.values()]

    assert (views.usage["total_requests_today"], views.usage["total_cost_today"]) == (4, 0.25)
    assert views.usage["average_cache_hit_rate"] == views.cache["cache_hit_rate"] == 0.5
    assert (views.cache["hits_today"], views.cache["misses_today"]) == (2, 2)
    assert {name: one.pop("source") for name, one in ((n, p["usage"]) for n, p in views.page.items())}
    assert views.usage["sources"] == {name: one["usage"] for name, one in views.page.items()}
    assert views.metric("tbcache_cost_dollars_total", source="twitter") == 0.25
    assert views.metric("tbcache_requests_total", source="stocktwits", outcome="hit") == 2
    line = summary(views.seen)
    for part in ("4 asked today, 50% hits", "1 waiting, 1 worker, 3 of 8 threads busy, $0.25"):
        assert part in line

    assert stocktwits["queue"]["interactive"] == 1
    assert views.metric("tbcache_queue_jobs", source="stocktwits", state="interactive") == 1
    assert (views.metric("tbcache_workers_alive"), views.metric("tbcache_worker_threads_busy")) == (1, 3)
    assert [one["name"] for one in views.usage["workers"]] == [
        one["name"] for one in views.printed["workers"]
    ]


def test_a_budget_that_is_spent_is_told_by_every_view(
    settings_for: SettingsFor, server: Server, store: Store, client_for: Callable[..., Any]
) -> None:
    """Nothing is fetched until midnight: who watches the limits or scrapes the metrics must see it, too."""
    # Of a day that ends meanwhile nothing would be told.
    wait_until(lambda: time.time() % 86_400 < 86_340, seconds=90)
    settings = settings_for(
        server, TBCACHE_TWITTER__BEARER_TOKEN="a-token", TBCACHE_TWITTER__DAILY_BUDGET="1.2"
    )
    monitor, fleet, http = UsageMonitor(store, settings), Fleet(settings, store), client_for(settings)
    for cost, is_spent in ((1.1, False), (0.1, True)):
        monitor.record_request("twitter", cost=cost)
        assert monitor.flush()
        views = Views(fleet, http)
        page, limits = views.page["twitter"], views.limits["sources"]["twitter"]
        told = views.metric("tbcache_source_spent_until_seconds", source="twitter")
        assert told is not None
        assert (page["state"] == "limited", limits["is_limited"], told > time.time()) == (is_spent,) * 3
        assert limits["spent_until"] == page["spent_until"]
        assert bool(page["spent_until"]) is is_spent
    assert views.metric("tbcache_source_spent_until_seconds", source="stocktwits") == 0


@contextmanager
def _without_redis(server: Server) -> Iterator[None]:
    server.kill()
    yield


@contextmanager
def _without_writes(server: Server) -> Iterator[None]:
    server.client.config_set("min-replicas-to-write", "1")
    yield
    server.client.config_set("min-replicas-to-write", "0")


@pytest.mark.parametrize("lost", [_without_redis, _without_writes])
def test_what_only_redis_knows_is_unknown_in_every_view(
    private_server: Server,
    settings_for: SettingsFor,
    store_for: Callable[..., Store],
    client_for: Callable[..., Any],
    lost: Callable[[Server], AbstractContextManager[None]],
) -> None:
    """Zeros look like a quiet day, and one view that calls Redis well hides what the others tell."""
    settings = settings_for(private_server)
    fleet, http = Fleet(settings, store_for(private_server)), client_for(settings)
    with lost(private_server):
        views = Views(fleet, http)
    known = [views.printed["server"], views.status["server"], views.limits, views.usage, views.cache]
    assert [one["is_available"] for one in known] == [False] * 5
    assert views.cache["reason"] is not None
    assert views.usage["total_cost_today"] is views.cache["hits_today"] is None
    assert views.metric("tbcache_redis_up") == 0
    unknown = ("warm", "recent", "usage", "queue")
    assert {one[name] for one in views.page.values() for name in unknown} == {None}
    assert {one[name] for one in views.status["sources"] for name in ("warm", "recent")} == {None}
    figures = ("used", "remaining", "reset_at", "is_limited")
    for limits in (one["reddit"]["limits"] for one in (views.page, views.limits["sources"])):
        assert [(one["limit"], *(one[name] for name in figures)) for one in limits] == [
            ("60/1m", *[None] * 4)
        ]
    # What was configured is known, and nothing else.
    assert views.metric("tbcache_slots_limit", source="reddit", window="1m") == 60
    assert views.metric("tbcache_slots_used", source="reddit", window="1m") is None
    (row,) = [line for line in shown(views).splitlines() if line.startswith("stocktwits ")]
    assert set(row.split()[2:]) == {"-"}


def test_each_state_has_its_colour_on_a_terminal() -> None:
    """One without would end `status` on the day on which a source is in it."""
    assert _STATE_STYLE.keys() == {*get_args(State)}
