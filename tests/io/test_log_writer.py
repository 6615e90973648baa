"""A thread that may be interrupted anywhere logs, and nobody is held up by that."""

from __future__ import annotations

import logging
import multiprocessing
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar

import pytest
from dramatiq.middleware.threading import raise_thread_exception

from tbcache.io import log_writer
from tbcache.io.log import get_logger
from tbcache.io.log_writer import LOG_WRITER
from tests.server import wait_until

NAME: ContextVar[str] = ContextVar("name")


class Lines(logging.Handler):
    """Keeps what was logged, who wrote it, and what of the context was there."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[str, str, str, str]] = []
        self.may_write = threading.Event()
        self.may_write.set()

    def emit(self, record: logging.LogRecord) -> None:
        assert self.may_write.wait(30)
        who = str(record.threadName), threading.current_thread().name, NAME.get("")
        self.lines.append((str.__str__(record.msg), *who))


@pytest.fixture
def lines() -> Iterator[Lines]:
    logger, handler = logging.getLogger("tbcache"), Lines()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel("INFO")
    LOG_WRITER.start()
    yield handler
    handler.may_write.set()
    logger.removeHandler(handler)
    logger.setLevel(level)


def served(*events: str) -> None:
    """Log them in a thread of its own, which may be interrupted."""

    def work() -> None:
        LOG_WRITER.serve_this_thread()
        NAME.set("ada")
        for event in events:
            get_logger("tbcache.test").info(event)

    thread = threading.Thread(target=work, name="worker", daemon=True)
    thread.start()
    thread.join(30)
    assert not thread.is_alive()


def test_another_thread_writes_with_the_names_of_whoever_logs(lines: Lines) -> None:
    """A handler of a program's own may read the context, as those of traces do."""
    served("one", "two")
    assert lines.lines == [(event, "worker", "tbcache-log", "ada") for event in ("one", "two")]


def test_any_other_thread_writes_its_lines_itself(lines: Lines) -> None:
    thread = threading.Thread(target=get_logger("tbcache.test").info, args=["one"], name="any")
    thread.start()
    thread.join(30)
    assert lines.lines == [("one", "any", "any", "")]


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit])
def test_a_line_that_cannot_be_written_holds_none_up(lines: Lines, error: type[BaseException]) -> None:
    def refuse(record: logging.LogRecord) -> bool:
        if record.msg == "bad":
            raise error
        return True

    lines.addFilter(refuse)
    served("bad", "good")
    assert [event for event, *_ in lines.lines] == ["good"]


def test_no_interrupt_stops_the_log(lines: Lines) -> None:
    """Every thread of the process that logs would wait for ever."""

    class Interrupt(BaseException):
        pass

    def work() -> None:
        LOG_WRITER.serve_this_thread()
        logger = logging.getLogger("tbcache.test")
        while len(interrupts) < 300:
            try:
                while True:
                    logger.info("at work")
            except Interrupt:
                interrupts.append(None)

    interrupts: list[None] = []
    threads = [threading.Thread(target=work, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    give_up = time.monotonic() + 60.0
    while any(thread.is_alive() for thread in threads) and time.monotonic() < give_up:
        for thread in threads:
            raise_thread_exception(thread.ident or 0, Interrupt)
            time.sleep(0.0003)
    assert len(interrupts) >= 300
    served("after that")
    assert lines.lines[-1][0] == "after that"


def test_a_line_that_waits_for_long_says_what_was_there_as_it_was_logged(
    lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for ever for a disk, or a pipe, that stands still."""
    monkeypatch.setattr(log_writer, "PATIENCE_SECONDS", 0.05)
    get_logger("tbcache.test")
    lines.may_write.clear()
    orders = ["AAPL"]

    def work() -> None:
        LOG_WRITER.serve_this_thread()
        logger = logging.getLogger("tbcache.test")
        logger.info("%s are open", orders)
        logger.info("%d are open", orders)
        orders.clear()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(30)
    lines.may_write.set()
    wait_until(lambda: len(lines.lines) == 2)
    assert [event for event, *_ in lines.lines] == ["['AAPL'] are open", "%d are open"]


@pytest.mark.parametrize("end", ["sys.exit()", "os._exit(1)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_all_is_written_of_a_process_that_just_ends(end: str) -> None:
    """The last lines of one that is killed, or has a crash, say what it was doing."""
    program = f"""
import logging, os, signal, sys, threading, time
from tbcache.io.log import get_logger
from tbcache.io.log_writer import LOG_WRITER

class Slow(logging.Handler):
    def emit(self, record):
        time.sleep(0.01)
        print(record.msg, flush=True)

def work():
    LOG_WRITER.serve_this_thread()
    for number in range(20):
        get_logger("tbcache.test").info(str(number))
    is_over.set()
    time.sleep(60)

logging.getLogger("tbcache").setLevel("INFO")
logging.getLogger("tbcache").addHandler(Slow())
LOG_WRITER.start()
is_over = threading.Event()
threading.Thread(target=work, daemon=True).start()
is_over.wait()
{end}
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == [*map(str, range(20))], done.stderr


def test_a_forked_child_writes_its_lines_itself_and_none_of_its_parents(
    lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_writer, "PATIENCE_SECONDS", 0.05)
    lines.may_write.clear()
    served("parent's")
    results = multiprocessing.get_context("fork").SimpleQueue()

    def child() -> None:
        lines.may_write.set()
        LOG_WRITER.serve_this_thread()
        get_logger("tbcache.test").info("child's")
        results.put([event for event, *_ in lines.lines])

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(30)
    assert results.get() == ["child's"]
    lines.may_write.set()
    wait_until(lambda: [event for event, *_ in lines.lines] == ["parent's"])
