"""Pacing on any broker of dramatiq's: a job runs with a slot, or waits for one."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from dramatiq.broker import Broker, MessageProxy
from dramatiq.errors import ActorNotFound
from dramatiq.middleware import Middleware, SkipMessage

from tbcache.admission.rate_limiter import RateLimiter, get_rate_limiter
from tbcache.io import run
from tbcache.io.description import described
from tbcache.io.log import get_logger
from tbcache.models.error import RateLimited
from tbcache.queue.hand import HeldJob
from tbcache.queue.refused import PacedJob, minding_refusals
from tbcache.queue.slot import current_slot
from tbcache.queue.work import SOON_SECONDS, declare_work
from tbcache.settings.declared import get_work

log = get_logger("tbcache.queue")

#: After so long a job is tried again that could not be paced.
RETRY_SECONDS = 5.0

#: The job of this thread, until its actor begins.
_beginning: ContextVar[PacedJob | None] = ContextVar("beginning", default=None)


def _begun() -> PacedJob | None:
    """The job of this thread, whose actor begins; None for the actors that this one calls."""
    job = _beginning.get()
    _beginning.set(None)
    return job


class RateLimitMiddleware(Middleware):
    """Sees to it that the jobs of actors with the option ``source`` run with a slot, whatever broker brought
    them.

    The pacing broker's jobs come with one, or need none. Under any other broker (RedisBroker,
    RabbitmqBroker, StubBroker) a job takes one here, or is put back for the time that it has to wait: no
    retry is spent and no result is stored. What cannot be paced is not run. A slot is held until the job is
    over, for the time of ``TBCACHE_LEASE_SECONDS`` at most.

    ``limiters`` are limiters of your own by the name of a source, which is that of a queue as well: each
    job of that queue is paced.
    """

    def __init__(self, limiters: Mapping[str, RateLimiter] | None = None) -> None:
        self._limiters = limiters or {}

    @property
    def actor_options(self) -> set[str]:
        return {"source"}

    def after_declare_actor(self, broker: Broker, actor: Any) -> None:
        actor.fn = minding_refusals(actor.fn, _begun)

    def before_worker_boot(self, broker: Broker, worker: Any) -> None:
        declare_work(broker)

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        if isinstance(message, HeldJob):
            return
        # It is of an earlier run where it is there.
        message.options.pop("slot", None)
        current_slot.set(None)
        _beginning.set(None)
        source = self._source_of(broker, message)
        if source is None:
            return
        try:
            limiter = self._limiter_of(source)
            message.options["slot"] = limiter.hold(max_wait=0.0, cost=limiter.source.cost)
            current_slot.set(message.options["slot"])
            actor = broker.get_actor(message.actor_name)
            if actor.actor_name not in get_work():
                put_off = functools.partial(self._put_off, broker)
                _beginning.set(PacedJob(message, actor, limiter.source, limiter.core.store, put_off))
        except RateLimited as error:
            self._put_back(broker, message, max(error.retry_after, SOON_SECONDS), str(error))
        except Exception as error:
            # Dramatiq would go on to the actor after any error but its own.
            log.warning("job.not_paced", source=source, reason=described(error))
            self._put_back(broker, message, RETRY_SECONDS, f"{source}: {described(error)}")

    def after_process_message(
        self,
        broker: Broker,
        message: MessageProxy,
        *,
        result: Any | None = None,
        exception: BaseException | None = None,
    ) -> None:
        self._end(broker, message, is_used=True)

    def after_skip_message(self, broker: Broker, message: MessageProxy) -> None:
        self._end(broker, message, is_used=False)

    def _end(self, broker: Broker, message: MessageProxy, *, is_used: bool) -> None:
        source = None if isinstance(message, HeldJob) else self._source_of(broker, message)
        slot = message.options.pop("slot", None) if source is not None else None
        if source is not None and slot is not None:
            limiter = self._limiter_of(source)
            end = limiter.core.end if is_used else limiter.core.give_back
            run(end(slot, limiter.source.cost))

    def _source_of(self, broker: Broker, message: MessageProxy) -> str | None:
        """The name of what paces the job; None for one that is not paced."""
        try:
            source = broker.get_actor(message.actor_name).options.get("source")
        except ActorNotFound:
            source = None
        return source or (message.queue_name if message.queue_name in self._limiters else None)

    def _limiter_of(self, source: str) -> RateLimiter:
        return self._limiters.get(source) or get_rate_limiter(source)

    def _put_off(self, broker: Broker, message: MessageProxy, seconds: float, why: str) -> None:
        self._end(broker, message, is_used=True)
        self._put_back(broker, message, seconds, why)

    def _put_back(self, broker: Broker, message: MessageProxy, seconds: float, why: str) -> None:
        """
        Raises:
          SkipMessage: always. Where it could not be put back, the message has failed: it is among the dead.
        """
        try:
            broker.enqueue(message._message.copy(), delay=round(1000 * seconds))
            # Results would store None for a skipped message: a false completion.
            message.options["store_results"] = False
        except Exception as error:
            message.fail()
            why = f"{why}; it could not be put back: {described(error)}"
        raise SkipMessage(why)
