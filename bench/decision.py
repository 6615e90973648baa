"""What an allowed call costs, over one bare GET."""

from __future__ import annotations

import itertools
import time
from typing import Any

import redis

from bench import timing
from bench.limiter import LIMITERS, Build, Tbcache
from bench.table import Bar, Table
from tbcache.admission import Ask, Go, Settlement, Verdict
from tbcache.io import run
from tbcache.models import Limit
from tbcache.rate_limiter import RateLimiter
from tbcache.settings import BUILT_IN, Settings
from tbcache.store import Store
from tests.server import Server

#: So large that every call is allowed.
LIMIT = Limit(1_000_000, 60.0)
LEAST = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
if redis.call('ZCARD', KEYS[1]) >= ARGV[1] + 0 then
    return 0
end
redis.call('ZADD', KEYS[1], now, ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[2] / 1000)
return 1
"""

PEERS = {name: build for name, build in LIMITERS.items() if name != "tbcache"}


def table(*, is_quick: bool) -> Table:
    """The table, in about 20 seconds; in 5 when ``is_quick``."""
    server = Server().start()
    try:
        with timing.one_core(server):
            return measure(server, PEERS, rounds=5 if is_quick else 15, calls=100 if is_quick else 200)
    finally:
        server.close()


def measure(server: Server, peers: dict[str, Build], *, rounds: int, calls: int) -> Table:
    """tbcache and ``peers``, each beside the same GET."""
    client = redis.Redis.from_url(server.url)
    client.set("bench", b"x" * 300)
    blocks = {
        "the least possible": timing.block(Least(server.url, LIMIT).acquire),
        "tbcache admit": settled(server.url),
        "tbcache check_rate_limit": _alone(server.url),
    }
    for name, build in peers.items():
        limiter = build(server.url, LIMIT, f"bench:{name}")
        blocks[name] = timing.block(lambda limiter=limiter: limiter.acquire(time.monotonic() + 60))
    ratios = timing.compare(timing.block(lambda: client.get("bench")), blocks, rounds=rounds, calls=calls)
    return Table(
        "The decision alone",
        f"Median time of an allowed call over one bare redis-py GET (hiredis, pooled), {LIMIT.count:,} per "
        "60 s; in brackets the extremes of the rounds. Client and server share a core. "
        "tbcache admit looks at the cache, takes the lease of "
        "the key and counts the usage in the same round trip. The least possible is one script of redis-py "
        "that drops, counts, adds and expires, and does nothing else: what any exact limiter pays.",
        ["limiter", "x GET"],
        [[name, str(ratio)] for name, ratio in ratios.items()],
        [Bar("admit, 2.0 x GET", str(ratios["tbcache admit"]), ratios["tbcache admit"].median <= 2.0)],
    )


class Least:
    """The least that is a sliding window for a fleet, by redis-py: no lease, no cache, no figures, no word of
    who asks, nothing for when Redis is away or has lost data. Nothing that promises more costs less."""

    def __init__(self, url: str, limit: Limit) -> None:
        self._script: Any = redis.Redis.from_url(url).register_script(LEAST)
        self._limit, self._numbers = (limit.count, round(limit.window_seconds * 1e6)), itertools.count()

    def acquire(self) -> bool:
        return bool(self._script(keys=["{bench}:least"], args=[*self._limit, next(self._numbers)]))


def settled(url: str) -> timing.Block:
    """Blocks of ``admit``, each of a symbol of its own. Neither the requests, which a bot has made before,
    nor the settlements that give the slots back are timed."""
    limiter, numbers = Tbcache(url, LIMIT, "bench"), itertools.count()
    admission, source = limiter.admission, limiter.source

    def block(count: int) -> list[float]:
        asks = iter([Ask(source, source.request(f"N{next(numbers)}"), patience=60.0) for _ in range(count)])
        verdicts: list[Verdict] = []
        seconds = timing.block(lambda: verdicts.append(run(admission.admit(next(asks)))))(count)
        for verdict in verdicts:
            if isinstance(verdict, Go):
                run(admission.settle(verdict.grant, Settlement(payload=b"1", pages=1)))
        return seconds

    return block


def _alone(url: str) -> timing.Block:
    limiter = RateLimiter(BUILT_IN["news"], Store(Settings.load({"REDIS_URL": url})))
    return timing.block(lambda: limiter.check_rate_limit(limit=LIMIT.count, window_seconds=60))
