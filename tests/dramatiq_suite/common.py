"""What dramatiq's tests import beside its package; the distribution leaves it out."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pika
import pytest
from dramatiq import Worker

RABBITMQ_USERNAME = RABBITMQ_PASSWORD = "guest"
RABBITMQ_CREDENTIALS = pika.PlainCredentials(RABBITMQ_USERNAME, RABBITMQ_PASSWORD)

skip_in_ci = pytest.mark.skipif(False, reason="it runs everywhere")
skip_on_pypy = pytest.mark.skipif(sys.implementation.name == "pypy", reason="as upstream does")
skip_on_windows = pytest.mark.skipif(sys.platform == "win32", reason="as upstream does")
skip_unless_rabbit_mq = pytest.mark.skip(reason="no RabbitMQ is run for this suite")


@contextmanager
def worker(*args: Any, **options: Any) -> Iterator[Worker]:
    """A worker that runs in this process for the length of the block."""
    one = Worker(*args, **options)
    one.start()
    try:
        yield one
    finally:
        one.stop()
