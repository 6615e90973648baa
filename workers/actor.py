"""The actors: each fetches from one source, under the slot its job came with."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import dramatiq
from dramatiq.middleware import CurrentMessage

from tbcache.models import Lane, Outcome
from tbcache.models.error import InvalidRequest, RateLimited, UpstreamError
from tbcache.providers import get_provider
from tbcache.queue import HeartbeatMiddleware, PacingBroker, RateLimitMiddleware, actor_name
from tbcache.rate_limiter import get_rate_limiter
from tbcache.settings import LONGEST_SECONDS, get_settings, get_sources
from tbcache.store import get_store

from .chore import ChoreMiddleware


def build_broker() -> PacingBroker:
    """The broker of this process's settings. Opens no connection."""
    logging.getLogger("dramatiq.worker.WorkerThread").addFilter(_is_news)
    settings = get_settings()
    sources = [source for source in get_sources(settings).values() if source.is_enabled]
    broker = PacingBroker(get_store(), settings, sources)
    broker.add_middleware(
        RateLimitMiddleware({source.name: get_rate_limiter(source.name) for source in sources})
    )
    broker.add_middleware(HeartbeatMiddleware(broker))
    broker.add_middleware(ChoreMiddleware())
    return broker


def declare_actors(broker: PacingBroker) -> dict[str, dramatiq.Actor[..., Outcome]]:
    """One actor for each source that is on."""
    return {name: _declare(broker, name) for name in broker.sources}


def _declare(broker: dramatiq.Broker, source: str) -> dramatiq.Actor[..., Outcome]:
    def fetch(
        symbol: str,
        hours: int = 24,
        lane: Lane = "interactive",
        needed: float = 0.0,
        others: Sequence[str] = (),
        deep: bool = False,
        after: float = 0.0,
    ) -> Outcome:
        message: Any = CurrentMessage.get_current_message()
        slot = message.options.get("slot") if message is not None else None
        provider = get_provider(source)
        request = replace(provider.source.request(symbol, hours), others=tuple(others), is_deep=deep)
        # The job begins after that moment: so does a load of its own.
        needed = LONGEST_SECONDS if after else needed
        # A worker waits for nothing: whoever must wait goes back to the queue.
        return provider.run(request, lane=lane, patience=0.0, needed=needed, slot=slot)

    return dramatiq.actor(
        actor_name=actor_name(source),
        queue_name=source,
        broker=broker,
        # Told in one line, without a traceback: they are answers, not bugs.
        throws=(InvalidRequest, RateLimited, UpstreamError),
    )(fetch)


def _is_news(record: logging.LogRecord) -> bool:
    # The consumer hands outcomes to those who wait. Dramatiq knows only its own way to do
    # so, and would say at each job that the outcome was discarded.
    return "Results middleware" not in str(record.msg)
