"""/metrics, read as Prometheus would."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from unittest import mock

import msgspec
import pytest
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from scheduler.leader import Leader
from tbcache.admission.sliding_window import SlidingWindow
from tbcache.api.metric import Metric, Seen
from tbcache.api.metrics import METRICS
from tbcache.fleet import Fleet
from tbcache.io import utc_now
from tbcache.models import FetchRequest
from tbcache.models.caller import caller
from tbcache.models.trouble import KINDS
from tbcache.monitoring import EDGES, Heartbeat, UsageMonitor, Workload, latency_bucket
from tbcache.queue import Queue
from tbcache.rate_limiter import RateLimiter
from tbcache.settings import Settings, get_source
from tbcache.store import Store
from tests.kept import keep
from tests.server import Server, wait_until

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parse(text: str) -> Samples:
    """The samples of an exposition; fails where one comes twice, or of a metric that is not declared."""
    samples: Samples = {}
    for family in text_string_to_metric_families(text):
        assert family.type != "unknown", family.name
        assert family.documentation
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in samples, f"{sample} twice"
            samples[key] = sample.value
    return samples


def get(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((name, frozenset(labels.items())))


def names(samples: Samples) -> set[str]:
    return {name for name, _ in samples}


def scrape(client: TestClient) -> Samples:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return parse(answer.text)


def test_usage_is_exposed(client: TestClient, monitor: UsageMonitor) -> None:
    """Alerts on errors, hit rate and cost are made of these."""
    monitor.count(
        "twitter",
        {"hit": 5, "stale": 1, "go": 2, "failed": 3, "join": 4, "wait": 6, "pages": 7, "error.throttled": 2},
    )
    monitor.count("twitter", {"cost": 1_250_000, "uncertain": 250_000, "error.no_such_kind": 3})
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
    assert get(samples, "tbcache_cost_uncertain_dollars_total", source="twitter") == 0.25
    assert get(samples, "tbcache_budget_spent_dollars", source="twitter") == 1.25
    # A kind that is not known is no label, and one that has not come yet is 0: from there it may rise.
    assert get(samples, "tbcache_errors_total", source="twitter", kind="other") == 3
    assert get(samples, "tbcache_errors_total", source="twitter", kind="auth") == 0


def test_durations_are_a_histogram(client: TestClient, monitor: UsageMonitor) -> None:
    """Any quantile over any time, of several fleets together, follows from it; and from the sum, the mean."""
    for seconds, many in ((0.0001, 2), (0.05, 3), (200.0, 1)):
        took = round(seconds * many * 1e6)
        monitor.count("twitter", {f"ms{latency_bucket(seconds)}": many, "took": took})
    assert monitor.flush()
    samples = scrape(client)
    name = "tbcache_fetch_duration_seconds"
    assert get(samples, f"{name}_count", source="twitter") == 6
    assert get(samples, f"{name}_sum", source="twitter") == pytest.approx(200.1502)
    found = {
        float(dict(labels)["le"]): value
        for (one, labels), value in samples.items()
        if one == f"{name}_bucket" and ("source", "twitter") in labels
    }
    assert list(found) == [*EDGES, float("inf")]
    assert list(found.values()) == [2.0 if edge < 0.05 else 5.0 for edge in EDGES] + [6.0]


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
    workload = Workload(threads=8, busy=3, pace={"reports": 0.1})
    monitor.beat("worker", started_at=utc_now(), workload=workload)
    monitor.worker = "scheduler-1"
    monitor.beat("scheduler", started_at=utc_now())
    a_minute_ago = utc_now() - timedelta(minutes=1)
    dead = Heartbeat("worker", 1, "box", 8, 8, (), a_minute_ago, a_minute_ago)
    store.client.hset(store.keys.workers, "box-dead", msgspec.json.encode(dead))
    Leader(store, "scheduler-1", ()).take()
    queues = Fleet(settings, store).as_operator("ada")
    queues.drain("twitter", "a move")
    queues.pause("reports", "a move")
    samples = scrape(client)
    store.client.flushall()
    orders = {"twitter": "drain", "reports": "pause", "news": None}
    for source, said in orders.items():
        for what in ("pause", "drain"):
            assert get(samples, "tbcache_queue_order", source=source, order=what) == (what == said)
    assert get(samples, "tbcache_queue_runnable_jobs", source="reports") == 0
    assert get(samples, "tbcache_queue_oldest_seconds", source="reports") == 0
    assert get(samples, "tbcache_queue_jobs", source="twitter", state="interactive") == 1
    assert get(samples, "tbcache_queue_jobs", source="twitter", state="prewarm") == 1
    assert get(samples, "tbcache_queue_jobs", source="twitter", state="dead") == 0
    assert get(samples, "tbcache_workers_alive") == 1
    assert get(samples, "tbcache_schedulers_alive") == 1
    assert get(samples, "tbcache_schedulers_leading") == 1
    assert get(samples, "tbcache_queue_jobs", source="reports", state="dead") == 0
    assert get(samples, "tbcache_worker_threads") == 8
    assert get(samples, "tbcache_worker_threads_busy") == 3
    assert get(samples, "tbcache_redis_up") == 1


def test_troubles_are_exposed_by_kind(client: TestClient, store: Store, monitor: UsageMonitor) -> None:
    """One alert sees all that `tbcache status` calls wrong, and a kind of which there is none is 0."""
    monitor.beat("worker", started_at=utc_now())
    samples = scrape(client)
    told = [value for (name, _), value in samples.items() if name == "tbcache_troubles"]
    assert told == [0] * len(KINDS)
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
        "tbcache_source_state",
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
    (SlidingWindow, "look_at"),
)


@pytest.mark.parametrize("lost", ["get_workers", "get_recent_metrics", "look_at"])
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
    status = fleet.status()
    monkeypatch.undo()
    families = [metric.family(Seen(status, None, {})) for metric in METRICS]
    samples = {(one.name, frozenset[tuple[str, str]]()): 1.0 for one in families if one is not None}
    assert killed == [lost]
    assert not status.server.is_available
    assert not {"tbcache_requests_total", "tbcache_slots_used", "tbcache_workers_alive"} & names(samples)


def test_labels_have_a_bound(client: TestClient, monitor: UsageMonitor, settings: Settings) -> None:
    """A label with a new value per request or process grows a time series database without end."""
    monitor.beat("worker", started_at=utc_now(), workload=Workload(doing=("twitter AAPL",)))
    monitor.record_request("twitter")
    for number in range(30):
        for _ in range(number + 1):
            with caller(f"bot{number}"):
                monitor.callers.record("twitter", "live")
    monitor.callers.flush()
    assert monitor.flush()
    samples = scrape(client)
    pairs = [pair for _, labels in samples for pair in labels]
    assert {name for name, _ in pairs} == {label for metric in METRICS for label in metric.labels} | {"le"}
    assert {value for name, value in pairs if name == "symbol"} == set(settings.common_symbols)
    # Those that ask most, and the others as one, so that the sum is that of all.
    callers = {value for name, value in pairs if name == "caller"}
    assert callers == {*(f"bot{number}" for number in range(10, 30)), "(others)"}
    asks = {"source": "twitter", "outcome": "miss"}
    assert get(samples, "tbcache_caller_requests_today", caller="bot29", **asks) == 30
    assert get(samples, "tbcache_caller_requests_today", caller="(others)", **asks) == 55
    assert get(samples, "tbcache_caller_cost_today_dollars", caller="bot29", source="twitter") == 0


def test_what_is_kept_of_the_common_symbols_is_exposed(
    server: Server, settings_for: Callable[..., Settings], client_for: Callable[..., TestClient], store: Store
) -> None:
    """An answer that is old, or covers half its hours, is what a bot trades on."""
    settings = settings_for(server, TBCACHE_COMMON_SYMBOLS=",".join(f"S{number}" for number in range(102)))
    keep(store, "S1", covered=6, age=90)
    client = client_for(settings)
    samples = scrape(client)
    seconds = get(samples, "tbcache_answer_age_seconds", source="reddit", symbol="S1")
    assert seconds is not None
    assert 90 <= seconds < 150
    assert get(samples, "tbcache_answer_covered_ratio", source="reddit", symbol="S1") == 0.25
    assert get(samples, "tbcache_answer_age_seconds", source="reddit", symbol="S2") is None
    assert get(samples, "tbcache_answer_covered_ratio", source="reddit", symbol="S2") == 0
    assert get(samples, "tbcache_common_symbols", source="reddit") == 102
    assert get(samples, "tbcache_warm_symbols", source="reddit") == 1
    key = store.keys.entry("reddit:S1:24")
    store.client.set(key, store.client.get(key).replace(b'"hours":24', b'"hours":0'), ex=60)
    samples = scrape(client)
    assert get(samples, "tbcache_answer_covered_ratio", source="reddit", symbol="S1") == 0
    symbols = {value for _, labels in samples for name, value in labels if name == "symbol"}
    assert symbols == {f"S{number}" for number in range(100)}


class Given(list[Any]):
    """Families, as the encoder takes them."""

    def collect(self) -> list[Any]:
        return self


def test_a_hostile_label_forges_nothing() -> None:
    """Whatever stands in a label must not end the line or begin another sample."""
    hostile = 'x"} 5\nforged 1\\'
    samples = [((hostile,), 1.0), (("plain",), 2.5), (("plain",), 3.5)]
    metric = Metric("a_total", "one\\two\nthree", ("kind",), lambda seen: samples, "counter", is_always=True)
    text = generate_latest(Given([metric.family(mock.Mock())])).decode()
    assert text.splitlines()[0] == r"# HELP a_total one\\two\nthree"
    assert parse(text) == {
        ("a_total", frozenset({("kind", hostile)})): 1.0,
        ("a_total", frozenset({("kind", "plain")})): 3.5,
    }


def test_openmetrics_is_given_to_who_asks_for_it(client: TestClient, monitor: UsageMonitor) -> None:
    """Prometheus asks for it first, and refuses the whole answer for one line that is not of its form."""
    monitor.record_request("twitter")
    assert monitor.flush()
    # What version a hostile header names is of no account.
    for version in ("1.0.0", "x", "9" * 5000):
        asks = f"application/openmetrics-text;version={version},text/plain;version={version};q=0.5"
        answer = client.get("/metrics", headers={"Accept": asks})
        assert answer.headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    families = {family.name: family for family in read_openmetrics(answer.text)}
    assert families["tbcache_requests"].type == "counter"
    assert families["tbcache_fetch_duration_seconds"].type == "histogram"


PROMTOOL = shutil.which("promtool")


@pytest.mark.skipif(PROMTOOL is None, reason="Debian's package `prometheus` is not installed")
def test_promtool_has_nothing_to_say(client: TestClient, monitor: UsageMonitor) -> None:
    """Names, units and help follow the rules that Prometheus has for them."""
    monitor.record_request("twitter")
    assert monitor.flush()
    text = client.get("/metrics").text
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, "check", "metrics"], input=text, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


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
