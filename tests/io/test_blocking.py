"""The world of a coroutine, and the driver that runs it in the thread of its caller."""

from __future__ import annotations

import asyncio
import math
import multiprocessing
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Any

import pytest

from tbcache import io
from tbcache.io import utc_now
from tbcache.io.blocking import BACKGROUND_THREADS
from tbcache.io.deadline import seconds_left, until
from tests.server import wait_until

#: Spawns while signals come, whose handler raises; then another thread does, and so does another executor.
INTERRUPTED = """
import concurrent.futures, os, random, signal, sys, threading
from tbcache import io

class Rung(BaseException): pass

def ring(*_):
    if is_armed[0]:
        is_armed[0] = False
        raise Rung

async def work(): pass

is_armed = [False]
signal.signal(signal.SIGALRM, ring)
for _ in range(1000):
    try:
        is_armed[0] = True
        signal.setitimer(signal.ITIMER_REAL, random.uniform(0.00001, 0.0002))
        while is_armed[0]:
            io.BLOCKING.spawn(work)
    except Rung:
        pass
    is_armed[0] = False
thread = threading.Thread(target=io.BLOCKING.spawn, args=[work], daemon=True)
thread.start()
thread.join(20)
pool = concurrent.futures.ThreadPoolExecutor(1)
other = threading.Thread(target=pool.submit, args=[int], daemon=True)
other.start()
other.join(20)
print(thread.is_alive(), other.is_alive(), flush=True)
os._exit(0)
"""
#: Ends while work goes on in the background.
ENDED = """
import multiprocessing, sys, time
from tbcache import io

async def work():
    time.sleep(0.3)
    print("done", flush=True)

def main():
    io.BLOCKING.spawn(work)

if sys.argv[1] == "program":
    main()
else:
    child = multiprocessing.get_context("fork").Process(target=main)
    child.start()
    child.join()
"""


class Elsewhere(io.Blocking):
    """A world with a clock and a chance of its own."""

    def now(self) -> float:
        return 100.0

    def clock(self) -> float:
        return 86_400.0

    def random_id(self, size: int) -> str:
        return "ab" * size

    def uniform(self, low: float, high: float) -> float:
        return high


async def which() -> io.IO:
    return io.world()


def in_thread(ask: Callable[[], Any]) -> Any:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(ask()))
    thread.start()
    thread.join()
    return found[0]


def test_a_coroutine_runs_to_its_end_in_the_thread_of_its_caller() -> None:
    """The blocking API is the same code as the others, and costs no thread and no loop."""

    async def work() -> tuple[int, str]:
        await io.world().sleep(0.0)
        done: Future[str] = Future()
        done.set_result("answer")
        return await io.world().offload(threading.get_ident), await io.world().wait(done)

    assert io.run(work()) == (threading.get_ident(), "answer")


def test_what_suspends_is_refused_and_ends() -> None:
    """A wait of an event loop that nobody runs would otherwise be an answer that is None."""
    ended = []

    async def work() -> None:
        try:
            await asyncio.sleep(0)
        finally:
            ended.append(True)

    with pytest.raises(RuntimeError, match="await it in an event loop"):
        io.run(work())
    assert ended == [True]


def test_a_wait_ends_in_time_and_leaves_what_it_waited_for() -> None:
    """Others wait for the same."""
    never: Future[None] = Future()
    with pytest.raises(TimeoutError):
        io.run(io.BLOCKING.wait(never, 0.0))
    assert not never.cancelled()


def test_clocks_and_chance_are_those_of_the_world() -> None:
    """What the core does must be the same in virtual time, to the last digit."""
    with io.inside(Elsewhere()):
        assert (io.now(), io.clock(), io.random_id(2), io.uniform(1.0, 2.0)) == (100.0, 86_400.0, "abab", 2.0)
        assert utc_now() == datetime(1970, 1, 2, tzinfo=UTC)
        with until(130.0), until(150.0):
            assert seconds_left() == 30.0
    assert io.world() is io.BLOCKING
    assert seconds_left() == math.inf


def test_the_blocking_api_blocks_wherever_it_is_called() -> None:
    """A function of a user that an event loop runs may call it, and so may a thread that is new."""
    with io.inside(Elsewhere()):
        assert io.run(which()) is io.BLOCKING
        assert io.world() is not io.BLOCKING
        assert in_thread(io.world) is io.BLOCKING


def test_work_in_the_background_has_no_deadline_of_who_asked_for_it() -> None:
    """A refresh goes on after the answer that set it off."""
    blocking, found = io.Blocking(), []

    async def work() -> None:
        found.append((io.world(), seconds_left(), threading.current_thread().name))

    with io.inside(Elsewhere()), until(130.0):
        blocking.spawn(work)
        blocking.close()
    ((world, left, thread),) = found
    assert (world, left) == (io.BLOCKING, math.inf)
    assert thread.startswith("tbcache-refresh")


def test_so_many_work_in_the_background_at_most() -> None:
    """A thousand answers that are stale at once must not be a thousand threads."""
    blocking, lock = io.Blocking(), threading.Lock()
    running, most = set[str](), []

    async def work() -> None:
        name = threading.current_thread().name
        with lock:
            running.add(name)
            most.append(len(running))
        time.sleep(0.005)
        with lock:
            running.discard(name)

    for _ in range(40):
        blocking.spawn(work)
    blocking.close()
    assert len(most) == 40
    # Who closes helps.
    assert BACKGROUND_THREADS <= max(most) <= BACKGROUND_THREADS + 1


def test_an_interrupt_amid_a_spawn_stops_no_other() -> None:
    """It stopped all executors of the process, and its exit."""
    ran = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=120)
    assert ran.stdout == "False False\n", ran.stderr


@pytest.mark.parametrize("of", ["program", "child"])
def test_a_process_ends_when_what_is_under_way_is_over(of: str) -> None:
    """A refresh has a slot, and may have been paid for."""
    ran = subprocess.run([sys.executable, "-c", ENDED, of], capture_output=True, text=True, timeout=120)
    assert (ran.stdout, ran.stderr) == ("done\n", "")


def test_a_forked_child_has_threads_of_its_own() -> None:
    """Those of its parent are not there."""
    found = multiprocessing.get_context("fork").SimpleQueue()

    async def work() -> None:
        found.put(threading.current_thread().name)

    io.BLOCKING.spawn(work)
    assert found.get()
    child = multiprocessing.get_context("fork").Process(target=lambda: io.BLOCKING.spawn(work))
    child.start()
    child.join(20)
    assert not found.empty()
    assert found.get().startswith("tbcache-refresh")


def test_what_fails_in_the_background_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody waits for it, so nobody else would learn of it."""
    blocking = io.Blocking()

    async def fail() -> None:
        raise ValueError("no such thing")

    blocking.spawn(fail)
    wait_until(lambda: caplog.records, 20, "the line in the log")
    blocking.undo(fail)
    blocking.close()
    assert {(record.msg, record.reason) for record in caplog.records} == {  # type: ignore[attr-defined]
        ("background.failed", "ValueError: no such thing")
    }
