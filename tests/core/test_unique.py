"""One job for a fetch while it waits and while it runs, none where its answer is there, and one more where it
began too early."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from dramatiq.brokers.stub import StubBroker

from tbcache.cache import CacheManager
from tbcache.cache.script import DROP
from tbcache.fetch import Pipeline
from tbcache.io import utc_now
from tbcache.models import Failure, FetchRequest, Limit, Outcome, SymbolSentiment
from tbcache.models.error import InvalidRequest
from tbcache.monitoring import monitor_of
from tbcache.queue import Queue
from tbcache.queue.batch import MOST_ASKS
from tbcache.queue.hand import HeldJob
from tbcache.queue.job import Finish
from tbcache.queue.middleware import JobMiddleware
from tbcache.queue.script import DEQUEUE, ENQUEUE, FINISH
from tbcache.rate_limiter import RateLimiter
from tbcache.scoring import aggregate
from tbcache.settings import BUILT_IN, Settings
from tbcache.store import Store
from tests.core.conftest import Upstream
from tests.core.test_queue import Worker
from tests.job import message as queue_message
from tests.server import Server
from tests.unique import Client, run

NEWS = replace(BUILT_IN["news"], limits=(Limit(1000, 60.0),), missing=())
AAPL = FetchRequest("news", "AAPL")


@pytest.fixture
def queue(store: Store, settings: Settings) -> Queue:
    return Queue(store, settings)


@pytest.fixture
def worker(store: Store, settings: Settings) -> Worker:
    return Worker(store, settings, NEWS, threads=4)


@pytest.fixture
def cached(pipeline: Pipeline) -> Callable[[], Outcome]:
    """Loads the answer into the cache."""
    return lambda: pipeline.run(Upstream(NEWS), AAPL)


def end(worker: Worker, message: Any) -> None:
    """The worker is done with a job."""
    worker.consumer.ack(message)


def wants(store: Store, job_id: str) -> dict[str, Any]:
    """What a job is told, by its message."""
    found: dict[str, Any] = json.loads(store.client.hget(store.keys.queue("news", "jobs"), job_id) or b"")
    return dict(found["kwargs"])


@pytest.mark.every_server
def test_a_cached_answer_is_had_at_once_and_nothing_is_queued(
    queue: Queue, store: Store, cached: Callable[[], Outcome]
) -> None:
    """No worker is needed for it, nor a slot of a source that has none left."""
    known = cached()
    limiter = RateLimiter(replace(NEWS, limits=(Limit(1, 60.0),)), store)
    limiter.check_rate_limit()
    handle = queue.enqueue(AAPL)
    assert (handle.state, handle.is_new) == ("hit", False)
    found = handle.result(0.0)
    assert (found.sentiment, found.origin) == (known.sentiment, "cache")
    assert found.age >= 0.0
    assert not store.client.exists(*(store.keys.queue("news", part) for part in ("jobs", "pending", "bell")))


def test_a_hit_asks_no_more_of_a_job_that_waits(
    queue: Queue, store: Store, cached: Callable[[], Outcome]
) -> None:
    """Whoever has the answer already is not waited for."""
    waiting = queue.enqueue(AAPL, "prewarm")
    cached()
    assert queue.enqueue(AAPL).state == "hit"
    assert wants(store, waiting.job_id)["lane"] == "prewarm"
    assert (queue.depth("news").prewarm, queue.depth("news").interactive) == (1, 0)


def test_a_cached_answer_counts_as_a_hit(
    queue: Queue, store: Store, settings: Settings, cached: Callable[[], Outcome]
) -> None:
    """As it did when a worker answered the job."""
    cached()
    queue.enqueue(AAPL)
    assert monitor_of(store).flush()
    usage = store.client.hgetall(store.keys.usage("news", store.clock.today))
    assert sum(int(count) for name, count in usage.items() if name.endswith(b":hit")) == 1
    assert store.client.ttl(store.keys.usage("news", store.clock.today)) > 0


def test_an_answer_that_cannot_be_read_is_no_hit(
    queue: Queue, store: Store, cached: Callable[[], Outcome]
) -> None:
    """A worker finds that too, and removes it."""
    cached()
    entry = store.keys.entry(AAPL.key)
    store.client.setrange(entry, 60, "@@@")
    handles = [queue.enqueue(AAPL) for _ in range(2)]
    assert [one.state for one in handles] == ["queued", "joined"]
    assert queue.depth("news").interactive == 1


def test_a_prewarm_is_a_hit_only_of_what_is_fresh_for_long_enough(
    queue: Queue, cached: Callable[[], Outcome]
) -> None:
    """What it needs begins when it is to run."""
    cached()
    assert queue.enqueue(AAPL, "prewarm", needed=NEWS.cache_ttl / 2).state == "hit"
    assert queue.enqueue(AAPL, "prewarm", delay_seconds=20.0, needed=NEWS.cache_ttl - 10.0).state == "queued"


def test_a_prewarm_leaves_another_that_is_put_off_where_it_is(
    queue: Queue, cached: Callable[[], Outcome]
) -> None:
    """It would run long before the answer is old. Whoever waits for it brings it forward."""
    cached()
    for _ in range(2):
        queue.enqueue(AAPL, "prewarm", delay_seconds=20.0, needed=NEWS.cache_ttl - 10.0)
    assert (queue.depth("news").delayed, queue.depth("news").prewarm) == (1, 0)
    queue.enqueue(AAPL, fresh_after=utc_now())
    assert (queue.depth("news").delayed, queue.depth("news").interactive) == (0, 1)


def test_an_answer_begun_after_a_moment_is_none_that_was_there_before(
    queue: Queue, store: Store, cached: Callable[[], Outcome]
) -> None:
    """Who has just bought wants to know what is said since."""
    cached()
    handle = queue.enqueue(AAPL, fresh_after=utc_now())
    assert handle.state == "queued"
    assert wants(store, handle.job_id)["after"] > 0


def test_a_waiting_job_serves_an_ask_for_what_begins_later(queue: Queue, store: Store) -> None:
    """It begins after any moment that is over; it is told so, and in which lane."""
    first = queue.enqueue(AAPL, "prewarm", needed=10.0)
    second = queue.enqueue(AAPL, fresh_after=utc_now())
    assert (second.state, second.job_id) == ("joined", first.job_id)
    asked = wants(store, first.job_id)
    assert asked["after"] > 0
    assert (asked["lane"], asked["needed"]) == ("interactive", 10.0)
    queue.enqueue(AAPL, "prewarm", needed=25.0)
    assert wants(store, first.job_id) == {**asked, "needed": 25.0}
    assert (queue.depth("news").interactive, queue.depth("news").prewarm) == (1, 0)


@pytest.mark.every_server
def test_one_more_job_comes_after_one_that_began_too_early(
    queue: Queue, store: Store, worker: Worker
) -> None:
    """Exactly one, however many ask; it waits until the running one is over, which answers none of them."""
    first = queue.enqueue(AAPL)
    running = worker.await_job()
    second = queue.enqueue(AAPL, fresh_after=utc_now())
    others = [queue.enqueue(AAPL, fresh_after=utc_now()) for _ in range(3)]
    assert (second.state, {one.state for one in others}) == ("queued", {"joined"})
    assert {one.job_id for one in others} == {second.job_id} != {first.job_id}
    assert queue.enqueue(AAPL).job_id == first.job_id
    assert (queue.depth("news").waiting, worker.ask()) == (0, None)
    end(worker, running)
    assert queue.depth("news").interactive == 1
    assert worker.await_job().message_id == second.job_id
    assert (queue.depth("news").waiting, queue.enqueue(AAPL).job_id) == (0, second.job_id)


def test_an_ask_joins_a_running_job_that_began_late_enough(queue: Queue, worker: Worker) -> None:
    """Of many who want what begins after the same moment, none has it loaded twice."""
    moment = utc_now()
    first = queue.enqueue(AAPL, fresh_after=moment)
    worker.await_job()
    assert queue.enqueue(AAPL, fresh_after=moment).job_id == first.job_id
    assert queue.enqueue(AAPL, fresh_after=utc_now()).job_id != first.job_id


def clear_all_as_a_stranger(cache: CacheManager) -> None:
    """As a process that does not know of the source, which no log of the source tells."""
    known = cache.core.store.keys
    cache.core.store.keys = replace(known, sources=frozenset())
    cache.clear_pattern("*")
    cache.core.store.keys = known


@pytest.mark.every_server
@pytest.mark.parametrize(
    "remove",
    [
        lambda cache: cache.delete(AAPL.key),
        lambda cache: cache.clear_pattern("news:*", wait=False),
        lambda cache: cache.clear_pattern("news:A*"),
        clear_all_as_a_stranger,
    ],
)
def test_one_more_job_comes_after_one_whose_answer_is_removed_while_it_loads(
    queue: Queue, store: Store, worker: Worker, remove: Callable[[CacheManager], object]
) -> None:
    """What it loads is not stored: who has removed the answer, and asked for it anew, got none."""
    queue.enqueue(AAPL)
    running = worker.await_job()
    # It has begun to load.
    store.call("HSET", store.keys.lease(AAPL.key), "token", "x", "since", 0)
    store.call("EXPIRE", store.keys.lease(AAPL.key), 60)
    with closing(CacheManager(store)) as cache:
        remove(cache)
    second = queue.enqueue(AAPL)
    assert (second.state, [queue.enqueue(AAPL).job_id for _ in "123"]) == ("queued", [second.job_id] * 3)
    end(worker, running)
    assert worker.await_job().message_id == second.job_id
    # That one began after the removal, also where a sweep comes to what is left of the load before it.
    with closing(CacheManager(store)) as cache:
        cache.resume()
    assert queue.enqueue(AAPL).job_id == second.job_id


@pytest.mark.parametrize(
    "remove",
    [
        lambda cache: cache.delete("news:MSFT:24"),
        lambda cache: cache.clear_pattern("reddit:*"),
        lambda cache: cache.core.store.client.set(cache.core.store.keys.clears("news"), "inf", ex=60),
    ],
)
def test_an_ask_joins_a_running_job_where_something_else_is_removed(
    queue: Queue, store: Store, worker: Worker, remove: Callable[[CacheManager], object]
) -> None:
    """One load is enough."""
    first = queue.enqueue(AAPL)
    worker.await_job()
    with closing(CacheManager(store)) as cache:
        remove(cache)
    assert queue.enqueue(AAPL).job_id == first.job_id
    assert store.client.hget(store.keys.queue("news", "pending"), "@news:MSFT:24") is None


def test_a_job_that_waits_brings_what_is_asked_for_after_a_removal(
    queue: Queue, store: Store, worker: Worker
) -> None:
    """It has not begun: no other is needed. So it is with one that waits again."""
    first = queue.enqueue(AAPL)
    with closing(CacheManager(store)) as cache:
        cache.delete(AAPL.key)
        assert queue.enqueue(AAPL).job_id == first.job_id
        running = worker.await_job()
        cache.delete(AAPL.key)
        worker.consumer._end(running.claim, Finish("later", delay_seconds=60.0))
    assert queue.enqueue(AAPL).job_id == first.job_id


def test_a_running_job_that_may_be_answered_by_the_cache_serves_no_such_ask(
    queue: Queue, worker: Worker
) -> None:
    """It was not told to load anew."""
    moment = utc_now()
    first = queue.enqueue(AAPL)
    worker.await_job()
    assert queue.enqueue(AAPL, fresh_after=moment).job_id != first.job_id
    assert queue.enqueue(AAPL, "prewarm", needed=30.0).job_id != first.job_id


@pytest.mark.parametrize("what", ["back", "later"])
def test_a_job_that_waits_again_serves_them_all(queue: Queue, worker: Worker, what: Any) -> None:
    """Its next run begins later than what is asked for now."""
    first = queue.enqueue(AAPL)
    running = worker.await_job()
    worker.consumer._end(running.claim, Finish(what, delay_seconds=60.0))
    assert queue.enqueue(AAPL, fresh_after=utc_now()).job_id == first.job_id


def test_a_job_whose_worker_died_serves_them_all(
    queue: Queue, worker: Worker, store: Store, settings: Settings
) -> None:
    """It begins again."""
    first = queue.enqueue(AAPL)
    worker.await_job()
    worker.die()
    # Another worker that has no thread free finds it.
    Worker(store, settings, NEWS, threads=0).look()
    assert queue.enqueue(AAPL, fresh_after=utc_now()).job_id == first.job_id


@pytest.mark.parametrize("what", ["done", "dead"])
def test_the_job_after_a_running_one_outlives_it(
    queue: Queue, store: Store, worker: Worker, what: Any
) -> None:
    """However that ends; what was promised to those who wait is kept, and outlasts a week like any job."""
    queue.enqueue(AAPL)
    running = worker.await_job()
    second = queue.enqueue(AAPL, fresh_after=utc_now())
    worker.consumer._end(running.claim, Finish(what, reason="why"))
    assert worker.await_job().message_id == second.job_id
    assert store.client.ttl(store.keys.queue("news", "pending")) > 0


def test_nothing_is_left_of_jobs_that_are_over(queue: Queue, store: Store, worker: Worker) -> None:
    """Another ask for the same begins anew."""
    queue.enqueue(AAPL)
    running = worker.await_job()
    queue.enqueue(AAPL, fresh_after=utc_now())
    end(worker, running)
    end(worker, worker.await_job())
    parts = ("jobs", "pending", "keys", "lanes", "claims", "interactive")
    assert not store.client.exists(*(store.keys.queue("news", part) for part in parts))


@pytest.mark.parametrize(
    ("moment", "why"),
    [
        (datetime(2026, 1, 1), "needs a zone"),
        (1.7e9, "needs a zone"),
        (datetime(1900, 1, 1, tzinfo=UTC), "must be of the years"),
        (datetime(2999, 1, 1, tzinfo=UTC), "still to come"),
    ],
)
def test_no_moment_that_cannot_be_one_reaches_redis(
    queue: Queue, store: Store, moment: Any, why: str
) -> None:
    """It is said in one line what is wrong."""
    with pytest.raises(InvalidRequest, match=why):
        queue.enqueue(AAPL, fresh_after=moment)
    assert not store.client.exists(store.keys.queue("news", "jobs"))


def test_a_clock_that_is_ahead_asks_for_what_begins_now(queue: Queue, worker: Worker) -> None:
    """The server's clock is what jobs begin by: no ask waits for a moment that is still to come."""
    moment = utc_now() + timedelta(seconds=40)
    first = queue.enqueue(AAPL, fresh_after=moment)
    worker.await_job()
    assert queue.enqueue(AAPL, fresh_after=moment).job_id != first.job_id


@pytest.mark.every_server
def test_many_fetches_are_queued_in_few_calls(
    queue: Queue, store: Store, cached: Callable[[], Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each with what became of it, in the order in which they were asked for."""
    cached()
    queue.enqueue(FetchRequest("news", "S3"))
    asked, calls = store.ask, []

    async def ask(script: Any, call: Any) -> Any:
        calls.append(script.name)
        return await asked(script, call)

    monkeypatch.setattr(store, "ask", ask)
    symbols = [f"S{number}" for number in range(MOST_ASKS)]
    requests = [AAPL, *(FetchRequest("news", symbol) for symbol in symbols), FetchRequest("reddit", "S1")]
    handles = queue.enqueue_many(requests)
    assert [handle.request for handle in handles] == requests
    assert [handle.state for handle in handles[:6]] == ["hit", *["queued"] * 3, "joined", "queued"]
    assert handles[-1].state == "queued"
    assert calls.count("enqueue") == 3
    assert (queue.depth("news").interactive, queue.depth("reddit").interactive) == (MOST_ASKS, 1)


def test_a_job_that_was_to_load_anew_and_did_not_comes_again() -> None:
    """As where another loads the same: what that has begun before is no answer."""
    old = Outcome(AAPL, sentiment(), "stale", 5.0)
    finish = ended(old)
    assert (finish.what, finish.is_try, finish.result) == ("later", False, None)
    failed = ended(replace(old, error=Failure("unavailable", "on fire", 503, None)))
    assert (failed.what, failed.is_try) == ("later", True)
    assert failed.result is not None
    assert failed.result.failure is not None
    assert ended(replace(old, origin="live")).what == "done"


def sentiment() -> SymbolSentiment:
    return aggregate(AAPL, (), (), as_of=utc_now(), complete=True, since=None, reason=None, scorer="x")


def ended(outcome: Outcome) -> Finish:
    """What becomes of a job for what begins later, with that outcome."""
    message = queue_message(AAPL, "interactive", after=1.0)
    found = HeldJob(message, b"1/1", is_fetch=True)
    JobMiddleware().after_process_message(StubBroker(), found, result=outcome)
    assert found.finish is not None
    return found.finish


@pytest.fixture
def disposable() -> Iterator[Server]:
    """A server of one's own, which each run empties."""
    with closing(Server().start()) as server:
        yield server


def test_no_order_of_events_queues_a_fetch_twice_or_answers_with_what_is_too_old(
    disposable: Server,
) -> None:
    """Asks of all kinds, ends and deaths, in a few random orders; `make unique` tries thousands of them."""
    client = Client(disposable.client)
    assert [found for seed in range(30) if (found := run(client, seed))] == []


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("if begun <= last_cleared_at() then", "if begun == 0 then", "is not stored"),
        ("redis.pcall('HSET', pending, '@' .. key, '0')", "", "is not stored"),
        ("return its_after > 0 and begun >= after * 1000000", "return true", "began too early"),
        ("    if not words then", "    if true then", "a second job"),
        ("            promote(key, found[2], now)", "", "are never done"),
    ],
)
def test_a_bug_would_be_seen_by_that(
    old: str, new: str, what: str, disposable: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check that finds nothing is none."""
    for script in (ENQUEUE, DEQUEUE, FINISH, DROP):
        monkeypatch.setitem(vars(script), "text", script.text.replace(old, new))
    client = Client(disposable.client)
    assert any(what in run(client, seed) for seed in range(30))
