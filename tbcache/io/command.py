"""A command for Redis that is sent again and again."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import hiredis

from tbcache.io.world import Argument

_NUMBERS = (int, float)


class Command(tuple[Argument, ...]):
    """The parts of a command. Whoever keeps it has it packed but once."""

    @functools.cached_property
    def packed(self) -> bytes:
        """As it is sent."""
        return pack(tuple(self))


def pack(command: Sequence[Argument]) -> bytes:
    """``command`` as it is sent."""
    if type(command) is Command:
        return command.packed
    # Hiredis makes a text of a number by a call that runs signal handlers, and does not see that one raises:
    # that ends the process.
    parts: Any = tuple([str(part) if part.__class__ in _NUMBERS else part for part in command])
    packed: bytes = hiredis.pack_command(parts)
    return packed


class Packer:
    """Packs what redis-py sends by itself, as it does not make a text of a number."""

    def pack(self, name: str, *arguments: Argument) -> list[bytes]:
        # redis-py has commands of two words in one text: "CONFIG GET".
        return [pack((*name.split(), *arguments))]
