"""An interrupt may come anywhere as a thread logs, and nobody is held up by that."""

from __future__ import annotations

import itertools
import logging
import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from logging.handlers import MemoryHandler
from types import FrameType
from typing import Any

import pytest

from tbcache.io import log_lock
from tbcache.io.log import get_logger

#: What all loggers have in common.
_LOCK: Any = logging._lock  # type: ignore[attr-defined]


class Interrupt(BaseException):
    pass


class Lines(logging.FileHandler):
    """Keeps what was logged, beside a file."""

    def __init__(self) -> None:
        super().__init__(os.devnull)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        self.lines.append(str.__str__(record.msg))


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    for owner, name, function in log_lock._OF_3_13:
        monkeypatch.setattr(owner, name, function)
    logger, handler = logging.getLogger("tbcache"), Lines()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel("INFO")
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)
    handler.close()


def interrupted_at(point: int, call: Callable[[], object]) -> bool:
    """Interrupt a call at one point; False where there are not so many.

    Python looks for an interrupt as a function begins, and as one that is written in C returns.
    """
    events = 0

    def interrupt(frame: FrameType, event: str, argument: object) -> None:
        nonlocal events
        events += event in ("call", "c_return")
        if events > point:
            raise Interrupt

    try:
        sys.setprofile(interrupt)
        call()
    except Interrupt:
        return True
    finally:
        sys.setprofile(None)
    return False


def test_an_interrupt_at_any_point_leaves_no_lock_taken(lines: Lines) -> None:
    """Every thread of the process that logs would wait for ever, and so would one that forks."""
    logger = logging.getLogger("tbcache.test")
    memory = MemoryHandler(1, target=lines)
    logger.addHandler(memory)
    locks: dict[str, Any] = {"line": lines.lock, "memory": memory.lock, "module": _LOCK}
    points, is_within = 0, True
    try:
        while is_within:
            # What is enabled is found out anew, under a lock.
            logger.setLevel("INFO")
            memory.buffer.clear()
            is_within = interrupted_at(points, lambda: logger.info("at work"))
            assert [name for name, lock in locks.items() if lock._is_owned()] == [], points
            points += 1
    finally:
        logger.removeHandler(memory)
        logger.setLevel(logging.NOTSET)
    assert points > 50
    assert lines.lines[-1] == "at work"


def test_an_interrupt_as_a_logger_is_made_leaves_no_lock_taken(lines: Lines) -> None:
    """As where a job is the first that needs a module."""
    points, is_within = 0, True
    names = (f"tbcache.test.new{number}" for number in itertools.count())
    logging.getLogger("tbcache.test")
    while is_within:
        name = next(names)
        logging.getLogger(f"{name}.child")
        is_within = interrupted_at(points, lambda name=name: logging.getLogger(name))  # type: ignore[misc]
        assert not _LOCK._is_owned(), points
        points += 1
    assert points > 8
    made, child = logging.getLogger(name), logging.getLogger(f"{name}.child")
    assert (child.parent, made.parent) == (made, logging.getLogger("tbcache.test"))
    assert logging.getLogger(name) is made


def test_a_handler_with_locks_of_its_own_takes_them(lines: Lines) -> None:
    """By such a lock, several processes write to one file. Later versions of Python take none of these."""
    calls: list[str] = []

    class Shared(logging.Handler):
        def acquire(self) -> None:
            calls.append("acquire")
            super().acquire()

        def emit(self, record: logging.LogRecord) -> None:
            calls.append("emit")

        def release(self) -> None:
            super().release()
            calls.append("release")

    handler, logger = Shared(), logging.getLogger("tbcache.test")
    logger.addHandler(handler)
    logger.info("at work")
    logger.removeHandler(handler)
    assert calls == (["acquire", "emit", "release"] if sys.version_info < (3, 13) else ["emit"])


def test_a_handler_may_have_no_lock(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(lines, "lock", None)
        logging.getLogger("tbcache.test").info("at work")
    assert lines.lines == ["at work"]


def test_a_filter_may_leave_a_line_out(lines: Lines) -> None:
    lines.addFilter(lambda record: record.msg == "good")
    logger = logging.getLogger("tbcache.test")
    for word in ("bad", "good"):
        logger.info(word)
    logger.debug("good")
    assert lines.lines == ["good"]


def test_nobody_sets_a_level_while_it_is_found_out_what_is_enabled(
    lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was found out by the old level would hold for ever."""
    is_locked: list[bool] = []

    def level(logger: logging.Logger) -> int:
        is_locked.append(_LOCK._is_owned())
        return logging.INFO

    monkeypatch.setattr(logging.Logger, "getEffectiveLevel", level)
    logger = logging.getLogger("tbcache.test")
    logger.setLevel(logging.NOTSET)
    for _ in range(2):
        logger.info("at work")
    assert is_locked == [True]
    assert lines.lines == ["at work"] * 2


@pytest.mark.parametrize("end", ["sys.exit()", "os._exit(1)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_all_is_written_of_a_process_that_just_ends(end: str) -> None:
    """The last lines of one that is killed, or has a crash, say what it was doing."""
    program = f"""
import logging, os, signal, sys, threading
from tbcache.io.log import get_logger
from tbcache.io.log_lock import bear_interrupts

def work():
    for number in range(20):
        get_logger("tbcache.test").info(str(number))
    is_over.set()
    threading.Event().wait()

logging.basicConfig(level="INFO", stream=sys.stdout, format="%(message)s")
bear_interrupts()
is_over = threading.Event()
threading.Thread(target=work, daemon=True).start()
is_over.wait()
{end}
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == [*map(str, range(20))], done.stderr


def test_a_child_that_is_forked_amid_a_line_of_another_thread_logs(lines: Lines) -> None:
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    is_amid, may_end = threading.Event(), threading.Event()

    def wait(record: logging.LogRecord) -> str:
        if record.msg == "parent's":
            is_amid.set()
            may_end.wait(30)
        return record.msg

    def child() -> None:
        get_logger("tbcache.test").info("child's")
        results.put(lines.lines)

    lines.format = wait  # type: ignore[method-assign]
    thread = threading.Thread(target=logging.getLogger("tbcache.test").info, args=["parent's"])
    thread.start()
    assert is_amid.wait(30)
    process = context.Process(target=child)
    process.start()
    process.join(30)
    may_end.set()
    thread.join(30)
    assert results.get() == ["child's"]
    assert lines.lines == ["parent's"]
