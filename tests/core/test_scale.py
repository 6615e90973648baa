"""How many workers are wanted: for what may run, and not for what waits for a limit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import dramatiq
import pytest

from tbcache.fleet import Fleet, QueueLoad
from tbcache.fleet.agreed import agreed
from tbcache.fleet.scale import HORIZON_SECONDS, scale_of
from tbcache.io import utc_now
from tbcache.models import FetchRequest, Limit
from tbcache.monitoring import UsageMonitor, Workload
from tbcache.monitoring.process import read_workers
from tbcache.queue import PacingBroker, Queue
from tbcache.rate_limiter import RateLimiter
from tbcache.settings import Settings, get_source
from tbcache.store import Store
from tests.core.test_operator import working
from tests.server import wait_until

IDLE = QueueLoad(0, 0, 0, None, 0.0, None, 1.0)


@pytest.mark.parametrize(
    ("load", "wanted"),
    [
        (IDLE, 0),
        # One in a thousand of a worker's time is one worker.
        (replace(IDLE, begun_per_second=0.001), 1),
        (replace(IDLE, begun_per_second=8.0), 1),
        (replace(IDLE, begun_per_second=8.1), 2),
        (replace(IDLE, waiting=2400), 10),
        (replace(IDLE, waiting=2400, job_seconds=0.1), 1),
        (replace(IDLE, waiting=2400, admissible_per_second=16.0), 2),
        (replace(IDLE, waiting=2400, begun_per_second=100.0, admissible_per_second=0.0), 0),
        (replace(IDLE, waiting=2400, running=1, admissible_per_second=0.0), 1),
    ],
)
def test_as_many_workers_are_wanted_as_have_something_to_do(load: QueueLoad, wanted: int) -> None:
    """By Little's law: jobs a second, times how long one takes, is how many threads are busy."""
    assert scale_of([load], []).workers_wanted == wanted


def test_the_loads_of_all_sources_share_workers() -> None:
    """Two halves of a worker are one."""
    half = replace(IDLE, begun_per_second=4.0, waiting=3, runnable=2, oldest_seconds=5.0)
    found = scale_of([half, replace(half, oldest_seconds=7.0), IDLE], [])
    assert found.workers_wanted == 2
    assert (found.runnable, found.oldest_seconds) == (4, 7.0)


def load_of(settings: Settings, store: Store, name: str = "stocktwits") -> QueueLoad:
    sources = Fleet(settings, store).status().sources
    (found,) = (source.load for source in sources if source.name == name)
    assert found is not None
    return found


def test_what_waits_and_comes_is_counted(settings: Settings, store: Store) -> None:
    """The signal for an autoscaler comes from Redis, for the whole fleet."""
    queue = Queue(store, settings)
    before = load_of(settings, store)
    assert (before.waiting, before.begun_per_second, before.oldest_seconds) == (0, 0.0, None)
    queue.enqueue_many([FetchRequest("stocktwits", f"S{number}") for number in range(90)])
    queue.enqueue(FetchRequest("stocktwits", "S0"))
    found = load_of(settings, store)
    assert (found.waiting, found.running) == (90, 0)
    assert found.begun_per_second == 0
    # 60 in any minute: those of half of a minute at least, and no more than all.
    assert found.runnable == 60
    assert found.admissible_per_second == 60 / HORIZON_SECONDS
    assert found.oldest_seconds is not None
    assert 0 <= found.oldest_seconds < 100
    status = Fleet(settings, store).status()
    assert status.scale is not None
    assert status.scale.workers_wanted == 1


def test_what_is_put_off_wakes_a_worker_as_it_falls_due(settings: Settings, store: Store) -> None:
    """Where none is there, nobody brings it into its lane."""
    queue = Queue(store, settings)
    queue.enqueue(FetchRequest("stocktwits", "LATER"), delay_seconds=10 * HORIZON_SECONDS)
    assert load_of(settings, store).waiting == 0
    queue.enqueue(FetchRequest("stocktwits", "SOON"), delay_seconds=HORIZON_SECONDS / 2)
    found = load_of(settings, store)
    assert (found.waiting, found.runnable, found.oldest_seconds) == (1, 1, None)
    delayed = store.keys.queue("stocktwits", "delayed")
    store.client.zadd(delayed, dict.fromkeys(store.client.zrange(delayed, 0, -1), 1))
    found, scale = load_of(settings, store), Fleet(settings, store).status().scale
    assert (found.waiting, found.oldest_seconds is None) == (2, False)
    assert scale is not None
    assert scale.workers_wanted == 1


def test_workers_that_have_run_nothing_yet_do_not_say_how_long_a_job_takes(
    settings: Settings, store: Store
) -> None:
    """They would be wanted no more as soon as they have begun, before their first jobs are over."""
    workload = Workload(threads=2, pace={"stocktwits": 10.0})
    UsageMonitor(store, settings).beat("worker", started_at=utc_now(), workload=workload)
    (worker,) = read_workers(store)
    fresh = replace(worker, pace={"stocktwits": 0.0})
    assert agreed(settings, (), [fresh, worker, fresh]).pace == {"stocktwits": 10.0}
    assert agreed(settings, (), [fresh, fresh]).pace == {"stocktwits": 0.0}


def test_no_worker_is_wanted_where_only_the_limit_is_waited_for(settings: Settings, store: Store) -> None:
    """A hundred workers would wait as long as one."""
    source = replace(get_source("stocktwits", settings), limits=(Limit(60, 3600.0),))
    assert RateLimiter(source, store).check_rate_limit(cost=60)[0]
    queue = Queue(store, settings)
    queue.enqueue(FetchRequest("stocktwits", "AAPL"))
    found = queue.backlog(source, HORIZON_SECONDS)
    assert (found.waiting, found.admissible) == (1, 0)
    # As soon as some come free within the time in which a worker starts, one is.
    slots = store.keys.slots("stocktwits")
    for slot in store.client.zrange(slots, 0, 4):  # type: ignore[union-attr]
        store.client.zincrby(slots, -3580e6, slot)
    assert queue.backlog(source, HORIZON_SECONDS).admissible == 5


def test_no_worker_is_wanted_for_a_source_that_is_paused(settings: Settings, store: Store) -> None:
    """What an operator has stopped wakes nobody up."""
    Queue(store, settings).enqueue(FetchRequest("stocktwits", "AAPL"))
    fleet = Fleet(settings, store)
    fleet.as_operator("ada").pause("stocktwits")
    assert load_of(settings, store).runnable == 0
    scale = fleet.status().scale
    assert scale is not None
    assert scale.workers_wanted == 0


def test_damaged_keys_of_a_queue_hide_no_status(settings: Settings, store: Store) -> None:
    """The status is most wanted when something is wrong."""
    queue = Queue(store, settings)
    queue.enqueue(FetchRequest("stocktwits", "AAPL"))
    store.client.set(store.keys.queue("stocktwits", "pace"), "damaged", ex=60)
    (limit, *_) = get_source("stocktwits", settings).limits
    span = round(limit.window_seconds * 1e6)
    store.client.hset(store.keys.state("stocktwits"), mapping={f"foreign:{span}": "x", f"slides:{span}": 1})
    store.client.expire(store.keys.state("stocktwits"), 60)
    assert load_of(settings, store).begun_per_second == 0.0
    assert load_of(settings, store).waiting == 1


def test_jobs_that_were_handed_out_tell_how_many_come(settings: Settings, store: Store) -> None:
    """Where workers keep up there is no backlog, and they are wanted all the same."""
    broker, ran = PacingBroker(store, settings, [get_source("stocktwits", settings)]), list[int]()
    actor: Any = dramatiq.actor(actor_name="note", source="stocktwits", broker=broker)(ran.append)
    for number in range(60):
        actor.send(number)
    with working(broker):
        wait_until(lambda: len(ran) == 60)
        broker.join("stocktwits", interval=5, timeout=30_000)
    found = load_of(settings, store)
    assert found.waiting == 0
    # In this minute and the last one.
    assert 0 < found.begun_per_second <= 60 / 60


def test_a_queue_that_no_worker_has_told_of_wakes_a_fleet_without_workers(
    settings: Settings, store: Store
) -> None:
    """Its first job would wait for good. Where workers live that do not serve it, more of them would not."""
    dramatiq.actor(actor_name="note", broker=PacingBroker(store, settings, []))(lambda: None).send()
    monitor = UsageMonitor(store, settings)
    for workload, wanted in ((None, 1), (Workload(threads=2, pace={"mail": 0.5}), 0)):
        if workload is not None:
            monitor.beat("worker", started_at=utc_now(), workload=workload)
        scale = Fleet(settings, store).status().scale
        assert scale is not None
        assert scale.workers_wanted == wanted


def test_queues_of_a_users_own_count_as_well(settings: Settings, store: Store) -> None:
    """A worker that has run a job of one says how long such jobs take."""
    broker = PacingBroker(store, settings, [])
    actor: Any = dramatiq.actor(actor_name="note", broker=broker)(lambda: None)
    for _ in range(240):
        actor.send()
    monitor = UsageMonitor(store, settings)
    workload = Workload(threads=2, pace={"default": 0.5})
    monitor.beat("worker", started_at=utc_now(), workload=workload)
    scale = Fleet(settings, store).status().scale
    assert scale is not None
    # 8 a second, half a second each, on workers of two threads.
    assert scale.workers_wanted == 2
    assert scale.runnable == 240
