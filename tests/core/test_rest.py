"""A process that rests beats seldom, and hears of all that changes within a second."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from tbcache.io import run
from tbcache.limiter import limiter_of
from tbcache.limiter.member import BEAT_SECONDS, Membership
from tbcache.limiter.process_window import ProcessWindow
from tbcache.limiter.rest import NEWS_SECONDS, REST_SECONDS, SETTLED_SECONDS
from tbcache.models import Limit
from tbcache.store import Store
from tbcache.store.script import Script
from tests.core.world import LIMIT, Clock, Process, UnreliableStore, World, moved_clock
from tests.server import Server

SOURCES = ("twitter", "reddit", "news")


@pytest.fixture
def clock() -> Iterator[Clock]:
    with moved_clock() as clock:
        yield clock


@dataclass
class Worker:
    """A process that takes what the queue gives it, and beats as its thread would."""

    store: UnreliableStore
    asked: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.limiter, self.membership = limiter_of(self.store), Membership(self.store)
        self.limiter.on_first_ask(self.membership.beat)
        for source in SOURCES:
            self.window(source).configure((LIMIT,))
        run_script = self.store._run

        async def count(script: Script[Any, Any], packed: Sequence[Any]) -> Any:
            self.asked[script.name] += 1
            return await run_script(script, packed)

        self.store._run = count  # type: ignore[method-assign]

    def window(self, source: str = "reddit") -> ProcessWindow:
        return self.limiter.process_window(source)

    def live(self, clock: Clock, seconds: float) -> None:
        """Beat as long as that."""
        until = clock.now + seconds
        while clock.now < until:
            self.membership._beat_where_due()
            clock.now += BEAT_SECONDS


def begin(clock: Clock) -> tuple[World, Worker]:
    """A worker that rests; beside it there is nobody."""
    world = World(clock, 0)
    name = "m-99.x"
    world.alive.add(name)
    worker = Worker(UnreliableStore(world, name))
    worker.live(clock, SETTLED_SECONDS + 2 * NEWS_SECONDS)
    worker.asked.clear()
    return world, worker


def join(world: World) -> Process:
    """One that goes on without Redis."""
    world.fleet.append(world.start())
    world.fleet[-1].take()
    return world.fleet[-1]


def test_a_worker_at_rest_asks_once_a_second_for_all_its_sources(clock: Clock) -> None:
    """An idle fleet would keep Redis, and its disk, as busy as a working one."""
    _, worker = begin(clock)
    worker.live(clock, 60.0)
    assert worker.asked["summary"] <= 60.0 / NEWS_SECONDS + 1
    assert len(SOURCES) * 8 <= worker.asked["beat"] <= len(SOURCES) * (60.0 / REST_SECONDS + 1)
    assert set(worker.asked) == {"summary", "beat"}


def test_one_that_rests_hears_of_others_within_a_second(clock: Clock) -> None:
    """What it knows of the fleet counts as Redis loses its data, and when its share has to be another one."""
    world, worker = begin(clock)
    other = join(world)
    worker.live(clock, NEWS_SECONDS + BEAT_SECONDS)
    assert worker.window().processes == 2
    world.leave(other)
    worker.live(clock, NEWS_SECONDS + BEAT_SECONDS)
    assert worker.window().processes == 1
    # Its slot stays in a window for a while.
    assert worker.window().census.left_until > worker.window().census.told_at


@pytest.mark.parametrize(
    ("field", "value"),
    {
        "closed_until": "2000000000000000",
        "limits": "2:2000000",
        "left_until": "2000000000000000",
        "lost_at": "1",
        "whole_at": "1",
        "order": "pause 1 somebody why",
        "bound": "2:2000000 1 somebody why",
        "epoch": "another",
    }.items(),
)
def test_one_that_rests_hears_of_whatever_a_beat_tells_within_a_second(
    clock: Clock, field: str, value: str
) -> None:
    """A source that is closed or paused, and limits that are lowered, hold for all at once."""
    world, worker = begin(clock)
    changed_at = clock.now
    worker.membership._asked_at = dict.fromkeys(SOURCES, changed_at)
    world.redis.hset("ns:{reddit}:state", field, value)
    worker.live(clock, NEWS_SECONDS + BEAT_SECONDS)
    heard = {source for source in SOURCES if worker.membership._asked_at[source] > changed_at}
    assert heard == {"reddit"}


def test_what_was_taken_is_missed_by_one_that_rests_a_second_later(clock: Clock) -> None:
    """Redis and whoever took it are gone together, as with a machine; Redis comes back a little behind."""
    world, worker = begin(clock)
    other = join(world)
    worker.live(clock, 2 * NEWS_SECONDS)
    saved = world.save()
    clock.now += BEAT_SECONDS
    assert other.take()
    worker.live(clock, NEWS_SECONDS + BEAT_SECONDS)
    world.rewind(saved)
    worker.live(clock, NEWS_SECONDS + BEAT_SECONDS)
    assert world.redis.hexists("ns:{reddit}:state", "lost_at")


def test_one_that_rests_puts_its_slots_back_a_second_after_a_loss(clock: Clock) -> None:
    """The others wait for it."""
    world, worker = begin(clock)
    worker.window().grant("slot", 1, [LIMIT], 1.0)
    world.redis.flushall()
    worker.live(clock, NEWS_SECONDS + BEAT_SECONDS)
    assert world.redis.zscore("ns:{reddit}:slots", "slot")


def test_a_key_that_is_damaged_keeps_no_other_source_from_rest(clock: Clock) -> None:
    """A beat for it alone tells what is wrong."""
    world, worker = begin(clock)
    world.redis.set("ns:{news}:fleet", "junk")
    worker.live(clock, 3.0)
    assert "news" in worker.limiter.broken
    world.redis.set("ns:{reddit}:slots", "junk")
    worker.live(clock, 3.0)
    assert "reddit" in worker.limiter.broken
    assert "twitter" not in worker.limiter.broken


def test_who_has_just_come_does_not_rest(clock: Clock) -> None:
    """After a loss of data it is missed by nobody who was not told of it."""
    world, worker = begin(clock)
    world.redis.flushall()
    worker.live(clock, 2 * NEWS_SECONDS)
    worker.asked.clear()
    worker.live(clock, 3.0)
    assert worker.asked["beat"] >= len(SOURCES) * 3


def test_who_may_go_on_without_redis_does_not_rest(clock: Clock) -> None:
    """What is its own is kept for it from the others as soon as it is not heard for half a second."""
    _, worker = begin(clock)
    worker.window("reddit").must_announce(can_fall_back=True)
    worker.live(clock, 3.0)
    assert worker.window("reddit").share == 1.0
    assert worker.asked["beat"] >= 15


def test_a_beat_that_tells_nothing_new_writes_when_its_process_was_heard_and_no_more(
    server: Server, store: Store
) -> None:
    """All that is written goes to Redis's disk, and to its replicas."""
    member = Membership(store)
    window = limiter_of(store).process_window("twitter")
    window.configure((Limit(60, 60.0),))
    window.must_announce(can_fall_back=True)
    for _ in range(3):
        run(member.beat("twitter"))
    before = server.client.info("persistence")["rdb_changes_since_last_save"]
    run(member.beat("twitter"))
    assert server.client.info("persistence")["rdb_changes_since_last_save"] == before + 1
