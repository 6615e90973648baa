"""Finishes the sweeps of clears whose process has died, while this worker runs."""

from __future__ import annotations

from typing import Any

from dramatiq.broker import Broker
from dramatiq.middleware import Middleware

from tbcache.cache import get_cache_manager
from tbcache.io.background import BackgroundThread

RESUME_SECONDS = 2.0


class SweepMiddleware(Middleware):
    """Looks for sweeps left over, from the worker's boot to its end."""

    def __init__(self) -> None:
        self._thread = BackgroundThread("tbcache-sweep-resume", _resume)

    def after_worker_boot(self, broker: Broker, worker: Any) -> None:
        self._thread.start(after=RESUME_SECONDS)

    def after_worker_shutdown(self, broker: Broker, worker: Any) -> None:
        self._thread.stop()


def _resume() -> float:
    get_cache_manager().resume()
    return RESUME_SECONDS
