"""What a provider is: it builds a request and reads an answer. The base does the rest."""

from __future__ import annotations

import atexit
import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, ClassVar

import httpx2

from tbcache.fetch import http_response
from tbcache.fetch.backfill import Filled, Hole, fill, fill_all, reachable, require_budget
from tbcache.fetch.history import answered, looked_back, unknown
from tbcache.fetch.tools import Tools
from tbcache.io import run, world
from tbcache.models import (
    PATIENCE_SECONDS,
    FetchRequest,
    History,
    HttpRequest,
    Item,
    Lane,
    Outcome,
    Page,
    Point,
    RawResponse,
    SymbolSentiment,
)
from tbcache.models.error import RateLimited, UpstreamError
from tbcache.models.history import aware, moments, past
from tbcache.models.request import fraction
from tbcache.models.ttl import check_ttl
from tbcache.providers.client import HttpClient
from tbcache.providers.mask import secrets_of
from tbcache.settings import Source, SourceSettings, get_settings

#: An answer that is fresh may be older than its TTL by as long as a load takes (seconds).
_LOAD_SECONDS = 60.0


class Provider(Tools, ABC):
    """One upstream. A subclass says how to ask it (:meth:`request`), how to sign (:meth:`auth`)
    and how to read what it answers (:meth:`parse`).

    Its tools are attributes and may be replaced, e.g. ``provider.analyzer = MyScorer()``.
    """

    #: What a source of one's own is where no variable says otherwise: fields of
    #: :class:`tbcache.settings.Source`; limits may be text, like ``"300/15m,10000/1d"``.
    defaults: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, source: Source, settings: SourceSettings) -> None:
        self.source = source
        self.settings = settings
        self.persist_to_db = get_settings().persist

    @property
    def own(self) -> SourceSettings:
        """The old name of :attr:`settings`."""
        warnings.warn("Provider.own is called Provider.settings now", DeprecationWarning, stacklevel=2)
        return self.settings

    @property
    def cache_ttl(self) -> float:
        """For how many seconds an answer is fresh; may be set."""
        return self.source.cache_ttl

    @cache_ttl.setter
    def cache_ttl(self, seconds: float) -> None:
        self.source = replace(self.source, cache_ttl=check_ttl(seconds))

    @abstractmethod
    def request(self, fetch: FetchRequest, cursor: str | None, since: datetime) -> HttpRequest:
        """Build the request for the page at ``cursor`` (None: the first, newest one) of what is no older
        than ``since``, newest first.

        ``fetch`` says the rest: the symbol, or ``fetch.symbols`` where one request may ask for several; up to
        when, ``fetch.until``; and the known items that the time begins and ends with, ``fetch.stretch``. An
        upstream that cannot be asked by time sends what it has: what is older is left out, and ends it.
        """

    @abstractmethod
    def parse(self, response: RawResponse) -> Page:
        """Read an answer. Pure: looks at no clock and at nothing but ``response``.

        Raises:
          UpstreamError: the one that the answer means, when it is no page of items.
        """

    def search_words(self, symbol: str) -> str:
        """All by which :meth:`request` finds the items of ``symbol``, beside the symbol and the time: words,
        names, a filter. Where that changes, the hours that were found by the old words are asked for anew.
        """
        return ""

    def packs(self, symbols: Sequence[str]) -> tuple[str, ...]:
        """Those of ``symbols`` that fit into one request with the first, where the source's ``pack`` is more
        than 1: :meth:`request` finds the others in ``fetch.others``."""
        return tuple(symbols)

    def is_of(self, item: Item, symbol: str) -> bool:
        """Whether ``item``, which came for several symbols, is of ``symbol``."""
        return symbol in item.symbols

    def auth(self) -> httpx2.Auth | None:
        """How requests are signed; None for an upstream that needs no credentials."""
        return None

    def read_json(self, response: RawResponse) -> Any:
        """The JSON of a success.

        Raises:
          UpstreamError: the one that the answer means, by its status, headers and words.
        """
        return http_response.page(self.source.name, response)

    def fetch(self, symbol: str, hours: int = 24, *, patience: float = PATIENCE_SECONDS) -> Outcome:
        """The sentiment of ``symbol`` over the last ``hours``, from the cache or the upstream.

        Waits at most ``patience`` seconds for a slot under the source's limits.

        Raises:
          InvalidRequest: no ticker, or hours outside what the source can answer.
          ConfigurationError: the source is off; names the variables that turn it on.
          RateLimited, BudgetExhausted: no slot within ``patience``.
          UpstreamError: the upstream's refusal, when nothing older is kept.
        """
        return self.run(self.source.request(symbol, hours), patience=patience)

    def get_sentiment(
        self,
        symbol: str,
        hours: int = 24,
        *,
        min_coverage: float = 0.0,
        as_of: datetime | None = None,
    ) -> SymbolSentiment | None:
        """Like :meth:`fetch`, but only the sentiment, and None when there is none to be had.

        Its score may be true of fewer hours than asked for: see its ``covered_hours``. With ``min_coverage``
        (0..1) it is None where less than that share of the hours is known. With ``as_of``, an aware moment of
        the past, it is what would have been answered then: nothing is asked upstream, see :meth:`history`.

        Raises:
          InvalidRequest, ConfigurationError: as :meth:`fetch`.
        """
        # A hit in memory needs no coroutine, and pays for each call here.
        if min_coverage != 0:
            fraction("min_coverage", min_coverage)
        request = self.source.request(symbol, hours)
        found = None if as_of is not None else self.recall(request)
        found = found or run(self.sentiment(request, as_of))
        return self.covering(found, min_coverage, as_of) if min_coverage else found

    def covering(
        self, found: SymbolSentiment | None, least: float, at: datetime | None = None
    ) -> SymbolSentiment | None:
        """``found``, or None where less than the share ``least`` of the hours until ``at`` is known by it."""
        if found is None or not least or self.known_hours(found, at) / found.hours >= least:
            return found
        return None

    def known_hours(self, found: SymbolSentiment, at: datetime | None = None) -> float:
        """How many of the hours until ``at`` (None: now) are known by ``found``. Where it was not fresh any
        more by then, what had passed since is not known."""
        age = ((at or self.pipeline.admission.now) - found.as_of).total_seconds()
        is_fresh = age <= self.source.cache_ttl + _LOAD_SECONDS
        return found.covered_hours if is_fresh else max(0.0, found.covered_hours - age / 3600)

    def history(
        self,
        symbol: str,
        start: datetime,
        end: datetime,
        every: float | timedelta = 3600.0,
        hours: int = 24,
        *,
        hindsight: bool = False,
    ) -> History:
        """What would have been answered on ``symbol`` over ``hours``, at each moment from ``start`` to
        ``end``, ``every`` so many seconds.

        It is made of what the database has, by the function that makes each answer: of the versions of items
        that had been seen by then, with the scores that they were given. So a backtest sees what a bot saw.
        Nothing is asked upstream. The voice rules are those of now.

        With ``hindsight`` all counts that was posted by then, whenever it was read, so that a time can be
        looked at that was fetched later (:meth:`backfill`): no bot could have known that.

        Raises:
          InvalidRequest: no ticker, no such hours, or times without a zone or out of order.
          MissingExtra, RepositoryUnavailable: there is no database to be read, or it does not answer.
        """
        return run(self.sentiments_then(symbol, start, end, every, hours, hindsight=hindsight))

    def backfill(
        self,
        symbol: str,
        since: datetime,
        *,
        patience: float = 3600.0,
        on_page: Callable[[int, datetime | None], None] | None = None,
    ) -> str | None:
        """Fetch into the database what it lacks of ``symbol`` since ``since``, the newest first, in the
        background lane of the source's limits and within its budget.

        Each page is written before the next is asked for: one that was broken off goes on where it was when
        it is called again, with a page twice at most. ``on_page`` is told how many items a page had, and
        since when all is known by it (None: it proves nothing). Waits at most ``patience`` seconds for a
        slot. Returns why it ended before ``since``, as the upstream gives nothing older; None where all is
        known but what came within the last hour, which is left to the next fetch.

        Raises:
          InvalidRequest: no ticker, no zone, or further back than the source can answer.
          ConfigurationError: the source is off, or bills what is read and has no budget.
          RateLimited, BudgetExhausted: no slot within ``patience``, or no money left today.
          UpstreamError: the upstream's refusal.
          MissingExtra, RepositoryUnavailable: there is no database to be written, or it does not answer.
        """
        return run(self.backfilled(symbol, since, patience=patience, on_page=on_page))

    async def backfilled(
        self,
        symbol: str,
        since: datetime,
        *,
        patience: float = 3600.0,
        on_page: Callable[[int, datetime | None], None] | None = None,
    ) -> str | None:
        """:meth:`backfill`, in the world that it is awaited in."""
        self.source.require()
        require_budget(self.source)
        now = self.pipeline.admission.now
        start = reachable(aware("since", since), now, self.source)
        request = self.source.request(symbol, max(1, math.ceil((now - start) / timedelta(hours=1))))
        now -= timedelta(hours=self.source.delay_hours)

        async def fill_next(hole: Hole) -> Filled:
            filled = await fill(self.pipeline, self, request, hole, patience)
            if on_page is not None:
                on_page(filled.items, filled.since)
            return filled

        return await fill_all(self, request, start, now, fill_next)

    def recall(self, request: FetchRequest) -> SymbolSentiment | None:
        """The answer that this process has in memory, while it is known to be fresh."""
        return self.pipeline.recall(self.source, self._by_rules(request))

    def _by_rules(self, request: FetchRequest) -> FetchRequest:
        """``request`` for an answer by the rules and the scorer of this provider."""
        rules = self.rules
        return replace(request, rules=rules) if rules else request

    async def sentiments_then(
        self,
        symbol: str,
        start: datetime,
        end: datetime,
        every: float | timedelta = 3600.0,
        hours: int = 24,
        *,
        hindsight: bool = False,
    ) -> History:
        """:meth:`history`, in the world that it is awaited in."""
        request = self.source.request(symbol, hours)
        at = moments(start, past("end", end, self.pipeline.admission.now), every)
        make = looked_back if hindsight else answered
        found = await world().offload(lambda: make(self.repository, self, request, at))
        reason = None
        if not any(found):
            reason = await world().offload(lambda: unknown(self.repository, request, hindsight=hindsight))
        return History(request.source, request.symbol, request.hours, tuple(map(Point, at, found)), reason)

    async def sentiment(self, request: FetchRequest, as_of: datetime | None = None) -> SymbolSentiment | None:
        """:meth:`get_sentiment` of a checked request that the process itself has not in memory, in the world
        that it is awaited in."""
        if as_of is not None:
            at = past("as_of", as_of, self.pipeline.admission.now)
            (then,) = await world().offload(lambda: answered(self.repository, self, request, [at]))
            return then
        if self.source.missing:
            self.source.require()
        try:
            known = await self.pipeline.find(self.source, self._by_rules(request))
            return (await self.answer(request)).sentiment if known is None else known
        except (UpstreamError, RateLimited):
            return None

    def run(
        self,
        request: FetchRequest,
        *,
        lane: Lane = "interactive",
        patience: float = PATIENCE_SECONDS,
        needed: float = 0.0,
        slot: str | None = None,
    ) -> Outcome:
        """Run a request that is already checked; see :meth:`tbcache.fetch.Pipeline.run`."""
        return run(self.answer(request, lane=lane, patience=patience, needed=needed, slot=slot))

    async def answer(
        self,
        request: FetchRequest,
        *,
        lane: Lane = "interactive",
        patience: float = PATIENCE_SECONDS,
        needed: float = 0.0,
        slot: str | None = None,
    ) -> Outcome:
        """:meth:`run`, in the world that it is awaited in."""
        self.source.require()
        self.usage_monitor.keep_beating("client")
        # A job is for all who have asked for it, by whatever rules and scorer its worker has.
        asked = self._by_rules(request) if slot is None else request
        return await self.pipeline.answer(self, asked, lane=lane, patience=patience, needed=needed, slot=slot)

    def send(self, request: HttpRequest) -> RawResponse:
        """Send one request upstream.

        Raises:
          UpstreamUnavailable: no answer.
        """
        return run(self.exchange(request))

    async def exchange(self, request: HttpRequest) -> RawResponse:
        """:meth:`send`, as a coroutine. A subclass that has a ``send`` of its own needs none of this."""
        return await self.client.exchange(request)

    @cached_property
    def client(self) -> HttpClient:
        client = HttpClient(
            self.source.name,
            auth=self.auth(),
            secrets=secrets_of(self.settings),
            total_timeout=self.pipeline.admission.send_seconds,
        )
        atexit.register(client.close)
        return client
