"""The simulator over real HTTP."""

from __future__ import annotations

import signal
import socket
import statistics
import threading
import time
from collections.abc import Iterator

import httpx2
import pytest

from tbcache.embedded.simulator import create_app, serve
from tbcache.models.error import ConfigurationError
from tests.server import wait_until
from tests.upstream import SimulatorProcess, running_simulator


@pytest.fixture(scope="module")
def _shared() -> Iterator[SimulatorProcess]:
    with running_simulator() as upstream:
        yield upstream
        assert upstream.errors() == ""


@pytest.fixture
def upstream(_shared: SimulatorProcess) -> SimulatorProcess:
    """One that everything goes right with, and that has seen nothing."""
    _shared.clear_faults()
    _shared.reset()
    return _shared


def _stream(upstream: SimulatorProcess) -> str:
    return f"{upstream.url}/stocktwits/api/2/streams/symbol/AAPL.json"


def test_it_serves_and_counts_over_http() -> None:
    """The helper that other tests stand on: address, figures, faults, exit code, and nothing on stderr."""
    with running_simulator(limits={"stocktwits": "2/60s"}) as upstream:
        with httpx2.Client() as client:
            statuses = [client.get(_stream(upstream)).status_code for _ in range(3)]
            upstream.faults(stocktwits={"status": 522})
        assert statuses == [200, 200, 429]
        assert upstream.stats()["stocktwits"]["max_in_window"] == {"2/1m": 3}
        assert upstream.variables["TBCACHE_NEWS__BASE_URL"] == f"{upstream.url}/news"
        upstream.clear_faults()
        upstream.reset()
        assert upstream.stats()["stocktwits"]["accepted"] == 0
        upstream.process.terminate()
        assert upstream.process.wait(30) == 0
        assert upstream.errors() == ""


def test_a_dropped_connection_has_no_answer(upstream: SimulatorProcess) -> None:
    """To a client it must look like a server that died in the middle."""
    upstream.faults({"outage": "drop"})
    with pytest.raises(httpx2.TransportError):
        httpx2.get(_stream(upstream))
    assert upstream.stats()["stocktwits"]["by_status"] == {"dropped": 1}


def test_a_status_that_no_library_knows_is_sent(upstream: SimulatorProcess) -> None:
    """Reddit's front servers answer 522; the server below must let it through."""
    upstream.faults({"status": 522})
    assert httpx2.get(_stream(upstream)).status_code == 522


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_at_once_whatever_is_in_flight(number: signal.Signals) -> None:
    """`up` has 5 s to stop everything; a slow answer must not hold it up."""
    with running_simulator() as upstream:
        upstream.faults(stocktwits={"latency": [60, 60]})
        failed: list[Exception] = []
        asking = threading.Thread(target=_ask, args=(_stream(upstream), failed))
        asking.start()
        wait_until(lambda: upstream.stats()["stocktwits"]["accepted"] == 1)
        started = time.monotonic()
        upstream.process.send_signal(number)
        assert upstream.process.wait(30) == 0
        assert time.monotonic() - started < 2
        asking.join(30)
        assert isinstance(failed[0], httpx2.TransportError)
        assert upstream.errors() == ""


def test_an_answer_is_not_held_back(upstream: SimulatorProcess) -> None:
    """Head and body are two writes: without TCP_NODELAY each answer took 40 ms more."""
    taken = []
    with httpx2.Client() as client:
        for _ in range(21):
            started = time.monotonic()
            client.get(_stream(upstream))
            taken.append(time.monotonic() - started)
    assert statistics.median(taken) < 0.030


def test_a_port_that_is_taken_is_said_in_one_line() -> None:
    """The commonest reason that a simulator does not start."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            ConfigurationError, match=f"cannot listen on 127.0.0.1:{port} .*choose another --port"
        ):
            serve(create_app(), "127.0.0.1", port)


def _ask(url: str, failed: list[Exception]) -> None:
    try:
        httpx2.get(url, timeout=70)
    except httpx2.HTTPError as error:
        failed.append(error)
