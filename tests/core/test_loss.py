"""What Redis loses: the slots of those who cannot put them back, being dead or gone, count all the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from tbcache.io import run
from tbcache.limiter import limiter_of
from tbcache.limiter.member import BEAT_SECONDS, FORGET_SECONDS
from tbcache.limiter.process_window import ABSENT_SECONDS
from tbcache.models import Limit
from tbcache.store import Refused, Unavailable
from tbcache.store.wire import CLOCK_DRIFT, MICROS
from tests.core.world import LEASE, LIMIT, SOURCE, Clock, Process, World, moved_clock

LONG = replace(SOURCE, limits=(Limit(6, 1000.0),))


@pytest.fixture
def clock() -> Iterator[Clock]:
    with moved_clock() as clock:
        yield clock


def begin(clock: Clock, *takes: int, source: object = SOURCE) -> tuple[World, list[Process]]:
    """A process for each number, which has taken so many slots; all of them know of all."""
    world = World(clock, len(takes), source)  # type: ignore[arg-type]
    fleet = list(world.fleet)
    beat(*fleet, *fleet, *fleet)
    for process, count in zip(fleet, takes, strict=True):
        give_up_allowances(world)
        assert [process.take() for _ in range(count)] == [True] * count
    clock.now += 0.1
    beat(*fleet)
    return world, fleet


def beat(*processes: Process) -> None:
    for process in processes:
        process.beat()


def give_up_allowances(world: World, *processes: Process) -> None:
    """Somebody wants what is kept for them: none of these, or of all, has one until the next beat."""
    world.redis.hset("ns:{reddit}:state", "wanted_until", round((world.clock.now + 10.0) * MICROS))
    for process in processes or world.fleet:
        process.beat(gives_up_allowances=True)


def ask_on(world: World, *processes: Process, seconds: float = 1.0) -> int:
    """How many slots these get when they ask again and again."""
    until, before = world.clock.now + seconds, len(world.arrivals)
    while world.clock.now < until:
        give_up_allowances(world, *processes)
        for process in processes:
            process.take()
        world.clock.now += 0.05
    return len(world.arrivals) - before


def flush(world: World) -> None:
    world.redis.flushall()


def test_a_newcomer_stands_for_nobody_who_is_missing(clock: Clock) -> None:
    """Killed with Redis, and started again: the slots of before are still in the window."""
    world, (old, dead) = begin(clock, 2, 4)
    world.kill(dead)
    flush(world)
    new = world.fleet[1]
    beat(old, new)
    new.cut_off()
    new.take()
    new.mend()
    assert ask_on(world, old, new) == 0
    assert ask_on(world, old, new, seconds=LIMIT.window_seconds + LEASE) >= LIMIT.count
    assert world.most_in_a_window() <= LIMIT.count


@pytest.mark.parametrize("way", ["left in order", "found dead", "was forgotten"])
def test_who_was_gone_before_the_loss_counts_until_what_it_sent_is_old(clock: Clock, way: str) -> None:
    """Every command of a shell leaves like that; nobody can put back what it has taken."""
    world, (old, gone) = begin(clock, 2, 4, source=LONG)
    if way == "left in order":
        world.leave(gone)
    elif way == "found dead":
        limiter_of(gone.store).windows.stay_clean()
        world.kill(gone)
        clock.now += 2 * ABSENT_SECONDS
    else:
        world.kill(gone)
        old.membership.leaving.is_dead = lambda member: False  # type: ignore[method-assign]
        clock.now += FORGET_SECONDS + 1.0
    beat(old, old)
    assert len(world.redis.zrange("ns:{reddit}:fleet", 0, -1)) == 1
    flush(world)
    assert ask_on(world, old) == 0
    clock.now += 1000.0 + LEASE
    assert ask_on(world, old) == LIMIT.count


def test_what_was_promised_before_a_loss_is_not_used(clock: Clock) -> None:
    """Redis has lost who is absent: whoever is cut off takes again what leaves of its own."""
    world, (old, apart) = begin(clock, 0, LIMIT.count)
    for symbol in "ABCDEF":
        old.admit(symbol, patience=LIMIT.window_seconds)
    assert len(old.promised) == LIMIT.count
    for _ in range(10):
        clock.now += 0.1
        beat(old, apart)
    apart.cut_off()
    for number in range(24):
        if number == 8:
            # It counts as absent in a moment.
            flush(world)
        clock.now += 0.05
        beat(old)
        apart.take()
        old.use_promised()
    assert not old.promised
    assert len(world.arrivals) > LIMIT.count
    assert world.most_in_a_window() == LIMIT.count


@pytest.mark.parametrize("looks_from", [0.0, 0.03, 0.06, 0.09, 0.12])
@pytest.mark.parametrize("before", [0.3, 0.46, 0.5, 0.54, 0.58, 0.7])
def test_what_leaves_of_one_that_is_cut_off_is_either_promised_or_its_own(
    clock: Clock, before: float, looks_from: float
) -> None:
    """However long before it leaves its process is cut off, and whenever the other has looked last."""
    world, (near, far) = begin(clock, 0, LIMIT.count)
    for symbol in "ABCDEF":
        near.admit(symbol, patience=LIMIT.window_seconds)
    leaves_at = world.arrivals[0] + LIMIT.window_seconds
    look_at = clock.now + looks_from
    while clock.now < leaves_at + 0.5:
        clock.now += 0.01
        if clock.now >= look_at:
            look_at += BEAT_SECONDS
            beat(near)
        if clock.now < leaves_at - before:
            beat(far)
        else:
            far.cut_off()
            far.take()
        near.use_promised()
    assert world.most_in_a_window() == LIMIT.count


def test_a_look_that_was_asked_before_a_promise_hides_no_absence_after_it(clock: Clock) -> None:
    """It is carried out late, over another connection: one was absent in between, and is back."""
    world, (near, far) = begin(clock, 0, LIMIT.count)
    near.process_window.must_announce(can_fall_back=True)
    beat(near, far)
    leaves_at = world.arrivals[-1] + LIMIT.window_seconds
    last_at = leaves_at - ABSENT_SECONDS - 0.008
    while clock.now < last_at:
        clock.now = min(clock.now + 0.1, last_at)
        beat(near, far)
    far.cut_off()
    for _ in range(4):
        clock.now += 0.1
        beat(near)
    meanwhile = world.meanwhile

    def overtake() -> None:
        world.meanwhile = meanwhile  # type: ignore[method-assign]
        clock.now += 0.005
        for symbol in "ABCDEF":
            near.admit(symbol, patience=1.0)
        assert len(near.promised) == LIMIT.count
        clock.now = leaves_at + 0.004
        assert far.take()
        far.mend()

    world.meanwhile = overtake  # type: ignore[method-assign]
    beat(near)
    clock.now += 0.005
    near.use_promised()
    for _ in range(30):
        clock.now += 0.02
        beat(near, far)
        near.use_promised()
    assert world.most_in_a_window() == LIMIT.count


@pytest.mark.parametrize("late", [0.0, 0.01, 0.05])
@pytest.mark.parametrize("way", ["take", "settle"])
def test_what_leaves_by_redis_before_its_process_is_absent_is_not_its_own(
    clock: Clock, way: str, late: float
) -> None:
    """Redis has stamped it before the answer came, so it leaves there before it does by its process."""
    world, (near, far) = begin(clock, 0, 0)
    give_up_allowances(world)
    meanwhile, until = world.meanwhile, clock.now

    def slow() -> None:
        # The way there, and then back.
        world.meanwhile = lambda: clock.sleep(until + late - clock.now)  # type: ignore[method-assign]

    for number in range(LIMIT.count):
        if way == "take":
            world.meanwhile, clock.now = slow, until  # type: ignore[method-assign]
            assert far.take()
        else:
            far.admit(f"F{number}")
        world.meanwhile = meanwhile  # type: ignore[method-assign]
    while far.loads:
        world.meanwhile, clock.now = slow, until  # type: ignore[method-assign]
        far.settle()
    world.meanwhile = meanwhile  # type: ignore[method-assign]
    # That is how they count (docs/limits.md).
    world.arrivals = [until] * LIMIT.count
    for number in range(LIMIT.count):
        near.admit(f"N{number}", patience=LIMIT.window_seconds)
    assert len(near.promised) == LIMIT.count
    leaves_at = until + LIMIT.window_seconds
    last_at = leaves_at - ABSENT_SECONDS + 0.005
    while clock.now < last_at:
        clock.now = min(clock.now + 0.1, last_at)
        give_up_allowances(world, far, near)
    far.cut_off()
    clock.now = leaves_at - 0.002
    while clock.now < leaves_at + 0.1:
        clock.now += 0.001
        near.use_promised()
        far.take()
    assert len(world.arrivals) > LIMIT.count
    assert world.most_in_a_window() == LIMIT.count


def test_an_ask_that_is_broken_off_counts_as_heard_until_its_deadline(clock: Clock) -> None:
    """A task is cancelled, or somebody presses Ctrl-C: Redis may carry it out all the same, and takes its
    process for absent later than that would itself."""
    world, (near, far) = begin(clock, 0, 3)
    leaves_at, late = clock.now - 0.1 + LIMIT.window_seconds, 0.15
    for _ in range(3):
        give_up_allowances(world)
        assert near.take()
        clock.now += 0.1
    while clock.now < leaves_at - ABSENT_SECONDS - late + 0.02:
        clock.now += 0.005
        give_up_allowances(world)
    asked: list[Callable[[], object]] = []

    def break_off(ask: Callable[[], object]) -> None:
        asked.append(ask)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(far.store, "pass_on", break_off)
        with pytest.raises(KeyboardInterrupt):
            far.take()
    clock.now += late
    assert asked[0]() is not None
    far.cut_off()
    assert not far.take()
    while clock.now < leaves_at + 0.001:
        clock.now += 0.01
        give_up_allowances(world, near)
    assert sum(near.take() for _ in range(LIMIT.count)) == 3
    assert not any(far.take() for _ in range(LIMIT.count))
    assert world.most_in_a_window() <= LIMIT.count


def test_who_left_is_missed_no_longer_than_its_slots_are_in_the_window(clock: Clock) -> None:
    """A process that says when its last slot is old need not be waited for beyond that."""
    world, (old, gone, idle) = begin(clock, 1, 2, 0)
    clock.now += 0.4
    beat(old, idle)
    world.leave(gone)
    world.leave(idle)
    clock.now += 0.3
    beat(old)
    flush(world)
    assert ask_on(world, old, seconds=1.1) == 0
    assert ask_on(world, old, seconds=0.3) > 0
    assert world.most_in_a_window() <= LIMIT.count


def test_what_those_who_left_sent_is_missed_as_long_as_the_slowest_clock_has_it(clock: Clock) -> None:
    """Whoever tells Redis of it was told long ago, by its own clock, which may be a little fast."""
    world, (old, gone) = begin(clock, 1, 2, source=LONG)
    world.leave(gone)
    beat(old)
    left = old.process_window.census.left_until - clock.now
    flush(world)
    beat(old)
    ((_, told),) = world.redis.hgetall("ns:{reddit}:back").items()
    left_until = int(told.split()[3]) / MICROS - clock.now
    assert left_until == pytest.approx(left * (1 + CLOCK_DRIFT), abs=0.01)


def test_what_is_taken_while_a_process_leaves_is_known_as_well(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its other threads may not have ended yet; after a loss nobody else knows what they sent."""
    world, (old, gone) = begin(clock, 2, 0)
    send, takes = gone.store.pass_on, iter([3, 1])

    def taking(ask: Callable[[], object]) -> object:
        answer = send(ask)
        with monkeypatch.context() as patch:
            patch.setattr(gone.store, "pass_on", send)
            assert all(gone.take() for _ in range(next(takes, 0)))
        return answer

    monkeypatch.setattr(gone.store, "pass_on", taking)
    world.leave(gone)
    monkeypatch.undo()
    beat(old, old)
    flush(world)
    assert ask_on(world, old) == 0
    assert ask_on(world, old, seconds=LIMIT.window_seconds + LEASE) > 0
    assert world.most_in_a_window() <= LIMIT.count


@pytest.mark.parametrize("end", ["killed", "slow to come back"])
def test_a_redis_that_went_back_has_lost_data(clock: Clock, end: str) -> None:
    """A snapshot of minutes ago, or a promoted replica that lagged: the epoch is there, the slots are not."""
    world, (old, other) = begin(clock, 0, 1)
    saved = world.save()
    give_up_allowances(world)
    assert [other.take() for _ in range(4)] == [True] * 4
    assert old.take()
    clock.now += 0.1
    beat(old)
    if end == "killed":
        world.kill(other)
    world.rewind(saved)
    assert ask_on(world, old) == 0
    if end != "killed":
        assert not other.take()
    assert world.most_in_a_window() == LIMIT.count


def test_who_was_found_dead_is_kept_for_no_longer_when_redis_goes_back(clock: Clock) -> None:
    """The share is there again without the note of its death: it would be kept twice as long."""
    world, (old, dead) = begin(clock, 1, 1)
    clock.now += LIMIT.window_seconds
    beat(old, dead, old)
    saved = world.save()
    dead.cut_off()
    clock.now += LIMIT.window_seconds + LEASE + 2 * ABSENT_SECONDS
    assert dead.take()
    world.kill(dead)
    beat(old)
    clock.now += 0.1
    world.rewind(saved)
    clock.now += 2 * ABSENT_SECONDS
    beat(old)
    ask_on(world, old, seconds=LIMIT.window_seconds + LEASE)
    assert ask_on(world, old, seconds=LIMIT.window_seconds) == LIMIT.count


def test_a_process_whose_slots_are_gone_puts_them_back_before_it_takes_more(clock: Clock) -> None:
    """It never had a failed call: all it has is its own note of when it was heard."""
    world, (other, stopped) = begin(clock, 0, 0, source=LONG)
    saved = world.save()
    clock.now += 0.01
    give_up_allowances(world)
    assert [stopped.take() for _ in range(5)] == [True] * 5
    world.rewind(saved)
    assert not stopped.take()
    beat(other)
    assert ask_on(world, stopped, other) == 1


@pytest.mark.parametrize("way", ["take", "admit", "turn", "work"])
@pytest.mark.parametrize("loss", ["all", "back"])
def test_whatever_is_asked_first_notices_the_loss(clock: Clock, way: str, loss: str) -> None:
    """A page of an answer, or a job of the queue, is sent to the upstream like anything else."""
    world, (asker, other) = begin(clock, 0, 4)
    give_up_allowances(world)
    saved = world.save()
    clock.now += 0.01
    asker.admit("A")
    asker.admit("B")
    assert len(asker.loads) == 2
    beat(asker)
    world.kill(other)
    clock.now += 0.01
    flush(world) if loss == "all" else world.rewind(saved)
    before = len(world.arrivals)
    {"take": asker.take, "admit": lambda: asker.admit("C"), "turn": asker.turn, "work": asker.work}[way]()
    assert len(world.arrivals) == before
    assert world.redis.hget("ns:{reddit}:state", "returned_at") is not None


@pytest.mark.parametrize("way", ["turn", "work"])
def test_who_only_pages_or_works_notices_a_redis_that_went_back(clock: Clock, way: str) -> None:
    """It beats no more often than anyone else: what it was granted since its last beat would be forgotten."""
    world, (asker, other) = begin(clock, 0, 0)
    give_up_allowances(world)
    asker.admit("A")
    clock.now += 0.01
    saved = world.save()
    for _ in range(5):
        clock.now += 0.12
        {"turn": asker.turn, "work": asker.work}[way]()
    assert len(world.arrivals) == LIMIT.count
    world.rewind(saved)
    for _ in range(6):
        clock.now += 0.01
        {"turn": asker.turn, "work": asker.work}[way]()
    ask_on(world, asker, other, seconds=0.5)
    assert world.most_in_a_window() == LIMIT.count


def test_who_puts_its_slots_back_was_heard_and_knows_it(clock: Clock) -> None:
    """The way may be gone again before the beat: it would go by what it was told before the outage."""
    world, (first, other) = begin(clock, 1, 1)
    for _ in range(25):
        give_up_allowances(world)
        clock.now += 0.1
    first.cut_off()
    first.take()
    for _ in range(30):
        clock.now += 0.1
        give_up_allowances(world, other)
    first.store.breaker._then[:0] = [first.cut_off, lambda: first.membership.beat("reddit")]
    first.mend()
    before = len(world.arrivals)
    ask_on(world, other, seconds=0.3)
    while first.take():
        pass
    assert len(world.arrivals) > before
    assert world.most_in_a_window() <= LIMIT.count


def test_an_answer_from_the_cache_hides_no_loss(clock: Clock) -> None:
    """It says as well that the process was heard; what Redis noted before must still be seen."""
    world, (asker, other) = begin(clock, 0, 2)
    asker.admit("A")
    asker.settle()
    saved = world.save()
    clock.now += 0.1
    give_up_allowances(world)
    assert [other.take() for _ in range(3)] == [True] * 3
    beat(asker)
    world.kill(other)
    world.rewind(saved)
    asker.admit("A")
    assert ask_on(world, asker) == 0


def test_one_who_was_forgotten_puts_its_slots_back_and_shuts_nobody_out(clock: Clock) -> None:
    """A laptop that slept: what it knew is no reason to take the window for lost."""
    world, (awake, asleep) = begin(clock, 1, 2, source=LONG)
    clock.now += FORGET_SECONDS + 1.0
    give_up_allowances(world, awake)
    assert not asleep.take()
    assert world.redis.hget("ns:{reddit}:state", "lost_at") is None
    assert asleep.take()
    assert awake.take()


def test_a_second_loss_before_the_first_is_mended_opens_nothing(clock: Clock) -> None:
    """Who is known in between is not all that there was."""
    world, (old, dead) = begin(clock, 2, 4)
    world.kill(dead)
    for _ in range(2):
        flush(world)
        assert ask_on(world, old, world.fleet[1], seconds=0.6) == 0
    assert world.most_in_a_window() <= LIMIT.count


def test_a_loss_that_was_mended_says_nothing_of_the_next(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All were back after the first; after the second nobody is, and whoever noticed it is away again."""
    world, (old, dead) = begin(clock, 0, 0)
    flush(world)
    assert ask_on(world, old, dead, seconds=0.6) > 0
    clock.now += LIMIT.window_seconds + LEASE
    beat(old, dead)
    saved = world.save()
    give_up_allowances(world)
    assert [dead.take() for _ in range(4)] == [True] * 4
    clock.now += 0.1
    beat(old)
    world.kill(dead)
    world.rewind(saved)

    def be_away(source: str) -> None:
        raise Unavailable("redis", "away")

    with monkeypatch.context() as patch:
        patch.setattr(limiter_of(old.store).restoration, "restore", be_away)
        old.take()
    assert ask_on(world, world.fleet[1], seconds=0.4) == 0
    assert world.most_in_a_window() <= LIMIT.count


def test_a_loss_of_which_all_are_back_costs_half_a_second(clock: Clock) -> None:
    """Those who are there put back what they took, and nobody waits for a window to pass."""
    world, (one, two) = begin(clock, 2, 2, source=LONG)
    flush(world)
    assert ask_on(world, one, two, seconds=0.4) == 0
    assert ask_on(world, one, two, seconds=0.2) == 2


def test_who_is_cut_off_again_right_after_its_return_keeps_its_part(clock: Clock) -> None:
    """It has put its slots back, so it is missed no more; what it goes by was lost as well."""
    world, (near, far) = begin(clock, 1, 1)
    for _ in range(8):
        clock.now += 0.4
        beat(near, far)
    far.cut_off()
    far.take()
    flush(world)
    beat(near)
    far.mend()
    far.cut_off()
    for _ in range(40):
        ask_on(world, near, seconds=0.1)
        far.take()
    assert world.most_in_a_window() == LIMIT.count


@pytest.mark.parametrize("last", [0, 1])
def test_the_longest_lease_counts_whoever_comes_back_last(clock: Clock, last: int) -> None:
    """The dead one's request may be under way for as long, and then nobody can put it back."""
    world, fleet = begin(clock, 2, 2, 2)
    patient, _, dead = fleet
    limiter_of(patient.store).windows.hold_seconds = 4 * LEASE
    world.kill(dead)
    flush(world)
    beat(fleet[1 - last], fleet[last])
    assert ask_on(world, fleet[1 - last], fleet[last], seconds=LIMIT.window_seconds + 3.8 * LEASE) == 0
    assert ask_on(world, *fleet[:2], seconds=0.5) > 0


def test_one_who_came_after_the_others_last_beat_is_waited_for(clock: Clock) -> None:
    """The first to notice the loss cannot know of it, and is alone for all it knows."""
    world, (old,) = begin(clock, 2)
    new = world.start()
    world.fleet.append(new)
    beat(new)
    world.redis.hdel("ns:{reddit}:state", f"rooms:{old.name}")
    assert [new.take() for _ in range(4)] == [True] * 4
    flush(world)
    old.take()
    clock.now += 0.1
    beat(new)
    assert ask_on(world, old, new, seconds=1.5) == 0
    assert world.most_in_a_window() <= LIMIT.count


def test_who_comes_back_first_to_an_empty_redis_waits_for_those_who_know(clock: Clock) -> None:
    """It began while Redis was away: of what was lost it knows nothing."""
    world, fleet = begin(clock, 2, 4)
    for process in fleet:
        process.cut_off()
        process.take()
    flush(world)
    new = world.start()
    new.cut_off()
    new.take()
    new.mend()
    assert not new.take()
    clock.now += 0.2
    world.kill(fleet[1])
    fleet[0].mend()
    assert ask_on(world, new, fleet[0]) == 0


def test_a_slot_that_is_granted_while_others_are_put_back_is_put_back_as_well(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis lost it before the answer had come, and all were told to be back."""
    world, (one,) = begin(clock, 1)
    window, late = one.process_window, ["late"]
    ages = window.ages

    def and_then() -> list[tuple[str, float]]:
        found = list(ages())
        if late:
            window.grant(late.pop(), 1, [LIMIT], LEASE)
        return found

    monkeypatch.setattr(window, "ages", and_then)
    flush(world)
    beat(one)
    assert b"late" in world.redis.zrange(world.slots_key, 0, -1)
    assert world.redis.zcard(world.slots_key) == 2


def test_one_who_slept_through_a_loss_puts_its_slots_back_first(clock: Clock) -> None:
    """The window is open again since long, and Redis knows nothing of what this one has taken."""
    world, (awake, asleep) = begin(clock, 0, 5, source=LONG)
    flush(world)
    clock.now += 0.1
    beat(awake)
    # It was not waited for: as if what it has sent were older than the window.
    world.redis.hset("ns:{reddit}:state", "whole_at", 1)
    assert not asleep.take()
    assert ask_on(world, asleep, awake) == 1


def test_a_loss_is_noticed_behind_one_who_knows_of_none(clock: Clock) -> None:
    """A process that begins on an empty Redis gives the window a name, and takes it for a new one."""
    world, (old, dead) = begin(clock, 2, 4)
    world.kill(dead)
    flush(world)
    beat(world.fleet[1])
    assert ask_on(world, old) == 0


def test_one_who_knows_of_more_shuts_the_window_again(clock: Clock) -> None:
    """The first was alone for all it knew; the next has seen one more, who is dead."""
    world, (old,) = begin(clock, 2)
    new, dead = world.start(), world.start()
    world.fleet += [new, dead]
    beat(new, dead, new)
    world.redis.hdel("ns:{reddit}:state", f"rooms:{old.name}")
    assert [dead.take() for _ in range(4)] == [True] * 4
    world.kill(dead)
    flush(world)
    old.take()
    assert world.redis.hexists("ns:{reddit}:state", "whole_at")
    clock.now += 0.1
    beat(new)
    assert ask_on(world, old, new) == 0


def test_one_who_was_forgotten_stands_for_nobody_else(clock: Clock) -> None:
    """The others were not told of it: its return would be counted for another's, who is dead."""
    world, (awake, asleep) = begin(clock, 1, 1, source=LONG)
    clock.now += FORGET_SECONDS + 5.0
    dead = world.start()
    world.fleet.append(dead)
    for _ in range(2):
        give_up_allowances(world, awake, dead)
    assert [dead.take() for _ in range(4)] == [True] * 4
    beat(awake)
    world.kill(dead)
    flush(world)
    assert not asleep.take()
    assert ask_on(world, awake, asleep) == 0
    # What those sent who had left by then is old, but not what the dead one sent.
    clock.now += 700.0
    ask_on(world, awake, asleep)
    assert world.most_in_a_window() <= LIMIT.count


def test_what_one_sent_that_dies_counts_for_a_window_where_nobody_had_sent_before(clock: Clock) -> None:
    """It is the first to send, and Redis knows of no window yet: its share would be given back at once."""
    world, (old, dead) = begin(clock, 0, 0)
    limiter_of(dead.store).process_window("reddit").must_announce(can_fall_back=True)
    beat(dead, old, dead)
    dead.cut_off()
    clock.now += LIMIT.window_seconds + LEASE + 2 * ABSENT_SECONDS
    while dead.take():
        pass
    assert len(world.arrivals) == LIMIT.count
    world.kill(dead)
    for _ in range(2):
        beat(old)
        clock.now += LEASE
    assert ask_on(world, old, seconds=0.9) == 0
    assert ask_on(world, old, seconds=1.0) == LIMIT.count


def test_slots_that_were_written_over_are_missed_until_all_are_back(clock: Clock) -> None:
    """Whoever is the first to use the source again knows of its own slots alone."""
    world, (first, other) = begin(clock, 1, 5)
    world.redis.set(world.slots_key, "nothing of ours")
    beat(first, other)
    clock.now += 0.1
    world.redis.delete(world.slots_key)
    first.mend()
    assert ask_on(world, first, seconds=0.5) == 0
    other.mend()
    assert ask_on(world, first, other) == 0
    assert ask_on(world, first, other) == LIMIT.count
    assert world.most_in_a_window() == LIMIT.count


def test_slots_that_are_written_over_for_long_are_lost_once(clock: Clock) -> None:
    """Each process finds out by itself, again and again: nobody is to wait for another loss each time."""
    world, (first, other) = begin(clock, 0, 5)
    world.redis.set(world.slots_key, "nothing of ours")
    beat(first, other)
    lost = world.redis.hmget("ns:{reddit}:state", "epoch", "lost_at")
    new = world.start()
    for _ in range(3):
        clock.now += 0.1
        first.mend()
        other.mend()
        beat(new)
        limiter_of(new.store).windows.broken.renew()
    assert world.redis.hmget("ns:{reddit}:state", "epoch", "lost_at") == lost


def test_nobody_is_back_while_something_else_stands_over_the_slots(clock: Clock) -> None:
    """Not even who has none to put back: by the time it can be told, it may have taken some by its share."""
    world, (process,) = begin(clock, 0)
    world.redis.set(world.slots_key, "nothing of ours")
    with pytest.raises(Refused, match="WRONGTYPE"):
        run(limiter_of(process.store).restoration.restore("reddit"))


def test_while_keys_are_of_another_type_each_goes_on_by_its_share(clock: Clock) -> None:
    """The process looks once a second whether they are mended, and must not go on with nothing for that."""
    world, fleet = begin(clock, 1, 1, 1)
    world.redis.set(world.slots_key, "nothing of ours")
    beat(*fleet)
    before = len(world.arrivals)
    for tenth in range(120):
        clock.now += 0.1
        for process in fleet:
            process.take()
            if tenth % 10 == 0:
                process.mend()
    assert len(world.arrivals) - before >= 4 * LIMIT.count
    assert world.most_in_a_window() == LIMIT.count
