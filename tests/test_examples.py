"""The programs in ``examples/`` run as they stand."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tbcache.testing import RunningSimulator, simulator
from tests.cli.command import clean_environment
from tests.providers.wire import answering
from tests.server import Server

ROOT = Path(__file__).parents[1]


def run(program: str, *arguments: str, **variables: str) -> str:
    command = [sys.executable, str(ROOT / "examples" / program), *arguments]
    done = subprocess.run(
        command, env=clean_environment(**variables), capture_output=True, text=True, timeout=100, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(40)
    except subprocess.TimeoutExpired:
        process.kill()


#: On a busy machine a slow answer of Redis is no outage.
PATIENT = {"TBCACHE_REDIS_TIMEOUT": "10"}


@pytest.fixture(scope="module")
def upstream() -> Iterator[RunningSimulator]:
    with simulator() as running:
        yield running


def test_every_example_is_run_here_and_named_in_the_readme() -> None:
    """One that nobody runs rots, and one that nobody finds is for nobody."""
    programs = {path.name for path in (ROOT / "examples").glob("*.py")}
    assert set(re.findall(r'run\(\s*"(\w+\.py)"', Path(__file__).read_text())) == programs
    assert set(re.findall(r"\(examples/(\w+\.py)\)", (ROOT / "README.md").read_text())) == programs


def test_what_people_copy_type_checks_strictly(tmp_path: Path) -> None:
    """An example that an editor underlines is no example."""
    found = re.findall(
        r"```python\n# (\w+\.py)\n(.*?)```", (ROOT / "docs" / "testing.md").read_text(), re.DOTALL
    )
    for name, text in found:
        (tmp_path / name).write_text(text)
    paths = [*tmp_path.glob("*.py"), *(ROOT / "examples").rglob("*.py")]
    command = [sys.executable, "-m", "mypy", "--strict", *map(str, paths)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("program", ["quote.py", "sentiment.py", "enqueue.py"])
def test_a_program_without_arguments_says_how_it_is_run(program: str) -> None:
    command = [sys.executable, str(ROOT / "examples" / program)]
    done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=100)
    assert (done.returncode, f"python examples/{program} " in done.stderr) == (1, True), done.stderr
    assert "Traceback" not in done.stderr


def test_a_bot_decides_by_what_it_is_told_and_takes_a_refusal(
    server: Server, upstream: RunningSimulator
) -> None:
    """The shortest way from a symbol to a decision, and what stands in its way."""
    variables = {**server.variables, **upstream.variables, **PATIENT}
    asked, refused = run("sentiment.py", "stocktwits", "AAPL", "ZZZQ", **variables).splitlines()
    assert re.fullmatch(r"AAPL (buy|sell|hold|wait) \d+ posts, \d\.\d/6 h, live", asked)
    assert refused == "ZZZQ refused: not_found"


def test_requests_of_ones_own_keep_to_a_limit(server: Server) -> None:
    """The sixth is sent when the first has left the window, and not before."""
    shown = run("limiter.py", "6", **{**server.variables, **PATIENT}).splitlines()
    times = [datetime.strptime(line.split()[-1], "%H:%M:%S.%f") for line in shown[:6]]
    assert [line.split(" at ")[0] for line in shown[:6]] == [f"request {number}" for number in range(1, 7)]
    # Of one day, which may have ended in between.
    assert (times[5] - times[0]) % timedelta(days=1) >= timedelta(seconds=1.9)
    assert re.fullmatch(r"\d of 5 used in the last 2 s", shown[6])


def test_a_function_is_computed_once_for_all_processes(server: Server) -> None:
    """And again by whoever asks first, once somebody said that it is out of date."""
    variables = {**server.variables, **PATIENT}
    first = run("cached.py", "AAPL", "MSFT", "AAPL", **variables).splitlines()
    assert first == ["computing AAPL", "Aapl Inc.", "computing MSFT", "Msft Inc.", "Aapl Inc."]
    assert run("cached.py", "MSFT", "AAPL", **variables).splitlines() == [
        "Msft Inc.",
        "computing AAPL",
        "Aapl Inc.",
    ]


def test_workers_fetch_what_was_enqueued(server: Server, upstream: RunningSimulator, tmp_path: Path) -> None:
    """Results come to whoever asked for them, wherever they were fetched."""
    variables = {
        **server.variables,
        **upstream.variables,
        **PATIENT,
        "TBCACHE_DATA_DIR": str(tmp_path / "data"),
    }
    command = [sys.executable, "-m", "workers", "--threads", "2", "stocktwits"]
    with subprocess.Popen(command, cwd=ROOT, env=clean_environment(**variables)) as worker:
        try:
            shown = run("enqueue.py", "stocktwits", "AAPL", "ZZZQ", "AAPL", **variables).splitlines()
        finally:
            end(worker)
    assert re.fullmatch(r"AAPL \d+ posts", shown[0])
    assert shown[1:] == ["ZZZQ UpstreamNotFound", shown[0]]


def test_quotes_are_fetched_once_however_often_the_program_is_started(server: Server) -> None:
    """And an upstream that says stop is asked by nobody."""
    asked: list[str] = []

    def answer(connection: socket.socket, request: bytes) -> None:
        symbol = request.split()[1].decode().rpartition("=")[2]
        asked.append(symbol)
        head = "429 Too Many Requests\r\nRetry-After: 3000" if symbol == "GME" else "200 OK"
        body = json.dumps({"symbol": symbol, "price": 1.5})
        text = f"HTTP/1.1 {head}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        connection.sendall(text.encode())

    variables = {**server.variables, **PATIENT}
    with answering(answer) as url:
        assert run("quote.py", url, "AAPL", "MSFT", **variables) == "AAPL 1.5 live\nMSFT 1.5 live\n"
        shown = run("quote.py", url, "aapl", "GME", "TSLA", **variables).splitlines()
    assert shown == ["aapl 1.5 cache", "GME HTTPStatusError", "TSLA RateLimited"]
    assert asked == ["AAPL", "MSFT", "GME"]
