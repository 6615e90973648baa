"""Says each second that this worker lives, and what it does."""

from __future__ import annotations

import threading
from typing import Any

from dramatiq.broker import Broker, MessageProxy
from dramatiq.middleware import Middleware

from tbcache.models import utc_now
from tbcache.monitoring import get_usage_monitor
from tbcache.queue import PacingBroker

BEAT_SECONDS = 1.0


class HeartbeatMiddleware(Middleware):
    """Knows the jobs in hand and beats until the worker stops."""

    def __init__(self, broker: PacingBroker) -> None:
        self._broker = broker
        self._doing: dict[str, str] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def after_worker_boot(self, broker: Broker, worker: Any) -> None:
        self._thread = threading.Thread(target=self._beat, name="tbcache-heartbeat", daemon=True)
        self._thread.start()

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        self._doing[message.message_id] = f"{message.queue_name} {message.kwargs.get('symbol', '')}"

    def after_process_message(
        self,
        broker: Broker,
        message: MessageProxy,
        *,
        result: Any | None = None,
        exception: BaseException | None = None,
    ) -> None:
        self._doing.pop(message.message_id, None)

    def after_skip_message(self, broker: Broker, message: MessageProxy) -> None:
        self._doing.pop(message.message_id, None)

    def after_worker_shutdown(self, broker: Broker, worker: Any) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=1.0)
        get_usage_monitor().flush()
        get_usage_monitor().leave()

    def _beat(self) -> None:
        monitor, started_at = get_usage_monitor(), utc_now()
        while not self._stop.wait(BEAT_SECONDS):
            threads = self._broker.threads
            monitor.beat(
                "worker",
                started_at=started_at,
                threads=threads.total,
                busy=threads.busy,
                doing=sorted(self._doing.copy().values()),
            )
