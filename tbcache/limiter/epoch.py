"""What this process was last told of each source's epoch.

It is sent with each ask, so that Redis notices when it has lost data, and this process when it has.
"""

from __future__ import annotations

from typing import NamedTuple

from tbcache.io import now
from tbcache.store.wire import UNSEEN, Seen


class LastSeen(NamedTuple):
    """What Redis has replied as ``seen``, to what was asked at ``asked_at`` (monotonic)."""

    seen: Seen
    asked_at: float


class Epochs:
    """What Redis has replied last, by source."""

    def __init__(self) -> None:
        self._last: dict[str, LastSeen] = {}
        #: True while this process leaves: Redis forgets it, which is no sign of a loss then.
        self.is_leaving = False

    def renew(self) -> None:
        """Forget all: at the start, and after a fork, as what Redis told the parent is not the child's."""
        self._last = {}

    @property
    def sources(self) -> list[str]:
        """The sources of whose epoch something is known."""
        return list(self._last)

    def of(self, source: str) -> str:
        """The epoch of the source's window that this process has seen, "" for none."""
        return self._seen(source).epoch

    def last_seen_us(self, source: str) -> int:
        """The moment at which Redis last saw this process, as it said (us); 0 for never."""
        return self._seen(source).last_seen_us

    def age(self, source: str) -> float:
        """So many seconds ago it said that at most; -1.0 where it has said nothing."""
        last = self._last.get(source)
        return -1.0 if last is None else now() - last.asked_at

    def known(self, source: str) -> str:
        """What the scripts are told of this process, as epoch.lua reads it; "" before the first."""
        seen = self._seen(source)
        return str(Seen(seen.epoch) if self.is_leaving else seen)

    def learn(self, source: str, seen: Seen, asked_at: float) -> bool:
        """Learn what Redis replied to what was asked then (monotonic). False where it has lost the window, or
        forgotten this process."""
        if not seen.epoch:
            return True
        known = self._last.setdefault(source, LastSeen(seen, asked_at)).seen
        if known.epoch != seen.epoch or seen.last_seen_us == 0 < known.last_seen_us:
            return False
        if seen.last_seen_us > known.last_seen_us:
            self.set(source, seen, asked_at)
        return True

    def set(self, source: str, seen: Seen, asked_at: float) -> None:
        """Our slots are in the window of that epoch."""
        self._last[source] = LastSeen(seen, asked_at)

    def forget(self, source: str) -> None:
        """This process has left the fleet of ``source``, and Redis does not know it any more."""
        self.set(source, Seen(self.of(source)), now())

    def _seen(self, source: str) -> Seen:
        last = self._last.get(source)
        return UNSEEN if last is None else last.seen
