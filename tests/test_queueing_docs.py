"""The program of docs/queueing.md runs as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.cli.command import clean_environment
from tests.server import Server

PAGE = (Path(__file__).parents[1] / "docs" / "queueing.md").read_text("utf-8")
((NAME, PROGRAM),) = re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_jobs_of_three_kinds_are_queued_by_one_call(tmp_path: Path, server: Server) -> None:
    """No worker runs, so nobody knows when they start."""
    (tmp_path / NAME).write_text(PROGRAM)
    variables = clean_environment(REDIS_URL=server.url, TBCACHE_REDIS_TIMEOUT="10")
    done = subprocess.run(
        [sys.executable, NAME], cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "reddit queued None",
        "quotes queued None",
        "default queued None",
        "joined waiting",
        "queued waiting",
    ]
