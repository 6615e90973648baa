"""What is counted of callers."""

from __future__ import annotations

from tbcache.models import FetchRequest
from tbcache.monitoring import CallerMetrics, UsageMonitor
from tbcache.queue import Queue
from tbcache.settings import Settings
from tbcache.store import Store
from tests.kept import keep


def test_a_hit_at_enqueue_is_its_callers(store: Store, settings: Settings) -> None:
    """The callers' asks came to less than those of the source, and who asked most was not seen."""
    monitor, queue = UsageMonitor(store, settings), Queue(store, settings)
    keep(store, "AAPL", 24)
    queue.enqueue(FetchRequest("reddit", "AAPL"), caller="probe/1")
    queue.enqueue_many([FetchRequest("reddit", symbol) for symbol in ("AAPL", "MSFT")], caller="probe/2")
    assert monitor.get_caller_metrics("reddit") == {"probe": CallerMetrics(hits=2)}
    assert monitor.get_source_metrics("reddit").hits_today == 2
    # Once there is no room for another name it is one of the others; one that is there is counted on.
    key = store.keys.callers("reddit", store.clock.today)
    store.client.hset(key, mapping={f"bot-{number}:cache": 1 for number in range(999)})
    for name in ("late", "probe"):
        queue.enqueue(FetchRequest("reddit", "AAPL"), caller=name)
    found = monitor.get_caller_metrics("reddit")
    assert (found["(others)"].hits, found["probe"].hits, "late" in found) == (1, 3, False)
    # A key of another type costs nobody the answer.
    store.client.set(key, "banana", ex=60)
    assert queue.enqueue(FetchRequest("reddit", "AAPL"), caller="probe").state == "hit"
