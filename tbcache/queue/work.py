"""Declared work as actors: what ``quote.enqueue("AAPL")`` has a worker do."""

from __future__ import annotations

from typing import Any

import dramatiq
from dramatiq.broker import Broker
from dramatiq.middleware import CurrentMessage

from tbcache.admission.rate_limiter import get_rate_limiter
from tbcache.fetch.function.value import NotCacheable
from tbcache.io import run
from tbcache.models.error import ConfigurationError, InvalidRequest, RateLimited, UpstreamError
from tbcache.queue.hand import HeldJob
from tbcache.queue.slot import current_slot
from tbcache.settings.declared import Work, get_work

#: After so long a job is tried again at the earliest that a limit was in the way of.
SOON_SECONDS = 0.25
#: So often a call that failed is tried again.
MOST_RETRIES = 3
#: What these say of a call is true of each try of it.
_FINAL = (NotCacheable, InvalidRequest, ConfigurationError)


def declare_work(broker: Broker) -> None:
    """Have ``broker`` know an actor for all work that the code of this process has declared."""
    for work in get_work().values():
        if work.name not in broker.get_declared_actors():
            _declare(broker, work)


def _declare(broker: Broker, work: Work) -> None:
    def call(*args: Any, **kwargs: Any) -> None:
        slot = current_slot.get()
        message = CurrentMessage.get_current_message()
        if slot and not work.uses_slot:
            # Jobs that hold a slot each, and ask for more, would wait for one another.
            limiter = get_rate_limiter(work.source)
            run(limiter.core.give_back(slot, limiter.source.cost))
            # A job of this broker was accepted before: a drain does not hold it up.
            slot = "" if isinstance(message, HeldJob) else None
        try:
            work.call(slot, *args, **kwargs)
        except RateLimited as error:
            # A limit is no failure: it is tried again when it is over, however often, and spends no retry.
            if message is not None:
                message.options["retries"] = message.options.get("retries", 0) - 1
            seconds = max(SOON_SECONDS, error.retry_after)
            raise dramatiq.Retry(str(error), delay=round(1000 * seconds)) from None

    options: Any = {"retry_when": _may_pass} if "retry_when" in broker.actor_options else {}
    declared = dramatiq.actor(
        actor_name=work.name, queue_name=work.source, broker=broker, source=work.source, **options
    )
    declared(call)


def _may_pass(retries: int, error: BaseException) -> bool:
    if isinstance(error, dramatiq.Retry):
        return True
    if isinstance(error, _FINAL):
        return False
    if isinstance(error, UpstreamError) and error.kind != UpstreamError.kind:
        return error.transient and retries < MOST_RETRIES
    # A plain one says that another call has just failed, and what that met may pass as well.
    return retries < MOST_RETRIES
