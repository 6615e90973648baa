"""Sources whose keys our scripts stumble over: they go on without Redis until the keys can be used again.

So they do where a script is wrong (``Refused.is_bug``): the part of the limit that is the process's own is
safe whatever fails, and answers are worth more than a stop. That it is a mistake of ours is said in the log,
in the reason of each standing, and as a trouble of the fleet.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

from tbcache.store import Refused, Store


class Broken:
    """Such sources, each with what was refused last."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._refused: dict[str, Refused] = {}
        self.renew()

    def renew(self) -> None:
        """Forget all of them: at the start, and after a fork."""
        self._lock = threading.Lock()
        self._refused.clear()

    def __bool__(self) -> bool:
        return bool(self._refused)

    def __iter__(self) -> Iterator[str]:
        return iter(self._refused.copy())

    def __contains__(self, source: str) -> bool:
        return source in self._refused

    def check(self, source: str) -> None:
        """
        Raises:
          Refused: the source's keys cannot be used. The thread that mends them may try.
        """
        refused = self._refused.get(source)
        if refused is not None and not self._store.breaker.is_ours:
            raise Refused(self._store.address, refused.reason, is_bug=refused.is_bug)

    def why(self, source: str) -> str | None:
        """Why the source goes on without Redis, in words for whoever asked; None where it does not."""
        refused = self._refused.get(source)
        if refused is None:
            return None
        return "a script of tbcache is wrong" if refused.is_bug else f"Redis refuses the keys of {source}"

    def add(self, source: str, refused: Refused) -> None:
        """Go on without Redis for this source alone."""
        with self._lock:
            is_news = source not in self._refused
            self._refused[source] = refused
        self._store.breaker.look_again(is_news=is_news)

    def mended(self, source: str) -> None:
        """The keys of ``source`` can be used again."""
        self._refused.pop(source, None)
