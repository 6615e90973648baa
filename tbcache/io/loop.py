"""The asyncio driver: a world for each event loop, with connections of its own to Redis and to upstreams.

It lasts as long as its loop. asyncio.run, and whoever else ends a loop in good order, ends its async
generators first: one of ours closes the connections then, after what was granted to cancelled tasks is
given back. A loop that was closed in another way is cleared up when the next begins, or with the process; one
that is dropped unclosed takes its connections along as it is collected.
"""

from __future__ import annotations

import asyncio
import copy
import functools
import os
import threading
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import Future
from contextlib import suppress
from contextvars import Context
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import redis

from tbcache.io.blocking import RealTime, log_failure
from tbcache.io.command import pack
from tbcache.io.current import BLOCKING, enter, inside, leave
from tbcache.io.error import Unsent
from tbcache.io.shared_connection import SharedConnection
from tbcache.io.thread import ThreadPool
from tbcache.io.trace import carried
from tbcache.io.world import Argument, Connections, Endpoint, Reply, Server

if TYPE_CHECKING:
    import httpx2

T = TypeVar("T")

#: For how long a loop that ends waits until slots and leases are given back.
UNDO_SECONDS = 5.0

#: They open connections, and ask the nodes of a cluster: Redis must not wait for anything else.
_CALLS = ThreadPool("tbcache-call", 8)
#: They run what others wrote, which may take as long as it likes.
_WORK = ThreadPool("tbcache-work", 8)


class Asyncio(RealTime):
    """The world of the loop that runs; see :class:`tbcache.io.world.IO`. Used in its thread alone."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._dialled: dict[Endpoint, _Dialled] = {}
        self._dials: dict[Endpoint, _Dial] = {}
        #: The same connections, as redis-py has them, for a finalizer that must not hold the loop.
        self._connections: dict[Endpoint, Any] = {}
        self._clients: dict[Connections, httpx2.AsyncClient | None] = {}
        self._opening = asyncio.Lock()
        #: The loop itself would forget them.
        self._tasks: set[asyncio.Task[object]] = set()
        self._undoing: dict[asyncio.Task[object], Work] = {}
        self._life = self._live()

    async def begin(self) -> None:
        """Be closed with the loop, and where nobody closes that, let no connection stay behind."""
        weakref.finalize(self._loop, _disconnect, self._connections).atexit = False
        await anext(self._life)

    def call(self, server: Server, command: Sequence[Argument]) -> Awaitable[Any]:
        endpoint = server.endpoint
        if endpoint is None:
            return self._in_thread(lambda: server.call(*command))
        # There mostly is a connection, and its answer is all that there is to wait for.
        shared = self._shared(endpoint)
        return self._dial_and_ask(endpoint, command) if shared is None else shared.ask(pack(command))

    async def pipeline(self, server: Server, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        endpoint = server.endpoint
        if endpoint is None:
            return await self._in_thread(lambda: server.pipeline(*commands))
        shared = self._shared(endpoint) or await self._dial(endpoint)
        return await _all([shared.ask(pack(command)) for command in commands])

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))

    async def wait(self, future: Future[T], seconds: float | None = None) -> T:
        if not future.done():
            arrived: asyncio.Future[None] = self._loop.create_future()
            future.add_done_callback(lambda _: _tell(self._loop, arrived))
            timer = None if seconds is None else self._loop.call_later(seconds, _settle, arrived)
            try:
                await arrived
            finally:
                if timer is not None:
                    timer.cancel()
            if not future.done():
                raise TimeoutError
        return future.result()

    async def send(self, connections: Connections, request: httpx2.Request, most_bytes: int) -> Reply:
        from tbcache.io import http, http_loop

        if connections not in self._clients:
            async with self._opening:
                if connections not in self._clients:
                    # What the first one loads takes long, for which the loop is not held.
                    opened = await self.offload(functools.partial(http_loop.opened, connections))
                    self._clients[connections] = opened
        client = self._clients[connections]
        if client is None:
            return await self.offload(lambda: http.exchange(connections.blocking(), request, most_bytes))
        return await http_loop.exchange(client, request, most_bytes)

    async def offload(self, work: Callable[[], T]) -> T:
        return await self.wait(_WORK.run(work))

    async def detach(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        # The task runs in the context of the caller, whose own code it may be.
        task = self._loop.create_task(work())
        self._tasks.add(task)
        task.add_done_callback(self._end)
        return await asyncio.shield(task)

    def runner(self) -> int:
        return id(asyncio.current_task())

    def runs(self, thread: threading.Thread) -> bool:
        # It may go on in another thread.
        return self._loop.is_running()

    def spawn(self, work: Work) -> None:
        self._start(carried(work))

    def undo(self, work: Work) -> None:
        work = carried(work)
        if self._loop.is_closed():
            # A coroutine that was left in the middle, and is collected now.
            BLOCKING.spawn(work)
            return
        self._undoing[self._start(work)] = work

    async def close(self) -> None:
        """Close what is open, after what was granted to cancelled tasks is given back."""
        _forget(self._loop)
        with suppress(TimeoutError):
            async with asyncio.timeout(UNDO_SECONDS):
                await self._give_up()
                await self._undo_all()
        for client in self._clients.values():
            if client is not None:
                await client.aclose()
        self.abandon()

    def abandon(self) -> None:
        """Close its connections to Redis, from wherever; the loop may be closed."""
        for dial in self._dials.values():
            dial.connection.add_done_callback(_hang_up)
        for dialled in self._dialled.values():
            dialled.shared.close()
        self._dials.clear()
        self._dialled.clear()
        self._connections.clear()

    def leave_to_parent(self) -> None:
        """Close, in a forked child, the copies of the sockets, which are still the parent's."""
        for dialled in self._dialled.values():
            dialled.shared.drop()

    async def _live(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            await self.close()

    async def _give_up(self) -> None:
        spawned = self._tasks - self._undoing.keys()
        for task in spawned:
            task.cancel()
        if spawned:
            await asyncio.wait(spawned)

    async def _undo_all(self) -> None:
        while self._undoing:
            task, work = next(iter(self._undoing.items()))
            await asyncio.wait([task])
            self._undoing.pop(task, None)
            # The end of a loop cancels all its tasks, this one included.
            if task.cancelled():
                with inside(self):
                    await work()

    def _start(self, work: Work) -> asyncio.Task[object]:
        # Of its caller the work has the trace, and not the deadline.
        context = Context()
        context.run(enter, self)
        task = self._loop.create_task(work(), context=context)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _end(self, task: asyncio.Task[T]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            # Or the loop would say that nobody retrieves it, where the caller was cancelled meanwhile.
            task.exception()

    def _done(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        self._undoing.pop(task, None)
        if (error := task.exception()) is not None:
            log_failure(error)

    def _shared(self, endpoint: Endpoint) -> SharedConnection | None:
        """The connection that there is, if it is of use."""
        dialled = self._dialled.get(endpoint)
        if dialled is None or dialled.generation != endpoint.generation or not dialled.shared.is_sound:
            return None
        return dialled.shared

    async def _dial_and_ask(self, endpoint: Endpoint, command: Sequence[Argument]) -> Any:
        return await (await self._dial(endpoint)).ask(pack(command))

    async def _dial(self, endpoint: Endpoint) -> SharedConnection:
        """A new connection, which all who ask meanwhile wait for.

        Raises:
          Unsent: there is none. redis.ResponseError: the server refuses the login.
        """
        dial = self._dials.get(endpoint)
        if dial is None or dial.is_of_no_use(endpoint.generation):
            if dial is not None:
                dial.connection.add_done_callback(_hang_up)
            dial = _Dial(_CALLS.run(endpoint.connect), endpoint.generation)
            self._dials[endpoint] = dial
        try:
            connection = await self.wait(dial.connection, endpoint.timeout)
        except TimeoutError:
            raise Unsent("Timeout connecting to server") from redis.TimeoutError()
        except (redis.RedisError, OSError) as error:
            # Each caller who waited gets its own copy: an error collects the traces of those who raise it.
            raise copy.copy(error) from error.__cause__
        if self._dials.get(endpoint) is dial:
            del self._dials[endpoint]
            shared = SharedConnection(connection, endpoint.timeout, self._loop)
            self._replace(endpoint, _Dialled(shared, dial.generation))
            self._connections[endpoint] = connection
        # The connection that was dialled may be of an old generation by now, or closed by the server.
        return self._shared(endpoint) or await self._dial(endpoint)

    def _replace(self, endpoint: Endpoint, dialled: _Dialled) -> None:
        before, self._dialled[endpoint] = self._dialled.get(endpoint), dialled
        if before is not None:
            before.shared.close()

    async def _in_thread(self, ask: Callable[[], T]) -> T:
        """What ``ask`` returns. It is over also where the caller is cancelled: what is sent after it must not
        overtake it."""
        asking = _CALLS.run(ask)
        try:
            return await self.wait(asking)
        except asyncio.CancelledError:
            while not (asking.cancel() or asking.done()):
                with suppress(Exception, asyncio.CancelledError):
                    await self.wait(asking)
            raise


Work = Callable[[], Coroutine[Any, Any, object]]


class _Dialled(NamedTuple):
    shared: SharedConnection
    generation: int


class _Dial(NamedTuple):
    connection: Future[Any]
    generation: int

    def is_of_no_use(self, generation: int) -> bool:
        failed = self.connection.done() and self.connection.exception() is not None
        return failed or self.generation != generation


async def drive(coroutine: Coroutine[Any, Any, T]) -> T:
    """What ``coroutine`` of the core returns, in the world of the loop that runs."""
    # A context manager would be dearer, and each call of the awaited API pays for this.
    entered = enter(getattr(asyncio.get_running_loop(), WORLD, None) or await _begin())
    try:
        return await coroutine
    finally:
        try:  # noqa: SIM105 -- each call of the awaited API would pay for a context manager
            leave(entered)
        except ValueError:
            # It was left in the middle and is closed by whoever collects it, in a context of their own.
            pass


def leave_behind(work: Work) -> None:
    """Have ``work`` done for a coroutine that is closed. Its loop may be closed as well, or end just now."""
    loop = asyncio._get_running_loop()
    world = None if loop is None else world_of(loop)
    if world is None:
        BLOCKING.spawn(work)
    else:
        world.undo(work)


def world_of(loop: asyncio.AbstractEventLoop) -> Asyncio | None:
    """The world of ``loop``, if it has one."""
    world: Asyncio | None = getattr(loop, WORLD, None)
    return world


#: The attribute of a loop that is its world. A table of all of them would keep each loop that nobody closes.
WORLD = "_tbcache_world"
_LOCK = threading.Lock()
_LOOPS: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()
_OF_PARENT: list[object] = []


async def _begin() -> Asyncio:
    world, loop = Asyncio(), asyncio.get_running_loop()
    with _LOCK:
        left = [_take(one) for one in list(_LOOPS) if one.is_closed()]
        setattr(loop, WORLD, world)
        _LOOPS.add(loop)
    for one in left:
        if one is not None:
            one.abandon()
    await world.begin()
    return world


async def _all(answers: list[asyncio.Future[Any]]) -> list[Any]:
    """What each brings, or the error that is about its command."""
    try:
        await asyncio.wait(answers)
    finally:
        # Where the task is cancelled, nobody reads the answers that are still to come.
        for answer in answers:
            answer.cancel()
    found = [answer.exception() or answer.result() for answer in answers]
    for one in found:
        if isinstance(one, Exception) and not isinstance(one, redis.ResponseError):
            raise one
    return found


def _forget(loop: asyncio.AbstractEventLoop) -> None:
    with _LOCK:
        _take(loop)


def _take(loop: asyncio.AbstractEventLoop) -> Asyncio | None:
    """The world that ``loop`` has no more."""
    world = world_of(loop)
    _LOOPS.discard(loop)
    if world is not None:
        delattr(loop, WORLD)
    return world


def _disconnect(connections: dict[Endpoint, Any]) -> None:
    for connection in connections.values():
        connection.disconnect()


def _tell(loop: asyncio.AbstractEventLoop, arrived: asyncio.Future[None]) -> None:
    if asyncio._get_running_loop() is loop:
        _settle(arrived)
        return
    # A loop that is closed has nobody who waits.
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(_settle, arrived)


def _settle(arrived: asyncio.Future[None]) -> None:
    if not arrived.done():
        arrived.set_result(None)


def _hang_up(connection: Future[Any]) -> None:
    if not connection.cancelled() and connection.exception() is None:
        connection.result().disconnect()


def _after_fork() -> None:
    global _LOCK, _LOOPS
    # The loops are the parent's. They must not be collected here, as that would wake them.
    for loop in list(_LOOPS):
        if (world := _take(loop)) is not None:
            world.leave_to_parent()
            _OF_PARENT.append((loop, world))
    _LOCK, _LOOPS = threading.Lock(), weakref.WeakSet()


os.register_at_fork(after_in_child=_after_fork)
