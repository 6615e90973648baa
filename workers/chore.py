"""What a worker does for the whole fleet beside its jobs, from its boot to its end."""

from __future__ import annotations

from typing import Any

from dramatiq.broker import Broker
from dramatiq.middleware import Middleware

from tbcache.cache import get_cache_manager
from tbcache.fetch.outbox import get_outbox
from tbcache.fleet.alert import Watch
from tbcache.io.background import BackgroundThread
from tbcache.settings import get_settings

NUDGE_SECONDS = 2.0
RESUME_SECONDS = 2.0


class ChoreMiddleware(Middleware):
    """Writes what was accepted for the database, finishes the sweeps of clears whose process has died, and
    stands by as the process that watches for troubles."""

    def __init__(self) -> None:
        self._nudger = BackgroundThread("tbcache-outbox-nudge", _nudge)
        self._resumer = BackgroundThread("tbcache-sweep-resume", _resume)
        self._watch: Watch | None = None

    def after_worker_boot(self, broker: Broker, worker: Any) -> None:
        if get_settings().persist:
            self._nudger.start()
        self._resumer.start(after=RESUME_SECONDS)
        self._watch = Watch.of_process(get_settings())
        self._watch.start()

    def before_worker_shutdown(self, broker: Broker, worker: Any) -> None:
        if self._watch is not None:
            self._watch.stop()

    def after_worker_shutdown(self, broker: Broker, worker: Any) -> None:
        self._resumer.stop()
        self._nudger.stop()
        if get_settings().persist:
            get_outbox().close()


def _nudge() -> float:
    get_outbox().nudge()
    return NUDGE_SECONDS


def _resume() -> float:
    get_cache_manager().resume()
    return RESUME_SECONDS
