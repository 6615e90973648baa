"""One process of a simulated world, as its code sees it: its clocks, its chance, its way to the server."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Mapping
from typing import Any

from tbcache.testing.simulated.chance import Chance
from tbcache.testing.simulated.client import Node
from tbcache.testing.simulated.connection import Connection
from tbcache.testing.simulated.kernel import Task
from tbcache.testing.simulated.machine import Machine
from tbcache.testing.simulated.marker import Marker

#: Clocks differ by less than 0.1% (docs/limits.md): so much may one be faster than the server's, or slower.
MOST_DRIFT = 0.0004


class Host:
    """A process without anything that runs in it."""

    def __init__(self, machine: Machine, name: str, environ: Mapping[str, str]) -> None:
        self.machine, self.name, self.environ = machine, name, environ
        #: Its name in the fleet; empty until it has asked Redis.
        self.member = ""
        self.is_dead, self.frozen_until = False, 0
        self._held_up: dict[Callable[[], None], None] = {}
        self.pid, self.machine_name = machine.next_pid(), "machine"
        self.chance = Chance(machine.seed, name)
        #: How far its wall clock is off, where its monotonic one began (s), and how fast both are.
        self.skew, self.began = self.chance.uniform(-5, 5), self.chance.uniform(1e3, 1e5)
        self.rate = 1.0 + self.chance.uniform(-MOST_DRIFT, MOST_DRIFT)
        #: The singletons of this process, and what it does as it ends in good order.
        self.made: dict[Any, Any] = {}
        self.at_exit: list[Callable[[], object]] = []
        self.connection = Connection(
            machine.kernel, machine.server, self, machine.weather, Chance(machine.seed, name, "line")
        )

    def one_of(self, key: Any, make: Callable[[], Any]) -> Any:
        """What this process has one of; made when it is first asked for."""
        if key not in self.made:
            self.made[key] = make()
        return self.made[key]

    def now(self) -> float:
        """The monotonic clock of the process."""
        return self.machine.kernel.now * self.rate + self.began

    def clock(self) -> float:
        """The wall clock of the process."""
        kernel = self.machine.kernel
        return kernel.begins_at + kernel.now * self.rate + self.skew

    def moment(self, monotonic: float) -> float:
        """When its monotonic clock says that, in seconds of the world."""
        return (monotonic - self.began) / self.rate

    def node(self, url: str, timeout: float, watched: object = None) -> Node:
        return Node(self.connection, timeout)

    def marker(self, fleet: str, member: str) -> Marker:
        # The first that it makes is its own.
        self.member = self.member or member
        return Marker(self.machine.disk, member)

    def is_alive(self, pid: int) -> bool:
        return any(one.pid == pid for one in self.machine.living)

    def when_thawed(self, act: Callable[[], None]) -> None:
        def go_on() -> None:
            self._held_up.pop(go_on, None)
            act()

        self._held_up[go_on] = None
        self.machine.kernel.at(self.frozen_until, go_on)

    def thaw(self) -> None:
        """It runs again from now on, for however long it was to be frozen."""
        self.frozen_until = 0
        for act in self._held_up:
            self.machine.kernel.after(0.0, act)

    def spawn(self, name: str, work: Callable[[], object]) -> Task:
        """Run ``work`` in a thread of it."""
        return self.machine.kernel.spawn(self, name, work, contextvars.Context())
