"""The programs of docs/actors.md run as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command import clean_environment
from tests.server import Server, wait_until

PAGE = (Path(__file__).parents[1] / "docs" / "actors.md").read_text("utf-8")
PROGRAMS = dict(re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))


@pytest.fixture
def variables(tmp_path: Path, server: Server) -> dict[str, str]:
    for name, text in PROGRAMS.items():
        (tmp_path / name).write_text(text)
    return clean_environment(REDIS_URL=server.url, TBCACHE_REDIS_TIMEOUT="10", PYTHONPATH=str(tmp_path))


def test_a_worker_does_what_another_program_sends(tmp_path: Path, variables: dict[str, str]) -> None:
    """Each of the three kinds of jobs."""
    sent = subprocess.run([sys.executable, "send.py"], cwd=tmp_path, env=variables, timeout=100, check=False)
    assert sent.returncode == 0
    command = [sys.executable, "-m", "dramatiq", "jobs", "--processes", "1", "--threads", "2"]
    done, out = {"report AAPL", "comment AAPL", "quote AAPL"}, tmp_path / "out"
    with (
        out.open("w") as file,
        subprocess.Popen(command, cwd=tmp_path, env=variables, stdout=file, stderr=file) as worker,
    ):
        try:
            wait_until(lambda: done <= set(out.read_text().split("\n")), 60)
        finally:
            worker.terminate()
            worker.wait(60)


def test_a_broker_of_dramatiqs_own_is_paced(tmp_path: Path, variables: dict[str, str]) -> None:
    """With one line more."""
    command = [sys.executable, "stock.py"]
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout) == (0, "comment AAPL\n"), done.stderr
