"""Pages of which no answer is made: a backfill stores their items, a recording keeps them as they came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from tbcache.admission import Admission, Merge, Merged, Reach, Settled, Settlement
from tbcache.fetch.job import Attempt, Derived, Loaded
from tbcache.fetch.reader import Fetched, PageReader
from tbcache.fetch.upstream import Upstream
from tbcache.models import FetchRequest
from tbcache.models.request import Stretch
from tbcache.store.codec import encode

T = TypeVar("T")

#: No answer is fresh for so long (seconds): each page is asked for.
ALWAYS = 1e9


@dataclass(frozen=True, slots=True)
class Unanswered:
    """What is asked for, under a key of its own: ``what`` is its last part."""

    source: str
    symbol: str
    hours: int
    what: str

    @property
    def key(self) -> str:
        return f"{self.source}:{self.symbol}:{self.what}"


class UnansweredJob(Generic[T]):
    """What the jobs of such pages have in common: a value that nothing keeps."""

    def __init__(self, admission: Admission, upstream: Upstream, request: FetchRequest, what: str) -> None:
        self._admission = admission
        self._upstream = upstream
        self._fetch = request
        self.source = upstream.source
        self.request = Unanswered(request.source, request.symbol, request.hours, what)

    @property
    def names(self) -> Mapping[str, str]:
        return {"symbol": self.request.symbol}

    def kept(self, value: T, payload: bytes) -> object:
        return None

    async def derive(self, packed: bytes) -> Derived[T] | None:
        return None

    async def merge(self, merge: Merge) -> Merged | None:
        return None

    def settled(self, loaded: Loaded[T], where: Settled) -> None:
        """There is nothing to do: no answer goes to the database."""

    async def _read(self, attempt: Attempt, stretches: Sequence[Stretch], pages: int) -> Fetched:
        """At most ``pages`` of ``stretches`` (none: of all that is asked for).

        Raises:
          UpstreamError: the first page cannot be read. TooLate: it was not sent.
        """
        admission, reach = self._admission, Reach(self._fetch, self._upstream.source.delay_hours)
        turn, may_send = admission.turn, admission.may_send
        reader = PageReader(
            self._upstream, attempt, turn, may_send, admission.now, reach, stretches, pages=pages
        )
        return await reader.read()

    def _loaded(self, value: T, attempt: Attempt, fetched: Fetched) -> Loaded[T]:
        """The end of the load, with an empty value in the place of an answer."""
        settlement = Settlement(
            payload=encode(None),
            closed_by=fetched.closed_by,
            pages=fetched.pages,
            bill=attempt.bill,
            hints=fetched.hints,
        )
        return Loaded(value, attempt.grant, settlement, {"items": len(fetched.items)})
