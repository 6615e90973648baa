"""The leader among several schedulers: the one that holds a lease does the work."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tbcache.io.log import get_logger
from tbcache.queue.fence import Fenced, fence
from tbcache.store import Store, Unavailable
from tbcache.store.lead import LEAD, Lead

log = get_logger("tbcache.scheduler")

TICK_SECONDS = 5.0
LEASE_MS = 10_000


class Leader:
    """A lease in Redis, renewed at each tick; another takes over when it lapses.

    It comes with a token, which is higher than those of all leaders before. All that a leader queues carries
    it, so that one that stood still, and does not know yet that another leads, queues nothing.
    """

    def __init__(self, store: Store, name: str, queues: Sequence[str]) -> None:
        """``queues`` are those that it writes to."""
        self._store = store
        self._name = name
        self._queues = queues
        self._key = store.keys.schedule("leader")
        #: Of the last lease of which all queues have been told, so that they refuse earlier ones; 0: of none.
        self._token = 0
        #: One that was seen, and that the next is to exceed.
        self._above = 0

    def work(self, *works: Callable[[int], object]) -> None:
        """Do each of ``works`` with the token, where this process leads."""
        try:
            token = self.take()
            for one in works if token else ():
                one(token)
        except Fenced as error:
            # Where the server's clock was set back, this is the leader all the same, and takes a higher one.
            self._above = error.token
            log.warning("leader.fenced", reason=str(error))

    def take(self) -> int:
        """Take or renew the lease; its token, or 0 when another holds it, or Redis is away.

        Raises:
          Fenced: a queue knows a higher token.
        """
        try:
            token = self._store.run(LEAD, Lead(self._key, self._name, LEASE_MS, self._above))
            if token != self._token:
                for queue in self._queues if token else ():
                    fence(self._store, queue, token)
                self._token = token
        except Unavailable:
            return 0
        return token

    def resign(self) -> None:
        """Give the lease back, so that another scheduler need not wait until it ends."""
        try:
            self._store.run(LEAD, Lead(self._key, self._name, 0))
        except Unavailable:
            return
