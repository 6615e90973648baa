"""Whether the past is answered as it was: random moments of recorded days, to the byte.

    python -m bench.past [--days N] [--asks N] [--seed N] [--url URL]

A made-up upstream posts about three symbols; posts are edited, removed, appear late, or in a wrong zone.
Loads come at random, over random hours, end early, meet cleared timelines, and change their scorer on the
way; two may run at once. Each is what the pipeline makes of its pages, and goes to a database as it does:
through JSON, out of order, and some of it twice. The answers of a random moment are then asked of the
database, and compared with what was in Redis then. Ends with 1 if one differs, or knows what it cannot have
known.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from tbcache.fetch.coverage import PageCoverage
from tbcache.fetch.history import answered
from tbcache.fetch.page import bounded
from tbcache.fetch.plan import stretches
from tbcache.fetch.reader import Fetched
from tbcache.fetch.record import extended, rescored, sentiment_of
from tbcache.models import Engagement, FetchRequest, HttpRequest, Item, Page, RawResponse, SymbolSentiment
from tbcache.models.request import Stretch
from tbcache.repository import Answer, SentimentRepository, decode_answer, encode_answer
from tbcache.scoring import VOICES
from tbcache.settings import BUILT_IN
from tbcache.store.codec import encode_sentiment
from tbcache.timeline import Record, Span, decode_record

BEGIN = datetime(2026, 7, 20, 21, tzinfo=UTC)
SYMBOLS = ("AAPL", "GME", "NVDA")
HOURS = (1, 1, 1, 1, 1, 1, 6, 6, 24, 72)
ZONES = (timedelta(0),) * 30 + (timedelta(hours=5),)
WORDS = ("buy", "sell", "hold", "moon", "crash", "beat", "miss", "rally", "short", "fraud", "weak", "flat")


#: One moment in so many is asked for by itself as well: the database is read anew for each.
ALONE = 20


class Hashed:
    """A scorer that costs nothing, and changes its mind with its version."""

    name = "hashed"

    def __init__(self, version: str) -> None:
        self.version = version

    def score(self, texts: list[str]) -> list[float]:
        return [random.Random(f"{self.version}{text}").uniform(-1, 1) for text in texts]


@dataclass
class MadeUp:
    """An upstream of made-up posts, as what makes answers of them knows one; nothing is ever sent to it."""

    analyzer: Hashed = field(default_factory=lambda: Hashed("1"))
    source = replace(BUILT_IN["twitter"], missing=(), lag_seconds=120.0)
    voices = VOICES
    persist_to_db = True

    def request(self, fetch: FetchRequest, cursor: str | None, since: datetime) -> HttpRequest:
        raise AssertionError("a record is made again without asking an upstream")

    def send(self, request: HttpRequest) -> RawResponse:
        raise AssertionError("a record is made again without asking an upstream")

    def parse(self, response: RawResponse) -> Page:
        raise AssertionError("a record is made again without asking an upstream")


class Kept(NamedTuple):
    """What Redis had of a symbol from ``since`` on, and what was answered then over ``hours``."""

    since: datetime
    packed: bytes
    hours: int
    answer: bytes


class Days:
    """Recorded days: what was live, and a database of it."""

    def __init__(self, repository: SentimentRepository, days: float, seed: int) -> None:
        self._dice = random.Random(seed)
        self._repository = repository
        self._written: list[bytes] = []
        self.upstream = MadeUp()
        self.end = BEGIN + timedelta(days=days)
        self.live: dict[str, list[Kept]] = {symbol: [] for symbol in SYMBOLS}
        self.loads = 0
        self._told: list[str] = []
        self._stored_at = BEGIN

    def record(self) -> None:
        """Let the days pass."""
        posts = {symbol: list(self._posts(symbol)) for symbol in SYMBOLS}
        records: dict[str, bytes] = {}
        now = BEGIN + timedelta(hours=2)
        while now < self.end:
            symbol = self._dice.choice(SYMBOLS)
            if self._dice.random() < 0.06:
                records.pop(symbol, None)
            if now > BEGIN + (self.end - BEGIN) / 2:
                self.upstream.analyzer = Hashed("2")
            known = records.get(symbol)
            if known is not None and self._dice.random() < 0.05:
                # Another load of the same timeline, which another process wins.
                self._load(symbol, known, posts[symbol], now - timedelta(seconds=9))
                self.live[symbol].append(self._kept)
            records[symbol] = self._load(symbol, known, posts[symbol], now)
            self.live[symbol].append(self._kept)
            now += timedelta(seconds=self._dice.expovariate(1 / 400))
        self._write(everything=True)

    def differences(self, asks: int) -> Iterator[str]:
        """What is wrong with each of so many answers of random moments; "" where nothing is.

        The moments of a symbol and its hours are asked for as a history, and some of them alone as well.
        """
        span = (self.end - BEGIN).total_seconds()
        drawn = defaultdict[FetchRequest, list[datetime]](list)
        for _ in range(asks):
            request = FetchRequest("twitter", self._dice.choice(SYMBOLS), self._dice.choice((1, 6, 24, 48)))
            drawn[request].append(BEGIN + timedelta(seconds=self._dice.random() * span))
        for request, moments in drawn.items():
            moments.sort()
            history = answered(self._repository, self.upstream, request, moments)
            for number, (moment, found) in enumerate(zip(moments, history, strict=True)):
                if number % ALONE == 0:
                    (alone,) = answered(self._repository, self.upstream, request, [moment])
                    yield "" if alone == found else f"{request.symbol} at {moment}: alone it is another"
                yield self._difference(request, moment, found)

    def _difference(self, request: FetchRequest, moment: datetime, found: SymbolSentiment | None) -> str:
        symbol, hours = request.symbol, request.hours
        live = self._live(symbol, moment)
        if found is None or live is None:
            return "" if not found and not live else f"{symbol} at {moment}: one of both is None"
        where = f"{symbol} over {hours} h at {moment}"
        if found.as_of > moment or any(top.at and top.at > moment + timedelta(days=1) for top in found.top):
            return f"{where}: it knows the future"
        if hours == live.hours and encode_sentiment(found) != live.answer:
            return f"{where}: another answer than was given: {_unlike(found, live.answer)}"
        derived = sentiment_of(self._record(live, found.scorer), request, VOICES)
        same = encode_sentiment(found) == encode_sentiment(derived)
        return "" if same else f"{where}: {_unlike(found, encode_sentiment(derived))}"

    def _live(self, symbol: str, moment: datetime) -> Kept | None:
        kept = self.live[symbol]
        place = bisect_right(kept, moment, key=lambda each: each.since)
        return kept[place - 1] if place else None

    @staticmethod
    def _record(live: Kept, scorer: str) -> Record:
        return rescored(decode_record(live.packed), Hashed(scorer.partition("/")[2]), "")

    # What is posted

    def _posts(self, symbol: str) -> Iterator[tuple[datetime, Item]]:
        """Versions of posts, with the time from which on each can be seen."""
        at, number = BEGIN - timedelta(days=2), 0
        while at < self.end:
            at += timedelta(seconds=self._dice.expovariate(1 / 240))
            number += 1
            yield from self._versions(f"{symbol}-{number}", symbol, at)

    def _versions(self, name: str, symbol: str, at: datetime) -> Iterator[tuple[datetime, Item]]:
        dice = self._dice
        shown = at + timedelta(seconds=dice.choice((0, 0, 0, 20, 90, 1000)))
        item = Item(
            name,
            None if dice.random() < 0.01 else at + dice.choice(ZONES),
            self._text(),
            author=f"author{dice.randrange(40)}",
            label=dice.choice((None, None, None, "bullish", "bearish")),
            weight=dice.choice((1.0, 1.0, 2.5)),
            # Articles are told again.
            kind="article" if symbol == "NVDA" else dice.choice(("post", "post", "reply", "repost")),
            url=f"https://posts.test/{name}",
            symbols=(symbol,) if dice.random() < 0.9 else (symbol, "SPY", "QQQ"),
            engagement=Engagement(likes=dice.randrange(99)),
        )
        yield shown, item
        if dice.random() < 0.08:
            later = shown + timedelta(seconds=dice.expovariate(1 / 5000))
            yield later, replace(item, text=self._text(), first_id=dice.choice((None, name)))
            if dice.random() < 0.3:
                yield later + timedelta(hours=1), replace(item, text="[removed]", is_gone=True)

    def _text(self) -> str:
        words = self._dice.choices(WORDS, k=self._dice.randrange(2, 12))
        if self._dice.random() < 0.1:
            words = self._told or words
        self._told = words
        return " ".join([*words, self._dice.choice(("", "", "\0", "\ud83d", "🚀"))])

    # What is loaded

    def _load(
        self, symbol: str, packed: bytes | None, posts: Sequence[tuple[datetime, Item]], now: datetime
    ) -> bytes:
        request = FetchRequest("twitter", symbol, self._dice.choice(HOURS))
        known = None if packed is None else decode_record(packed)
        fetched = self._fetched(request, known, posts, now)
        read_at = now + timedelta(seconds=self._dice.random() * 3)
        found = extended(known, fetched, request, self.upstream.analyzer, lambda: read_at)
        answer = sentiment_of(found.record, request, VOICES)
        self.loads += 1
        # Until it is stored, bots are given the one before; loads of a symbol are stored one after another.
        self._stored_at = max(self._stored_at, read_at + timedelta(seconds=self._dice.random() * 5))
        self._kept = Kept(self._stored_at, found.packed, request.hours, encode_sentiment(answer))
        written = Answer(answer, found.news, found.reads, found.load).with_stored_at(self._stored_at)
        self._written.append(encode_answer(written))
        self._write()
        return found.packed

    def _fetched(
        self,
        request: FetchRequest,
        known: Record | None,
        posts: Sequence[tuple[datetime, Item]],
        now: datetime,
    ) -> Fetched:
        start, pages = now - timedelta(hours=request.hours), self._dice.choice((1, 3, 99))
        visible = {item.id: item for shown, item in posts if shown <= now}
        items: list[Item] = []
        spans: list[Span] = []
        reason = None
        for part in stretches(known, request, self.upstream.source, now) or (Stretch(start),):
            until = part.until or now
            judge = PageCoverage(part.since, until)
            wanted = [item for item in visible.values() if _is_in(item, part.since, until)]
            wanted.sort(key=lambda item: item.at or now, reverse=True)
            read = wanted[: pages * 30]
            page = Page(tuple(read), "more" if len(read) < len(wanted) else None, exhausted=read == wanted)
            ending = judge.add(page)
            items += bounded("twitter", page).items
            since = part.since if ending == "complete" else judge.since
            if since is not None:
                spans.append(Span(since, until))
            if ending != "complete":
                reason = "page_budget"
                break
        asked = tuple(item for item in items if item.at is None or item.at >= start)
        return Fetched(asked, tuple(items), pages, tuple(spans), reason, None, (), now)

    def _write(self, everything: bool = False) -> None:
        """Some of what waits, in any order; and some of it again."""
        if not everything and len(self._written) < 40:
            return
        self._dice.shuffle(self._written)
        batch = self._written if everything else self._written[:25]
        self._repository.save([decode_answer(data) for data in [*batch, *batch[:3]]])
        self._written = self._written[len(batch) :]


def _is_in(item: Item, since: datetime, until: datetime) -> bool:
    return item.at is None or since <= item.at <= max(until, item.at - timedelta(hours=4))


def _unlike(found: SymbolSentiment, other: bytes) -> str:
    from tbcache.store.codec import decode_sentiment

    one, two = found.as_dict(), decode_sentiment(other).as_dict()
    return ", ".join(f"{name} {one[name]} for {two[name]}" for name in one if one[name] != two[name])[:600]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m bench.past")
    parser.add_argument("--days", type=float, default=7.0)
    parser.add_argument("--asks", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--url", help="a database to use, empty; else one that is removed")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        repository = SentimentRepository(given.url or f"sqlite:///{Path(folder) / 'past.sqlite3'}")
        days = Days(repository, given.days, given.seed)
        began = time.perf_counter()
        days.record()
        recorded = time.perf_counter()
        wrong = [what for what in days.differences(given.asks) if what]
        asked = time.perf_counter()
        repository.close()
    print(f"{days.loads} loads of {len(SYMBOLS)} symbols in {given.days:g} days: {recorded - began:.0f} s")
    each = (asked - recorded) / given.asks * 1000
    print(f"{given.asks} random moments: {len(wrong)} differ; {each:.1f} ms each")
    print(*wrong[:5], sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
