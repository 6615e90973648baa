"""What goes into a log, and what must not."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

import tbcache
from tbcache.log import configure_logging, get_logger
from tbcache.settings import Settings


@pytest.fixture(autouse=True)
def _root_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_traceback_shows_no_variables(
    form: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Among them are passwords, and logs are read by many."""
    configure_logging(Settings.load({"TBCACHE_LOG_FORMAT": form}, data_dir=tmp_path))
    password = "hunter" + str(2)
    try:
        raise ValueError(f"no good: {len(password)}")
    except ValueError:
        get_logger("tbcache.test").exception("it.failed", why="bad")
    said = capsys.readouterr().err
    assert "it.failed" in said
    assert "no good: 7" in said
    assert "hunter2" not in said


def test_a_json_log_has_one_line_an_event(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Tracebacks included: what collects logs reads line by line."""
    configure_logging(Settings.load({"TBCACHE_LOG_FORMAT": "json"}, data_dir=tmp_path))
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
