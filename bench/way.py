"""Ways to have an answer at any time, each asking its own simulated upstream once a TTL, on a moved clock."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from bench.world import SEED, World
from tbcache.admission import Ask, Grant, Reach, Wait
from tbcache.fetch.job import Attempt
from tbcache.fetch.plan import stretches
from tbcache.fetch.reader import PageReader
from tbcache.fetch.record import extended
from tbcache.fetch.sentiment import DEEP_PAGES
from tbcache.io import run
from tbcache.models import FetchRequest, Item
from tbcache.models.price import Bill
from tbcache.scoring import get_scorer
from tbcache.timeline import RETOLD, Record, Span

HOURS = 24


class Way(ABC):
    """``latencies`` are how many seconds after it was posted each new item was first in an answer."""

    def __init__(self, source: str, now: float, seed: int = SEED) -> None:
        self.world = World(source, now, seed)
        self.latencies: list[float] = []
        self._begin = now
        self._seen = set[str]()

    def begin(self) -> None:
        """Count from here on."""
        self.world.requests, self.latencies = 0, []
        self.world.ledger.reset()

    @abstractmethod
    def refresh(self, symbol: str) -> None:
        """Make the answer about ``symbol`` anew."""

    @abstractmethod
    def items(self, symbol: str) -> list[Item]:
        """What the answer about ``symbol`` is made of."""

    def earlier(self, symbol: str) -> list[Item]:
        """What is known of before these items, with which they are compared."""
        return []

    def _note(self, items: Sequence[Item]) -> None:
        for item in items:
            if item.id not in self._seen and item.at is not None and item.at.timestamp() >= self._begin:
                self.latencies.append(self.world.now - item.at.timestamp())
            self._seen.add(item.id)


class LastPages(Way):
    """As many pages as one answer may take, read anew each time: what 0.1.0 did."""

    def __init__(self, source: str, now: float, seed: int = SEED, pages: int | None = None) -> None:
        super().__init__(source, now, seed)
        self._pages = pages or self.world.source.pages
        self._items: dict[str, list[Item]] = {}

    def refresh(self, symbol: str) -> None:
        self._items[symbol] = self.world.items(symbol, HOURS, self._pages)
        self._note(self._items[symbol])

    def items(self, symbol: str) -> list[Item]:
        return self._items[symbol]


class Timelines(Way):
    """What is new, put to what is known; and a load in the background while older hours are missing."""

    def __init__(self, source: str, now: float, seed: int = SEED) -> None:
        super().__init__(source, now, seed)
        self._known: dict[str, Record] = {}

    def refresh(self, symbol: str) -> None:
        self._load(symbol, is_deep=False)
        span = Span(self.world.at - timedelta(hours=HOURS), self.world.at)
        if self._known[symbol].timeline.coverage.holes(span):
            self._load(symbol, is_deep=True)
        self._note(self.items(symbol))

    def items(self, symbol: str) -> list[Item]:
        start = self.world.at - timedelta(hours=HOURS)
        return [version.item for version in self._known[symbol].timeline.since(start)]

    def earlier(self, symbol: str) -> list[Item]:
        start, known = self.world.at - timedelta(hours=HOURS), self._known[symbol].timeline.since
        return [
            each.item for each in known(start - RETOLD) if each.at < start and each.item.kind == "article"
        ]

    def _load(self, symbol: str, *, is_deep: bool) -> None:
        world, now = self.world, self.world.at
        request = FetchRequest(world.source.name, symbol, HOURS, is_deep=is_deep)
        parts = stretches(self._known.get(symbol), request, world.source, now)
        grant = Grant(Ask(world.source, request), "token", "slot", 0.0, 0.0, time.monotonic() + 600)
        most = DEEP_PAGES if is_deep else None
        upstream: Any = _Upstream(world)
        reader = PageReader(
            upstream, Attempt(grant), _go_on, lambda _: True, now, Reach(request, 0.0), parts, most
        )
        fetched = run(reader.read())
        self._known[symbol] = extended(
            self._known.get(symbol), fetched, request, get_scorer(), lambda: self._later(symbol, now)
        ).record

    def _later(self, symbol: str, now: datetime) -> datetime:
        """Two loads of one moment are told apart by when they were read."""
        known = self._known.get(symbol)
        return now if known is None else max(now, known.read_at + timedelta(microseconds=1))


class _Upstream:
    def __init__(self, world: World) -> None:
        self.source, self.send = world.source, world.send
        self.request, self.parse = world.provider.request, world.provider.parse


async def _go_on(grant: Grant, bill: Bill) -> Grant | Wait:
    return grant
