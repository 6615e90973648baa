"""A leading scheduler that is killed, and one that stands still, as real processes: three minutes.

    python -m bench.takeover

Three schedulers, one worker, a simulated Stocktwits, answers that last a minute. Each answer is looked at ten
times a second: for how long was it not fresh, and which were replaced while they were fresh for long?
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis

from tbcache.store.envelope import read_head
from tbcache.testing import server, simulator

TTL = 60.0
SYMBOLS = tuple(f"S{number}" for number in range(10))
SCHEDULERS = 3
LOOK_SECONDS = 0.1
#: Until everything is warm; after the kill; while the next stands still; after that.
PHASES = {"warm up": 58.0, "killed": 45.0, "stopped": 45.0, "goes on": 40.0}


class Watch:
    """What stands in Redis of each answer, over time."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.stale = defaultdict[str, float](float)
        #: The longest time without a fresh answer, and the present one.
        self.longest = 0.0
        self._since: dict[str, float] = {}
        #: When each answer was replaced.
        self.replaced = defaultdict[str, list[float]](list)
        self._fresh_until: dict[str, int] = {}

    def look_for(self, seconds: float, *, is_counting: bool = True) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._look(is_counting)
            time.sleep(LOOK_SECONDS)

    def _look(self, is_counting: bool) -> None:
        pipe = self._client.pipeline(transaction=False)
        pipe.time()
        for symbol in SYMBOLS:
            pipe.getrange(f"trading_bot:cache:{{stocktwits}}:{symbol}:1", 0, 63)
        (at, micros), *heads = pipe.execute()
        now, moment = at * 1_000_000 + micros, time.monotonic()
        for symbol, head in zip(SYMBOLS, heads, strict=True):
            fresh_until = read_head(head)[0] if head else 0
            if fresh_until and fresh_until != self._fresh_until.get(symbol):
                self._fresh_until[symbol] = fresh_until
                self.replaced[symbol].append(moment)
            if fresh_until > now:
                self._since.pop(symbol, None)
            elif is_counting:
                self.longest = max(self.longest, moment - self._since.setdefault(symbol, moment))

    @property
    def twice(self) -> int:
        """How many answers were replaced when they had more than half of their life left."""
        pairs = (pair for moments in self.replaced.values() for pair in itertools.pairwise(moments))
        return sum(later - sooner < TTL / 2 for sooner, later in pairs)


@contextmanager
def processes(environment: dict[str, str]) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """The schedulers and the worker, by their names in the fleet."""
    started: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name in ("worker", *(f"scheduler-{number}" for number in range(SCHEDULERS))):
            module = "workers" if name == "worker" else "scheduler"
            variables = {**os.environ, **environment, "TBCACHE_WORKER_NAME": name}
            started[name] = subprocess.Popen([sys.executable, "-m", module], env=variables)
        yield started
    finally:
        for process in started.values():
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()


def leader(client: Any) -> str:
    """The name of the scheduler that leads."""
    return str((client.get("trading_bot:schedule:leader") or b"").decode().partition(" ")[2])


def main() -> None:
    with server() as valkey, simulator(limits={"stocktwits": "60/1m"}) as upstream:
        client: Any = redis.Redis.from_url(valkey.url)
        environment = {
            **valkey.variables,
            **upstream.variables,
            "TBCACHE_COMMON_SYMBOLS": ",".join(SYMBOLS),
            "TBCACHE_STOCKTWITS__CACHE_TTL": f"{TTL:g}",
            # One hour is known whole by the first fetch: loads of older hours would replace answers as well.
            "TBCACHE_COMMON_HOURS": "1",
            "TBCACHE_LOG_LEVEL": "warning",
            "TBCACHE_PERSIST": "false",
        }
        with processes(environment) as running:
            watch = Watch(client)
            watch.look_for(PHASES["warm up"], is_counting=False)
            killed = leader(client)
            running[killed].kill()
            watch.look_for(PHASES["killed"])
            stopped = leader(client)
            running[stopped].send_signal(signal.SIGSTOP)
            watch.look_for(PHASES["stopped"])
            running[stopped].send_signal(signal.SIGCONT)
            watch.look_for(PHASES["goes on"])
            print(f"killed {killed}, stopped {stopped}, {leader(client)} leads")
            print(f"longest time without a fresh answer: {watch.longest:.1f} s")
            print(f"answers replaced with half of their life left: {watch.twice}")
            print(f"replaced: {sum(map(len, watch.replaced.values()))}")
            print(f"upstream: {upstream.stats()['stocktwits']}")


if __name__ == "__main__":
    main()
