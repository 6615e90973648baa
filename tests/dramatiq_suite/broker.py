"""The brokers that dramatiq's tests run on: the pacing broker, or, to compare, its own.

The package of the tests imports this first, in the processes that its command line starts too.
"""

from __future__ import annotations

import os
import time
from typing import Any

os.environ.setdefault("dramatiq_restart_delay", "200")

import dramatiq
import dramatiq.brokers.redis
from dramatiq.middleware import Middleware

from tbcache.io import run
from tbcache.queue import PacingBroker, Queue
from tbcache.queue.account import Account
from tbcache.queue.batch import put_all
from tbcache.queue.script import JobAsk
from tbcache.queue.wants import Wants
from tbcache.settings import get_settings
from tbcache.store import get_store

IS_STOCK = os.environ.get("DRAMATIQ_SUITE") == "stock"
URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379")


class StockRedisBroker(dramatiq.brokers.redis.RedisBroker):
    """RedisBroker on the suite's server, where it is told of no other."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**({} if "client" in options else {"url": URL}) | options)


class SuiteBroker(PacingBroker):
    """The pacing broker, with what the tests use of StubBroker: dead letters, and a join that a failure ends.
    ``is_stub``: the test asked for one."""

    def __init__(
        self, middleware: list[Middleware] | None = None, *, is_stub: bool = False, **_: Any
    ) -> None:
        super().__init__(get_store(), get_settings(), [], middleware=middleware)
        self.queues = _Queues(self)
        self._is_stub = is_stub
        self._failed: list[BaseException] = []

    def join(self, queue_name: str, *, fail_fast: bool = True, **options: Any) -> None:
        super().join(queue_name, interval=10, **options)
        failed, self._failed = self._failed, []
        if failed and fail_fast:
            raise failed[0]

    def emit_before(self, signal: str, *args: Any, **options: Any) -> None:
        if signal == "nack" and self._is_stub:
            self._failed.append(args[0]._exception or Exception("it failed"))
        super().emit_before(signal, *args, **options)

    @property
    def dead_letters(self) -> list[dramatiq.Message[Any]]:
        queue = Queue(self.store, self.settings)
        letters = [one for name in self.queues for one in queue.dead.search(name)]
        return [dramatiq.Message.decode(one.message.encode()) for one in letters]


class _Queues(dict[str, Any]):
    """Each queue by its name, as something that messages are put in as they are."""

    def __init__(self, broker: PacingBroker) -> None:
        self._broker = broker

    def __setitem__(self, name: str, _: Any) -> None:
        super().__setitem__(name, _Queue(self._broker, name))


class _Queue:
    def __init__(self, broker: PacingBroker, name: str) -> None:
        self._broker, self._name = broker, name

    def put(self, message: bytes) -> None:
        ask = JobAsk(f"put-{time.monotonic_ns()}", message, "")
        run(put_all(self._broker.store, self._name, [ask], Wants(Account("", 0))))

    def get(self, timeout: float) -> bytes:
        (message,) = self._broker.store.call("HVALS", self._broker.store.keys.queue(self._name, "jobs"))
        return bytes(message)

    def qsize(self) -> int:
        return int(self._broker.store.call("ZCARD", self._broker.store.keys.queue(self._name, "interactive")))


# The modules of the tests import it by this name, those that a command line loads in another process too.
dramatiq.brokers.redis.RedisBroker = StockRedisBroker if IS_STOCK else SuiteBroker  # type: ignore
