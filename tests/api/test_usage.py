"""The usage over HTTP."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from starlette.testclient import TestClient

from tbcache.io import utc_now
from tbcache.monitoring import UsageMonitor, Workload, get_usage_monitor
from tbcache.rate_limiter import get_rate_limiter
from tbcache.settings import Settings
from tbcache.store import Store
from tests.server import Server
from tests.today import set_today

PATH = "/api/monitoring/usage"


def test_today_is_summed_over_the_fleet(client: TestClient, monitor: UsageMonitor) -> None:
    """What was asked and what it cost, in one number each."""
    monitor.record_request("twitter", cached=False, cost=0.25)
    monitor.record_request("twitter", cached=True)
    monitor.record_request("reddit", success=False)
    monitor.count("reddit", {"ms20": 3})
    assert monitor.flush()
    usage = client.get(PATH).json()
    assert usage["is_available"] is True
    assert usage["day"] == f"{utc_now():%Y-%m-%d}"
    assert usage["total_requests_today"] == 3
    assert usage["total_errors_today"] == 1
    assert usage["total_cost_today"] == 0.25
    assert usage["average_cache_hit_rate"] == pytest.approx(1 / 3)
    assert usage["sources"]["twitter"]["cache_hit_rate"] == 0.5
    assert usage["sources"]["reddit"]["errors_by_kind"] == {"other": 1}
    assert usage["sources"]["reddit"]["latency_p95"] > 0
    assert usage["history"] == []


def test_what_was_asked_is_told_step_by_step(client: TestClient, monitor: UsageMonitor) -> None:
    """A page that plots it, and a program that looks for when it began to fail, read the same."""
    monitor.record_request("twitter", cost=0.25)
    monitor.record_request("twitter", success=False)
    assert monitor.flush()
    found = client.get("/api/usage/history", params={"source": "twitter", "span": "15m"}).json()
    assert (found["source"], found["span"], found["step_seconds"], found["reason"]) == (
        *("twitter", "15m", 60),
        None,
    )
    totals = [sum(one[name] for one in found["intervals"]) for name in ("requests", "errors", "cost")]
    assert totals == [2, 1, 0.25]
    assert [found["intervals"][-1][name] for name in ("waiting", "dead")] == [0, 0]
    nearest = client.get("/api/usage/history", params={"source": "twiter"})
    assert (nearest.status_code, "did you mean" in nearest.json()["detail"]) == (404, True)
    assert client.get("/api/usage/history", params={"source": "twitter", "span": "2h"}).status_code == 422


def test_what_changed_is_told_over_http(client: TestClient) -> None:
    """The last first, as on the page and on the command line."""
    assert client.post("/api/queue/twitter/pause").status_code == 200
    (one,) = client.get("/api/changes").json()
    assert (one["kind"], one["source"], one["who"]) == ("order", "twitter", "api")
    assert client.get("/api/changes", params={"hours": 25}).status_code == 422


def test_each_worker_has_its_own_figures(client: TestClient, store: Store, monitor: UsageMonitor) -> None:
    """One worker that fails alone is a different fault from an upstream that fails all."""
    monitor.worker = "box-1"
    monitor.record_request("twitter")
    assert monitor.flush()
    monitor.worker = "box-2"
    monitor.record_request("twitter", success=False)
    monitor.record_request("news")
    assert monitor.flush()
    by_worker = client.get(PATH).json()["by_worker"]
    assert set(by_worker) == {"box-1", "box-2"}
    assert by_worker["box-1"]["twitter"]["errors_today"] == 0
    assert by_worker["box-2"]["twitter"]["errors_today"] == 1
    assert by_worker["box-2"]["news"]["requests_today"] == 1


def test_workers_are_listed_with_what_they_do(client: TestClient, monitor: UsageMonitor) -> None:
    """Who is alive, and on what, is the next question after any trouble."""
    monitor.worker = "box-1"
    monitor.beat(
        "worker", started_at=utc_now(), workload=Workload(threads=8, busy=1, doing=("twitter AAPL",))
    )
    [worker] = client.get(PATH).json()["workers"]
    assert (worker["name"], worker["role"], worker["threads"]) == ("box-1", "worker", 8)
    assert worker["doing"] == ["twitter AAPL"]
    assert worker["is_alive"] is True
    assert worker["age"] < 10


def test_history_has_the_days_asked_for_today_first(
    client: TestClient, store: Store, monitor: UsageMonitor
) -> None:
    """Yesterday's bill is still wanted today."""
    key = store.keys.usage("twitter", utc_now() - timedelta(days=1))
    store.client.hset(key, mapping={"box-1:hit": 3, "box-1:go": 1, "box-1:cost": 1_500_000})
    store.client.expire(key, 60)
    history = client.get(PATH, params={"days": 3}).json()["history"]
    today = utc_now().date()
    assert [one["day"] for one in history] == [f"{today - timedelta(days=back)}" for back in range(3)]
    assert [one["total_requests"] for one in history] == [0, 4, 0]
    assert history[1]["total_cost"] == 1.5
    assert history[1]["sources"]["twitter"] == {
        "requests": 4,
        "errors": 0,
        "cost": 1.5,
        "cache_hit_rate": 0.75,
    }


@pytest.mark.parametrize(
    ("days", "wanted"),
    [
        ("0", "at least 1, not '0'"),
        ("31", "at most 30, not '31'"),
        ("-1", "at least 1, not '-1'"),
        ("soon", "a whole number, not 'soon'"),
    ],
)
def test_days_that_are_not_kept_are_refused(client: TestClient, days: str, wanted: str) -> None:
    """A number outside what is kept is a mistake, not an empty page; the words are those of the commands."""
    answer = client.get(PATH, params={"days": days})
    assert answer.status_code == 422
    assert answer.json()["error"] == f"days: it should be {wanted}"


def test_without_redis_the_usage_says_that_it_is_not_known(
    private_server: Server, settings_for: Callable[..., Settings], client_for: Callable[..., TestClient]
) -> None:
    """Zeros without a word would read as a quiet day."""
    client = client_for(settings_for(private_server))
    private_server.kill()
    answer = client.get(PATH, params={"days": 30})
    assert answer.status_code == 200
    usage = answer.json()
    assert usage["is_available"] is False
    assert [value for name, value in usage.items() if name.startswith(("total_", "average_"))] == [None] * 4
    assert set(usage["sources"].values()) == set(usage["recent"].values()) == {None}
    assert usage["history"] == []


def test_a_name_that_nobody_configured_stands_in_every_view(
    server: Server, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Figures that only the process has that made them are of no use to an operator."""
    monkeypatch.setenv("REDIS_URL", server.url)
    assert get_rate_limiter("my_source").check_rate_limit(limit=2, window_seconds=60)[0]
    get_usage_monitor().record_request("my_source", cost=0.5)
    assert get_usage_monitor().flush()
    limits = client.get("/api/monitoring/rate-limits").json()["sources"]["my_source"]["limits"]
    # Of a process that is not heard for a moment, as on a busy machine, what it may take counts as used.
    assert [(one["limit"], one["used"] in (1, 2)) for one in limits] == [("2/1m", True)]
    usage = client.get(f"{PATH}?days=2").json()
    assert usage["sources"]["my_source"]["cost_today"] == 0.5
    assert [figures["my_source"]["requests_today"] for figures in usage["by_worker"].values()] == [1]
    assert usage["history"][0]["sources"]["my_source"]["requests"] == 1
    page = client.get("/metrics").text
    assert 'tbcache_requests_total{outcome="miss",source="my_source"} 1' in page
    assert re.search(r'tbcache_slots_used\{source="my_source",window="1m"\} [12]\.0\n', page)
    get_usage_monitor().leave()


def test_the_days_are_the_servers(
    client: TestClient, monitor: UsageMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An API whose clock is ahead showed a day of zeros, while the day's figures stood under yesterday."""
    theirs = utc_now() - timedelta(days=2)
    set_today(monkeypatch, theirs)
    monitor.record_request("twitter")
    assert monitor.flush()
    usage = client.get(PATH, params={"days": 2}).json()
    assert (usage["day"], usage["total_requests_today"]) == (f"{theirs:%Y-%m-%d}", 1)
    assert [day["total_requests"] for day in usage["history"]] == [1, 0]
