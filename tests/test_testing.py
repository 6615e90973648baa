"""What users' own tests stand on: a server, the upstreams, and patience."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tbcache.models.error import MissingExtra, TbcacheError
from tbcache.settings import Settings
from tbcache.store import Store, Unavailable
from tbcache.testing import RunningServer, server, simulator, wait_until
from tests.cli.command import clean_environment, is_alive

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "testing.md").read_text("utf-8")
FILES = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE, re.DOTALL))


@pytest.fixture(scope="module")
def running() -> Iterator[RunningServer]:
    with server() as found:
        yield found


def test_the_page_of_tests_is_a_suite_that_passes(tmp_path: Path) -> None:
    """What is copied from there works as it stands."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    # As strict as pytest can be: a thread or a process left behind would be a warning.
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", str(tmp_path)]
    done = subprocess.run(
        command, cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout
    assert not (tmp_path / ".tbcache").exists()


def test_a_server_is_away_for_a_block_and_keeps_what_it_had(running: RunningServer) -> None:
    """An outage in a test must not be a loss of data as well, which is another thing to test."""
    store = Store(Settings.load(running.variables))
    store.call("SET", "trading_bot:kept", "1", "EX", 60)
    with running.away(), pytest.raises(Unavailable):
        store.call("GET", "trading_bot:kept")
    assert wait_until(lambda: store.is_available)
    assert store.call("GET", "trading_bot:kept") == b"1"
    store.close()


def test_servers_are_for_those_who_know_their_password(running: RunningServer) -> None:
    """A machine may have other users."""
    client = redis.Redis(port=int(running.url.rpartition(":")[2].partition("/")[0]), protocol=2)
    with client, pytest.raises(redis.AuthenticationError):
        client.ping()


def test_what_was_started_ends_with_a_test_run_that_is_killed(tmp_path: Path) -> None:
    """A server that is left behind by each killed run fills a machine."""
    program = """
import sys, time
from tbcache.testing import server, simulator
with server() as redis, simulator() as upstream:
    print(redis._supervisor.pids["valkey"], upstream.process.pid, flush=True)
    time.sleep(600)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, env=clean_environment(), cwd=tmp_path
    ) as child:
        try:
            assert child.stdout is not None
            pids = [int(pid) for pid in child.stdout.readline().split()]
        finally:
            child.send_signal(signal.SIGKILL)
    assert len(pids) == 2
    wait_until(lambda: not any(map(is_alive, pids)), what="the end of both")


def test_a_simulator_that_cannot_start_says_why() -> None:
    """What it wrote is the only thing that helps."""
    with pytest.raises(TbcacheError, match="no_such_source"), simulator(limits={"no_such_source": "1/1m"}):
        pass


def test_a_condition_that_does_not_come_true_is_named() -> None:
    """`assert False` says nothing of what was waited for."""
    assert wait_until(lambda: "found") == "found"
    with pytest.raises(AssertionError, match=r"^the moon did not come true within 0\.01 s$"):
        wait_until(lambda: 0, seconds=0.01, what="the moon")


def test_what_is_missing_is_said_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bot is installed without extras, and its tests are not."""
    monkeypatch.setattr("tbcache.models.extra.has", lambda module: False)
    with pytest.raises(MissingExtra, match=r"tbcache\[server\]"), simulator():
        pass
    with pytest.raises(MissingExtra, match=r"tbcache\[embedded\]"), server():
        pass
