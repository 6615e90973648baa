"""The end of a slot that Redis could not be told of, or never answered for, once Redis is back."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import dramatiq
import pytest

from tbcache.admission import Ask, Go, Grant, Settlement
from tbcache.admission.script import SETTLE, TURN
from tbcache.limiter import limiter_of
from tbcache.limiter.allotment import Allotment
from tbcache.models import FetchRequest, Limit
from tbcache.models.error import RateLimited
from tbcache.models.price import Bill
from tbcache.monitoring import UsageMonitor
from tbcache.queue import PacingBroker
from tbcache.queue.job import actor_name
from tbcache.queue.script import queue_keys
from tbcache.rate_limiter import RateLimiter
from tbcache.settings import Settings
from tbcache.store import Store
from tbcache.store.script import Script
from tbcache.store.wire import MICROS
from tests.blocking import Admission
from tests.core import world as world_module
from tests.core.conftest import TWITTER, ask
from tests.core.world import DEADLINE, SOURCE, World, moved_clock
from tests.job import message
from tests.proxy import Proxy
from tests.server import Server, wait_until

DONE = Settlement(payload=b"1", pages=1)


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    proxy = Proxy(server.port).start()
    yield proxy
    proxy.close()


class Process:
    """One process on the far side of a proxy, which Redis has heard of."""

    def __init__(self, settings: Settings) -> None:
        self.store = Store(settings)
        self.admission = Admission(self.store, settings, UsageMonitor(self.store, settings))
        self.limiter = RateLimiter(TWITTER, self.store)
        self.limiter.check_rate_limit()

    def go(self, symbol: str) -> Go:
        verdict = self.admission.admit(ask(symbol))
        assert isinstance(verdict, Go)
        return verdict

    def come_back(self, proxy: Proxy) -> None:
        proxy.mend()
        wait_until(lambda: self.store.is_available, 20)

    def forgo_all_fallback(self) -> None:
        """Have no part of the limit while Redis is away."""
        window = limiter_of(self.store).process_window("twitter")
        window.receive(Allotment(0.0, 0.5, {}, TWITTER.limits, 2, 0.0), window.report()[1])


@pytest.fixture
def process(proxy: Proxy) -> Iterator[Process]:
    """One to which Redis is away where it refuses, and not where the machine is busy."""
    yield from running(proxy, TBCACHE_REDIS_TIMEOUT="1")


@pytest.fixture
def hasty(proxy: Proxy) -> Iterator[Process]:
    """One that waits no longer for an answer than usual, as that is lost."""
    yield from running(proxy)


def running(proxy: Proxy, **variables: str) -> Iterator[Process]:
    process = Process(Settings.load({"REDIS_URL": proxy.url, **variables}))
    yield process
    process.store.close()


def slots(server: Server) -> tuple[int, int]:
    """How many slots Redis counts, and how many of them are held."""
    (name,) = server.client.keys("*{twitter}:slots")
    seconds, micros = server.client.time()
    held = server.client.zcount(name, f"({seconds * MICROS + micros}", "+inf")
    return int(server.client.zcard(name)), int(held)


@pytest.mark.parametrize("way", ["answered", "unused", "page", "slot"])
def test_what_was_sent_alone_is_held_no_longer_than_its_request(
    server: Server, proxy: Proxy, process: Process, way: str
) -> None:
    """Redis was told at its return that it is held: the fleet would miss each such slot for a whole lease."""
    with ExitStack() as request:
        proxy.refuse()
        if way == "slot":
            request.enter_context(process.limiter.slot())
        else:
            grant = process.go("A").grant
        process.come_back(proxy)
        assert slots(server) == (2, 1)
        if way == "page":
            process.admission.turn(grant)
        elif way != "slot":
            process.admission.settle(grant, DONE if way == "answered" else Settlement())
    assert slots(server) == (1 if way == "unused" else 2, 0)


@pytest.mark.parametrize("way", ["answered", "unused", "page", "slot"])
def test_what_ends_while_redis_is_away_is_held_no_longer_once_it_is_back(
    server: Server, proxy: Proxy, process: Process, way: str
) -> None:
    """Redis had granted it, and nobody could say that it is over."""
    with ExitStack() as request:
        if way == "slot":
            request.enter_context(process.limiter.slot())
        else:
            grant = process.go("A").grant
        assert slots(server) == (2, 1)
        proxy.refuse()
        if way == "page":
            process.forgo_all_fallback()
            process.admission.turn(grant)
        elif way != "slot":
            process.admission.settle(grant, DONE if way == "answered" else Settlement())
    process.come_back(proxy)
    assert slots(server) == (1 if way == "unused" else 2, 0)


def test_what_was_sent_alone_after_its_answer_was_lost_counts_from_when_it_was_sent(
    server: Server, proxy: Proxy, hasty: Process
) -> None:
    """Redis has granted it earlier, and as over: it would leave the window before its request does."""
    proxy.swallow()
    assert hasty.limiter.check_rate_limit()[0]
    window = limiter_of(hasty.store).process_window("twitter")
    (sent,) = window._fallback
    hasty.come_back(proxy)
    (name,) = server.client.keys("*{twitter}:slots")
    seconds, micros = server.client.time()
    age = dict(window.ages())[sent]
    stamp = server.client.zscore(name, sent)
    assert stamp is not None
    assert stamp >= seconds * MICROS + micros - age * MICROS


@pytest.mark.parametrize("way", ["check_rate_limit", "wait_if_needed", "hold", "admit", "turn"])
def test_a_slot_whose_answer_was_lost_is_given_back_as_redis_returns(
    server: Server, proxy: Proxy, hasty: Process, way: str
) -> None:
    """Redis has granted it and nobody knows: it would count for a window or a lease, and nothing is sent."""
    # The server knows the script: an answer that it does not would be swallowed.
    grant = hasty.admission.turn(hasty.go("A").grant)
    assert isinstance(grant, Grant)
    hasty.forgo_all_fallback()
    before = slots(server)[0]
    proxy.swallow()
    if way == "admit":
        hasty.admission.admit(ask("B"))
    elif way == "turn":
        hasty.admission.turn(grant)
    elif way == "check_rate_limit":
        assert not hasty.limiter.check_rate_limit()[0]
    else:
        wait = hasty.limiter.hold if way == "hold" else hasty.limiter.wait_if_needed
        with pytest.raises(RateLimited):
            wait(max_wait=0.0)
    assert slots(server)[0] == before + 1
    hasty.come_back(proxy)
    assert slots(server)[0] == before


def test_a_job_that_nobody_heard_of_is_handed_out_again_as_redis_returns(
    server: Server, proxy: Proxy, hasty: Process, settings: Settings
) -> None:
    """It would wait until its claim lapses, count as one more death of its worker, and its slot be held."""
    broker = PacingBroker(hasty.store, settings, [TWITTER])
    broker.declare_queue("twitter")
    broker.threads.open(1)
    dramatiq.actor(actor_name=actor_name("twitter"), queue_name="twitter", broker=broker)(lambda **_: None)
    consumer = broker.consume("twitter", timeout=1)
    # The server knows the script.
    assert next(consumer) is None
    broker.enqueue(message(FetchRequest("twitter", "A"), "interactive"))
    before, keys = slots(server)[0], queue_keys(hasty.store.keys, "twitter")
    proxy.swallow()
    # It asks, whether it has heard the bell or not.
    consumer._alarm.ring()
    assert next(consumer) is None
    # What the answer would have named as its next cause is not known.
    assert consumer._alarm._ask_at == -math.inf
    hasty.come_back(proxy)
    # The consumer may find Redis away once more. Were the job left until its claim lapses, that were a death.
    wait_until(lambda: next(consumer) is not None, seconds=60)
    assert slots(server) == (before + 1, 1)
    assert server.client.zcard(keys.claims) == 1
    assert not server.client.exists(keys.deaths)


def test_a_slot_whose_answer_was_lost_counts_once_where_it_was_sent_alone_instead(
    server: Server, proxy: Proxy, hasty: Process
) -> None:
    """It is the same slot by its name: to give it back would forget a request that was sent."""
    before = slots(server)[0]
    proxy.swallow()
    grant = hasty.go("A").grant
    assert grant.is_fallback
    hasty.admission.settle(grant, DONE)
    hasty.come_back(proxy)
    assert slots(server) == (before + 1, 0)


def test_what_was_answered_while_redis_was_away_counts_from_then_on() -> None:
    """From the return on it would count for as much longer as Redis was away."""
    with moved_clock() as clock:
        world = World(clock)
        first = world.fleet[0]
        first.admit("A")
        first.cut_off()
        first.settle()
        answered_at = clock.now
        clock.now += 1.5
        first.mend()
        ((_, stamp),) = world.redis.zrange(first.store.keys.slots("reddit"), 0, -1, withscores=True)
        # By another clock it may be younger, by 0.1% of its age.
        assert 0 <= stamp / MICROS - answered_at <= 1.5 * 0.0011


@pytest.mark.parametrize("end", ["settle", "give up", "turn"])
def test_a_slot_that_ends_as_another_thread_puts_it_back_is_held_no_longer(end: str) -> None:
    """Redis has carried out the end, and is told that the slot is held before the answer is read."""
    with moved_clock() as clock:
        world = World(clock, 1)
        (bot,) = world.fleet
        run = bot.store._run

        async def run_and_restore(script: Script[Any, Any], packed: Sequence[Any]) -> Any:
            answer = await run(script, packed)
            if script in (SETTLE, TURN):
                bot.store._run = run  # type: ignore[method-assign]
                await limiter_of(bot.store).restoration.restore("reddit")
            return answer

        bot.beat()
        bot.admit("A")
        bot.store._run = run_and_restore  # type: ignore[method-assign]
        if end == "give up":
            bot.admission.settle(bot.loads.pop(), Settlement())
        else:
            bot.settle() if end == "settle" else bot.turn()
        bot.beat()
        bot.end()
        stamps = world.redis.zrange(world.slots_key, 0, -1, withscores=True)
        assert all(stamp <= clock.now * MICROS for _, stamp in stamps)
        assert len(stamps) == {"settle": 1, "give up": 0, "turn": 2}[end]


def test_nothing_that_was_asked_before_is_carried_out_after_a_return() -> None:
    """A slot that Redis grants only then would be held by nobody, and Redis would have heard of a process
    later than that process knows."""
    with moved_clock() as clock:
        world = World(clock)
        first, asked_at = world.fleet[0], clock.now
        first.take()
        first.ask_unconfirmed(0)
        first.mend()
        assert not first.is_away
        assert clock.now >= asked_at + DEADLINE


def test_who_has_taken_nothing_does_not_end_the_slots_of_others_by_its_return() -> None:
    """One that only reads knows of no window: its return must not shorten a day to a minute."""
    with moved_clock() as clock:
        world = World(clock, 2, replace(SOURCE, limits=(Limit(6, 600.0),)))
        bot, idle = world.fleet
        for process in (bot, idle, bot):
            process.beat()
        for _ in range(8):
            bot.take()
            idle.beat(gives_up_allowances=True)
            clock.now += 0.01
        bot.cut_off()
        idle.cut_off()
        idle.limiter.get_status()
        clock.now += 1.0
        bot.take()
        for process in world.fleet:
            process.mend()
        for _ in range(61):
            for process in world.fleet:
                process.beat()
            clock.now += 1.0
        for _ in range(12):
            bot.take()
            idle.beat(gives_up_allowances=True)
            clock.now += 0.01
        assert 4 <= world.most_in_a_window() <= 6


def test_a_slot_that_is_held_for_long_outlives_one_that_is_over_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The key of all slots lives for as long as the one that is held for longest."""
    monkeypatch.setattr(world_module, "LEASE", 15.0)
    with moved_clock() as clock:
        world = World(clock, 1, replace(SOURCE, limits=(Limit(2, 20.0),)))
        (bot,) = world.fleet
        limiter = RateLimiter(world.source, bot.store, 15.0)
        bot.beat()
        with limiter.slot():
            bot.take()
            while clock.now < world.arrivals[0] + 11.4:
                clock.now += 0.15
                bot.beat()
            bot._send()
        while clock.now < world.arrivals[0] + 21.2:
            clock.now += 0.15
            bot.beat()
        bot.take()
        bot.take()
        assert world.most_in_a_window() == 2


def test_a_slot_that_was_sent_is_told_of_though_its_own_window_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another process may look at a longer window over the same slots."""
    monkeypatch.setattr(world_module, "LEASE", 15.0)
    with moved_clock() as clock:
        world = World(clock, 2, replace(SOURCE, limits=(Limit(6, 2.0),)))
        bot, guard = world.fleet

        def take_for_a_minute() -> bool:
            is_allowed, _ = guard.limiter.check_rate_limit(6, 60.0)
            if is_allowed:
                guard._send()
            return is_allowed

        for process in (bot, guard, bot):
            process.beat()
        take_for_a_minute()
        for number in range(5):
            guard.beat(gives_up_allowances=True)
            bot.admit(f"S{number}")
        bot.cut_off()
        clock.now += 0.1
        while bot.loads:
            bot.settle()
        clock.now += 2.5
        guard.beat()
        bot.mend()
        clock.now += 0.1
        for _ in range(8):
            bot.beat(gives_up_allowances=True)
            take_for_a_minute()
        assert len(world.arrivals) == 6


def test_a_page_is_billed_once_where_redis_goes_before_the_next_has_its_slot() -> None:
    """The first ask bills it; the next ones, made while others give back what they keep, do not."""
    with moved_clock() as clock:
        world = World(clock, 2, replace(SOURCE, limits=(Limit(4, 2.0),)))
        bot, other = world.fleet
        bot.process_window.can_fall_back = other.process_window.can_fall_back = True
        for _ in range(3):
            for process in world.fleet:
                process.beat()
            clock.now += 0.15
        granted = [
            bot.admission.admit(Ask(world.source, FetchRequest(SOURCE.name, f"S{n}"))) for n in range(2)
        ]
        grant = next(verdict.grant for verdict in granted if isinstance(verdict, Go))
        paid, sleep = bot.process_window.purse.paid, clock.sleep
        naps: list[float] = []

        def nap(seconds: float) -> None:
            naps.append(seconds)
            bot.cut_off()
            sleep(seconds)

        clock.sleep = nap  # type: ignore[method-assign]
        bot.admission.turn(grant, Bill(1.0))
        assert naps
        assert bot.process_window.purse.paid - paid == MICROS
