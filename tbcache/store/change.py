"""What a process has changed in the cache while Redis was away: there, it is out of date."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tbcache.store.glob import compile_glob
from tbcache.store.key import EVERYTHING

#: More changes than this are remembered as a clear of everything.
MAX_CHANGES = 10_000

#: Says of a key whether it was removed.
Matches = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Changes:
    """The keys that were changed, and the globs that were cleared."""

    keys: frozenset[str] = frozenset()
    patterns: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.keys or self.patterns)

    def matcher(self) -> Matches:
        """Says of a key whether it is one of them."""
        globs = [compile_glob(pattern) for pattern in self.patterns]
        return lambda key: key in self.keys or any(glob.fullmatch(key.encode()) for glob in globs)


class UnwrittenChanges:
    """The changes that Redis does not have yet. Whoever has them sees to a lock."""

    def __init__(self) -> None:
        self._keys: set[str] = set()
        self._patterns: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._keys or self._patterns)

    @property
    def so_far(self) -> Changes:
        """Those of until now."""
        return Changes(frozenset(self._keys), frozenset(self._patterns))

    def add_key(self, key: str) -> None:
        """The value of a key was set or deleted."""
        self._keys.add(key)
        self._bound()

    def add_pattern(self, pattern: str) -> None:
        """What matches a glob was cleared."""
        self._patterns.add(pattern)
        self._bound()

    def strike_off(self, done: Changes) -> None:
        """These are put right in Redis."""
        self._keys -= done.keys
        self._patterns -= done.patterns

    def _bound(self) -> None:
        if len(self._keys) + len(self._patterns) > MAX_CHANGES:
            self._keys.clear()
            self._patterns = {EVERYTHING}
