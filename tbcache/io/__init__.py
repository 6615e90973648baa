"""The world outside a coroutine of the core: Redis, HTTP, time, chance, and what runs beside it.

The core is written once, as coroutines, and a driver runs them: :mod:`tbcache.io.blocking` in the thread of
the caller, :mod:`tbcache.io.loop` in an event loop, the simulation in virtual time.
"""

from tbcache.io.blocking import Blocking
from tbcache.io.current import (
    BLOCKING,
    clock,
    inside,
    now,
    random_id,
    random_ids,
    run,
    uniform,
    utc_now,
    world,
)
from tbcache.io.finish import finish, is_cancelled
from tbcache.io.mutex import Mutex
from tbcache.io.world import IO, Argument, Connections, Endpoint, Reply, Server
