"""One of several schedulers leads, and what another writes that led before is refused."""

from __future__ import annotations

import time

import pytest

from scheduler.leader import Leader
from tbcache.models import FetchRequest
from tbcache.queue import Queue
from tbcache.queue.fence import Fenced, fence
from tbcache.settings import Settings
from tbcache.store import Store
from tbcache.store.lead import LEAD, Lead
from tests.server import wait_until

pytestmark = pytest.mark.every_server

QUEUES = ("twitter", "reddit")
REQUEST = FetchRequest("reddit", "GME")


def leader(store: Store, name: str) -> Leader:
    return Leader(store, name, QUEUES)


@pytest.fixture
def queue(store: Store, settings: Settings) -> Queue:
    return Queue(store, settings)


def end_lease(store: Store) -> None:
    """As if the leader had been silent for longer than its lease."""
    store.client.unlink(store.keys.schedule("leader"))


def test_one_of_two_schedulers_leads(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two on one Redis warm once; when the leader goes, the other takes over."""
    one, two = leader(store, "one"), leader(store, "two 2")
    token = one.take()
    assert token > 0
    assert two.take() == 0
    assert one.take() == token
    one.resign()
    assert two.take() > token
    two.resign()
    monkeypatch.setattr("scheduler.leader.LEASE_MS", 100)
    assert one.take()
    wait_until(two.take)


def test_what_a_leader_queues_that_has_lost_its_lease_is_refused(store: Store, queue: Queue) -> None:
    """It stood still in the midst of its tick, and does not know yet that another leads."""
    one, two = leader(store, "one"), leader(store, "two")
    token = one.take()
    assert queue.enqueue(REQUEST, "prewarm", token=token).is_new
    end_lease(store)
    later = two.take()
    with pytest.raises(Fenced) as raised:
        queue.enqueue(FetchRequest("reddit", "AMD"), "prewarm", token=token)
    assert raised.value.token == later
    assert queue.depth("reddit").waiting == 1
    # Whoever leads nothing is not fenced.
    assert queue.enqueue(FetchRequest("reddit", "TSLA")).is_new
    assert queue.enqueue(FetchRequest("reddit", "AMD"), "prewarm", token=later).is_new


def test_every_queue_refuses_the_one_before_from_the_first_moment_on(store: Store, queue: Queue) -> None:
    """Also one that the new leader has nothing to write to yet."""
    one, two = leader(store, "one"), leader(store, "two")
    token = one.take()
    end_lease(store)
    assert two.take()
    for name in QUEUES:
        with pytest.raises(Fenced, match=f"{name}: another scheduler leads by now"):
            fence(store, name, token)


def test_a_leader_that_is_fenced_ends_its_tick(store: Store, queue: Queue) -> None:
    """The rest of the tick would be refused as well; its next one finds that another leads."""
    one, two = leader(store, "one"), leader(store, "two")
    done = list[str]()

    def stand_still(token: int) -> None:
        end_lease(store)
        assert two.take()
        queue.enqueue(REQUEST, "prewarm", token=token)
        done.append("queued")

    one.work(stand_still, lambda token: done.append("more"))
    one.work(lambda token: done.append("again"))
    assert done == []
    assert queue.depth("reddit").waiting == 0


def test_a_clock_that_was_set_back_keeps_nobody_from_leading(store: Store, queue: Queue) -> None:
    """Tokens are the server's time: the next leader's would be lower, and all it writes refused."""
    ahead = round((time.time() + 3600) * 1e6)
    for name in QUEUES:
        fence(store, name, ahead)
    one, done = leader(store, "one"), list[int]()
    one.work(done.append)
    assert done == []
    one.work(done.append)
    one.work(done.append)
    assert done == [ahead + 1, ahead + 1]
    assert queue.enqueue(REQUEST, "prewarm", token=ahead + 1).is_new


@pytest.mark.parametrize("junk", ["banana", "inf", "nan", "1e300", "-5", "99999999999999999999"])
def test_a_fence_that_is_damaged_refuses_nobody(store: Store, junk: str) -> None:
    """What stands there is a hint for the next, and no reason to leave everything cold."""
    store.client.set(store.keys.fence("reddit"), junk, ex=60)
    fence(store, "reddit", 5)
    with pytest.raises(Fenced):
        fence(store, "reddit", 4)


def test_a_lease_is_given_back_by_its_holder_alone(store: Store) -> None:
    """And comes with another token each time that it is taken."""
    key = store.keys.schedule("leader")
    first = store.run(LEAD, Lead(key, "one", 60_000))
    assert store.run(LEAD, Lead(key, "two", 0)) == 0
    assert store.run(LEAD, Lead(key, "one", 60_000)) == first
    assert store.run(LEAD, Lead(key, "one", 0)) == 0
    assert store.run(LEAD, Lead(key, "one", 60_000)) > first
    store.client.unlink(key)


def test_a_lease_that_ends_later_than_it_was_given_for_is_nobodys(store: Store) -> None:
    """After a server's clock was set back by an hour nobody led for an hour, where the leader had ended."""
    key = store.keys.schedule("leader")
    store.client.set(key, "1 ghost", px=60_001)
    assert store.run(LEAD, Lead(key, "ghost", 0)) == 0
    store.client.set(key, "1 ghost", px=60_000)
    assert store.run(LEAD, Lead(key, "one", 60_000)) == 0
    store.client.set(key, "1 ghost", px=3_600_000)
    assert store.run(LEAD, Lead(key, "one", 60_000)) > 1


def test_a_token_of_no_time_is_given_to_nobody(store: Store) -> None:
    """Whatever its holder wrote would be refused for a month, once a later leader had another."""
    key = store.keys.schedule("leader")
    store.client.set(key, f"{'9' * 20} one", px=60_000)
    assert store.run(LEAD, Lead(key, "one", 60_000)) < 10**16
