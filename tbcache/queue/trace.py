"""The spans of messages: one where they are sent, and one for each time that one is processed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from dramatiq.broker import Broker, MessageProxy
from dramatiq.errors import RateLimitExceeded, Retry
from dramatiq.middleware import Middleware

from tbcache.io.trace import Facts, Span, carrier_in, span
from tbcache.models.error import RateLimited
from tbcache.queue.hand import HeldJob
from tbcache.queue.script import Queued

#: Whose messages they are, as `messaging.system` names it.
SYSTEM = "dramatiq"
#: To be put off, as by a limit, is no failure.
_PUT_OFF = (RateLimited, Retry, RateLimitExceeded)


def sending(queue: str) -> Span:
    """The span in which messages are made and sent to ``queue``."""
    return span(f"send {queue}", lambda: _facts("send", queue), kind="producer")


def record_sent(sent: Span, queued: Sequence[Queued]) -> None:
    """Add what became of the messages; of one alone, the id of the job that carries it out."""
    if not sent.is_on:
        return
    if len(queued) == 1:
        sent.add({"messaging.message.id": queued[0].id, "tbcache.state": queued[0].state})
    else:
        sent.add({"messaging.batch.message_count": len(queued)})


def awaiting(queue: str, job_id: str) -> Span:
    """The span in which a result is waited for."""
    return span(f"await {queue}", lambda: {"tbcache.source": queue, "messaging.message.id": job_id})


class TraceMiddleware(Middleware):
    """A span for each time that a job of the pacing broker is processed, in the trace of its message."""

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        if isinstance(message, HeldJob):
            queue, id, actor = message.queue_name, message.message_id, message.actor_name
            message.span = span(
                f"process {queue}",
                lambda: {**_facts("process", queue), "messaging.message.id": id, "tbcache.actor": actor},
                kind="consumer",
                parent=carrier_in(message.options),
            )
            message.span.__enter__()

    def after_process_message(
        self,
        broker: Broker,
        message: MessageProxy,
        *,
        result: Any | None = None,
        exception: BaseException | None = None,
    ) -> None:
        if isinstance(message, HeldJob):
            _end(message, exception)

    def after_skip_message(self, broker: Broker, message: MessageProxy) -> None:
        if isinstance(message, HeldJob):
            _end(message, None)


def _end(job: HeldJob, error: BaseException | None) -> None:
    running, job.span = job.span, None
    if running is None:
        return
    if job.finish is not None:
        delay_seconds = job.finish.delay_seconds or None
        running.add({"tbcache.finish": job.finish.what, "tbcache.delay_seconds": delay_seconds})
    if isinstance(error, _PUT_OFF):
        error = None
    running.__exit__(None if error is None else type(error), error, None)


def _facts(operation: Literal["send", "process"], queue: str) -> Facts:
    return {
        "messaging.system": SYSTEM,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": queue,
    }
