"""What Redis last told this process of the epoch of each source.

It is sent with each ask. By it the scripts notice that Redis has lost data, and the process learns of that
from the reply.
"""

from __future__ import annotations

import msgspec

from tbcache.io import now
from tbcache.limiter.stay import Stays
from tbcache.store.wire import Seen


class LastSeen(msgspec.Struct, frozen=True):
    """What Redis replied as ``seen`` to an ask that was made at ``asked_at``, in that stay; ``since`` is when
    this process learned of that epoch (monotonic).
    """

    seen: Seen
    asked_at: float
    since: float
    stay: object


class Epochs:
    """The last reply of Redis for each source."""

    def __init__(self, stays: Stays) -> None:
        self._stays = stays
        self._last: dict[str, LastSeen] = {}

    def renew(self) -> None:
        """Forget all, at the start and in a forked child, which Redis has told nothing yet."""
        self._last = {}

    @property
    def sources(self) -> list[str]:
        """The sources of which Redis has told an epoch."""
        return list(self._last)

    def of(self, source: str) -> str:
        """The epoch of the source's window that this process has seen; "" where it has seen none."""
        last = self._last.get(source)
        return "" if last is None else last.seen.epoch

    def known_before(self, source: str, moment: float) -> str:
        """The epoch of the source's window that this process knows, where it did so before that moment
        (monotonic) as well; "" where it knew none then, or another.
        """
        last = self._last.get(source)
        return last.seen.epoch if last is not None and last.since < moment else ""

    def last_seen_us(self, source: str) -> int:
        """When Redis last saw this process in this stay, by its own reply (us); 0 for never."""
        last = self._last.get(source)
        return 0 if last is None or last.stay is not self._stays.current else last.seen.last_seen_us

    def age(self, source: str) -> float:
        """How many seconds ago Redis replied at most; -1.0 where it has not."""
        last = self._last.get(source)
        return -1.0 if last is None else now() - last.asked_at

    def known(self, source: str) -> str:
        """What this process has seen, in the form that epoch.lua reads; "" before the first reply."""
        last = self._last.get(source)
        if last is None:
            return ""
        stay = self._stays.current
        # That Redis does not know one any more which has left since is no sign of a loss.
        is_of_this_stay = stay is not None and last.stay is stay
        return str(last.seen if is_of_this_stay else Seen(last.seen.epoch))

    def learn(self, source: str, seen: Seen, asked_at: float, stay: object) -> bool:
        """Learn what Redis replied to an ask that was made at ``asked_at`` (monotonic), in that stay.

        False where Redis has lost the window, or has forgotten this process.
        """
        if not seen.epoch:
            return True
        last = self._last.get(source) or self._last.setdefault(source, LastSeen(seen, asked_at, now(), stay))
        known = last.seen
        if known.epoch != seen.epoch:
            return False
        if stay is not self._stays.current:
            return True
        if last.stay is stay and seen.last_seen_us == 0 < known.last_seen_us:
            return False
        if last.stay is not stay or seen.last_seen_us > known.last_seen_us:
            self._last[source] = LastSeen(seen, asked_at, last.since, stay)
        return True

    def set(self, source: str, seen: Seen, asked_at: float, stay: object) -> None:
        """Record that this process's slots are in the window of the epoch of ``seen``."""
        last = self._last.get(source)
        since = last.since if last is not None and last.seen.epoch == seen.epoch else now()
        self._last[source] = LastSeen(seen, asked_at, since, stay)
