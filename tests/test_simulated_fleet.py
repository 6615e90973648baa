"""The simulated fleet, for tests of functions that fetch: several processes in virtual time."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

import tbcache
from tbcache import InvalidRequest, RateLimited, TbcacheError
from tbcache.io.boundary import BOUNDARY
from tbcache.models.error import MissingExtra
from tbcache.testing import SimulatedFleet
from tbcache.testing.simulated import kernel

LIMIT = 3
quotes = tbcache.source("simulated-quotes", limits=f"{LIMIT}/10s", ttl=60)


class Upstream:
    """Says when it was asked for what."""

    def __init__(self) -> None:
        self.fleet: SimulatedFleet
        self.asked: list[tuple[float, str]] = []

    def answer(self, symbol: str) -> str:
        self.asked.append((self.fleet.now, symbol))
        self.fleet.sleep(0.2)
        return symbol.lower()

    @property
    def most_in_a_window(self) -> int:
        times = [at for at, _ in self.asked]
        return max(sum(1 for one in times if at - 10 < one <= at) for at in times)


upstream = Upstream()


@quotes.fetcher
def quote(symbol: str) -> str:
    return upstream.answer(symbol)


@tbcache.cached(ttl=5, key_prefix="simulated-double")
def double(symbol: str) -> str:
    return upstream.answer(symbol) * 2


@pytest.fixture
def fleet() -> Iterator[SimulatedFleet]:
    with SimulatedFleet(seed=7) as fleet:
        upstream.fleet, upstream.asked = fleet, []
        yield fleet


def test_processes_that_ask_for_the_same_load_it_once(fleet: SimulatedFleet) -> None:
    """What a fetcher promises of a whole fleet is seen in one test, without a server."""
    bots = [fleet.process() for _ in range(3)]
    for function, expected in ((quote, "aapl"), (double, "aaplaapl")):
        calls = [bot.call(function, "AAPL") for bot in bots]
        assert [call.result() for call in calls] == [expected] * 3
    assert [symbol for _, symbol in upstream.asked] == ["AAPL", "AAPL"]
    fleet.advance(6.0)
    assert bots[0].call(double, "AAPL").result() == "aaplaapl"
    assert len(upstream.asked) == 3


def test_a_minute_of_theirs_is_no_minute_of_ours(fleet: SimulatedFleet) -> None:
    """The limit is waited for in virtual time; whatever is asked, no window holds more."""
    bots = [fleet.process() for _ in range(2)]
    calls = [bot.call(quote, f"{bot.name}-{number}") for bot in bots for number in range(4)]
    refused = 0
    for call in calls:
        try:
            call.result()
        except RateLimited:
            refused += 1
    assert refused == len(calls) - len(upstream.asked)
    assert upstream.most_in_a_window == LIMIT


def test_what_goes_wrong_is_a_line_of_the_test(fleet: SimulatedFleet) -> None:
    """Redis away or emptied, a process cut off, stopped, killed: the limit holds, and each says what became
    of its calls."""
    bots = [fleet.process(f"bot-{number}") for number in range(3)]
    for number, fault in enumerate((lambda: fleet.stop_redis(3), fleet.empty_redis, lambda: None)):
        calls = [bot.call(quote, f"{bot.name}-{number}") for bot in bots]
        fault()
        bots[1].cut_off(2.0)
        bots[2].freeze(4.0)
        fleet.advance(15.0)
        assert all(call.is_over for call in calls)
    assert upstream.most_in_a_window <= LIMIT
    call = bots[0].call(quote, "never")
    bots[0].kill()
    with pytest.raises(TbcacheError, match="bot-0 was killed"):
        call.result()
    with pytest.raises(InvalidRequest, match="bot-0 is over"):
        bots[0].call(quote, "never")
    bots[1].leave()


def test_what_a_process_counts_of_its_asks_goes_to_redis(fleet: SimulatedFleet) -> None:
    """Beats go on in it: asks that were answered live and from the cache are counted in one of them."""
    bot = fleet.process()
    assert [bot.call(quote, "COUNTED").result() for _ in range(2)] == ["counted"] * 2
    fleet.advance(10.0)
    assert bot.call(quote, "COUNTED").result() == "counted"


def test_a_call_that_is_not_over_in_time_says_so(fleet: SimulatedFleet) -> None:
    """A test does not go on for ever; what a call raises is raised by its result."""
    bot = fleet.process()
    with pytest.raises(TimeoutError, match=r"not over after 0\.5 s"):
        bot.call(fleet.sleep, 2.0).result(0.5)
    with pytest.raises(ValueError, match="invalid literal"):
        bot.call(int, "x").result()


def test_event_loops_are_not_simulated_and_say_so(fleet: SimulatedFleet) -> None:
    """What cannot be is told before anything has happened."""

    async def nothing() -> None: ...

    with pytest.raises(InvalidRequest, match="event loop"):
        fleet.process().call(nothing)


def test_a_real_lock_that_is_held_over_a_sleep_is_told_with_its_line(
    fleet: SimulatedFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test hung for ever without a word: the one waits for the lock, and the other for its turn."""
    lock = threading.Lock()

    def update() -> None:
        monkeypatch.setattr(kernel, "STANDS_LOOKS", 5)
        fleet.sleep(1.0)
        with lock:
            fleet.sleep(1.0)

    for _ in range(2):
        fleet.process().call(update)
    with pytest.raises(TbcacheError, match=r"^process-\d waits for something real at .*fleet\.py:\d+: for a"):
        fleet.advance(3.0)


def test_a_fleet_in_a_fleet_is_refused() -> None:
    """Whose clock would hold in it?"""
    with SimulatedFleet(), pytest.raises(InvalidRequest, match="is in use"), SimulatedFleet():
        pass
    with SimulatedFleet(), pytest.raises(InvalidRequest, match="is in use"):
        SimulatedFleet().__enter__()


def test_a_provider_asks_no_real_upstream(fleet: SimulatedFleet) -> None:
    """A test that depended on the network said that there was no connection."""
    call = fleet.process().call(lambda: tbcache.get_provider("stocktwits").fetch("AAPL"))
    with pytest.raises(InvalidRequest, match=r"^HTTP is not simulated"):
        call.result()


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), "3"])
def test_what_is_no_time_is_refused(fleet: SimulatedFleet, seconds: Any) -> None:
    """A test with a mistake in it fails by that, and does not pass for another test."""
    bot = fleet.process()
    takes: list[Callable[[Any], object]] = [
        fleet.advance,
        fleet.stop_redis,
        bot.cut_off,
        bot.freeze,
        bot.leave,
    ]
    for take in takes:
        with pytest.raises(InvalidRequest, match=r"\(\) takes seconds, 0 or more, not"):
            take(seconds)
    call = bot.call(fleet.sleep, seconds)
    with pytest.raises(InvalidRequest, match=r"^result\(\) takes"):
        call.result(seconds)
    with pytest.raises(InvalidRequest, match=r"^sleep\(\) takes"):
        call.result()
    assert fleet.now < 1.0


def test_who_is_no_process_cannot_sleep(fleet: SimulatedFleet) -> None:
    """The line says what is to be used instead, and not how the simulation works."""
    with pytest.raises(InvalidRequest, match=r"here use advance\(\)"):
        fleet.sleep(1.0)


def test_outside_of_its_block_a_fleet_runs_nothing() -> None:
    """It would run on the real Redis that the environment names, and the test would pass."""
    fleet = SimulatedFleet()
    with pytest.raises(InvalidRequest, match="inside `with SimulatedFleet"):
        fleet.process()
    with fleet:
        process = fleet.process()
    with pytest.raises(InvalidRequest, match="inside `with SimulatedFleet"):
        process.call(int, "1").result()
    with pytest.raises(InvalidRequest, match="inside `with SimulatedFleet"):
        fleet.advance(1)


def test_what_reaches_into_the_machine_and_is_not_simulated_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A simulated process that wrote a real file would not be the same the next time."""
    monkeypatch.setitem(BOUNDARY, "printer", print)
    with pytest.raises(KeyError, match="printer"), SimulatedFleet():
        pass


def test_a_seed_is_a_whole_number() -> None:
    """A seed of another kind would not be the same in another process."""
    with pytest.raises(InvalidRequest, match="whole number, not 'x'"):
        SimulatedFleet(seed="x")  # type: ignore[arg-type]


def test_the_same_seed_is_the_same_course_of_events() -> None:
    """A test that has failed once fails again."""

    def digest(seed: int) -> str:
        with SimulatedFleet(seed) as fleet:
            upstream.fleet = fleet
            calls = [fleet.process().call(quote, "AAPL") for _ in range(3)]
            assert {call.result() for call in calls} == {"aapl"}
            return fleet.digest

    assert digest(1) == digest(1) != digest(2)


def test_ones_own_module_may_live_in_virtual_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that sleeps between two tries sleeps for nothing; outside, its module is as it was."""
    module = ModuleType("client_of_quotes")
    exec(  # noqa: S102
        "import time\ndef nap():\n    time.sleep(900)\n    return time.time()", vars(module)
    )
    monkeypatch.setitem(sys.modules, module.__name__, module)
    with SimulatedFleet(seed=3, modules=[module]) as fleet:
        bots = [fleet.process() for _ in range(2)]
        woken = [call.result(1000) for call in [bot.call(module.nap) for bot in bots]]
        # Clocks of two processes differ.
        assert woken[0] != woken[1]
        assert 890 < fleet.now < 910
    assert module.time is time


def test_what_is_missing_is_said_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lua comes with an extra: who only runs a bot has no use for it."""
    monkeypatch.setattr("tbcache.models.extra.has", lambda module: False)
    with pytest.raises(MissingExtra, match=r"a simulated fleet needs lupa: .*tbcache\[simulated\]"):
        SimulatedFleet()
