"""The keys of a source's present day. They are made once a day, because each ask and each job would pay for
them."""

from __future__ import annotations

from typing import NamedTuple

from tbcache.store.clock import ServerClock
from tbcache.store.key import Keys


class DayKeys(NamedTuple):
    """The keys of one day of a source: its figures, and the purses of its processes."""

    usage: str
    purses: str


class Today:
    """The keys of today (UTC, by the server's clock)."""

    def __init__(self, keys: Keys, clock: ServerClock) -> None:
        self._keys, self._clock = keys, clock
        self._day = -1
        self._made: dict[str, DayKeys] = {}

    def of(self, source: str) -> DayKeys:
        """Those of ``source``."""
        if (day := self._clock.day) != self._day:
            self._day, self._made = day, {}
        made = self._made.get(source)
        if made is None:
            keys, today = self._keys, self._clock.today
            made = self._made[source] = DayKeys(keys.usage(source, today), keys.purses(source, today))
        return made
