"""The names of sources that nobody has configured, and of queues that are no source's: somebody has just
used them.

They are bounded in number. Each has keys in Redis, figures and labels of metrics, and a caller that
makes a name of each symbol would fill Redis and every view. A name is an upstream, and no fleet asks
more than a few dozen.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from tbcache.io import run
from tbcache.settings import is_name
from tbcache.store.breaker import Unavailable
from tbcache.store.connection import Store
from tbcache.store.reply import flag
from tbcache.store.script import Key, Script
from tbcache.store.wire import to_micros

#: How many names a process may use in its life, and the whole fleet within a day.
MOST_NAMES = 100
#: The name that the figures of all further names are counted under.
OTHER = "other"
#: How often Redis is told that a name is in use.
TELL_SECONDS = 60.0
#: For how long a name that is not used keeps its place where others want it, and where nobody does.
KEPT_SECONDS = 86_400.0
SHOWN_SECONDS = 31 * 86_400.0


class Place(NamedTuple):
    """Give a name a place among those that are shown. False where every place is taken."""

    names: Key
    name: str
    most: int
    kept_us: int
    shown_us: int


PLACE = Script("name", Place, flag)


class Names:
    """The names that this process uses, and those that the fleet does; ``key`` has those of sources, where
    nothing else is said.
    """

    def __init__(self, store: Store, key: str | None = None) -> None:
        self._store = store
        self._key = key or store.keys.names
        #: The moment at which Redis is to be told of each name again (monotonic).
        self._tell_at: dict[str, float] = {}
        #: Until when those that found no place are not told of again (monotonic).
        self._refused_until: dict[str, float] = {}

    @property
    def registered(self) -> list[str]:
        """The names that have a place in this process."""
        return list(self._tell_at.copy())

    def is_registered(self, name: str) -> bool:
        """True once ``name`` has a place in this process."""
        return name in self._tell_at

    def register(self, name: str) -> bool:
        """Have a place for ``name`` in this process; False where every place is taken."""
        if name not in self._tell_at and len(self._tell_at) >= MOST_NAMES and name != OTHER:
            self._tell_at.setdefault(OTHER, 0.0)
            return False
        self._tell_at.setdefault(name, 0.0)
        return True

    def tell(self, name: str) -> bool:
        """Have a place for ``name`` in the fleet's views; False where every place is taken."""
        return run(self.place(name))

    def is_due(self, name: str) -> bool:
        """Whether the fleet is to be told of ``name`` by now."""
        return time.monotonic() >= self._tell_at.get(name, 0.0)

    async def place(self, name: str) -> bool:
        """:meth:`tell`, in the world that it is awaited in."""
        if not self.is_due(name):
            return True
        now = time.monotonic()
        if now < self._refused_until.get(name, 0.0):
            return False
        # The figures of names without a place have one more place.
        most = MOST_NAMES + (name == OTHER)
        kept_us, shown_us = to_micros(KEPT_SECONDS), to_micros(SHOWN_SECONDS)
        if not await self._store.ask(PLACE, Place(self._key, name, most, kept_us, shown_us)):
            if len(self._refused_until) >= MOST_NAMES:
                self._refused_until.clear()
            self._refused_until[name] = now + TELL_SECONDS
            return False
        self._tell_at[name] = time.monotonic() + TELL_SECONDS
        return True

    def all(self) -> list[str]:
        """The names that are shown: the fleet's, and while Redis is away this process's own."""
        return sorted({*self._read(), *self._tell_at.copy()})

    def _read(self) -> list[str]:
        try:
            found = self._store.call("ZRANGE", self._key, 0, MOST_NAMES)
        except Unavailable:
            return []
        return [name for name in (name.decode(errors="replace") for name in found) if is_name(name)]
