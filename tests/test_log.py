"""What goes into a log, and what must not."""

from __future__ import annotations

import ast
import copy
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

import tbcache
from tbcache.io.log import MOST_ALIKE, MOST_KINDS, REPEAT_SECONDS, Repeated, configure_logging, get_logger


@pytest.fixture(autouse=True)
def _root_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_traceback_shows_no_variables(
    form: Literal["console", "json"], capsys: pytest.CaptureFixture[str]
) -> None:
    """Among them are passwords, and logs are read by many."""
    configure_logging("info", form)
    password = "hunter" + str(2)
    try:
        raise ValueError(f"no good: {len(password)}")
    except ValueError:
        get_logger("tbcache.test").exception("it.failed", why="bad")
    said = capsys.readouterr().err
    assert "it.failed" in said
    assert "no good: 7" in said
    assert "hunter2" not in said


def test_a_json_log_has_one_line_an_event(capsys: pytest.CaptureFixture[str]) -> None:
    """Tracebacks included: what collects logs reads line by line."""
    configure_logging("info", "json")
    try:
        raise ValueError("no good")
    except ValueError:
        get_logger("tbcache.test").exception("it.failed", why="bad")
    (line,) = capsys.readouterr().err.splitlines()
    event = json.loads(line)
    assert (event["event"], event["why"], event["level"]) == ("it.failed", "bad", "error")
    assert "ValueError: no good" in event["exception"]


def test_every_event_goes_through_our_logger() -> None:
    """One that went to structlog alone would be printed to stdout, between the lines of somebody's JSON."""
    files = (Path(tbcache.__file__).parent).rglob("*.py")
    assert [file.name for file in files if "structlog" in file.read_text("utf-8")] == ["log.py"]


# Repetition


@pytest.mark.parametrize("name", ["tbcache.test", "asyncio"])
def test_a_warning_that_repeats_is_written_once(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A server out of file descriptors says so ten thousand times a second, and fills the disk."""
    configure_logging("info", "json")
    for number in range(1000):
        if name == "asyncio":
            logging.getLogger(name).error("accept() is out of resources")
        else:
            get_logger(name).warning("redis.lost", reason=f"port {number} is closed")
    get_logger(name).warning("redis.lost", reason="connection refused")
    said = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert len(said) == 2
    assert said[1]["reason"] == "connection refused"


def test_a_program_with_logging_of_its_own_is_spared_as_well(caplog: pytest.LogCaptureFixture) -> None:
    """A bot calls logging.basicConfig() and no function of ours."""
    for _ in range(1000):
        get_logger("tbcache.test").warning("redis.lost", reason="connection refused")
    assert len(caplog.records) == 1


def test_a_program_with_logging_of_its_own_is_told_the_fields(caplog: pytest.LogCaptureFixture) -> None:
    """Of a warning with a hint logging.basicConfig() showed the name alone, which says nothing to anybody."""
    hint = "see redis://me:hunter2@db/0\x1b[2J, line\nby line"
    get_logger("tbcache.test").warning("redis.none", hint=hint, tries=2)
    (record,) = caplog.records
    assert record.getMessage() == 'redis.none hint="see redis://***@db/0?[2J, line by line" tries=2'
    assert (record.msg, record.__dict__["tries"]) == ("redis.none", 2)
    assert copy.deepcopy(record).getMessage() == record.getMessage()


def test_what_was_left_out_is_counted_by_the_next_line() -> None:
    """Once, or a thousand times: that is another fault."""
    now = 1000.0
    repeated = Repeated(lambda: now)

    def written(message: str = "it.failed") -> bool:
        record.msg = message
        return repeated.filter(record)

    record = logging.LogRecord("x", logging.ERROR, __file__, 1, "", (), None)
    assert [written() for _ in range(5)] == [True, False, False, False, False]
    now += REPEAT_SECONDS
    assert written()
    assert record.__dict__["repeated"] == 4
    for number in range(2 * MOST_KINDS):
        # Not one after another: what tells them apart must be no number.
        written("".join(chr(ord("g") + int(digit)) for digit in str(number)))
    assert len(repeated._seen) <= MOST_KINDS


def test_errors_that_differ_are_no_repetitions(capsys: pytest.CaptureFixture[str]) -> None:
    """Of four orders that failed four are to be looked after; of ten thousand the disk must not be full."""
    configure_logging("info", "json")
    desk = logging.getLogger("desk.orders")
    for symbol, why in (("AAPL", "margin call"), ("NVDA", "refused"), ("TSLA", "frozen"), ("TSLA", "frozen")):
        desk.error("order of %s failed: %s", symbol, why)
    for error in (ValueError("x"), KeyError("y"), KeyError("y")):
        desk.error("broke", exc_info=(type(error), error, None))
    assert Repeated().filter(logging.LogRecord("x", logging.ERROR, "", 1, "no %s and no %s", ("fit",), None))
    for number in (*range(10_000), 7):
        desk.error(f"order {number} is lost")
    for source in ("desk1", "desk2", "desk2"):
        get_logger("tbcache.test").warning("alert.opened", source=source, kind="paused", incident="ab12")
    get_logger("tbcache.test").warning("alert.opened", source="desk2", kind="paused", incident="ab13")
    said = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    events = [one["event"] for one in said]
    assert events[:3] == [
        "order of AAPL failed: margin call",
        "order of NVDA failed: refused",
        "order of TSLA failed: frozen",
    ]
    assert (events.count("broke"), events.count("alert.opened")) == (2, 3)
    assert [one for one in events if one.endswith("is lost")] == [
        f"order {n} is lost" for n in range(MOST_ALIKE)
    ]


def test_what_is_no_failure_is_never_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """Each fetch has its line."""
    caplog.set_level(logging.INFO, "tbcache.test")
    for _ in range(100):
        get_logger("tbcache.test").info("fetch.finished", source="reddit")
    assert len(caplog.records) == 100


@pytest.mark.parametrize("form", ["console", "json"])
def test_what_commands_a_terminal_is_not_written(
    form: Literal["console", "json"], capsys: pytest.CaptureFixture[str]
) -> None:
    """An upstream's message could clear the screen of whoever reads the log."""
    configure_logging("info", form)
    escapes = "\x1b[2J\x9b2J\u202ek"
    try:
        raise ValueError(escapes)
    except ValueError as error:
        get_logger("tbcache.test").exception(
            "it.failed", reason=f"a\nb {escapes}", error=error, told=[escapes]
        )
    said = capsys.readouterr().err
    assert [one for one in said if not (one.isprintable() or one == "\n")] == []
    assert "a b ?[2J?2J?k" in said or form == "json"


def test_no_event_has_a_field_that_logging_keeps_for_itself() -> None:
    """It raises a KeyError where the event is written, which is where somebody has set up logging."""
    reserved = {*vars(logging.makeLogRecord({})), "message", "asctime"}
    root = Path(__file__).parents[1]
    found = [
        f"{path.name}:{call.lineno} {keyword.arg}"
        for folder in ("tbcache", "workers", "scheduler")
        for path in (root / folder).rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)
        if isinstance(call.func.value, ast.Name) and call.func.value.id == "log"
        for keyword in call.keywords
        if keyword.arg in reserved - {"exc_info", "stack_info"}
    ]
    assert found == []


def test_no_line_costs_whoever_logs_his_work(capsys: pytest.CaptureFixture[str]) -> None:
    """A job that was done was never ended, and done again, where a program's records had a field of ours."""
    configure_logging("info", "console")
    make = logging.getLogRecordFactory()

    def with_trace(*args: Any, **fields: Any) -> logging.LogRecord:
        record = make(*args, **fields)
        record.trace_id = "7"
        return record

    class Strict(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            raise TypeError(record.name)

    log = get_logger("tbcache.test")
    logging.setLogRecordFactory(with_trace)
    try:
        log.info("job.ended", trace_id="8", outcome="done")
        log.exception("it.failed", trace_id="8")
    finally:
        logging.setLogRecordFactory(make)
    said = capsys.readouterr().err
    assert "job.ended trace_id=8 outcome=done" in said
    assert "it.failed" in said
    strict = Strict()
    logging.getLogger("tbcache.test").addFilter(strict)
    try:
        log.warning("it.is.lost")
    finally:
        logging.getLogger("tbcache.test").removeFilter(strict)
