"""Whether the upstream sees what an operator has set kept, also by those who go on without Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tbcache.models import Limit
from tbcache.testing.simulated.kernel import micros
from tests.simulation.work import LATEST_ANSWER

if TYPE_CHECKING:
    from tests.simulation.world import World

#: How often it is looked whether all know of it (s).
LOOK_SECONDS = 0.05


class Bounds:
    """The limits of one world, which hold at the upstream once all processes know them, and what was sent
    before that is in no window any more (docs/limits.md)."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._limits: tuple[Limit, ...] = ()
        #: When they were set, and since when all who live know them (us).
        self._set_at = self._since = 0
        self._look_again()

    def in_force(self) -> list[tuple[Limit, int]]:
        """What no window may hold more than, of what has arrived since then (us)."""
        self._look()
        lease = self._world.lease
        return [(limit, self._since + micros(limit.window_seconds + lease)) for limit in self._limits]

    def _look_again(self) -> None:
        self._look()
        self._world.kernel.after(LOOK_SECONDS, self._look_again)

    def _look(self) -> None:
        bound = self._world.oracle.bound
        limits = tuple(map(Limit.parse, bound.limits if bound is not None else ()))
        now = self._world.kernel.now_us
        if limits != self._limits:
            self._limits, self._set_at = limits, now
        if not all(process.told_at > self._set_at + micros(LATEST_ANSWER) for process in self._world.living):
            self._since = now
