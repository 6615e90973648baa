"""The simulated driver: the coroutines of one process, in virtual time. See :class:`tbcache.io.world.IO`."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from tbcache.io.current import BLOCKING, enter
from tbcache.testing.simulated.host import Host
from tbcache.testing.simulated.kernel import Coro, Kernel, Killed, Suspended, Task

T = TypeVar("T")
Work = Callable[[], Coroutine[Any, Any, object]]


class Simulated:
    """The world of one process whose program is coroutines: as an event loop's, all over one connection."""

    def __init__(self, kernel: Kernel, home: Host) -> None:
        self._kernel, self._home = kernel, home

    def now(self) -> float:
        return self._home.now()

    def clock(self) -> float:
        return self._home.clock()

    def random_id(self, size: int) -> str:
        return self._home.chance.random_id(size)

    def uniform(self, low: float, high: float) -> float:
        return self._home.chance.uniform(low, high)

    async def call(self, server: Any, command: Sequence[Any]) -> Any:
        (answer,) = await server.call_in_turn([command])
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def pipeline(self, server: Any, commands: Sequence[Sequence[Any]]) -> list[Any]:
        answers: list[Any] = await server.call_in_turn(commands)
        return answers

    async def sleep(self, seconds: float) -> None:
        task = self._task()
        self._kernel.after_by(self._home, seconds, _resuming(task))
        await Suspended()

    async def wait(self, future: Any, seconds: float | None = None) -> Any:
        if not future.done():
            task = self._task()
            future.wake_when_done(task)
            if seconds is not None:
                self._kernel.after_by(self._home, seconds, _resuming(task))
            await Suspended()
        if not future.done():
            raise TimeoutError
        return future.result(0)

    async def send(self, connections: Any, request: Any, most_bytes: int) -> Any:
        raise RuntimeError("a simulated upstream is not reached over HTTP")

    async def offload(self, work: Callable[[], T]) -> T:
        context, found = contextvars.copy_context(), list[T]()
        context.run(enter, BLOCKING)
        await self._end(self._kernel.spawn(self._home, "offload", lambda: found.append(work()), context))
        return found[0]

    async def detach(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        found = list[T]()

        async def lasting() -> None:
            found.append(await work())

        await self._end(self._kernel.start(self._home, "detached", lasting(), contextvars.copy_context()))
        return found[0]

    async def _end(self, work: Task) -> None:
        # The caller tells of what it raises.
        work.is_awaited = True
        work.on_end(_resuming(self._task()))
        await Suspended()
        if work.error is not None:
            raise work.error

    def spawn(self, work: Work) -> None:
        self.run("background", work)

    undo = spawn

    def run(self, name: str, work: Work) -> Coro:
        """Run a coroutine in this world, in a context of its own."""
        if self._home.is_dead:
            raise Killed
        context = contextvars.Context()
        context.run(enter, self)
        return self._kernel.start(self._home, name, work(), context)

    def _task(self) -> Task:
        task = self._kernel.current
        if task is None or self._home.is_dead:
            raise Killed
        return task


def _resuming(task: Task) -> Callable[[], None]:
    """What resumes ``task`` from the wait that it is about to begin."""
    ticket = task.ticket
    return lambda: task.resume(ticket)
