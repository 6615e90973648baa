"""Writes what the fleet accepted for the database while this worker runs."""

from __future__ import annotations

from typing import Any

from dramatiq.broker import Broker
from dramatiq.middleware import Middleware

from tbcache.fetch.outbox import get_outbox
from tbcache.io.background import BackgroundThread
from tbcache.settings import get_settings

NUDGE_SECONDS = 2.0


class OutboxMiddleware(Middleware):
    """Keeps the outbox's thread going from the worker's boot to its end."""

    def __init__(self) -> None:
        self._thread = BackgroundThread("tbcache-outbox-nudge", _nudge)

    def after_worker_boot(self, broker: Broker, worker: Any) -> None:
        if get_settings().persist:
            self._thread.start()

    def after_worker_shutdown(self, broker: Broker, worker: Any) -> None:
        self._thread.stop()
        if get_settings().persist:
            get_outbox().close()


def _nudge() -> float:
    get_outbox().nudge()
    return NUDGE_SECONDS
