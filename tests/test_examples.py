"""The programs in ``examples/`` run as they stand."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

from tests.cli.command import clean_environment
from tests.providers.wire import answering
from tests.server import Server

ROOT = Path(__file__).parents[1]


def run(program: str, *arguments: str, **variables: str) -> str:
    command = [sys.executable, str(ROOT / "examples" / program), *arguments]
    done = subprocess.run(
        command, env=clean_environment(**variables), capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_every_example_is_run_here() -> None:
    """One that nobody runs rots."""
    assert [path.name for path in (ROOT / "examples").glob("*.py")] == ["quote.py"]


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

    variables = {**server.variables, "TBCACHE_REDIS_TIMEOUT": "10"}
    with answering(answer) as url:
        assert run("quote.py", url, "AAPL", "MSFT", **variables) == "AAPL 1.5 live\nMSFT 1.5 live\n"
        shown = run("quote.py", url, "aapl", "GME", "TSLA", **variables).splitlines()
    assert shown == ["aapl 1.5 cache", "GME HTTPStatusError", "TSLA RateLimited"]
    assert asked == ["AAPL", "MSFT", "GME"]
