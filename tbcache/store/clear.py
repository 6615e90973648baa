"""The logs of clears, as their readers see them; ``clear.lua`` has their form and the rule.

A log is read together with the entry it may hide, in one round trip. It seldom changes, so
what was made of its bytes is remembered by them.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from tbcache.store.codec import DecodeError
from tbcache.store.connection import Store
from tbcache.store.envelope import UNCLEARED, read_head
from tbcache.store.glob import compile_glob
from tbcache.store.key import for_timelines, is_timeline

_DIGITS = 16
_SEQUENCE = re.compile(rb"[1-8]\d{%d}" % (_DIGITS - 1))
_LINE = re.compile(rb"(\d{%d}) (.+)" % _DIGITS, re.DOTALL)


class Clear(NamedTuple):
    """A clear whose sweep is not over."""

    sequence: int
    pattern: str

    @property
    def line(self) -> str:
        """The line that stands for it in the log."""
        return f"{self.sequence:0{_DIGITS}d} {self.pattern}"


@dataclass(frozen=True, slots=True)
class ClearLog:
    """A log: the sequence of its last clear (``UNCLEARED``: none) and the clears still to be swept.

    ``head`` is its beginning as it is, which tells a script what its asker knows.
    """

    head: bytes = b""
    sequence: int = UNCLEARED
    clears: tuple[Clear, ...] = ()

    def cleared_at(self, key: str) -> int:
        """The sequence of the last clear that matches ``key``; 0 for none."""
        if not self.clears:
            return 0
        name = key.encode(errors="surrogateescape")
        return max((one.sequence for one in self.clears if _matches(one.pattern, name)), default=0)

    def hides(self, key: str, birth: int) -> bool:
        """True when the entry of that birth under ``key`` is older than a clear."""
        return birth < self.cleared_at(key)

    def fresh_until(self, key: str, head: Any) -> int:
        """Until when (us) the entry with that head is fresh; 0 for none, or one damaged or hidden.

        The head is as Redis gave it: an error where the key is of another type.
        """
        if not isinstance(head, bytes):
            return 0
        try:
            fresh_until, birth = read_head(head)
        except DecodeError:
            return 0
        return 0 if self.hides(key, birth) else fresh_until

    def only(self, pattern: str) -> ClearLog:
        """The log, were ``pattern`` all that stands in it."""
        return replace(self, clears=tuple(one for one in self.clears if one.pattern == pattern))


NO_CLEARS = ClearLog()


def _matches(pattern: str, name: bytes) -> bool:
    """True where a clear of ``pattern`` takes the key of that name: with an answer goes the timeline that it
    was made of, or the next ask would be answered by the same.
    """
    if not is_timeline(name.decode(errors="surrogateescape")):
        return compile_glob(pattern).fullmatch(name) is not None
    return any(compile_glob(one).fullmatch(name) for one in for_timelines(pattern))


def read_log(reply: Any) -> ClearLog:
    """A log as Redis gave it. What is missing, or damaged, is as good as empty."""
    return _parse(reply) if type(reply) is bytes else NO_CLEARS


@functools.lru_cache(maxsize=256)
def _parse(text: bytes) -> ClearLog:
    first, *lines = text.split(b"\n")
    sequence = int(first) if _SEQUENCE.fullmatch(first) else UNCLEARED
    return ClearLog(text[:_DIGITS], sequence, tuple(_clears(lines)))


def _clears(lines: Iterable[bytes]) -> Iterable[Clear]:
    for line in lines:
        found = _LINE.fullmatch(line)
        if found is None:
            continue
        with contextlib.suppress(UnicodeDecodeError):
            yield Clear(int(found[1]), found[2].decode())


async def read_logs(store: Store, names: Iterable[str]) -> dict[str, ClearLog]:
    """The logs of these names, in one round trip."""
    asked = list(names)
    replies = await store.pipeline(*(("GET", name) for name in asked))
    # A key of another type is an error, and no log.
    return dict(zip(asked, map(read_log, replies), strict=True))
