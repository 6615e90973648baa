"""What is counted of callers."""

from __future__ import annotations

import pytest

from tbcache.fetch import Pipeline
from tbcache.fleet import Fleet, SymbolCost
from tbcache.models import FetchRequest
from tbcache.models.caller import caller
from tbcache.monitoring import CallerMetrics, UsageMonitor, monitor_of
from tbcache.queue import Queue
from tbcache.settings import Settings
from tbcache.store import Store
from tests.blocking import Admission
from tests.core.conftest import TWITTER, Upstream
from tests.kept import keep
from tests.server import wait_until


def test_a_hit_at_enqueue_is_its_callers(store: Store, settings: Settings) -> None:
    """The callers' asks came to less than those of the source, and who asked most was not seen."""
    monitor, queue = monitor_of(store), Queue(store, settings)
    keep(store, "AAPL", 24)
    queue.enqueue(FetchRequest("reddit", "AAPL"), caller="probe/1")
    queue.enqueue_many([FetchRequest("reddit", symbol) for symbol in ("AAPL", "MSFT")], caller="probe/2")
    assert queue.enqueue(FetchRequest("reddit", "AAPL"), "prewarm").state == "hit"
    monitor.flush()
    assert monitor.get_caller_metrics("reddit") == {"probe": CallerMetrics(hits=2)}
    assert monitor.get_source_metrics("reddit").hits_today == 2
    # Once there is no room for another name it is one of the others; one that is there is counted on.
    key = store.keys.callers("reddit", store.clock.today)
    store.client.hset(key, mapping={f"bot-{number}:cache": 1 for number in range(999)})
    for name in ("late", "probe"):
        queue.enqueue(FetchRequest("reddit", "AAPL"), caller=name)
    monitor.flush()
    found = monitor.get_caller_metrics("reddit")
    assert (found["(others)"].hits, found["probe"].hits, "late" in found) == (1, 3, False)
    # A key of another type costs nobody the answer.
    store.client.set(key, "banana", ex=60)
    assert queue.enqueue(FetchRequest("reddit", "AAPL"), caller="probe").state == "hit"


def test_what_is_queued_was_asked_for(store: Store, settings: Settings) -> None:
    """Else what bots ask for by `enqueue` alone would not be kept warm. Such a bot has no heartbeat."""
    queue = Queue(store, settings)
    keep(store, "AAPL", 24)
    jobs = queue.enqueue_many([FetchRequest("reddit", symbol) for symbol in ("AAPL", "MSFT", "MSFT")])
    assert [job.state for job in jobs] == ["hit", "queued", "joined"]
    assert queue.enqueue(FetchRequest("reddit", "MSFT")).state == "joined"
    queue.enqueue(FetchRequest("reddit", "NVDA"), "prewarm")
    expected = {"reddit:AAPL:24": 1, "reddit:MSFT:24": 3}
    wait_until(lambda: dict(monitor_of(store).popularity.most("reddit", 9)) == expected)


def test_the_rows_of_callers_add_up_to_the_total(
    store: Store, settings: Settings, admission: Admission, pipeline: Pipeline
) -> None:
    """The scheduler's pre-warms counted as its asks, and the rows came to 26 times the total."""
    upstream, monitor = Upstream(TWITTER), admission._monitor
    with caller("scheduler"):
        for symbol in ("AAPL", "MSFT", "AAPL"):
            pipeline.run(upstream, FetchRequest("twitter", symbol), lane="prewarm")
    with caller("desk"):
        for symbol in ("NVDA", "AAPL", "NVDA"):
            pipeline.run(upstream, FetchRequest("twitter", symbol))
    monitor.flush()
    report = Fleet(settings, store).report(by="caller")
    rows = {one.name: (one.requests, one.misses, one.prewarms) for one in report.rows}
    assert rows == {"desk": (3, 1, 0), "scheduler": (0, 0, 2)}
    assert (report.total.requests, report.total.prewarms) == (3, 2)
    (source,) = Fleet(settings, store).report(source="twitter").rows
    assert (source.requests, source.prewarms) == (3, 2)


def test_what_is_fresh_for_longer_than_it_was_written_for_is_no_hit(store: Store, settings: Settings) -> None:
    """It was written before the server's clock was set back, by an hour."""
    keep(store, "AAPL", 24, fresh=3900)
    assert Queue(store, settings).enqueue(FetchRequest("reddit", "AAPL")).state == "queued"


def test_what_was_paid_is_told_by_symbol(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A budget is spent by a few symbols, and nobody knew which."""
    monitor, fleet = UsageMonitor(store, settings), Fleet(settings, store)
    costs = monitor.symbol_costs
    costs.pay("twitter", ("GME",), 1_500_000)
    costs.pay("twitter", ("AAPL", "MSFT"), 1_000_000)
    costs.pay("twitter", ("GME",), 500_000)
    costs.pay("reddit", ("GME",), 0)
    costs.flush()
    assert fleet.symbol_costs() == [
        SymbolCost("twitter", "GME", 2.0),
        SymbolCost("twitter", "AAPL", 0.5),
        SymbolCost("twitter", "MSFT", 0.5),
    ]
    assert fleet.symbol_costs(most=1, source="twitter", days=2) == [SymbolCost("twitter", "GME", 2.0)]
    assert fleet.symbol_costs(source="reddit") == []
    # There is room for so many; the rest is told as one's.
    key = store.keys.symbol_costs("twitter", store.clock.today)
    store.client.hset(key, mapping={f"S{number}": 1 for number in range(997)})
    costs.pay("twitter", ("LATE", "GME"), 2_000_000)
    costs.flush()
    found = {one.symbol: one.cost for one in fleet.symbol_costs(most=3)}
    assert found == {"GME": 3.0, "(others)": 1.0, "AAPL": 0.5}
    # So it is in a process within a second.
    monkeypatch.setattr(costs, "most_here", 1)
    for symbol in ("GME", "AAPL", "MSFT", "GME"):
        costs.pay("twitter", (symbol,), 1_000_000)
    costs.flush()
    found = {one.symbol: one.cost for one in fleet.symbol_costs(most=3)}
    assert found == {"GME": 5.0, "(others)": 3.0, "AAPL": 0.5}
