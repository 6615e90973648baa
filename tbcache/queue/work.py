"""Declared work as actors: what ``quote.enqueue("AAPL")`` has a worker do."""

from __future__ import annotations

from typing import Any

import dramatiq
from dramatiq.broker import Broker

from tbcache.models.error import RateLimited, UpstreamError
from tbcache.queue.slot import current_slot
from tbcache.settings.declared import Work, get_work

#: So often a call that failed is tried again.
MOST_RETRIES = 3


def declare_work(broker: Broker) -> None:
    """Have ``broker`` know an actor for all work that the code of this process has declared."""
    for work in get_work().values():
        if work.name not in broker.get_declared_actors():
            _declare(broker, work)


def _declare(broker: Broker, work: Work) -> None:
    def call(*args: Any, **kwargs: Any) -> None:
        try:
            work.call(current_slot.get() if work.uses_slot else None, *args, **kwargs)
        except RateLimited as error:
            # A limit is no failure: it is tried again when it is over, however often.
            raise dramatiq.Retry(str(error), delay=max(1, round(1000 * error.retry_after))) from None

    options: Any = {"retry_when": _may_pass} if "retry_when" in broker.actor_options else {}
    declared = dramatiq.actor(
        actor_name=work.name, queue_name=work.source, broker=broker, source=work.source, **options
    )
    declared(call)


def _may_pass(retries: int, error: BaseException) -> bool:
    if isinstance(error, dramatiq.Retry):
        return True
    return retries < MOST_RETRIES and (not isinstance(error, UpstreamError) or error.transient)
