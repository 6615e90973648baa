"""The fixtures that dramatiq's tests ask for, with the pacing broker in place of its own brokers.

This file, as ``conftest.py``, ``common.py`` and ``broker.py`` are put beside the tests of the source
distribution.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dramatiq
import dramatiq.brokers.redis
import dramatiq.brokers.stub
import dramatiq.rate_limits.backends as limits
import dramatiq.results.backends as results
import pytest
import redis

from .broker import IS_STOCK, URL, SuiteBroker
from .common import worker

READY_SECONDS = 30.0


def _running(broker: Any) -> Iterator[Any]:
    redis.Redis.from_url(URL).flushall()
    broker.emit_after("process_boot")
    dramatiq.set_broker(broker)
    yield broker
    broker.flush_all()
    broker.close()


@pytest.fixture
def stub_broker() -> Iterator[Any]:
    yield from _running(dramatiq.brokers.stub.StubBroker() if IS_STOCK else SuiteBroker(is_stub=True))


@pytest.fixture
def stub_worker(stub_broker: Any) -> Iterator[dramatiq.Worker]:
    with worker(stub_broker, worker_timeout=100, worker_threads=32) as one:
        yield one


@pytest.fixture
def redis_broker() -> Iterator[Any]:
    yield from _running(dramatiq.brokers.redis.RedisBroker())


@pytest.fixture
def redis_worker(redis_broker: Any) -> Iterator[dramatiq.Worker]:
    with worker(redis_broker, worker_timeout=100, worker_threads=32) as one:
        yield one


@pytest.fixture(params=["redis", "stub"])
def rate_limiter_backend(request: pytest.FixtureRequest) -> Any:
    client = redis.Redis.from_url(URL)
    client.flushall()
    return limits.RedisBackend(client=client) if request.param == "redis" else limits.StubBackend()


@pytest.fixture
def redis_result_backend() -> Any:
    client = redis.Redis.from_url(URL)
    client.flushall()
    return results.RedisBackend(client=client)


@pytest.fixture(params=["redis", "stub"])
def result_backend(request: pytest.FixtureRequest) -> Any:
    if request.param == "redis":
        return request.getfixturevalue("redis_result_backend")
    return results.StubBackend()


def _is_ready(command: subprocess.Popen[bytes]) -> bool:
    """Whether a command line, or the one that it has begun anew as, handles signals, or is over."""
    try:
        status = Path(f"/proc/{command.pid}/status").read_text()
    except OSError:
        return True
    (caught,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
    return command.poll() is not None or bool(int(caught, 16) & 1 << signal.SIGHUP - 1)


@pytest.fixture
def start_cli(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts command lines. A test that sleeps until one is there, or is there again, wakes no earlier: a
    signal that comes before is the end of it."""
    started: list[subprocess.Popen[bytes]] = []
    sleep = time.sleep

    def sleep_until_ready(seconds: float) -> None:
        sleep(seconds)
        give_up_at = time.monotonic() + READY_SECONDS
        while not all(map(_is_ready, started)) and time.monotonic() < give_up_at:
            sleep(0.05)

    def start(name: str, *, extra_args: Any = (), **options: Any) -> subprocess.Popen[bytes]:
        one = subprocess.Popen([sys.executable, "-m", "dramatiq", name, *extra_args], **options)
        started.append(one)
        sleep_until_ready(1)
        return one

    monkeypatch.setattr(time, "sleep", sleep_until_ready)
    yield start
    for one in started:
        one.terminate()
        one.wait()
