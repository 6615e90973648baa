"""/metrics, read as Prometheus would."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import timedelta

import msgspec
import pytest
from starlette.testclient import TestClient

from tbcache.api.exposition import CONTENT_TYPE, Family, render
from tbcache.api.metrics import collect
from tbcache.fleet import Fleet
from tbcache.io import utc_now
from tbcache.models import FetchRequest
from tbcache.monitoring import Heartbeat, UsageMonitor, Workload
from tbcache.queue import Queue
from tbcache.rate_limiter import RateLimiter
from tbcache.settings import Settings, get_source
from tbcache.store import Store
from tests.server import Server, wait_until

_SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\[\\"n])*)"(?:,|$)')
_UNESCAPED = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parse(text: str) -> Samples:
    """The samples of an exposition; fails where Prometheus would refuse it."""
    assert text == "" or text.endswith("\n")
    samples: Samples = {}
    declared: dict[str, set[str]] = {}
    for line in text.splitlines():
        if line.startswith("# "):
            _, what, name, _ = line.split(" ", 3)
            assert what not in declared.setdefault(name, set()), f"{what} {name} twice"
            declared[name].add(what)
            continue
        found = _SAMPLE.fullmatch(line)
        assert found, line
        name, labels, value = found.groups()
        assert declared[name] == {"HELP", "TYPE"}
        assert name == list(declared)[-1], f"{name} is not in one group"
        assert _LABEL.sub("", labels or "") == "", line
        pairs = [(n, re.sub(r"\\.", lambda m: _UNESCAPED[m[0]], v)) for n, v in _LABEL.findall(labels or "")]
        key = (name, frozenset(pairs))
        assert key not in samples, f"{line} twice"
        samples[key] = float(value)
    return samples


def get(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((name, frozenset(labels.items())))


def names(samples: Samples) -> set[str]:
    return {name for name, _ in samples}


def scrape(client: TestClient) -> Samples:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8" == CONTENT_TYPE
    return parse(answer.text)


def test_usage_is_exposed(client: TestClient, monitor: UsageMonitor) -> None:
    """Alerts on errors, hit rate and cost are made of these."""
    monitor.count(
        "twitter",
        {"hit": 5, "stale": 1, "go": 2, "failed": 3, "join": 4, "wait": 6, "pages": 7, "error.throttled": 2},
    )
    monitor.count("twitter", {"cost": 1_250_000, "ms20": 10})
    assert monitor.flush()
    samples = scrape(client)
    outcomes = {"hit": 5, "stale": 1, "miss": 2, "failed": 3}
    for outcome, count in outcomes.items():
        assert get(samples, "tbcache_requests_total", source="twitter", outcome=outcome) == count
    assert get(samples, "tbcache_errors_total", source="twitter", kind="throttled") == 2
    assert get(samples, "tbcache_joins_total", source="twitter") == 4
    assert get(samples, "tbcache_waits_total", source="twitter") == 6
    assert get(samples, "tbcache_pages_total", source="twitter") == 7
    assert get(samples, "tbcache_cost_dollars_total", source="twitter") == 1.25
    p95 = get(samples, "tbcache_fetch_duration_seconds", source="twitter", quantile="0.95")
    assert p95 == pytest.approx(0.1e-3 * 1.25**20)
    assert get(samples, "tbcache_fetch_duration_seconds", source="news", quantile="0.95") is None


def test_slots_and_closures_are_exposed(client: TestClient, store: Store, settings: Settings) -> None:
    """How near a source is to its limit, before it is reached."""
    RateLimiter(get_source("reddit", settings), store).check_rate_limit(cost=7)
    until = time.time() + 100
    key = store.keys.state("news")
    store.client.hset(key, mapping={"closed_until": int(until * 1e6), "closed_reason": "quota"})
    store.client.expire(key, 60)
    samples = scrape(client)
    assert get(samples, "tbcache_slots_used", source="reddit", window="1m") == 7
    assert get(samples, "tbcache_slots_limit", source="reddit", window="1m") == 60
    assert get(samples, "tbcache_source_closed_until_seconds", source="news") == pytest.approx(until, abs=1)
    assert get(samples, "tbcache_source_closed_until_seconds", source="reddit") == 0
    assert get(samples, "tbcache_source_enabled", source="news") == 0
    assert get(samples, "tbcache_source_enabled", source="stocktwits") == 1


def test_two_limits_of_one_window_are_one_sample(
    server: Server, settings_for: Callable[..., Settings], client_for: Callable[..., TestClient]
) -> None:
    """A sample given twice makes Prometheus throw the whole scrape away."""
    samples = scrape(client_for(settings_for(server, TBCACHE_NEWS__LIMITS="50/1m,100/1m,60/60s")))
    assert get(samples, "tbcache_slots_limit", source="news", window="1m") == 50


def test_queue_and_workers_are_exposed(
    client: TestClient, store: Store, settings: Settings, monitor: UsageMonitor
) -> None:
    """Jobs that pile up, or workers that are gone, are what wakes someone."""
    queue = Queue(store, settings)
    queue.enqueue(FetchRequest("twitter", "AAPL"))
    queue.enqueue(FetchRequest("twitter", "MSFT"), "prewarm")
    monitor.beat("worker", started_at=utc_now(), workload=Workload(threads=8, busy=3))
    monitor.worker = "scheduler-1"
    monitor.beat("scheduler", started_at=utc_now())
    a_minute_ago = utc_now() - timedelta(minutes=1)
    dead = Heartbeat("worker", 1, "box", 8, 8, (), a_minute_ago, a_minute_ago)
    store.client.hset(store.keys.workers, "box-dead", msgspec.json.encode(dead))
    samples = scrape(client)
    store.client.flushall()
    assert get(samples, "tbcache_queue_jobs", source="twitter", state="interactive") == 1
    assert get(samples, "tbcache_queue_jobs", source="twitter", state="prewarm") == 1
    assert get(samples, "tbcache_queue_jobs", source="twitter", state="dead") == 0
    assert get(samples, "tbcache_workers_alive") == 1
    assert get(samples, "tbcache_schedulers_alive") == 1
    assert get(samples, "tbcache_worker_threads") == 8
    assert get(samples, "tbcache_worker_threads_busy") == 3
    assert get(samples, "tbcache_redis_up") == 1


def test_troubles_are_exposed_by_kind(client: TestClient, store: Store, monitor: UsageMonitor) -> None:
    """One alert sees all that `tbcache status` calls wrong, and a kind of which there is none is 0."""
    monitor.beat("worker", started_at=utc_now())
    samples = scrape(client)
    told = [value for (name, _), value in samples.items() if name == "tbcache_troubles"]
    assert told == [0] * 16
    for name in ("news", "stocktwits"):
        key = store.keys.state(name)
        store.client.hset(key, "closed_until", int((time.time() + 100) * 1e6))
        store.client.expire(key, 60)
    status = client.get("/api/monitoring/status").json()
    samples = scrape(client)
    kinds = {kind for name, labels in samples for _, kind in labels if name == "tbcache_troubles"}
    assert {trouble["kind"] for trouble in status["troubles"]} <= kinds
    for kind in kinds:
        count = sum(trouble["kind"] == kind for trouble in status["troubles"])
        assert get(samples, "tbcache_troubles", kind=kind) == count
    assert get(samples, "tbcache_troubles", kind="closed") == 1


@pytest.mark.parametrize("is_frozen", [True, False])
def test_without_redis_no_counter_falls_to_zero(
    private_server: Server,
    settings_for: Callable[..., Settings],
    client_for: Callable[..., TestClient],
    is_frozen: bool,
) -> None:
    """A counter that falls to 0 and comes back counts a whole day again in every rate()."""
    client = client_for(settings_for(private_server))
    assert "tbcache_requests_total" in names(scrape(client))
    if is_frozen:
        private_server.freeze()
    else:
        private_server.kill()
    samples = scrape(client)
    assert get(samples, "tbcache_redis_up") == 0
    assert names(samples) == {
        "tbcache_redis_up",
        "tbcache_build_info",
        "tbcache_source_enabled",
        "tbcache_slots_limit",
        "tbcache_troubles",
    }
    # What only Redis knows of is not told to be well.
    assert {kind for name, labels in samples for _, kind in labels if name == "tbcache_troubles"} == {
        "redis_away",
        "redis_refuses",
    }
    assert get(samples, "tbcache_troubles", kind="redis_away") == 1


_READS = (
    (UsageMonitor, "get_workers"),
    (UsageMonitor, "get_source_names"),
    (UsageMonitor, "get_source_metrics"),
    (UsageMonitor, "get_recent_metrics"),
    (RateLimiter, "get_status"),
)


@pytest.mark.parametrize("lost", ["get_workers", "get_recent_metrics", "get_status"])
def test_a_look_that_loses_redis_halfway_gives_no_half_truth(
    private_server: Server,
    settings_for: Callable[..., Settings],
    store_for: Callable[..., Store],
    monkeypatch: pytest.MonkeyPatch,
    lost: str,
) -> None:
    """Redis away for one read of many, and back for the next: that one read's zeros are no figures."""
    store = store_for(private_server)
    fleet, killed = Fleet(settings_for(private_server), store), []

    def patched(name: str, read: Callable[..., object]) -> Callable[..., object]:
        def read_on(*args: object) -> object:
            if name == lost and not killed:
                private_server.kill()
                killed.append(name)
            elif killed and not store.is_available:
                private_server.start()
                wait_until(lambda: store.is_available)
            return read(*args)

        return read_on

    for owner, name in _READS:
        monkeypatch.setattr(owner, name, patched(name, getattr(owner, name)))
    samples = parse(render(collect(fleet.status())))
    assert killed == [lost]
    assert get(samples, "tbcache_redis_up") == 0
    assert not {"tbcache_requests_total", "tbcache_slots_used", "tbcache_workers_alive"} & names(samples)


def test_symbols_and_workers_are_never_labels(client: TestClient, monitor: UsageMonitor) -> None:
    """A label with a new value per symbol or process grows a time series database without end."""
    monitor.beat("worker", started_at=utc_now(), workload=Workload(doing=("twitter AAPL",)))
    monitor.record_request("twitter")
    assert monitor.flush()
    labels = {name for _, pairs in scrape(client) for name, _ in pairs}
    assert labels == {"source", "outcome", "window", "state", "version", "kind"}


def test_labels_and_help_are_escaped() -> None:
    """Whatever stands in a label must not end the line or forge another sample."""
    family = Family("a_total", "counter", "one\\two\nthree")
    family.add(1, kind='x"} 5\nforged 1\\')
    family.add(2.5, kind="plain")
    text = render([family])
    assert text.splitlines()[0] == r"# HELP a_total one\\two\nthree"
    samples = parse(text)
    assert get(samples, "a_total", kind='x"} 5\nforged 1\\') == 1
    assert get(samples, "a_total", kind="plain") == 2.5


@pytest.mark.parametrize(
    ("value", "written"),
    [(float("inf"), "+Inf"), (float("-inf"), "-Inf"), (float("nan"), "NaN"), (3, "3"), (0.1, "0.1")],
)
def test_numbers_are_written_as_prometheus_reads_them(value: float, written: str) -> None:
    """Python writes inf where the format wants +Inf."""
    family = Family("a", "gauge", "a")
    family.add(value)
    assert render([family]).splitlines()[-1] == f"a {written}"


def test_a_metric_without_samples_is_not_mentioned() -> None:
    """A type without samples is noise."""
    assert render([Family("a_total", "counter", "a")]) == ""


def test_the_workers_that_are_wanted_are_one_figure(
    client: TestClient, store: Store, settings: Settings
) -> None:
    """An autoscaler reads one number without labels, for the whole fleet."""
    assert get(scrape(client), "tbcache_workers_wanted") == 0
    Queue(store, settings).enqueue(FetchRequest("stocktwits", "AAPL"))
    samples = scrape(client)
    assert get(samples, "tbcache_workers_wanted") == 1
    assert get(samples, "tbcache_queue_runnable_jobs", source="stocktwits") == 1
    status = client.get("/api/monitoring/status").json()
    assert status["scale"]["workers_wanted"] == 1
    (load,) = (one["load"] for one in status["sources"] if one["name"] == "stocktwits")
    assert (load["waiting"], load["runnable"], load["running"]) == (1, 1, 0)
