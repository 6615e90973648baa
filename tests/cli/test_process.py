"""`tbcache worker`, `scheduler` and `simulator`, each on its own."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from tbcache.embedded import process_program
from tbcache.io.web_server import listen
from tbcache.models.error import RedisUnreachable
from tbcache.monitoring import UsageMonitor
from tbcache.settings import Settings
from tbcache.store import Store
from tbcache.store.start import await_server
from tests.cli.command import TBCACHE, Done, children_of, clean_environment, is_alive
from tests.server import Server, free_port, wait_until


@contextmanager
def running(*args: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    command = [*TBCACHE, *args]
    process = subprocess.Popen(command, env=clean_environment(**variables), stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    with process.stderr:
        try:
            yield process
        finally:
            process.kill()
            # Shown when the test fails.
            sys.stderr.write(process.communicate()[1])


def _roles(store: Store, settings: Settings) -> list[tuple[str, int]]:
    return [(worker.role, worker.threads) for worker in UsageMonitor(store, settings).get_workers()]


def test_who_asks_a_simulator_that_is_still_starting_waits_for_it(tmp_path: Path) -> None:
    """Workers are often up before it; refused, they would come back seconds later, and count an error."""
    listener, url = listen("the simulator", "127.0.0.1", 0)
    with listener, ThreadPoolExecutor() as pool:
        early = pool.submit(httpx2.get, f"{url}/_stats", timeout=20)
        fd = listener.fileno()
        command = [*TBCACHE, "simulator", "--fd", str(fd), "--data-dir", str(tmp_path)]
        process = subprocess.Popen(command, env=clean_environment(), pass_fds=[fd], stderr=subprocess.PIPE)
        try:
            assert early.result().status_code == 200
        finally:
            process.terminate()
            _, said = process.communicate(timeout=60)
    assert (process.returncode, said.decode()) == (0, f"tbcache: the simulator answers at {url}\n")


def test_two_worker_processes_run_for_the_named_sources_and_drain_on_sigterm(
    server: Server, settings: Settings, store: Store, tmp_path: Path
) -> None:
    """This is what a container runs: it must stop with 0 and leave nothing behind."""
    args = ("worker", "stocktwits", "--processes", "2", "--threads", "3", "--data-dir", str(tmp_path))
    with running(*args, REDIS_URL=server.url) as process:
        wait_until(lambda: _roles(store, settings) == [("worker", 3)] * 2, 20.0, what="two workers")
        children = children_of(process.pid)
        assert (
            len([command for command in children.values() if "workers stocktwits --threads 3" in command])
            == 2
        )
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
        assert not any(is_alive(pid) for pid in children)
        assert _roles(store, settings) == []


@pytest.mark.parametrize(
    ("args", "role"), [(["worker", "--threads", "1"], "worker"), (["scheduler"], "scheduler")]
)
def test_a_single_process_becomes_the_part_itself(
    server: Server, settings: Settings, store: Store, tmp_path: Path, args: list[str], role: str
) -> None:
    """Signals of an init system must reach the part, not a wrapper around it."""
    # No common symbol is asked for: nothing here may go outside.
    variables = {**server.variables, "TBCACHE_STOCKTWITS__BASE_URL": f"http://127.0.0.1:{free_port()}"}
    with running(*args, "--data-dir", str(tmp_path), **variables) as process:
        wait_until(lambda: [one for one, _ in _roles(store, settings)] == [role], 20.0, what=f"a {role}")
        (pid,) = [worker.pid for worker in UsageMonitor(store, settings).get_workers()]
        assert pid == process.pid
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0


def test_the_simulator_knows_the_credentials_of_the_environment(
    tmp_path: Path, cli: Callable[..., Done]
) -> None:
    """With a real key exported, the demo and `fetch` in the same shell must still work."""
    port = free_port()
    mine = {"TBCACHE_NEWS__API_KEY": "my-own-key"}
    with running("simulator", "--port", str(port), "--data-dir", str(tmp_path), **mine) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == f"tbcache: the simulator answers at http://127.0.0.1:{port}\n"
        base = {"TBCACHE_NEWS__BASE_URL": f"http://127.0.0.1:{port}/news"}
        fetched = cli("fetch", "news", "AAPL", **mine, **base)
        assert fetched.data["origin"] == "live"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0


def _asked(url: str) -> tuple[list[int], list[str]]:
    """Statuses of three requests to the simulator at ``url``, and the messages that the first one brought."""
    stream = f"{url}/stocktwits/api/2/streams/symbol/AAPL.json"
    answers = [httpx2.get(stream) for _ in range(3)]
    return [answer.status_code for answer in answers], [row["body"] for row in answers[0].json()["messages"]]


def test_the_simulator_takes_limits_a_seed_and_faults(tmp_path: Path) -> None:
    """A developer tries out a plan of another size, a bad day and other posts without a line of Python."""
    faults = tmp_path / "faults.json"
    faults.write_text('{"news": {"outage": true}}')
    seen = []
    for seed in ("8", "9"):
        port = free_port()
        options = ("--limits", "stocktwits=2/1h", "--faults", str(faults), "--seed", seed)
        with running("simulator", "--port", str(port), *options, "--data-dir", str(tmp_path)) as process:
            assert process.stderr is not None
            url = process.stderr.readline().split()[-1]
            statuses, bodies = _asked(url)
            assert statuses == [200, 200, 429]
            assert httpx2.get(f"{url}/news/v2/everything").status_code == 503
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=60) == 0
        seen.append(bodies)
    assert seen[0] != seen[1]


def test_a_file_of_faults_that_is_wrong_is_one_line(tmp_path: Path, cli: Callable[..., Done]) -> None:
    """A fault that is silently not there makes a trial that proves nothing."""
    file = tmp_path / "faults.json"
    for text, line in (("{outage}", "is not JSON"), ('{"news": {"outag": 1}}', "did you mean 'outage'?")):
        file.write_text(text)
        done = cli("simulator", "--faults", str(file), "--data-dir", str(tmp_path))
        assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1)
        assert line in done.err


@pytest.mark.parametrize(
    "args",
    [["worker", "--threads", "1"], ["scheduler"], ["up", "--no-api", "--processes", "1"]],
    ids=" ".join,
)
def test_a_server_that_is_frozen_at_the_start_is_waited_for(
    private_server: Server, settings_for: Callable[..., Settings], tmp_path: Path, args: list[str]
) -> None:
    """After a crash of its machine Redis reads its files for longer than we take to start."""
    settings, log = settings_for(private_server), tmp_path / "said"
    variables = {"REDIS_URL": private_server.url, "TBCACHE_DATA_DIR": str(tmp_path / "own")}
    nowhere = {"TBCACHE_STOCKTWITS__BASE_URL": f"http://127.0.0.1:{free_port()}"}
    with private_server.frozen(), log.open("w") as output:
        process = subprocess.Popen(
            [*TBCACHE, *args], env=clean_environment(**variables, **nowhere), stdout=output, stderr=output
        )
        wait_until(lambda: "waiting for Redis at" in log.read_text(), 20.0, what="a word")
    try:
        store = Store(settings)
        wait_until(lambda: _roles(store, settings), 20.0, what="its heartbeat")
        assert log.read_text().count("waiting for Redis at") == 1
        store.close()
    finally:
        process.terminate()
        assert process.wait(timeout=60) == 0


def test_a_worker_that_waits_for_redis_can_be_stopped(private_server: Server, tmp_path: Path) -> None:
    """A service manager must not have to kill it."""
    part = process_program("worker", "workers")
    env = clean_environment(REDIS_URL=private_server.url, TBCACHE_DATA_DIR=str(tmp_path))
    env["PYTHONPATH"] = (part.env or {})["PYTHONPATH"]
    log = tmp_path / "said"
    with private_server.frozen(), log.open("w") as output:
        process = subprocess.Popen(part.command, env=env, stderr=output)
        wait_until(lambda: "waiting for Redis at" in log.read_text(), 20.0, what="a word")
        process.terminate()
        assert process.wait(timeout=60) == 0


def test_the_wait_for_redis_ends(private_server: Server, store_for: Callable[..., Store]) -> None:
    """Whoever starts it must learn that it will not."""
    said: list[str] = []
    with private_server.frozen(), pytest.raises(RedisUnreachable, match="no answer in time"):
        await_server(store_for(private_server), said.append, seconds=0.5)
    assert len(said) == 1
    private_server.kill()
    with pytest.raises(RedisUnreachable, match="connection refused"):
        await_server(store_for(private_server), said.append)
    assert len(said) == 1
