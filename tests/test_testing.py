"""What users' own tests stand on: a server, the upstreams, and patience."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tbcache.models.error import ConfigurationError, MissingExtra, TbcacheError
from tbcache.settings import Settings, get_settings
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


_BOT = """
import tbcache

quotes = tbcache.source("mine", limits="5/1m", ttl=60)

@quotes.fetcher
def quote(symbol: str) -> float:
    return 1.0
"""


def test_a_program_that_is_imported_by_the_tests_goes_by_their_server(
    tmp_path: Path, running: RunningServer
) -> None:
    """It reads its settings as it is imported; the mocked prices of tests must not get to the live bots."""
    (tmp_path / "conftest.py").write_text(FILES["conftest.py"])
    (tmp_path / "bot.py").write_text(_BOT)
    (tmp_path / "test_quote.py").write_text(
        "import bot\n\ndef test_it(redis):\n    assert bot.quote('AAPL') == 1.0\n"
        "    assert bot.quote.outcome('AAPL').origin == 'cache'\n"
    )
    environment = clean_environment() | running.variables
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    store = Store(Settings.load(running.variables))
    assert store.call("KEYS", "*mine*") == []
    store.close()


def test_what_begins_too_late_for_the_program_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://:hunter22@production:6379/0")
    get_settings()
    for begin in (server, simulator):
        with pytest.raises(ConfigurationError, match="goes by the Redis redis://production:6379/0"), begin():
            pass


def test_whoever_begins_a_second_server_is_told_to_share_the_first(
    monkeypatch: pytest.MonkeyPatch, running: RunningServer
) -> None:
    """The program would not see it, and the line spoke of a Redis that nobody knew."""
    monkeypatch.setenv("REDIS_URL", running.url)
    get_settings()
    with (
        pytest.raises(ConfigurationError, match=r"127\.0\.0\.1:\d+/0, which other tests.*share that one"),
        server(),
    ):
        pass


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


def test_a_simulator_begins_in_a_process_that_has_many_files_open() -> None:
    """``select`` takes no descriptor beyond 1023."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    with contextlib.ExitStack() as files:
        while files.enter_context(Path(os.devnull).open()).fileno() < 1024:
            pass
        with simulator() as found:
            assert found.url.startswith("http://127.0.0.1:")
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
