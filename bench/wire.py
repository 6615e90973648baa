"""How often this process has spoken to a server, whichever library of its did it."""

from __future__ import annotations

import threading
from typing import Any

import redis.asyncio.connection
import redis.connection

from tbcache.io.connection import Connection
from tbcache.io.shared_connection import SharedConnection

_lock = threading.Lock()
_total = 0
_is_counting = False


class _Mine(threading.local):
    trips = 0
    is_connecting = False


_mine = _Mine()


def count_round_trips() -> None:
    """From now on, count each packet sent through redis-py or by tbcache's own connections; a pipeline is
    one, a handshake none.
    """
    global _is_counting
    if not _is_counting:
        _is_counting = True
        _wrap(redis.connection.AbstractConnection)
        _wrap_own(Connection)
        _wrap_own(SharedConnection)
        _wrap_async(redis.asyncio.connection.AbstractConnection)


def mine() -> int:
    """The round trips of this thread."""
    return _mine.trips


def everyones() -> int:
    """The round trips of this process, those of its event loops too."""
    return _total


def _count() -> None:
    global _total
    if not _mine.is_connecting:
        _mine.trips += 1
        with _lock:
            _total += 1


def _wrap(cls: Any) -> None:
    send, connect = cls.send_packed_command, cls.on_connect_check_health

    def counted(self: Any, *args: Any, **options: Any) -> Any:
        _count()
        return send(self, *args, **options)

    def connecting(self: Any, *args: Any, **options: Any) -> Any:
        _mine.is_connecting = True
        try:
            return connect(self, *args, **options)
        finally:
            _mine.is_connecting = False

    cls.send_packed_command, cls.on_connect_check_health = counted, connecting


def _wrap_own(cls: Any) -> None:
    send = cls._send

    def counted(self: Any, *args: Any) -> None:
        _count()
        send(self, *args)

    cls._send = counted


def _wrap_async(cls: Any) -> None:
    send = cls.send_packed_command

    async def counted(self: Any, *args: Any, **options: Any) -> Any:
        _count()
        return await send(self, *args, **options)

    cls.send_packed_command = counted
