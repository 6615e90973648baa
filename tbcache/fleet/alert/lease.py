"""Which process of the fleet watches it: the one that holds a lease."""

from __future__ import annotations

from tbcache.io import now
from tbcache.store import Refused, Store, Unavailable
from tbcache.store.lead import LEAD, Lead

LEASE_MS = 15_000


class Lease:
    """The lease of one process. ``token`` is that which comes with it; 0 while another holds it.

    Where Redis goes away the last that held it still has it: somebody must tell of that.
    """

    def __init__(self, store: Store, name: str) -> None:
        self._store, self._name = store, name
        self._held_at = 0.0
        self.token = 0

    def take(self) -> bool:
        """Take or renew it; True where this process holds it."""
        call = Lead(self._store.keys.alert_lease, self._name, LEASE_MS)
        try:
            self.token = self._store.run(LEAD, call)
        except Refused:
            # This user may not use the key; a damaged one is taken over.
            self.token = 0
        except Unavailable:
            # One that stood still meanwhile has been followed by another.
            if self.token and self._held_at and now() - self._held_at > LEASE_MS / 1000:
                self.token = 0
            self._held_at = 0.0
            raise
        self._held_at = now()
        return self.token > 0

    def resign(self) -> None:
        """Give it back, so that another need not wait until it ends."""
        self.token = 0
        try:
            self._store.run(LEAD, Lead(self._store.keys.alert_lease, self._name, 0))
        except Unavailable:
            return
