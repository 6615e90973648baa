"""Finishes the sweeps of clears whose process has died, while this worker runs."""

from __future__ import annotations

import threading
from typing import Any

from dramatiq.broker import Broker
from dramatiq.middleware import Middleware

from tbcache.cache import get_cache_manager

RESUME_SECONDS = 2.0


class SweepMiddleware(Middleware):
    """Looks for sweeps left over, from the worker's boot to its end."""

    def __init__(self) -> None:
        self._stop = threading.Event()

    def after_worker_boot(self, broker: Broker, worker: Any) -> None:
        threading.Thread(target=self._resume, name="tbcache-sweep-resume", daemon=True).start()

    def after_worker_shutdown(self, broker: Broker, worker: Any) -> None:
        self._stop.set()

    def _resume(self) -> None:
        while not self._stop.wait(RESUME_SECONDS):
            get_cache_manager().resume()
