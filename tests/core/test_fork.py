"""A child forked while a thread of its parent holds a lock: the child goes on."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from tbcache.admission import Admission
from tbcache.admission.delay import PlanDelay
from tbcache.models import FetchRequest
from tbcache.monitoring import UsageMonitor
from tbcache.settings import Settings
from tbcache.store import Store
from tests.core.conftest import TWITTER, ask
from tests.server import wait_until

LATE = replace(TWITTER, delay_hours=24.0)


def _of_closures(store: Store, settings: Settings) -> tuple[threading.Lock, Callable[[], object]]:
    def close() -> None:
        store.client.get("any")
        store.closures.close("twitter", 60.0, "closed")

    return store.closures._lock, close


def _of_the_delay(store: Store, settings: Settings) -> tuple[threading.Lock, Callable[[], object]]:
    delay = PlanDelay(store)
    return delay._lock, lambda: delay.reach(LATE, FetchRequest("twitter", "AAPL", 6))


def _without_redis(store: Store, settings: Settings) -> tuple[threading.Lock, Callable[[], object]]:
    away = Store(Settings.load({"REDIS_URL": "redis://127.0.0.1:1/0"}))
    admission = Admission(away, settings, UsageMonitor(away, settings))
    return admission._local._lock, lambda: admission.admit(ask())


@pytest.mark.parametrize("of", [_of_closures, _of_the_delay, _without_redis])
def test_a_child_waits_for_no_thread_of_its_parent(
    store: Store, settings: Settings, of: Callable[..., tuple[threading.Lock, Callable[[], object]]]
) -> None:
    """That thread is not in the child, so the lock it held would never be let go of."""
    lock, use = of(store, settings)
    with lock:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                use()
                code = 0
            finally:
                os._exit(code)
    ended: list[int] = []

    def is_over() -> bool:
        pid, status = os.waitpid(child, os.WNOHANG)
        ended.extend([status] if pid else [])
        return bool(ended)

    try:
        wait_until(is_over, 20.0, "the child's end")
    finally:
        if not ended:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(ended[0]) == 0
