"""What the server tells of changes: which keys of ours are no longer as they were.

A connection of our own asks the server to broadcast the name of every entry and every log of clears that
changes (client tracking, BCAST), and a thread passes it on. Whenever it cannot be sure to hear of every
change (disconnected, no answer to its pings) it says so.
"""

from __future__ import annotations

import contextlib
import socket
import time
from typing import Any, Protocol

import redis

from tbcache.io.background import BackgroundThread
from tbcache.io.log import get_logger
from tbcache.store.connection import Store

log = get_logger("tbcache.store")

PING_SECONDS = 1.0
PONG_SECONDS = 1.0
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 2.0


class Listener(Protocol):
    """An object that is told of changes."""

    def trust(self, until: float) -> None:
        """Trust the values until then (monotonic seconds); 0: from now on no change is told of."""

    def invalidate(self, key: str) -> None:
        """The entry of ``key`` has changed."""

    def flush(self) -> None:
        """Every entry may have changed."""


class Tracking:
    """Follows the server in a thread, which starts with :meth:`start`."""

    def __init__(self, store: Store, listener: Listener) -> None:
        self._store = store
        self._listener = listener
        self._thread = BackgroundThread("tbcache-local", self._round)
        self.renew()

    def renew(self) -> None:
        """Begin anew: at the start, and in a forked child, which has neither thread nor connection."""
        self._is_closed = self._is_on = False
        self._pause = FIRST_PAUSE_SECONDS
        self._connection: Any = None

    @property
    def is_running(self) -> bool:
        return self._thread.is_running

    def start(self) -> None:
        """Follow the server, if it is there."""
        # A node of a cluster tells only of its own keys, so that tracking stays off there.
        if self._store.is_available and not self._store.settings.redis_cluster:
            self._thread.start()

    def close(self) -> None:
        """End the thread: nothing is told of any more."""
        self._is_closed = True
        self._thread.stop(timeout=0.0)
        # Wakes the thread, which closes the connection: closed from here, redis-py would
        # open it again under the thread's hands.
        sock = getattr(self._connection, "_sock", None)
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _round(self) -> float:
        """Follow the server for as long as one connection lasts; the seconds until the next."""
        self._connection = self._store.connection(protocol=3)
        try:
            self._track()
            self._pause = FIRST_PAUSE_SECONDS
            self._follow()
        except (redis.ConnectionError, redis.TimeoutError, OSError) as error:
            self._lost(error)
        except Exception as error:  # any doubt at all means off
            self._lost(error)
            self._listener.flush()
        finally:
            self._connection.disconnect()
        pause, self._pause = self._pause, min(self._pause * 2, LONGEST_PAUSE_SECONDS)
        return pause

    def _track(self) -> None:
        """Turn tracking on: from here on the server tells of every change."""
        connection, keys = self._connection, self._store.keys
        connection.connect()
        # Hands the message on to the reader, where an error is seen; from inside a
        # handler redis-py would only log it.
        connection._parser.set_invalidation_push_handler(lambda message: message)
        asked = time.monotonic()
        prefixes = ("PREFIX", keys.entries, "PREFIX", keys.logs)
        connection.send_command("CLIENT", "TRACKING", "ON", "BCAST", *prefixes)
        connection.read_response()
        self._listener.flush()
        self._answered(asked)
        log.debug("local.on", prefix=keys.entries)

    def _follow(self) -> None:
        """Pass on what the server names, and ask it every second whether it is there.

        Raises:
          TimeoutError: it did not answer.
        """
        connection = self._connection
        asked, is_answered = time.monotonic(), True
        while not self._is_closed:
            now = time.monotonic()
            if is_answered and now - asked >= PING_SECONDS:
                asked, is_answered = now, False
                connection.send_command("PING")
            due = asked + (PING_SECONDS if is_answered else PONG_SECONDS)
            if connection.can_read(timeout=max(0.0, due - now)):
                message = connection.read_response(push_request=True)
                if isinstance(message, list):
                    self._tell(message)
                else:
                    is_answered = True
                    self._answered(asked)
            elif not is_answered:
                raise TimeoutError("no answer in time")

    def _tell(self, message: list[Any]) -> None:
        """``[b"invalidate", names]``; no names after a flush of the whole server."""
        names, keys = message[1], self._store.keys
        logs = keys.logs.encode()
        if names is None or any(name.startswith(logs) for name in names):
            # A clear may match any key.
            self._listener.flush()
            return
        for name in names:
            self._listener.invalidate(keys.key_of(name.decode()))

    def _answered(self, asked: float) -> None:
        """The server has answered what was asked then: all changes until then are known."""
        self._is_on = True
        self._listener.trust(asked + PING_SECONDS + PONG_SECONDS)

    def _lost(self, error: Exception) -> None:
        was_on, self._is_on = self._is_on, False
        self._listener.trust(0.0)
        if was_on and not self._is_closed:
            log.info("local.off", reason=str(error)[:120] or type(error).__name__)
