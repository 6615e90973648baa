"""Scripts of ours on a client of the tests' own."""

from __future__ import annotations

from typing import Any, TypeVar

import redis

from tbcache.store.script import Script

C = TypeVar("C", bound=tuple[Any, ...])
R = TypeVar("R")


def run(client: redis.Redis, script: Script[C, R], call: C) -> R:
    """Run ``script`` there, by its text."""
    packed: list[Any] = script.pack(call)
    return script.read(client.eval(script.text, *packed))
