"""One that begins cut off from Redis goes by the whole limit: whoever begins beside it, with Redis, waits."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tbcache.limiter import limiter_of
from tbcache.limiter.join import UNHEARD
from tbcache.rate_limiter import RateLimiter
from tbcache.store.constant import ABSENT_SECONDS
from tests.core.test_loss import give_up_allowances
from tests.core.world import LEASE, LIMIT, Clock, Process, World, moved_clock

#: Then nothing that was sent before is in a window.
OVER = (LIMIT.window_seconds + LEASE) * 1.001


@pytest.fixture
def clock() -> Iterator[Clock]:
    with moved_clock() as clock:
        yield clock


def begin(clock: Clock, takes: int = LIMIT.count) -> tuple[World, Process, Process]:
    """One that is cut off and takes so many slots, and one that reaches Redis and has not begun yet."""
    world = World(clock, 2)
    cut, other = world.fleet
    cut.cut_off()
    assert [cut.take() for _ in range(takes)] == [True] * takes
    return world, cut, other


def take_all(*processes: Process, seconds: float = 0.0) -> int:
    """How many slots these get, who ask again and again, and look whether they may use Redis."""
    world, took = processes[0].world, 0
    until = world.clock.now + seconds
    while world.clock.now <= until:
        for process in processes:
            process.store.come_back()
            while process.take():
                took += 1
        world.clock.now += 0.1
    return took


@pytest.mark.parametrize("later", [0.0, 0.5, 1.9])
def test_what_one_has_sent_that_began_cut_off_is_waited_for(clock: Clock, later: float) -> None:
    """A window held the limit twice: Redis knew nothing of it."""
    world, cut, other = begin(clock)
    clock.now += later
    assert take_all(other, cut, seconds=OVER - later - 0.2) == 0
    assert UNHEARD in str(other.limiter.check_rate_limit()[1].reason)
    assert take_all(other, cut, seconds=0.4) == LIMIT.count
    assert world.most_in_a_window() == LIMIT.count


def test_it_is_waited_for_from_its_last_slot_on(clock: Clock) -> None:
    """What it has sent last is in the window for longest."""
    world, cut, other = begin(clock, 3)
    clock.now += 1.5
    assert [cut.take() for _ in range(3)] == [True] * 3
    assert take_all(other, seconds=OVER - 0.2) == 0
    assert world.most_in_a_window() == LIMIT.count


def test_it_is_waited_for_in_the_window_that_its_calls_name(clock: Clock) -> None:
    """Sixteen were in a window of eight: only the window of the settings was waited for."""
    world = World(clock, 2)
    cut, other = world.fleet
    cut.cut_off()
    assert cut.limiter.check_rate_limit(limit=2, window_seconds=20.0)[0]
    assert cut.take()
    assert take_all(other, seconds=2 * OVER) == 0
    clock.now += 20.0 - 2 * OVER
    assert take_all(other, seconds=LEASE - 0.15) == 0
    assert take_all(other, seconds=ABSENT_SECONDS + 0.15) == LIMIT.count


def test_it_is_waited_for_no_longer_than_until_redis_knows(clock: Clock) -> None:
    """Most are back within a second: a window without a slot would be for nothing."""
    world, cut, other = begin(clock, 2)
    assert take_all(other) == 0
    cut.mend()
    other.store.come_back()
    # Those who know of a loss come to an empty Redis meanwhile.
    clock.now += ABSENT_SECONDS
    give_up_allowances(world)
    assert take_all(other) == LIMIT.count - 2
    assert world.most_in_a_window() == LIMIT.count


def test_one_that_was_killed_before_it_could_tell_is_waited_for(clock: Clock) -> None:
    """Nobody else ever knows what it has sent."""
    world, cut, _ = begin(clock)
    world.kill(cut)
    clock.now += 1.0
    new = world.start()
    assert take_all(new, seconds=OVER - 1.2) == 0
    assert take_all(new, seconds=0.4) == LIMIT.count
    assert world.most_in_a_window() == LIMIT.count


def test_one_that_redis_has_told_a_share_is_not_waited_for(clock: Clock) -> None:
    """That is kept for it, and when it was killed for as long as what it sent may be in a window."""
    world = World(clock, 2)
    known, beside = world.fleet
    assert known.take()
    known.beat()
    known.cut_off()
    clock.now += 0.5
    assert known.take()
    assert known.process_window.has_fallback_slots
    world.kill(known)
    beside.beat()
    clock.now += OVER
    beside.beat()
    assert world.redis.zscore(world.producer.store.keys.fleet(world.source.name), known.name) is None
    new = world.start()
    new.beat()
    assert new.process_window.is_member


def test_one_that_could_take_nothing_is_not_waited_for(clock: Clock) -> None:
    """All of a program's processes begin while Redis is away, and are back one after the other."""
    world, cut, beside = begin(clock)
    beside.cut_off()
    assert not beside.take()
    cut.mend()
    cut.beat()
    new = world.start()
    new.beat()
    assert new.process_window.is_member


def test_who_was_waited_for_is_not_stood_in_for(clock: Clock) -> None:
    """As that is old, all others take there what is free: twelve were in a window, where one that reaches
    Redis took the limit as if it did not."""
    world, cut, other = begin(clock, 1)
    world.kill(cut)
    assert not other.take()
    clock.now += OVER
    # The thread that asks for the server has not looked again yet.
    assert not other.take()
    # An empty Redis has lost what others may know, and waits for them first.
    assert take_all(other, seconds=ABSENT_SECONDS + 0.15) == LIMIT.count


def test_each_that_begins_cut_off_has_a_source_of_its_own(clock: Clock) -> None:
    """The second got nothing for a window, and the first nothing more, though they share no limit."""
    world, first, _ = begin(clock, 2)
    second, third = world.start(), world.start()
    for process in (second, third):
        process.cut_off()
    theirs = RateLimiter(replace(world.source, name="quotes"), second.store, LEASE)
    assert [theirs.check_rate_limit()[0] for _ in range(LIMIT.count + 1)] == [True] * LIMIT.count + [False]
    # It has found that Redis is away, so that it asks for nothing there.
    assert third.limiter.get_status().remaining == 0
    assert not third.take()
    assert take_all(first) == LIMIT.count - 2
    assert world.most_in_a_window() == LIMIT.count


@pytest.mark.parametrize(
    ("is_cut", "call", "nth", "is_after", "is_before_it"),
    [
        (True, "is_alone", 0, False, True),
        (True, "is_alone", 0, True, True),
        (True, "set_unheard", 0, False, True),
        (True, "set_unheard", 0, True, False),
        (True, "is_alone", 1, True, False),
        (False, "use", 0, False, True),
        (False, "use", 0, True, False),
        (False, "has_unheard", 0, True, False),
    ],
)
def test_of_two_that_begin_at_once_one_sees_the_other(
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    is_cut: bool,
    call: str,
    nth: int,
    is_after: bool,
    is_before_it: bool,
) -> None:
    """Between whichever steps of the one the other begins, together they keep the limit."""
    world = World(clock, 2)
    one, other = world.fleet
    for process in (one, other)[not is_cut :]:
        process.cut_off()
        # It finds that Redis is away, so that it asks for nothing there.
        assert process.limiter.get_status().remaining
    marker, calls, took = limiter_of(one.store).windows.machine.marker, itertools.count(), list[bool]()
    do = getattr(marker, call)

    def step(*args: object) -> object:
        """Have the other take the limit right before this step, or right after it."""
        done = do(*args) if is_after else None
        if next(calls) == nth:
            took.extend(other.take() for _ in range(LIMIT.count))
        return done if is_after else do(*args)

    monkeypatch.setattr(marker, call, step)
    take_all(one, other, seconds=OVER - 0.1)
    assert took == [is_before_it] * LIMIT.count
    assert world.most_in_a_window() <= LIMIT.count


def test_one_that_has_joined_and_taken_nothing_is_seen(clock: Clock) -> None:
    """A share is kept for it, which it may take at any moment."""
    world = World(clock, 2)
    joined, new = world.fleet
    joined.beat()
    new.cut_off()
    assert not new.take()


def test_what_a_process_takes_as_it_leaves_is_seen(clock: Clock) -> None:
    """It beats no more, so that nothing else would name the source."""
    world = World(clock, 2)
    leaving, new = world.fleet
    new.cut_off()
    with limiter_of(leaving.store).stays.leaving():
        assert leaving.take()
    assert not new.take()
    clock.now += OVER
    assert not new.take()
