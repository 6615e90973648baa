"""Writes what the fleet accepted for the database while this worker runs."""

from __future__ import annotations

import threading
from typing import Any

from dramatiq.broker import Broker
from dramatiq.middleware import Middleware

from tbcache.repository.outbox import get_outbox
from tbcache.settings import get_settings

NUDGE_SECONDS = 2.0


class OutboxMiddleware(Middleware):
    """Keeps the outbox's thread going from the worker's boot to its end."""

    def __init__(self) -> None:
        self._stop = threading.Event()

    def after_worker_boot(self, broker: Broker, worker: Any) -> None:
        if get_settings().persist:
            threading.Thread(target=self._nudge, name="tbcache-outbox-nudge", daemon=True).start()

    def after_worker_shutdown(self, broker: Broker, worker: Any) -> None:
        self._stop.set()
        if get_settings().persist:
            get_outbox().close()

    def _nudge(self) -> None:
        while not self._stop.is_set():
            get_outbox().nudge()
            self._stop.wait(NUDGE_SECONDS)
