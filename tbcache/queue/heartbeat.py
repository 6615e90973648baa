"""Says each second that this worker lives, and what it does."""

from __future__ import annotations

from typing import Any

from dramatiq import Worker
from dramatiq.broker import Broker, MessageProxy
from dramatiq.middleware import Middleware

from tbcache.io.singleton import singleton
from tbcache.monitoring import Workload, get_usage_monitor
from tbcache.queue.broker import PacingBroker
from tbcache.settings import get_settings, get_sources
from tbcache.store import get_store


class HeartbeatMiddleware(Middleware):
    """Knows the jobs in hand and beats until the worker stops."""

    def __init__(self, broker: PacingBroker) -> None:
        self._broker = broker
        self._doing: dict[str, str] = {}
        self._worker: Worker | None = None

    def before_worker_boot(self, broker: Broker, worker: Any) -> None:
        # Before the first job: its provider would beat as a mere client.
        get_usage_monitor().keep_beating("worker", self._load)

    def after_worker_boot(self, broker: Broker, worker: Worker) -> None:
        self._worker = worker

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
        get_usage_monitor().flush()
        get_usage_monitor().leave()

    def _load(self) -> Workload:
        threads = self._broker.threads
        living = threads.total if self._worker is None else living_threads(self._worker)
        doing = tuple(sorted(self._doing.copy().values()))
        return Workload(living, threads.busy, doing, tuple(self._broker.sources))


def living_threads(worker: Worker) -> int:
    """How many threads of a worker can run a job."""
    return sum(thread.is_alive() for thread in worker.workers)


@singleton
def get_broker() -> PacingBroker:
    """The broker of this process's settings, for actors of your own: it paces by every source's limits.

    Opens no connection. Its workers are listed by ``tbcache status`` like others.
    """
    settings = get_settings()
    broker = PacingBroker(get_store(), settings, get_sources(settings).values())
    broker.add_middleware(HeartbeatMiddleware(broker))
    return broker
