"""The ``tbcache`` command as people run it: a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from tbcache.api import create_app
from tbcache.settings import Settings
from tests.server import wait_until

TBCACHE = (sys.executable, "-P", "-m", "tbcache")


def clean_environment(**variables: str) -> dict[str, str]:
    """Our environment without any setting of ours, and ``variables``."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TBCACHE_", "REDIS_"))}
    return {**kept, **variables}


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """Its stdout as JSON, all of it."""
        assert self.out, f"it ended with {self.code} and said: {self.err}"
        return json.loads(self.out)


def tbcache(*args: str, **variables: str) -> Done:
    """Run a command in a pipe."""
    done = subprocess.run(
        [*TBCACHE, *args], env=clean_environment(**variables), capture_output=True, text=True, timeout=110
    )
    return Done(done.returncode, done.stdout, done.stderr)


class Up:
    """A ``tbcache up`` that runs, with the lines it has printed."""

    def __init__(self, folder: Path, *args: str, **variables: str) -> None:
        self.folder = folder
        self.log = folder.parent / f"{folder.name}.out"
        with self.log.open("w") as output:
            self.process = subprocess.Popen(
                [*TBCACHE, "--data-dir", str(folder), "up", *args],
                env=clean_environment(**variables),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder.parent,
            )

    @property
    def said(self) -> str:
        return self.log.read_text()

    def wait_for(self, text: str, timeout: float = 110.0) -> None:
        """Wait until it has said ``text``."""

        def is_said() -> bool:
            if self.process.poll() is not None and text not in self.said:
                raise AssertionError(f"it ended with {self.process.returncode}")
            return text in self.said

        try:
            wait_until(is_said, timeout, what=repr(text))
        except AssertionError as error:
            raise AssertionError(f"{error}:\n{self.said}") from None

    def note(self) -> dict[str, Any]:
        note: dict[str, Any] = json.loads((self.folder / "up.json").read_text())
        return note

    def children(self) -> dict[int, str]:
        """Every process it has started, by pid, with its command line."""
        return children_of(self.process.pid)

    def run(self, *args: str) -> Done:
        """Run another command against it."""
        return tbcache(*args, "--data-dir", str(self.folder))

    def stop(self, signum: signal.Signals) -> tuple[int, float]:
        """Signal it; its exit code and how many seconds that took."""
        began = time.monotonic()
        self.process.send_signal(signum)
        return self.process.wait(timeout=60), time.monotonic() - began

    def end(self) -> None:
        """See that nothing of it is left, whatever the test did."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@contextmanager
def running_up(folder: Path, *args: str, **variables: str) -> Iterator[Up]:
    up = Up(folder, *args, **variables)
    try:
        yield up
    finally:
        up.end()


def is_alive(pid: int) -> bool:
    """True for a process that runs; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return Path("/proc").exists() is False and _answers(pid)
    return state not in ("Z", "X")


def children_of(pid: int) -> dict[int, str]:
    """The living children of a process by pid, with their command lines."""
    listed = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True
    )
    rows = (line.split(None, 2) for line in listed.stdout.splitlines())
    found = {int(row[0]): row[2] for row in rows if len(row) == 3 and int(row[1]) == pid}
    return {child: command for child, command in found.items() if is_alive(child)}


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def local_client(settings: Settings) -> TestClient:
    """A client of an API with these settings, on its machine."""
    return TestClient(create_app(settings), client=("127.0.0.1", 50000), base_url="http://localhost:8000")
