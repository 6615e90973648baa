"""Threads in the background that share what there is to do, as the process ends."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tbcache.io.background import BackgroundThread
from tbcache.io.pool import BackgroundPool
from tests.server import wait_until


def test_what_a_pool_was_given_last_is_done_before_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine begins the thread late: a program that ended just then held a slot and a lease for ten
    minutes."""
    run, may_begin = BackgroundThread._run, threading.Event()
    done: list[str] = []

    def run_late(self: BackgroundThread, *args: Any) -> None:
        may_begin.wait(30)
        run(self, *args)

    monkeypatch.setattr(BackgroundThread, "_run", run_late)
    pool = BackgroundPool("tbcache-test", 2)
    pool.submit(lambda: done.append("it"))
    closing = threading.Thread(target=pool.close)
    closing.start()
    wait_until(lambda: pool._threads[0].is_stopping)
    may_begin.set()
    closing.join(30)
    assert done == ["it"]


def test_what_is_given_to_it_as_it_closes_is_done_where_no_thread_can_be_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever did it took away what the others end by, and the program did not end."""
    pool, done, closing = BackgroundPool("tbcache-test", 2), list[str](), threading.Event()
    work = pool._work

    def work_late() -> None:
        # The end waits already.
        pool.submit(lambda: done.append("late"))
        work()
        closing.set()

    monkeypatch.setattr(BackgroundThread, "start", lambda self, after=0.0: False)
    monkeypatch.setattr(pool, "_work", work_late)
    pool.submit(lambda: done.append("first"))
    threading.Thread(target=pool.close, daemon=True).start()
    assert closing.wait(30)
    wait_until(lambda: done == ["first", "late"])


def test_the_rest_is_done_where_something_ends_the_thread_that_closes_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The end of a program came amid what another thread was doing yet."""
    pool, done, may_end = BackgroundPool("tbcache-test", 1), list[str](), threading.Event()

    def last() -> None:
        assert may_end.wait(30)
        done.append("last")

    def leave() -> None:
        raise SystemExit(3)

    pool.submit(last)
    wait_until(lambda: pool._waiting.empty())
    pool._waiting.put(leave)
    threading.Timer(0.1, may_end.set).start()
    with pytest.raises(SystemExit):
        pool.close()
    assert done == ["last"]
