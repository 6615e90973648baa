"""One that gives its part back in good order: others have it by then, whatever it does after that."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import dramatiq
import pytest

from tbcache import get_rate_limiter, get_usage_monitor
from tbcache.io import run
from tbcache.io.current import BLOCKING
from tbcache.limiter import limiter_of
from tbcache.limiter.allotment import Census
from tbcache.limiter.ask import Terms
from tbcache.limiter.process_window import ProcessWindow
from tbcache.limiter.script import BEAT, FILL
from tbcache.monitoring.heartbeat import Heartbeat
from tbcache.monitoring.monitor import monitor_of
from tbcache.queue import get_broker
from tbcache.rate_limiter import RateLimiter
from tbcache.settings import BUILT_IN, Settings
from tbcache.store import Store, get_store
from tbcache.store.constant import ABSENT_SECONDS
from tbcache.store.script import Script
from tbcache.store.wire import day_of
from tests.blocking import Membership
from tests.core.world import LEASE, LIMIT, Clock, Process, World, moved_clock
from tests.server import Server, free_port, wait_until

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


def together(clock: Clock) -> tuple[World, bytes | None]:
    """Two that share the limit, and the epoch that they know."""
    world = World(clock, 2)
    for process in world.fleet:
        process.take()
    beat(world, *world.fleet)
    return world, world.redis.hget("ns:{reddit}:state", "epoch")


def begin_again(process: Process) -> None:
    """As :meth:`Membership.start` does, but for the thread."""
    assert process.membership.core._begin()


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


def test_one_that_has_never_reached_redis_begins_again_without_it(store_for: Callable[..., Store]) -> None:
    """It had no part to give back: a worker ended in a bot that runs while there is no Redis."""
    server = Server()
    server.port = free_port()
    store = store_for(server)
    membership, limiter = Membership(store).core, RateLimiter(BUILT_IN["reddit"], store)
    for _ in range(2):
        membership.start()
        assert limiter.check_rate_limit()[0]
        membership.stop()


def test_what_a_program_without_redis_has_spent_stays_spent() -> None:
    """It had its whole daily budget once more."""
    store = Store(Settings.load({}))
    membership, window = Membership(store).core, limiter_of(store).process_window("reddit")
    membership.start()
    window.purse.receive(5, 1, 0)
    membership.stop()
    assert window.purse.left(1) == 5
    store.close()


@pytest.mark.parametrize("is_overtaken", [False, True])
def test_an_answer_that_is_read_after_the_leave_is_none_of_the_next_stay(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, is_overtaken: bool
) -> None:
    """It said when Redis had heard of it last, and Redis had forgotten it by then: all were shut as after a
    loss of data. So it was where the ask came only after the leave."""
    world, epoch = together(clock)
    leaving, other = world.fleet
    ask, left = leaving.store.ask, []

    async def leave_amid(script: Script[Any, Any], call: Any) -> Any:
        if left:
            return await ask(script, call)
        left.append(True)
        if not is_overtaken:
            answer = await ask(script, call)
            leaving.membership.stop()
            return answer
        leaving.membership.stop()
        return await ask(script, call)

    with monkeypatch.context() as patch:
        patch.setattr(leaving.store, "ask", leave_amid)
        leaving.take()
    assert left
    begin_again(leaving)
    beat(world, leaving, other)
    assert leaving.process_window.is_member
    assert world.redis.hget("ns:{reddit}:state", "epoch") == epoch


def test_who_leaves_waits_a_moment_for_what_it_has_asked(clock: Clock) -> None:
    """An ask that is carried out after the leave would look as if Redis had lost its data."""
    leaving, _ = World(clock, 2).fleet
    assert leaving.take()
    now = clock.now
    leaving.membership.stop()
    assert clock.now == now
    begin_again(leaving)
    # As with a patience of four seconds.
    leaving.process_window.ask("late", 1, clock.now + 3.2)
    leaving.membership.stop()
    assert 3.2 <= clock.now - now < 3.3


def test_who_leaves_waits_no_longer_than_for_the_answer(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    (leaving,) = World(clock, 1).fleet
    assert leaving.take()
    now = clock.now
    leaving.process_window.ask("late", 1, now + 3.2)

    async def answer_meanwhile(seconds: float) -> None:
        clock.now += seconds
        leaving.process_window.answered("late")

    # The clock's fixture changes it as well, and ends first: nobody would sleep any more.
    with monkeypatch.context() as patch:
        patch.setattr(BLOCKING, "sleep", answer_meanwhile)
        leaving.membership.stop()
    assert clock.now - now < 0.1


def test_a_source_that_it_asks_for_first_in_a_later_stay_is_as_any_other(
    private_server: Server, store_for: Callable[..., Store]
) -> None:
    """One that had left once was refused at each, for as long as Redis was away, though it had given nothing
    of it back."""
    store = store_for(private_server)
    membership, limiter = Membership(store).core, RateLimiter(BUILT_IN["reddit"], store)
    membership.start()
    assert limiter.check_rate_limit()[0]
    membership.stop()
    membership.start()
    assert limiter.check_rate_limit()[0]
    private_server.kill()
    wait_until(lambda: not limiter_of(store).store.is_available)
    assert RateLimiter(BUILT_IN["news"], store).check_rate_limit()[0]
    membership.stop()


def test_one_that_begins_to_beat_while_another_thread_leaves_joins_with_its_next_beat(
    server: Server, store_for: Callable[..., Store]
) -> None:
    """A worker that booted just then was on the list, and never in the fleet."""
    monitor = monitor_of(store_for(server))
    with limiter_of(monitor._store).stays.leaving():
        monitor.keep_beating("worker")
        assert not monitor._presence._membership.is_joined
    wait_until(lambda: monitor._presence._membership.is_joined)
    monitor.leave()


def test_nothing_is_taken_for_lost_where_the_answer_to_its_leave_was_lost(clock: Clock) -> None:
    """It said when Redis had heard of it last, and Redis had forgotten it: all were shut as after a loss."""
    world, epoch = together(clock)
    leaving, other = world.fleet
    leaving.store.is_unconfirmed = True
    leaving.membership.stop()
    leaving.store.is_unconfirmed = False
    assert world.redis.zscore("ns:{reddit}:fleet", leaving.name) is None
    begin_again(leaving)
    leaving.mend()
    beat(world, leaving, other)
    assert world.redis.hget("ns:{reddit}:state", "epoch") == epoch
    assert leaving.process_window.is_member


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


def test_it_joins_again_once_it_has_left_and_not_amid_that(
    server: Server, store_for: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One worker of a process ended as a fetch began: each ask of the process was refused for good, or the
    marker said that it is over, or all sources were shut as if Redis had lost its data."""
    store = store_for(server)
    membership, limiter = Membership(store).core, RateLimiter(BUILT_IN["reddit"], store)
    membership.start()
    assert limiter.check_rate_limit()[0]
    stop, leave = membership._thread.stop, membership.leaving.leave
    is_joined: list[bool] = []

    def joins() -> None:
        membership.start()
        is_joined.append(membership.is_joined)

    def stop_as_another_joins() -> None:
        stop()
        joins()

    async def leave_as_another_joins(source: str) -> None:
        joins()
        await leave(source)
        joins()

    with monkeypatch.context() as patch:
        patch.setattr(membership._thread, "stop", stop_as_another_joins)
        patch.setattr(membership.leaving, "leave", leave_as_another_joins)
        membership.stop()
    assert is_joined == [False] * 3
    fleet, looking = store.keys.fleet("reddit"), limiter_of(store).windows.machine.marker_of("elsewhere-1.x")
    assert server.client.zscore(fleet, limiter_of(store).member) is None
    assert looking.is_alone("reddit", 0.0)
    membership.start()
    assert limiter.check_rate_limit()[0]
    assert limiter_of(store).process_window("reddit").is_member
    assert server.client.zscore(fleet, limiter_of(store).member) is not None
    assert not looking.is_alone("reddit", 0.0)
    membership.stop()


def test_one_that_is_stopped_as_it_begins_joins_with_the_next_ask(
    server: Server, store_for: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its thread ran without a stay, and was taken for one that beats."""
    store = store_for(server)
    membership = Membership(store).core
    begin = membership._begin

    def begin_and_stop() -> bool:
        assert begin()
        membership.stop()
        return True

    with monkeypatch.context() as patch:
        patch.setattr(membership, "_begin", begin_and_stop)
        membership.start()
    assert not membership.is_joined
    membership.start()
    assert membership.is_joined
    assert RateLimiter(BUILT_IN["reddit"], store).check_rate_limit()[0]
    assert limiter_of(store).process_window("reddit").is_member
    membership.stop()


def test_who_waits_for_a_beat_is_let_in_after_it_has_joined_again(
    server: Server, store_for: Callable[..., Store]
) -> None:
    """A first fetch stood still for good, and each later one of the process behind it."""
    store, done = store_for(server, timeout=20.0), threading.Event()
    membership = Membership(store).core
    membership.start()

    async def hold() -> None:
        async with membership._beating:
            waiting.start()
            wait_until(lambda: membership._beating._waiting)
            membership.stop()
            membership.start()

    def fetch() -> None:
        RateLimiter(BUILT_IN["reddit"], store).check_rate_limit()
        done.set()

    waiting = threading.Thread(target=fetch, daemon=True)
    run(hold())
    assert done.wait(20)
    membership.stop()


def test_who_beats_by_hand_joins_again_with_the_next_beat(
    server: Server, store_for: Callable[..., Store]
) -> None:
    """It was on the list of the fleet, and took nothing without Redis."""
    store, at = store_for(server), datetime.now(UTC)
    monitor, limiter = monitor_of(store), RateLimiter(BUILT_IN["reddit"], store)
    window = limiter_of(store).process_window("reddit")
    assert limiter.check_rate_limit()[0]
    for _ in range(2):
        monitor.beat("client", started_at=at)
        assert window.is_member
        monitor.leave()
        assert not window.is_member
        assert window.has_left


def test_the_last_beat_of_a_heartbeat_joins_no_more(server: Server, store_for: Callable[..., Store]) -> None:
    """It was under way for longer than one that leaves waits for it: nobody would beat for its part."""
    store = store_for(server)
    monitor, limiter = monitor_of(store), RateLimiter(BUILT_IN["reddit"], store)
    presence, is_under_way, is_left = monitor._presence, threading.Event(), threading.Event()
    tell, rounds = presence._tell, list[Heartbeat]()

    def tell_late(heartbeat: Heartbeat) -> None:
        tell(heartbeat)
        rounds.append(heartbeat)
        if len(rounds) == 2:
            is_under_way.set()
            assert is_left.wait(20)

    presence._tell = tell_late  # type: ignore[method-assign]
    monitor.keep_beating("client")
    assert limiter.check_rate_limit()[0]
    thread = presence._beater._thread
    assert thread is not None
    assert is_under_way.wait(20)
    monitor.leave()
    is_left.set()
    thread.join(20)
    assert len(rounds) == 2
    assert not server.client.exists(store.keys.fleet("reddit"))
    assert not presence._membership.is_joined


def test_an_ask_says_nothing_of_a_stay_that_ends_as_it_begins(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was not waited for, as it was recorded only after it had read when Redis had heard of it last."""
    world = World(clock, 1)
    (leaving,) = world.fleet
    assert leaving.take()
    beat(world, leaving)
    limiter, said = limiter_of(leaving.store), []
    terms = limiter._terms

    def terms_later(source: str, at: float) -> Terms:
        said.append(limiter.process_window(source).in_doubt_until > clock.now)
        return terms(source, at)

    monkeypatch.setattr(limiter, "_terms", terms_later)
    leaving.take()
    assert said == [True]


def test_one_that_goes_on_joins_with_its_next_ask(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """For ten seconds it was in no census: where Redis lost its data, the others did not wait for it."""
    monkeypatch.setenv("REDIS_URL", server.url)
    monkeypatch.setenv("TBCACHE_REDIS_TIMEOUT", "10")
    limiter, store = get_rate_limiter("reddit"), get_store()
    for _ in range(2):
        assert limiter.check_rate_limit()[0]
        assert server.client.zscore(store.keys.fleet("reddit"), limiter_of(store).member) is not None
        get_usage_monitor().leave()
        assert not server.client.exists(store.keys.fleet("reddit"))


def test_a_worker_that_goes_on_joins_with_its_next_job(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bot beside it ended: it was on no list, and in no census, for good."""
    monkeypatch.setenv("REDIS_URL", server.url)
    monkeypatch.setenv("TBCACHE_REDIS_TIMEOUT", "10")
    broker, fleet = get_broker(), get_store().keys.fleet("reddit")
    is_joined: list[bool] = []

    @dramatiq.actor(broker=broker, source="reddit")
    def joined() -> None:
        is_joined.append(get_usage_monitor()._presence._membership.is_joined)

    worker = dramatiq.Worker(broker, worker_threads=1)
    worker.start()
    for count in (1, 2):
        joined.send()
        wait_until(lambda count=count: len(is_joined) == count)  # type: ignore[misc]
        wait_until(lambda: server.client.zcard(fleet) == 1)
        get_usage_monitor().leave()
    worker.stop()
    assert is_joined == [True, True]
    assert not server.client.exists(fleet)


def test_the_end_of_a_program_leaves_once(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """It left as often as it had joined: after 40 times the end took nine seconds."""
    monkeypatch.setenv("REDIS_URL", server.url)
    monkeypatch.setenv("TBCACHE_REDIS_TIMEOUT", "10")
    before = atexit._ncallbacks()
    for _ in range(3):
        assert get_rate_limiter("reddit").check_rate_limit()[0]
        get_usage_monitor().leave()
    assert get_usage_monitor()._presence._membership._asked_at == {}
    more = atexit._ncallbacks() - before
    assert get_rate_limiter("reddit").check_rate_limit()[0]
    assert atexit._ncallbacks() - before == more


def test_nobody_joins_as_the_interpreter_ends(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread of the user's that goes on would be taken for one that is there, until it is found dead."""
    monkeypatch.setenv("REDIS_URL", server.url)
    monkeypatch.setenv("TBCACHE_REDIS_TIMEOUT", "10")
    limiter, monitor = get_rate_limiter("reddit"), get_usage_monitor()
    assert limiter.check_rate_limit()[0]
    monitor._end()
    assert limiter.check_rate_limit()[0]
    assert not monitor._presence.is_kept
    assert not server.client.exists(get_store().keys.fleet("reddit"))


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
    process = World(clock, 1).fleet[0]
    stay, window = limiter_of(process.store).stays.current, process.process_window
    process.membership.stop()
    window.receive_purse(5, 1, 0, stay)
    assert window.purse.left(1) is None
    begin_again(process)
    window.receive_purse(5, 1, 0, stay)
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
    receive, late = leaving.process_window.receive, []
    monkeypatch.setattr(leaving.process_window, "receive", lambda *args, **named: late.append((args, named)))
    leaving.take()
    monkeypatch.setattr(leaving.process_window, "receive", receive)
    core.stop()
    if begins_again:
        begin_again(leaving)
    for args, named in late:
        receive(*args, **named)
    assert leaving.process_window.has_left
    assert not leaving.process_window.is_member


@pytest.mark.parametrize("script", [BEAT, FILL])
def test_what_is_asked_for_as_it_leaves_is_given_back(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, script: Script[Any, Any]
) -> None:
    """A task of a loop was about to ask as another one left: Redis kept half of the limit for five minutes,
    and half of the budget until midnight."""
    world = World(clock, 2)
    leaving, other = world.fleet
    for process in world.fleet:
        process.process_window.purse.configure(1_000_000, 1000)
        process.take()
    beat(world, leaving, other)
    ask, left = leaving.store.ask, []

    async def leave_and_ask(asked: Script[Any, Any], call: Any) -> Any:
        if asked is script and not left:
            left.append(leaving.membership.stop())
        return await ask(asked, call)

    with monkeypatch.context() as patch:
        patch.setattr(leaving.store, "ask", leave_and_ask)
        leaving.beat()
    assert left
    today = leaving.store.clock.today
    assert world.redis.zscore("ns:{reddit}:fleet", leaving.name) is None
    assert not world.redis.hexists(leaving.store.keys.purses("reddit", today), leaving.name)
    clock.now += OVER
    beat(world, other)
    assert other.process_window.share == 1.0
    assert other.process_window.purse.left(day_of(today)) == 1_000_000


@pytest.mark.parametrize("begins_again", [False, True])
def test_a_source_that_it_first_asks_for_after_that_is_left_as_well(clock: Clock, begins_again: bool) -> None:
    """Twelve of six: it was in no beat before, and nobody had told its window."""
    world = World(clock, 2)
    leaving, other = world.fleet
    for process in world.fleet:
        limiter_of(process.store).windows.machine.marker.is_alone = lambda source, seconds: True  # type: ignore[method-assign]
    leaving.membership.stop()
    other.take()
    beat(world, other)
    assert not leaving.take()
    other.beat(gives_up_allowances=True)
    assert leaving.take()
    clock.now += OVER
    other.beat()
    if begins_again:
        begin_again(leaving)
    leaving.cut_off()
    other.cut_off()
    assert take_all(leaving) == 0
    assert take_all(other) == LIMIT.count


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
