"""A Redis within this process, on whose clock a test has its hand."""

from __future__ import annotations

from typing import Any

import fakeredis


class Compiled:
    """The Lua of a server, with each script compiled once: fakeredis compiles it anew for each call, and
    collects garbage after it, which takes longer than most scripts."""

    def __init__(self, runtime: Any) -> None:
        self._runtime = runtime
        self._scripts: dict[bytes | str, Any] = {"collectgarbage()": lambda: None}

    def execute(self, text: bytes | str) -> Any:
        script = self._scripts.get(text)
        if script is None:
            script = self._scripts[text] = self._runtime.compile(text)
        return script()

    def globals(self) -> dict[str, Any]:
        """None: fakeredis looks through all at each call. It is a real server that refuses a new one."""
        return {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runtime, name)


def fake_redis() -> fakeredis.FakeRedis:
    """An empty one, as Redis 7.4 is."""
    server = fakeredis.FakeServer(version=(7, 4))
    redis = fakeredis.FakeRedis(server=server)
    # It has its Lua from its first script on.
    redis.eval("return 1", 0)
    lua: Any = server
    lua._lua_runtime = Compiled(lua._lua_runtime)
    return redis
