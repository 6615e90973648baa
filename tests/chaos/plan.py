"""What is done to whom and when, made of a seed alone."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "kill", "term", "stop", "refuse", "silence", "redis-kill", "redis-freeze", "redis-readonly", "redis-empty"
]

#: A server that comes back without its data: what was queued is gone, the limits hold all the same.
LOSS: Kind = "redis-empty"
#: How often each kind comes, against the others.
WEIGHTS: dict[Kind, int] = {
    "kill": 8,
    "term": 3,
    "stop": 8,
    "refuse": 3,
    "silence": 3,
    "redis-kill": 2,
    "redis-freeze": 3,
    "redis-readonly": 2,
    "redis-empty": 2,
}
#: For how long (seconds, least and most); of a kill or a SIGTERM, until the process is started again.
DURATIONS: dict[Kind, tuple[float, float]] = {
    "kill": (0.1, 5.0),
    "term": (0.1, 5.0),
    "stop": (0.5, 12.0),
    "refuse": (0.3, 8.0),
    "silence": (0.3, 8.0),
    "redis-kill": (0.2, 5.0),
    "redis-freeze": (0.3, 10.0),
    "redis-readonly": (0.5, 6.0),
    "redis-empty": (0.2, 5.0),
}
SERVER = "redis"


@dataclass(frozen=True, slots=True)
class Shape:
    """How a run goes; times in seconds.

    ``pause`` is the mean between two faults, ``begin`` the time before the first, ``longest``
    what none exceeds, ``calm`` the peace after the last; ``lease`` is the fleet's.
    """

    seconds: float = 120.0
    pause: float = 2.5
    begin: float = 5.0
    longest: float = 12.0
    calm: float = 15.0
    lease: float = 15.0
    is_small: bool = False
    without: tuple[str, ...] = (LOSS,)

    @property
    def loses(self) -> bool:
        """True when the server's data are lost in the run."""
        return LOSS not in self.without


#: For the test suite.
SHORT = Shape(seconds=9.0, pause=0.7, begin=1.0, longest=2.5, calm=1.0, lease=4.0, is_small=True)


@dataclass(frozen=True, slots=True)
class Fault:
    """``target`` is a member's name, or SERVER; times in seconds since the start."""

    at: float
    kind: Kind
    target: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.at:7.2f}  {self.kind:14} {self.target:12} {self.seconds:5.2f} s"


def plan(seed: int, shape: Shape, members: Sequence[str], proxied: Sequence[str]) -> Iterator[Fault]:
    """The faults of one run, none of which overlaps another one of the same target."""
    dice = random.Random(seed)
    kinds = [kind for kind in WEIGHTS if kind not in shape.without]
    weights = [WEIGHTS[kind] for kind in kinds]
    free_at = dict.fromkeys((*members, SERVER), 0.0)
    at = shape.begin
    while (at := at + dice.expovariate(1 / shape.pause)) < shape.seconds:
        (kind,) = dice.choices(kinds, weights)
        target = _target(kind, dice, members, proxied)
        least, most = DURATIONS[kind]
        length = dice.uniform(least, min(most, shape.longest))
        if free_at[target] <= at:
            # A program stopped twice within its lease may send what it was allowed before the
            # first: nobody but the upstream could know.
            free_at[target] = at + length + (shape.lease + 1.0 if kind == "stop" else 1.5)
            yield Fault(at, kind, target, min(length, shape.seconds - at))


def _target(kind: Kind, dice: random.Random, members: Sequence[str], proxied: Sequence[str]) -> str:
    if kind.startswith("redis-"):
        return SERVER
    return dice.choice(proxied if kind in ("refuse", "silence") else members)
