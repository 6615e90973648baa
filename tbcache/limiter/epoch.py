"""What this process was last told of each source's epoch.

It is sent with each ask, so that Redis notices when it has lost data, and this process when it has.
"""

from __future__ import annotations

from tbcache.store.wire import UNSEEN, Seen


class Epochs:
    """What Redis has replied as ``seen``, by source."""

    def __init__(self) -> None:
        self._seen: dict[str, Seen] = {}
        #: True while this process leaves: Redis forgets it, which is no sign of a loss then.
        self.is_leaving = False

    def renew(self) -> None:
        """Forget all: at the start, and after a fork, as what Redis told the parent is not the child's."""
        self._seen = {}

    @property
    def sources(self) -> list[str]:
        """The sources of whose epoch something is known."""
        return list(self._seen)

    def of(self, source: str) -> str:
        """The epoch of the source's window that this process has seen, "" for none."""
        return self._seen.get(source, UNSEEN).epoch

    def last_seen_us(self, source: str) -> int:
        """The moment at which Redis last saw this process, as it said (us); 0 for never."""
        return self._seen.get(source, UNSEEN).last_seen_us

    def known(self, source: str) -> str:
        """What the scripts are told of this process, as epoch.lua reads it; "" before the first."""
        seen = self._seen.get(source, UNSEEN)
        return str(Seen(seen.epoch) if self.is_leaving else seen)

    def learn(self, source: str, seen: Seen) -> bool:
        """Learn what Redis replied. False where it has lost the window, or forgotten this process."""
        if not seen.epoch:
            return True
        known = self._seen.setdefault(source, seen)
        if known.epoch != seen.epoch or seen.last_seen_us == 0 < known.last_seen_us:
            return False
        if seen.last_seen_us > known.last_seen_us:
            self._seen[source] = seen
        return True

    def set(self, source: str, seen: Seen) -> None:
        """Our slots are in the window of that epoch."""
        self._seen[source] = seen

    def forget(self, source: str) -> None:
        """This process has left the fleet of ``source``, and Redis does not know it any more."""
        self._seen[source] = Seen(self.of(source))
