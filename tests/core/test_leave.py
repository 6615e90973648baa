"""One that gives its part back in good order: others have it by then, whatever it does after that."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from tbcache.limiter import limiter_of
from tbcache.limiter.allotment import Census
from tbcache.limiter.process_window import ProcessWindow
from tbcache.rate_limiter import RateLimiter
from tbcache.settings import BUILT_IN
from tbcache.store import Store
from tbcache.store.constant import ABSENT_SECONDS
from tests.blocking import Membership
from tests.core.world import LEASE, LIMIT, Clock, Process, World, moved_clock
from tests.server import Server, wait_until

#: Then nothing that was sent before is in a window.
OVER = (LIMIT.window_seconds + LEASE) * 1.001


@pytest.fixture
def clock() -> Iterator[Clock]:
    with moved_clock() as clock:
        yield clock


def beat(world: World, *processes: Process) -> None:
    """They say for a while that they are there, so that each has its part."""
    for _ in range(6):
        world.clock.now += ABSENT_SECONDS / 3
        for process in processes:
            process.beat()


def part(world: World) -> tuple[Process, Process]:
    """Two that share the limit, each on its machine, of which one leaves; the other has the whole."""
    leaving, other = world.fleet
    for process in world.fleet:
        # No marker of another machine can be seen.
        limiter_of(process.store).windows.machine.marker.is_alone = lambda source, seconds: True  # type: ignore[method-assign]
    for process in world.fleet:
        # Who only takes what the queue gives it has no part.
        process.take()
    beat(world, leaving, other)
    assert leaving.process_window.share == other.process_window.share == 0.5
    leaving.membership.stop()
    beat(world, other)
    assert other.process_window.share == 1.0
    world.clock.now += OVER
    other.beat()
    return leaving, other


def begin_again(process: Process) -> None:
    """As :meth:`Membership.start` does, but for the thread."""
    limiter = limiter_of(process.store)
    limiter.windows.begin()
    process.membership.core._thread.renew()
    limiter.join.by(process.membership.core.beat)


def take_all(*processes: Process) -> int:
    return sum(process.take() for _ in range(2 * LIMIT.count) for process in processes)


@pytest.mark.parametrize("begins_again", [False, True])
def test_it_takes_nothing_without_redis(clock: Clock, begins_again: bool) -> None:
    """A worker ends in a process that goes on, and Redis goes: it had half of the limit beside the whole."""
    world = World(clock, 2)
    leaving, other = part(world)
    leaving.cut_off()
    other.cut_off()
    if begins_again:
        begin_again(leaving)
    assert take_all(other, leaving) == LIMIT.count
    assert world.most_in_a_window() == LIMIT.count
    assert "has given its part of the limit back" in str(leaving.limiter.check_rate_limit()[1].reason)


def test_it_takes_nothing_either_where_redis_could_not_be_told(clock: Clock) -> None:
    """It beats no more: Redis forgets it in the end, and gives its part away without a word."""
    world = World(clock, 2)
    leaving, other = world.fleet
    assert leaving.take()
    beat(world, leaving, other)
    leaving.cut_off()
    leaving.membership.stop()
    clock.now += OVER
    assert take_all(leaving) == 0


def test_it_has_a_part_again_as_soon_as_redis_gives_it_one(clock: Clock) -> None:
    world = World(clock, 2)
    leaving, other = part(world)
    begin_again(leaving)
    beat(world, leaving, other)
    assert leaving.process_window.share == 0.5
    leaving.cut_off()
    clock.now += OVER
    assert take_all(leaving) == LIMIT.count / 2


def test_redis_knows_of_it_before_it_takes_anything_once_more(clock: Clock) -> None:
    """It may be cut off right after that, and go on by a part that nobody keeps for it."""
    world = World(clock, 2)
    leaving, _ = part(world)
    begin_again(leaving)
    assert world.redis.hget("ns:{reddit}:state", f"share:{leaving.name}") is None
    leaving.take()
    assert world.redis.zscore("ns:{reddit}:fleet", leaving.name) is not None
    assert leaving.process_window.is_member


def test_one_that_joins_again_while_it_leaves_has_joined(
    server: Server, store_for: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One worker of a process ended as a fetch began: each ask of the process was refused for good."""
    store = store_for(server)
    membership, limiter = Membership(store).core, RateLimiter(BUILT_IN["reddit"], store)
    membership.start()
    assert limiter.check_rate_limit()[0]
    stop = membership._thread.stop

    def stop_as_another_joins() -> None:
        stop()
        membership.start()

    given_back: list[str] = []

    async def give_back(source: str) -> None:
        given_back.append(source)

    with monkeypatch.context() as patch:
        patch.setattr(membership._thread, "stop", stop_as_another_joins)
        patch.setattr(membership.leaving, "leave", give_back)
        membership.stop()
    wait_until(lambda: limiter_of(store).process_window("reddit").is_member)
    assert limiter.check_rate_limit()[0]
    # It gives nothing back that it has been given since.
    assert given_back == []
    assert server.client.zscore(store.keys.fleet("reddit"), limiter_of(store).member) is not None
    assert not limiter_of(store).windows.machine.marker_of("elsewhere-1.x").is_alone("reddit", 0.0)
    membership.stop()


def test_it_takes_what_is_free_while_redis_is_there(clock: Clock) -> None:
    """Redis counts what all take, also those that have no part without it."""
    world = World(clock, 2)
    leaving, other = part(world)
    assert not leaving.take()
    # It is asked for what is free.
    other.beat(gives_up_allowances=True)
    assert take_all(leaving) == LIMIT.count
    assert world.most_in_a_window() == LIMIT.count


def test_it_stands_for_no_member_after_a_loss(clock: Clock) -> None:
    """The window was taken for whole though the one that had sent what it held was not back."""
    world = World(clock, 2)
    leaving, other = part(world)
    assert take_all(other) == LIMIT.count
    # It learns of the window once more.
    assert not leaving.take()
    other.cut_off()
    world.redis.flushall()
    clock.now += ABSENT_SECONDS / 2
    assert take_all(leaving) == 0
    assert not world.redis.hgetall("ns:{reddit}:back")


def test_a_purse_that_comes_after_that_is_another_s(clock: Clock) -> None:
    """Its answer was read after the money had been given back."""
    window = World(clock, 1).fleet[0].process_window
    window.leave()
    window.receive_purse(5, 1, 0)
    assert window.purse.left(1) is None


def test_no_beat_comes_after_it_has_left(clock: Clock) -> None:
    """A round was under way: nobody would beat for the part that Redis keeps free, for five minutes."""
    world = World(clock, 2)
    leaving, other = part(world)
    leaving.beat()
    assert world.redis.zscore("ns:{reddit}:fleet", leaving.name) is None
    assert leaving.process_window.has_left
    beat(world, other)
    assert other.process_window.share == 1.0


@pytest.mark.parametrize("begins_again", [False, True])
def test_what_a_beat_brings_that_is_sent_amid_the_leave_is_given_back_by_then(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, begins_again: bool
) -> None:
    """Nine of six were sent: the last beat of a round made it a member by its own word alone."""
    world = World(clock, 2)
    leaving, core = world.fleet[0], world.fleet[0].membership.core
    leave, receive, late = core.leaving.leave, leaving.process_window.receive, []

    async def leave_amid_a_beat(source: str) -> None:
        with monkeypatch.context() as patch:
            # It has looked whether the thread is to stop just before that.
            patch.setattr(core._thread, "_stopping", threading.Event())
            patch.setattr(
                leaving.process_window, "receive", lambda *args, **named: late.append((args, named))
            )
            await core.beat(source)
        await leave(source)

    monkeypatch.setattr(core.leaving, "leave", leave_amid_a_beat)
    leaving, other = part(world)
    if begins_again:
        begin_again(leaving)
    ((args, named),) = late
    receive(*args, **named)
    assert leaving.process_window.has_left
    leaving.cut_off()
    other.cut_off()
    assert take_all(other, leaving) == LIMIT.count


def test_what_a_beat_brings_that_was_under_way_is_given_back_by_then(
    server: Server, store_for: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answer was read after the part had been given back: the process went by it beside others. It may be
    a beat of a loop that is not run any more, so nobody waits for it."""
    store, receive, may_read = store_for(server), ProcessWindow.receive, threading.Event()
    membership, window = Membership(store), limiter_of(store).process_window("reddit")
    is_read = threading.Event()

    def receive_late(*args: object, **named: object) -> None:
        is_read.set()
        assert may_read.wait(20)
        receive(*args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(ProcessWindow, "receive", receive_late)
    beating = threading.Thread(target=membership.beat, args=["reddit"])
    beating.start()
    assert is_read.wait(20)
    membership.stop()
    assert not server.client.exists(store.keys.fleet("reddit"))
    may_read.set()
    beating.join(20)
    assert window.has_left
    assert window.census == Census()
    assert not window.is_member
