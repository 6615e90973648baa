"""Threads in the background: what each of them outlives."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tbcache.io import background, fork
from tbcache.io.background import BackgroundThread, restart_dead
from tests.server import wait_until

ROOT = Path(__file__).parents[1]


@pytest.fixture
def thread_of() -> Iterator[Callable[..., BackgroundThread]]:
    """Threads that are stopped after the test."""
    threads: list[BackgroundThread] = []

    def make(step: background.Step, name: str = "tbcache-test") -> BackgroundThread:
        threads.append(BackgroundThread(name, step))
        return threads[-1]

    yield make
    for thread in threads:
        thread.stop()


def test_a_thread_outlives_every_error(
    thread_of: Callable[..., BackgroundThread], caplog: pytest.LogCaptureFixture
) -> None:
    """One heartbeat that cannot be sent must not be the last."""
    rounds: list[Exception] = []

    def step() -> float:
        rounds.append(RuntimeError("nobody foresaw this"))
        raise rounds[-1]

    thread_of(step).start()
    wait_until(lambda: len(rounds) >= 3)
    assert "nobody foresaw this" in caplog.text


def test_a_thread_that_fails_again_and_again_pauses_longer_and_longer(
    thread_of: Callable[..., BackgroundThread], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loop without a pause fills a disk and takes a core."""
    pauses: list[float | None] = []

    class Event(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            pauses.append(timeout)
            return len(pauses) > 8 or super().wait(0.0)

    def step() -> float:
        raise ValueError("again")

    monkeypatch.setattr(background.threading, "Event", Event)
    thread = thread_of(step)
    thread._go_on(Event(), 0.0)
    assert pauses == pytest.approx([0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0])


def test_a_thread_that_died_is_named_and_started_again(thread_of: Callable[..., BackgroundThread]) -> None:
    """What kills a thread itself is no error that it could survive."""
    rounds: list[int] = []

    def step() -> float:
        rounds.append(1)
        if len(rounds) == 1:
            raise SystemExit
        return 60.0

    thread = thread_of(step, "tbcache-mortal")
    thread.start()
    wait_until(lambda: thread.is_dead)
    assert restart_dead() == ["tbcache-mortal"]
    wait_until(lambda: len(rounds) == 2)
    assert restart_dead() == []


def test_threads_look_after_each_other(thread_of: Callable[..., BackgroundThread]) -> None:
    """A worker has nobody who would ask for its health."""
    deaths: list[int] = []

    def die_once() -> float:
        deaths.append(1)
        if len(deaths) == 1:
            raise SystemExit
        return 60.0

    thread_of(lambda: 0.01).start()
    thread_of(die_once).start()
    wait_until(lambda: len(deaths) == 2)


def test_a_start_during_the_last_round_is_not_lost(thread_of: Callable[..., BackgroundThread]) -> None:
    """What comes just as a thread is done must not wait for the next occasion."""
    rounds: list[int] = []
    may_end = threading.Event()

    def step() -> None:
        rounds.append(1)
        may_end.wait(30)

    thread = thread_of(step)
    thread.start()
    wait_until(lambda: rounds)
    thread.start()
    may_end.set()
    wait_until(lambda: len(rounds) == 2)
    wait_until(lambda: not thread.is_running)
    thread.start()
    wait_until(lambda: len(rounds) == 3)


def test_a_stopped_thread_ends_and_can_be_started_again(thread_of: Callable[..., BackgroundThread]) -> None:
    """Who leaves the fleet may come back."""
    rounds: list[str] = []
    thread = thread_of(lambda: rounds.append(threading.current_thread().name) or 60.0)
    thread.start()
    wait_until(lambda: rounds)
    thread.stop()
    assert (thread.is_running, thread.is_dead, thread.is_stopping) == (False, False, True)
    thread.start()
    wait_until(lambda: len(rounds) == 2)
    assert not thread.is_stopping


def test_a_thread_that_is_started_again_waits_for_its_last_round(
    thread_of: Callable[..., BackgroundThread],
) -> None:
    """No step expects that another thread is in it as well."""
    may_end, second = threading.Event(), threading.Event()
    inside: list[threading.Thread] = []
    most: list[int] = []

    def step() -> float | None:
        inside.append(threading.current_thread())
        most.append(len(inside))
        if len(most) == 2:
            second.set()
        may_end.wait(30)
        inside.remove(threading.current_thread())
        return None

    thread = thread_of(step)
    thread.start()
    wait_until(lambda: len(most) == 1)
    thread.stop(timeout=0.0)
    thread.start()
    assert not second.wait(0.2)
    may_end.set()
    assert second.wait(30)
    assert most == [1, 1]


def test_a_forked_child_has_no_thread_and_can_start_its_own(
    thread_of: Callable[..., BackgroundThread], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dramatiq and gunicorn fork after the import."""
    thread = thread_of(lambda: 60.0)
    thread.start()
    # As the hook finds it in the child: threads are gone, locks may be held.
    with thread._lock, background._THREADS.lock:
        before = thread._stopping
        monkeypatch.setattr(fork, "_RENEWABLE", [background._THREADS, thread])
        fork._after_fork()
    before.set()
    assert (thread.is_running, restart_dead()) == (False, [])
    thread.start()
    assert thread.is_running


def test_no_thread_is_started_in_another_way() -> None:
    """One that ends by an error that nobody foresaw is a fault that nobody sees."""
    made = re.compile(r"\bThread\(|start_new_thread|\bTimer\(")
    found = {
        str(path.relative_to(ROOT)).replace(os.sep, "/")
        for part in ("tbcache", "workers", "scheduler")
        for path in (ROOT / part).rglob("*.py")
        if made.search(re.sub(r"BackgroundThread\(", "", path.read_text("utf-8")))
    }
    simulated = {name for name in found if name.startswith("tbcache/testing/simulated/")}
    # One that stands in for a pool at the end of a program hands each error to who waits for it.
    allowed = {"tbcache/io/background.py", "tbcache/io/thread.py"}
    assert found - simulated == allowed, "what runs a simulated world is no thread of it"


def test_one_that_died_is_started_by_whoever_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A moment without threads must not cost a process its results for ever."""
    ran = threading.Event()
    thread = BackgroundThread("tbcache-test", lambda: ran.set())
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", _no_more_threads)
        thread.start()
    assert thread.is_dead
    thread.start()
    assert ran.wait(30)
    thread.stop()


def _no_more_threads(self: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")
