"""The sums of the day that are kept as each minute begins."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tbcache.store import Store
from tbcache.store.minute import KEEP_MINUTE, mark_minute
from tests.server import Server

#: What is kept of one day; which it is, is the asker's to say.
DAY, KEPT = 20_000, 6
QUEUED = "queue.waiting=0,queue.delayed=0,queue.running=0,queue.dead=0"


@pytest.fixture
def store(server: Server, store_for: Callable[..., Store]) -> Store:
    """A store that a busy server may keep waiting."""
    return store_for(server, TBCACHE_REDIS_TIMEOUT="10")


def keep(store: Store, **figures: object) -> bool:
    """Have this minute kept, with these figures of the day: ``w_go=1`` is of worker ``w``."""
    usage = store.keys.usage("news", store.clock.today)
    if figures:
        store.client.hset(usage, mapping={name.replace("_", ":", 1): n for name, n in figures.items()})  # type: ignore[misc]
        store.client.expire(usage, 60)
    return store.run(KEEP_MINUTE, mark_minute(store.keys, "news", store.clock.today, DAY)._replace(kept=KEPT))


def kept(store: Store) -> dict[int, str]:
    """What is kept, by minute."""
    found = store.client.hgetall(store.keys.minutes("news"))
    return {int(minute): text.decode() for minute, text in found.items()}


def test_the_sums_over_all_workers_are_kept(store: Store) -> None:
    """What is damaged, or too long to be a count, is no figure; the others are."""
    assert keep(store, w_go=3, v_go=4, w_hit=2, v_hit="banana", w_cost="9" * 16, bare=7)
    (text,) = kept(store).values()
    day, _, figures = text.partition(" ")
    assert (day, set(figures.split(","))) == (str(DAY), {"go=7", "hit=2", *QUEUED.split(",")})


def test_what_is_queued_as_a_minute_begins_is_kept(store: Store) -> None:
    """An operator looks for when the backlog began. A part of the queue that is damaged counts as empty."""
    for part, jobs in {"prewarm": 1, "suspects": 1, "delayed": 3, "claims": 4, "dead": 5}.items():
        key = store.keys.queue("news", part)
        store.client.zadd(key, {str(number): 1 for number in range(jobs)})
        store.client.expire(key, 60)
    store.client.set(store.keys.queue("news", "interactive"), "banana", ex=60)
    assert keep(store)
    (text,) = kept(store).values()
    assert text == f"{DAY} queue.waiting=2,queue.delayed=3,queue.running=4,queue.dead=5"


def test_a_minute_is_kept_as_it_began(store: Store) -> None:
    """Each process asks for it; the last would make what the others counted since be of no last minute."""
    # A minute may begin between the two.
    for _ in range(3):
        assert keep(store, w_go=1)
        if not keep(store, w_go=5):
            break
        store.client.delete(store.keys.minutes("news"))
    assert list(kept(store).values()) == [f"{DAY} {QUEUED},go=1"]


def test_minutes_that_are_over_are_forgotten(store: Store) -> None:
    """Or a fleet keeps half a million a year; what is damaged is older than any."""
    minutes, now = store.keys.minutes("news"), int(time.time()) // 60
    old = {str(now - back): "1 go=1" for back in range(KEPT, 9_000)}
    store.client.hset(minutes, mapping={**old, str(now - 2): "1 go=2", "banana": "x"})
    store.client.expire(minutes, 60)
    assert keep(store, w_go=3)
    assert set(kept(store).values()) == {"1 go=2", f"{DAY} {QUEUED},go=3"}
