"""What is done to whom and when, made of a seed alone."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["kill", "term", "stop", "refuse", "silence", "redis-kill", "redis-freeze", "redis-readonly"]

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
}
#: A program stopped twice within its lease may send what it was allowed before the first:
#: nobody but the upstream could know.
REST_SECONDS = 16.0
SERVER = "redis"
PAUSE_SECONDS = 2.5
#: Before the first fault, so that everyone has begun.
CALM_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Fault:
    """``target`` is a member's name, or SERVER; times in seconds since the start."""

    at: float
    kind: Kind
    target: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.at:7.2f}  {self.kind:14} {self.target:12} {self.seconds:5.2f} s"


def plan(
    seed: int,
    seconds: float,
    members: Sequence[str],
    proxied: Sequence[str],
    *,
    without: Sequence[str] = (),
    most_stopped: float = 12.0,
) -> Iterator[Fault]:
    """The faults of ``seconds`` seconds, none of which overlaps another one of the same target."""
    dice = random.Random(seed)
    kinds = [kind for kind in WEIGHTS if kind not in without]
    weights = [WEIGHTS[kind] for kind in kinds]
    free_at = dict.fromkeys((*members, SERVER), 0.0)
    at = CALM_SECONDS
    while (at := at + dice.expovariate(1 / PAUSE_SECONDS)) < seconds:
        (kind,) = dice.choices(kinds, weights)
        target = _target(kind, dice, members, proxied)
        least, most = DURATIONS[kind]
        length = dice.uniform(least, min(most, most_stopped))
        if free_at[target] <= at:
            free_at[target] = at + length + (REST_SECONDS if kind == "stop" else 1.5)
            yield Fault(at, kind, target, min(length, seconds - at))


def _target(kind: Kind, dice: random.Random, members: Sequence[str], proxied: Sequence[str]) -> str:
    if kind.startswith("redis-"):
        return SERVER
    return dice.choice(proxied if kind in ("refuse", "silence") else members)
