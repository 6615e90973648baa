"""Fetchers as actors: what ``quote.enqueue("AAPL")`` has a worker do."""

from __future__ import annotations

from typing import Any

import dramatiq
from dramatiq.broker import Broker

from tbcache.fetch.function import AsyncFetcher, Fetcher, get_function_sources
from tbcache.models.error import RateLimited, UpstreamError
from tbcache.queue.slot import current_slot

#: So often a call that failed is tried again.
MOST_RETRIES = 3


def declare_fetchers(broker: Broker) -> None:
    """Declare an actor for each fetcher that the code of this process has, where ``broker`` has none yet."""
    for source in get_function_sources().values():
        for fetcher in source.fetchers.values():
            if fetcher.actor_name not in broker.get_declared_actors():
                _declare(broker, fetcher, source.source.cost)


def _declare(broker: Broker, fetcher: Fetcher[..., Any] | AsyncFetcher[..., Any], cost: int) -> None:
    # A job comes with as many slots as its source's requests cost. One that costs more takes its own.
    is_enough = fetcher.source.cost == cost

    def call(*args: Any, **kwargs: Any) -> None:
        try:
            fetcher.work(current_slot.get() if is_enough else None, *args, **kwargs)
        except RateLimited as error:
            # A limit is no failure: it is tried again when it is over, however often.
            raise dramatiq.Retry(str(error), delay=max(1, round(1000 * error.retry_after))) from None

    options: Any = {"retry_when": _may_pass} if "retry_when" in broker.actor_options else {}
    name = fetcher.source.name
    declared = dramatiq.actor(
        actor_name=fetcher.actor_name, queue_name=name, broker=broker, source=name, **options
    )
    declared(call)


def _may_pass(retries: int, error: BaseException) -> bool:
    if isinstance(error, dramatiq.Retry):
        return True
    return retries < MOST_RETRIES and (not isinstance(error, UpstreamError) or error.transient)
