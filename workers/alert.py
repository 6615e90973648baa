"""Watches the fleet for troubles while this worker runs, if it is this worker's turn."""

from __future__ import annotations

from typing import Any

from dramatiq.broker import Broker
from dramatiq.middleware import Middleware

from tbcache.fleet.alert import Watch
from tbcache.settings import get_settings


class AlertMiddleware(Middleware):
    """Has the worker stand by as the process that watches, from its boot to its end."""

    def __init__(self) -> None:
        self._watch: Watch | None = None

    def after_worker_boot(self, broker: Broker, worker: Any) -> None:
        self._watch = Watch.of_process(get_settings())
        self._watch.start()

    def before_worker_shutdown(self, broker: Broker, worker: Any) -> None:
        if self._watch is not None:
            self._watch.stop()
