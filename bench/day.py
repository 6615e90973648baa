"""What ten symbols cost on X in a day: as tbcache asks, without its filter, and with the authors expanded."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from bench.table import Bar, Table
from tbcache.embedded.simulator import DEMO_CREDENTIALS
from tbcache.embedded.simulator.app import create_app
from tbcache.embedded.simulator.reply import Call
from tbcache.models import FetchRequest, HttpRequest, Page, RawResponse
from tbcache.providers.twitter import TwitterProvider
from tbcache.settings import BUILT_IN, SourceSettings

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

    def __init__(self, expansions: str = "", *, query_filter: str | None = None) -> None:
        self._more = {"expansions": expansions} if expansions else {}
        self._now = MIDNIGHT
        app = create_app(latency=(0.0, 0.0), clock=lambda: self._now, now=lambda: self._now)
        self._upstream = app.upstreams["twitter"]
        self._provider = TwitterProvider(SOURCE, SourceSettings(query_filter=query_filter))
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
            at = datetime.fromtimestamp(self._now, UTC)
            page = self._page(self._provider.request(FetchRequest("twitter", symbol), cursor, at))
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


def table(*, is_quick: bool) -> Table:
    """The table, in about 30 seconds; in 3 when ``is_quick``."""
    rounds = ROUNDS // 12 if is_quick else ROUNDS
    hours = rounds * SOURCE.cache_ttl / 3600
    found = Table(
        "A day's bill",
        f"{len(SYMBOLS)} symbols of the simulated twitter over 24 hours, read once a TTL "
        f"({SOURCE.cache_ttl:g} s, {SOURCE.pages} pages at most) for {hours:g} hours "
        "of a UTC day by a moved clock: a post costs $0.005 and a user $0.010, each once a day.",
        ["asked for", "requests", "posts read", "users read", "reckoned", "billed"],
    )
    asked = Reader().read(rounds)
    every = Reader(query_filter="none").read(rounds)
    expanded = Reader("author_id", query_filter="none").read(rounds)
    ways = {"as tbcache asks": asked, "every post with the cashtag": every, "their authors as well": expanded}
    found.rows += [row(what, day) for what, day in ways.items()]
    found.bars += [
        Bar("no user is read", str(asked.users), asked.users == 0),
        *(
            Bar(f"reckoned to the cent{what}", f"{off:.4f} off", off < 0.01)
            for what, off in (("", _off(asked)), (", users included", _off(expanded)))
        ),
    ]
    return found


def row(what: str, day: Day) -> list[str]:
    counts = [str(count) for count in (day.requests, day.posts, day.users)]
    return [what, *counts, f"${day.reckoned:.2f}", f"${day.billed:.2f}"]


def _off(day: Day) -> float:
    return abs(day.reckoned - day.billed)
