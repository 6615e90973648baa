"""How long all that belongs to one request may take, at every socket that it uses.

httpx2 bounds each read, not their sum: an upstream that sends a byte every few seconds would hold
a thread for as long as it likes, in its headers too. So the sum is bounded at the socket.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2

from tbcache.io.deadline import seconds_left, until


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Whatever this thread sends and reads meanwhile is over after ``seconds``."""
    with until(time.monotonic() + seconds):
        yield


def is_over() -> bool:
    return seconds_left() <= 0


def time_left(timeout: float | None = None) -> float | None:
    """``timeout`` seconds, or what is left until this thread's deadline, if less.

    Raises:
      httpx2.ReadTimeout: nothing is left.
    """
    left = seconds_left()
    if left <= 0:
        raise httpx2.ReadTimeout("the total timeout has passed")
    bounded = left if timeout is None else min(timeout, left)
    return None if bounded == math.inf else bounded


def bound(client: httpx2.Client) -> None:
    """Make every socket of ``client`` keep to the deadline of the thread that uses it, and let none that is
    interrupted stop its pool.
    """
    # There is no public option that takes a network backend and keeps the environment's proxies; a test drips
    # bytes at a client, so an httpx2 that moves this attribute is noticed. Another looks at the lock.
    for transport in (client._transport, *client._mounts.values()):
        if isinstance(transport, httpx2.HTTPTransport):
            pool: Any = transport._pool
            pool._network_backend = _BoundedBackend(pool._network_backend)
            # It has a lock that is taken by a function in Python: a time limit that comes in there leaves it
            # taken, and all further requests wait for it for ever. In one of C no exception comes in between.
            pool._optional_thread_lock = threading.RLock()


class _BoundedBackend:
    def __init__(self, backend: Any) -> None:
        self._backend = backend

    def connect_tcp(self, host: str, port: int, timeout: float | None = None, **options: Any) -> Any:
        stream = self._backend.connect_tcp(host, port, timeout=time_left(timeout), **options)
        return _BoundedStream(stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)


class _BoundedStream:
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> Any:
        return self._stream.read(max_bytes, timeout=time_left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, timeout=time_left(timeout))

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> Any:
        stream = self._stream.start_tls(ssl_context, server_hostname, timeout=time_left(timeout))
        return _BoundedStream(stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
