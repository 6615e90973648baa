"""Fetches in the background the hours that answers lack, one symbol of a source at a time."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from tbcache.fleet.warm_set import request_of
from tbcache.io import now, run
from tbcache.io.log import get_logger
from tbcache.models import FetchRequest
from tbcache.models.error import Paused
from tbcache.monitoring import UsageMonitor
from tbcache.queue import Queue
from tbcache.rate_limiter import get_rate_limiter
from tbcache.settings import Settings, Source, get_sources
from tbcache.store import Store, Unavailable
from tbcache.store.clear import read_logs
from tbcache.store.codec import DecodeError, decode_sentiment
from tbcache.store.envelope import value_of

from .missing import RETRY_SECONDS, Candidate, has_room, may_spend, next_of

log = get_logger("tbcache.scheduler")

#: So many of the answers that are asked for most are candidates, beside the common symbols.
MOST_ASKED = 50


class Deepening:
    """Queues loads of older hours while limit and budget have room, and no other job of the source waits."""

    def __init__(self, store: Store, queue: Queue, settings: Settings, monitor: UsageMonitor) -> None:
        self._store = store
        self._queue = queue
        self._settings = settings
        self._monitor = monitor
        #: For each source and key, when a load of it was queued last (monotonic).
        self._checked: dict[str, dict[str, float]] = {}
        self._sources = [source for source in get_sources(settings).values() if source.is_enabled]

    def run(self, token: int) -> int:
        """Queue at most one load for each source; return how many. It is 0 while Redis is away.

        Raises:
          Fenced: ``token`` is that of a leader that another has followed.
        """
        queued = 0
        for source in self._sources:
            try:
                queued += self._fill(source, token)
            except (Unavailable, Paused) as error:
                log.warning("deepening.waits", source=source.name, reason=error.reason)
        return queued

    def next(self, source: Source) -> Candidate | None:
        """The answer to load next; None where no answer needs a load, or no load may be made now."""
        spent = self._monitor.get_source_metrics(source.name).cost_today if source.price.per_page else 0.0
        if source.delay_hours or not may_spend(source, spent):
            return None
        candidates = list(self._candidates(source))
        hopeful = self._hopeful(source, candidates)
        found = next_of(hopeful, self._settings.common_hours) or self._unchecked(source, candidates)
        if found is None or self._queue.depth(source.name).waiting:
            return None
        status = get_rate_limiter(source.name).get_status()
        is_free = not status.is_limited and has_room(status, self._settings.prewarm_share)
        return found if is_free else None

    def _fill(self, source: Source, token: int) -> int:
        found = self.next(source)
        if found is None:
            return 0
        # No answer stays fresh for longer than its TTL. So the job loads, even where there is a fresh answer.
        request, needed = replace(found.request, is_deep=True), source.cache_ttl + 1.0
        handle = self._queue.enqueue(request, "prewarm", needed=needed, token=token)
        # Such a load asks for the known items again too, once no hours are missing.
        self._checked.setdefault(source.name, {})[request.key] = now()
        return int(handle.is_new)

    def _hopeful(self, source: Source, candidates: Sequence[Candidate]) -> Iterator[Candidate]:
        """Those of ``candidates`` that a load may complete, by what is known of the last one."""
        queued, since = self._checked.get(source.name, {}), now() - RETRY_SECONDS
        for one in candidates:
            if not one.is_doubtful or queued.get(one.request.key, -math.inf) <= since:
                yield one

    def _unchecked(self, source: Source, candidates: Sequence[Candidate]) -> Candidate | None:
        """The answer whose items were not asked for again for the longest time; None where none is due.

        The time of an answer that is new to this process begins now.
        """
        before, due = self._checked.get(source.name, {}), now() - source.recheck_seconds
        last = {one.request.key: before.get(one.request.key, now()) for one in candidates}
        self._checked[source.name] = last
        able = (one for one in candidates if source.recheck_seconds and last[one.request.key] <= due)
        return min(able, key=lambda one: last[one.request.key], default=None)

    def _candidates(self, source: Source) -> Iterator[Candidate]:
        asks = dict(self._monitor.popularity.most(source.name, MOST_ASKED))
        requests = self._requests(source, asks)
        entries = [self._store.keys.entry(request.key) for request in requests]
        found = self._store.execute(*(("GET", entry) for entry in entries))
        (cleared,) = run(read_logs(self._store, [self._store.keys.clears(source.name)])).values()
        for request, entry in zip(requests, found, strict=True):
            if cleared.fresh_until(request.key, entry):
                with contextlib.suppress(DecodeError):
                    yield Candidate(request, decode_sentiment(value_of(entry)), asks.get(request.key, 0))

    def _requests(self, source: Source, asks: dict[str, int]) -> list[FetchRequest]:
        """The common symbols, and what callers have asked for."""
        hours = min(self._settings.common_hours, source.max_hours)
        common = [FetchRequest(source.name, symbol, hours) for symbol in self._settings.common_symbols]
        asked = (request_of(source, key) for key in asks)
        return list(dict.fromkeys([*common, *(request for request in asked if request is not None)]))
