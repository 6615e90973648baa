"""The embedded server: what it keeps, and what it does about one that was left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from tbcache.embedded import EmbeddedServer, ProcessGroup, Supervisor
from tbcache.models.error import ConfigurationError, TbcacheError
from tests.cli.command import is_alive
from tests.server import wait_until


@contextmanager
def running(folder: Path) -> Iterator[EmbeddedServer]:
    server = EmbeddedServer(folder, folder.parent / "valkey.log")
    with ProcessGroup() as group, server.locked() as fd:
        supervisor = Supervisor(group, lambda event: None)
        server.start(supervisor, fd, lambda: False)
        try:
            yield server
        finally:
            supervisor.stop()


@contextmanager
def connected(url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(url, protocol=2) as client:
        yield client


def test_what_was_written_is_there_after_the_next_start(tmp_path: Path) -> None:
    """A queue that forgot its jobs at every restart would be none."""
    folder = tmp_path / "a folder with 'quotes'"
    with running(folder) as server, connected(server.url) as client:
        client.set("kept", "yes", ex=1000)
    with running(folder) as server, connected(server.url) as client:
        assert client.get("kept") == b"yes"


def test_it_never_evicts_and_listens_on_the_loopback_only(tmp_path: Path) -> None:
    """A queue may not lose jobs to make room, nor serve the neighbours."""
    with running(tmp_path / "valkey") as server, connected(server.url) as client:
        wanted = {"maxmemory-policy": "noeviction", "bind": "127.0.0.1", "appendonly": "yes"}
        assert client.config_get(*wanted) == wanted


def test_what_is_freed_in_small_blocks_is_not_put_together_all_at_once(tmp_path: Path) -> None:
    """With the allocator's own way, whoever came after the sweep of many keys waited for 20 ms."""
    with running(tmp_path / "valkey") as server, connected(server.url) as client:
        pid = client.info("server")["process_id"]
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        assert b"GLIBC_TUNABLES=glibc.malloc.mxfast=0" in environment


def test_it_takes_another_port_when_someone_was_quicker(tmp_path: Path) -> None:
    """A port that was free a moment ago may not be any more."""
    server = EmbeddedServer(tmp_path / "valkey", tmp_path / "valkey.log")
    with running(tmp_path / "other") as other, ProcessGroup() as group, server.locked() as fd:
        server.port = other.port
        supervisor = Supervisor(group, lambda event: None)
        server.start(supervisor, fd, lambda: False)
        assert server.port != other.port
        supervisor.stop()


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    """A damaged file must be named, not turned into a timeout."""
    folder = tmp_path / "valkey" / "appendonlydir"
    folder.mkdir(parents=True)
    (folder / "appendonly.aof.manifest").write_text("nonsense\n")
    with (
        pytest.raises(TbcacheError, match=r"did not start \(exit code 1\)(.|\n)*manifest"),
        running(tmp_path / "valkey"),
    ):
        pass


LEFT_BEHIND = """
    import sys, time
    from pathlib import Path
    from tbcache.embedded import EmbeddedServer, ProcessGroup, Supervisor
    server = EmbeddedServer(Path(sys.argv[1]))
    with ProcessGroup() as group, server.locked() as fd:
        supervisor = Supervisor(group, lambda event: None)
        server.start(supervisor, fd, lambda: False)
        print(group._keeper.pid, supervisor.pids["valkey"], flush=True)
        time.sleep(60)
"""


@pytest.mark.parametrize("is_frozen", [False, True])
def test_a_server_that_was_left_behind_is_stopped_first(tmp_path: Path, is_frozen: bool) -> None:
    """Two servers on one append-only file destroy it; the old one may not even answer any more."""
    folder = tmp_path / "valkey"
    owner = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(LEFT_BEHIND), str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert owner.stdout is not None
    with owner.stdout as out:
        guard, stale = (int(pid) for pid in out.readline().split())
    # Only who kills both leaves an orphan; stopped, the owner cannot replace its guard.
    owner.send_signal(signal.SIGSTOP)
    os.kill(guard, signal.SIGKILL)
    owner.kill()
    owner.wait()
    assert is_alive(stale)
    if is_frozen:
        os.kill(stale, signal.SIGSTOP)
    with running(folder) as server, connected(server.url) as client:
        assert client.info("server")["process_id"] != stale
        wait_until(lambda: not is_alive(stale), what="an end of the stale server")


def test_a_folder_in_use_by_someone_unknown_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its record nobody knows whom to stop: better to say so than to kill a stranger."""
    monkeypatch.setattr("tbcache.embedded.server.STALE_SECONDS", 0.1)
    with running(tmp_path / "valkey") as server:
        (tmp_path / "valkey" / "server.pid").unlink()
        second = EmbeddedServer(tmp_path / "valkey")
        with pytest.raises(ConfigurationError, match="pid unknown"), second.locked():
            pass
        with connected(server.url) as client:
            assert client.ping()
