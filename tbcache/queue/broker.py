"""A dramatiq broker that paces: a job leaves Redis when a thread and a slot are free for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import dramatiq
from dramatiq.broker import Broker, Consumer
from dramatiq.middleware import CurrentMessage, Middleware

from tbcache.queue.consumer import CLAIM_SECONDS, PacingConsumer, WorkerContext
from tbcache.queue.hand import Hand
from tbcache.queue.middleware import JobMiddleware
from tbcache.queue.script import ENQUEUE, Enqueue, queue_keys
from tbcache.queue.thread import Threads
from tbcache.settings import Settings, Source
from tbcache.store import Store
from tbcache.store.wire import to_micros


class PacingBroker(Broker):
    """One queue per source. Needs no delay queues: what must wait, waits in Redis.

    ``claim_seconds`` is for how long a job is a worker's that says nothing more.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        sources: Iterable[Source],
        *,
        claim_seconds: float = CLAIM_SECONDS,
    ) -> None:
        super().__init__(middleware=[CurrentMessage(), JobMiddleware()])
        self.store = store
        self.settings = settings
        self.sources = {source.name: source for source in sources}
        self.threads = Threads()
        self.hands = {source: Hand(self.threads, source) for source in self.sources}
        self.queues: dict[str, None] = {}
        self.context = WorkerContext(store, settings, self.threads, self.actors, claim_seconds)
        self.add_middleware(_Boot(self))

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 1000) -> Consumer:
        """A consumer of ``queue_name``; ``timeout`` (ms) is the longest it blocks."""
        return PacingConsumer(self.context, self.hands[queue_name], self.sources[queue_name], timeout / 1000)

    def declare_queue(self, queue_name: str) -> None:
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues[queue_name] = None
            self.emit_after("declare_queue", queue_name)

    def enqueue(self, message: dramatiq.Message[Any], *, delay: int | None = None) -> dramatiq.Message[Any]:
        """Queue a message as it is; ``delay`` in milliseconds. Same fetches are not joined here."""
        self.emit_before("enqueue", message, delay)
        lane = message.kwargs.get("lane", "interactive")
        ask = Enqueue(
            queue=queue_keys(self.store.keys, message.queue_name),
            clears=self.store.keys.clears(message.queue_name),
            id=message.message_id,
            message=message.encode(),
            key="",
            lane=lane,
            delay_us=to_micros((delay or 0) / 1000),
            charge="fetch",
        )
        self.store.run(ENQUEUE, ask)
        self.emit_after("enqueue", message, delay)
        return message

    def flush(self, queue_name: str) -> None:
        with self.store.guard():
            self.store.client.unlink(*queue_keys(self.store.keys, queue_name))

    def flush_all(self) -> None:
        for queue_name in self.queues:
            self.flush(queue_name)


class _Boot(Middleware):
    """Tells the broker how many threads there are, before the first job is asked for, and when the
    worker is told to stop, so that no job is asked for that it would only give back.
    """

    def __init__(self, broker: PacingBroker) -> None:
        self._broker = broker

    def before_worker_boot(self, broker: Broker, worker: dramatiq.Worker) -> None:
        queues = worker.consumer_whitelist or self._broker.queues
        self._broker.threads.open(worker.worker_threads, len(queues))

    def before_worker_shutdown(self, broker: Broker, worker: dramatiq.Worker) -> None:
        self._broker.threads.close()
