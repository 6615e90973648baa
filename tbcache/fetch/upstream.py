"""What a provider is to the pipeline: one of ours, or of a user's own."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol, runtime_checkable

from tbcache.io import world
from tbcache.models import FetchRequest, HttpRequest, Item, Page, RawResponse
from tbcache.scoring import Scorer, VoiceRule
from tbcache.settings import Source


class Upstream(Protocol):
    """What the pipeline needs of a source."""

    @property
    def source(self) -> Source: ...

    @property
    def analyzer(self) -> Scorer: ...

    @property
    def voices(self) -> Sequence[VoiceRule]: ...

    @property
    def persist_to_db(self) -> bool: ...

    def request(self, fetch: FetchRequest, cursor: str | None, since: datetime) -> HttpRequest: ...

    def send(self, request: HttpRequest) -> RawResponse: ...

    def parse(self, response: RawResponse) -> Page: ...


@runtime_checkable
class PackingUpstream(Upstream, Protocol):
    """An upstream that may be asked for several symbols at once."""

    def packs(self, symbols: Sequence[str]) -> tuple[str, ...]:
        """Those of ``symbols`` that fit into one request with the first of them, which is included."""

    def is_of(self, item: Item, symbol: str) -> bool:
        """Whether ``item``, from a page for several symbols, is about ``symbol``."""


@runtime_checkable
class RecheckingUpstream(Upstream, Protocol):
    """An upstream that can be asked for known items again, to learn which were edited or removed."""

    def recheck(self, ids: Sequence[str]) -> HttpRequest: ...

    def rechecked(self, response: RawResponse) -> Page: ...


@runtime_checkable
class SearchingUpstream(Upstream, Protocol):
    """An upstream that finds items by more than their symbol."""

    def search_words(self, symbol: str) -> str:
        """All by which the items of ``symbol`` are found, beside the symbol and the time."""


def search_of(upstream: Upstream, symbol: str) -> str:
    """What stands for the search of ``upstream`` in a record; "" where it asks for the symbol alone."""
    words = upstream.search_words(symbol) if isinstance(upstream, SearchingUpstream) else ""
    return hashlib.sha256(words.encode("utf-8", "replace")).hexdigest()[:8] if words else ""


@runtime_checkable
class ScoringUpstream(Upstream, Protocol):
    """An upstream that says whether its ``analyzer`` is that of all processes."""

    @property
    def has_private_scorer(self) -> bool:
        """Whether it was set for this one alone."""


@runtime_checkable
class CountingUpstream(Upstream, Protocol):
    """An upstream that says how many items there were, without giving them."""

    async def item_counts(self, request: FetchRequest, now: datetime) -> Mapping[datetime, int]:
        """How many items there were in the quarter of an hour from each of these moments on."""


@runtime_checkable
class AwaitedUpstream(Protocol):
    """An upstream that also sends without blocking."""

    async def exchange(self, request: HttpRequest) -> RawResponse: ...


async def sent(upstream: Upstream, http: HttpRequest) -> RawResponse:
    """The answer to ``http``, without blocking where the upstream can do that."""
    if isinstance(upstream, AwaitedUpstream) and not _sends_itself(upstream):
        return await upstream.exchange(http)
    return await world().offload(lambda: upstream.send(http))


def _sends_itself(upstream: AwaitedUpstream) -> bool:
    """True where a subclass overrides ``send`` alone: whoever wrote it does not know of ``exchange``."""
    places = [vars(upstream), *map(vars, type(upstream).__mro__)]
    written = next(place for place in places if "send" in place or "exchange" in place)
    return "exchange" not in written
