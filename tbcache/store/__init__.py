"""The connection to Redis: names of keys, scripts, codec, and what to do when it is away.

Whatever asks Redis raises :class:`Unavailable` where it is away, or was a moment ago, and :class:`Refused`
where it refuses this alone.
"""

from tbcache.store.breaker import Refused, Unavailable
from tbcache.store.connection import Store, get_store
from tbcache.store.key import Keys

__all__ = ["Keys", "Refused", "Store", "Unavailable", "get_store"]
