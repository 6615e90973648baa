"""The examples of docs/asyncio.md run as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tbcache.testing import RunningSimulator, simulator
from tests.cli.command import clean_environment
from tests.server import Server

PAGE = (Path(__file__).parents[1] / "docs" / "asyncio.md").read_text("utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def upstream() -> Iterator[RunningSimulator]:
    with simulator() as running:
        yield running


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_of_the_page_runs(
    number: int, server: Server, upstream: RunningSimulator, tmp_path: Path
) -> None:
    """Who copies it into a file has a program that works, and that warns of nothing."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", EXAMPLES[number]],
        env=clean_environment(**server.variables, **upstream.variables),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_every_name_is_on_the_page() -> None:
    """A name that nobody reads of is for nobody."""
    import tbcache.asyncio

    functions = [name for name in tbcache.asyncio.__all__ if name[0].islower()]
    assert [name for name in functions if name not in PAGE] == []
