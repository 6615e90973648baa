"""What an upstream answers, kept as it came: for whoever writes or tests what reads it.

The requests are admitted like any other: within limits and budget, counted and billed. Nothing that is
cached is used, and no answer is made.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple, cast

from tbcache.admission import Admission, Ask
from tbcache.fetch.job import Attempt, Loaded
from tbcache.fetch.pipeline import Pipeline
from tbcache.fetch.unanswered import ALWAYS, UnansweredJob
from tbcache.fetch.upstream import Upstream, sent
from tbcache.io import random_id
from tbcache.models import FetchRequest, HttpRequest, RawResponse
from tbcache.models.request import Stretch


class Exchange(NamedTuple):
    """One request, what it was made of, and its answer."""

    fetch: FetchRequest
    cursor: str | None
    since: datetime
    request: HttpRequest
    response: RawResponse


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
    listening = cast("Upstream", Listening(upstream, exchanges))
    job = ListenJob(pipeline.admission, listening, request, stretch, pages)
    await pipeline.travel(job, Ask(upstream.source, job.request, needed=ALWAYS, patience=patience))


class Listening:
    """An upstream of which each exchange is noted."""

    persist_to_db = False

    def __init__(self, upstream: Upstream, exchanges: list[Exchange]) -> None:
        self._upstream = upstream
        self._exchanges = exchanges

    def __getattr__(self, name: str) -> Any:
        return getattr(self._upstream, name)

    def request(self, fetch: FetchRequest, cursor: str | None, since: datetime) -> HttpRequest:
        self._asked = fetch, cursor, since
        return self._upstream.request(fetch, cursor, since)

    async def exchange(self, request: HttpRequest) -> RawResponse:
        response = await sent(self._upstream, request)
        self._exchanges.append(Exchange(*self._asked, request, response))
        return response


class ListenJob(UnansweredJob[None]):
    """The pages of one recording. No other has its key: what that left would stand in for it."""

    def __init__(
        self,
        admission: Admission,
        upstream: Upstream,
        request: FetchRequest,
        stretch: Stretch | None,
        pages: int,
    ) -> None:
        super().__init__(admission, upstream, request, f"recording-{random_id()}")
        self._stretches = () if stretch is None else (stretch,)
        self._pages = pages

    def read(self, payload: bytes) -> None:
        return None

    async def load(self, attempt: Attempt) -> Loaded[None]:
        return self._loaded(None, attempt, await self._read(attempt, self._stretches, self._pages))
