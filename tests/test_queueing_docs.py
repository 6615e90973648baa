"""The programs of docs/queueing.md run as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.cli.command import clean_environment
from tests.server import Server

PAGE = (Path(__file__).parents[1] / "docs" / "queueing.md").read_text("utf-8")
PROGRAMS = dict(re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))

MANY, SAFELY = "batch.py", "safely.py"


def said(name: str, folder: Path, server: Server) -> list[str]:
    """The lines that a program of the page prints."""
    (folder / name).write_text(PROGRAMS[name])
    variables = clean_environment(REDIS_URL=server.url, TBCACHE_REDIS_TIMEOUT="10")
    done = subprocess.run(
        [sys.executable, name], cwd=folder, env=variables, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_every_program_of_the_page_is_run() -> None:
    assert list(PROGRAMS) == [MANY, SAFELY]


def test_jobs_of_three_kinds_are_queued_by_one_call(tmp_path: Path, server: Server) -> None:
    """No worker runs, so nobody knows when they start."""
    assert said(MANY, tmp_path, server) == [
        "reddit queued None",
        "quotes queued None",
        "default queued None",
        "joined waiting",
        "queued waiting",
    ]


def test_what_is_sent_safely_is_queued_once(tmp_path: Path, server: Server) -> None:
    assert said(SAFELY, tmp_path, server) == []
    assert server.client.hlen("trading_bot:{default}:queue:jobs") == 1
