"""Which commands this process's user of Redis may not run, of those that the rule in docs/deploying.md names.

A script that meets one that is missing says no more than that it may not run some command. So each is run
by itself, on a key of its own that is a STRING: what is for another type does nothing there.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from redis.exceptions import NoPermissionError

if TYPE_CHECKING:
    from tbcache.store.connection import Store

TTL_MS = 60_000
#: A right to the key is another matter: whoever lacks that is told which source cannot go on.
_IS_COMMAND = "to run the"
#: Where the key stands, if it does not come first.
KEY = "key"
#: What follows the command, and the key.
_OF_KEY: dict[str, tuple[str, ...]] = {
    "set": ("1", "PX", str(TTL_MS)),
    "get": (),
    "mget": (),
    "getrange": ("0", "0"),
    "exists": (),
    "pttl": (),
    "expire": (str(TTL_MS // 1000),),
    "pexpire": (str(TTL_MS),),
    "hget": ("x",),
    "hmget": ("x",),
    "hgetall": (),
    "hkeys": (),
    "hvals": (),
    "hset": ("x", "1"),
    "hsetnx": ("x", "1"),
    "hdel": ("x",),
    "hexists": ("x",),
    "hlen": (),
    "hincrby": ("x", "1"),
    "rpush": ("x",),
    "blpop": ("0.001",),
    "ltrim": ("0", "0"),
    "lindex": ("0",),
    "lrange": ("0", "0"),
    "llen": (),
    "zadd": ("0", "x"),
    "zrem": ("x",),
    "zcard": (),
    "zcount": ("0", "0"),
    "zscore": ("x",),
    "zmscore": ("x",),
    "zrank": ("x",),
    "zrange": ("0", "0"),
    "zrangebyscore": ("0", "0"),
    "zremrangebyscore": ("0", "0"),
    "zintercard": ("1", KEY),
    "sadd": ("x",),
    "xadd": ("*", "x", "1"),
    "xrange": ("-", "+"),
    "xdel": ("0-1",),
    # These come last, as any other would make the key anew.
    "unlink": (),
    "del": (),
}
#: The commands for one node, which are not tried in a cluster.
_OF_NODE: tuple[tuple[str, ...], ...] = (("client", "tracking", "off"), ("dbsize",), ("scan", "0"))


def missing_rights(store: Store) -> tuple[str, ...]:
    """The commands that are refused for want of a right, in the words of the rule.

    Those for which something else stands in anyway, such as INFO, and those without which nobody is let in,
    such as PING, are not among them."""
    key = store.keys.scratch(secrets.token_hex(8))
    tried = [(command, command, *_with(key, rest)) for command, rest in _OF_KEY.items()]
    if not store.settings.redis_cluster:
        tried += [("|".join(words[:2]) if words[0] == "client" else words[0], *words) for words in _OF_NODE]
    answers = store.execute(*((command.upper(), *arguments) for _, command, *arguments in tried))
    return tuple(
        name
        for (name, *_), answer in zip(tried, answers, strict=True)
        if isinstance(answer, NoPermissionError) and _IS_COMMAND in str(answer)
    )


def _with(key: str, rest: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(key if part == KEY else part for part in rest) if KEY in rest else (key, *rest)
