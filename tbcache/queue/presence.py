"""A connection that shows Redis that this process is there."""

from __future__ import annotations

import math
import threading
import uuid

from redis import RedisError
from redis.client import PubSub

from tbcache.io import now
from tbcache.io.fork import renew_in_child
from tbcache.store import Store, Unavailable

#: The connection is looked after so often.
LOOK_SECONDS = 1.0


class PresenceChannel:
    """Listens on a channel that has the name of this process, as long as consumers need it.

    Claims are renewed by a thread, which has to wait while code holds the interpreter, or the machine has
    much else to do. The connection is there all the same: the operating system closes it when the process
    ends. So Redis can tell a worker that is slow from one that is dead.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.renew()
        renew_in_child(self)

    def renew(self) -> None:
        """Begin anew, as a forked child does: it is another process."""
        self.name = uuid.uuid4().hex
        self._lock = threading.Lock()
        self._connection: PubSub | None = None
        self._look_at = -math.inf
        self._users = 0

    def join(self) -> None:
        """One more consumer needs it."""
        with self._lock:
            self._users += 1

    def leave(self) -> None:
        """A consumer needs it no longer."""
        with self._lock:
            self._users -= 1
            if self._users == 0 and self._connection is not None:
                self._connection.close()
                self._connection, self._look_at = None, -math.inf

    @property
    def prefix(self) -> str:
        """How the channels of all processes begin; empty where it cannot be known whether they are there: in
        a cluster, where no server knows the connections of another, or where this one is not there."""
        return self._store.keys.present("") if self._connection is not None else ""

    def show(self) -> None:
        """Open the connection, or open it again where it is gone."""
        if now() < self._look_at or self._store.settings.redis_cluster:
            return
        if self._lock.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._lock.release()

    def _look(self) -> None:
        self._look_at = now() + LOOK_SECONDS
        try:
            if self._connection is not None:
                # Nothing is ever said there. A connection that is gone is made again.
                self._connection.get_message()
                return
            connection = self._store.subscribe(self._store.keys.present(self.name))
            # Redis says that it is there, or that this user may not listen.
            connection.get_message(timeout=self._store.settings.redis_timeout)
            self._connection = connection
        except (Unavailable, RedisError, OSError):
            self._connection = None
