"""Jobs that are put off: why, until when, and which of them an operator may put first."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import dramatiq
import pytest

from tbcache import fleet as status
from tbcache.fleet import JobFilter
from tbcache.io import utc_now
from tbcache.models import FetchRequest
from tbcache.models.error import BudgetExhausted, UpstreamUnavailable
from tbcache.monitoring import UsageMonitor, Workload
from tbcache.queue import Queue
from tbcache.settings import Settings
from tbcache.store import Store
from tests.core.test_queue import Fleet, left
from tests.core.test_queue import fleet as fleet
from tests.core.test_queue import queue as queue
from tests.server import Server, wait_until

AAPL = FetchRequest("news", "AAPL")
AT = r"\d\d:\d\d:\d\d UTC"


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (
            UpstreamUnavailable("news", "HTTP 503"),
            rf"try 1 of 4 failed at {AT}: UpstreamUnavailable: .*HTTP 503.*",
        ),
        (
            BudgetExhausted("news", utc_now(), "the day's budget is spent"),
            rf"the day's budget is spent \(at {AT}\)",
        ),
    ],
)
def test_a_job_that_is_put_off_says_why_and_since_when(
    fleet: Fleet, queue: Queue, store: Store, error: Exception, cause: str
) -> None:
    """Whoever asks why a symbol is not there read that it is put off, and no word more. What was noted of it
    goes with it."""
    fails = [error]

    def act(*_: object) -> None:
        if fails:
            raise fails[0]

    fleet.act = act
    fleet.start()
    handle = queue.enqueue(AAPL)
    found = wait_until(lambda: (one := handle.explain()).state == "delayed" and one)
    assert re.fullmatch(cause, found.cause)
    assert re.search(rf"put off until \S+ \S+ UTC: {cause}; 0 workers", str(found))
    fails.clear()
    queue.promote("news", handle.job_id)
    wait_until(lambda: set(left(store)) <= {"bell"})


def test_a_job_of_ones_own_that_is_put_off_says_why(fleet: Fleet, queue: Queue) -> None:
    """Dramatiq retries it for hours, and nobody could see why."""

    def fail(what: str) -> None:
        raise dramatiq.Retry("the bank is shut", delay=60_000) if what == "bank" else KeyError(what)

    actor = dramatiq.actor(broker=fleet.broker, actor_name="fail", queue_name="own")(fail)
    ids = [actor.send(what).message_id for what in ("bank", "x")]
    fleet.start()
    wait_until(lambda: queue.depth("own").delayed == 2)
    bank, error = (queue.explain("own", one).cause for one in ids)
    assert re.fullmatch(rf"the bank is shut \(at {AT}\)", bank)
    assert re.fullmatch(rf"try 1 failed: KeyError: 'x' \(at {AT}\)", error)


def test_a_delay_that_was_asked_for_is_no_fault(queue: Queue, store: Store) -> None:
    """It is told from all others; and a damaged key tells nothing, and hides nothing."""
    handle = queue.enqueue(AAPL, delay_seconds=600.0)
    state: Any = store.keys.state("news")
    store.client.hset(state, "order", "pause 1 ann moving house")
    store.client.expire(state, 60)
    for damaged in (None, "reasons", "tries"):
        if damaged:
            store.client.set(store.keys.queue("news", damaged), "junk", ex=60)
        words = "a delay was asked for; the queue is paused by ann: moving house"
        assert queue.explain("news", handle.job_id).cause == words
    store.client.delete(store.keys.queue("news", "tries"))
    assert [one.cause for one in queue.jobs("news", JobFilter(), 9)] == [words]


# Which of them may be the next


@pytest.fixture
def spending(server: Server, settings_for: Callable[..., Settings]) -> Settings:
    return settings_for(
        server,
        TBCACHE_TWITTER__BEARER_TOKEN="secret",
        TBCACHE_TWITTER__DAILY_BUDGET="2",
    )


def test_no_job_is_the_next_while_its_budget_is_spent(
    settings: Settings, spending: Settings, store: Store, queue: Queue
) -> None:
    """It was told to be the next of its lane, and had been put off again within the second. The budget is the
    fleet's: this process has none."""
    worker, fleet = UsageMonitor(store, spending), status.Fleet(settings, store)
    worker.beat("worker", started_at=utc_now(), workload=Workload(serves=("twitter",)))
    operator = fleet.as_operator("ada")
    job, other = (
        queue.enqueue(FetchRequest("twitter", one), delay_seconds=600.0).job_id for one in ("AAPL", "GME")
    )
    usage = store.keys.usage("twitter", utc_now())
    store.client.hset(usage, "spent", 2_000_000)
    store.client.expire(usage, 60)
    assert operator.promote("twitter", job) == "delayed"
    assert queue.explain("twitter", job).state == "delayed"
    assert re.fullmatch(
        r"has spent its budget for the day \(\$2\) until \S+ 00:00:00 UTC", operator.why_put_off("twitter")
    )
    assert fleet.audit() == []
    store.client.hset(usage, "spent", 1_000_000)
    assert operator.promote("twitter", job) == "done"
    # It is the first once the source is resumed: that is something.
    operator.pause("twitter")
    assert operator.promote("twitter", other) == "done"
    assert (queue.explain("twitter", other).place, operator.why_put_off("twitter")) == (1, "")
    worker.leave()
