"""A process's way to the server: what comes through, how late, and what a client makes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from tbcache.io.error import Unsent
from tbcache.testing.simulated.chance import Chance
from tbcache.testing.simulated.kernel import Home, Kernel, Killed, micros
from tbcache.testing.simulated.server import Server


@dataclass(slots=True)
class Weather:
    """How the network is: seconds that a message takes, and the parts of all that are late or lost."""

    quick: float = 0.001
    slow: float = 0.05
    late: float = 0.05
    lost: float = 0.0


class Connection:
    """The connection of one process."""

    def __init__(self, kernel: Kernel, server: Server, home: Home, weather: Weather, chance: Chance) -> None:
        self.kernel, self.server, self.home, self.weather = kernel, server, home, weather
        self._chance = chance
        #: "refused": nobody listens; "absent": nothing comes through.
        self.cut: str = ""
        #: When the last comes through of what was sent over the one connection that coroutines share (us).
        self._last_there = self._last_back = 0

    def ask(self, timeout: float, commands: list[tuple[bytes, ...]]) -> list[Any]:
        """The answers to commands that are sent together; errors stand for themselves.

        Raises:
          redis.ConnectionError, redis.TimeoutError: there are none.
        """
        found: list[Any] = self._exchange(timeout, self._doing(commands))
        return found

    def _doing(self, commands: list[tuple[bytes, ...]]) -> Callable[[Callable[[Any], None]], None]:
        return lambda give: give([self._do(command) for command in commands])

    def block(self, timeout: float, seconds: float, keys: Sequence[bytes]) -> Any:
        """A list that has an element, and the first of it, taken off; None after ``seconds``."""

        def act(give: Callable[[Any], None]) -> None:
            end = self.server.block(keys, give)

            def give_up() -> None:
                end()
                give(None)

            self.kernel.after(seconds, give_up)

        return self._exchange(timeout + seconds, act)

    def _do(self, command: tuple[bytes, ...]) -> Any:
        return self.server.carry_out(self.home.name, command)

    def _exchange(self, timeout: float, act: Callable[[Callable[[Any], None]], None]) -> Any:
        if self.kernel.current is None:
            return self._at_once(act)
        self._begin(timeout, act)
        return self.kernel.wait()

    def _begin(
        self, timeout: float, act: Callable[[Callable[[Any], None]], None], *, in_turn: bool = False
    ) -> None:
        """Send, and see to it that the task that asks is resumed."""
        kernel, task = self.kernel, self.kernel.current
        if task is None or self.home.is_dead:
            raise Killed
        self._check_connection()
        life, ticket = self.server.life, task.ticket
        is_given = False

        def give(answer: Any) -> None:
            nonlocal is_given
            if is_given:
                return
            is_given = True
            at = kernel.now_us
            if not self._is_lost():
                back = kernel.now_us + self._delay_us(self._last_back if in_turn else 0)
                self._last_back = back if in_turn else self._last_back
                kernel.at(back, lambda: come(answer, at))

        def come(answer: Any, at: int) -> None:
            if self.server.life != life:
                task.resume(ticket, error=redis.ConnectionError("Connection reset by peer"))
            elif self.cut != "silent":
                task.done_at = at
                task.resume(ticket, answer)

        def arrive() -> None:
            if self.server.life != life or not self.server.is_up:
                task.resume(ticket, error=redis.ConnectionError("Connection closed by server."))
            elif self.cut:
                return
            elif self.server.is_frozen:
                self.server.when_thawed(arrive)
            else:
                act(give)

        if not self._is_lost():
            there = kernel.now_us + self._delay_us(self._last_there if in_turn else 0)
            self._last_there = there if in_turn else self._last_there
            kernel.at(there, arrive)
        kernel.after(timeout, lambda: task.resume(ticket, error=redis.TimeoutError("Timeout reading")))

    def _at_once(self, act: Callable[[Callable[[Any], None]], None]) -> Any:
        found: list[Any] = []
        act(found.append)
        return found[0]

    def _check_connection(self) -> None:
        if self.cut == "refused" or not self.server.is_up:
            raise Unsent("Error 111 connecting. Connection refused.")

    def _delay(self) -> float:
        weather = self.weather
        if self._chance.happens(weather.late):
            return self._chance.uniform(weather.quick, weather.slow)
        return self._chance.uniform(weather.quick / 5, weather.quick)

    def _delay_us(self, after_us: int) -> int:
        """How long a message is under way that comes after one that is there at ``after_us``."""
        return max(micros(self._delay()), after_us + 1 - self.kernel.now_us)

    def _is_lost(self) -> bool:
        return bool(self.cut) or self._chance.happens(self.weather.lost)

    def subscribe(self, channel: bytes) -> Subscription:
        return Subscription(self, channel)


class Subscription:
    """What is said on a channel, as redis-py's PubSub gives it."""

    def __init__(self, connection: Connection, channel: bytes) -> None:
        connection._check_connection()
        self._connection, self._channel = connection, channel
        self._life = connection.server.life
        self.ignore_subscribe_messages = True
        self._messages: list[dict[str, Any]] = []
        self._waiting: list[tuple[Any, int]] = []
        connection.server.subscribers[channel].append(self)
        self._has_begun = False

    @property
    def is_open(self) -> bool:
        return not self._connection.home.is_dead

    def receive(self, message: bytes) -> None:
        connection = self._connection
        if not connection._is_lost():
            connection.kernel.after(
                connection._delay(), lambda: self._come({"type": "message", "data": message})
            )

    def _come(self, message: dict[str, Any]) -> None:
        self._messages.append(message)
        waiting, self._waiting = self._waiting, []
        for task, ticket in waiting:
            task.resume(ticket, True)

    def get_message(self, timeout: float = 0.0) -> Any:
        connection = self._connection
        if not self.ignore_subscribe_messages and not self._has_begun:
            self._has_begun = True
            return {"type": "subscribe", "data": 1}
        if self._life != connection.server.life:
            raise redis.ConnectionError("Connection closed by server.")
        if not self._messages and timeout > 0:
            task = connection.kernel.task
            ticket = task.ticket
            self._waiting.append((task, ticket))
            connection.kernel.after(timeout, lambda: task.resume(ticket, False))
            connection.kernel.wait()
        if self._life != connection.server.life:
            raise redis.ConnectionError("Connection closed by server.")
        return self._messages.pop(0) if self._messages else None

    def close(self) -> None:
        subscribers = self._connection.server.subscribers[self._channel]
        if self in subscribers:
            subscribers.remove(self)
