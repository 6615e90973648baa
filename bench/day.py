"""What ten symbols cost on X in a day: all read anew at each TTL, with our filter, without it, and with the
authors expanded; and what is new alone, one symbol at a time and all of them in one request."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from bench.table import Bar, Table
from tbcache.admission import Ask, Grant, Reach, Wait
from tbcache.embedded.simulator import DEMO_CREDENTIALS
from tbcache.embedded.simulator.app import create_app
from tbcache.embedded.simulator.reply import Call
from tbcache.fetch.job import Attempt
from tbcache.fetch.plan import joined, stretches
from tbcache.fetch.reader import Fetched, PageReader
from tbcache.fetch.record import extended
from tbcache.io import run
from tbcache.models import FetchRequest, HttpRequest, Page, RawResponse
from tbcache.models.price import Bill
from tbcache.providers.twitter import TwitterProvider
from tbcache.settings import BUILT_IN, SourceSettings
from tbcache.timeline import Record

SYMBOLS = ("AAPL", "TSLA", "NVDA", "MSFT", "GME", "AMD", "META", "AMZN", "GOOGL", "SPY")
MIDNIGHT = datetime(2026, 6, 2, tzinfo=UTC).timestamp()
ROUNDS = 288
SOURCE = BUILT_IN["twitter"]
HEADERS = {"authorization": f"Bearer {DEMO_CREDENTIALS['TBCACHE_TWITTER__BEARER_TOKEN']}"}


@dataclass(frozen=True)
class Day:
    """Money in US dollars; posts and users that were read, repeats included."""

    requests: int
    posts: int
    users: int
    reckoned: float
    billed: float


class Reader:
    """Asks a simulator in this process, whose clock it moves, and reckons what that costs."""

    def __init__(self, expansions: str = "", *, is_filtered: bool = True) -> None:
        self._more = {"expansions": expansions} if expansions else {}
        self._now = MIDNIGHT
        app = create_app(latency=(0.0, 0.0), clock=lambda: self._now, now=lambda: self._now)
        self._upstream = app.upstreams["twitter"]
        settings = SourceSettings(query_filter=None if is_filtered else "")
        self._provider = TwitterProvider(SOURCE, settings)
        self._billed = set[str]()
        self._requests, self._reckoned = 0, 0.0

    def read(self, rounds: int) -> Day:
        """Every symbol over 24 hours, once a TTL, from midnight on."""
        for number in range(rounds):
            self._now = MIDNIGHT + number * SOURCE.cache_ttl
            for symbol in SYMBOLS:
                self._answer(symbol)
        ledger = self._upstream.ledger
        return Day(self._requests, ledger.items_served, ledger.users_served, self._reckoned, ledger.billed)

    def _answer(self, symbol: str) -> None:
        cursor: str | None = None
        for _ in range(SOURCE.pages):
            at, fetch = datetime.fromtimestamp(self._now, UTC), FetchRequest("twitter", symbol)
            page = self._page(self._provider.request(fetch, cursor, fetch.start(at)))
            bill = SOURCE.price.bill([item.id for item in page.items], page.users)
            self._reckoned += bill.due(self._billed)
            cursor = page.next
            if cursor is None:
                return

    def _page(self, request: HttpRequest) -> Page:
        self._requests += 1
        path = request.url.removeprefix(SOURCE.base_url)
        call = Call(request.method, path, {**request.params, **self._more}, HEADERS)
        answer = self._upstream.answer(call, self._upstream.arrive(call, self._now))
        assert answer is not None
        return self._provider.parse(RawResponse(answer.status, answer.headers, answer.body))


class Refresher(Reader):
    """Asks for what is new alone, by the timelines that it keeps, ``size`` symbols in one request."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.source, self._size = SOURCE, size
        self._known: dict[str, Record] = {}
        self.request = self._provider.request
        # Ten first answers of a day each, before the day begins.
        self._now = MIDNIGHT - SOURCE.cache_ttl
        for symbol in SYMBOLS:
            self._refresh((symbol,))
        self._requests, self._reckoned, self._billed = 0, 0.0, set()
        self._before, self._old = self._upstream.ledger.billed, self.posts

    @property
    def posts(self) -> set[str]:
        """Those that are known, whichever symbols they name."""
        return {one.item.id for record in self._known.values() for one in record.timeline.versions}

    def refreshed(self, rounds: int) -> tuple[Day, float]:
        """The day, and what its new posts are worth, each once, however many symbols it names."""
        new = set[str]()
        for number in range(rounds):
            self._now = MIDNIGHT + number * SOURCE.cache_ttl
            for start in range(0, len(SYMBOLS), self._size):
                self._refresh(SYMBOLS[start : start + self._size])
            new |= self.posts - self._old
        billed = self._upstream.ledger.billed - self._before
        return Day(self._requests, len(new), 0, self._reckoned, billed), len(new) * SOURCE.price.per_item

    def send(self, request: HttpRequest) -> RawResponse:
        self._requests += 1
        path = request.url.removeprefix(SOURCE.base_url)
        call = Call(request.method, path, dict(request.params), HEADERS)
        answer = self._upstream.answer(call, self._upstream.arrive(call, self._now))
        assert answer is not None
        return RawResponse(answer.status, answer.headers, answer.body)

    def parse(self, response: RawResponse) -> Page:
        page = self._provider.parse(response)
        self._reckoned += SOURCE.price.bill([item.id for item in page.items], page.users).due(self._billed)
        return page

    def _refresh(self, symbols: Sequence[str]) -> None:
        at = datetime.fromtimestamp(self._now, UTC)
        requests = {symbol: FetchRequest("twitter", symbol) for symbol in symbols}
        known = [self._known[symbol] for symbol in symbols if symbol in self._known]
        news = [stretches(record, requests[symbols[0]], SOURCE, at)[0] for record in known]
        leader = replace(requests[symbols[0]], others=tuple(symbols[1:]))
        fetched = self._read(leader, at, (joined(news),) if known else ())
        for symbol in symbols:
            items = tuple(item for item in fetched.items if self._provider.is_of(item, symbol))
            part, before = replace(fetched, items=items), self._known.get(symbol)
            self._known[symbol] = extended(before, part, requests[symbol], _Flat(), lambda: at).record

    def _read(self, request: FetchRequest, at: datetime, parts: Any) -> Fetched:
        grant = Grant(Ask(SOURCE, request), "token", "slot", 0.0, 0.0, time.monotonic() + 60)

        async def turn(grant: Grant, bill: Bill) -> Grant | Wait:
            return grant

        upstream: Any = self
        reach = Reach(request, 0.0)
        return run(PageReader(upstream, Attempt(grant), turn, lambda _: True, at, reach, parts).read())


class _Flat:
    """Scores are not what this is about."""

    name = version = "flat"

    def score(self, texts: Sequence[str]) -> list[float | None]:
        return [0.0] * len(texts)


def table(*, is_quick: bool) -> Table:
    """The table, in about 30 seconds; in 3 when ``is_quick``."""
    rounds = ROUNDS // 12 if is_quick else ROUNDS
    hours = rounds * SOURCE.cache_ttl / 3600
    found = Table(
        "A day's bill",
        f"{len(SYMBOLS)} symbols of the simulated twitter over 24 hours, read once a TTL "
        f"({SOURCE.cache_ttl:g} s, {SOURCE.pages} pages at most) for {hours:g} hours "
        "of a UTC day by a moved clock: a post costs $0.005 and a user $0.010, each once a day. The first "
        "three rows read all 24 hours each time; the others what is new, and their posts are those.",
        ["asked for", "requests", "posts read", "users read", "reckoned", "billed"],
    )
    asked = Reader().read(rounds)
    every = Reader(is_filtered=False).read(rounds)
    expanded = Reader("author_id", is_filtered=False).read(rounds)
    singly, packed = Refresher(1).refreshed(rounds), Refresher(len(SYMBOLS)).refreshed(rounds)
    ways = {
        "all, with our filter": asked,
        "all, every post with the cashtag": every,
        "all, and their authors": expanded,
    }
    ways |= {"what is new, each by itself": singly[0], "what is new, in one request": packed[0]}
    found.rows += [row(what, day) for what, day in ways.items()]
    found.bars += [
        Bar("no user is read", str(asked.users), asked.users == 0),
        Bar(
            "requests a round, packed",
            f"{packed[0].requests / rounds:.2f}",
            packed[0].requests <= 350 / 288 * rounds,
        ),
        *(
            Bar(
                f"billed within 5% of the new posts, {how}",
                f"{_above(day, worth):.1%}",
                _above(day, worth) <= 0.05,
            )
            for how, (day, worth) in (("each by itself", singly), ("packed", packed))
        ),
        *(
            Bar(f"reckoned to the cent{what}", f"{_off(day):.4f} off", day.billed > 0 and _off(day) < 0.01)
            for what, day in (("", asked), (", users included", expanded))
        ),
    ]
    return found


def row(what: str, day: Day) -> list[str]:
    counts = [str(count) for count in (day.requests, day.posts, day.users)]
    return [what, *counts, f"${day.reckoned:.2f}", f"${day.billed:.2f}"]


def _above(day: Day, worth: float) -> float:
    """By how much more was billed than what is new is worth; 0.01: by a hundredth."""
    return day.billed / worth - 1 if worth else 0.0


def _off(day: Day) -> float:
    return abs(day.reckoned - day.billed)
