"""A thread that may be interrupted anywhere logs, and nobody is held up by that."""

from __future__ import annotations

import logging
import multiprocessing
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextvars import ContextVar

import pytest

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
    LOG_WRITER.stop()
    logger.removeHandler(handler)
    logger.setLevel(level)


def served(*events: str) -> None:
    """Log them in a thread of its own, which may be interrupted."""

    def work() -> None:
        LOG_WRITER.serve_this_thread()
        NAME.set("ada")
        for event in events:
            get_logger("tbcache.test").info(event)

    thread = threading.Thread(target=work, name="worker")
    thread.start()
    thread.join(30)
    assert not thread.is_alive()


def test_another_thread_writes_with_the_names_of_whoever_logs(lines: Lines) -> None:
    """A handler of a program's own may read the context, as those of traces do."""
    served("one", "two")
    wait_until(lambda: len(lines.lines) == 2)
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
    wait_until(lambda: [event for event, *_ in lines.lines] == ["good"])


def test_all_is_written_before_a_worker_has_stopped(lines: Lines) -> None:
    """Its process may end at once."""
    lines.may_write.clear()
    served(*map(str, range(100)))
    threading.Timer(0.05, lines.may_write.set).start()
    LOG_WRITER.stop()
    assert [event for event, *_ in lines.lines] == [*map(str, range(100))]
    served("later")
    assert lines.lines[-1] == ("later", "worker", "worker", "ada")


def test_a_line_says_what_was_there_as_it_was_logged(lines: Lines) -> None:
    """What it is about has gone on by the time it is written."""
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


@pytest.mark.parametrize("how", ["run()", "multiprocessing.get_context('fork').Process(target=run).start()"])
def test_all_is_written_of_a_process_that_just_ends(how: str) -> None:
    """As dramatiq ends a worker that is told to twice. The last lines say what it was doing."""
    program = f"""
import logging, multiprocessing, sys, threading, time
from tbcache.io.log import get_logger
from tbcache.io.log_writer import LOG_WRITER

class Slow(logging.Handler):
    def emit(self, record):
        time.sleep(0.01)
        print(record.msg, flush=True)

def run():
    logging.getLogger("tbcache").setLevel("INFO")
    logging.getLogger("tbcache").addHandler(Slow())
    LOG_WRITER.start()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    sys.exit()

def work():
    LOG_WRITER.serve_this_thread()
    for number in range(20):
        get_logger("tbcache.test").info(str(number))

{how}
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == [*map(str, range(20))], done.stderr


def test_whoever_logs_faster_than_is_written_waits(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits would else fill the memory where the log's disk, or pipe, stands still."""
    monkeypatch.setattr(log_writer, "MOST_WAITING", 3)
    lines.may_write.clear()
    worker = threading.Thread(target=served, args=[*map(str, range(20))])
    worker.start()
    wait_until(lambda: LOG_WRITER._lines.qsize() >= 3)
    assert worker.is_alive()
    assert LOG_WRITER._lines.qsize() <= 4
    lines.may_write.set()
    worker.join(30)
    wait_until(lambda: len(lines.lines) == 20)


def test_a_forked_child_writes_its_lines_itself_and_none_of_its_parents(lines: Lines) -> None:
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
