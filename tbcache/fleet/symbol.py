"""What the fleet has of one symbol: the answers in the cache, and the jobs that fetch it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tbcache.fleet.answer import Kept, kept
from tbcache.io import run
from tbcache.models import FetchRequest
from tbcache.settings import Source
from tbcache.store import Store
from tbcache.store.clear import read_logs


def requests_of(sources: Mapping[str, Source], symbol: str, hours: int) -> list[FetchRequest]:
    """The fetch of a symbol's hours from each source, or of as many hours as it gives.

    Raises:
      InvalidRequest: it cannot be a symbol.
    """
    return [FetchRequest(name, symbol, min(hours, source.max_hours)) for name, source in sources.items()]


def read_queued(store: Store, requests: Sequence[FetchRequest]) -> dict[str, str]:
    """By source, the job that fetches each of ``requests``, if one is queued or runs."""
    asks = (("HGET", store.keys.queue(one.source, "pending"), one.key) for one in requests)
    found = zip(requests, store.execute(*asks), strict=True)
    return {one.source: job.decode(errors="replace") for one, job in found if isinstance(job, bytes)}


def read_answers(store: Store, requests: Sequence[FetchRequest]) -> list[Kept]:
    """What the cache has of each of ``requests``."""
    keys = store.keys
    entries = store.execute(*(("GET", keys.entry(request.key)) for request in requests))
    logs = run(read_logs(store, [keys.clears(request.source) for request in requests]))
    return [
        kept(request, entry, logs[keys.clears(request.source)].fresh_until(request.key, entry))
        for request, entry in zip(requests, entries, strict=True)
    ]
