"""Commands in this process, where nothing needs one of its own."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator

import pytest

from tbcache.cli import main
from tests.cli.command import Done
from tests.conftest import _forget_singletons as forget_singletons
from tests.upstream import SimulatorProcess, running_simulator

_ANSI = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """Run a command as a new process would, in a pipe: ``cli("status", REDIS_URL=...)``."""

    def run(*args: str, is_terminal: bool = False, **variables: str) -> Done:
        forget_singletons()
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)
        code = main(args)
        captured = capsys.readouterr()
        return Done(code, _ANSI.sub("", captured.out), captured.err)

    return run


@pytest.fixture(scope="package")
def simulator() -> Iterator[SimulatorProcess]:
    with running_simulator() as simulator:
        yield simulator
