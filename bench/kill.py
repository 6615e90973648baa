"""A worker that is killed, or stands still, amid a thousand jobs, as real processes: about a minute.

    python -m bench.kill
    python -m bench.kill --kind fetcher --signal STOP --rounds 1

Two workers with eight threads each work off the jobs of a limited source, and one of them gets the signal.
Each job writes down when its work begins and when it is done, so that it is known which were begun again, and
which were done by then.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import dramatiq
import redis

import tbcache
from tbcache.testing import server

JOBS, THREADS, WORK_SECONDS = 1000, 8, 0.05
#: So many jobs are done before the signal.
SIGNAL_AFTER = 300
NOTES = "bench:notes"
KINDS = ("actor", "fetcher")
WAIT_SECONDS = 180.0


class Notes(NamedTuple):
    """What the jobs have written down: by symbol, when its work began and when it was done (s)."""

    begun: dict[str, list[float]]
    done: dict[str, list[float]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kind", choices=KINDS, action="append")
    parser.add_argument("--signal", choices=("KILL", "STOP"), default="KILL")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", choices=KINDS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        _work(options.work)
        return
    for kind in options.kind or KINDS:
        for _ in range(options.rounds):
            print(_round(kind, signal.Signals[f"SIG{options.signal}"]), flush=True)


def _round(kind: str, what: signal.Signals) -> str:
    with server() as valkey:
        client: Any = redis.Redis.from_url(valkey.url)
        os.environ.update({**valkey.variables, "TBCACHE_LOG_LEVEL": "error"})
        with _workers(kind) as (first, second):
            _await(lambda: client.llen(NOTES) >= 2 * SIGNAL_AFTER)
            first.send_signal(what)
            at = time.time()
            _await(lambda: not client.hlen("trading_bot:{quotes}:queue:jobs"))
            found = _read(client)
            second.terminate()
            second.wait()
    return f"{kind}, {what.name}: {_said(found, at)}"


def _said(notes: Notes, at: float) -> str:
    again = [max(moments) - at for moments in notes.begun.values() if len(moments) > 1]
    twice = [1000 * (at - min(moments)) for moments in notes.done.values() if len(moments) > 1]
    return (
        f"{JOBS - len(notes.done)} lost; {len(again)} begun again{_span(again, 's after it')}; "
        f"{len(twice)} done again{_span(twice, 'ms before it their work was done')}"
    )


def _span(figures: list[float], unit: str) -> str:
    return f", {min(figures):.1f} to {max(figures):.1f} {unit}" if figures else ""


@contextmanager
def _workers(kind: str) -> Iterator[list[subprocess.Popen[bytes]]]:
    command = [sys.executable, "-m", "bench.kill", "--work", kind]
    started = [subprocess.Popen(command) for _ in range(2)]
    try:
        yield started
    finally:
        for one in started:
            one.kill()
            one.wait()


def _work(kind: str) -> None:
    """A worker; one of the two queues the jobs, which are joined where they are queued by both."""
    client: Any = redis.Redis.from_url(os.environ["REDIS_URL"])

    def work(symbol: str) -> None:
        client.rpush(NOTES, f"begun {symbol} {time.time()}")
        time.sleep(WORK_SECONDS)
        client.rpush(NOTES, f"done {symbol} {time.time()}")

    broker = tbcache.get_broker()
    dramatiq.set_broker(broker)
    quotes = tbcache.source("quotes", limits="1000/1s", ttl=600)
    fetcher = quotes.fetcher(work)
    actor = dramatiq.actor(actor_name="work", source="quotes", broker=broker)(work)
    worker = dramatiq.Worker(broker, worker_threads=THREADS)
    worker.start()
    if client.set("bench:queued", 1, nx=True):
        one = fetcher if kind == "fetcher" else actor
        tbcache.enqueue_many([one.message(f"S{number}") for number in range(JOBS)])
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    signal.sigwait([signal.SIGTERM])
    worker.stop()


def _read(client: Any) -> Notes:
    notes = Notes(defaultdict(list), defaultdict(list))
    for line in client.lrange(NOTES, 0, -1):
        what, symbol, at = line.decode().split()
        getattr(notes, what)[symbol].append(float(at))
    return notes


def _await(condition: Callable[[], object]) -> None:
    until = time.monotonic() + WAIT_SECONDS
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError("the jobs were not done in time")
        time.sleep(0.02)


if __name__ == "__main__":
    main()
