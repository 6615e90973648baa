"""The machine of :class:`tbcache.testing.SimulatedFleet`."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from tbcache.models.error import InvalidRequest, MissingExtra, TbcacheError
from tbcache.testing.simulated.attach import attached
from tbcache.testing.simulated.connection import Weather
from tbcache.testing.simulated.kernel import Killed, Task, here, inhabited
from tbcache.testing.simulated.machine import Machine
from tbcache.testing.simulated.process import SimulatedProcess

#: The settings that a process is started with, unless others are given.
VARIABLES = {
    "REDIS_URL": "redis://simulated:6379/0",
    # Redis tells a process of changes over a connection that is not simulated.
    "TBCACHE_LOCAL_CACHE_BYTES": "0",
}


class Fleet(Machine):
    """Processes whose code is the user's."""

    def __init__(self, seed: int, variables: Mapping[str, str]) -> None:
        super().__init__(seed, Weather())
        self._environ = {**VARIABLES, **variables}
        self._numbers = itertools.count(1)
        self._digest = hashlib.sha256()
        self._errors: list[BaseException] = []
        self._is_attached = False
        self.server.listeners.append(self._receive)
        self.kernel.ended = self._ended

    @contextmanager
    def attached(self, modules: Iterable[ModuleType]) -> Iterator[None]:
        if here() is not None:
            raise InvalidRequest("a simulated fleet is in use; one more begins where its block has ended")
        _load()
        with attached(modules), inhabited(self.kernel):
            self._is_attached = True
            try:
                yield
            finally:
                self._is_attached = False
                self.kernel.end()

    @property
    def digest(self) -> str:
        return self._digest.hexdigest()[:16]

    def begin(self, name: str) -> SimulatedProcess:
        self._check()
        process = SimulatedProcess(self, name or f"process-{next(self._numbers)}", self._environ)
        self.living.append(process)
        return process

    def advance(self, seconds: float, is_over: Callable[[], bool] = lambda: False) -> None:
        self._check()
        super().advance(seconds, lambda: bool(self._errors) or is_over())
        if self._errors:
            raise TbcacheError("a thread of a simulated process has ended by an error") from self._errors[0]

    def _check(self) -> None:
        """Outside of its block, tbcache has the real clock, network and server."""
        if not self._is_attached:
            raise InvalidRequest("a fleet is simulated inside `with SimulatedFleet() as fleet:` alone")

    def stop_server(self, seconds: float) -> None:
        self.server.stop()
        self.kernel.after(seconds, functools.partial(self._start_server, self.server.life))

    def _start_server(self, life: int) -> None:
        if self.server.life == life:
            self.server.start()

    def _receive(self, who: str, command: tuple[bytes, ...], answer: Any) -> None:
        self._digest.update(f"{self.kernel.now_us} {who} ".encode() + b" ".join(command) + b"\n")

    def _ended(self, task: Task) -> None:
        if task.error is not None and not task.is_awaited and not isinstance(task.error, Killed):
            self._errors.append(task.error)


def _load() -> None:
    """Whatever a function may use of tbcache is there before its clocks are replaced."""
    package = sys.modules["tbcache"]
    for name in package.__all__:
        with contextlib.suppress(MissingExtra):
            getattr(package, name)
