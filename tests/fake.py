"""A Redis within this process, on whose clock a test has its hand."""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from typing import Any

import redis
from redis.exceptions import NoScriptError

from tbcache.testing.simulated.client import pack
from tbcache.testing.simulated.keyspace import Keyspace, ZSet
from tbcache.testing.simulated.lua import runtime

#: What an empty one holds.
NOTHING: Any = ({}, {})
_TYPES = {bytes: b"string", list: b"list", dict: b"hash", set: b"set", ZSet: b"zset"}


class FakeRedis(redis.Redis):
    """A client of an empty server, the one of ``tests/simulation``, where its answers are compared with
    a real one's. Its clock is ``time.time``."""

    def __init__(self) -> None:
        super().__init__(protocol=2)
        #: What was published, by channel.
        self.told: dict[str, list[bytes]] = defaultdict(list)
        self._keys = Keyspace(lambda: round(time.time() * 1e6), self._publish, lambda channel: 0)
        self._scripts: dict[bytes, str] = {}

    def execute_command(self, *command: Any, **options: Any) -> Any:
        name, *arguments = command
        answer = self._do(name, [pack(one) for one in arguments])
        options.pop("keys", None)
        read = self.response_callbacks.get(name)
        return answer if read is None else read(answer, **options)

    def held(self) -> Any:
        """All that it holds, for :meth:`hold`."""
        return self._keys.save()

    def hold(self, held: Any) -> None:
        """It holds that, and nothing else."""
        self._keys.load(held)

    def _do(self, name: str, arguments: list[bytes]) -> Any:
        if name == "EVAL":
            digest = hashlib.sha1(arguments[0], usedforsecurity=False).hexdigest().encode()
            self._scripts[digest] = arguments[0].decode()
            return self._run(digest, *arguments[1:])
        if name == "EVALSHA":
            return self._run(*arguments)
        if name == "TYPE":
            return _TYPES.get(type(self._keys.value(*arguments)), b"none")
        if name == "KEYS":
            return list(self._keys.names())
        if name == "FLUSHALL":
            return self.hold(NOTHING)
        return self._keys.do(name, arguments)

    def _run(self, digest: bytes, count: bytes, *rest: bytes) -> Any:
        if digest not in self._scripts:
            raise NoScriptError
        keys, arguments = [*rest[: int(count)]], [*rest[int(count) :]]
        return runtime().run(self._scripts[digest], keys, arguments, self._keys.do)

    def _publish(self, channel: bytes, message: bytes) -> None:
        self.told[channel.decode()].append(message)
