"""The in-process layer: answers from this process's own memory, kept true by the server.

A connection of our own asks the server to broadcast the name of every entry and every log
of clears that changes (client tracking, BCAST), and a thread drops what is named, or all of
it where something was cleared. Whenever it cannot
be sure (disconnected, flushed, no answer to its pings) the layer is off.

While the server itself is away, what was kept until then stands in for it, see
:meth:`LocalCache.stand_in`; its return empties the layer, before anyone asks either again.

A value that was read before a change and put after it would stay; hence the order
``token = begin(key)``, read, ``put(..., token)``: the put is refused if the key was
named in between.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import weakref
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import redis

from tbcache.io.background import BackgroundThread
from tbcache.settings.log import get_logger
from tbcache.store.connection import Store

log = get_logger("tbcache.store")

MISSING: Final[Any] = type("Missing", (), {"__repr__": lambda self: "MISSING", "__slots__": ()})()

PING_SECONDS = 1.0
PATIENCE_SECONDS = 1.0
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 2.0

#: Bytes that an entry takes beside its value and its key, roughly.
OVERHEAD_BYTES = 300

_STRIPES = 1024
_LAYERS: weakref.WeakSet[LocalCache] = weakref.WeakSet()


class Token(NamedTuple):
    """What was true when a read began."""

    epoch: int
    changes: int
    started: float


class _Entry(NamedTuple):
    value: Any
    deadline: float
    size: int


class Packed(NamedTuple):
    """A value as it is encoded: each reader gets its own, and may change it."""

    payload: bytes


class StandIn(NamedTuple):
    """A value of before the server went away, and for how many seconds it would have been fresh."""

    value: Any
    seconds: float


@dataclass(frozen=True, slots=True)
class LocalStats:
    """How full the layer is, and how often it answered."""

    entries: int
    bytes: int
    hits: int


class LocalCache:
    """Values by cache key, at most ``max_bytes`` of them, the least recently used go first.

    Put only values that nobody changes: every caller gets the same object.
    ``prefix`` is what the names of the tracked Redis keys start with. The thread and its
    connection start at the first :meth:`begin`.
    """

    def __init__(self, store: Store, max_bytes: int, prefix: str) -> None:
        self._store = store
        self._max_bytes = max_bytes
        self._prefix = prefix
        self._epoch = 0
        self._thread = BackgroundThread("tbcache-local", self._round)
        self._reset()
        _LAYERS.add(self)
        # What others change from now on is told to nobody who is not connected yet.
        store.on_return(self.flush)
        store.on_clear(lambda pattern: self.flush())

    @property
    def is_on(self) -> bool:
        """True while the server is known to tell us of every change."""
        return time.monotonic() < self._sure_until

    @property
    def stats(self) -> LocalStats:
        return LocalStats(len(self._entries), self._bytes, self._hits)

    def get(self, key: str) -> Any:
        """The value, or ``MISSING``."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return MISSING
            now = time.monotonic()
            # Not only the thread's flag: a thread that gets no time to run must not
            # leave old values in use.
            if now >= self._sure_until:
                return MISSING
            if now >= entry.deadline:
                self._drop(key)
                return MISSING
            self._entries.move_to_end(key)
            self._hits += 1
            return entry.value

    def stand_in(self, key: str) -> StandIn | None:
        """The value while the server is away and its TTL is not over, which others may have changed."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None or self._store.is_available:
                return None
            left = entry.deadline - time.monotonic()
            return StandIn(entry.value, left) if left > 0 else None

    def begin(self, key: str) -> Token:
        """Call before reading ``key`` from Redis; :meth:`put` wants what this gives."""
        if not self._thread.is_running:
            self._start()
        return Token(self._epoch, self._changes[hash(key) % _STRIPES], time.monotonic())

    def put(self, key: str, value: Any, ttl: float, token: Token, size: int) -> bool:
        """Keep ``value`` (of ``size`` bytes) for ``ttl`` seconds from ``token`` on.

        False when it was not kept: the key has changed since, the layer is off, or the
        value is too large for it.
        """
        size += OVERHEAD_BYTES + len(key)
        with self._lock:
            changed = (self._epoch, self._changes[hash(key) % _STRIPES]) != token[:2]
            if changed or not self.is_on or size > self._max_bytes:
                return False
            self._drop(key)
            self._entries[key] = _Entry(value, token.started + ttl, size)
            self._bytes += size
            while self._bytes > self._max_bytes:
                self._drop(next(iter(self._entries)))
        return True

    def discard(self, key: str) -> None:
        """Drop ``key``, and refuse what was read of it until now; call after changing it."""
        with self._lock:
            self._changes[hash(key) % _STRIPES] += 1
            self._drop(key)

    def flush(self) -> None:
        """Drop everything, and refuse what was read until now."""
        with self._lock:
            self._epoch += 1
            self._entries.clear()
            self._bytes = 0

    def close(self) -> None:
        """Empty it and end the thread."""
        self._is_closed = True
        self._thread.stop(timeout=0.0)
        self._sure_until = 0.0
        self.flush()
        # Wakes the thread, which closes the connection: closed from here, redis-py would
        # open it again under the thread's hands.
        sock = getattr(self._connection, "_sock", None)
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _reset(self) -> None:
        """As new: also in a forked child, which has neither the thread nor the connection."""
        self._lock = threading.Lock()
        self._is_closed = False
        self._pause = FIRST_PAUSE_SECONDS
        self._connection: Any = None
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._bytes = 0
        self._hits = 0
        self._sure_until = 0.0
        self._epoch += 1
        # Counters shared by keys of one hash: a put refused for a neighbour's sake
        # costs one read, counters for every key would cost memory for ever.
        self._changes = [0] * _STRIPES

    def _drop(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= entry.size

    def _start(self) -> None:
        with self._lock:
            # In a cluster each node tells only of its own keys: there the layer stays off.
            if not self._is_closed and self._store.is_available and not self._store.is_cluster:
                self._thread.start()

    def _round(self) -> float:
        """Follow the server for as long as one connection lasts; the seconds until the next."""
        pool = self._store.client.connection_pool
        self._connection = pool.connection_class(**{**pool.connection_kwargs, "protocol": 3})
        try:
            self._track()
            self._pause = FIRST_PAUSE_SECONDS
            self._follow()
        except (redis.ConnectionError, redis.TimeoutError, OSError) as error:
            self._lost(error)
        except Exception as error:  # any doubt at all means off
            self._lost(error)
            self.flush()
        finally:
            self._connection.disconnect()
        pause, self._pause = self._pause, min(self._pause * 2, LONGEST_PAUSE_SECONDS)
        return pause

    def _track(self) -> None:
        """Turn tracking on, and with it the layer."""
        connection = self._connection
        connection.connect()
        # Hands the message on to the reader, where an error is seen; from inside a
        # handler redis-py would only log it.
        connection._parser.set_invalidation_push_handler(lambda message: message)
        asked = time.monotonic()
        logs = self._store.keys.logs
        connection.send_command("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", self._prefix, "PREFIX", logs)
        connection.read_response()
        self.flush()
        self._trust(asked)
        log.debug("local.on", prefix=self._prefix)

    def _follow(self) -> None:
        """Drop what the server names, and ask it every second whether it is there.

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
            due = asked + (PING_SECONDS if is_answered else PATIENCE_SECONDS)
            if connection.can_read(timeout=max(0.0, due - now)):
                message = connection.read_response(push_request=True)
                if isinstance(message, list):
                    self._obey(message)
                else:
                    is_answered = True
                    self._trust(asked)
            elif not is_answered:
                raise TimeoutError("no answer in time")

    def _obey(self, message: list[Any]) -> None:
        """``[b"invalidate", names]``; no names after a flush of the whole server."""
        names = message[1]
        if names is None:
            self.flush()
            return
        logs = self._store.keys.logs.encode()
        for name in names:
            if name.startswith(logs):
                self.flush()
            else:
                self.discard(self._store.keys.key_of(name.decode()))

    def _trust(self, asked: float) -> None:
        """The server has answered what was asked then: all changes until then are known."""
        with self._lock:
            if not self._is_closed:
                self._sure_until = asked + PING_SECONDS + PATIENCE_SECONDS

    def _lost(self, error: Exception) -> None:
        was_on = self.is_on
        self._sure_until = 0.0
        if was_on and not self._is_closed:
            log.info("local.off", reason=str(error)[:120] or type(error).__name__)


def _after_fork() -> None:
    for layer in list(_LAYERS):
        layer._reset()


os.register_at_fork(after_in_child=_after_fork)
