"""What a fleet that has nothing to do asks of Redis, and has it write, as real processes: two minutes.

    python -m bench.idle

A worker, a scheduler and the HTTP API, with all sources of the simulator; nobody asks for anything, and
nothing is kept warm. They are looked at once they rest, a minute after their start.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bench.table import Bar
from tbcache.queue.script import DEQUEUE, LOOK
from tbcache.testing import simulator
from tests.server import Server, free_port

START_SECONDS, LOOK_SECONDS, DAY_SECONDS = 80.0, 30.0, 86_400
MOST_QUEUE_CALLS, MOST_SCRIPTS, MOST_BYTES = 0.2, 10.0, 200e6


def main() -> int:
    server = Server(append_only=True, appendfsync="no").start()
    try:
        with (
            simulator() as upstream,
            fleet({**server.variables, **upstream.variables}, str(server.folder / "data")),
        ):
            time.sleep(START_SECONDS)
            queues = len(set(server.client.keys("*:queue:asked")))
            size = _written(server)
            asked = calls(server, LOOK_SECONDS)
            bytes_a_day = (_written(server) - size) * DAY_SECONDS / LOOK_SECONDS
    finally:
        server.close()
    of_queues = sum(asked[script.sha] for script in (DEQUEUE, LOOK)) / LOOK_SECONDS / queues
    scripts = sum(asked.values()) / LOOK_SECONDS
    bars = [
        Bar(
            f"calls a second and queue <= {MOST_QUEUE_CALLS:g}",
            f"{of_queues:.2f}",
            of_queues <= MOST_QUEUE_CALLS,
        ),
        Bar(f"scripts a second <= {MOST_SCRIPTS:g}", f"{scripts:.1f}", scripts <= MOST_SCRIPTS),
        Bar("AOF a day <= 200 MB", f"{bytes_a_day / 1e6:.0f} MB", bytes_a_day <= MOST_BYTES),
    ]
    print(f"{queues} queues", *bars, sep="\n")
    return 0 if all(bar.is_met for bar in bars) else 1


@contextmanager
def fleet(variables: dict[str, str], folder: str) -> Iterator[None]:
    environment = {
        **os.environ,
        **variables,
        # None: where it is empty, the built-in list holds.
        "TBCACHE_COMMON_SYMBOLS": ",",
        "TBCACHE_DATA_DIR": folder,
        "TBCACHE_LOG_LEVEL": "error",
        "TBCACHE_PERSIST": "false",
    }
    commands = (["worker"], ["scheduler"], ["api", "--port", str(free_port())])
    running = [subprocess.Popen([sys.executable, "-m", "tbcache", *one], env=environment) for one in commands]
    try:
        yield
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(30)


def calls(server: Server, seconds: float) -> Counter[str]:
    """How often each script is called, by its digest."""
    found, until = Counter[str](), time.monotonic() + seconds
    with server.client.monitor() as monitor:
        commands: Any = monitor.listen()
        for one in commands:
            words = one["command"].split()
            if words[0].upper() == "EVALSHA":
                found[words[1].strip('"')] += 1
            # Some process says each second that it lives.
            if time.monotonic() >= until:
                return found
    return found


def _written(server: Server) -> int:
    return int(server.client.info("persistence")["aof_current_size"])


if __name__ == "__main__":
    sys.exit(main())
