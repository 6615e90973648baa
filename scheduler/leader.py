"""The leader among several schedulers: the one that holds a lease does the work."""

from __future__ import annotations

from tbcache.store import Store, Unavailable
from tbcache.store.lead import LEAD, Lead

TICK_SECONDS = 5.0
LEASE_MS = 10_000


class Leader:
    """A lease in Redis, renewed at each tick; another takes over when it lapses."""

    def __init__(self, store: Store, name: str) -> None:
        self._store = store
        self._name = name
        self._key = store.keys.schedule("leader")

    def is_mine(self) -> bool:
        """Take or renew the lease; False when another holds it, or Redis is away."""
        try:
            return self._store.run(LEAD, Lead(self._key, self._name, LEASE_MS))
        except Unavailable:
            return False

    def resign(self) -> None:
        """Give the lease back, so that another scheduler need not wait until it ends."""
        try:
            self._store.run(LEAD, Lead(self._key, self._name, 0))
        except Unavailable:
            return
