"""One connection to Redis for one thread at a time: what it asks is sent at once, and answered before anybody
asks anything else. :mod:`tbcache.io.shared_connection` is the same for the tasks of an event loop."""

from __future__ import annotations

from typing import Any

import redis

#: So many bytes are read at once: more than a record of TLS, whose rest no selector would see.
READ_BYTES = 1 << 16
#: A connection over which nothing came for longer may have been closed by the server. To look costs a few us,
#: and what is sent over one that is closed may have been done, for all its sender knows.
CHECK_SECONDS = 0.05


class Connection:
    """``connection`` is one of redis-py's, blocking and logged in: its socket is used, and the reader that
    knows its errors. Nothing of what redis-py does around them for other uses of a connection is needed here.

    Whatever is raised, the connection is closed: half an answer may still come, and nobody must read it as
    his own.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._socket, self._reader = connection._sock, connection._parser._reader
        self._nothing = nothing_of(self._reader)

    @property
    def is_sound(self) -> bool:
        """False where there is something to read though nothing was asked: the server has closed it."""
        try:
            return not self._connection.can_read(timeout=0)
        except (redis.ConnectionError, redis.TimeoutError, OSError):
            return False

    def ask(self, packed: bytes) -> Any:
        """The answer to one command, or the redis.ResponseError in its place.

        Raises:
          redis.TimeoutError, redis.ConnectionError, redis.InvalidResponse: there is none.
        """
        try:
            self._send(packed)
            answer = self._answer()
            self._check_end()
        except BaseException:
            self.close()
            raise
        return answer

    def ask_patiently(self, packed: bytes, seconds: float) -> Any:
        """:meth:`ask`, where the server may take so many seconds more to answer."""
        patience = self._socket.gettimeout()
        self._socket.settimeout(patience + seconds)
        answer = self.ask(packed)
        self._socket.settimeout(patience)
        return answer

    def send(self, packed: bytes) -> None:
        """Send commands, whose answers are to be read before anything else is asked."""
        try:
            self._send(packed)
        except BaseException:
            self.close()
            raise

    def answers(self, count: int) -> list[Any]:
        """The answers to ``count`` commands that were sent, each as :meth:`ask` gives it."""
        try:
            answers = [self._answer() for _ in range(count)]
            self._check_end()
        except BaseException:
            self.close()
            raise
        return answers

    def close(self) -> None:
        self._connection.disconnect()

    def _send(self, packed: bytes) -> None:
        try:
            self._socket.sendall(packed)
        except TimeoutError:
            raise redis.TimeoutError("Timeout writing to socket") from None
        except OSError as error:
            raise redis.ConnectionError(f"Error while writing to socket: {error.args}") from error

    def _answer(self) -> Any:
        reader = self._reader
        try:
            while (answer := reader.gets(False)) is self._nothing:
                if not (data := self._socket.recv(READ_BYTES)):
                    raise redis.ConnectionError("Connection closed by server.")
                reader.feed(data)
        except TimeoutError:
            raise redis.TimeoutError("Timeout reading from socket") from None
        except OSError as error:
            raise redis.ConnectionError(f"Error while reading from socket: {error.args}") from error
        # A server that is still loading, or has too many clients, has not answered the command.
        if isinstance(answer, redis.ConnectionError):
            raise answer
        return answer

    def _check_end(self) -> None:
        """Check that there are no more answers than asks: nobody would know which of them is whose."""
        if self._reader.has_data():
            raise redis.InvalidResponse("Redis answered what nobody had asked")


def nothing_of(reader: Any) -> Any:
    """What the reader gives where there is no whole answer."""
    return reader.gets(False)
