"""What becomes of a fetch, as its outcome says."""

from __future__ import annotations

from typing import Any

from dramatiq.broker import Broker, MessageProxy
from dramatiq.middleware import Middleware, SkipMessage

from tbcache.io import now, utc_now
from tbcache.io.description import described
from tbcache.models import Outcome
from tbcache.models.caller import current_caller
from tbcache.models.error import InvalidRequest, RateLimited, UpstreamError
from tbcache.models.job import comes_again
from tbcache.queue.account import caller_in
from tbcache.queue.hand import HeldJob
from tbcache.queue.job import UNBEGUN, UNHEARD, Finish, Result
from tbcache.queue.rate_limit import RETRY_SECONDS
from tbcache.queue.slot import current_slot
from tbcache.queue.work import SOON_SECONDS

#: After so long a job that was to load anew looks whether it may.
NOT_LOADED_SECONDS, NOT_LOADED = 2.0, "it is to be loaded anew, and another load was under way"


class JobMiddleware(Middleware):
    """Decides what becomes of a fetch of the pacing broker, whose consumer carries it out. What becomes of
    the job of any other actor is for dramatiq's own middleware to say.
    """

    @property
    def actor_options(self) -> set[str]:
        return {"throws", "source"}

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        if not isinstance(message, HeldJob):
            return
        if now() >= message.holds_until():
            # This process stood still: others have the job by now, or are done with it.
            message.finish = UNBEGUN
            message.options["store_results"] = False
            raise SkipMessage("it was in hand for longer than its claim held")
        if not message.take_up():
            message.finish = UNBEGUN
            message.options["store_results"] = False
            raise SkipMessage("it was given back, as an operator has paused its queue")
        if message.is_cancelled:
            raise SkipMessage("an operator has cancelled it")
        if (until := _valid_until(message)) and broker.store.clock.today.timestamp() > until:  # type: ignore[attr-defined]
            # Nobody waits for it, and whoever queued it queues it again where it is still wanted.
            message.finish = Finish("done", is_begun=False)
            message.options["store_results"] = False
            raise SkipMessage("it is a pre-warm whose time is past")
        message.is_begun = True
        current_slot.set(message.slot or "")
        # What it asks and queues itself is in the same name.
        current_caller.set(caller_in(message.options))

    def after_skip_message(self, broker: Broker, message: MessageProxy) -> None:
        if isinstance(message, HeldJob):
            # Its actor may have had it skipped.
            message.is_begun = message.thread is not None

    def after_process_message(
        self,
        broker: Broker,
        message: MessageProxy,
        *,
        result: Any | None = None,
        exception: BaseException | None = None,
    ) -> None:
        if isinstance(message, HeldJob) and message.is_fetch and message.finish is not UNHEARD:
            is_awaited = message.kwargs.get("lane") != "prewarm"
            is_old = isinstance(result, Outcome) and result.origin != "live"
            if is_old and message.kwargs.get("after"):
                message.finish = _not_loaded(result)
            else:
                message.finish = finish_of(result, exception, is_awaited)


def _valid_until(message: HeldJob) -> float:
    """After which moment (s since 1970) a pre-warm is not to be run; 0: it always is, as whatever is none."""
    until = message.options.get("valid_until")
    if not isinstance(until, int | float) or not message.is_fetch or message.kwargs.get("lane") != "prewarm":
        return 0.0
    return until


def finish_of(outcome: Outcome | None, error: BaseException | None, is_awaited: bool = True) -> Finish:
    """What becomes of a job.

    A limit puts it off without spending a try. What may pass is tried again while somebody
    waits for it; a pre-warm comes again by itself. The rest is over.
    """
    result = Result.of(outcome, error)
    if error is None:
        return Finish("done", result)
    reason = described(error)
    if isinstance(error, InvalidRequest):
        # Nothing was sent for it: its slot goes to the next job, and is not held until its lease is over.
        return Finish("dead", result, is_begun=False, reason=reason)
    if isinstance(error, RateLimited):
        return Finish("later", delay_seconds=max(error.retry_after, SOON_SECONDS), reason=error.reason)
    if isinstance(error, UpstreamError) and not comes_again(error, is_awaited=is_awaited):
        return Finish("done", result)
    delay = error.retry_at.timestamp() if isinstance(error, UpstreamError) and error.retry_at else None
    seconds = RETRY_SECONDS if delay is None else _from_now(delay)
    return Finish("later", result, delay_seconds=seconds, is_try=True, reason=reason)


def _not_loaded(outcome: Any) -> Finish:
    """What becomes of a job that was to load anew, and got what was loaded before: another loads it, or the
    source is closed."""
    if outcome.error is None:
        return Finish("later", delay_seconds=NOT_LOADED_SECONDS, reason=NOT_LOADED)
    reason = f"it was not loaded anew: {outcome.error.message}"
    return Finish("later", Result(failure=outcome.error), RETRY_SECONDS, is_try=True, reason=reason)


def _from_now(moment: float) -> float:
    return max(SOON_SECONDS, moment - utc_now().timestamp())
