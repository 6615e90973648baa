"""How soon what an operator says is in force in a fleet of three workers, as real processes: half a minute.

    python -m bench.verbs

Each worker notes in Redis when a job begins. The bar is a second; 5 s for ten thousand dead letters.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import dramatiq
import redis

import tbcache
from bench.table import Bar
from tbcache.fleet import Fleet
from tbcache.models import FetchRequest, Limit
from tbcache.models.error import Paused
from tbcache.queue import JobFilter, get_queue
from tbcache.settings import get_settings
from tbcache.store import get_store
from tbcache.testing import server
from tests.job import message

WORKERS, THREADS, WORK_SECONDS = 3, 4, 0.02
NOTES, SECOND, DEAD, DEAD_SECONDS = "bench:begun", 1.0, 10_000, 5.0
NAME, SLOW = "quotes", "slow"


def declare(client: Any) -> tuple[Any, Any]:
    """The actors: one whose jobs are paced, and one whose jobs hang until they are cancelled."""
    dramatiq.set_broker(tbcache.get_broker())
    tbcache.source(NAME, limits="200/1s")

    def work(number: int) -> None:
        client.rpush(NOTES, f"{time.time()} {os.getpid()}")
        time.sleep(WORK_SECONDS)

    def hang() -> None:
        client.incr("bench:hanging")
        try:
            while True:
                time.sleep(0.01)
        finally:
            client.decr("bench:hanging")

    return (
        dramatiq.actor(source=NAME, actor_name="work")(work),
        dramatiq.actor(queue_name=SLOW, actor_name="hang", max_retries=0)(hang),
    )


def main() -> None:
    with server() as valkey:
        os.environ.update(valkey.variables)
        client: Any = redis.Redis.from_url(valkey.url)
        work, hang = declare(client)
        with _workers():
            for bar in Verbs(client, work, hang).measure():
                print(bar, flush=True)


class Verbs:
    """A fleet that works, and what an operator does to it."""

    def __init__(self, client: Any, work: Any, hang: Any) -> None:
        self._client, self._work, self._hang = client, work, hang
        self._fleet = Fleet(get_settings(), get_store())
        self._operator = self._fleet.as_operator("bench")
        self._queue, self._numbers = get_queue(), itertools.count()

    def measure(self) -> Iterator[Bar]:
        self._send(3000)
        _await(lambda: len({pid for _, pid in self._begun()}) == WORKERS)
        yield self._pause()
        yield self._resume()
        yield self._limit()
        yield self._drain()
        yield self._weight()
        yield from self._jobs()
        yield self._cancel_running()
        yield from self._dead()

    def _pause(self) -> Bar:
        at = time.time()
        self._operator.pause(NAME)
        time.sleep(2.0)
        return _bar("pause: the last job that begins", max(when for when, _ in self._begun()) - at)

    def _resume(self) -> Bar:
        at = time.time()
        self._operator.resume(NAME)
        _await(lambda: len(self._firsts(at)) == WORKERS)
        return _bar("resume: all workers begin jobs", max(self._firsts(at).values()) - at)

    def _limit(self) -> Bar:
        at = time.time()
        self._operator.set_limits(NAME, [Limit(20, 1.0)])
        time.sleep(3.0)
        begun = sorted(when for when, _ in self._begun() if when > at)
        # What was granted before leaves the window within a second; from then on none of any second has more.
        late = [later - at for soon, later in zip(begun, begun[20:], strict=False) if later - soon < 0.999]
        self._operator.unset_limits(NAME)
        return _bar("limit: the last job beyond the new one", max(late, default=0.0))

    def _drain(self) -> Bar:
        at = time.time()
        self._operator.drain(NAME)

        def is_refused() -> bool:
            try:
                self._send(1)
            except Paused:
                return True
            return False

        _await(is_refused)
        took = time.time() - at
        self._operator.resume(NAME)
        return _bar("drain: a job is refused", took)

    def _weight(self) -> Bar:
        self._operator.pause(NAME)
        # This process knows the weights of a moment ago.
        self._send(1)
        at = time.time()
        self._operator.set_weight("desk/vip", 4.0)

        def stride() -> bytes:
            sent = self._work.send_with_options(args=(0,), caller="desk/vip")
            return bytes(self._client.hget(get_store().keys.queue(NAME, "lanes"), sent.message_id)).split()[1]

        _await(lambda: int(stride()) == 250_000)
        return _bar("weight: a job is queued by it", time.time() - at)

    def _jobs(self) -> Iterator[Bar]:
        self._send(DEAD)
        at = time.time()
        found = self._queue.jobs(NAME, JobFilter(caller="nobody"), 100)
        yield _bar(f"search: of {DEAD:,} jobs those of a caller ({len(found)})", time.time() - at)
        at = time.time()
        found = self._queue.jobs(NAME, JobFilter(), 100)
        yield _bar("list: the first 100", time.time() - at)
        at = time.time()
        done = self._operator.promote(NAME, found[-1].job_id)
        yield _bar(f"promote: {done}", time.time() - at)
        at = time.time()
        done = self._operator.cancel(NAME, found[-2].job_id)
        yield _bar(f"cancel of one that waits: {done}", time.time() - at)

    def _cancel_running(self) -> Bar:
        jobs = [self._hang.send() for _ in range(WORKERS)]
        _await(lambda: self._hanging() == WORKERS)
        at = time.time()
        said = {self._operator.cancel(SLOW, one.message_id) for one in jobs}
        _await(lambda: self._hanging() == 0)
        return _bar(f"cancel of {WORKERS} that run ({', '.join(said)}): they are stopped", time.time() - at)

    def _dead(self) -> Iterator[Bar]:
        for verb in ("requeue", "purge"):
            self._bury()
            at = time.time()
            count = getattr(self._operator, f"{verb}_dead")("reddit")
            asked = f"{verb} of {DEAD:,} dead letters ({count}) in {DEAD_SECONDS:.0f} s"
            took = time.time() - at
            yield Bar(asked, f"{took:.2f} s", took <= DEAD_SECONDS)

    def _bury(self) -> None:
        keys, pipe = get_store().keys, self._client.pipeline()
        for number in range(DEAD):
            one = message(FetchRequest("reddit", f"S{number}"), "interactive")
            pipe.zadd(keys.queue("reddit", "dead"), {one.message_id: time.time() * 1e6})
            pipe.hset(keys.queue("reddit", "dead-jobs"), one.message_id, one.encode())
            pipe.hset(keys.queue("reddit", "reasons"), one.message_id, "UpstreamUnavailable: timeout")
        pipe.execute()

    def _send(self, many: int) -> None:
        tbcache.enqueue_many([self._work.message(next(self._numbers)) for _ in range(many)])

    def _begun(self) -> list[tuple[float, str]]:
        lines = (line.decode().split() for line in self._client.lrange(NOTES, 0, -1))
        return [(float(when), pid) for when, pid in lines]

    def _firsts(self, at: float) -> dict[str, float]:
        """When each worker has begun a job after that moment."""
        return {pid: when for when, pid in sorted(self._begun(), reverse=True) if when > at}

    def _hanging(self) -> int:
        return int(self._client.get("bench:hanging") or 0)


def _bar(what: str, seconds: float) -> Bar:
    return Bar(f"{what}, in {SECOND:.0f} s", f"{seconds:.3f} s", seconds <= SECOND)


@contextmanager
def _workers() -> Iterator[None]:
    started = [subprocess.Popen([sys.executable, "-m", "bench.verbs", "work"]) for _ in range(WORKERS)]
    try:
        yield
    finally:
        for one in started:
            one.kill()
            one.wait()


def _run_worker() -> None:
    declare(redis.Redis.from_url(os.environ["REDIS_URL"]))
    worker = dramatiq.Worker(tbcache.get_broker(), queues={NAME, SLOW}, worker_threads=THREADS)
    worker.start()
    signal.pause()


def _await(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 60.0
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError("it did not come within a minute")
        time.sleep(0.01)


if __name__ == "__main__":
    _run_worker() if sys.argv[1:] == ["work"] else main()
