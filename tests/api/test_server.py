"""The API as a process."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tbcache.api import serve
from tbcache.api.server import STOP_SECONDS
from tbcache.models.error import ConfigurationError
from tbcache.settings import Settings
from tests.server import Server, wait_until

SCRIPT = """
import sys
from tbcache.api import serve
from tbcache.settings import get_settings

serve(sys.argv[1], 0, get_settings(), on_ready=lambda url: print(url, flush=True))
"""


@contextmanager
def running(
    server: Server, host: str = "127.0.0.1", *, files: int | None = None
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The API in a process of its own, which may open so many files, and its port."""
    limits = [] if files is None else ["prlimit", f"--nofile={files}:{files}"]
    process = subprocess.Popen(
        [*limits, sys.executable, "-c", SCRIPT, host],
        env={**os.environ, **server.variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        yield process, int(line.rpartition(":")[2])
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_signal_ends_it_with_code_0(server: Server, number: signal.Signals) -> None:
    """Containers, `tbcache up` and Ctrl-C all end it so, and none is a failure. Meanwhile it is on the list,
    though it fetches nothing."""
    processes = "trading_bot:workers"
    with running(server) as (process, port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", "/readyz")
        assert connection.getresponse().status == 200
        connection.close()
        wait_until(lambda: [json.loads(one)["role"] for one in server.client.hvals(processes)] == ["api"])
        process.send_signal(number)
        assert process.wait(30) == 0
        assert server.client.hlen(processes) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_a_client_that_stays_cannot_hold_it_up(server: Server) -> None:
    """A browser keeps connections for minutes, and a stuck client for ever."""
    with running(server) as (process, port):
        idle = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        idle.request("GET", "/healthz")
        assert idle.getresponse().read()
        with socket.create_connection(("127.0.0.1", port)) as stuck:
            stuck.sendall(
                b"POST /api/monitoring/cache/clear HTTP/1.1\r\nHost: localhost\r\n"
                b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
            )
            process.terminate()
            assert process.wait(STOP_SECONDS + 30) == 0
        idle.close()


def test_forwarded_addresses_are_not_believed(server: Server) -> None:
    """Anyone can write `X-Forwarded-For: 127.0.0.1`."""
    with running(server) as (_, port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        headers = {"X-Forwarded-For": "203.0.113.5", "X-Forwarded-Proto": "https"}
        connection.request("POST", "/api/monitoring/cache/clear?pattern=x", headers=headers)
        refused = connection.getresponse()
        assert (refused.status, bool(refused.read())) == (403, True)
        connection.request("GET", "/healthz/", headers=headers)
        assert (connection.getresponse().headers["Location"] or "").startswith("http://127.0.0.1")
        connection.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.255.255.1"])  # noqa: S104 -- refused
def test_a_server_for_others_needs_a_token(settings: Settings, host: str) -> None:
    """Whoever opens it to a network finds out at the start, and not when a stranger has read along."""
    with pytest.raises(ConfigurationError, match=f"anyone who reaches {host}: set TBCACHE_API_TOKEN"):
        serve(host, 0, settings)


def test_an_address_in_use_is_named(settings: Settings) -> None:
    """The second API on a port must say which port, and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"127\.0\.0\.1:{port} .*choose another --port"):
            serve("127.0.0.1", port, settings)
