"""A few of the worlds that ``make simulate`` tries, and whether it would see that something is wrong."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tbcache.queue.bell import Bells
from tbcache.queue.script import queue_keys
from tbcache.testing.simulated.attach import attached
from tbcache.testing.simulated.kernel import micros
from tbcache.testing.simulated.keyspace import Keyspace
from tests.server import Server
from tests.simulation.__main__ import replay_line
from tests.simulation.bug import BUGS, Bug, Change
from tests.simulation.differential import Lived, differences, live
from tests.simulation.driver import ask_in_turn
from tests.simulation.fault import Faults
from tests.simulation.plan import COMPARED, PLANS, TRIED, any_plan_of, plan_of
from tests.simulation.planted import Gone, find, known, planted
from tests.simulation.process import LOOP
from tests.simulation.run import run
from tests.simulation.shrink import shrink
from tests.simulation.world import Shape, World

ROOT = Path(__file__).parents[2]
#: Bugs that are found soon, each by another promise.
QUICK = (
    "a settled load gives its slot back",
    "a share is what would be fair",
    "a look counts one too few",
    "after a loss a source stays shut for longer than what was sent counts",
)


@pytest.fixture
def world() -> Iterator[None]:
    with attached():
        yield


@functools.cache
def lived(seed: int) -> Lived:
    """A world is run once, whatever is looked at in it."""
    return live(any_plan_of(seed))


def test_each_kind_of_world_is_tried() -> None:
    """And one of each with a real server beside."""
    assert {any_plan_of(seed).kind for seed in TRIED} == {*PLANS}
    assert {any_plan_of(seed).kind for seed in COMPARED} == {*PLANS}


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("seed", [*TRIED, *COMPARED])
def test_whatever_goes_wrong_every_promise_holds(seed: int) -> None:
    """Limits, loads, jobs, values: with processes, the server, the network and the upstream failing."""
    report = lived(seed).report
    assert report.failure is None, f"{report.failure}\n{any_plan_of(seed).line}"


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize(
    ("kind", "seed"),
    [("fair", 8100216), ("clock", 8200021), ("clock", 51000043), ("operated", 141), ("", 82000180)],
)
def test_a_seed_that_once_failed_goes_well(kind: str, seed: int) -> None:
    """A caller had nothing waiting any more; one was killed before the clock was set back; one began before
    it was set once more, and had that mended alone; a load that its loop's end cancelled kept its lease; one
    read late that it had a slot, whose hold was over by then."""
    assert run(PLANS[kind](seed)).failure is None


@pytest.mark.usefixtures("world")
def test_a_seed_is_the_same_world_in_any_process() -> None:
    """A line that shows a failure to one shows it to all, on any Python: see ``tests/pythons.py``."""
    digests = " ".join(lived(seed).report.hash for seed in COMPARED)
    # Another order of sets.
    environment = {**os.environ, "PYTHONHASHSEED": "7" if os.environ.get("PYTHONHASHSEED") != "7" else "8"}
    command = (sys.executable, "-m", "tests.simulation", "--digests")
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == digests
    assert os.environ.get("SIMULATED", digests) == digests


@pytest.mark.usefixtures("world")
def test_a_real_server_answers_as_the_simulated_one(private_server: Server) -> None:
    """What is simulated is Redis: otherwise a promise that holds there says nothing."""
    for seed in COMPARED:
        one = lived(seed)
        assert differences(one, private_server.client)[:3] == [], f"seed {seed}"
        assert len(one.asked) > 100


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("one", BUGS, ids=lambda one: one.name)
def test_a_bug_can_be_planted(one: Bug) -> None:
    """One whose subject has changed is planted anew, and does not pass for found or missed."""
    with planted(one):
        pass


@pytest.mark.usefixtures("world")
def test_a_bug_whose_subject_is_gone_is_told() -> None:
    """Or nobody would notice that it is not looked for any more."""
    with pytest.raises(Gone), planted(Bug("gone", Change("take.lua", "what no script has", ""))):
        pass


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("name", QUICK)
def test_a_planted_bug_is_found(name: str) -> None:
    """A check that cannot fail is worse than none."""
    (one,) = (one for one in BUGS if one.name == name)
    seed, promise = known()[name]
    assert find(one, [seed]).promise == promise


def test_the_simulated_server_knows_every_command_of_a_script() -> None:
    """A fleet that is simulated would fail where a user's own code has the script run."""
    texts = [path.read_text("utf-8") for path in (ROOT / "tbcache" / "lua").glob("*.lua")]
    used = {name for text in texts for name in re.findall(r"(?:redis\.p?call|how)\('([A-Z]+)'", text)}
    assert len(used) > 30
    assert [name for name in sorted(used) if not hasattr(Keyspace, f"do_{name.lower()}")] == []


@pytest.mark.usefixtures("world")
def test_a_failure_is_shown_again_by_one_line_with_fewer_steps() -> None:
    """Whoever mends it looks at a few steps, and not at all that a seed does."""
    (one,) = (one for one in BUGS if one.name == "a settled load gives its slot back")
    seed, promise = known()[one.name]
    with planted(one):
        line = replay_line(plan_of(seed), run(plan_of(seed)), most=6)
        steps = [int(number) for number in line.partition("--steps ")[2].split(",")]
        assert len(steps) < len(plan_of(seed).steps)
        assert run(plan_of(seed), steps).promise == promise


@pytest.mark.usefixtures("world")
def test_what_an_event_loop_asks_is_carried_out_in_the_order_of_asking() -> None:
    """It has one connection: what gives back a cancelled ask never comes before that, as over a real one."""
    with World(7, Shape(bots=0, workers=0)) as world:
        process, heard = world.begin(LOOP), list[bytes]()
        world.server.listeners.append(lambda who, command, answer: heard.append(command[-1]))
        for number in range(40):
            ask = functools.partial(ask_in_turn, process.connection, 1.0, [(b"GET", b"asked:%d" % number)])
            world.kernel.after(number * 1e-6, functools.partial(process.driver.run, "act", ask))
            # Threads ask over connections of their own.
            beside = functools.partial(process.connection.ask, 1.0, [(b"GET", b"beside")])
            world.kernel.after(number * 1e-6, functools.partial(process.spawn, "beside", beside))
        world.run(1.0)
    asked = [int(key.removeprefix(b"asked:")) for key in heard if key.startswith(b"asked:")]
    assert asked == list(range(40))


@pytest.mark.usefixtures("world")
def test_a_frozen_process_goes_on_as_soon_as_it_is_thawed() -> None:
    """Otherwise one that sleeps on when all is mended passes for one that keeps what it is to give back."""
    with World(7, Shape(bots=0, workers=0)) as world:
        process, awake = world.begin("bot"), list[float]()

        def sleeper() -> None:
            world.kernel.sleep(0.1)
            awake.append(world.kernel.now)

        process.spawn("sleeper", sleeper)
        process.frozen_until = micros(30.0)
        world.run(1.0)
        assert awake == []
        process.thaw()
        world.run(1.0)
        assert len(awake) == 1


@pytest.mark.usefixtures("world")
def test_an_ask_past_its_deadline_renews_no_claim_for_the_oracle() -> None:
    """Redis does nothing then: another worker may have the job once the claim has lapsed there."""
    with World(7, Shape(bots=1, workers=1, claim_seconds=1.0)) as world:
        renewals = list[tuple[bytes, ...]]()

        def keep(who: str, command: tuple[bytes, ...], answer: object) -> None:
            call = world.oracle._scripts.read(command)
            if call is not None and call.script.name == "dequeue" and call.arguments["in_hand"]:
                renewals.append(command)

        world.server.listeners.append(keep)
        world.run(1.0)
        bot = next(one for one in world.active if one.kind == "bot")
        bot.do("act enqueue", lambda: bot.enqueue("S1", "interactive", 0.0, 0.0))
        while not renewals:
            world.run(0.001)
        renewed = dict(world.oracle.jobs.renewed_until)
        assert renewed
        world.kernel.now_us += micros(1.0)
        world.server.carry_out("worker", renewals[0])
        assert world.oracle.jobs.renewed_until == renewed


@pytest.mark.usefixtures("world")
def test_a_loss_is_waited_for_as_long_however_the_clock_is_set() -> None:
    """Until those who were cut off are back, Redis may know larger shares than they go by."""
    with World(7, Shape(bots=1, workers=0)) as world:
        world.run(1.0)
        world.oracle.lose()
        Faults(world).step_clock(30.0)
        keys, do, now = world.oracle.keys, world.server.keyspace.do, b"%d" % world.server.now_us()
        for other in (b"other.host-1.a", b"other.host-2.a"):
            do("ZADD", [keys.fleet("reddit").encode(), now, other])
            do("HSET", [keys.state("reddit").encode(), b"share:" + other, b"1"])
        world.run(2.0)
        assert world.failures == []
        world.run(8.0)
        assert world.failures[0].promise == "shares"


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("is_cut", [True, False])
def test_what_one_has_sent_that_missed_a_loss_and_died_is_known_to_nobody(is_cut: bool) -> None:
    """What docs/limits.md promises ends there; of one that was back before its end Redis knows."""
    with World(7, Shape(bots=2, workers=0)) as world:
        world.run(1.0)
        faults, (other, gone) = Faults(world), world.active
        for one in (other, gone):
            one.do("act take", one.take)
        world.run(1.0)
        if is_cut:
            faults.cut(gone, "refused", 9.0)
        world.run(1.0)
        faults.lose(({}, {}), 0, 0.0)
        gone.do("act saturate", lambda: gone.saturate(2.0))
        world.run(2.5)
        world.kill(gone)
        world.run(1.0)
        assert (world.excused_until > world.kernel.now_us) == is_cut


@pytest.mark.usefixtures("world")
def test_a_process_that_ends_as_it_passes_a_bell_on_leaves_no_key_for_ever() -> None:
    """The key was made by one command, and got its TTL by the next, which never came."""
    with World(7, Shape(bots=1, workers=0)) as world:
        world.run(1.0)
        (process,) = world.active
        bell = world.oracle.keys.queue("reddit", "bell").encode()

        def kill(who: str, command: tuple[bytes, ...], answer: object) -> None:
            if command[0] == b"RPUSH":
                world.kill(process)

        def pass_on() -> None:
            bells = Bells(process.store)
            bells.pass_on(bells.join("reddit", queue_keys(process.store.keys, "reddit"), 1.0))

        world.server.listeners.append(kill)
        process.spawn("bell", pass_on)
        world.run(1.0)
        assert process not in world.living
        assert world.server.keyspace.expires_at(bell) is not None


def test_as_few_steps_are_left_as_break_the_promise() -> None:
    """What is needed stays, in its order, wherever it stands; the rest goes, and tries are counted."""
    tries = []

    def breaks(steps: Sequence[int]) -> bool:
        tries.append(steps)
        return {3, 17, 18} <= {*steps}

    assert shrink(range(40), breaks) == [3, 17, 18]
    assert len(shrink(range(40), breaks, most=2)) < 40
    assert len(tries) < 60
