"""The server's clock is set: what was sent before counts as it did, whoever asks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import msgspec
import pytest

import tbcache.io as io
from tbcache.admission import Settlement
from tbcache.io import run
from tbcache.limiter import limiter_of
from tbcache.limiter.member import FORGET_SECONDS
from tbcache.limiter.process_window import ABSENT_SECONDS
from tbcache.limiter.script import BEAT, LOSE, RESTORE, TAKE
from tbcache.models import Failure
from tbcache.queue.account import account_for
from tbcache.queue.batch import put, put_all
from tbcache.queue.script import ENQUEUE, JobAsk
from tbcache.queue.wants import Wants
from tbcache.store.clock import Bounds
from tbcache.store.script import Script
from tbcache.store.wire import CLOCK_DRIFT, MICROS, Seen
from tests.core.test_loss import LONG, beat, begin, give_up_allowances
from tests.core.world import LEASE, LIMIT, TIMEOUT, Clock, Killed, Process, World, moved_clock


class ServersClock(Clock):
    """Everyone's clock, and the server's, which may be ``ahead`` of it (s)."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead = 0.0

    def time(self) -> float:
        return self.now + self.ahead


@pytest.fixture
def clock() -> Iterator[ServersClock]:
    found = ServersClock()
    with moved_clock() as moved, pytest.MonkeyPatch.context() as patch:
        # Whoever looks at a clock has the method of this one.
        moved.__dict__ = found.__dict__
        patch.setattr("time.time", found.time)
        yield found


def before_the_window_is_given_up(process: Process, act: Callable[[], object]) -> None:
    """What another thread of the process does as this one is about to have its window given up."""
    before(LOSE, process, act)


def before(asked: object, process: Process, act: Callable[[], object]) -> None:
    """What is done as the process is about to ask for that script."""
    run = process.store._run

    async def act_and_run(script: Script[Any, Any], packed: Sequence[Any]) -> Any:
        if script is asked:
            # Once: what it asks notices the jump as well.
            process.store._run = run  # type: ignore[method-assign]
            act()
        return await run(script, packed)

    process.store._run = act_and_run  # type: ignore[method-assign]


def be_answered_and_step(clock: ServersClock, process: Process, seconds: float) -> None:
    """Another thread of the process asks later and is answered first, and then the clock is set."""
    clock.now += 0.001
    process.beat()
    clock.now += 0.001
    clock.ahead += seconds


def ask_around(world: World, *processes: Process) -> int:
    """How many slots these get in a second."""
    before = len(world.arrivals)
    for _ in range(5):
        give_up_allowances(world, *processes)
        for process in processes:
            while process.take():
                pass
        world.clock.now += 0.1
    return len(world.arrivals) - before


@pytest.mark.parametrize("seconds", [-0.5, -30.0])
def test_a_slot_counts_from_when_its_taker_is_told_of_it(clock: ServersClock, seconds: float) -> None:
    """The answer that granted it shows the step, and the taker waits while the window is mended."""
    world, (taker, other) = begin(clock, 0, 0)
    # By then nobody wants allowances any more.
    clock.now += 10.0
    beat(taker, other, taker, other)
    clock.ahead += seconds

    def pass_time() -> None:
        clock.now += 0.15

    before_the_window_is_given_up(taker, pass_time)
    begun = clock.now
    assert taker.take()
    assert clock.now >= begun + 0.15
    latest = max(stamp for _, stamp in world.redis.zrange(world.slots_key, 0, -1, withscores=True))
    assert latest == pytest.approx(clock.time() * MICROS, abs=1000.0)


@pytest.mark.parametrize("seconds", [1.95, 30.0])
def test_nobody_takes_a_slot_between_the_notice_of_a_jump_and_its_mend(
    clock: ServersClock, seconds: float
) -> None:
    """Another thread goes by the new time as soon as it is known: what was sent just now looks old by it."""
    world, (busy, other) = begin(clock, 5, 1)
    clock.ahead += seconds
    tried: list[bool] = []
    before_the_window_is_given_up(busy, lambda: tried.append(busy.take()))
    beat(busy, other, busy, other)
    assert tried == [False]
    assert world.most_in_a_window() == LIMIT.count


@pytest.mark.parametrize("seconds", [0.5, -0.5, 400.0, -1e6, 1e6])
def test_a_step_of_the_clock_shuts_nobody_out_for_those_who_have_left(
    clock: ServersClock, seconds: float
) -> None:
    """A failover to a server whose clock is half a second off would shut a daily limit for a day."""
    world, (old, gone, busy) = begin(clock, 1, 2, 1, source=LONG)
    world.leave(gone)
    beat(old, busy)
    clock.ahead += seconds
    beat(old, busy)
    # What stood in a key that has come to its end by the new time is lost, and said by nobody.
    expected = 2 if seconds < LONG.limits[0].window_seconds else 0
    assert ask_around(world, old, busy) == expected


def test_what_was_sent_by_one_that_has_left_counts_for_its_whole_window(clock: ServersClock) -> None:
    """Nobody puts it back: by the new time it would look old too early."""
    world, (one, gone) = begin(clock, 1, 2, source=LONG)
    world.leave(gone)
    beat(one)
    clock.ahead += 400.0
    beat(one)
    clock.now += 900.0
    assert ask_around(world, one) == 3
    assert world.most_in_a_window() <= LIMIT.count


def test_until_when_those_who_have_left_are_missed_is_moved_along(clock: ServersClock) -> None:
    """Should Redis lose its data later, what they sent is in the window as long as ever."""
    world, (one, gone) = begin(clock, 1, 2, source=LONG)
    world.leave(gone)
    beat(one)
    clock.ahead += 400.0
    beat(one)
    clock.now += 700.0
    beat(one, one)
    world.redis.flushall()
    beat(one)
    clock.now += 1.0
    assert ask_around(world, one) == 0


@pytest.mark.parametrize("seconds", [0.5, -0.5])
@pytest.mark.parametrize("is_mended", [True, False])
def test_a_loss_of_data_before_a_step_is_waited_for_as_it_was(
    clock: ServersClock, seconds: float, is_mended: bool
) -> None:
    """One that was not made good is missed after the step as well; one that was is no matter any more."""
    world, (one, gone) = begin(clock, 1, 2, source=LONG)
    world.leave(gone)
    beat(one)
    world.redis.flushall()
    beat(one)
    if is_mended:
        clock.now += 1100.0
        beat(one, one)
        assert one.take()
    clock.ahead += seconds
    beat(one)
    clock.now += 1.0
    assert ask_around(world, one) == (LIMIT.count - 1 if is_mended else 0)


def test_a_loss_that_was_made_good_is_not_waited_for_again_after_a_step(clock: ServersClock) -> None:
    """Who is cut off by then has put its slots back already."""
    world, (one, other) = begin(clock, 1, 1, source=LONG)
    world.redis.flushall()
    beat(one, other, one)
    clock.now += 1.0
    beat(one, other, one, other)
    other.cut_off()
    clock.ahead += 0.5
    beat(one)
    clock.now += 1.0
    assert ask_around(world, one) > 0


@pytest.mark.parametrize("seconds", [-30.0, 30.0])
def test_a_server_that_comes_back_empty_with_another_clock_is_shut_until_all_are_back(
    clock: ServersClock, seconds: float
) -> None:
    """The loss is noted by the new time, before anyone has said that the clock was set."""
    world, (busy, other) = begin(clock, 5, 1)
    world.redis.flushall()
    clock.ahead += seconds
    beat(other)
    clock.now += ABSENT_SECONDS + 0.1
    assert ask_around(world, other) == 0
    beat(busy, other)
    assert ask_around(world, other, busy) == 0
    assert world.most_in_a_window() == LIMIT.count


def test_a_loss_that_another_thread_has_noted_after_a_step_back_is_missed(clock: ServersClock) -> None:
    """It was noted by the new time: it is as old as it looks, and what others have sent is missing."""
    world, (asker, missing) = begin(clock, 1, 5)
    world.redis.flushall()
    clock.ahead -= 30.0
    before_the_window_is_given_up(asker, asker.take)
    beat(asker)
    assert ask_around(world, asker) == 0
    beat(missing)
    assert ask_around(world, asker, missing) == 0
    assert world.most_in_a_window() == LIMIT.count


def test_a_step_back_beyond_a_step_that_was_mended_is_mended_by_who_knows_of_neither(
    clock: ServersClock,
) -> None:
    """By the time of now that mend is yet to come; who had it mended is gone, and tells nobody. What was
    granted to it would count until the clock comes there."""
    world, (first, second) = begin(clock, 1, 0)
    clock.ahead += 30.0
    beat(first)
    assert ask_around(world, first) == LIMIT.count - 1
    world.kill(first)
    clock.ahead -= 60.0
    beat(second)
    clock.now += 2 * LIMIT.window_seconds + LEASE
    beat(second)
    assert ask_around(world, second) > 0


def test_what_was_stamped_after_a_step_back_is_mended_by_as_much_as_the_clock_was_set_since(
    clock: ServersClock,
) -> None:
    """Who was cut off through both steps knows their sum alone; who took slots in between has left."""
    world, (asleep, gone) = begin(clock, 0, 0)
    asleep.cut_off()
    clock.now += 6.0
    clock.ahead -= 3.0
    beat(gone)
    assert [gone.take() for _ in range(3)] == [True] * 3
    world.leave(gone)
    clock.ahead += 4.0
    asleep.mend()
    beat(asleep)
    ask_around(world, asleep)
    assert world.most_in_a_window() <= LIMIT.count


@pytest.mark.parametrize("seconds", [-300.0, -4000.0])
def test_a_loss_that_was_made_good_is_not_waited_for_again_after_the_clock_was_set_back(
    clock: ServersClock, seconds: float
) -> None:
    """By the new time it lies in the future. One that died since then will never be back."""
    world, (one, dead) = begin(clock, 1, 1, source=LONG)
    world.redis.flushall()
    beat(one, dead, one)
    clock.now += 1.0
    beat(one, dead, one, dead)
    world.kill(dead)
    clock.ahead += seconds
    beat(one, one)
    clock.now += 1.0
    assert ask_around(world, one) > 0


def test_allowances_are_given_again_after_the_clock_was_set_back(clock: ServersClock) -> None:
    """They are wanted until a moment that is far away by the new time."""
    world, (one, other) = begin(clock, 1, 1, source=LONG)
    give_up_allowances(world)
    clock.ahead -= 400.0
    beat(one, other, one)
    assert "=" in one.process_window.report()[0]


@pytest.mark.parametrize("way", ["take", "admit", "turn", "work", "beat"])
def test_whatever_is_asked_first_after_a_clock_was_set_back_finds_no_loss(
    clock: ServersClock, way: str
) -> None:
    """Redis has noted a later moment than it knows now: nothing is missing for that."""
    world, (asker, gone) = begin(clock, 1, 2, source=LONG)
    asker.admit("A")
    world.leave(gone)
    beat(asker)
    clock.ahead -= 0.5
    ways = {"take": asker.take, "admit": lambda: asker.admit("B"), "turn": asker.turn, "work": asker.work}
    ways.get(way, asker.beat)()
    beat(asker)
    assert world.redis.hget("ns:{reddit}:state", "lost_at") is None


@pytest.mark.parametrize("seconds", [-0.5, 400.0])
def test_what_is_sent_after_a_step_counts_for_no_longer_than_a_window(
    clock: ServersClock, seconds: float
) -> None:
    """Those who are there know by their own clocks how old their slots are."""
    world, (one, other) = begin(clock, 3, 3, source=LONG)
    clock.ahead += seconds
    assert ask_around(world, one, other) == 0
    # What a clock that is a little fast would have it last longer.
    clock.now += LONG.limits[0].window_seconds * (1 + 2 * CLOCK_DRIFT)
    assert ask_around(world, one, other) == LIMIT.count
    assert world.most_in_a_window() == LIMIT.count


@pytest.mark.parametrize("seconds", [0.5, -0.5, 30.0, -30.0])
def test_data_that_is_lost_as_the_clock_is_set_is_missed(clock: ServersClock, seconds: float) -> None:
    """A replica that lagged by a moment is promoted, and its clock differs: what it lacks, nobody has."""
    world, (old, gone, busy) = begin(clock, 1, 0, 1, source=LONG)
    saved = world.save()
    clock.now += 0.05
    give_up_allowances(world)
    assert [gone.take() for _ in range(2)] == [True, True]
    clock.now += 0.01
    beat(old, busy)
    world.kill(gone)
    world.rewind(saved)
    clock.ahead += seconds
    assert ask_around(world, old, busy, world.fleet[1]) == 0
    clock.now += 100.0
    assert ask_around(world, old, busy, world.fleet[1]) == 0


def test_data_that_is_lost_as_the_clock_is_set_is_lost_once(clock: ServersClock) -> None:
    """Each of those who know of it comes later than the one before: nobody is to wait anew each time."""
    world, (one, other) = begin(clock, 1, 1, source=LONG)
    saved = world.save()
    clock.now += 0.05
    beat(one, other)
    world.rewind(saved)
    clock.ahead += 30.0
    beat(one)
    lost_at = world.redis.hget("ns:{reddit}:state", "lost_at")
    assert lost_at
    clock.now += 0.1
    beat(other)
    assert world.redis.hget("ns:{reddit}:state", "lost_at") == lost_at


def test_a_damaged_note_hides_no_loss(clock: ServersClock) -> None:
    """Of one that knows of more than the replica, it says when it was heard before the step."""
    world, (old, gone, busy) = begin(clock, 1, 0, 1, source=LONG)
    saved = world.save()
    clock.now += 0.05
    give_up_allowances(world, gone, busy)
    assert gone.take()
    beat(busy)
    world.kill(gone)
    world.rewind(saved)
    clock.ahead += 30.0
    beat(old)
    world.redis.hset("ns:{reddit}:state", f"noted:{busy.name}", "inf")
    assert ask_around(world, busy, old) == 0


def test_one_that_is_cut_off_as_the_clock_is_set_keeps_its_share(clock: ServersClock) -> None:
    """By the new time it would look as if it had been heard just now."""
    world, (alone, *others) = begin(clock, 1, 1, 1)
    clock.now += 10.0
    beat(alone, *others)
    alone.cut_off()
    clock.now += 3.2 + LEASE
    beat(*others)
    clock.ahead -= 3.0 + LEASE
    beat(*others)
    assert ask_around(world, *others) == 4
    assert [alone.take() for _ in range(3)] == [True, True, False]


def test_the_share_of_one_that_is_cut_off_is_kept_before_a_jump_is_mended(clock: ServersClock) -> None:
    """Where the clock was set back, no ask in between is late, and all seem to have been heard just now."""
    world, (alone, *others) = begin(clock, 1, 1, 1)
    clock.now += 10.0
    beat(alone, *others)
    alone.cut_off()
    clock.now += 3.2 + LEASE
    beat(*others)
    clock.ahead -= 3.0 + LEASE
    threads = [*others, *others, *others]

    def take_in_one_more_thread() -> None:
        if threads:
            process = threads.pop()
            before_the_window_is_given_up(process, take_in_one_more_thread)
            process.take()

    take_in_one_more_thread()
    assert not threads
    assert len(world.arrivals) <= 3 + 4
    assert [alone.take() for _ in range(3)] == [True, True, False]


def begin_after_an_outage(clock: ServersClock) -> tuple[World, Process]:
    """One that is back; another was killed while both went on without Redis. Of six slots five are used."""
    world, (one, dead) = begin(clock, 2, 1, source=LONG)
    # By then nobody wants allowances any more.
    clock.now += 10.0
    beat(one, dead, one, dead)
    one.cut_off()
    dead.cut_off()
    assert [dead.take() for _ in range(3)] == [True, False, False]
    assert [one.take() for _ in range(3)] == [True, False, False]
    clock.now += 1.0
    world.kill(dead)
    one.membership.core.leaving.is_dead = lambda member: False  # type: ignore[method-assign]
    one.mend()
    return world, one


def test_a_share_that_is_kept_after_an_outage_is_kept_after_a_step(clock: ServersClock) -> None:
    """One of another machine that died in the outage has sent what nobody else knows. Whoever comes just now
    must not take it for one that was only silent for long."""
    world, one = begin_after_an_outage(clock)
    clock.now += FORGET_SECONDS + 10.0
    new, taken = world.fleet[1], []

    def come() -> None:
        beat(new)
        taken.append(new.take())

    before(RESTORE, one, come)
    clock.ahead += 400.0
    beat(one)
    assert taken == [False]


@pytest.mark.parametrize("seconds", [-4000.0, 4000.0])
def test_a_loss_after_a_step_is_waited_for_no_longer_than_one_before(
    clock: ServersClock, seconds: float
) -> None:
    """Until when those who have left are in a window lay in the future by as much as the clock was set."""
    world, (one, gone) = begin(clock, 1, 2, source=LONG)
    world.leave(gone)
    beat(one)
    clock.ahead += seconds
    beat(one, one)
    world.redis.flushall()
    beat(one)
    clock.now += LONG.limits[0].window_seconds + LEASE + 1.0
    assert ask_around(world, one) == LIMIT.count


def test_the_pre_warm_lane_goes_on_after_the_clock_was_set_back(clock: ServersClock) -> None:
    """When it may go on, how many asked of late, and what others use, was noted for a time far away."""
    world, (one,) = begin(clock, 1, source=LONG)
    state, span = "ns:{reddit}:state", 1_000_000_000
    noted = round((clock.now + clock.ahead) * MICROS)
    names = ("demand_at", f"paced:{span}", f"foreign_until:{span}", f"learned_next:{span}")
    world.redis.hset(state, mapping={**dict.fromkeys(names, noted), f"foreign:{span}": 1})
    clock.ahead -= 4000.0
    beat(one)
    moments = [int(float(text)) for text in world.redis.hmget(state, names)]
    now = (clock.now + clock.ahead) * MICROS
    assert all(moment <= now + span for moment in moments)
    assert moments[0] <= now


@pytest.mark.parametrize(
    ("found_before", "seconds", "after", "expected"),
    [(500.0, -0.5, 504.0, LIMIT.count), (500.0, 400.0, 504.0, LIMIT.count), (1.0, -4000.0, 1003.0, 5)],
)
def test_the_share_of_a_dead_process_is_kept_no_longer_for_a_step(
    clock: ServersClock, found_before: float, seconds: float, after: float, expected: int
) -> None:
    """A step now and then would keep it for ever. The slot that Redis knows may count for two windows."""
    world, one = begin_after_an_outage(clock)
    one.membership.core.leaving.is_dead = lambda member: True  # type: ignore[method-assign]
    clock.now += ABSENT_SECONDS + 0.1
    beat(one, one)
    clock.now += found_before
    clock.ahead += seconds
    beat(one, one)
    assert ask_around(world, one) == 0
    clock.now += after
    beat(one, one)
    assert ask_around(world, one) == expected
    assert world.most_in_a_window() <= LIMIT.count


def test_a_clock_that_is_put_right_again_is_mended_as_well(clock: ServersClock) -> None:
    """What was noted as it was set wrong lies in the future: nobody is to wait until then."""
    world, (one, other) = begin(clock, 3, 3)
    clock.ahead += 60.0
    beat(one, other)
    clock.now += 8.0
    beat(one, other)
    clock.ahead -= 60.0
    beat(one, other)
    clock.now += 2 * LIMIT.window_seconds + 1.0
    beat(one, other)
    assert ask_around(world, one, other) == LIMIT.count
    assert world.most_in_a_window() == LIMIT.count


def test_a_clock_that_is_put_right_after_as_long_as_it_was_set_by_is_mended_as_well(
    clock: ServersClock,
) -> None:
    """Its time is that of the first step again. What Redis lost then was not noticed for as long."""
    world, (one, other) = begin(clock, 1, 1)
    clock.ahead += 3.0
    clock.now += 0.01
    beat(one, other, one)
    began = clock.now
    while clock.now < began + 2.85:
        clock.now += 0.1
        beat(one, other)
    clock.now = began + 3.0
    epoch = world.redis.hget("ns:{reddit}:state", "epoch")
    clock.ahead -= 3.0
    beat(one, other, one, other)
    assert world.redis.hget("ns:{reddit}:state", "epoch") != epoch
    clock.now += LIMIT.window_seconds + LEASE
    assert ask_around(world, one, other) == LIMIT.count


@pytest.mark.parametrize(("end", "seconds"), [("leave", 3600.0), ("kill", 3600.0), ("kill", 100.0)])
def test_who_begins_when_all_have_gone_need_not_wait_for_as_long_as_the_clock_was_set_back(
    clock: ServersClock, end: str, seconds: float
) -> None:
    """Nobody is left who could have it mended: the stamps of a fleet that has ended lie an hour ahead. Those
    who were killed passed for members that had just been heard."""
    world, (one, other) = begin(clock, 3, 3)
    for process in (one, other):
        getattr(world, end)(process)
    clock.ahead -= seconds
    clock.now += 0.1
    new = world.start()
    world.fleet.append(new)
    beat(new, new)
    assert ask_around(world, new) == 0
    clock.now += 2 * LIMIT.window_seconds + LEASE
    beat(new)
    assert ask_around(world, new) == LIMIT.count
    assert world.most_in_a_window() == LIMIT.count


def test_a_damaged_hold_keeps_no_window_from_being_mended(clock: ServersClock) -> None:
    """The key of the slots cannot live without end: Redis refused the script."""
    world, (one,) = begin(clock, 1)
    world.redis.hset("ns:{reddit}:state", "lease", "inf")
    clock.ahead -= 30.0
    one.take()
    assert int(world.redis.hget("ns:{reddit}:state", "stepped_by")) < -29 * MICROS


def test_what_the_dead_have_sent_alone_is_kept_for_them_for_no_longer_after_the_clock_was_set_back(
    clock: ServersClock,
) -> None:
    """Nobody is left who could have it mended: they passed for members that had just been heard."""
    world, gone = begin(clock, 1, 1)
    for process in gone:
        process.cut_off()
    clock.now += 2 * LIMIT.window_seconds
    assert [process.take() for process in gone * 3] == [True] * LIMIT.count
    for process in gone:
        world.kill(process)
    clock.ahead -= 100.0
    new, _ = world.fleet
    beat(new, new)
    assert ask_around(world, new) == 0
    clock.now += 2 * LIMIT.window_seconds + LEASE
    beat(new, new)
    assert ask_around(world, new) == LIMIT.count


@pytest.mark.parametrize("seconds", [-3600.0, 3600.0])
def test_a_closure_lasts_as_long_as_without_the_step(clock: ServersClock, seconds: float) -> None:
    """The upstream has said for how long it sends nothing, and not until when by a clock that was wrong."""
    world, (one, other) = begin(clock, 1, 1)
    now_us, state = clock.time() * MICROS, "ns:{reddit}:state"
    closed = {"closed_until": round(now_us + 1800 * MICROS), "closed_at": round(now_us)}
    world.redis.hset(state, mapping={**closed, "closed_reason": "quota"})
    clock.now += 10.0
    beat(one, other)
    clock.ahead += seconds
    for _ in range(4):
        clock.now += 0.1
        beat(one, other)
    clock.now += 1780.0
    beat(one, other)
    assert ask_around(world, one, other) == 0
    clock.now += 20.0
    beat(one, other)
    assert ask_around(world, one, other) == LIMIT.count


def test_who_slept_through_a_step_back_and_its_correction_takes_nothing_that_others_have(
    clock: ServersClock,
) -> None:
    """For it no step has been. What others put back by the wrong time looks as old as the clock was wrong."""
    world, (awake, asleep) = begin(clock, 4, 1)
    clock.ahead -= 30.0
    beat(awake)
    clock.ahead += 30.0
    assert ask_around(world, asleep) == 0
    assert ask_around(world, awake, asleep) <= 1
    clock.now += LIMIT.window_seconds
    assert ask_around(world, awake, asleep) == LIMIT.count
    assert world.most_in_a_window() == LIMIT.count


def test_all_put_their_slots_back_once_more_after_a_step_that_none_noticed(clock: ServersClock) -> None:
    """It is smaller than an answer may be late. Their stamps are too early, and nobody is to wait until they
    are old."""
    world, (awake, asleep) = begin(clock, 4, 1, source=LONG)
    clock.ahead -= 1.8 * TIMEOUT
    beat(awake)
    clock.ahead += 0.95 * TIMEOUT
    beat(asleep)
    ask_around(world, awake, asleep)
    clock.now += ABSENT_SECONDS
    assert ask_around(world, awake, asleep) == 1


def test_a_loss_is_waited_for_though_the_clock_is_set_back_and_right_meanwhile(clock: ServersClock) -> None:
    """Until when the window is shut is noted by the wrong time, and looks over to who slept through both."""
    world, (missing, awake, asleep) = begin(clock, 4, 1, 1)
    world.redis.flushall()
    beat(awake, asleep)
    clock.ahead -= 30.0
    beat(awake)
    clock.ahead += 30.0
    assert ask_around(world, asleep) == 0
    assert ask_around(world, awake, asleep) == 0
    beat(missing)
    assert ask_around(world, awake, asleep) == 0
    clock.now += LIMIT.window_seconds
    assert ask_around(world, missing, awake, asleep) == LIMIT.count
    assert world.most_in_a_window() == LIMIT.count


def test_a_loss_that_is_noticed_by_a_wrong_time_is_waited_for_by_the_right_one(clock: ServersClock) -> None:
    """Redis comes back empty, with a clock that is soon put right: who noticed has died meanwhile."""
    world, (missing, first, asleep) = begin(clock, 4, 1, 1)
    world.redis.flushall()
    clock.ahead -= 30.0
    before(LOSE, first, lambda: world.kill(first))
    with contextlib.suppress(Killed):
        first.beat()
    clock.ahead += 30.0
    assert ask_around(world, asleep) == 0
    beat(missing)
    assert ask_around(world, asleep) == 0
    assert world.most_in_a_window() == LIMIT.count


def test_a_mend_of_a_step_that_comes_after_its_correction_changes_nothing(clock: ServersClock) -> None:
    """What it says of the clock is not true any more: a loss that was noted by the wrong time would look made
    good. And who knows of the wrong time alone notices the correction."""
    world, (missing, first, second) = begin(clock, 4, 1, 1)
    world.redis.flushall()
    beat(first, second)
    clock.ahead -= 30.0
    beat(first)
    before(LOSE, second, lambda: setattr(clock, "ahead", 0.0))
    beat(second)
    assert clock.ahead == 0.0
    second.mend()
    assert ask_around(world, second) == 0
    beat(missing)
    assert ask_around(world, first, second) == 0
    assert world.most_in_a_window() == LIMIT.count


@pytest.mark.parametrize("way", ["take", "admit"])
def test_no_slot_is_taken_by_a_time_that_is_put_right_before_its_answer(
    clock: ServersClock, way: str
) -> None:
    """By the time that is right its stamp would be so much too early, and nobody would put it back."""
    world, (asker, other) = begin(clock, 1, 1)
    ways = {"take": asker.take, "admit": lambda: asker.admit("A")}
    clock.ahead -= 30.0
    before(LOSE, asker, lambda: setattr(clock, "ahead", 0.0))
    ways[way]()
    assert clock.ahead == 0.0
    ask_around(world, other, asker)
    assert world.most_in_a_window() == LIMIT.count


@pytest.mark.parametrize("way", ["end", "settle", "turn"])
def test_no_slot_ends_by_a_time_that_is_put_right_before_anyone_asks(clock: ServersClock, way: str) -> None:
    """It would leave the window by so much too soon, whatever was sent with it."""
    world, (sender, other) = begin(clock, 0, 0)
    if way == "end":
        slot, _ = run(sender.limiter.core.begin())
        world.arrivals.append(clock.now)
    else:
        sender.admit("A")
    ways = {"end": lambda: run(sender.limiter.core.end(slot)), "settle": sender.settle, "turn": sender.turn}
    clock.now += 0.1
    before(LOSE, sender, lambda: setattr(clock, "ahead", 0.0))
    clock.ahead -= 30.0
    ways[way]()
    clock.ahead = 0.0
    ask_around(world, other, sender)
    assert world.most_in_a_window() == LIMIT.count


@pytest.mark.parametrize("is_put_right", [True, False])
def test_who_leaves_before_it_has_noticed_a_step_does_so_by_the_time_that_is_right(
    clock: ServersClock, is_put_right: bool
) -> None:
    """What it has sent would be missed for as much longer, or be given away by so much too soon."""
    world, (gone, other) = begin(clock, 3, 0)
    if is_put_right:
        before(LOSE, gone, lambda: setattr(clock, "ahead", 0.0))
    clock.ahead -= 30.0
    world.leave(gone)
    clock.ahead *= not is_put_right
    left_until = float(world.redis.hget("ns:{reddit}:state", "left_until")) / MICROS
    # The last of its slots ended a moment ago.
    assert left_until - clock.time() == pytest.approx(LIMIT.window_seconds - 0.1, abs=0.05)
    assert other.name.encode() in world.redis.zrange("ns:{reddit}:fleet", 0, -1)


@pytest.mark.parametrize("way", ["take", "admit", "turn", "settle"])
def test_who_asks_first_after_a_clock_was_set_back_need_not_go_on_without_redis(
    clock: ServersClock, way: str
) -> None:
    """Redis is there, and is asked again by the new time."""
    world, (asker,) = begin(clock, 1)
    asker.admit("A")
    ways = {"take": asker.take, "admit": lambda: asker.admit("B"), "turn": asker.turn}
    clock.ahead -= 30.0
    ways.get(way, asker.settle)()
    assert asker.store.is_available
    assert not asker.process_window.has_fallback_slots
    assert len(world.arrivals) == (2 if way == "settle" else 3)


@pytest.mark.parametrize("seconds", [-30.0, 30.0])
def test_a_step_beside_the_answer_to_another_thread_is_no_sign_that_redis_is_away(
    clock: ServersClock, seconds: float
) -> None:
    """What was asked first is carried out last, and teaches nothing: it may be that it was only late."""
    _, (asker, _) = begin(clock, 0, 0)
    before(TAKE, asker, lambda: be_answered_and_step(clock, asker, seconds))
    asker.take()
    assert asker.store.is_available
    assert not asker.process_window.has_fallback_slots


@pytest.mark.parametrize("seconds", [-30.0, 30.0])
@pytest.mark.parametrize("is_one", [False, True])
def test_a_job_is_queued_beside_the_answer_to_another_thread_as_the_clock_is_set(
    clock: ServersClock, is_one: bool, seconds: float
) -> None:
    _, (asker, _) = begin(clock, 0, 0)
    before(ENQUEUE, asker, lambda: be_answered_and_step(clock, asker, seconds))
    ask, wants = JobAsk("id", b'{"kwargs":{}}', "key" if is_one else ""), Wants(account_for("ada", {}))
    if is_one:
        put(asker.store, "default", ask, wants)
    else:
        run(put_all(asker.store, "default", [ask], wants))
    assert asker.store.is_available


@pytest.mark.parametrize("seconds", [-30.0, 30.0])
def test_who_begins_as_the_clock_is_set_joins_before_it_takes_a_slot(
    clock: ServersClock, seconds: float
) -> None:
    """Its first beat does nothing: nobody would wait for it after a loss of data."""
    world, _ = begin(clock, 0, 0)
    new = world.start()
    world.fleet.append(new)
    before(BEAT, new, lambda: setattr(clock, "ahead", seconds))
    new.take()
    assert new.process_window.is_member
    assert new.name.encode() in world.redis.zrange("ns:{reddit}:fleet", 0, -1)


def test_who_cannot_join_in_time_takes_no_slot_of_redis(clock: ServersClock) -> None:
    """The server is slow with beats alone, as a script of many members may be."""
    world, _ = begin(clock, 0, 0)
    new = world.start()
    world.fleet.append(new)
    ask = new.store._run

    async def ask_late(script: Script[Any, Any], packed: Sequence[Any]) -> Any:
        clock.now += 0.9 * TIMEOUT if script is BEAT else 0.0
        return await ask(script, packed)

    new.store._run = ask_late  # type: ignore[method-assign]
    new.take()
    assert not new.process_window.is_member
    assert world.redis.zcard(world.slots_key) == 0


def test_who_knows_the_next_epoch_asks_by_the_time_of_then(clock: ServersClock) -> None:
    """Another thread learns both as this one is about to ask."""
    world, (asker,) = begin(clock, 1)
    known, source = limiter_of(asker.store).epochs, world.source.name
    before_it, bounds = known.of(source), asker.store.clock.bounds_at

    def learn_meanwhile(at: float, name: str) -> Bounds:
        found = bounds(at, name)
        known.set(source, Seen("the-next", 1), clock.now, limiter_of(asker.store).stays.current)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asker.store.clock, "bounds_at", learn_meanwhile)
        terms = limiter_of(asker.store)._terms(source, clock.now)
    assert terms.seen_before.startswith(before_it)


def test_another_thread_notices_a_correction_as_soon_as_it_knows_the_epoch(clock: ServersClock) -> None:
    """It knows it with the time of then, though the window is being mended for that time still."""
    world, (awake, asleep) = begin(clock, 4, 1)
    clock.ahead -= 30.0
    beat(awake)

    def be_put_right() -> None:
        clock.ahead = 0.0
        for _ in range(3):
            asleep.take()

    before(LOSE, asleep, be_put_right)
    beat(asleep)
    assert clock.ahead == 0.0
    assert world.most_in_a_window() <= LIMIT.count


@pytest.mark.parametrize("seconds", [-30.0, -3.0, 30.0])
@pytest.mark.parametrize("asleep_for", [40.0, 290.0])
def test_who_slept_through_one_step_alone_finds_nothing_missing(
    clock: ServersClock, asleep_for: float, seconds: float
) -> None:
    """It puts back its slots by its own clock, however long after the step: nobody is to wait for that."""
    world, (awake, asleep, gone) = begin(clock, 1, 1, 2, source=LONG)
    world.leave(gone)
    beat(awake, asleep)
    clock.now += 5.0
    clock.ahead += seconds
    beat(awake)
    clock.now += asleep_for
    beat(asleep)
    assert world.redis.hget("ns:{reddit}:state", "lost_at") is None
    assert ask_around(world, awake, asleep) == 2


@pytest.mark.parametrize("noted", ["stepped_by", "lost_at"])
def test_a_damaged_note_has_nobody_put_its_slots_back_once_more(clock: ServersClock, noted: str) -> None:
    """It says how far the clock may have been set, and by that whether it was set forward since."""
    world, (awake, asleep) = begin(clock, 1, 1, source=LONG)
    if noted == "lost_at":
        world.redis.flushall()
    else:
        clock.ahead -= 30.0
    beat(awake)
    state = "ns:{reddit}:state"
    epoch = world.redis.hget(state, "epoch")
    world.redis.hset(state, noted, "-1e300")
    asleep.take()
    assert world.redis.hget(state, "epoch") == epoch


@pytest.mark.parametrize("then", [30.0, -10.0])
def test_a_step_is_mended_by_who_was_there_though_who_began_after_it_has_the_next_mended(
    clock: ServersClock, then: float
) -> None:
    """What the dead have sent is put back by nobody, and looked older by what only the other has seen."""
    world, (dead, old) = begin(clock, 5, 1)
    world.kill(dead)
    clock.ahead += 30.0
    new = world.start()
    world.fleet.append(new)
    beat(new)
    clock.ahead += then
    beat(new, old)
    ask_around(world, old, new)
    assert world.most_in_a_window() == LIMIT.count


@pytest.mark.parametrize("then", [30.0, -10.0])
def test_a_step_that_is_mended_in_two_parts_shuts_nothing(clock: ServersClock, then: float) -> None:
    """It was taken for a loss of data: then a limit of a day is shut for a day where somebody has left."""
    world, (gone, old) = begin(clock, 1, 1, source=LONG)
    world.leave(gone)
    beat(old)
    clock.ahead += 30.0
    new = world.start()
    world.fleet.append(new)
    beat(new)
    clock.ahead += then
    beat(new, old)
    clock.now += 1.0
    beat(new, old)
    assert ask_around(world, old, new) > 0


@pytest.mark.parametrize("step", [-30.0, 2.0])
def test_who_was_cut_off_for_long_as_the_clock_was_set_shuts_nothing(
    clock: ServersClock, step: float
) -> None:
    """By then it knows the time so roughly that the step may have been more than was mended."""
    world, (here, cut, gone) = begin(clock, 1, 1, 1, source=LONG)
    world.leave(gone)
    beat(here, cut)
    cut.store.is_down = True
    clock.ahead += step
    for _ in range(600):
        clock.now += 1.0
        here.beat()
    cut.store.is_down = False
    beat(cut, here, cut, here)
    clock.now += 1.0
    beat(cut, here)
    assert ask_around(world, here, cut) > 0


@pytest.mark.parametrize(("first", "then"), [(5.0, -30.0), (30.0, -10.0), (30.0, 10.0)])
def test_a_closure_lasts_through_a_step_that_is_mended_in_two_parts(
    clock: ServersClock, first: float, then: float
) -> None:
    world, (dead, old, other) = begin(clock, 0, 1, 1)
    state = "ns:{reddit}:state"
    until, at = (round((clock.time() + seconds) * MICROS) for seconds in (1800.0, 0.0))
    world.redis.hset(state, mapping={"closed_until": until, "closed_at": at, "closed_reason": "quota"})
    end = clock.now + 1800.0
    clock.now += 1.0
    beat(dead, old, other)
    world.kill(dead)
    clock.ahead += first
    new = world.start()
    world.fleet.append(new)
    beat(new)
    clock.ahead += then
    beat(new, old, other)
    left = int(world.redis.hget(state, "closed_until")) / MICROS - clock.time()
    assert left == pytest.approx(end - clock.now, abs=0.1)


@pytest.mark.parametrize("seconds", [100.0, 1e6, 1e7])
def test_a_clock_that_is_ahead_for_a_moment_has_redis_forget_no_slot_that_is_not_missed(
    clock: ServersClock, seconds: float
) -> None:
    """Keys come to their end by that clock, though nobody has asked by it: those of the slots alone would not
    be missed."""
    world, (one, other) = begin(clock, 3, 3)
    clock.ahead += seconds
    world.redis.keys()
    clock.ahead -= seconds
    assert ask_around(world, one, other) == 0
    clock.now += LIMIT.window_seconds + LEASE
    beat(one, other)
    assert ask_around(world, one, other) == LIMIT.count
    assert world.most_in_a_window() == LIMIT.count


def test_a_process_that_takes_its_own_standstill_for_a_step_shuts_nobody_out(clock: ServersClock) -> None:
    """A laptop that was suspended: its own clock stood still meanwhile, and the server's seems to be set."""
    world, (laptop, gone, old) = begin(clock, 1, 2, 1, source=LONG)
    world.leave(gone)
    beat(laptop, old)
    server = laptop.store.clock
    server._ranges = {
        name: msgspec.structs.replace(known, low=known.low - 12.0, high=known.high - 12.0)
        for name, known in server._ranges.items()
    }
    beat(laptop, old)
    assert ask_around(world, old, laptop) == 2


@pytest.mark.parametrize("is_late", [False, True])
def test_what_is_granted_beside_a_restoration_that_is_asked_twice_is_put_back_as_well(
    clock: ServersClock, is_late: bool
) -> None:
    """It was compared with what was known at the first of two asks, and was in neither: another took its
    place."""
    world, (one, _) = begin(clock, 0, 0)
    world.redis.flushall()
    restore, asks = one.store._run, list[int]()

    async def run_late(script: Script[Any, Any], packed: Sequence[Any]) -> Any:
        if script is not RESTORE:
            return await restore(script, packed)
        asks.append(1)
        if is_late and len(asks) == 1:
            clock.now += TIMEOUT
        answer = await restore(script, packed)
        if len(asks) == (2 if is_late else 1):
            # Its answer, of before the loss, comes to another thread only now.
            one.process_window.grant("beside", 1, (LIMIT,), 1.0)
        return answer

    one.store._run = run_late  # type: ignore[method-assign]
    run(limiter_of(one.store).restoration.restore(world.source.name))
    assert world.redis.zscore(world.slots_key, "beside") is not None


@pytest.mark.parametrize("rate", [0.0, -0.0005, -0.05, 0.05])
def test_a_worker_keeps_its_jobs_while_the_clock_is_corrected_step_by_step(
    clock: ServersClock, rate: float
) -> None:
    """A clock that is slewed back was always a little behind what a worker expects: it took the claims that
    it renewed for lapsed, and gave back each job."""
    _, (one,) = begin(clock, 0)
    one.ask_for_job()
    for _ in range(14):
        clock.now += 0.5
        clock.ahead += 0.5 * rate
        one.ask_for_job()
        assert one.consumer._hand.holds_until > clock.now


@pytest.mark.parametrize("ahead", [400.0, 0.0])
def test_a_refusal_that_is_told_first_after_a_step_closes_its_source_as_long_as_it_says(
    clock: ServersClock, ahead: float
) -> None:
    """Asked again by the next time, it named a moment of the one before: it closed for a second."""
    world, (one, _) = begin(clock, 0, 0)
    one.admit("A")
    clock.now += 0.1
    clock.ahead += ahead
    failure = Failure("throttled", "slow down", 429, io.utc_now() + timedelta(seconds=60))
    one.admission.settle(one.loads.pop(0), Settlement(failure=failure, closed_by=failure, pages=1))
    until = int(world.redis.hget("ns:{reddit}:state", "closed_until") or 0) / MICROS
    assert 50 < until - clock.time() < 70
