"""A few of the worlds that ``make simulate`` tries, and whether it would see that something is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server import Server
from tests.simulation.__main__ import replay_line
from tests.simulation.attach import attached
from tests.simulation.bug import BUGS, Bug, Change
from tests.simulation.differential import compare
from tests.simulation.plan import plan_of
from tests.simulation.planted import Gone, find, planted
from tests.simulation.run import run

ROOT = Path(__file__).parents[2]
#: Found within so many seeds, each of another kind.
QUICK = {
    "a settled load gives its slot back": 0,
    "a share is what would be fair": 0,
}


@pytest.fixture
def world() -> Iterator[None]:
    with attached():
        yield


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("seed", range(5))
def test_whatever_goes_wrong_every_promise_holds(seed: int) -> None:
    """Limits, loads, jobs, values: with processes, the server, the network and the upstream failing."""
    report = run(plan_of(seed))
    assert report.failure is None, f"{report.failure}\npython -m tests.simulation --seed {seed}"


@pytest.mark.usefixtures("world")
def test_a_seed_is_the_same_world_in_any_process() -> None:
    """A line that shows a failure to one shows it to all, on any Python: see ``tests/pythons.py``."""
    digests = " ".join(run(plan_of(seed)).hash for seed in (3, 9))
    # Another order of sets.
    environment = {**os.environ, "PYTHONHASHSEED": "7" if os.environ.get("PYTHONHASHSEED") != "7" else "8"}
    command = (sys.executable, "-m", "tests.simulation", "--digests", "3,9")
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == digests
    assert os.environ.get("SIMULATED", digests) == digests


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("seed", [3, 4])
def test_a_real_server_answers_as_the_simulated_one(private_server: Server, seed: int) -> None:
    """What is simulated is Redis: otherwise a promise that holds there says nothing."""
    compared, different = compare(plan_of(seed), private_server.client)
    assert not different, different[:3]
    assert compared > 100


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
    assert find(one, 20, QUICK[name]).promise is not None


@pytest.mark.usefixtures("world")
def test_a_failure_is_shown_again_by_one_line_with_fewer_steps() -> None:
    """Whoever mends it looks at a few steps, and not at all that a seed does."""
    (one,) = (one for one in BUGS if one.name == "a settled load gives its slot back")
    with planted(one):
        seed = find(one, 20).seeds - 1
        report = run(plan_of(seed))
        line = replay_line(seed, report)
        steps = [int(number) for number in line.partition("--steps ")[2].split(",")]
        assert len(steps) < len(plan_of(seed).steps)
        assert run(plan_of(seed), steps).promise == report.promise
