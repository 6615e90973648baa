"""The start of a process that is nothing without Redis: a server that is just loading is waited for."""

from __future__ import annotations

import time
from collections.abc import Callable

from tbcache.models.error import RedisUnreachable
from tbcache.store.connection import Store

START_SECONDS = 30.0
POLL_SECONDS = 0.2


def await_server(
    store: Store,
    say: Callable[[str], None],
    is_stopping: Callable[[], bool] = lambda: False,
    seconds: float = START_SECONDS,
) -> bool:
    """Do what :meth:`Store.require` does, but wait for a server that is there and does not answer yet.

    ``say`` is told, once, what is waited for. False when ``is_stopping`` came first.

    Raises:
      ConfigurationError: it refuses the user, the password or the database.
      RedisUnreachable: it is not there, or did not answer within ``seconds``.
    """
    give_up, is_waiting = time.monotonic() + seconds, False
    while not is_stopping():
        try:
            store.require()
            return True
        except RedisUnreachable as error:
            if not (error.is_passing or is_waiting) or time.monotonic() > give_up:
                raise
            if not is_waiting:
                say(f"waiting for Redis at {error.address} ({error.reason}), for {seconds:g} s at most")
            is_waiting = True
        time.sleep(POLL_SECONDS)
    return False
