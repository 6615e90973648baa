"""Redis globs as regular expressions, for keys that a wider SCAN brought up."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

_STAR = object()


@functools.lru_cache(maxsize=256)
def compile_glob(pattern: str) -> re.Pattern[bytes]:
    """What matches the same keys as Redis' ``MATCH pattern``; compare with ``fullmatch``.

    ``*`` any bytes, ``?`` one byte, ``[a-z]`` ``[^x]`` a class, ``\\`` escapes. Bytes, not
    characters, as in Redis: ``?`` does not match ``é``.
    """
    parts: list[list[bytes]] = [[]]
    for token in _tokens(pattern.encode()):
        if token is _STAR:
            parts.append([])
        elif isinstance(token, bytes):
            parts[-1].append(token)
    first, *rest = (b"".join(part) for part in parts)
    if not rest:
        return re.compile(first, re.DOTALL)
    *middle, last = rest
    # Atomic: the first place where a middle part fits is as good as any later one, so
    # nothing is tried twice and `*a*a*a*b` stays linear.
    skips = b"".join(b"(?>.*?%b)" % part for part in middle if part)
    return re.compile(first + skips + b".*" + last, re.DOTALL)


def _tokens(pattern: bytes) -> Iterator[object]:
    """Regular expressions for one byte each, and ``_STAR``."""
    at = 0
    while at < len(pattern):
        char = pattern[at : at + 1]
        if char == b"*":
            yield _STAR
        elif char == b"?":
            yield b"."
        elif char == b"[":
            expression, at = _class(pattern, at + 1)
            yield expression
        else:
            if char == b"\\" and at + 1 < len(pattern):
                at += 1
            yield re.escape(pattern[at : at + 1])
        at += 1


def _class(pattern: bytes, at: int) -> tuple[bytes, int]:
    """The class that starts behind its bracket, and where it ends; without an end it takes all."""
    negated = pattern[at : at + 1] == b"^"
    at += negated
    members: set[int] = set()
    while at < len(pattern) and pattern[at : at + 1] != b"]":
        left = len(pattern) - at
        if pattern[at : at + 1] == b"\\" and left >= 2:
            at += 1
            members.add(pattern[at])
        elif left >= 3 and pattern[at + 1 : at + 2] == b"-":
            low, high = sorted((pattern[at], pattern[at + 2]))
            members.update(range(low, high + 1))
            at += 2
        else:
            members.add(pattern[at])
        at += 1
    chosen = set(range(256)) - members if negated else members
    # An empty class matches nothing.
    return (b"[%b]" % b"".join(b"\\x%02x" % byte for byte in sorted(chosen)) if chosen else b"(?!)"), at
