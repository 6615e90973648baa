"""What the log says of a job: each line within it names it, and one says how it ended."""

from __future__ import annotations

from typing import Any

from dramatiq.broker import Broker, MessageProxy
from dramatiq.middleware import Middleware

from tbcache.io import now
from tbcache.io.log import bind, get_logger, unbind
from tbcache.io.log_lock import bear_interrupts
from tbcache.io.trace import ids
from tbcache.queue.account import caller_in
from tbcache.queue.hand import HeldJob
from tbcache.queue.job import Finish

log = get_logger("tbcache.queue")

#: What finish.lua replies as the log has it.
_OUTCOMES = {"done": "done", "later": "put off", "back": "given back", "dead": "dead", "gone": "lost"}


class JobLog(Middleware):
    """Binds the id of the message, its caller and this worker to all that is logged within a job, and has an
    interrupt of the job leave no lock of the log taken.
    """

    def __init__(self, worker: str) -> None:
        self._worker = worker

    def before_worker_boot(self, broker: Broker, worker: Any) -> None:
        bear_interrupts()

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        caller = caller_in(message.options) or "-"
        names = {"message_id": message.message_id, "caller": caller, "worker": self._worker}
        bind(**names)
        if isinstance(message, HeldJob):
            message.began_at, message.names = now(), names | ids()

    def after_process_message(
        self,
        broker: Broker,
        message: MessageProxy,
        *,
        result: Any | None = None,
        exception: BaseException | None = None,
    ) -> None:
        unbind()

    def after_skip_message(self, broker: Broker, message: MessageProxy) -> None:
        unbind()


def say_end(job: HeldJob, finish: Finish, what: str, source: str) -> None:
    """Say how a job ended, whose actor was called; ``what`` was done of it, see finish.lua."""
    failure = finish.result.failure if finish.result is not None else None
    reason = finish.reason or (failure.message if failure is not None else "")
    facts: dict[str, Any] = {"reason": reason} if reason else {}
    if what == "later":
        facts["again_in"] = round(finish.delay_seconds, 3)
    outcome = "cancelled" if job.is_cancelled else _outcome(finish, what)
    facts |= {"source": source, "actor": job.actor_name, "outcome": outcome}
    facts |= {"seconds": round(job.ended_at - job.began_at, 3), **job.names}
    if job.is_fetch and what == "later" and not finish.is_try:
        # A limit has it wait for a moment, as often as need be: that is no end.
        log.debug("job.ended", **facts)
    else:
        log.info("job.ended", **facts)


def _outcome(finish: Finish, what: str) -> str:
    has_failed = what == "done" and finish.result is not None and finish.result.failure is not None
    return "failed" if has_failed else _OUTCOMES[what]
