"""A busy symbol's day, filled load by load by a moved clock: nothing is missing, and little is read twice."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from tbcache.admission import Ask, Grant
from tbcache.embedded.simulator.app import create_app
from tbcache.embedded.simulator.reply import Call
from tbcache.fetch.job import Attempt
from tbcache.fetch.plan import stretches
from tbcache.fetch.reader import PageReader
from tbcache.fetch.record import extended
from tbcache.fetch.sentiment import DEEP_PAGES
from tbcache.io import run
from tbcache.models import FetchRequest, HttpRequest, Limit, RawResponse
from tbcache.providers.stocktwits import StocktwitsProvider
from tbcache.settings import BUILT_IN, SourceSettings
from tbcache.timeline import Record, Span
from tests.blocking import go_on

SOURCE = BUILT_IN["stocktwits"]
BEGIN = datetime(2026, 6, 1, 23, 58, tzinfo=UTC)
DAY = timedelta(hours=24)


class Loader(StocktwitsProvider):
    """Asks a simulator whose clock it moves, and keeps what it learns."""

    def __init__(self) -> None:
        super().__init__(SOURCE, SourceSettings())
        self.now, self.pages = BEGIN, 0
        #: By how much the clock of this side is ahead of the simulator's.
        self.ahead = timedelta()
        self.known: Record | None = None
        limits = {"stocktwits": [Limit(1000, 60.0)]}
        app = create_app(limits=limits, latency=(0.0, 0.0), clock=self._clock, now=self._clock)
        self._simulated = app.upstreams["stocktwits"]

    def _clock(self) -> float:
        return self.now.timestamp()

    def send(self, request: HttpRequest) -> RawResponse:
        self.pages += 1
        call = Call(request.method, request.url.removeprefix(SOURCE.base_url), dict(request.params), {})
        found = self._simulated.answer(call, self._simulated.arrive(call, self._clock()))
        assert found is not None
        headers = {**found.headers, "date": format_datetime(self.now, usegmt=True)}
        return RawResponse(found.status, headers, found.body)

    def load(self, *, is_deep: bool) -> int:
        """One load; how many pages it took."""
        before, now = self.pages, self.now + self.ahead
        request = FetchRequest("stocktwits", "NVDA", is_deep=is_deep)
        parts = stretches(self.known, request, SOURCE, now)
        grant = Grant(Ask(SOURCE, request), "token", "slot", 0.0, 0.0, time.monotonic() + 60)
        most = DEEP_PAGES if is_deep else None
        reader = PageReader(self, Attempt(grant), go_on, lambda _: True, now, None, parts, most)
        self.known = extended(self.known, run(reader.read()), request, Flat(), lambda: now).record
        return self.pages - before

    @property
    def is_whole(self) -> bool:
        return self.known is not None and not self.known.timeline.coverage.holes(
            Span(self.now - DAY, self.now)
        )

    def claimed(self, start: datetime, end: datetime) -> tuple[Span, ...]:
        assert self.known is not None
        return self.known.timeline.coverage.within(Span(start, end)).spans

    def found(self) -> set[str]:
        assert self.known is not None
        return {version.item.id for version in self.known.timeline.since(self.now - DAY)}

    def there(self) -> dict[str, datetime]:
        """What whoever reads every page finds, with its times."""
        request, found, cursor = FetchRequest("stocktwits", "NVDA"), dict[str, datetime](), None
        while True:
            page = self.parse(self.send(self.request(request, cursor, request.start(self.now))))
            found |= {item.id: item.at for item in page.items if item.at and item.at >= self.now - DAY}
            cursor = page.next
            if cursor is None or page.items[-1].at < self.now - DAY:  # type: ignore[operator]
                return found


class Flat:
    """Scores are not what this is about."""

    name = version = "flat"

    def score(self, texts: Any) -> list[float]:
        return [0.0] * len(texts)


def test_a_busy_day_is_whole_after_a_few_loads_and_stays_so_with_a_page_each() -> None:
    """Over midnight as well. A first answer of NVDA covers an hour and a half of 24."""
    loader = Loader()
    assert loader.load(is_deep=False) == SOURCE.pages
    loads = 0
    while not loader.is_whole and loads < 10:
        loader.now, loads = loader.now + timedelta(seconds=5), loads + 1
        loader.load(is_deep=True)
    read = loader.pages
    there = loader.there()
    needed = -(-len(there) // 30)
    assert needed > 40
    assert loader.found() == there.keys()
    # Each load begins with a page of news; where one page ends, the next begins with the same message.
    assert loads <= 6
    assert read <= needed + loads + needed // 15
    for _ in range(3):
        loader.now += timedelta(seconds=300)
        assert loader.load(is_deep=False) == 1
        assert loader.is_whole
    assert loader.found() == loader.there().keys()


@pytest.mark.parametrize("ahead", [timedelta(minutes=3), timedelta(hours=1), timedelta(hours=25)])
def test_nothing_is_missed_where_our_clock_was_ahead(ahead: timedelta) -> None:
    """Without Redis the time is this machine's. All up to an hour before it counted as known, whatever the
    upstream had reached, and what was posted then was never asked for."""
    loader = Loader()
    loader.ahead = ahead
    loader.load(is_deep=False)
    assert loader.claimed(loader.now, loader.now + DAY * 2) == ()
    loader.ahead, loader.now = timedelta(), BEGIN + timedelta(minutes=2)
    loader.load(is_deep=False)
    claimed = loader.claimed(BEGIN - DAY, loader.now)
    there = {post for post, at in loader.there().items() if any(start <= at < end for start, end in claimed)}
    assert len(there) > 60
    assert there <= loader.found()
