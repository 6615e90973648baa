"""Runs a plan, and says what became of it."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tbcache.testing.simulated.kernel import micros
from tests.simulation.bound import Bounds
from tests.simulation.end import End
from tests.simulation.fault import Faults
from tests.simulation.plan import OPERATED, VALUES, Plan, Step
from tests.simulation.way import WAYS
from tests.simulation.world import World


@dataclass(frozen=True, slots=True)
class Report:
    """``failure`` is the first promise that did not hold, and how; None where all did."""

    hash: str
    failure: str | None
    promise: str | None
    commands: int
    arrivals: int
    trace: list[str] = field(default_factory=list)


def run(
    plan: Plan, chosen: Sequence[int] | None = None, watch: Callable[[World], object] = lambda world: None
) -> Report:
    """Run the steps of ``plan``, or only those chosen by their numbers; ``watch`` sees the world first."""
    steps = plan.steps if chosen is None else [plan.steps[number] for number in chosen]
    with World(plan.seed, plan.shape, watch) as world:
        _play(world, steps)
        failure = world.failures[0] if world.failures else None
        trace = list(world.last)
        if failure is not None and failure.__cause__ is not None:
            trace += traceback.format_exception(failure.__cause__)
        return Report(
            world.hash,
            str(failure) if failure else None,
            failure.promise if failure else None,
            world.oracle.count,
            len(world.upstream.arrivals),
            trace,
        )


def _play(world: World, steps: Sequence[Step]) -> None:
    world.has_values = any(step.what in VALUES for step in steps)
    world.is_operated = any(step.what in OPERATED for step in steps)
    if world.is_operated:
        world.upstream.bounds = Bounds(world).in_force
    faults = Faults(world)
    for step in steps:
        world.kernel.at(micros(step.at), functools.partial(_do, faults, step))
    world.run(max((step.at for step in steps), default=0.0) + 0.5)
    End(faults).come()


def _do(faults: Faults, step: Step) -> None:
    active = faults.world.active
    if active:
        process = active[step.who % len(active)]
        faults.world.note(f"{step.what} {process.name} {step.odd} {step.seconds}")
        WAYS[step.what](faults, process, step)
