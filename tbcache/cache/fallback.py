"""What the cache keeps while Redis is away, and what it must put right after."""

from __future__ import annotations

import re
import threading
import time
from dataclasses import dataclass, field

from cachetools import TLRUCache

MAX_BYTES = 32 * 1024 * 1024
#: More changes than this are remembered as a clear of everything.
MAX_CHANGES = 10_000
EVERYTHING = "*"

_OVERHEAD_BYTES = 300


@dataclass(frozen=True, slots=True)
class Changes:
    """What was changed without Redis: there, these keys are out of date."""

    keys: frozenset[str] = frozenset()
    patterns: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.keys or self.patterns)


@dataclass(frozen=True, slots=True)
class _Kept:
    payload: bytes
    deadline: float = field(compare=False)


def _size(kept: _Kept) -> int:
    return len(kept.payload) + _OVERHEAD_BYTES


def _deadline(_key: str, kept: _Kept, _now: float) -> float:
    return kept.deadline


class Fallback:
    """Encoded values with their TTL, bounded in bytes, and the changes since Redis went."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.lock = threading.RLock()
        self._kept = TLRUCache[str, _Kept](max_bytes, _deadline, timer=time.monotonic, getsizeof=_size)
        self._keys: set[str] = set()
        self._patterns: set[str] = set()

    def __len__(self) -> int:
        with self.lock:
            self._kept.expire()
            return len(self._kept)

    @property
    def is_used(self) -> bool:
        """True from the first change made without Redis until :meth:`close`."""
        return bool(self._keys or self._patterns)

    def get(self, key: str) -> bytes | None:
        with self.lock:
            kept = self._kept.get(key)
            return kept.payload if kept else None

    def get_ttl(self, key: str) -> float | None:
        """Seconds that ``key`` has left; None when it is not here."""
        with self.lock:
            kept = self._kept.get(key)
            return kept.deadline - time.monotonic() if kept else None

    def set(self, key: str, payload: bytes, ttl: float) -> bool:
        """Keep ``payload`` for ``ttl`` seconds; False when it is too large for that."""
        with self.lock:
            self._note(key)
            self._kept.pop(key, None)
            try:
                self._kept[key] = _Kept(payload, time.monotonic() + ttl)
            except ValueError:
                return False
            return True

    def delete(self, key: str) -> bool:
        with self.lock:
            self._note(key)
            return self._kept.pop(key, None) is not None

    def clear(self, pattern: str, matching: re.Pattern[bytes]) -> int:
        """Drop what matches; how many that were."""
        with self.lock:
            self._patterns.add(pattern)
            self._bound()
            found = [key for key in self._kept if matching.fullmatch(key.encode())]
            return sum(self._kept.pop(key, None) is not None for key in found)

    def changes(self) -> Changes:
        with self.lock:
            return Changes(frozenset(self._keys), frozenset(self._patterns))

    def forget(self, done: Changes) -> None:
        """Strike off what has been put right."""
        with self.lock:
            self._keys -= done.keys
            self._patterns -= done.patterns

    def close(self) -> None:
        """Redis is in use again: nothing kept here may be served any more."""
        with self.lock:
            self._keys.clear()
            self._patterns.clear()
            self._kept.clear()

    def _note(self, key: str) -> None:
        self._keys.add(key)
        self._bound()

    def _bound(self) -> None:
        if len(self._keys) + len(self._patterns) > MAX_CHANGES:
            self._keys.clear()
            self._patterns = {EVERYTHING}
