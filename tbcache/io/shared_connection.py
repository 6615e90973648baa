"""One connection to Redis that any number of tasks share: what they ask is sent together, and the answers
come in the order of the asks."""

from __future__ import annotations

import asyncio
import copy
import ssl
import time
from collections import deque
from typing import Any

import redis

from tbcache.io.connection import CHECK_SECONDS, READ_BYTES, nothing_of

_NOT_NOW = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


#: An answer that is waited for, and since when. A plain tuple: each ask pays for it.
_Pending = tuple[asyncio.Future[Any], float]


class SharedConnection:
    """``connection`` is one of redis-py's, blocking and logged in: its socket is used, and the reader that
    knows its errors. Used in ``loop`` alone.

    A task that is cancelled leaves its answer, which is dropped when it comes. Where nothing came for
    ``timeout`` seconds though something was asked, the connection is given up, and with it whatever was asked
    after: it waits behind the first. Answers that keep coming are waited for, as many large ones do.
    """

    def __init__(self, connection: Any, timeout: float, loop: asyncio.AbstractEventLoop) -> None:
        self._connection, self._timeout, self._loop = connection, timeout, loop
        self._socket, self._reader = connection._sock, connection._parser._reader
        self._nothing = nothing_of(self._reader)
        self._asked: deque[_Pending] = deque()
        self._unsent: list[bytes] = []
        self._is_sending = self._is_watched = False
        self._last_seen_at = time.monotonic()
        self.is_open = True
        self._socket.setblocking(False)
        loop.add_reader(self._socket.fileno(), self._receive)

    @property
    def is_sound(self) -> bool:
        """False where the server has closed it. A loop that stood still may not have seen it yet."""
        if self.is_open and not self._asked and time.monotonic() - self._last_seen_at > CHECK_SECONDS:
            self._receive()
        return self.is_open

    def ask(self, packed: bytes) -> asyncio.Future[Any]:
        """The answer to a command, or the error that there is none."""
        answer: asyncio.Future[Any] = asyncio.Future(loop=self._loop)
        self._asked.append((answer, time.monotonic()))
        self._unsent.append(packed)
        if not self._is_sending:
            # The asks of other tasks in this round of the loop are sent with it.
            self._is_sending = True
            self._loop.call_soon(self._send)
        if not self._is_watched:
            self._is_watched = True
            self._loop.call_later(self._timeout, self._watch)
        return answer

    def close(self, error: Exception | None = None) -> None:
        """Close it; who waits for an answer gets ``error``."""
        if not self.is_open:
            return
        self.is_open = False
        if not self._loop.is_closed():
            self._loop.remove_reader(self._socket.fileno())
            self._loop.remove_writer(self._socket.fileno())
        self.drop()
        asked, self._asked = self._asked, deque()
        for answer, _ in asked:
            if not answer.done() and not self._loop.is_closed():
                # Each gets its own copy: an error that is raised in several tasks collects their traces.
                answer.set_exception(copy.copy(error or redis.ConnectionError("Connection closed")))

    def drop(self) -> None:
        """Close this process's side of it, without a word to the loop."""
        self.is_open = False
        self._connection.disconnect()

    def _send(self) -> None:
        if not self.is_open:
            return
        data = b"".join(self._unsent)
        self._unsent.clear()
        try:
            sent = self._socket.send(data)
        except _NOT_NOW:
            sent = 0
        except OSError as error:
            self.close(redis.ConnectionError(f"Error while writing to socket. {error}"))
            return
        if sent < len(data):
            self._unsent.append(data[sent:])
            self._loop.add_writer(self._socket.fileno(), self._send)
        elif self._is_sending:
            self._is_sending = False
            self._loop.remove_writer(self._socket.fileno())

    def _receive(self) -> None:
        try:
            self._read()
        except _NOT_NOW:
            return
        except (OSError, redis.RedisError) as error:
            known = isinstance(error, redis.RedisError)
            self.close(error if known else redis.ConnectionError(f"Error while reading from socket. {error}"))

    def _read(self) -> None:
        data = self._socket.recv(READ_BYTES)
        if not data:
            raise redis.ConnectionError("Connection closed by server.")
        self._last_seen_at = time.monotonic()
        self._reader.feed(data)
        while (answer := self._reader.gets(False)) is not self._nothing:
            self._deliver(answer)

    def _deliver(self, answer: Any) -> None:
        if not self._asked:
            raise redis.InvalidResponse("Redis answered what nobody had asked")
        future, _ = self._asked.popleft()
        if future.done():
            return
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)

    def _watch(self) -> None:
        """Give the connection up where it is silent for too long, or look again when it would be."""
        self._is_watched = False
        if self._asked and self._seconds_left() <= 0:
            # A loop that stood still has not read what came in time.
            self._receive()
        if not self._asked:
            return
        if (left := self._seconds_left()) <= 0:
            self.close(redis.TimeoutError("Timeout reading from socket"))
            return
        self._is_watched = True
        self._loop.call_later(left, self._watch)

    def _seconds_left(self) -> float:
        """Until the server has been silent for too long, though it was asked."""
        return max(self._asked[0][1], self._last_seen_at) + self._timeout - time.monotonic()
