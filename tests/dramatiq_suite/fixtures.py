"""The fixtures that dramatiq's tests ask for, with the pacing broker in place of its own brokers.

This file, as ``conftest.py``, ``common.py`` and ``broker.py`` are put beside the tests of the source
distribution.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
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


@pytest.fixture
def start_cli() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str, *, extra_args: Any = (), **options: Any) -> subprocess.Popen[bytes]:
        one = subprocess.Popen([sys.executable, "-m", "dramatiq", name, *extra_args], **options)
        started.append(one)
        time.sleep(1)
        return one

    yield start
    for one in started:
        one.terminate()
        one.wait()
