"""Chance that comes from a seed: the same numbers on every Python, however often others have drawn."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from random import Random
from typing import TypeVar

T = TypeVar("T")


class Chance:
    """A stream of numbers. Only ``Random.random`` is used: Python promises that it never changes."""

    def __init__(self, *names: object) -> None:
        """``names``: a seed, and what the stream is for; each other name is another stream."""
        text = "/".join(map(str, names))
        self._next = Random(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])).random

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * self._next()

    def below(self, count: int) -> int:
        """A whole number from 0 to ``count - 1``."""
        return int(self._next() * count)

    def choice(self, many: Sequence[T]) -> T:
        return many[self.below(len(many))]

    def happens(self, part: float) -> bool:
        """True in ``part`` of all cases."""
        return self._next() < part

    def random_id(self, size: int) -> str:
        """The hex of ``size`` bytes."""
        return "".join(f"{self.below(256):02x}" for _ in range(size))
