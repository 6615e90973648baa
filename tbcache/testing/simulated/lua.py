"""Scripts as a server runs them: compiled once, in one runtime."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any

import redis
from lupa import lua51

from tbcache.models.untrusted import read_json

#: Carries out a command of a script.
Call = Callable[[str, list[bytes]], Any]

_PRELUDE = b"""
local call, pcall_, encode, decode = ...
redis = {call = call, pcall = pcall_}
cjson = {encode = encode, decode = decode}
local set_, load_ = rawset, loadstring
setmetatable(_G, {
    __index = function(_, name)
        error('Script attempted to access nonexistent global variable \\'' .. tostring(name) .. '\\'', 2)
    end,
    __newindex = function(_, name)
        error('Attempt to modify a readonly table: ' .. tostring(name), 2)
    end,
})
return function(text)
    return assert(load_(text, '@user_script'))
end, function(keys, arguments)
    set_(_G, 'KEYS', keys)
    set_(_G, 'ARGV', arguments)
end
"""


class Lua:
    """One runtime. It keeps nothing from one script to the next."""

    def __init__(self) -> None:
        self._runtime = lua51.LuaRuntime(encoding=None, unpack_returned_tuples=True)
        self._table, self._kind = self._runtime.table_from, lua51.lua_type
        load = self._runtime.eval(b"loadstring")
        prelude = load(_PRELUDE)
        self._compile, self._arm = prelude(self._call, self._pcall, self._encode, self._decode)
        self._do: Call = _nobody
        self.compiled = functools.cache(self._compiled)

    def run(self, text: str, keys: list[bytes], arguments: list[bytes], do: Call) -> Any:
        """What the script replies.

        Raises:
          redis.ResponseError: it, or a command of it, is refused.
        """
        function, self._do = self.compiled(text), do
        self._arm(self._table(keys), self._table(arguments))
        try:
            return self._to_reply(function())
        except lua51.LuaError as error:
            raise redis.ResponseError(f"user_script:1: {error}") from error

    def _compiled(self, text: str) -> Any:
        return self._compile(text.encode())

    def _call(self, name: bytes, *arguments: Any) -> Any:
        return self._to_lua(self._do(name.decode(), [_packed(one) for one in arguments]))

    def _pcall(self, name: bytes, *arguments: Any) -> Any:
        try:
            return self._call(name, *arguments)
        except redis.ResponseError as error:
            return self._table({b"err": str(error).encode()})

    def _encode(self, value: Any) -> bytes:
        return json.dumps(self._to_python(value), separators=(",", ":")).encode()

    def _decode(self, text: bytes) -> Any:
        return self._of_json(read_json(text))

    def _to_lua(self, reply: Any) -> Any:
        if reply is None:
            return False
        if isinstance(reply, list):
            return self._table([self._to_lua(one) for one in reply])
        return reply

    def _to_reply(self, value: Any) -> Any:
        if isinstance(value, bool):
            return 1 if value else None
        if isinstance(value, float):
            return int(value)
        if self._kind(value) != "table":
            return value
        if (error := value[b"err"]) is not None:
            raise redis.ResponseError(error.decode())
        items: list[Any] = []
        while (item := value[len(items) + 1]) is not None:
            items.append(self._to_reply(item))
        return items

    def _to_python(self, value: Any) -> Any:
        if isinstance(value, bytes):
            return value.decode(errors="replace")
        if self._kind(value) == "table":
            return {self._to_python(key): self._to_python(one) for key, one in value.items()}
        return value

    def _of_json(self, value: Any) -> Any:
        if isinstance(value, str):
            return value.encode()
        if isinstance(value, list):
            return self._table([self._of_json(one) for one in value])
        if isinstance(value, dict):
            return self._table({key.encode(): self._of_json(one) for key, one in value.items()})
        return value


def _packed(argument: Any) -> bytes:
    """An argument as Redis reads what Lua gives."""
    if isinstance(argument, bytes):
        return argument
    if isinstance(argument, bool) or not isinstance(argument, int | float):
        raise redis.ResponseError("Lua redis lib command arguments must be strings or integers")
    return b"%d" % argument if argument == int(argument) else b"%.17g" % argument


def _nobody(name: str, arguments: list[bytes]) -> Any:
    raise redis.ResponseError(f"{name}: no script runs")


@functools.cache
def runtime() -> Lua:
    """The runtime of this process: whatever is simulated in it runs there, one script at a time."""
    return Lua()
