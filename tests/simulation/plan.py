"""What a seed stands for: the shape of a world, and what its users do and what goes wrong in it, in order."""

from __future__ import annotations

from dataclasses import dataclass

from tbcache.models import Limit
from tbcache.testing.simulated.chance import Chance
from tbcache.testing.simulated.line import Weather
from tests.simulation.world import Shape

#: What users do.
ACTS = (
    "fetch",
    "fetch the same",
    "take",
    "hold",
    "saturate",
    "saturate",
    "wait in line",
    "enqueue",
    "enqueue and wait",
    "prewarm",
    "clear",
)
#: What goes wrong; each seed has some of it.
FAULTS = (
    "cut off",
    "cut all off",
    "cut off while all are hungry",
    "cut off and kill",
    "cut off in a burst",
    "freeze",
    "freeze in a load",
    "freeze in a job",
    "cancel",
    "kill",
    "leave",
    "begin",
    "restart the server",
    "freeze the server",
    "lose all",
    "lose beside one that is cut off",
    "go back",
    "save",
    "set the clock",
    "refuse",
    "storm",
)
#: Seconds between two steps, in windows' halves: most come at once.
PAUSES = (0.0,) * 10 + (0.02, 0.05, 0.1, 0.15, 0.3, 0.5, 0.8, 1.5, 1.9)
LASTING = (0.05, 0.1, 0.3, 0.3, 0.5, 0.5, 0.8, 1.0, 2.0, 3.0)


@dataclass(frozen=True, slots=True)
class Step:
    """One thing: when (s), which, to which process, for how long; ``odd`` settles what is left open."""

    at: float
    what: str
    who: int
    odd: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Plan:
    seed: int
    shape: Shape
    steps: tuple[Step, ...]


def plan_of(seed: int) -> Plan:
    """The plan of a seed: the same for ever."""
    chance = Chance(seed, "plan")
    shape = _shape(chance)
    return Plan(seed, shape, _steps(chance, shape))


def _shape(chance: Chance) -> Shape:
    count, window = chance.choice((1, 2, 3, 4, 6, 6, 10)), chance.choice((1.0, 2.0, 2.0, 4.0))
    limits = [Limit(count, window)]
    if chance.happens(0.2):
        limits.append(Limit(2 * count, 3 * window))
    return Shape(
        limits=tuple(limits),
        bots=1 + chance.below(4),
        loops=chance.below(2),
        workers=chance.below(3),
        schedulers=int(chance.happens(0.2)),
        pages=chance.choice((1, 1, 2, 3)),
        cost=2 if count > 3 and chance.happens(0.15) else 1,
        lease=chance.choice((1.0, 1.0, 6.0)),
        cache_ttl=chance.choice((0.5, 2.0, 10.0)),
        stale_ttl=chance.choice((0.0, 2.0, 10.0)),
        weather=chance.choice((Weather(), Weather(), Weather(late=0.3, slow=0.15), Weather(lost=0.01))),
    )


def _steps(chance: Chance, shape: Shape) -> tuple[Step, ...]:
    acts = _some(chance, ACTS, 0.5) or ACTS
    faults = _some(chance, FAULTS, 0.3)
    part = chance.uniform(0.1, 0.5) if faults else 0.0
    at, steps = 0.6, []
    for _ in range(25 + chance.below(50)):
        what = chance.choice(faults) if chance.happens(part) else chance.choice(acts)
        steps.append(Step(round(at, 6), what, chance.below(6), chance.below(12), chance.choice(LASTING)))
        at += chance.choice(PAUSES) * shape.limits[0].window_seconds / 2
    return tuple(steps)


def _some(chance: Chance, many: tuple[str, ...], part: float) -> tuple[str, ...]:
    return tuple(one for one in many if chance.happens(part))
