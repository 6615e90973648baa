"""What lies behind the sources: it counts who comes, and refuses, fails or stalls as it is told."""

from __future__ import annotations

import functools
import json
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tbcache.fetch import http_response
from tbcache.io import run, utc_now, world
from tbcache.models import FetchRequest, HttpRequest, Item, Limit, Page, RawResponse
from tbcache.models.error import UpstreamUnavailable
from tbcache.settings import Source
from tbcache.testing.simulated.chance import Chance
from tbcache.testing.simulated.kernel import MICROS, Kernel, micros

#: What an upstream may say as it refuses: words that are also words of ours.
WORDS = ("budget", "limit exceeded", "budget", "closed", "budget", "slow down", "")
#: What a float of so many seconds, and a stamp of whole microseconds, are off by (us).
ROUNDING_US = 5


@dataclass(slots=True)
class Load:
    """One time that somebody set out to ask for a value, page by page."""

    number: int
    key: str
    process: str
    #: How many commands the server had carried out as it began.
    began: int
    began_us: int
    is_over: bool = False


class Upstream:
    """One source's other side."""

    def __init__(
        self, kernel: Kernel, source: Source, chance: Chance, broken: Callable[[str, str], None]
    ) -> None:
        """``broken`` is told of a promise that does not hold: its name, and what happened."""
        self.kernel, self.source = kernel, source
        self._chance, self._broken = chance, broken
        #: When requests came in (us).
        self.arrivals: list[int] = []
        self.who: list[str] = []
        #: "" | "throttled" | "down" | "stalled", until when.
        self.mood, self.mood_until = "", 0
        self.loads: dict[int, Load] = {}
        self.slowest = 0.3
        #: Dollars by day (since 1970). More than the budget may they be by the pages of a window, as
        #: purses are a second old, and by those under way (docs/limits.md).
        self.billed: Counter[int] = Counter()
        self.most_over = 0.0
        #: Dollars for pages that nobody may have told Redis of.
        self.forgone = 0.0
        #: Pages that processes have asked for, and not read yet.
        self.under_way: Counter[str] = Counter()
        #: Redis has lost the day's bill.
        self.is_budget_lost = False
        self.is_counting: Callable[[], bool] = lambda: True
        #: What operators have set, of what has arrived since when (us).
        self.bounds: Callable[[], list[tuple[Limit, int]]] = list

    def bill(self) -> None:
        """A page was read, or would have been."""
        if not self.source.daily_budget or not self.is_counting():
            return
        self.billed[self.day] += self.source.price.per_page
        spent, budget = self.billed[self.day], self.source.daily_budget
        if spent > budget + self.most_over + 1e-9 and not self.is_budget_lost:
            self._broken("budget", f"{spent:.2f} of {budget:.2f} dollars are spent in a day")

    @property
    def day(self) -> int:
        return int(self.kernel.begins_at + self.kernel.now) // 86400

    @property
    def is_spent(self) -> bool:
        """Nothing more is asked for on this day."""
        budget, page = self.source.daily_budget, self.source.price.per_page
        return budget is not None and self.billed[self.day] > budget - self.most_over - page

    def arrive(self, who: str, at_us: int | None = None) -> None:
        """A request is there."""
        if not self.is_counting():
            return
        at = self.kernel.now_us if at_us is None else at_us
        insort(self.arrivals, at)
        for limit, since in (*((limit, 0) for limit in self.source.limits), *self.bounds()):
            if at >= since:
                self._check(at, limit.count, micros(limit.window_seconds), who, since)

    def _check(self, at: int, count: int, span: int, who: str, since: int) -> None:
        first = bisect_left(self.arrivals, max(since, at - span + ROUNDING_US))
        for end in range(bisect_left(self.arrivals, at), len(self.arrivals)):
            while self.arrivals[first] <= self.arrivals[end] - span + ROUNDING_US:
                first += 1
            if end - first + 1 > count:
                inside = [f"{moment / MICROS:.6f}" for moment in self.arrivals[first : end + 1]]
                self._broken(
                    "limit",
                    f"{end - first + 1} of {count} arrived within {span / MICROS} s: {inside} ({who})",
                )
                return
            if self.arrivals[first] > at:
                return

    @property
    def is_serving(self) -> bool:
        """What comes in now is read, and billed, whether its answer arrives or not."""
        return self.kernel.now_us >= self.mood_until or self.mood in ("", "stalled")

    def forgo(self, process: str) -> None:
        """Nobody tells Redis in time what the pages cost that a process has under way."""
        dollars = self.under_way[process] * self.source.price.per_page
        self.most_over += dollars
        self.forgone += dollars

    def answer(self) -> tuple[int, dict[str, str], dict[str, Any], float] | None:
        """Status, headers, body and seconds until it is there; None where it never is."""
        mood = self.mood if self.kernel.now_us < self.mood_until else ""
        seconds = self._chance.uniform(0.005, self.slowest)
        if mood == "stalled":
            return None
        if mood == "throttled":
            words = self._chance.choice(WORDS)
            headers = {"retry-after": str(1 + self._chance.below(3))} if self._chance.happens(0.7) else {}
            return 429, headers, {"error": words} if words else {}, seconds
        if mood == "down":
            return 503, {}, {"error": self._chance.choice(WORDS)}, seconds
        return 200, {}, {}, seconds

    def load_in(self, outcome: Any) -> Any:
        """The :class:`Load` that an outcome comes from; None where nobody made it."""
        return self.loads.get(load_of(outcome.sentiment.score))

    def begin(self, key: str, process: str, carried_out: int) -> Load:
        load = Load(len(self.loads) + 1, key, process, carried_out, self.kernel.now_us)
        self.loads[load.number] = load
        return load


@dataclass
class Provider:
    """One process's way to the upstream, for one ask: what the pipeline takes for a provider."""

    upstream: Upstream
    home: Any
    #: How many commands the server has carried out, and seconds that the process may send for.
    carried_out: Callable[[], int]
    seconds_left: Callable[[], float]
    chance: Chance
    pages: int
    persist_to_db: bool = False
    load: Load | None = None
    #: What was begun to be loaded.
    loads: list[Load] = field(default_factory=list)
    _sent: int = field(default=0)

    name = version = "simulated"
    voices = ()

    @property
    def source(self) -> Source:
        return self.upstream.source

    @property
    def analyzer(self) -> Provider:
        return self

    def score(self, texts: list[str]) -> list[float]:
        return [0.0 for _ in texts]

    def request(self, fetch: FetchRequest, cursor: str | None, since: datetime) -> HttpRequest:
        if cursor is None:
            self.load = self.upstream.begin(fetch.key, self.home.name, self.carried_out())
            self.loads.append(self.load)
        return HttpRequest("GET", "https://upstream", {"page": cursor or "1"})

    async def exchange(self, request: HttpRequest) -> RawResponse:
        kernel = self.upstream.kernel
        left = min(self.seconds_left(), self.home.send_seconds)
        if left <= 0:
            raise self._unanswered("no answer within its time", is_sent=False)
        on_way = self.chance.uniform(0.001, 0.05 if self.chance.happens(0.8) else 1.2 * left)
        began = kernel.now
        if on_way < left:
            kernel.after(on_way, functools.partial(self._arrive, self.upstream.is_serving))
        self.upstream.under_way[self.home.name] += 1
        if on_way >= left or (found := self._answered(on_way, left)) is None:
            await world().sleep(left)
            self.upstream.under_way[self.home.name] -= 1
            raise self._unanswered("no answer within its time", is_sent=True)
        status, headers, body, seconds = found
        await world().sleep(max(0.0, on_way + seconds - (kernel.now - began)))
        self.upstream.under_way[self.home.name] -= 1
        self._sent += 1
        body = {**body, "page": request.params["page"], "load": self.load.number if self.load else 0}
        return RawResponse(status, headers, json.dumps(body).encode(), received_at=utc_now())

    def _arrive(self, is_billed: bool) -> None:
        self.upstream.arrive(self.home.name)
        if is_billed:
            self.upstream.bill()

    def send(self, request: HttpRequest) -> RawResponse:
        return run(self.exchange(request))

    def _answered(self, on_way: float, left: float) -> Any:
        found = self.upstream.answer()
        return None if found is None or on_way + found[3] > left else found

    def _unanswered(self, why: str, *, is_sent: bool) -> UpstreamUnavailable:
        error = UpstreamUnavailable(self.source.name, why)
        error.is_unanswered = is_sent
        return error

    def parse(self, response: RawResponse) -> Page:
        body = http_response.page(self.source.name, response)
        number, at = int(body["page"]), body["load"]
        # One item of many versions: what was read last is all that an answer is made of.
        item = Item(f"{at}.{number}", response.received_at, "", score=at / 1e6, first_id="all")
        more = str(number + 1) if number < self.pages else None
        return Page((item,), next=more, exhausted=more is None)


def load_of(score: float | None) -> int:
    """The number of the load that a sentiment comes from."""
    return round((score or 0.0) * 1e6)
