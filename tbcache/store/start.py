"""The start of a process that is nothing without Redis.

It says why a server cannot be used, and waits for one that is just loading.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from redis.exceptions import AskError

from tbcache.io import run
from tbcache.models.error import ConfigurationError, RedisUnreachable
from tbcache.store.breaker import Unavailable
from tbcache.store.connection import Store
from tbcache.store.fault import (
    AWAY,
    REFUSED_LOGIN,
    cause_of,
    in_cluster,
    is_about_database,
    is_passing,
    is_refusal,
    reason_of,
)

START_SECONDS = 30.0
POLL_SECONDS = 0.2


def require(store: Store) -> None:
    """Check that the server answers, lets us in and accepts what our scripts do.

    Raises:
      ConfigurationError: it refuses the user, the password or the database.
      RedisUnreachable: it does not answer, or refuses to work; says in which words.
    """
    if not store.is_shared:
        raise RedisUnreachable("", "no REDIS_URL is set")
    try:
        run(store.say("PING"))
    except AskError:
        raise in_cluster(store.address) from None
    except AWAY as raised:
        error = cause_of(raised)
        if isinstance(error, REFUSED_LOGIN):
            raise ConfigurationError(
                f"Redis at {store.address} refuses the login ({error}); "
                "check REDIS_PASSWORD or the password in REDIS_URL"
            ) from None
        if is_about_database(error):
            raise ConfigurationError(
                f"Redis at {store.address} refuses the database ({error}); "
                "check REDIS_DB or the number in REDIS_URL"
            ) from None
        raise RedisUnreachable(
            store.address, reason_of(raised), is_refusal=is_refusal(error), is_passing=is_passing(raised)
        ) from None
    _require_layout(store)
    store.probe()


def _require_layout(store: Store) -> None:
    try:
        store.check()
    except Unavailable as error:
        if not store.breaker.has_other_layout:
            raise
        raise ConfigurationError(
            f"Redis at {store.address} cannot be used ({error.reason}); "
            "run one version everywhere, or set another TBCACHE_NAMESPACE"
        ) from None


def await_server(
    store: Store,
    say: Callable[[str], None],
    is_stopping: Callable[[], bool] = lambda: False,
    seconds: float = START_SECONDS,
) -> bool:
    """Do what :func:`require` does, but wait for a server that is there and does not answer yet.

    ``say`` is told, once, what is waited for. False when ``is_stopping`` came first.

    Raises:
      ConfigurationError: it refuses the user, the password or the database.
      RedisUnreachable: it is not there, or did not answer within ``seconds``.
    """
    give_up, is_waiting = time.monotonic() + seconds, False
    while not is_stopping():
        try:
            require(store)
            return True
        except RedisUnreachable as error:
            if not (error.is_passing or is_waiting) or time.monotonic() > give_up:
                raise
            if not is_waiting:
                say(f"waiting for Redis at {error.address} ({error.reason}), for {seconds:g} s at most")
            is_waiting = True
        time.sleep(POLL_SECONDS)
    return False
