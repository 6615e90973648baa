"""Sources whose keys make our scripts fail. They go on without Redis until their keys can be used again.

They also do so where a script itself is wrong (``Refused.is_bug``). The share of the limit that a process has
while Redis is away is safe whatever fails, and users get answers instead of an error. That it is a mistake in
tbcache stands in the log, in the reason of each status, and among the fleet's troubles.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

from tbcache.store import Refused, Store


class Unheard(Refused):
    """Redis does not know yet what another process of this machine has sent without it (join.py)."""


class Broken:
    """These sources, each with the last error of Redis."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._refused: dict[str, Refused] = {}
        self.renew()

    def renew(self) -> None:
        """Forget all of them, at the start and in a forked child."""
        self._lock = threading.Lock()
        self._refused.clear()

    def __bool__(self) -> bool:
        return bool(self._refused)

    def __iter__(self) -> Iterator[str]:
        return iter(self._refused.copy())

    def __contains__(self, source: str) -> bool:
        return source in self._refused

    def is_refused(self, source: str) -> bool:
        """True where Redis refuses the keys of the source, and not where it is only waited with (Unheard)."""
        refused = self._refused.get(source)
        return refused is not None and not isinstance(refused, Unheard)

    def check(self, source: str) -> None:
        """See that the keys of ``source`` can be used.

        Raises:
          Refused: they cannot. It is not raised in the thread that tries whether they can be used again.
        """
        refused = self._refused.get(source)
        if refused is not None and not self._store.breaker.is_ours:
            raise Refused(self._store.address, refused.reason, is_bug=refused.is_bug)

    def why(self, source: str) -> str | None:
        """Why the source goes on without Redis, in words for users; None where it does not."""
        refused = self._refused.get(source)
        if refused is None:
            return None
        if isinstance(refused, Unheard):
            return refused.reason
        return "a script of tbcache is wrong" if refused.is_bug else f"Redis refuses the keys of {source}"

    def add(self, source: str, refused: Refused) -> None:
        """Have this source go on without Redis. The other sources keep using it."""
        with self._lock:
            is_news = source not in self._refused
            self._refused[source] = refused
        self._store.breaker.look_again(is_news=is_news)

    def mended(self, source: str) -> None:
        """Record that the keys of ``source`` can be used again."""
        self._refused.pop(source, None)
