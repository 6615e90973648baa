"""When jobs will start, as they are told when they are queued, and as ``explain`` says."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tbcache.io import run, utc_now
from tbcache.models import FetchRequest, Limit
from tbcache.monitoring import UsageMonitor, Workload
from tbcache.queue import Queue, estimate
from tbcache.queue.estimate import MOST_STEPS, Outlook, Start, Starts
from tbcache.queue.explain import explain
from tbcache.queue.heartbeat import Pace
from tbcache.queue.job import Finish
from tbcache.queue.script import queue_keys
from tbcache.rate_limiter import RateLimiter
from tbcache.settings import BUILT_IN, Settings
from tbcache.store import Store
from tbcache.store.wire import to_micros
from tests.core.test_queue import Worker
from tests.server import Server

IDLE = Outlook(now=1000.0, limits=(), stamps=(), each=1, opens_at=0.0, threads=4, busy=0, seconds=0.0)


def starts(outlook: Outlook, count: int) -> list[Start]:
    """The starts of the first jobs; none where nobody takes them."""
    known = Starts(outlook)
    return [start for ahead in range(count) if (start := known.of(ahead)[0]) is not None]


def moments(outlook: Outlook, count: int) -> list[float]:
    """In how many seconds jobs start."""
    return [round(start.at - outlook.now, 3) for start in starts(outlook, count)]


def test_jobs_of_an_idle_source_start_at_once() -> None:
    """As many as its limit allows, and the next ones when the first slots have left the window."""
    outlook = replace(IDLE, limits=[Limit(3, 10.0)], seconds=0.5)
    assert moments(outlook, 8) == [0.0, 0.0, 0.0, 10.5, 10.5, 10.5, 21.0, 21.0]


def test_slots_that_are_used_leave_one_by_one() -> None:
    """The window slides."""
    outlook = replace(IDLE, limits=[Limit(3, 10.0)], stamps=[992.0, 994.0, 999.0])
    assert moments(outlook, 4) == [2.0, 4.0, 9.0, 12.0]


def test_the_limit_that_is_waited_for_is_named() -> None:
    """Of several the one that lets the job go last."""
    short, long = Limit(2, 1.0), Limit(3, 60.0)
    found = starts(replace(IDLE, limits=[short, long]), 5)
    assert [one.cause for one in found] == ["", "", short, long, long]


def test_jobs_of_a_worker_that_is_busy_wait_for_its_threads() -> None:
    """They come free one after the other."""
    outlook = replace(IDLE, threads=2, busy=2, seconds=4.0)
    assert moments(outlook, 4) == [2.0, 4.0, 6.0, 8.0]
    assert starts(outlook, 1)[0].cause == "threads"


def test_nothing_starts_before_a_closed_source_is_open() -> None:
    """And all that have a slot then start together."""
    outlook = replace(IDLE, opens_at=1030.0, limits=[Limit(3, 10.0)])
    assert moments(outlook, 4) == [30.0, 30.0, 30.0, 40.0]
    assert [one.cause for one in starts(outlook, 1)] == ["source"]


def test_jobs_that_cost_several_slots_wait_for_as_many() -> None:
    """Four slots are room for one of three."""
    assert moments(replace(IDLE, limits=[Limit(4, 10.0)], cost=3), 2) == [0.0, 10.0]


def test_nothing_starts_where_nobody_takes_it() -> None:
    """No moment is better than a wrong one."""
    assert starts(replace(IDLE, threads=0), 3) == []


def test_a_long_queue_is_not_counted_out_one_by_one() -> None:
    """Behind the first thousands it goes on at the pace of the limit: 50,000 jobs are no minute of work."""
    outlook = replace(IDLE, limits=[Limit(100, 10.0)])
    found = moments(outlook, 50_000)
    assert found[-1] == pytest.approx(50_000 / 10, rel=0.01)
    assert found == sorted(found)
    assert len(found) > MOST_STEPS


def test_the_last_of_a_long_queue_costs_no_more_than_the_first_thousands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who asks when one of 300,000 jobs starts does not wait until all of them are worked out."""
    made = 0

    class Counted(Start):
        def __new__(cls, *args: object) -> Counted:
            nonlocal made
            made += 1
            return super().__new__(cls, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(estimate, "Start", Counted)
    (start,) = Starts(replace(IDLE, limits=[Limit(100, 10.0)])).of(300_000)
    assert start is not None
    assert start.at - IDLE.now == pytest.approx(30_000, rel=0.01)
    assert made <= MOST_STEPS + 1


def test_a_limit_that_lets_nothing_through_gives_no_moment() -> None:
    """A year 9999 would be no less invented than any other."""
    (start,) = starts(replace(IDLE, limits=[Limit(2, 10.0)], cost=3), 1)
    assert (start.at, start.cause) == (math.inf, Limit(2, 10.0))


def test_a_window_with_very_many_slots_is_known_by_some_of_them() -> None:
    """Each stands for its neighbours."""
    outlook = replace(IDLE, limits=[Limit(40, 10.0)], stamps=[991.0, 993.0, 995.0, 999.0], each=10)
    assert moments(outlook, 21) == [1.0] * 10 + [3.0] * 10 + [5.0]


def test_the_pace_of_jobs_follows_the_last_ones() -> None:
    """An upstream that has become slow is told by that."""
    pace = Pace()
    assert pace.of("news") == 0.0
    for _ in range(50):
        pace.count("news", 1.0)
    assert pace.of("news") == pytest.approx(1.0)
    for _ in range(50):
        pace.count("news", 3.0)
    assert pace.of("news") == pytest.approx(3.0, rel=0.01)
    assert pace.of("reddit") == 0.0


NEWS = replace(BUILT_IN["news"], missing=())
(LIMIT,) = NEWS.limits
AAPL = FetchRequest("news", "AAPL")


@pytest.fixture
def queue(store: Store, settings: Settings) -> Queue:
    return Queue(store, settings)


@pytest.fixture
def crew(store: Store, settings: Settings) -> Iterator[Callable[..., None]]:
    """Has a worker say what it is."""
    monitor = UsageMonitor(store, settings)

    def beat(threads: int = 4, busy: int = 0, **pace: float) -> None:
        workload = Workload(threads, busy, (), ("news",), pace)
        monitor.beat("worker", started_at=utc_now(), workload=workload)

    yield beat
    monitor.leave()


def seconds_until(moment: datetime | None, since: datetime) -> float:
    assert moment is not None
    return (moment - since).total_seconds()


@pytest.mark.every_server
def test_many_jobs_are_told_when_they_start(queue: Queue, crew: Callable[..., None]) -> None:
    """By the limit, what waits before them, and how long a job takes."""
    crew(news=0.5)
    begun, count = utc_now(), LIMIT.count + 20
    handles = queue.enqueue_many([FetchRequest("news", f"S{number}") for number in range(count)])
    starts_in = [seconds_until(one.starts_at, begun) for one in handles]
    assert starts_in == sorted(starts_in)
    # Four threads begin eight jobs a second.
    assert starts_in[0] < starts_in[LIMIT.count - 1] < LIMIT.window_seconds
    assert starts_in[LIMIT.count] >= LIMIT.window_seconds
    (joined,) = queue.enqueue_many([FetchRequest("news", f"S{count - 1}")])
    assert (joined.state, joined.job_id) == ("joined", handles[-1].job_id)
    assert seconds_until(joined.starts_at, begun) >= LIMIT.window_seconds


def test_a_job_that_has_begun_by_then_starts_now(
    queue: Queue, store: Store, settings: Settings, crew: Callable[..., None]
) -> None:
    """A worker may be quicker than whoever asks when; one that comes after it starts when that is over."""
    crew(news=2.0)
    worker, begun = Worker(store, settings, NEWS, threads=4), utc_now()
    queue.enqueue(AAPL)
    worker.await_job()
    (joined,) = queue.enqueue_many([AAPL])
    assert abs(seconds_until(joined.starts_at, begun)) < 60.0
    (follower,) = queue.enqueue_many([AAPL], fresh_after=utc_now())
    assert seconds_until(follower.starts_at, utc_now()) == pytest.approx(2.0, abs=2.0)


def test_where_no_worker_is_nobody_knows_when_a_job_starts(queue: Queue) -> None:
    """It waits until one comes; that is said in place of a moment."""
    (handle,) = queue.enqueue_many([AAPL])
    assert handle.starts_at is None
    found = handle.explain()
    assert (found.state, found.place, found.workers, found.starts_at) == ("waiting", 1, 0, None)
    assert "none takes jobs of this queue" in str(found)


def test_a_job_that_waits_is_explained(queue: Queue, store: Store, crew: Callable[..., None]) -> None:
    """Which limit, which place, and when."""
    crew(threads=4, busy=1, news=0.01, reddit=0.01)
    crew(threads=4, busy=1, news=0.01)
    limiter = RateLimiter(NEWS, store)
    assert all(limiter.check_rate_limit()[0] for _ in range(LIMIT.count))
    for number in range(2):
        queue.enqueue(FetchRequest("news", f"S{number}"))
    begun, handle = utc_now(), queue.enqueue(AAPL)
    found = handle.explain()
    assert (found.queue, found.state, found.lane, found.place) == ("news", "waiting", "interactive", 3)
    assert found.cause == f"a slot of the limit {LIMIT.count} per {LIMIT.window_seconds:g} s"
    assert seconds_until(found.starts_at, begun) == pytest.approx(LIMIT.window_seconds, rel=0.5)
    assert (found.workers, found.threads, found.busy) == (1, 4, 1)
    line = str(found)
    assert line.startswith(
        f"news {handle.job_id}: place 3 in the lane interactive, waits for a slot of the limit "
    )
    assert line.endswith("1 workers with 4 threads, 1 of them busy")


def test_threads_that_are_at_work_on_other_queues_are_not_waited_for(
    queue: Queue, crew: Callable[..., None]
) -> None:
    """Nobody knows when they come free: three jobs would be said to start at once, on one thread."""
    crew(threads=4, busy=3, news=2.0)
    begun = utc_now()
    handles = queue.enqueue_many([FetchRequest("news", f"S{number}") for number in range(3)])
    first, _, third = (seconds_until(one.starts_at, begun) for one in handles)
    assert third - first == pytest.approx(4.0, abs=0.1)


def test_a_prewarm_stands_behind_whatever_somebody_waits_for(queue: Queue, crew: Callable[..., None]) -> None:
    """It has a place in its own lane, and starts after the other."""
    crew(threads=1, news=1.0)
    prewarm = queue.enqueue(FetchRequest("news", "WARM"), "prewarm")
    queue.enqueue(AAPL)
    begun, found = utc_now(), prewarm.explain()
    assert (found.lane, found.place) == ("prewarm", 1)
    assert seconds_until(found.starts_at, begun) >= 0.5


def test_a_prewarm_names_the_limit_that_is_in_force(
    queue: Queue, store: Store, crew: Callable[..., None]
) -> None:
    """It may use a part of it: a limit of that many is none that anybody has set."""
    crew(news=0.01)
    limiter = RateLimiter(NEWS, store)
    assert all(limiter.check_rate_limit()[0] for _ in range(LIMIT.count))
    found = queue.enqueue(FetchRequest("news", "WARM"), "prewarm").explain()
    part = int(LIMIT.count * 0.7)
    assert (
        found.cause
        == f"a slot of the limit {LIMIT.count} per {LIMIT.window_seconds:g} s, of which pre-warms have {part}"
    )


def test_the_limit_that_is_named_is_the_fleets(
    queue: Queue, store: Store, settings: Settings, crew: Callable[..., None]
) -> None:
    """A shell that was started with a stricter one takes no slot: its limit holds for nobody."""
    crew(news=0.01)
    limiter = RateLimiter(NEWS, store)
    assert all(limiter.check_rate_limit()[0] for _ in range(LIMIT.count))
    state, theirs = store.keys.state("news"), f"{LIMIT.count}:{to_micros(LIMIT.window_seconds)}"
    store.client.hset(state, "limits", theirs)
    job, elsewhere = queue.enqueue(AAPL).job_id, replace(NEWS, limits=(Limit(1, LIMIT.window_seconds),))
    found = run(explain(store, settings, elsewhere, job))
    assert found.cause == f"a slot of the limit {LIMIT.count} per {LIMIT.window_seconds:g} s"


def test_a_job_that_no_limit_lets_through_has_no_moment(
    settings_for: Callable[..., Settings],
    server: Server,
    store: Store,
    crew: Callable[..., None],
) -> None:
    """An operator's limit may be lower than what a request costs for other processes."""
    crew(news=0.01)
    source = replace(NEWS, cost=LIMIT.count + 1)
    handle = Queue(store, settings_for(server)).enqueue(AAPL)
    found = run(explain(store, settings_for(server), source, handle.job_id))
    assert (found.starts_at, "which lets no job through" in found.cause) == (None, True)
    assert "nobody knows when it starts" in str(found)


def test_a_source_that_is_shut_says_why(queue: Queue, store: Store, crew: Callable[..., None]) -> None:
    """Until when, and in the upstream's words; an operator's pause has no end that is known."""
    crew(news=0.01)
    handle, state = queue.enqueue(AAPL), store.keys.state("news")
    store.client.hset(state, mapping={"closed_until": 4_000_000_000_000_000, "closed_reason": "quota"})
    store.client.expire(state, 60)
    found = handle.explain()
    assert found.cause == "the upstream, which has closed it (quota)"
    assert found.starts_at == datetime.fromtimestamp(4e9, UTC)
    store.client.hset(state, "order", "pause 1 ann moving house")
    found = handle.explain()
    assert (found.cause, found.starts_at) == ("an operator, as it is paused by ann: moving house", None)


def test_a_suspect_waits_for_a_worker_that_has_nothing_else_in_hand(
    queue: Queue, store: Store, crew: Callable[..., None]
) -> None:
    """Beside long jobs it was said for hours to start now, and to wait for one of three idle threads."""
    handle = queue.enqueue(AAPL)
    keys = queue_keys(store.keys, "news")
    store.client.zrem(keys.interactive, handle.job_id)
    store.client.zadd(keys.suspects, {handle.job_id: 1})
    store.client.expire(keys.suspects, 60)
    crew(busy=1, news=40.0)
    found = handle.explain()
    assert (found.lane, found.place, found.starts_at) == ("suspects", 1, None)
    assert found.cause == "a worker that has nothing else in hand, as its workers died twice"
    (joined,) = queue.enqueue_many([AAPL])
    assert joined.starts_at is None
    store.client.hset(store.keys.state("news"), "closed_until", 4_000_000_000_000_000)
    store.client.expire(store.keys.state("news"), 60)
    assert handle.explain().starts_at == datetime.fromtimestamp(4e9, UTC)
    store.client.delete(store.keys.state("news"))
    crew(busy=0, news=40.0)
    assert seconds_until(handle.explain().starts_at, utc_now()) < 60.0


def test_a_job_is_explained_until_it_is_over(queue: Queue, store: Store, settings: Settings) -> None:
    """Wherever it is."""
    worker = Worker(store, settings, NEWS, threads=4)
    later = queue.enqueue(FetchRequest("news", "LATER"), delay_seconds=50.0).explain()
    assert (later.state, "put off until" in str(later)) == ("delayed", True)
    handle = queue.enqueue(AAPL)
    running, begun = worker.await_job(), utc_now()
    found = handle.explain()
    assert (found.state, found.place) == ("running", None)
    assert abs(seconds_until(found.starts_at, begun)) < 60.0
    next_one = queue.enqueue(AAPL, fresh_after=utc_now())
    assert next_one.explain().state == "follows"
    worker.consumer._end(running.claim, Finish("dead", reason="why"))
    assert (handle.explain().state, next_one.explain().state) == ("dead", "waiting")
    worker.consumer.ack(worker.await_job())
    assert next_one.explain().state == "over"
    assert "over, or never queued" in str(next_one.explain())


def test_a_window_with_more_slots_than_can_be_told_is_told_by_some(
    queue: Queue, store: Store, crew: Callable[..., None]
) -> None:
    """The reply stays small, and the estimate right."""
    crew(news=0.01)
    now = store.client.time()[0]
    stamps = {f"s{number}": (now - 50) * 10**6 + number * 1000 for number in range(5000)}
    store.client.zadd(store.keys.slots("news"), stamps)
    store.client.expire(store.keys.slots("news"), 60)
    begun, found = utc_now(), queue.enqueue(AAPL).explain()
    # The hundredth from the end leaves 10 s and nearly 5 s from then on.
    assert seconds_until(found.starts_at, begun) == pytest.approx(14.9, abs=9.0)
