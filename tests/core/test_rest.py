"""A process that rests beats seldom, and hears of all that changes within a second."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tbcache.io import run
from tbcache.limiter import limiter_of
from tbcache.limiter.member import BEAT_SECONDS, Membership
from tbcache.limiter.process_window import ABSENT_SECONDS, ProcessWindow
from tbcache.limiter.rest import NEWS_SECONDS, REST_SECONDS, SETTLED_SECONDS, SILENCE_SECONDS
from tbcache.models import Limit
from tbcache.store import Store
from tbcache.store.script import Script
from tbcache.store.wire import MICROS
from tests.core.test_loss import begin as begin_with
from tests.core.test_loss import give_up_allowances
from tests.core.world import LIMIT, SOURCE, Clock, Process, UnreliableStore, World, moved_clock
from tests.server import Server

SOURCES = ("twitter", "reddit", "news")
#: A window in which a process may rest for long.
WINDOW = Limit(LIMIT.count, 100.0)


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
        self.limiter.join.by(self.membership.beat)
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
    assert "news" in worker.limiter.windows.broken
    world.redis.set("ns:{reddit}:slots", "junk")
    worker.live(clock, 3.0)
    assert "reddit" in worker.limiter.windows.broken
    assert "twitter" not in worker.limiter.windows.broken


def test_who_has_just_come_does_not_rest(clock: Clock) -> None:
    """After a loss of data it is missed by nobody who was not told of it."""
    world, worker = begin(clock)
    world.redis.flushall()
    worker.live(clock, 2 * NEWS_SECONDS)
    worker.asked.clear()
    worker.live(clock, 3.0)
    assert worker.asked["beat"] >= len(SOURCES) * 3


def live(clock: Clock, seconds: float, *processes: Process) -> None:
    """They beat as long as that."""
    until = clock.now + seconds
    while clock.now < until:
        for process in processes:
            process.membership.core._beat_where_due()
        clock.now += BEAT_SECONDS


def begin_idle(clock: Clock) -> tuple[World, Process, Process]:
    """A process that has taken half of the limit, and rests; one that has taken the other half. Their slots
    leave the window in 20 s."""
    world, (idle, busy) = begin_with(clock, 3, 3, source=replace(SOURCE, limits=(WINDOW,)))
    live(clock, WINDOW.window_seconds - 20.0, idle, busy)
    return world, idle, busy


def test_who_may_go_on_without_redis_rests_when_it_has_taken_no_slot_for_a_minute(clock: Clock) -> None:
    """A bot that waits for its hour asks little of Redis, and counts as absent no sooner for that."""
    world, idle, busy = begin_idle(clock)
    since = clock.now
    state = world.redis.hgetall("ns:{reddit}:state")
    assert int(state[f"silence:{idle.name}".encode()]) == SILENCE_SECONDS * MICROS
    assert f"silence:{busy.name}".encode() in state
    asked = Counter[str]()
    run_script = idle.store._run

    async def count(script: Script[Any, Any], packed: Sequence[Any]) -> Any:
        asked[script.name] += 1
        return await run_script(script, packed)

    idle.store._run = count  # type: ignore[method-assign]
    live(clock, 9.0, idle, busy)
    assert 5 <= asked["beat"] <= 9.0 / SILENCE_SECONDS * 3 + 1
    assert asked["summary"] <= 10
    # Nothing was kept from the others meanwhile: one that comes just before a beat finds nobody absent.
    live(clock, since + 21.0 - clock.now, idle, busy)
    give_up_allowances(world)
    clock.now += 1.4
    assert [busy.take() for _ in range(7)] == [True] * 6 + [False]


def test_one_that_takes_a_slot_rests_no_more(clock: Clock) -> None:
    """It counts as absent as soon as the others again."""
    world, idle, busy = begin_idle(clock)
    live(clock, 21.0, idle, busy)
    give_up_allowances(world)
    assert idle.take()
    live(clock, 2 * BEAT_SECONDS, idle, busy)
    assert not world.redis.hexists("ns:{reddit}:state", f"silence:{idle.name}")
    assert idle.process_window.silence == ABSENT_SECONDS


@pytest.mark.parametrize("is_unconfirmed", [True, False])
def test_one_that_is_cut_off_at_rest_takes_nothing_that_others_took_before_it_was_absent(
    clock: Clock, is_unconfirmed: bool
) -> None:
    """They take what leaves its part of the window for longer than where it did not rest."""
    world, idle, busy = begin_idle(clock)
    if is_unconfirmed:
        # Redis has heard that it rests, and it has not heard so.
        world.redis.hdel("ns:{reddit}:state", f"silence:{idle.name}")
        idle.process_window._silence = ABSENT_SECONDS
    live(clock, 17.5, *([busy] if is_unconfirmed else [idle, busy]))
    if is_unconfirmed:
        idle.store.is_unconfirmed = True
        idle.beat()
        idle.store.is_unconfirmed = False
    live(clock, BEAT_SECONDS, busy)
    idle.cut_off()
    idle.beat()
    taken = 0
    for _ in range(60):
        live(clock, BEAT_SECONDS, busy)
        give_up_allowances(world, busy)
        while busy.take():
            taken += 1
        idle.take()
    assert taken >= LIMIT.count / 2
    assert world.most_in_a_window() <= LIMIT.count


def test_who_has_a_share_and_has_taken_a_slot_does_not_rest(clock: Clock) -> None:
    """What is its own is kept for it from the others as soon as it is not heard for half a second."""
    _, worker = begin(clock)
    worker.window("reddit").must_announce(can_fall_back=True)
    worker.window("reddit").grant("slot", 1, [LIMIT], 1.0)
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
