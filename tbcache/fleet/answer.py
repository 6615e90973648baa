"""What is kept of the common symbols: until when an answer is fresh, and of how many hours it is true."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tbcache.io import run
from tbcache.models import FetchRequest, SymbolSentiment
from tbcache.queue import Explanation
from tbcache.settings import Source
from tbcache.store import Store
from tbcache.store.clear import read_logs
from tbcache.store.codec import DecodeError, decode_sentiment
from tbcache.store.envelope import value_of
from tbcache.store.wire import to_time


@dataclass(frozen=True, slots=True)
class Kept:
    """The answer to a fetch that is kept warm, and until when it is fresh (UTC); None where there is none."""

    request: FetchRequest
    sentiment: SymbolSentiment | None = None
    fresh_until: datetime | None = None

    def age(self, at: datetime) -> float | None:
        """How old the answer is at that moment, in seconds; None where there is none."""
        return max(0.0, (at - self.sentiment.as_of).total_seconds()) if self.sentiment else None


@dataclass(frozen=True, slots=True)
class Held:
    """What a source's cache has of a symbol, and the ``job`` that fetches it, if one is queued. Without an
    answer there are None of its figures; ``sentiment`` is all of it, as plain figures."""

    source: str
    hours: int
    fresh_until: datetime | None
    covered_hours: float | None
    score: float | None
    sentiment: Mapping[str, Any] | None = None
    job: Explanation | None = None

    @classmethod
    def of(cls, one: Kept, job: Explanation | None = None) -> Held:
        asked, found = one.request, one.sentiment
        if found is None:
            return cls(asked.source, asked.hours, None, None, None, job=job)
        figures = found.as_dict()
        return cls(asked.source, asked.hours, one.fresh_until, found.covered_hours, found.score, figures, job)


@dataclass(frozen=True, slots=True)
class SymbolHeld:
    """What the caches of all sources have of a symbol."""

    symbol: str
    sources: tuple[Held, ...]


def kept(request: FetchRequest, entry: Any, fresh_until: int) -> Kept:
    """What ``entry`` holds; ``fresh_until`` (us) is 0 for one that is missing, damaged, or was cleared."""
    found = answer_in(entry) if fresh_until else None
    return Kept(request) if found is None else Kept(request, found, to_time(fresh_until))


def answer_in(entry: Any) -> SymbolSentiment | None:
    """The answer in an entry, as Redis gave it; None for none, or one that is damaged."""
    if isinstance(entry, bytes):
        with contextlib.suppress(DecodeError):
            found = decode_sentiment(value_of(entry))
            # One of no hours is damaged as well: it covers no part of them.
            return found if found.hours > 0 else None
    return None


def covering(found: Iterable[Kept]) -> list[SymbolSentiment]:
    """The answers among them that cover anything."""
    return [one.sentiment for one in found if one.sentiment is not None and one.sentiment.covered_hours]


def requests_of(sources: Mapping[str, Source], symbol: str, hours: int) -> list[FetchRequest]:
    """The fetch of a symbol's hours from each source, or of as many hours as it gives."""
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
