"""What the processes of a simulated world share: its time, one server, a network, and a disk."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from tbcache.testing.simulated.chance import Chance
from tbcache.testing.simulated.connection import Weather
from tbcache.testing.simulated.kernel import Kernel, micros
from tbcache.testing.simulated.marker import Disk
from tbcache.testing.simulated.server import Server


class Machine:
    """A machine on which nothing runs yet, and its Redis server."""

    def __init__(self, seed: int, weather: Weather) -> None:
        self.seed, self.weather = seed, weather
        self.kernel = Kernel(Chance(seed, "kernel"))
        self.server = Server(self.kernel)
        self.disk = Disk(lambda: self.kernel.now, self.is_living)
        self.living: list[Any] = []
        self._pids = itertools.count(101)

    def next_pid(self) -> int:
        return next(self._pids)

    def is_living(self, member: str) -> bool:
        return any(process.member == member for process in self.living)

    def advance(self, seconds: float, is_over: Callable[[], bool] = lambda: False) -> None:
        """Let so much time pass, or less where ``is_over`` says so."""
        self.kernel.run(self.kernel.now_us + micros(seconds), is_over)
