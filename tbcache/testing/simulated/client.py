"""A simulated process's client of Redis: what the core asks of its node."""

from __future__ import annotations

from typing import Any

from tbcache.testing.simulated.connection import Connection, Subscription


class Node:
    """Stands for ``tbcache.store.node.Node``, over a simulated connection."""

    def __init__(self, connection: Connection, timeout: float) -> None:
        self._connection, self._timeout = connection, timeout
        self.host, self.name = "redis", "redis:6379"

    def call(self, *command: Any, asking: bool = False) -> Any:
        (answer,) = self.call_all([command])
        if isinstance(answer, Exception):
            raise answer
        return answer

    def call_all(self, commands: list[tuple[Any, ...]]) -> list[Any]:
        packed = [tuple(map(pack, command)) for command in commands]
        return self._connection.ask(self._timeout, packed)

    def block(self, seconds: float, *command: str, asking: bool = False) -> Any:
        _, *keys = command
        return self._connection.block(self._timeout, seconds, [pack(key) for key in keys])

    def pipeline(self, *commands: tuple[Any, ...]) -> list[Any]:
        return self.call_all(list(commands))

    def primaries(self) -> list[Node]:
        return [self]

    def subscribe(self, channel: str) -> Subscription:
        return self._connection.subscribe(channel.encode())

    def check(self) -> None: ...

    def disconnect(self) -> None: ...

    def close(self) -> None: ...


def pack(part: Any) -> bytes:
    """A part of a command as it travels."""
    if isinstance(part, bytes):
        return part
    if isinstance(part, float):
        return repr(part).encode()
    return str(part).encode()
