"""The timelines that this process has loaded: what is known while Redis is away."""

from __future__ import annotations

import threading

from cachetools import LRUCache

#: How many bytes of timelines are kept at most.
MOST_BYTES = 32_000_000


class Lines:
    """Timelines as JSON, by their cache key. Safe to share between threads."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Also after a fork: another thread of the parent may have held the lock."""
        self._lock = threading.Lock()
        self._lines: LRUCache[str, bytes] = LRUCache(MOST_BYTES, getsizeof=len)

    def get(self, key: str) -> bytes | None:
        with self._lock:
            return self._lines.get(key)

    def put(self, key: str, line: bytes) -> None:
        if len(line) <= MOST_BYTES:
            with self._lock:
                self._lines[key] = line

    def clear(self) -> None:
        """Forget them all: something was removed that one of them may have been made of."""
        with self._lock:
            self._lines.clear()
