"""What the ends of jobs send: the next steps of pipelines, and what callbacks send."""

from __future__ import annotations

import contextlib
from typing import Any

import dramatiq
from dramatiq.middleware.threading import Interrupt

from tbcache.io import now, run, world
from tbcache.io.description import described
from tbcache.io.log import get_logger
from tbcache.queue.context import WorkerContext
from tbcache.queue.end import MOST_TRIES
from tbcache.queue.hand import HeldJob
from tbcache.queue.job import UNHEARD
from tbcache.queue.script import REVOKED, queue_keys
from tbcache.store import Refused, Unavailable

log = get_logger("tbcache.queue")

#: Redis is asked again after so long.
PAUSE_SECONDS = 0.1


class Following:
    """What the ends of jobs of the queue ``name`` send."""

    def __init__(self, context: WorkerContext, name: str) -> None:
        self._shared, self._store, self._threads = context, context.store, context.threads
        self._name, self._keys = name, queue_keys(context.store.keys, name)

    def send(self, job: HeldJob) -> None:
        """Queue what the job's end sends, once Redis is there: nobody else would try again. What Redis has
        not done in time it does not do later, so it is queued twice only where an answer was lost. Of a job
        that was given away meanwhile, whoever has it now queues that.

        Raises:
          Unavailable: Redis is away as the worker is stopped. The job is not said to be done, and is done
            once more.
        """
        tries, has_waited = 0, False
        while job.following:
            message, delay_ms = job.following[0]
            facts = {"source": self._name, "actor": job.actor_name, "to": message.actor_name}
            was_available = self._store.is_available
            try:
                if self._is_given_away(job):
                    log.warning("job.follow_dropped", **facts)
                    job.following.clear()
                    return
                if not tries or not self._is_there(message):
                    self._shared.resend(message, delay_ms)
            except Unavailable as error:
                # While Redis is known to be away, it is not asked; what it has surely not done is no try.
                tries += was_available and error.is_timeout
                if not isinstance(error, Refused) and tries < MOST_TRIES:
                    if not self._threads.is_open and now() >= self._shared.last_moment():
                        raise
                    if not has_waited:
                        has_waited = True
                        log.warning("job.follow_waits", **facts)
                    run(world().sleep(PAUSE_SECONDS))
                    continue
                log.error("job.follow_lost", **facts, reason=str(error))
            except Exception as error:
                log.error("job.follow_lost", **facts, reason=described(error))
            job.following.pop(0)
            tries = 0

    def is_given_away(self, job: HeldJob) -> bool:
        """Whether nobody is to hear of the end of a job whose actor is through, as another has the job, or
        has had it. Once its claim may have lapsed, Redis is asked, and waited for. Where a worker is stopped
        meanwhile, the job goes back to be done, and heard of, once more.
        """
        while now() >= job.holds_until():
            # What comes after the actor's end is late for a time limit.
            with contextlib.suppress(Interrupt):
                try:
                    return self._is_given_away(job)
                except Refused:
                    return False
                except Unavailable:
                    if not self._threads.is_open and now() >= self._shared.last_moment():
                        job.finish = UNHEARD
                        return True
                    run(world().sleep(PAUSE_SECONDS))
        return False

    def _is_given_away(self, job: HeldJob) -> bool:
        """Whether another has the job, or has had it, or an operator has cancelled it. Redis knows nothing of
        its claim then; where it had not lapsed, Redis has lost its data, and nobody else queues what follows.
        Once it may have lapsed, as Redis was away for long, another may have done the job: True, though Redis
        may have come back empty.
        """
        claims = self._keys.claims
        if self._store.call("ZSCORE", claims, job.claim) is not None:
            return False
        is_revoked = job.is_cancelled or self._store.call("ZSCORE", claims, job.claim + REVOKED) is not None
        return is_revoked or now() >= job.holds_until()

    def _is_there(self, message: dramatiq.Message[Any]) -> bool:
        """Whether a try whose answer came too late has queued the message."""
        keys = queue_keys(self._store.keys, message.queue_name)
        return bool(self._store.call("HEXISTS", keys.jobs, message.message_id))
