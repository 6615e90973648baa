"""What jobs cost one peer, in a process of its own: ``python -m bench.peer.measure MODULE THREADS JOBS``.

Prints jobs a second, seconds to queue one, seconds until one runs in an idle worker (the median, and what
one in twenty exceeds), commands of Redis per job.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import redis

from bench.peer import job

DONE_SECONDS, START_SECONDS, STOP_SECONDS = 120.0, 60.0, 3.0
IDLE_SECONDS, PICK_UPS = 0.15, 40


def main(name: str, threads: int, jobs: int) -> None:
    peer: Any = importlib.import_module(f"bench.peer.{name}")
    notes, client = Path(os.environ[job.NOTES]), redis.Redis.from_url(os.environ[job.URL])
    # What a first job takes, as to load scripts and to open connections, is not what is measured.
    with _worker(peer, threads):
        peer.send(1, 0.0)
        _await(lambda: len(job.moments(notes)) == 1, START_SECONDS)
    client.config_resetstat()
    begun = time.monotonic()
    peer.send(jobs, 0.0)
    sent = (time.monotonic() - begun) / jobs
    with _worker(peer, threads):
        _await(lambda: len(job.moments(notes)) == jobs + 1, DONE_SECONDS)
        ran = sorted(job.moments(notes)[1:])
        commands = _commands(client) / jobs
        time.sleep(1.0)
        asked = peer.send(PICK_UPS, IDLE_SECONDS)
        _await(lambda: len(job.moments(notes)) == jobs + 1 + PICK_UPS, DONE_SECONDS)
        picked_up = sorted(job.moments(notes))[-PICK_UPS:]
    seconds = [late - early for early, late in zip(asked, picked_up, strict=True)]
    late = statistics.quantiles(seconds, n=20)[-1]
    print((jobs - 1) / (ran[-1] - ran[0]), sent, statistics.median(seconds), late, commands)


@contextlib.contextmanager
def _worker(peer: Any, threads: int) -> Iterator[None]:
    worker = subprocess.Popen(
        peer.command(threads), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        yield
    finally:
        worker.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.wait(STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()


def _commands(client: Any) -> float:
    """How many the server has run, those within scripts as well."""
    return float(sum(one["calls"] for one in client.info("commandstats").values()))


def _await(condition: Callable[[], bool], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError(f"not done within {seconds:.0f} s")
        time.sleep(0.01)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
