"""The scripts as a server sees them: which one a command runs, with which arguments."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

from tbcache.store.script import Script


class Call(NamedTuple):
    """A script that was run. ``arguments`` are its keys and arguments by name, as they travelled."""

    script: Script[Any, Any]
    arguments: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.script.name} {' '.join(_shown(self.arguments, self.script._arguments))}"

    def text(self, name: str) -> str:
        return str(self.arguments[name].decode(errors="replace"))

    def number(self, name: str) -> int:
        return int(float(self.arguments[name] or 0))


def _shown(arguments: dict[str, Any], fields: list[Any]) -> Iterator[str]:
    """The arguments that say something, in short."""
    for field in fields:
        value = arguments[field.name]
        many = value[:14] if isinstance(value, list) else [value]
        text = ",".join(one[:24].decode(errors="replace").replace("\n", " ") for one in many)
        if text:
            yield f"{field.name}={text}"


def declared() -> list[Script[Any, Any]]:
    """Every script that a module of tbcache declares."""
    modules = [module for name, module in sorted(sys.modules.items()) if name.startswith("tbcache.")]
    found = {id(one): one for module in modules for one in vars(module).values() if isinstance(one, Script)}
    return list(found.values())


class Scripts:
    """Knows scripts by their digests."""

    def __init__(self) -> None:
        self._by_digest = {script.sha.encode(): script for script in declared()}
        self._by_text = {script.text.encode(): script for script in declared()}

    def read(self, command: tuple[bytes, ...]) -> Call | None:
        """The script that ``command`` runs; None where it runs none of ours."""
        known = {b"EVALSHA": self._by_digest, b"EVAL": self._by_text}.get(command[0])
        script = known.get(command[1]) if known is not None else None
        return None if script is None else Call(script, _arguments(script, command[2:]))


def _arguments(script: Script[Any, Any], packed: tuple[bytes, ...]) -> dict[str, Any]:
    count, found = int(packed[0]), {}
    parts = ((script._keys, packed[1 : 1 + count]), (script._arguments, packed[1 + count :]))
    for fields, values in parts:
        rest = list(values)
        for field in fields:
            if field.is_many:
                found[field.name] = rest
                rest = []
                continue
            for name in field.names:
                found[name] = rest.pop(0)
    return found
