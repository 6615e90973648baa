"""The world: what a driver offers to the coroutines that it runs."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    import httpx2

T = TypeVar("T")

#: A part of a command for Redis.
Argument = str | bytes | int | float


class Endpoint(Protocol):
    """One server that a driver opens connections of its own to."""

    @property
    def timeout(self) -> float:
        """For how many seconds anything is waited for."""

    @property
    def generation(self) -> int:
        """A number; after another one, the connections that were made before are not to be used."""

    def connect(self) -> Any:
        """A connection of redis-py's that is logged in; blocks.

        Raises:
          tbcache.io.error.Unsent: there is none. redis.ResponseError: the server refuses the login.
        """


class Server(Protocol):
    """A Redis, as the store knows it."""

    @property
    def endpoint(self) -> Endpoint | None:
        """The server itself; None where only :meth:`call` finds the node that a command belongs to."""

    def call(self, *command: Argument) -> Any:
        """The answer to one command; blocks."""

    def pipeline(self, *commands: Sequence[Argument]) -> list[Any]:
        """The answers to several, see :meth:`IO.pipeline`; blocks."""


class Connections(Protocol):
    """The HTTP connections of one source: how they are made, not who keeps them."""

    def blocking(self) -> httpx2.Client:
        """The client of this process, which its threads share."""

    def asyncio(self) -> httpx2.AsyncClient | None:
        """A new client for one event loop; None where only the blocking one can reach the source."""


class Reply(NamedTuple):
    """An answer over HTTP. ``body`` is as it came, packed or not, and cut off beyond the bound it was
    asked with; ``at`` is when its head was there, by the wall clock."""

    status: int
    headers: dict[str, str]
    body: bytes
    at: float


class IO(Protocol):
    """What the core asks of its driver. Seconds are seconds, as floats."""

    def now(self) -> float:
        """A monotonic clock."""

    def clock(self) -> float:
        """The wall clock: seconds since 1970, which may be set back and forth."""

    def random_id(self, size: int) -> str:
        """``size`` random bytes as hexadecimal digits: a name that nobody else has."""

    def uniform(self, low: float, high: float) -> float:
        """A random number between ``low`` and ``high``."""

    def call(self, server: Server, command: Sequence[Argument]) -> Awaitable[Any]:
        """The answer of ``server`` to one command. Bytes stay bytes.

        What is sent in one world to one server is carried out in the order in which it was sent. A caller
        who is cancelled does not call the command back.

        Raises:
          redis.RedisError, OSError: there is none; which of them says why.
        """

    async def pipeline(self, server: Server, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        """The answers of ``server`` to several commands, which are sent together. What is no answer but a
        redis.ResponseError, which is about that command, stands in its place.

        Raises:
          redis.RedisError, OSError: an answer is missing; which of them says why.
        """

    async def sleep(self, seconds: float) -> None:
        """Go on after ``seconds``."""

    async def wait(self, future: Future[T], seconds: float | None = None) -> T:
        """What ``future`` brings, which stays as it is for others who wait for it.

        Raises:
          TimeoutError: nothing within ``seconds``.
        """

    async def send(self, connections: Connections, request: httpx2.Request, most_bytes: int) -> Reply:
        """The answer to ``request``, which is sent as it is and followed nowhere, within the deadline of
        :mod:`tbcache.io.deadline`. No more than ``most_bytes`` and one further piece of the body are read.

        Raises:
          httpx2.HTTPError: there is none.
        """

    async def offload(self, work: Callable[[], T]) -> T:
        """What ``work`` returns, which computes or blocks for long. It runs in the blocking world, and goes
        on to its end though the caller is cancelled."""

    async def detach(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What ``work`` comes to, which goes on though the caller is cancelled: others wait for it, too. It
        may be given up with the world."""

    def runner(self) -> int:
        """A number of who runs this code, a thread or a task of a loop, which no other has meanwhile."""

    def runs(self, thread: threading.Thread) -> bool:
        """Whether what was begun in ``thread`` goes on. May be asked from any thread."""

    def spawn(self, work: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Run ``work`` in the background. What it raises is logged; it may be given up with the world."""

    def undo(self, work: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Take back what may have been granted to a caller who is not there any more: like :meth:`spawn`,
        but not given up. It reaches a server after all that was sent to it before."""
