"""What an upstream answers, kept as it came: for whoever writes or tests what reads it.

The requests are admitted like any other: within limits and budget, counted and billed. Nothing that is
cached is used, and no answer is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from tbcache.admission import Ask, Settled
from tbcache.fetch.job import Attempt, Derived, Loaded
from tbcache.fetch.pipeline import Pipeline
from tbcache.fetch.unanswered import ALWAYS, read_pages, settlement_of
from tbcache.fetch.upstream import Upstream, sent
from tbcache.io import random_id
from tbcache.models import FetchRequest, HttpRequest, Page, RawResponse
from tbcache.models.request import Stretch
from tbcache.scoring import Scorer, VoiceRule
from tbcache.settings import Source


class Exchange(NamedTuple):
    """One request, what it was made of, and its answer."""

    fetch: FetchRequest
    cursor: str | None
    since: datetime
    request: HttpRequest
    response: RawResponse


@dataclass(frozen=True, slots=True)
class Exchanged:
    """What is recorded, under a key that no other has: what another recording left would stand in for it."""

    source: str
    symbol: str
    hours: int
    id: str = field(default_factory=random_id)

    @property
    def key(self) -> str:
        return f"{self.source}:{self.symbol}:recording-{self.id}"


async def listen(
    pipeline: Pipeline,
    upstream: Upstream,
    request: FetchRequest,
    stretch: Stretch | None,
    pages: int,
    patience: float,
    exchanges: list[Exchange],
) -> None:
    """Ask ``upstream`` for ``stretch`` of what is asked for (None: all of it), and add what was exchanged to
    ``exchanges``, at most ``pages`` of them.

    Raises:
      RateLimited: no slot within ``patience`` seconds. BudgetExhausted: no money left today.
      UpstreamError: the upstream's refusal, which is among the exchanges as well if it was an answer.
    """
    job = ListenJob(pipeline, Listening(upstream, exchanges), request, stretch, pages)
    await pipeline.travel(job, Ask(upstream.source, job.request, needed=ALWAYS, patience=patience))


class Listening:
    """An upstream of which each exchange is noted."""

    persist_to_db = False

    def __init__(self, upstream: Upstream, exchanges: list[Exchange]) -> None:
        self._upstream = upstream
        self._exchanges = exchanges

    @property
    def source(self) -> Source:
        return self._upstream.source

    @property
    def analyzer(self) -> Scorer:
        return self._upstream.analyzer

    @property
    def voices(self) -> Sequence[VoiceRule]:
        return self._upstream.voices

    def request(self, fetch: FetchRequest, cursor: str | None, since: datetime) -> HttpRequest:
        self._asked = fetch, cursor, since
        return self._upstream.request(fetch, cursor, since)

    def send(self, request: HttpRequest) -> RawResponse:
        return self._upstream.send(request)

    async def exchange(self, request: HttpRequest) -> RawResponse:
        response = await sent(self._upstream, request)
        self._exchanges.append(Exchange(*self._asked, request, response))
        return response

    def parse(self, response: RawResponse) -> Page:
        return self._upstream.parse(response)


class ListenJob:
    """The pages of one recording."""

    def __init__(
        self,
        pipeline: Pipeline,
        upstream: Upstream,
        request: FetchRequest,
        stretch: Stretch | None,
        pages: int,
    ) -> None:
        self._admission = pipeline.admission
        self._upstream = upstream
        self._fetch = request
        self._stretch = stretch
        self._pages = pages
        self.request = Exchanged(request.source, request.symbol, request.hours)

    @property
    def source(self) -> Source:
        return self._upstream.source

    @property
    def names(self) -> Mapping[str, str]:
        return {"symbol": self.request.symbol}

    def read(self, payload: bytes) -> None:
        return None

    def kept(self, value: None, payload: bytes) -> object:
        return None

    async def derive(self, packed: bytes) -> Derived[None] | None:
        return None

    async def load(self, attempt: Attempt) -> Loaded[None]:
        stretches = () if self._stretch is None else (self._stretch,)
        fetched = await read_pages(
            self._admission, self._upstream, attempt, self._fetch, stretches, self._pages
        )
        settlement = settlement_of(fetched, attempt.bill)
        return Loaded(None, attempt.grant, settlement, {"items": len(fetched.items)})

    def settled(self, loaded: Loaded[None], where: Settled) -> None:
        """It goes to no database."""
