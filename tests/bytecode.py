"""What Lua 5.1 makes of a script, read from its bytecode: the globals that it names, and its locals."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lupa import lua51

HEADER_BYTES = 12
#: Opcodes by which a global is read and written.
GLOBAL = (5, 7)


@dataclass
class Function:
    """One function; the main one is the script itself."""

    globals: set[str]
    #: The most local variables that it has at once; Lua allows 200.
    locals: int
    functions: list[Function]

    @property
    def all_globals(self) -> set[str]:
        return self.globals.union(*(inner.all_globals for inner in self.functions))


def compiled(text: str) -> Function:
    """
    Raises:
      lua51.LuaError: it does not compile.
    """
    runtime = lua51.LuaRuntime(encoding=None)
    dump = runtime.eval(b"function(text) return string.dump(assert(loadstring(text))) end")
    return _function(_Bytes(dump(text.encode())))


class _Bytes:
    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, HEADER_BYTES

    def take(self, form: str) -> Any:
        (value,) = struct.unpack_from(f"<{form}", self._data, self._at)
        self._at += struct.calcsize(f"<{form}")
        return value

    def text(self) -> str:
        return self.take(f"{self.take('Q')}s").rstrip(b"\0").decode()

    def several(self) -> Iterator[int]:
        return iter(range(self.take("i")))


def _function(data: _Bytes) -> Function:
    data.text()
    data.take("12s")
    code = [data.take("I") for _ in data.several()]
    constants = [_constant(data) for _ in data.several()]
    functions = [_function(data) for _ in data.several()]
    [data.take("i") for _ in data.several()]
    spans = [(data.text(), data.take("i"), data.take("i")) for _ in data.several()]
    [data.text() for _ in data.several()]
    named = {constants[word >> 14] for word in code if word & 63 in GLOBAL}
    at_once = [sum(begin <= at < end for _, begin, end in spans) for _, at, _ in spans]
    return Function(named, max(at_once, default=0), functions)


def _constant(data: _Bytes) -> Any:
    kind = data.take("B")
    if kind == 1:
        return data.take("B")
    return data.take("d") if kind == 3 else data.text() if kind == 4 else None
