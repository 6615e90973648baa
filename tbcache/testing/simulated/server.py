"""One Redis server in virtual time: it runs our scripts, and may freeze, die or lose data."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import redis
from redis.exceptions import NoScriptError

from tbcache.testing.simulated.kernel import MICROS, Kernel, micros
from tbcache.testing.simulated.keyspace import Keyspace
from tbcache.testing.simulated.lua import runtime

#: Told of each command that was carried out: who asked, the command, its answer or error.
Listener = Callable[[str, tuple[bytes, ...], Any], None]
OnAnswer = Callable[[Any], None]


class Subscriber(Protocol):
    """A connection that listens to a channel."""

    @property
    def is_open(self) -> bool:
        """False once its process is over."""

    def receive(self, message: bytes) -> None:
        """Something is said there."""


class Server:
    """The server that all processes of a world share."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        #: How far its clock was set (us).
        self.skew_us = 0
        self.is_up = True
        self.is_frozen = False
        self._thaws_at = 0
        self._held_up: list[Callable[[], None]] = []
        #: Another one each time it starts: what was under way with the one before is broken off.
        self.life = 0
        self.keyspace = Keyspace(self.now_us, self._publish, self.listeners_of)
        self.listeners: list[Listener] = []
        #: Called when what is held has become another.
        self.loaded: list[Callable[[], None]] = []
        #: Called with each list, and its first element, that was given to one that waited for it.
        self.popped: list[Callable[[bytes, bytes], None]] = []
        self.subscribers: dict[bytes, list[Subscriber]] = defaultdict(list)
        self._scripts: dict[bytes, str] = {}
        self._blocked: list[tuple[Sequence[bytes], OnAnswer]] = []

    def now_us(self) -> int:
        return self._kernel.begins_at * MICROS + self._kernel.now_us + self.skew_us

    def stop(self) -> None:
        """It dies: nobody is answered any more."""
        self.is_up = False
        self.life += 1
        self._blocked.clear()
        self._scripts.clear()
        self.subscribers.clear()

    def start(self, saved: Any = None) -> None:
        """It is there again, with what it held, or as ``saved`` has it."""
        if saved is not None:
            self.load(saved)
        self.is_up = True

    def load(self, saved: Any) -> None:
        """It holds that, and nothing else."""
        self.keyspace.load(saved)
        for act in self.loaded:
            act()

    def freeze(self, seconds: float) -> None:
        """It does nothing for so long, and then all that it was asked meanwhile."""
        self.is_frozen = True
        self._thaws_at = max(self._thaws_at, self._kernel.now_us + micros(seconds))
        self._kernel.at(self._thaws_at, self._thaw_in_time)

    def _thaw_in_time(self) -> None:
        if self._kernel.now_us >= self._thaws_at:
            self.thaw()

    def thaw(self) -> None:
        self.is_frozen, self._thaws_at = False, 0
        held_up, self._held_up = self._held_up, []
        for act in held_up:
            act()

    def when_thawed(self, act: Callable[[], None]) -> None:
        self._held_up.append(act)

    def carry_out(self, who: str, command: tuple[bytes, ...]) -> Any:
        """The answer to a command, or the error that it is."""
        try:
            answer = self._do(command)
        except redis.ResponseError as error:
            answer = error
        for listener in self.listeners:
            listener(who, command, answer)
        self._unblock()
        return answer

    def block(self, keys: Sequence[bytes], answer: OnAnswer) -> Callable[[], None]:
        """Call ``answer`` with a list and its first element once one of ``keys`` has one; gives what ends the
        wait."""
        waiting = (keys, answer)
        self._blocked.append(waiting)
        self._unblock()
        return lambda: self._blocked.remove(waiting) if waiting in self._blocked else None

    def _do(self, command: tuple[bytes, ...]) -> Any:
        name, *arguments = command
        if name == b"EVALSHA":
            text = self._scripts.get(arguments[0])
            if text is None:
                raise NoScriptError("No matching script. Please use EVAL.")
            return self._run(text, arguments[1:])
        if name == b"EVAL":
            digest = hashlib.sha1(arguments[0], usedforsecurity=False).hexdigest()
            text = self._scripts[digest.encode()] = arguments[0].decode()
            return self._run(text, arguments[1:])
        return self.keyspace.do(name.decode(), arguments)

    def _run(self, text: str, arguments: list[bytes]) -> Any:
        count = int(arguments[0])
        return runtime().run(text, arguments[1 : 1 + count], arguments[1 + count :], self.keyspace.do)

    def listeners_of(self, channel: bytes) -> int:
        """How many connections listen to a channel: those of processes that are over are closed."""
        return sum(one.is_open for one in self.subscribers.get(channel, ()))

    def _publish(self, channel: bytes, message: bytes) -> None:
        for one in list(self.subscribers.get(channel, ())):
            if one.is_open:
                one.receive(message)

    def _unblock(self) -> None:
        for waiting in list(self._blocked):
            keys, answer = waiting
            for key in keys:
                if (found := self.keyspace.do("LPOP", [key])) is not None:
                    self._blocked.remove(waiting)
                    for act in self.popped:
                        act(key, found)
                    answer([key, found])
                    break
