"""What is asked of the workers: all of it is checked before the first is queued."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Self, cast

from tbcache.models import FetchRequest, Lane
from tbcache.models.shape import Shape
from tbcache.queue import Handle, Queue
from tbcache.queue.batch import drained
from tbcache.settings import Settings, get_source, get_sources
from tbcache.store import Store
from tbcache.store.state import read_states


@dataclass(frozen=True, slots=True)
class Queued(Shape):
    """What became of an ask for a job."""

    source: str
    symbol: str
    hours: int
    job_id: str | None
    """Null of a hit: there is no job."""
    state: Literal["queued", "joined", "hit"]
    """`joined`: one for the same fetch was there; `hit`: the answer is in the cache."""
    starts_at: datetime | None
    """As far as that is known; null of a hit."""

    @classmethod
    def of(cls, handle: Handle) -> Self:
        asked, job_id = handle.request, None if handle.state == "hit" else handle.job_id
        # An ask of which anything else became was refused, and has no handle.
        state = cast('Literal["queued", "joined", "hit"]', handle.state)
        return cls(asked.source, asked.symbol, asked.hours, job_id, state, handle.starts_at)


def fetches_of(settings: Settings, source: str, symbols: Sequence[str], hours: int) -> list[FetchRequest]:
    """A fetch of each symbol.

    Raises:
      UnknownSource: no such source. ConfigurationError: it is off. InvalidRequest: no symbol, or hours.
    """
    known = get_source(source, settings)
    requests = [known.request(symbol, hours) for symbol in symbols]
    known.require()
    return requests


def warming_of(settings: Settings, symbols: Sequence[str], source: str | None = None) -> list[FetchRequest]:
    """The fetches that warm each symbol, in one source, or in every one that is on.

    Raises:
      UnknownSource: no such source. ConfigurationError: it is off. InvalidRequest: no symbol.
    """
    if source is None:
        chosen = [one for one in get_sources(settings).values() if one.is_enabled]
    else:
        chosen = [get_source(source, settings)]
        chosen[0].require()
    hours = settings.common_hours
    return [one.request(symbol, min(hours, one.max_hours)) for symbol in symbols for one in chosen]


def enqueue_all(
    store: Store, queue: Queue, requests: Sequence[FetchRequest], lane: Lane, caller: str | None = None
) -> list[Handle]:
    """Queue fetches, each with when it will start; none of them, and Paused, where one is drained.

    The queue of a drained source would refuse its own fetches alone. Those of the other sources would be
    queued, and paid for, although this raises: so all sources are looked at first.
    """
    sources = {one.source for one in requests}
    states = read_states(store, sources) if len(sources) > 1 else {}
    for name, state in states.items():
        if state.order is not None and state.order.what == "drain":
            raise drained(name, str(state.order))
    return queue.enqueue_many(requests, lane, caller=caller)
