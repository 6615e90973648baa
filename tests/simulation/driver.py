"""The simulated driver: the coroutines of one process, in virtual time. See :class:`tbcache.io.world.IO`."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine, Generator, Sequence
from typing import Any, TypeVar

from tbcache.io.current import BLOCKING, enter
from tbcache.testing.simulated.client import pack
from tbcache.testing.simulated.connection import Connection
from tbcache.testing.simulated.host import Host
from tbcache.testing.simulated.kernel import Home, Kernel, Killed, Task

T = TypeVar("T")
Work = Callable[[], Coroutine[Any, Any, object]]


class Suspended:
    """What a coroutine awaits until it is resumed."""

    def __await__(self) -> Generator[Any, Any, Any]:
        return (yield)


class Coro(Task):
    """A coroutine."""

    def __init__(
        self,
        kernel: Kernel,
        home: Home,
        name: str,
        work: Coroutine[Any, Any, object],
        context: contextvars.Context,
    ) -> None:
        super().__init__(kernel, home, name)
        self._work, self.context = work, context

    def cancel(self) -> None:
        """Cancel it as an event loop does: where it waits, or before it has begun."""
        self.resume(self.ticket, error=asyncio.CancelledError())

    def _step(self, value: Any, error: BaseException | None) -> None:
        try:
            if error is not None:
                self.context.run(self._work.throw, error)
            else:
                self.context.run(self._work.send, value)
        except StopIteration:
            self._end(None)
        except BaseException as raised:
            self._end(raised)


async def ask_in_turn(connection: Connection, timeout: float, commands: list[tuple[bytes, ...]]) -> list[Any]:
    """The answers to commands of a coroutine: all of a process are asked over one connection, in the order of
    asking."""
    connection._begin(timeout, connection._doing(commands), in_turn=True)
    found: list[Any] = await Suspended()
    return found


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
        (answer,) = await self.pipeline(server, [command])
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def pipeline(self, server: Any, commands: Sequence[Sequence[Any]]) -> list[Any]:
        packed = [tuple(map(pack, command)) for command in commands]
        return await ask_in_turn(self._home.connection, server._timeout, packed)

    async def sleep(self, seconds: float) -> None:
        task = self._task()
        self._kernel.after_by(self._home, seconds, _resuming(task))
        await Suspended()

    async def wait(self, future: Any, seconds: float | None = None) -> Any:
        if not future.done():
            task = self._task()
            future._done._queue._waiting.append((task, task.ticket))
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

        await self._end(self._start("detached", lasting(), contextvars.copy_context()))
        return found[0]

    async def _end(self, work: Task) -> None:
        # The caller tells of what it raises.
        work.is_awaited = True
        work.on_end(_resuming(self._task()))
        await Suspended()
        if work.error is not None:
            raise work.error

    def runner(self) -> int:
        return id(self._task())

    def runs(self, thread: object) -> bool:
        return True

    def spawn(self, work: Work) -> None:
        self.run("background", work)

    undo = spawn

    def run(self, name: str, work: Work) -> Coro:
        """Run a coroutine in this world, in a context of its own."""
        if self._home.is_dead:
            raise Killed
        context = contextvars.Context()
        context.run(enter, self)
        return self._start(name, work(), context)

    def _start(self, name: str, work: Coroutine[Any, Any, object], context: contextvars.Context) -> Coro:
        task = Coro(self._kernel, self._home, name, work, context)
        self._kernel._begin(task)
        return task

    def _task(self) -> Task:
        task = self._kernel.current
        if task is None or self._home.is_dead:
            raise Killed
        return task


def _resuming(task: Task) -> Callable[[], None]:
    """What resumes ``task`` from the wait that it is about to begin."""
    ticket = task.ticket
    return lambda: task.resume(ticket)
