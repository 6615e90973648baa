"""The consumer of one source's queue."""

from __future__ import annotations

import threading
import time
import uuid
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import dramatiq
from dramatiq.broker import Consumer, MessageProxy

from tbcache.log import get_logger
from tbcache.queue.job import Finish, encode_result, queue_keys
from tbcache.sources import Source
from tbcache.store import Unavailable
from tbcache.store.wire import MICROS, pack_limits, to_micros

if TYPE_CHECKING:
    from tbcache.queue.broker import PacingBroker

log = get_logger("tbcache.queue")

CLAIM_SECONDS = 8.0
RENEW_SECONDS = 1.0
RESULT_SECONDS = 600.0
MOST_TRIES = 4


class PacingConsumer(Consumer):
    """Pops as many jobs as there are idle threads and free slots, and no more.

    Jobs in hand are claimed for ``CLAIM_SECONDS`` and renewed each second: when this
    process dies, any other consumer of the source puts them back.
    """

    def __init__(self, broker: PacingBroker, source: Source, timeout: float) -> None:
        self._broker = broker
        self._store = broker.store
        self._source = source
        self._timeout = min(timeout, RENEW_SECONDS)
        self._keys = queue_keys(broker.store.keys, source.name)
        self._store.own(source.name).limits = source.limits
        self._lock = threading.Lock()
        self._in_hand: set[str] = set()
        self._buffer: deque[MessageProxy] = deque()
        self._unfinished: deque[tuple[str, Finish]] = deque()

    def __next__(self) -> MessageProxy | None:
        if self._buffer:
            return self._buffer.popleft()
        reserved = self._broker.threads.reserve(self._source.name)
        try:
            self._finish_rest()
            retry_in, jobs = self._dequeue(reserved)
        except Unavailable:
            self._broker.threads.release(self._source.name, reserved)
            time.sleep(min(self._timeout, 0.25))
            return None
        self._broker.threads.release(self._source.name, reserved - len(jobs))
        self._buffer.extend(jobs)
        if self._buffer:
            return self._buffer.popleft()
        self._idle(reserved, retry_in)
        return None

    def ack(self, message: MessageProxy) -> None:
        self._finish(message.message_id, getattr(message, "finish", None) or Finish("done"))

    def nack(self, message: MessageProxy) -> None:
        self._finish(message.message_id, getattr(message, "finish", None) or Finish("dead"))

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        for message in messages:
            self._finish(message.message_id, Finish("back"))

    def close(self) -> None:
        self.requeue(self._buffer)
        self._buffer.clear()

    def _dequeue(self, most: int) -> tuple[float, list[MessageProxy]]:
        """Seconds until more may come (0.0: when the bell rings), and the jobs granted."""
        settings, keys = self._broker.settings, self._store.keys
        with self._lock:
            in_hand = list(self._in_hand)
        asked_at, prefix = time.monotonic(), f"{uuid.uuid4().hex}."
        with self._store.asking(self._source.name, prefix, most * self._source.cost):
            now, retry_at, *granted = self._store.run(
                "dequeue",
                [
                    *self._keys,
                    keys.slots(self._source.name),
                    keys.state(self._source.name),
                    keys.fleet(self._source.name),
                ],
                [
                    most,
                    pack_limits(self._source.limits),
                    settings.prewarm_share,
                    to_micros(settings.lease_seconds),
                    to_micros(CLAIM_SECONDS),
                    prefix,
                    MOST_TRIES,
                    self._store.deadline_us(self._source.name),
                    self._store.member,
                    self._source.cost,
                    *in_hand,
                ],
            )
            jobs = [self._take(*granted[i : i + 3]) for i in range(0, len(granted), 3)]
        # What was granted is on record before the window may have to be mended.
        self._store.learn_time(int(now), asked_at, self._source.name)
        retry_in = max(0.0, (int(retry_at) - int(now)) / MICROS) if int(retry_at) else 0.0
        return retry_in, jobs

    def _take(self, job_id: bytes, data: bytes, slot: bytes) -> MessageProxy:
        name = job_id.decode()
        self._store.own(self._source.name).grant(
            slot.decode(), self._source.cost, self._source.limits, self._broker.settings.lease_seconds
        )
        with self._lock:
            self._in_hand.add(name)
        message: dramatiq.Message[Any] = dramatiq.Message.decode(data)
        return MessageProxy(message.copy(message_id=name, options={"slot": slot.decode()}))

    def _finish(self, job_id: str, finish: Finish) -> None:
        """Say what became of a job; kept for later when Redis is away."""
        try:
            self._tell(job_id, finish)
        except Unavailable:
            self._unfinished.append((job_id, finish))
        finally:
            with self._lock:
                known = job_id in self._in_hand
                self._in_hand.discard(job_id)
            if known:
                self._broker.threads.release(self._source.name)

    def _finish_rest(self) -> None:
        while self._unfinished:
            self._tell(*self._unfinished[0])
            self._unfinished.popleft()

    def _tell(self, job_id: str, finish: Finish) -> None:
        self._store.run(
            "finish",
            [*self._keys, self._store.keys.result(self._source.name, job_id)],
            [
                job_id,
                finish.what,
                encode_result(finish.result) if finish.result is not None else b"",
                round(RESULT_SECONDS * 1000),
                to_micros(finish.delay_seconds),
                int(finish.is_try),
                MOST_TRIES,
            ],
        )

    def _idle(self, reserved: int, retry_in: float) -> None:
        """Wait for a thread, for a slot, or for the bell: whichever is missing."""
        if reserved == 0:
            self._broker.threads.wait(self._timeout)
            return
        seconds = min(self._timeout, retry_in) if retry_in else self._timeout
        try:
            self._store.pop_list(self._keys[-1], max(seconds, 0.001))
        except Unavailable:
            return
