"""Fresh values, which are read from Redis without running a script."""

from __future__ import annotations

from typing import Any, NamedTuple

from tbcache.admission.verdict import Hit
from tbcache.io import clock
from tbcache.io.command import Command
from tbcache.io.fork import renew_in_child
from tbcache.settings import Source
from tbcache.store import Store
from tbcache.store.clear import ClearLog, read_log
from tbcache.store.envelope import birth_of, fresh_until, is_credible, value_of
from tbcache.store.wire import MICROS

SEEN_KEYS = 10_000


class _Seen(NamedTuple):
    """Until when (us) the value of a key was seen to be fresh, and the command that reads the value together
    with the log of clears that may hide it.
    """

    fresh_until: int
    read: Command


class Fresh:
    """The fresh values of one process's sources.

    A value that was seen to be fresh is expected to stay so until it expires. Until then it is only read. The
    script of admission costs the server more, and is needed only where a request may go upstream.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        #: The log of clears of each source, as it was last read.
        self.logs: dict[str, ClearLog] = {}
        self.renew()
        renew_in_child(self)

    def renew(self) -> None:
        """Expect nothing: at the start, and in a forked child. That has to become known to the fleet, which
        only an ask that runs the script does."""
        self._seen: dict[str, _Seen] = {}

    def expect(self, source: str, key: str, fresh_until: int) -> None:
        """Record that the value under ``key`` was seen to be fresh until ``fresh_until`` (us)."""
        if len(self._seen) >= SEEN_KEYS:
            # Forgetting is cheap: the next ask for each of these keys runs the script.
            self._seen.clear()
        self._seen[key] = _Seen(fresh_until, self._reading(source, key))

    def is_expected(self, source: Source, key: str) -> bool:
        """Whether the value under ``key`` is expected to be fresh, and need only be read."""
        return key in self._seen and source.charge != "request"

    async def find(self, source: Source, key: str) -> Hit | None:
        """The value under ``key``, which is expected to be fresh, where it is so. It costs one MGET."""
        if (seen := self._seen.get(key)) is None:
            return None
        hit, now_us = None, self._store.clock.time_us() or self.now_us
        if now_us < seen.fresh_until:
            hit = self._opened(source, key, now_us, await self._store.send(seen.read))
        if hit is None:
            self._seen.pop(key, None)
        return hit

    async def look(self, source: Source, key: str) -> Hit | None:
        """The value under ``key``, if it is fresh."""
        now_us = self.now_us
        return self._opened(source, key, now_us, await self._store.send(self._reading(source.name, key)))

    @property
    def now_us(self) -> float:
        """The server's time, as far as it is known."""
        now_us = self._store.clock.time_us()
        return clock() * MICROS if now_us is None else now_us

    def _reading(self, source: str, key: str) -> Command:
        keys = self._store.keys
        return Command(("MGET", keys.entry(key), keys.clears(source)))

    def _opened(self, source: Source, key: str, now_us: float, found: Any) -> Hit | None:
        """The value in an entry, unless it has expired or the log of clears hides it. Both were asked for at
        ``now_us``.
        """
        entry, log = found
        seen = self.logs[source.name] = read_log(log)
        # They are counted from the ask, and not from the answer: the value must not seem fresher than it is.
        until = fresh_until(entry) if entry else 0
        left = (until - now_us) / MICROS if is_credible(until, now_us, source.cache_ttl) else 0.0
        if left <= 0 or (seen.clears and seen.hides(key, birth_of(entry))):
            return None
        return Hit(value_of(entry), left)
