"""What becomes of jobs where a worker or Redis ends amid them, as real processes: some minutes.

    python -m bench.kill                 a worker is killed
    python -m bench.kill --way stand     it stands still
    python -m bench.kill --way docker    SIGTERM, and SIGKILL after 10 s, amid long jobs
    python -m bench.kill --way failover  Redis is killed, and Sentinel promotes its replica
    python -m bench.kill --way outage    Redis is killed for 5 s; it has an append-only file
    python -m bench.kill --way frozen    Redis stands still for 15 s

Two workers with eight threads each work off the jobs of a limited source. Each job writes down when its work
begins and when it is done, so that it is known which were lost, which were begun again, and which were done
by then.
"""

from __future__ import annotations

import argparse
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import dramatiq

import tbcache
from tbcache.models.error import RedisUnreachable
from tests.server import SentinelServer, Server

THREADS = 8
NOTES, WORK = "BENCH_NOTES", "BENCH_WORK_SECONDS"
KINDS = ("actor", "fetcher")
WAIT_SECONDS, DOCKER_SECONDS, OUTAGE_SECONDS, FROZEN_SECONDS = 180.0, 10.0, 5.0, 15.0


class Way(NamedTuple):
    """How many jobs of so many seconds there are, and how many are done when it happens."""

    jobs: int = 1000
    work_seconds: float = 0.05
    after: int = 300


WAYS = {
    "kill": Way(),
    "stand": Way(),
    "docker": Way(48, 12.0, 0),
    "failover": Way(),
    "outage": Way(),
    "frozen": Way(),
}
#: In these it happens to Redis.
OF_REDIS = ("failover", "outage", "frozen")


class Notes(NamedTuple):
    """What the jobs have written down: by symbol, when its work began and when it was done (s)."""

    begun: dict[str, list[float]]
    done: dict[str, list[float]]

    @classmethod
    def read(cls) -> Notes:
        notes = cls(defaultdict(list), defaultdict(list))
        for line in Path(os.environ[NOTES]).read_text().splitlines():
            what, symbol, at = line.split()
            getattr(notes, what)[symbol].append(float(at))
        return notes


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kind", choices=KINDS, action="append")
    parser.add_argument("--way", choices=WAYS, default="kill")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", choices=KINDS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        _run_worker(options.work)
        return
    for kind in options.kind or KINDS:
        for _ in range(options.rounds):
            print(f"{kind}, {options.way}: {_round(kind, options.way)}", flush=True)


def _round(kind: str, way: str) -> str:
    with tempfile.TemporaryDirectory() as folder, _redis(way) as (variables, strike):
        Path(folder, "notes").touch()
        facts = {NOTES: str(Path(folder, "notes")), WORK: str(WAYS[way].work_seconds)}
        environment = {**variables, **facts, "TBCACHE_LOG_LEVEL": "error", "TBCACHE_DATA_DIR": folder}
        os.environ.update(environment)
        # A process of its own: this one would keep the address of the last round's Redis.
        command = [sys.executable, "-c", f"from bench.kill import observe; observe({kind!r}, {way!r})"]
        with _workers(kind) as (first, _):
            watch = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            _await(lambda: len(Notes.read().done) >= WAYS[way].after and len(Notes.read().begun) > THREADS)
            _happen(way, first, strike)
            said = watch.communicate()[0]
    return said.strip()


def _happen(way: str, worker: subprocess.Popen[bytes], strike: Callable[[], float]) -> None:
    at = time.time()
    if way in OF_REDIS:
        at = strike()
    elif way == "docker":
        worker.terminate()
        try:
            worker.wait(DOCKER_SECONDS)
        except subprocess.TimeoutExpired:
            at = time.time()
            worker.kill()
    else:
        worker.send_signal(signal.SIGSTOP if way == "stand" else signal.SIGKILL)
    Path(os.environ[NOTES] + ".at").write_text(str(at))


def observe(kind: str, way: str) -> None:
    """Queue the jobs, all the while and whatever happens, and say what became of those that were accepted."""
    one, count = _declare()[kind], WAYS[way].jobs
    accepted = []
    for number in range(count):
        try:
            tbcache.enqueue_many([one.message(f"S{number}")])
            accepted.append(f"S{number}")
        except RedisUnreachable:
            time.sleep(0.1)
        if way in OF_REDIS:
            time.sleep(0.004)
    _await(lambda: Path(os.environ[NOTES] + ".at").exists())
    at = float(Path(os.environ[NOTES] + ".at").read_text())
    queue = tbcache.get_broker()
    until = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < until and not all(symbol in Notes.read().done for symbol in accepted):
        time.sleep(0.2)
        if way in OF_REDIS and time.time() > at + 30 and _is_empty(queue):
            break
    print(_said(Notes.read(), accepted, at))


def _is_empty(broker: Any) -> bool:
    try:
        return not broker.store.call("HLEN", broker.store.keys.queue("quotes", "jobs"))
    except RedisUnreachable:
        return False


def _said(notes: Notes, accepted: list[str], at: float) -> str:
    lost = [symbol for symbol in accepted if symbol not in notes.done]
    again = [max(moments) - at for moments in notes.begun.values() if len(moments) > 1]
    twice = [1000 * (at - min(moments)) for moments in notes.done.values() if len(moments) > 1]
    later = [moment - at for moments in notes.begun.values() for moment in moments if moment > at]
    return (
        f"{len(lost)} of {len(accepted)} lost; {len(again)} begun again{_span(again, 's after it')}; "
        f"{len(twice)} done again{_span(twice, 'ms before it their work was done')}; "
        f"the next begins {min(later, default=math.nan):.1f} s after it"
    )


def _span(figures: list[float], unit: str) -> str:
    return f", {min(figures):.1f} to {max(figures):.1f} {unit}" if figures else ""


@contextmanager
def _redis(way: str) -> Iterator[tuple[dict[str, str], Callable[[], float]]]:
    """The settings that point at it, and what happens to it: until when, for an outage."""
    found = SentinelServer() if way == "failover" else Server(append_only=way in OF_REDIS)
    try:
        found.start()
        yield found.variables, lambda: _strike(way, found)
    finally:
        found.close()


def _strike(way: str, found: Any) -> float:
    begun = time.time()
    if way == "failover":
        found.primary.kill()
        return begun
    if way == "outage":
        found.kill()
        time.sleep(OUTAGE_SECONDS)
        found.start()
    else:
        with found.frozen():
            time.sleep(FROZEN_SECONDS)
    return time.time()


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


def _declare() -> dict[str, Any]:
    """The actor and the fetcher that do the work."""
    file = os.open(os.environ[NOTES], os.O_WRONLY | os.O_APPEND)

    def note(what: str, symbol: str) -> None:
        os.write(file, f"{what} {symbol} {time.time()}\n".encode())

    def work(symbol: str) -> None:
        note("begun", symbol)
        time.sleep(float(os.environ[WORK]))
        note("done", symbol)

    dramatiq.set_broker(tbcache.get_broker())
    quotes = tbcache.source("quotes", limits="1000/1s", ttl=600)
    return {
        "fetcher": quotes.fetcher(work),
        "actor": dramatiq.actor(actor_name="work", source="quotes")(work),
    }


def _run_worker(kind: str) -> None:
    _declare()
    # As it is in a worker's main thread.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    worker = dramatiq.Worker(tbcache.get_broker(), worker_threads=THREADS)
    worker.start()
    signal.sigwait([signal.SIGTERM])
    worker.stop(30_000)


def _await(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + WAIT_SECONDS
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError("the jobs were not begun in time")
        time.sleep(0.02)


if __name__ == "__main__":
    main()
