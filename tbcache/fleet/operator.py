"""What an operator does to the fleet: in force for all within a second, with a line in the audit.

What changes nothing has no line: a source that is resumed and goes on already, a filter that fits no job. A
pause, or a drain, that is said again has one: somebody counts on it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Literal

from tbcache.admission.rate_limiter import RateLimiter
from tbcache.cache import CacheManager
from tbcache.fleet.ask import enqueue_all
from tbcache.fleet.audit import AuditTrail, because
from tbcache.fleet.directory import Directory
from tbcache.fleet.hindrance import put_off_by
from tbcache.fleet.limit import LimitsInForce, check_limits
from tbcache.fleet.model import FleetStatus
from tbcache.fleet.order import OrderGiven, order_after
from tbcache.fleet.standing import Thing, standing_of
from tbcache.io import run
from tbcache.models import FetchRequest, Lane, Limit
from tbcache.models.caller import check_caller
from tbcache.models.error import InvalidRequest
from tbcache.models.untrusted import quoted
from tbcache.queue import DeadFilter as DeadFilter
from tbcache.queue import Handle, JobFilter, Queue, Requeued
from tbcache.queue.dead import chunks, silently
from tbcache.queue.script import Moved
from tbcache.queue.weight import check_weight, read_weight
from tbcache.settings import Settings, unconfigured
from tbcache.store import Store, Unavailable
from tbcache.store.order import RESUME, Order, What, bound_of, read_bound, read_order
from tbcache.store.retry import Retry
from tbcache.store.said import TAKEN_BACK, WHO, WHY, Ordered, Said
from tbcache.store.start import require
from tbcache.store.wire import read_limits, to_time

#: So many symbols are named in a line of the audit.
MOST_NAMES = 10
#: So many jobs are cancelled in one call, for which Redis takes about 3 ms.
CANCELLED = 100
#: In the audit: what was said stood already.
AGAIN = "said again"


class Operator:
    """One operator: ``who`` is what the audit has of each thing that is done by this.

    All of it stands in Redis, and raises RedisUnreachable while that is away; a name that is no source's, nor
    a queue's where one is meant, raises UnknownSource. What can be no name, weight or limits, or jobs that
    are not to be meant so, raise InvalidRequest, and fetches for a drained queue Paused: none is queued then.
    """

    def __init__(
        self,
        who: str,
        settings: Settings,
        store: Store,
        directory: Directory,
        queue: Queue,
        cache: Callable[[], CacheManager],
        look: Callable[[], FleetStatus],
    ) -> None:
        if not 1 <= len(who) <= WHO or not who.isprintable() or " " in who:
            raise InvalidRequest(f"{quoted(who)} is no name: 1 to {WHO} printable characters without spaces")
        self.who = who
        self._settings, self._store, self._directory, self._cache = settings, store, directory, cache
        self._queue, self._look = queue, look
        self._trail = AuditTrail(store, who)
        self._standing = standing_of(store)

    # A source or a queue

    def pause(self, name: str, why: str = "") -> OrderGiven:
        """Send nothing to a source and hand out none of its jobs, or none of a queue, until :meth:`resume`.

        What is in the cache is given out as before; who asks for more gets :class:`Paused`. A request that is
        under way is not broken off. Of one that is paused already nothing is changed: who said so first
        stays, and why, and since when.
        """
        return self._stop(name, "pause", why)

    def drain(self, name: str, why: str = "") -> OrderGiven:
        """Accept nothing new for a source or a queue until :meth:`resume`: what is queued is done. As of
        :meth:`pause`, nothing is changed of one that is drained already, nor of one that is paused: it would
        go on with what waits.
        """
        return self._stop(name, "drain", why)

    def resume(self, name: str) -> OrderGiven:
        """Have a source or a queue go on that was paused or drained."""
        before = self._order(name, RESUME, "")
        if before is None:
            return OrderGiven(name, None, None)
        # Whoever said so later was told that it stood already, and counts on it all the same.
        others = tuple(line for line in self._trail.stops(name) if line.who != before.who)
        self._trail.write("queue.resume", name)
        return OrderGiven(name, None, before, others=others)

    # Callers

    def set_weight(self, caller: str, weight: float, why: str = "") -> float | None:
        """Have a caller get that part of each queue, beside 1 for the others, for the jobs that are queued
        from now on. It goes before what the settings of the programs say. Returns the weight that was set
        until then, if any.
        """
        value = f"{check_weight(weight):g}"
        before = self._weigh(caller, value, why)
        self._trail.write("caller.weight", caller, value, why)
        return before

    def unset_weight(self, caller: str) -> float | None:
        """Take back the weight of a caller; the one that was set, if any."""
        before = self._weigh(caller, TAKEN_BACK)
        if before is not None:
            self._trail.write("caller.unweight", caller)
        return before

    # Those that are meant

    def now(self, name: str) -> datetime:
        """The present moment (UTC), by the clock of the server: the ``until`` of a filter about whose count
        somebody is asked.
        """
        return to_time(run(self._store.clock.now_us(self._directory.queue_name(name))))

    # One job

    def job_state(self, name: str, job_id: str) -> str:
        """How a job stands: what is asked before :meth:`cancel`; "gone" where it is over or dead."""
        found = self._queue.explain(self._directory.queue_name(name), job_id).state
        return "gone" if found in ("over", "dead") else found

    def cancel(self, name: str, job_id: str, why: str = "") -> Moved:
        """Take a job out of its queue for good: "done", or "stopping" where a worker has it in hand, which is
        told to stop it within a second, or "gone" where there is none. Who waits for it is told.
        """
        state = self._queue.cancel(self._directory.queue_name(name), job_id, self._cancelled(why))
        return self._moved(state, "job.cancel", name, job_id, why)

    def count_jobs(self, name: str, where: JobFilter = JobFilter()) -> int:
        """Of how many jobs :meth:`cancel_jobs` would be."""
        return len(self._waiting(name, where))

    def cancel_jobs(
        self,
        name: str,
        where: JobFilter = JobFilter(),
        why: str = "",
        tell: Callable[[int], object] = silently,
    ) -> int:
        """Take the jobs of a queue that are meant out of it for good, but for those that a worker has in
        hand; how many. Who waits for one is told. ``tell`` is told now and then how many more it was of.

        Raises:
          InvalidRequest: those that run are meant, of which each is cancelled by its id.
        """
        words = self._cancelled(why)
        ids, queue, done = self._waiting(name, where), self._directory.queue_name(name), 0
        retry = Retry()

        def cancel(some: Sequence[str], may_be_done: bool) -> int:
            # One that a worker has taken since then goes on.
            states = self._queue.cancel_waiting(queue, some, words)
            return states.count("done") + (states.count("gone") if may_be_done else 0)

        with self._trail.in_parts("job.cancel", name, str(where), tell, why) as count:
            for some in chunks(ids, CANCELLED):
                more = retry.write(functools.partial(cancel, some))
                done += more
                count(more)
        return done

    def _cancelled(self, why: str) -> str:
        return because(f"cancelled by {self.who}", _reason(why))

    def _waiting(self, name: str, where: JobFilter) -> list[str]:
        if where.state == "running":
            raise InvalidRequest(
                "a job that runs is cancelled by its id: leave the state out, or say another"
            )
        return self._queue.waiting(self._directory.queue_name(name), where)

    def promote(self, name: str, job_id: str) -> Moved | Literal["delayed"]:
        """Put a job that waits, also one that is put off, in front of its lane: "done", or "running" where it
        waits no more, or for one that runs, or "gone" where there is none. Nothing is done of one that would
        be put off again at once: "delayed", and :meth:`why_put_off` says why.
        """
        queue = self._directory.queue_name(name)
        if self._queue.explain(queue, job_id).state == "delayed" and self.why_put_off(queue):
            return "delayed"
        return self._moved(self._queue.promote(queue, job_id), "job.promote", name, job_id)

    def why_put_off(self, name: str) -> str:
        """Why a job of ``name`` would be put off again at once; see :func:`put_off_by`."""
        return put_off_by(self._look(), name)

    # Dead letters

    def count_dead(self, name: str, where: DeadFilter = DeadFilter()) -> int:
        """Of how many dead letters one of the next two would be."""
        return self._queue.dead.count(self._directory.queue_name(name), where)

    def requeue_dead(
        self, name: str, where: DeadFilter = DeadFilter(), tell: Callable[[int], object] = silently
    ) -> Requeued:
        """Queue dead letters again; ``tell`` is told now and then how many more it was of."""
        name = self._directory.queue_name(name)
        with self._trail.in_parts("dead.requeue", name, str(where), tell) as count:
            return self._queue.dead.requeue(name, where, count)

    def purge_dead(
        self, name: str, where: DeadFilter = DeadFilter(), tell: Callable[[int], object] = silently
    ) -> int:
        """Forget dead letters; how many. ``tell`` is told now and then how many more it was of."""
        name = self._directory.queue_name(name)
        with self._trail.in_parts("dead.purge", name, str(where), tell) as count:
            return self._queue.dead.purge(name, where, count)

    # Limits

    def set_limits(self, source: str, limits: Sequence[Limit], why: str = "") -> LimitsInForce:
        """Have these limits hold beside those that the processes were started with: the strictest of each
        window is in force at once. So they lower a limit, and never raise one.
        """
        self._directory.source_name(source)
        check_limits(source, limits, self._settings)
        found = self._bind(source, limits, why)
        if not found.is_unchanged:
            self._trail.write("limits.set", source, ",".join(map(str, limits)), why)
        return found

    def unset_limits(self, source: str) -> LimitsInForce:
        """Take back what :meth:`set_limits` has set."""
        self._directory.source_name(source)
        found = self._bind(source, ())
        if found.bound_before is not None:
            self._trail.write("limits.unset", source)
        return found

    def reopen(self, source: str) -> bool:
        """Lift the closure of a source; True where it was closed. What is counted stays counted."""
        was_closed = self._limiter(source).reopen()
        if was_closed:
            self._trail.write("limits.reopen", source)
        return was_closed

    def reset(self, source: str) -> None:
        """Forget every slot of a source, and its closure; the upstream does not forget what it has seen."""
        self._limiter(source).reset()
        self._trail.write("limits.reset", source)

    # The cache

    def warm(self, requests: Sequence[FetchRequest], lane: Lane = "prewarm") -> list[Handle]:
        """Have workers fetch answers into the cache, each with when it will start."""
        handles = enqueue_all(self._store, self._queue, requests, lane)
        queued = [one.request for one in handles if one.state == "queued"]
        sources, symbols = sorted({one.source for one in queued}), sorted({one.symbol for one in queued})
        self._trail.write_counted("cache.warm", ",".join(sources), _few(symbols), len(queued))
        return handles

    def clear(self, pattern: str) -> int:
        """Remove every cached value whose key matches a glob, like ``twitter:*``; how many."""
        require(self._store)
        count = self._cache().clear_pattern(pattern)
        if not self._store.is_available:
            raise Unavailable(self._store.address, "it went away")
        self._trail.write_counted("cache.clear", pattern, "", count)
        return count

    def _moved(self, state: Moved, what: str, name: str, job_id: str, why: str = "") -> Moved:
        if state in ("done", "stopping"):
            self._trail.write(what, name, job_id, why)
        return state

    def _stop(self, name: str, what: What, why: str) -> OrderGiven:
        before = self._order(name, what, why)
        stands = order_after(before, what)
        if stands == what:
            is_again = before is not None and before.what == what
            self._trail.write(f"queue.{what}", name, AGAIN if is_again else "", why)
        return OrderGiven(name, stands, before, is_done=stands == what)

    def _order(self, name: str, what: str, why: str) -> Order | None:
        """Give an order; the one of before."""
        self._directory.queue_name(name)
        return read_order(self._say(Thing("order", name), what, why).before)

    def _weigh(self, caller: str, value: str, why: str = "") -> float | None:
        """Say the weight of a caller; the one that was set until now, if any."""
        before = read_weight(self._say(Thing("weight", check_caller(caller)), value, why).before)
        return None if before is None or before.value == TAKEN_BACK else float(before.value)

    def _bind(self, source: str, limits: Iterable[Limit], why: str = "") -> LimitsInForce:
        """Set the limits of a source; none take back what was set."""
        limits = tuple(limits)
        found = self._say(Thing("bound", source), bound_of(limits), why)
        in_force, before = read_limits(found.limits), read_limits(found.limits_before)
        is_lowered = not set(limits).isdisjoint(in_force)
        stood = read_bound(found.before)
        is_unchanged = stood is not None and stood.limits == tuple(map(str, limits))
        return LimitsInForce(source, in_force, is_lowered, before, stood, is_unchanged)

    def _say(self, thing: Thing, value: str, why: str = "") -> Ordered:
        return self._standing.say(thing, Said(value, 0, self.who, _reason(why)))

    def _limiter(self, source: str) -> RateLimiter:
        return RateLimiter(unconfigured(self._directory.source_name(source)), self._store)


def _reason(why: str) -> str:
    if len(why) > WHY or not why.isprintable():
        raise InvalidRequest(f"a reason has at most {WHY} printable characters")
    return why


def _few(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMES
    return ",".join(names[:MOST_NAMES]) + (f" and {more:,} more" if more > 0 else "")
