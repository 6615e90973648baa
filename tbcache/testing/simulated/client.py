"""A simulated process's client of Redis: what of redis-py, and of the core's node, the core asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tbcache.testing.simulated.connection import Connection, Subscription


class Node:
    """Stands for ``tbcache.store.node.Node``, over a simulated connection."""

    def __init__(self, connection: Connection, timeout: float) -> None:
        self._connection, self._timeout = connection, timeout
        self.host, self.name = "redis", "redis:6379"
        self.client = Client(self)

    def call(self, *command: Any, asking: bool = False) -> Any:
        (answer,) = self.call_all([command])
        if isinstance(answer, Exception):
            raise answer
        return answer

    def call_all(self, commands: list[tuple[Any, ...]]) -> list[Any]:
        packed = [tuple(map(pack, command)) for command in commands]
        return self._connection.ask(self._timeout, packed)

    async def call_in_turn(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        packed = [tuple(map(pack, command)) for command in commands]
        return await self._connection.ask_in_turn(self._timeout, packed)

    def ask(self, *command: Any, options: Mapping[str, Any], asking: bool = False) -> Any:
        return self.call(*command)

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


class Client:
    """Stands for redis-py's, with what the core asks of it."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def pipeline(self, transaction: bool = False) -> Pipeline:
        return Pipeline(self._node)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *arguments: shaped(name, self._node.call(name.upper(), *_spread(arguments)))


class Pipeline:
    """Commands that are sent together."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._commands: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Callable[..., Pipeline]:
        def add(*arguments: Any) -> Pipeline:
            self._commands.append((name.upper(), *_spread(arguments)))
            return self

        return add

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        commands, self._commands = self._commands, []
        if not commands:
            return []
        found = self._node.call_all(commands)
        return [shaped(command[0].lower(), answer) for command, answer in zip(commands, found, strict=True)]


def _spread(arguments: tuple[Any, ...]) -> Iterator[Any]:
    """The parts of a command; of fields or keys, redis-py takes a list as well."""
    for one in arguments:
        yield from one if isinstance(one, list) else (one,)


def shaped(name: str, answer: Any) -> Any:
    """An answer as redis-py gives it."""
    if isinstance(answer, Exception):
        return answer
    if name == "hgetall":
        return dict(zip(answer[::2], answer[1::2], strict=True))
    if name == "zmscore":
        return [None if score is None else float(score) for score in answer]
    if name == "time":
        return tuple(map(int, answer))
    if name in ("hexists", "ping"):
        return bool(answer)
    return answer


def pack(part: Any) -> bytes:
    """A part of a command as it travels."""
    if isinstance(part, bytes):
        return part
    if isinstance(part, float):
        return repr(part).encode()
    return str(part).encode()
