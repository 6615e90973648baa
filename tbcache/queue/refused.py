"""What becomes of the job of a paced actor whose upstream has refused its request."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any, NamedTuple, ParamSpec, TypeVar

import dramatiq
from dramatiq.broker import MessageProxy

from tbcache.admission import Admission, Ask, Grant, Settlement, bounded
from tbcache.fetch.function.job import CallRequest
from tbcache.fetch.function.refusal import refusal, refused_by
from tbcache.fetch.reader import closing
from tbcache.io import run, uniform, utc_now
from tbcache.io.log import get_logger
from tbcache.models import Failure
from tbcache.models.error import AnswerPending, Paused, RateLimited, UpstreamError
from tbcache.monitoring import monitor_of
from tbcache.queue.work import MOST_RETRIES, SOON_SECONDS
from tbcache.settings import Source
from tbcache.store import Store, Unavailable

P = ParamSpec("P")
R = TypeVar("R")

log = get_logger("tbcache.queue")

#: The options of a message that say how often its upstream has refused it, and how often it has met a limit.
REFUSALS, LIMITED = "refusals", "limited"
#: A job that has met a limit comes again so long (seconds) after its moment, and after twice as long each
#: further time, up to the most: of a limit, and of what stops it until nobody knows when, as a pause.
LIMITED_SECONDS, MOST_LIMITED_SECONDS, MOST_STOPPED_SECONDS = 0.5, 5.0, 30.0


class Closing:
    """Closes the sources whose upstreams refuse what jobs ask of them; one for each store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._admission = Admission(store, store.settings, monitor_of(store))
        #: The sources that were closed so, and of which no job has gone well since.
        self._refusing: set[str] = set()

    def close(self, source: Source, actor: str, error: UpstreamError) -> None:
        """Close ``source`` for all processes: now, or, where Redis is away, once it is back. The slot of the
        job stays held: it is ended with the job."""
        self._refusing.add(source.name)
        nothing = Ask(source, CallRequest(source.name, f"{source.name}:{actor}"), slot="")
        failure = bounded(source, Failure.of(error))
        closed = Settlement(failure=failure, closed_by=closing(error), is_interrupted=True)
        run(self._admission.settle(Grant(nothing, "", "", 0.0, 0.0, 0.0), closed))
        log.warning("job.refused", source=source.name, actor=actor, kind=failure.kind, reason=failure.message)

    def open(self, source: Source) -> None:
        """A job of ``source`` has gone well: the next refusal is no further one in a row."""
        if source.name in self._refusing:
            self._refusing.discard(source.name)
            with contextlib.suppress(Unavailable):
                self._store.call("HDEL", self._store.keys.state(source.name), "strikes", "failing")


class PacedJob(NamedTuple):
    """A job that ``source`` paces, of this actor. ``put_off`` queues it again, after so many seconds and for
    that reason, and raises SkipMessage; it returns where what becomes of the job is decided by then."""

    message: MessageProxy
    actor: dramatiq.Actor[Any, Any]
    source: Source
    store: Store
    put_off: Callable[[MessageProxy, float, str], object]

    def done(self, result: object) -> None:
        """Its actor has returned ``result``, which may be the response that refuses it: then it has failed.

        Raises:
          SkipMessage: as :meth:`failed`. UpstreamError: it is not put off any more.
        """
        refused = refused_by(self.source.name, result)
        if refused is None:
            self.store.beside(Closing).open(self.source)
        elif closing(refused) is not None:
            self.failed(refused)
            raise refused

    def failed(self, error: Exception) -> None:
        """Its actor has raised ``error``. A limit puts it off until there is a slot, and a refusal that
        closes the source until that is open: neither is a try. A refusal is one from the fourth on.

        Raises:
          SkipMessage: it is put off.
        """
        if isinstance(error, RateLimited):
            is_stopped = isinstance(error, Paused | AnswerPending)
            most = MOST_STOPPED_SECONDS if is_stopped else MOST_LIMITED_SECONDS
            later = min(most, LIMITED_SECONDS * 2 ** min(self._count_up(LIMITED), 20))
            # Each time takes a slot, and all that met it at one moment would meet again.
            self._put_off(error, error.retry_after + uniform(later / 2, later), str(error.reason))
            return
        refused = refusal(self.source.name, self.message.actor_name, error)
        if closing(refused) is None:
            return
        self.store.beside(Closing).close(self.source, self.message.actor_name, refused)
        if self._count_up(REFUSALS) < MOST_RETRIES:
            until = bounded(self.source, Failure.of(refused)).retry_at
            seconds = 0.0 if until is None else (until - utc_now()).total_seconds()
            self._put_off(error, seconds, refused.message)

    def _count_up(self, option: str) -> int:
        """Count once more; how often it was counted before."""
        found = self.message.options.get(option)
        count = found if isinstance(found, int) and found >= 0 else 0
        self.message.options[option] = count + 1
        return count

    def _put_off(self, error: Exception, seconds: float, reason: str) -> None:
        """Put it off, unless its actor has said what becomes of it."""
        throws = self.message.options.get("throws") or self.actor.options.get("throws") or ()
        if not isinstance(error, dramatiq.Retry) and not isinstance(error, throws):
            self.put_off(self.message, max(SOON_SECONDS, seconds), reason)


def minding_refusals(actor: Callable[P, R], current: Callable[[], PacedJob | None]) -> Callable[P, R]:
    """The function of an actor, which has the job of this thread put off where its upstream refuses it.
    ``current`` is that job as its actor begins; None within it, and where nothing paces it."""

    @functools.wraps(actor)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        job = current()
        if job is None:
            return actor(*args, **kwargs)
        try:
            result = actor(*args, **kwargs)
        except Exception as error:
            job.failed(error)
            raise
        job.done(result)
        return result

    return call
