"""What an operator has set of a source holds however its slots are asked for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tbcache.io import run
from tbcache.models import Limit
from tbcache.store.order import bound_of, set_bound
from tbcache.store.said import Said
from tests.core.test_loss import beat, begin, give_up_allowances
from tests.core.world import LIMIT, Clock, Process, World, moved_clock

HALF = Limit(LIMIT.count // 2, LIMIT.window_seconds)


@pytest.fixture
def clock() -> Iterator[Clock]:
    with moved_clock() as clock:
        yield clock


def set_limits(world: World, *limits: Limit) -> None:
    run(set_bound(world.producer.store, world.source.name, Said(bound_of(limits), 0, "ada")))
    beat(*world.fleet, *world.fleet)
    # Nobody wants the allowances any more, and what was taken has left the window.
    world.clock.now += LIMIT.window_seconds + 0.5
    beat(*world.fleet, *world.fleet)


def ask(process: Process, window_seconds: float = LIMIT.window_seconds, seconds: float = 0.0) -> int:
    """How many slots it gets that asks for a window of its own, which is wide; the last after so long."""
    begun, count = process.world.clock.now, 0
    while True:
        count += sum(process.limiter.check_rate_limit(40, window_seconds)[0] for _ in range(LIMIT.count))
        if process.world.clock.now >= begun + seconds:
            return count
        process.world.clock.now += 0.1


def test_it_holds_for_a_window_that_a_call_names_itself(clock: Clock) -> None:
    """A name that no setting has can be asked for in no other way."""
    world, (one, other) = begin(clock, 1, 1)
    set_limits(world, HALF)
    assert ask(one) + ask(other) == HALF.count
    assert one.limiter.get_status(40, LIMIT.window_seconds).allowed == HALF.count
    clock.now += LIMIT.window_seconds + 0.1
    give_up_allowances(world)
    assert ask(one, 0.001) == HALF.count, "beside a window of which the operator has said nothing"
    clock.now += LIMIT.window_seconds + 0.1
    set_limits(world)
    assert ask(one) == LIMIT.count


def test_a_look_at_one_limit_alone_has_the_figures_of_that_one(clock: Clock) -> None:
    """Of one that has room it would say otherwise that it has none, as another is used up."""
    world, (one, _) = begin(clock, 1, 1)
    set_limits(world, Limit(3, 3600.0))
    assert ask(one) == 1
    clock.now += 1.0
    give_up_allowances(world)
    wide, tight = (run(one.limiter.core.look_at(limit)) for limit in (LIMIT, Limit(3, 3600.0)))
    assert (wide.allowed, wide.used, wide.remaining, wide.is_limited) == (
        LIMIT.count,
        1,
        LIMIT.count - 1,
        False,
    )
    assert (tight.allowed, tight.remaining, tight.is_limited) == (3, 0, True)
    assert wide.reset_at < tight.reset_at


def test_it_holds_for_such_a_window_while_redis_is_away(clock: Clock) -> None:
    """Each goes on with its part of what the operator has set, and not of what the call says."""
    world, (one, other) = begin(clock, 1, 1)
    set_limits(world, HALF)
    one.cut_off()
    other.cut_off()
    assert ask(one) + ask(other) == 2 * (HALF.count // 2)
    # Its share as a whole, once everything that stood in the window has left it.
    clock.now += 3 * LIMIT.window_seconds
    assert ask(one) == HALF.count // 2
