"""Sends what a simulated server was asked to a real one, and compares the answers.

The real one has the simulated time: a script's ``TIME`` answers with it, and no key ends by itself. What the
simulated one found to be over is deleted before the command that found it. Nobody listens to channels of the
real one, or waits for its lists: scripts are told how many did so, and what was taken is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import redis

from tbcache.testing.simulated.kernel import MICROS
from tbcache.testing.simulated.keyspace import Keyspace, ZSet
from tests.simulation.plan import Plan
from tests.simulation.run import Report, run
from tests.simulation.world import World

#: Of these the order says nothing.
UNORDERED = (b"SCAN", b"HGETALL", b"HVALS")
#: What only the real time could answer, and what waits for it.
LEFT_OUT = (b"TIME", b"PEXPIRE", b"EXPIRE")

_PROLOGUE = """
local real, redis = redis, {}
local heard, now_ms = {%s}, %d
-- When each key is to end, as the simulated one would have it.
local function ending(key, ms)
    return real.call('HSET', 'ends', key, string.format('%%d', now_ms + ms))
end
local function lasting(words)
    real.call('HDEL', 'ends', words[1])
    for at = #words, 3, -1 do
        if words[at] == 'PX' or words[at] == 'EX' then
            ending(words[1], table.remove(words, at + 1) * (words[at] == 'EX' and 1000 or 1))
            table.remove(words, at)
        end
    end
    return words
end
local function left(key)
    return (real.call('HGET', 'ends', key) or now_ms - 1) - now_ms
end
local function spoken(call, name, ...)
    local key, span = ...
    if name == 'TIME' then
        return {'%d', '%d'}
    elseif name == 'PTTL' then
        return real.call('EXISTS', key) == 0 and -2 or left(key)
    elseif name == 'PEXPIRE' or name == 'EXPIRE' then
        ending(key, span * (name == 'EXPIRE' and 1000 or 1))
        return real.call('EXISTS', key)
    elseif name == 'SET' then
        return call(name, unpack(lasting({...})))
    elseif name == 'PUBSUB' then
        local found = {}
        for at = 2, select('#', ...) do
            local channel = select(at, ...)
            found[#found + 1], found[#found + 2] = channel, heard[channel] or 0
        end
        return found
    end
    return call(name, ...)
end
redis.call = function(...) return spoken(real.call, ...) end
redis.pcall = function(...) return spoken(real.pcall, ...) end
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """One command, when (us) it was carried out, its answer, and what had ended before it. Without a command:
    the server has lost data, and ``held`` makes what it holds."""

    command: tuple[bytes, ...]
    now_us: int
    answer: Any
    ended: tuple[bytes, ...]
    #: How many listened to each channel.
    heard: dict[bytes, int] = field(default_factory=dict)
    held: tuple[tuple[bytes, ...], ...] = ()


@dataclass
class Recorder:
    """What the server of one world is asked."""

    asked: list[Asked] = field(default_factory=list)

    def watch(self, world: World) -> None:
        self._server = world.server
        self._server.listeners.append(self._on_told)
        self._server.loaded.append(self._load)
        self._server.popped.append(self._on_popped)

    def _on_told(self, who: str, command: tuple[bytes, ...], answer: Any) -> None:
        keyspace = self._server.keyspace
        ended, keyspace.expired = tuple(keyspace.expired), []
        heard = {channel: self._server.listeners_of(channel) for channel in self._server.subscribers}
        self.asked.append(Asked(self._spelt_out(command), self._server.now_us(), answer, ended, heard))

    def _spelt_out(self, command: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """A command with its script's text, where it says only the digest."""
        text = self._server._scripts.get(command[1]) if command[0] == b"EVALSHA" else None
        return command if text is None else (b"EVAL", text.encode(), *command[2:])

    def _on_popped(self, key: bytes, element: bytes) -> None:
        self.asked.append(Asked((b"LPOP", key), self._server.now_us(), element, ()))

    def _load(self) -> None:
        keyspace = self._server.keyspace
        keyspace.expired = []
        self.asked.append(Asked((), self._server.now_us(), None, (), held=tuple(_making(keyspace))))


class Lived(NamedTuple):
    """What became of a world, and what its server was asked."""

    report: Report
    asked: list[Asked]


def live(plan: Plan) -> Lived:
    """Run a plan, and write down what its server is asked."""
    recorder = Recorder()
    return Lived(run(plan, watch=recorder.watch), recorder.asked)


def differences(one: Lived, client: redis.Redis) -> list[str]:
    """Where a real server, which ``client`` asks the same, answers otherwise."""
    different = []
    client.flushall()
    for asked in one.asked:
        if asked.ended:
            client.delete(*asked.ended)
        if not asked.command:
            _lose(client, asked.held)
        elif asked.command[0] not in LEFT_OUT:
            answer = _ask(client, _timed(asked))
            if _plain(asked.command, answer) != _plain(asked.command, asked.answer):
                what = b" ".join(asked.command[2:] if asked.command[0] == b"EVAL" else asked.command)
                different.append(f"{what[:400]!r}: {answer!r}, simulated: {asked.answer!r}")
    client.flushall()
    return different


def _timed(asked: Asked) -> list[bytes]:
    """The command as it is sent to a server of another time."""
    name, *arguments = asked.command
    if name == b"EVAL":
        seconds, micros = divmod(asked.now_us, MICROS)
        heard = ",".join(f"['{channel.decode()}'] = {count}" for channel, count in asked.heard.items())
        arguments[0] = (_PROLOGUE % (heard, asked.now_us // 1000, seconds, micros)).encode() + arguments[0]
    if name == b"SET":
        words = [one.upper() for one in arguments]
        arguments = [
            one for at, one in enumerate(arguments) if not {b"PX", b"EX"} & {*words[max(2, at - 1) : at + 1]}
        ]
    return [name, *arguments]


def _ask(client: redis.Redis, command: Sequence[bytes]) -> Any:
    connection: Any = client.connection_pool.get_connection()
    try:
        connection.send_command(*command)
        return connection.read_response(disable_decoding=True)
    except redis.ResponseError as error:
        return error
    finally:
        client.connection_pool.release(connection)


def _plain(command: tuple[bytes, ...], answer: Any) -> Any:
    """An answer as it is compared."""
    if isinstance(answer, redis.ResponseError):
        return "an error"
    if command[0] in UNORDERED and isinstance(answer, list):
        return sorted(map(repr, answer[-1] if command[0] == b"SCAN" else answer))
    return answer


def _lose(client: redis.Redis, held: Sequence[Sequence[bytes]]) -> None:
    client.flushall()
    for command in held:
        _ask(client, command)


def _making(keyspace: Keyspace) -> Iterator[tuple[bytes, ...]]:
    """Commands that make what is held."""
    for key in keyspace.names():
        if (ends_at := keyspace.expires_at(key)) is not None:
            yield b"HSET", b"ends", key, b"%d" % ends_at
        value = keyspace.value(key)
        if isinstance(value, bytes):
            yield b"SET", key, value
        elif isinstance(value, dict):
            yield b"HSET", key, *(part for pair in value.items() for part in pair)
        elif isinstance(value, ZSet):
            yield (
                b"ZADD",
                key,
                *(part for score, member in value.order for part in (repr(score).encode(), member)),
            )
        elif isinstance(value, set):
            yield b"SADD", key, *value
        else:
            yield b"RPUSH", key, *value
