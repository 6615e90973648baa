"""Fewer steps that break the same promise."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def shrink(steps: Sequence[int], breaks: Callable[[Sequence[int]], bool], most: int = 150) -> list[int]:
    """The fewest of ``steps`` of which ``breaks`` says that they still break it.

    Halves, quarters and so on are left out; ``most`` is how often that is tried.
    """
    left, size, tries = list(steps), max(1, len(steps) // 2), 0
    while tries < most:
        at, is_less = 0, False
        while at < len(left) and tries < most:
            fewer = left[:at] + left[at + size :]
            tries += 1
            if breaks(fewer):
                left, is_less = fewer, True
            else:
                at += size
        if size == 1 and not is_less:
            break
        size = max(1, size // 2)
    return left
