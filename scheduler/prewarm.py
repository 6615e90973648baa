"""Pre-warming: the common symbols of each source are fetched shortly before their answers expire."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tbcache.admission import PlanDelay
from tbcache.io import run
from tbcache.io.log import get_logger
from tbcache.models import FetchRequest
from tbcache.models.untrusted import MOST_US, whole_number
from tbcache.queue import Queue
from tbcache.settings import Settings, Source, get_sources
from tbcache.store import Store, Unavailable
from tbcache.store.clear import read_logs
from tbcache.store.envelope import HEAD_BYTES
from tbcache.store.wire import MICROS

from .due import Due, Look, due_of

log = get_logger("tbcache.scheduler")


class Prewarm:
    """Queues the fetches that are due, in the lane ``prewarm``, which leaves room for interactive asks."""

    def __init__(self, store: Store, queue: Queue, settings: Settings) -> None:
        self._store = store
        self._queue = queue
        self._settings = settings
        self._delay = PlanDelay(store)
        self._sources = [source for source in get_sources(settings).values() if source.is_enabled]

    def run(self) -> int:
        """Queue every fetch that is due; return how many were new. It is 0 while Redis is away."""
        queued = 0
        for source in self._sources:
            # An error with the keys of one source must not leave the others cold.
            try:
                for due in self._due(source):
                    handle = self._queue.enqueue(due.request, "prewarm", needed=due.needed)
                    queued += handle.is_new
            except Unavailable as error:
                log.warning("prewarm.waits", source=source.name, reason=error.reason)
        if queued:
            log.info("prewarm.queued", jobs=queued)
        return queued

    def due(self) -> Iterator[Due]:
        """Every common symbol whose answer is missing, or will be within the next ticks.

        Raises:
          Unavailable: Redis is away.
        """
        for source in self._sources:
            yield from self._due(source)

    def _due(self, source: Source) -> Iterator[Due]:
        requests = [
            FetchRequest(source.name, symbol, min(self._settings.common_hours, source.max_hours))
            for symbol in self._settings.common_symbols
        ]
        # One request stands for all: the plan's delay depends on the hours, which are the same.
        if any(run(self._delay.is_shut(source, request)) for request in requests[:1]):
            return
        now, looks = self._look(source, requests)
        yield from due_of(source, looks, now)

    def _look(self, source: Source, requests: list[FetchRequest]) -> tuple[int, list[Look]]:
        """The server's time (us), and the state of each answer."""
        keys = self._store.keys
        with self._store.guard():
            pipe: Any = self._store.client.pipeline(transaction=False)
            pipe.time()
            for request in requests:
                pipe.getrange(keys.entry(request.key), 0, HEAD_BYTES - 1)
                pipe.hmget(keys.lease(request.key), "retry_at", "since")
            (seconds, micros), *found = self._store.execute(pipe)
        # The logs are read after the entries, so that a clear in between is not missed.
        (cleared,) = run(read_logs(self._store, [keys.clears(source.name)])).values()
        seen = []
        for request, head, lease in zip(requests, found[::2], found[1::2], strict=True):
            # Under a key of another type there is no lease.
            retry_at, since = lease if isinstance(lease, list) else (None, None)
            is_old = cleared.hides(request.key, _stamp(since))
            fresh_until = cleared.fresh_until(request.key, head)
            seen.append(Look(request, fresh_until, 0 if is_old else _stamp(retry_at)))
        return seconds * MICROS + micros, seen


def _stamp(value: object) -> int:
    """The moment (us) in a field of a lease; 0 where there is none, or it is damaged."""
    return whole_number(value, most=MOST_US) or 0
