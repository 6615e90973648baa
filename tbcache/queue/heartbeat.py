"""Says each second that this worker lives, and what it does."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dramatiq import Worker
from dramatiq.broker import Broker, MessageProxy
from dramatiq.middleware import Middleware

from tbcache.io import now
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
        self._begun: dict[str, float] = {}
        self._pace = Pace()
        self._worker: Worker | None = None

    def before_worker_boot(self, broker: Broker, worker: Any) -> None:
        # Before the first job: its provider would beat as a mere client.
        self._keep_beating()
        self._broker.context.on_unanswered = get_usage_monitor().callers.fail

    def after_worker_boot(self, broker: Broker, worker: Worker) -> None:
        self._worker = worker

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        # Another worker of the process may have ended, or a bot in it: that takes the whole process out.
        self._keep_beating()
        self._doing[message.message_id] = f"{message.queue_name} {message.kwargs.get('symbol', '')}"
        self._begun[message.message_id] = now()

    def after_process_message(
        self,
        broker: Broker,
        message: MessageProxy,
        *,
        result: Any | None = None,
        exception: BaseException | None = None,
    ) -> None:
        self._doing.pop(message.message_id, None)
        begun_at = self._begun.pop(message.message_id, None)
        if begun_at is not None:
            self._pace.count(message.queue_name, now() - begun_at)

    def after_skip_message(self, broker: Broker, message: MessageProxy) -> None:
        self._doing.pop(message.message_id, None)
        self._begun.pop(message.message_id, None)

    def after_worker_shutdown(self, broker: Broker, worker: Any) -> None:
        get_usage_monitor().flush()
        get_usage_monitor().leave()

    def _keep_beating(self) -> None:
        get_usage_monitor().keep_beating("worker", self._load)

    @property
    def _queues(self) -> Iterable[str]:
        """Those whose jobs this worker takes: all that it has actors for, or those it was started for."""
        chosen = self._worker.consumer_whitelist if self._worker is not None else None
        return chosen or tuple(self._broker.queues)

    def _load(self) -> Workload:
        threads = self._broker.threads
        living = threads.total if self._worker is None else living_threads(self._worker)
        doing = tuple(sorted(self._doing.copy().values()))
        pace = {name: self._pace.of(name) for name in self._queues}
        return Workload(living, threads.busy, doing, tuple(self._broker.sources), pace)


class Pace:
    """For how many seconds a job of each queue has a thread, on average; the last ten or so count most."""

    #: The part of a new one in the average.
    _WEIGHT = 0.1

    def __init__(self) -> None:
        self._means: dict[str, float] = {}

    def count(self, queue: str, seconds: float) -> None:
        """A job had a thread for so long. Two threads that count at the same moment lose one of the two."""
        mean = self._means.get(queue, seconds)
        self._means[queue] = mean + (seconds - mean) * self._WEIGHT

    def of(self, queue: str) -> float:
        """The average; 0.0 where no job of the queue has run yet."""
        return round(self._means.get(queue, 0.0), 6)


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
