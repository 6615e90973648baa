"""Sources whose keys our scripts stumble over: they go on without Redis until the keys can be used again."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from tbcache.store import Refused, Store


class Broken:
    """Such sources, each with the server's reason."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._reasons: dict[str, str] = {}
        self.renew()

    def renew(self) -> None:
        """Forget all of them: at the start, and after a fork."""
        self._lock = threading.Lock()
        self._reasons.clear()

    def __bool__(self) -> bool:
        return bool(self._reasons)

    def __iter__(self) -> Iterator[str]:
        return iter(self._reasons.copy())

    def __contains__(self, source: str) -> bool:
        return source in self._reasons

    def check(self, source: str) -> None:
        """
        Raises:
          Refused: the source's keys cannot be used. The thread that mends them may try.
        """
        reason = self._reasons.get(source)
        if reason is not None and not self._store.breaker.is_ours:
            raise Refused(self._store.address, reason)

    def add(self, source: str, reason: str) -> None:
        """Go on without Redis for this source alone."""
        with self._lock:
            is_news = source not in self._reasons
            self._reasons[source] = reason
        self._store.breaker.look_again(is_news=is_news)

    def mended(self, source: str) -> None:
        """The keys of ``source`` can be used again."""
        self._reasons.pop(source, None)
