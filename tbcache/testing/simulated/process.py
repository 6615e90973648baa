"""A process of :class:`tbcache.testing.SimulatedFleet`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar

from tbcache.io.coroutine import is_coroutine_function
from tbcache.models.error import InvalidRequest, TbcacheError
from tbcache.testing.duration import checked
from tbcache.testing.simulated.host import Host
from tbcache.testing.simulated.kernel import Killed, Task, micros

P = ParamSpec("P")
T = TypeVar("T")


class SimulatedProcess(Host):
    """A process with a store, a cache and so on of its own. What code has declared, all of them have. Seconds
    that are no time raise InvalidRequest."""

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> SimulatedCall[T]:
        """Call ``function`` in a thread of this process, as soon as time passes.

        Raises:
          InvalidRequest: it is a coroutine function, or the process is over.
        """
        if is_coroutine_function(function):
            raise InvalidRequest(f"{function!r} needs an event loop, which is not simulated")
        if self.is_dead:
            raise InvalidRequest(f"{self.name} is over")
        return SimulatedCall(self, lambda: function(*args, **kwargs))

    def cut_off(self, seconds: float) -> None:
        """It does not reach Redis for so long, while others may."""
        checked(seconds, "cut_off")
        self.connection.cut = "refused"
        self.machine.kernel.after(seconds, self._connect)

    def freeze(self, seconds: float) -> None:
        """Nothing of it runs for so long, as under SIGSTOP."""
        self.frozen_until = self.machine.kernel.now_us + micros(checked(seconds, "freeze"))

    def kill(self) -> None:
        """It is no more, wherever it stood, and has told nobody."""
        if not self.is_dead:
            self.machine.living.remove(self)
            self.machine.kernel.kill(self)

    def leave(self, seconds: float = 30.0) -> None:
        """It ends in good order, as a program whose last line is done; takes at most ``seconds``."""
        checked(seconds, "leave")
        ends = [SimulatedCall(self, act) for act in reversed(self.at_exit)]
        for end in ends:
            end.result(seconds)
        self.kill()

    def _connect(self) -> None:
        self.connection.cut = ""


class SimulatedCall(Generic[T]):
    """A function that runs in a simulated process."""

    def __init__(self, process: SimulatedProcess, function: Callable[[], T]) -> None:
        self._process, self._machine = process, process.machine
        self._found: list[T] = []
        self._task: Task = process.spawn("call", lambda: self._found.append(function()))
        self._task.is_awaited = True

    @property
    def is_over(self) -> bool:
        """It has returned or raised, or its process is over."""
        return self._task.is_over

    def result(self, seconds: float = 60.0) -> T:
        """What it returned. Lets time pass until then, at most ``seconds``.

        Raises:
          Exception: what it raised.
          TimeoutError: it is not over by then.
          TbcacheError: its process was killed.
          InvalidRequest: ``seconds`` is no time.
        """
        self._machine.advance(checked(seconds, "result"), lambda: self._task.is_over)
        if not self._task.is_over:
            raise TimeoutError(f"the call is not over after {seconds:g} s")
        error: Any = self._task.error
        if isinstance(error, Killed):
            raise TbcacheError(f"{self._process.name} was killed in the call")
        if error is not None:
            raise error
        return self._found[0]
