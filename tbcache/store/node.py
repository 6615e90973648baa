"""One server, and the connections to it: redis-py opens them, and asks for none of our commands."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.client import PubSub
from redis.retry import Retry

from tbcache.io.boundary import boundary
from tbcache.io.command import Packer, pack
from tbcache.io.connection import CHECK_SECONDS, Connection
from tbcache.io.error import Unsent
from tbcache.store.script import Argument
from tbcache.store.sentinel import Watched

#: A server may end a wait so much after its time (Valkey looks ten times a second).
LATE_SECONDS = 0.2
#: A connection of no use for so long is closed: a burst of threads must not keep its sockets for ever.
IDLE_SECONDS = 60.0

_ASKING = pack(("ASKING",))


class Sent(NamedTuple):
    """So many commands that were sent over a connection of that generation."""

    connection: Connection
    generation: int
    size: int


@boundary("node")
class Node:
    """The server at ``url``. Nothing waits longer than ``timeout`` for it, and nothing is tried twice.

    With ``watched`` it is the primary of that service, and ``url`` the service's.
    ``asking`` goes before a command that another node of a cluster has sent here.
    """

    def __init__(self, url: str, timeout: float, watched: Watched | None = None) -> None:
        parts = urlsplit(url)
        self.host = parts.hostname or ""
        self.name = f"{self.host}:{parts.port}"
        self._url, self._watched, self.timeout = url, watched, timeout
        self._pool: Any = self._client().connection_pool
        self._idle: deque[tuple[Connection, float]] = deque()
        #: Those over which an answer is waited for that may take long.
        self._blocked: set[Connection] = set()
        #: The generation of the connections: one that was opened in an earlier generation is not used again.
        self.generation = 0
        self._is_closed = False

    @property
    def endpoint(self) -> Self:
        """A driver may open connections of its own to it."""
        return self

    def connect(self) -> Any:
        """A new connection of redis-py's, logged in.

        Raises:
          Unsent: there is none. redis.ResponseError: the server refuses the login.
        """
        connection = self.connection()
        try:
            connection.connect()
        except redis.ResponseError:
            raise
        except (redis.ConnectionError, redis.TimeoutError, OSError) as error:
            raise Unsent(str(error)) from error
        return connection

    def connection(self, **options: Any) -> Any:
        """A new connection of redis-py's, which is not opened yet, with ``options`` of its own."""
        return self._pool.connection_class(**{**self._pool.connection_kwargs, **options})

    def call(self, *command: Argument, asking: bool = False) -> Any:
        """The answer to one command, at half of what redis-py's own path costs."""
        packed = pack(command)
        generation, connection = self.generation, self._checkout()
        if asking:
            connection.ask(_ASKING)
        return self._answered(connection.ask(packed), connection, generation)

    def pipeline(self, *commands: Sequence[Argument]) -> list[Any]:
        """Several commands, sent together: their answers, or a redis.ResponseError in place of one."""
        return self.read(self.send(*commands))

    def send(self, *commands: Sequence[Argument]) -> Sent:
        """Send several commands together. :meth:`read` gives their answers, or the connection is closed."""
        packed = b"".join(pack(command) for command in commands)
        generation, connection = self.generation, self._checkout()
        connection.send(packed)
        return Sent(connection, generation, len(commands))

    def read(self, sent: Sent) -> list[Any]:
        """The answers to commands that were sent."""
        answers = sent.connection.answers(sent.size)
        self._checkin(sent.connection, sent.generation)
        return answers

    def block(self, seconds: float, *command: str, asking: bool = False) -> Any:
        """A command that waits ``seconds`` at most for an element of a list, None when none came."""
        packed = pack((*command, f"{max(seconds, 0.001):.3f}"))
        generation, connection = self.generation, self._checkout()
        self._blocked.add(connection)
        try:
            if asking:
                connection.ask(_ASKING)
            answer = connection.ask_patiently(packed, seconds + LATE_SECONDS)
        finally:
            self._blocked.discard(connection)
        return self._answered(answer, connection, generation)

    def primaries(self) -> list[Node]:
        """Every node that has keys: see :meth:`Cluster.primaries`."""
        return [self]

    def subscribe(self, channel: str) -> PubSub:
        """A connection on which the messages of ``channel`` come."""
        client: Any = self._client()
        messages: PubSub = client.pubsub(ignore_subscribe_messages=True)
        messages.subscribe(channel)
        return messages

    def check(self) -> None:
        """Forget the connections: whatever is asked next, goes over a new one."""
        self.disconnect()

    def disconnect(self) -> None:
        self.generation += 1
        self._close_idle()

    def close(self) -> None:
        self._is_closed = True
        self.disconnect()
        for connection in tuple(self._blocked):
            connection.close()

    def _client(self) -> redis.Redis:
        options: dict[str, Any] = {
            "socket_timeout": self.timeout,
            "socket_connect_timeout": self.timeout,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
        }
        if not self._url.startswith("rediss:"):
            # Over TLS 1.3 a server sends tickets after the handshake. Where nothing is asked at once,
            # redis-py takes them for an answer that nobody has read, and gives the connection up.
            options["driver_info"] = None
        if self._watched is not None:
            client = self._watched.client(options)
        else:
            client = redis.Redis.from_url(self._url, **options)
        # A login has numbers: the database, and the version of the protocol.
        client.connection_pool.connection_kwargs["command_packer"] = Packer()
        return client

    def _checkout(self) -> Connection:
        """A connection that nobody else has until it is checked in again.

        Raises:
          Unsent: there is none. redis.ResponseError: the server refuses the login.
        """
        try:
            connection, idle_since = self._idle.pop()
        except IndexError:
            return Connection(self.connect())
        if time.monotonic() - idle_since > CHECK_SECONDS and not connection.is_sound:
            connection.close()
            return Connection(self.connect())
        return connection

    def _answered(self, answer: Any, connection: Connection, generation: int) -> Any:
        # A connection is used again where its answer was read to the end; one that raises is closed.
        self._checkin(connection, generation)
        if isinstance(answer, redis.ResponseError):
            raise answer
        return answer

    def _checkin(self, connection: Connection, generation: int) -> None:
        """Keep it for the next call, and close one that nobody has used for a minute: the oldest is first.
        One of an earlier generation than now is closed, and all that are idle with it."""
        now = time.monotonic()
        self._idle.append((connection, now))
        # This is looked at last: of a thread that comes back and one that disconnects, one sees the other.
        if generation != self.generation or self._is_closed:
            self._close_idle()
            return
        try:  # suppress() would be dearer, and each call of the server pays for this.
            if now - self._idle[0][1] > IDLE_SECONDS:
                oldest, _ = self._idle.popleft()
                oldest.close()
        except IndexError:
            return  # Another thread has taken it meanwhile.

    def _close_idle(self) -> None:
        with suppress(IndexError):  # Another thread has taken the last one.
            while self._idle:
                self._idle.pop()[0].close()
