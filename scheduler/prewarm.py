"""Pre-warming: what is listed, and what is asked for most, is fetched shortly before its answer expires."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta

from tbcache.admission import PlanDelay
from tbcache.fleet.cadence import Due, Freshness, due_of
from tbcache.fleet.market import Market
from tbcache.fleet.rest import tell_resting
from tbcache.fleet.warm_sets import WarmSets, listed_of
from tbcache.io import run
from tbcache.io.log import get_logger
from tbcache.models import FetchRequest
from tbcache.models.error import Paused
from tbcache.models.untrusted import MOST_US, whole_number
from tbcache.monitoring import UsageMonitor
from tbcache.queue import Queue
from tbcache.settings import Settings, Source, get_sources
from tbcache.settings.capacity import pace_of
from tbcache.store import Store, Unavailable
from tbcache.store.clear import read_logs
from tbcache.store.envelope import HEAD_BYTES, is_credible
from tbcache.store.state import read_states
from tbcache.store.wire import read_time, to_time

from .leader import LEASE_MS, TICK_SECONDS

log = get_logger("tbcache.scheduler")

#: What is due within so many seconds is in the queue already, put off until then. A leader that dies in the
#: midst of a tick has done its last one a tick ago; its lease ends, and another takes it with a tick of its
#: own. One more tick is for machines that are busy.
HORIZON_SECONDS = LEASE_MS / 1000 + 3 * TICK_SECONDS


class Prewarm:
    """Queues the fetches that are due, in the lane ``prewarm``, which leaves room for interactive asks."""

    def __init__(
        self,
        store: Store,
        queue: Queue,
        settings: Settings,
        monitor: UsageMonitor,
        market: Market | None = None,
    ) -> None:
        """``market`` has the hours by which what is listed is kept warm; None: at all hours."""
        self._store = store
        self._queue = queue
        self._settings = settings
        self._market = market
        self._warm = WarmSets(store, settings, monitor)
        self._delay = PlanDelay(store)
        #: How many symbols of each source rest, as of the last time that they were looked at.
        self._resting: dict[str, int] = {}
        self._sources = [source for source in get_sources(settings).values() if source.is_enabled]

    def run(self, token: int) -> int:
        """Queue every fetch that is due; return how many were new. It is 0 while Redis is away.

        Raises:
          Fenced: ``token`` is that of a leader that another has followed.
        """
        queued = 0
        self._resting.clear()
        for source in self._in_force():
            # An error with the keys of one source must not leave the others cold.
            try:
                dues = list(self._due(source))
                for due in dues:
                    handle = self._queue.enqueue(
                        due.request,
                        "prewarm",
                        needed=due.needed,
                        delay_seconds=due.delay,
                        token=token,
                        valid_seconds=self._valid_seconds(source, len(dues)),
                    )
                    queued += handle.is_new
            except (Unavailable, Paused) as error:
                log.warning("prewarm.waits", source=source.name, reason=error.reason)
        if queued:
            log.info("prewarm.queued", jobs=queued)
        if self._market is not None:
            # They are no old answers to be woken for.
            with contextlib.suppress(Unavailable):
                tell_resting(self._store, self._resting)
        return queued

    def due(self) -> Iterator[Due]:
        """Every fetch that is due within the horizon."""
        for source in self._in_force():
            yield from self._due(source)

    def _in_force(self) -> Iterator[Source]:
        """The sources by the limits of the whole fleet, without those that an operator has stopped."""
        try:
            states = read_states(self._store, [source.name for source in self._sources])
        except Unavailable as error:
            log.warning("prewarm.waits", reason=error.reason)
            return
        for source in self._sources:
            state = states[source.name]
            if state.order is None:
                yield replace(source, limits=state.limits or source.limits)

    def _due(self, source: Source) -> Iterator[Due]:
        settings = self._settings
        listed = listed_of(source, settings.common_symbols, settings.common_hours)
        warm = self._warm.of(source, listed)
        requests = self._able(source, warm.requests)
        if not requests or not self._warm.has_money(source):
            return
        pace = pace_of(source, settings.prewarm_share)
        now_us, looks = self._look(source, requests)
        if self._is_at_rest(source, now_us, len(listed) * pace):
            rest = max(0.0, settings.off_hours_ttl - source.cache_ttl)
            looks = [look._replace(rest=rest if look.request in warm.idle else 0.0) for look in looks]
            self._resting[source.name] = sum(look.is_resting(now_us) for look in looks)
        yield from due_of(source, looks, now_us, HORIZON_SECONDS, pace)

    def _valid_seconds(self, source: Source, count: int) -> float:
        """For how long a refresh may wait: twice a TTL, or the time in which all ``count`` that are due have
        their turn. It is queued again where it is still wanted.
        """
        return 2 * max(source.cache_ttl, count * pace_of(source, self._settings.prewarm_share))

    def _is_at_rest(self, source: Source, now_us: int, seconds: float) -> bool:
        """Whether the market is closed, and does not open within ``seconds``: all is fetched anew by then."""
        ahead = timedelta(seconds=seconds + HORIZON_SECONDS)
        return self._market is not None and not self._market.is_open(to_time(now_us), ahead)

    def _able(self, source: Source, requests: Sequence[FetchRequest]) -> list[FetchRequest]:
        """Those of which something may come: what lies in a plan's delay is shut or open as one."""
        late = [one for one in requests if one.hours <= source.delay_hours]
        is_shut = any(run(self._delay.why_shut(source, one)) for one in late[:1])
        return [one for one in requests if not is_shut or one.hours > source.delay_hours]

    def _look(self, source: Source, requests: Sequence[FetchRequest]) -> tuple[int, list[Freshness]]:
        """The server's time (us), and the state of each answer."""
        keys = self._store.keys
        heads = (("GETRANGE", keys.entry(one.key), 0, HEAD_BYTES - 1) for one in requests)
        leases = (("HMGET", keys.lease(one.key), "retry_at", "since") for one in requests)
        time, *found = self._store.execute(("TIME",), *heads, *leases)
        # The logs are read after the entries, so that a clear in between is not missed.
        (cleared,) = run(read_logs(self._store, [keys.clears(source.name)])).values()
        now_us, seen, many = read_time(time), list[Freshness](), len(requests)
        for request, head, lease in zip(requests, found[:many], found[many:], strict=True):
            # Under a key of another type there is no lease.
            retry_at, since = lease if isinstance(lease, list) else (None, None)
            is_old = cleared.hides(request.key, _stamp(since))
            fresh_until = cleared.fresh_until(request.key, head)
            if not is_credible(fresh_until, now_us, source.cache_ttl):
                fresh_until = 0
            seen.append(Freshness(request, fresh_until, 0 if is_old else _stamp(retry_at)))
        return now_us, seen


def _stamp(value: object) -> int:
    """The moment (us) in a field of a lease; 0 where there is none, or it is damaged."""
    return whole_number(value, most=MOST_US) or 0
