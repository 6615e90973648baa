"""What a process has bought of a symbol while Redis was away is bought once: it is added to what is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from tbcache.admission import Go, Join, Merge, Merged
from tbcache.admission.script import MERGE, StoreMerged, fetch_queue
from tbcache.admission.stock import TRIES
from tbcache.fetch import Pipeline
from tbcache.fetch.reader import Fetched
from tbcache.fetch.record import Extension, extended, merged_with
from tbcache.io import now, run
from tbcache.models import FetchRequest, HttpRequest, Item, Outcome, Page, RawResponse
from tbcache.models.error import ConfigurationError
from tbcache.repository import decode_answer
from tbcache.settings import Settings, Source
from tbcache.store import Refused, Store, Unavailable
from tbcache.store.clock import Jump
from tbcache.store.envelope import UNCLEARED, birth_of, fresh_until, seal, stamps_of, value_of
from tbcache.store.memory import MOST_BOUGHT_BYTES, Bought
from tbcache.store.wire import MICROS
from tbcache.timeline import Past, Record, Scored, Span, decode_record, encode_record
from tests.blocking import core
from tests.core.conftest import Kept, Upstream, ask
from tests.core.test_one_memory import OPEN, Process
from tests.server import wait_until

SOURCE = replace(OPEN, lag_seconds=0.0)
AAPL = FetchRequest("twitter", "AAPL")
LINE = "twitter:AAPL:timeline"


@dataclass
class Market(Upstream):
    """An upstream that is asked by time, with at most ``size`` posts a page."""

    source: Source = SOURCE
    persist_to_db: bool = True
    posts: list[Item] = field(default_factory=list)
    size: int = 100
    bought: list[str] = field(default_factory=list)
    asked_at: datetime = datetime(2000, 1, 1, tzinfo=UTC)

    def post(self, name: str, hours: float = 0.0) -> None:
        # A bot may take the server's clock for a little later than it is, and asks for what is of after that.
        at = max(datetime.now(UTC), self.asked_at + timedelta(milliseconds=1)) - timedelta(hours=hours)
        self.posts.insert(0, Item(name, at, "to the moon", author=name))

    def request(self, fetch: FetchRequest, cursor: str | None, since: datetime) -> HttpRequest:
        request = super().request(fetch, cursor, since)
        self.asked_at = fetch.asked_at or self.asked_at
        until = fetch.until or datetime(3000, 1, 1, tzinfo=UTC)
        return replace(request, params={"cursor": f"{since.timestamp()} {until.timestamp()} {cursor or 0}"})

    def parse(self, response: RawResponse) -> Page:
        since, until, first = map(float, response.body.decode().split())
        wanted = [post for post in self.posts if post.at and since <= post.at.timestamp() <= until]
        page, end = wanted[int(first) : int(first) + self.size], int(first) + self.size
        self.bought += [post.id for post in page]
        is_last = end >= len(wanted)
        return Page(tuple(page), None if is_last else str(end), exhausted=is_last)


class Bot(Process):
    """A process that asks for a symbol."""

    def __init__(self, store: Store, settings: Settings, market: Market) -> None:
        super().__init__(store, settings)
        self.market, self.pipeline = market, Pipeline(core(self.admission), Kept)
        assert isinstance(self.admission.admit(ask("WARM", source=OPEN)), Go | Join)

    def ask(self, request: FetchRequest = AAPL, **options: Any) -> Outcome:
        return self.pipeline.run(self.market, request, **options)

    def refresh(self) -> Outcome:
        return self.ask(needed=1e6)

    @contextmanager
    def away(self) -> Iterator[None]:
        """Redis is away from this process, which has slots enough, and comes back to it."""
        breaker = self.store.breaker
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(breaker, "_greet", _absent)
            patch.setattr(core(self.admission)._fallback, "_take", lambda source, slot: None)
            breaker.open(ConnectionError())
            yield
        wait_until(lambda: self.store.is_available)

    def offer(self) -> bytes:
        """Add what was bought to what is there, as an ask does; what is there then."""
        stock = core(self.admission)._stock
        if (merge := run(stock.look(ask(source=OPEN)))) is not None:
            merged = merged_with(self.market, AAPL, merge.timeline, merge.bought.parts)
            run(stock.store(ask(source=OPEN), merge, merged))
        return self.entry

    @property
    def due(self) -> Bought | None:
        return self.memory.bought(LINE)

    @property
    def entry(self) -> bytes:
        return self.store.client.get(self.store.keys.entry(LINE)) or b""

    @property
    def there(self) -> Record:
        return decode_record(value_of(self.entry))


def _absent() -> None:
    raise Unavailable("there", "it is away")


def ids(record: Record) -> set[str]:
    return {version.item.id for version in record.timeline.versions}


@pytest.fixture
def bots(store: Store, settings: Settings) -> Iterator[list[Bot]]:
    """Three processes that ask for the same, of which the last has told Redis what there was an hour ago."""
    market = Market()
    market.post("old", 3)
    market.post("before", 1)
    with closing(Store(settings)) as second, closing(Store(settings)) as third:
        found = [Bot(each, settings, market) for each in (store, second, third)]
        found[2].ask()
        yield found
        for bot in found:
            bot.pipeline.close()
            bot.memory.close()


@pytest.mark.usefixtures("every_driver")
def test_what_was_bought_while_redis_was_away_is_there_for_all_when_it_is_back(bots: list[Bot]) -> None:
    """A restart of some seconds cost each process all that it had bought in them, and all at once."""
    mine, other, _ = bots
    other.ask(replace(AAPL, hours=6))
    with mine.away():
        mine.market.post("alone")
        mine.ask()
        mine.market.post("later")
        mine.refresh()
        alone = mine.ask()
    assert mine.due is not None
    sent = len(mine.market.sent)
    for bot in (mine, other):
        found = bot.ask()
        assert found.origin == "cache"
        assert timedelta() < found.as_of - alone.as_of < timedelta(seconds=0.001), "nothing goes back in time"
        assert (found.sentiment.count, found.sentiment.score) == (4, alone.sentiment.score)
        assert found.complete
    assert alone.sentiment.count == 4
    assert mine.store.client.ttl(mine.store.keys.entry(LINE)) > 6 * 86_400
    shorter = other.ask(replace(AAPL, hours=2))
    assert (shorter.as_of, shorter.sentiment.count) == (found.as_of, 3)
    assert other.ask(replace(AAPL, hours=6)).as_of == found.as_of, "all answers are of the last load"
    mine.market.post("new")
    mine.refresh()
    assert len(mine.market.sent) == sent + 1
    assert mine.market.bought[-1:] == ["new"], "nothing is bought again"
    assert mine.due is None


@pytest.mark.usefixtures("every_driver")
@pytest.mark.parametrize("is_first", [True, False])
def test_each_adds_its_part_whoever_comes_first(bots: list[Bot], is_first: bool) -> None:
    """One has the last minutes, and another more hours; neither is all of it."""
    mine, other, _ = bots
    mine.market.post("long ago", 30)
    mine.market.posts.sort(key=lambda post: post.at or datetime.now(UTC), reverse=True)
    day, two = AAPL, replace(AAPL, hours=48)
    with mine.away(), other.away():
        longer = mine.ask(two)
        other.market.post("alone")
        newest = other.ask(day)
    assert longer.sentiment.count == newest.sentiment.count == 3
    sent = len(mine.market.sent)
    fresh = [0]
    for bot, request in ((mine, two), (other, day))[:: 1 if is_first else -1]:
        bot.ask(request)
        fresh.append(fresh_until(mine.entry))
    assert fresh == sorted(set(fresh)), "by that others see that it is another timeline"
    assert ids(mine.there) == {"long ago", "old", "before", "alone"}
    found = mine.ask(two)
    assert (found.sentiment.count, found.complete) == (4, True)
    assert found.as_of > newest.as_of
    assert len(mine.market.sent) == sent


def test_a_second_outage_takes_nothing_away(bots: list[Bot]) -> None:
    """Between the two nobody asked for it. What cannot be fresh for so long is not believed to be."""
    mine = bots[0]
    for _ in range(2):
        with mine.away():
            mine.ask()
    assert mine.due is not None
    assert len(mine.due.parts) == 2
    assert mine.due.is_whole
    assert mine.due.fresh_until - mine.due.ended == pytest.approx(SOURCE.cache_ttl)
    ahead = seal(value_of(mine.entry), fresh_until(mine.entry) + 10**12)
    mine.store.client.set(mine.store.keys.entry(LINE), ahead, ex=60)
    due, expected = mine.due, mine.store.clock.moment_us(mine.due.fresh_until, "twitter")
    there = mine.offer()
    assert abs(fresh_until(there) - expected) < 50_000, "it is as fresh as when it was loaded"
    mine.memory.put_timeline(LINE, b"", in_redis=False, bought=due)
    mine.memory.forget_fallback()
    assert mine.offer() == there, "all of it is there"


def test_what_another_adds_at_the_same_time_is_not_lost(bots: list[Bot]) -> None:
    """Each would write over what the other has stored since it looked."""
    mine, other, _ = bots
    stock = mine.admission.core._stock
    with mine.away(), other.away():
        mine.ask(replace(AAPL, hours=48))
        mine.market.post("alone")
        other.ask()
    for _ in range(3):
        merge = run(stock.look(ask(source=OPEN)))
        assert isinstance(merge, Merge)
        merged = Merged(b'{"h":24,"t":"x"}', 24, b'"answer"', datetime.now(UTC))
        other.refresh()
        theirs = other.entry
        run(stock.store(ask(source=OPEN), merge, merged))
        assert other.entry == theirs
    assert mine.due is None, "it is given up after some tries"


@pytest.mark.parametrize("where", ["look", "store", "answer"])
def test_an_outage_as_it_is_added_takes_nothing_away(
    bots: list[Bot], monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """A Redis that comes and goes, as one that restarts again and again, cost what was bought each time."""
    mine = bots[0]
    with mine.away():
        mine.market.post("alone")
        mine.ask()
    store, asked = mine.store, mine.store.ask

    async def goes_away(script: Any, call: Any) -> Any:
        if where == "answer":
            await asked(script, call)
        raise Unavailable("there", "it is away")

    for _ in range(TRIES - 1):
        with monkeypatch.context() as patch:
            if where == "look":
                patch.setattr(store, "pipeline", lambda *commands: goes_away(None, None))
            patch.setattr(store, "ask", goes_away)
            with suppress(Unavailable):
                mine.offer()
    assert (mine.due is None) == (where == "answer"), "what is there is not added once more"
    assert ids(decode_record(value_of(mine.offer()))) == {"old", "before", "alone"}
    assert mine.due is None
    assert store.client.xlen(store.keys.outbox("twitter")) == 2, "the past is told once"


def test_what_redis_goes_by_again_and_again_is_given_up(
    bots: list[Bot], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be why it goes: each return would end with the first ask for the symbol."""
    mine = bots[0]
    with mine.away():
        mine.ask()

    async def goes_away(*commands: Any) -> Any:
        raise Unavailable("there", "it is away")

    monkeypatch.setattr(mine.store, "pipeline", goes_away)
    for _ in range(TRIES):
        assert mine.due is not None
        with pytest.raises(Unavailable):
            mine.offer()
    assert mine.due is None


def test_what_is_old_by_then_still_goes_before_what_is_older(bots: list[Bot]) -> None:
    """A bot was given as stale what it had had before the outage."""
    mine = bots[0]
    mine.market.source = replace(mine.market.source, cache_ttl=0.05)
    bots[2].refresh()
    with mine.away():
        mine.market.post("alone")
        alone = mine.refresh()
    found = mine.ask(patience=0.0)
    assert (found.origin, found.sentiment.count) == ("stale", 3)
    assert found.as_of > alone.as_of
    mine.pipeline.close()
    assert mine.market.bought.count("alone") == 1


def test_a_part_is_added_to_what_it_goes_on_from(bots: list[Bot], monkeypatch: pytest.MonkeyPatch) -> None:
    """What this process had loaded before is asked for no more, and stands in Redis alone."""
    mine, admission, parts = bots[0], core(bots[0].admission), list[bytes | None]()
    settle = admission.settle

    async def noting(grant: Any, settlement: Any) -> Any:
        parts.append(settlement.bought)
        return await settle(grant, settlement)

    monkeypatch.setattr(admission, "settle", noting)
    mine.memory.put_timeline(LINE, value_of(mine.entry), in_redis=False)
    before = mine.market.bought.copy()
    with mine.away():
        mine.market.post("alone")
        mine.refresh()
    line = mine.memory.timeline(LINE)
    assert mine.market.bought == [*before, "alone"]
    assert mine.due is not None
    assert [decode_record(part).hours for part in mine.due.parts] == [1], "it says nothing of a day"
    assert mine.due.began < mine.due.ended, "what is removed while it loads does not come back"
    mine.ask()
    assert line is not None
    assert ids(mine.there) == ids(decode_record(line))
    assert mine.there.timeline.coverage.spans[0].end == decode_record(line).timeline.coverage.spans[0].end
    mine.store.client.delete(mine.store.keys.entry(LINE), mine.store.keys.entry(AAPL.key))
    with mine.away():
        mine.refresh()
    assert mine.offer() == b""
    mine.ask()
    assert len(ids(mine.there)) == 3
    assert mine.market.bought[-3:] == ["alone", "before", "old"], "alone, a part would be taken for all"
    assert [part is not None for part in parts] == [True, True, False]


def test_the_past_is_told_as_it_was_afterwards(bots: list[Bot]) -> None:
    """A process that had loaded nothing of a symbol before names no load that its own goes on from."""
    mine, other, kept = bots[0], bots[1], Kept()
    mine.pipeline = Pipeline(core(mine.admission), lambda: kept)  # type: ignore[arg-type, return-value]
    other.refresh()
    for _ in range(2):
        with mine.away():
            mine.market.post(f"alone {len(kept.accepted)}")
            mine.ask()
        mine.ask()
    mine.market.post("new")
    other.refresh()
    outbox = mine.store.client.xrange(mine.store.keys.outbox("twitter"))
    answers = [*kept.accepted, *(decode_answer(fields[b"answer"]) for _, fields in outbox)]
    loads = [answer.load for answer in answers if answer.load is not None]
    assert len(loads) == 7
    assert [load.stored_at is not None for load in loads] == [True, True, *[False] * 5], "else by the outbox"
    past = Past(loads, [read for answer in answers for read in answer.reads])
    versions = [Scored(*pair) for answer in answers for pair in answer.items]
    last = past.last(datetime.now(UTC))
    assert last is not None
    found = past.record(last, sorted(versions, key=lambda one: one.seen_at), 24)
    assert found.timeline.versions == mine.there.timeline.versions
    assert found.timeline.coverage == mine.there.timeline.coverage
    assert replace(found, timeline=mine.there.timeline) == mine.there
    assert ids(found) == {"old", "before", "alone 0", "alone 1", "new"}


def test_where_nothing_is_there_the_past_is_told_as_well(bots: list[Bot]) -> None:
    """Of two loads of one symbol at once, over other hours, neither names the other."""
    mine = bots[0]
    with mine.away():
        mine.ask()
        mine.market.post("alone")
        mine.refresh()
    assert mine.due is not None
    first, last = map(decode_record, mine.due.parts)
    mine.store.client.delete(mine.store.keys.entry(LINE), mine.store.keys.entry(AAPL.key))
    assert mine.ask().sentiment.count == 3
    fields = mine.store.client.xrevrange(mine.store.keys.outbox("twitter"), count=1)[0][1]
    answer = decode_answer(fields[b"answer"])
    assert answer.load is not None
    assert answer.load.after == first.read_at
    assert answer.load.read_at == mine.there.read_at > last.read_at
    assert [item.id for item, _ in answer.items] == ["alone"]


def test_what_another_scorer_has_rated_is_rated_anew(bots: list[Bot]) -> None:
    """The scores of two must not be averaged."""
    mine = bots[0]
    timeline = mine.there.timeline
    unrated = replace(timeline, versions=tuple(one._replace(score=0.0) for one in timeline.versions))
    other = replace(mine.there, scorer="other/1", timeline=unrated)
    mine.store.client.set(mine.store.keys.entry(LINE), seal(encode_record(other), 1), ex=60)
    mine.market.posts.clear()
    with mine.away():
        mine.market.post("alone")
        mine.ask()
    assert mine.ask().sentiment.scorer == mine.there.scorer != "other/1"
    assert all(version.score for version in mine.there.timeline.versions)


def test_more_hours_than_are_known_then_are_fetched(bots: list[Bot]) -> None:
    """The answer to who asks first would be that of a day, and stand for a week."""
    mine = bots[0]
    mine.market.post("long ago", 30)
    mine.market.posts.sort(key=lambda post: post.at or datetime.now(UTC), reverse=True)
    with mine.away():
        mine.market.post("alone")
        mine.ask()
    found = mine.ask(replace(AAPL, hours=48))
    assert (found.origin, found.sentiment.count, found.complete) == ("live", 4, True)
    assert mine.market.bought.count("alone") == 1
    assert mine.due is None


def test_what_a_load_has_read_is_whole_by_itself() -> None:
    """What it has read again is in its part as well: where Redis lacks that, it would be said to be none."""
    start = datetime.now(UTC)
    items = [
        Item(name, start - timedelta(minutes=minutes), name)
        for name, minutes in (("a", 3), ("b", 2), ("c", 1))
    ]

    def fetched(first: int, last: int, minutes: float) -> Fetched:
        read, asked_at = tuple(items[first:last]), start + timedelta(minutes=minutes)
        return Fetched(read, read, 1, (Span(start - timedelta(hours=1), asked_at),), None, None, (), asked_at)

    scorer = Upstream().analyzer
    known = extended(None, fetched(0, 2, 0), AAPL, scorer, lambda: start).record
    found = extended(known, fetched(1, 3, 1), AAPL, scorer, lambda: start)
    assert ids(found.record) == {"a", "b", "c"}
    assert ids(found.brought) == {"b", "c"}


@pytest.mark.parametrize(("words", "is_merged"), [("", True), ("stocks", True), ("options", False)])
def test_what_was_bought_by_other_words_is_not_merged(words: str, is_merged: bool) -> None:
    """Its hours would count for what was never found in them."""
    start = datetime.now(UTC)

    def loaded(name: str, minutes: float, search: str) -> Extension:
        asked_at = start + timedelta(minutes=minutes)
        read = (Item(name, asked_at, name),)
        spans = (Span(start - timedelta(hours=1), asked_at),)
        fetched = Fetched(read, read, 1, spans, None, None, (), asked_at)
        return extended(None, fetched, AAPL, Upstream().analyzer, lambda: asked_at, search)

    there, bought = loaded("a", 1, "stocks").packed, encode_record(loaded("b", 2, words).brought)
    found = merged_with(Upstream(), AAPL, there, [bought])
    assert (found is not None) == is_merged
    if found is not None:
        assert decode_record(found.timeline).search == "stocks"


def test_nobodys_answers_cover_less_by_it(bots: list[Bot]) -> None:
    """Three pages of a busy symbol, loaded alone, took the place of the whole day of the fleet."""
    mine, other, _ = bots
    whole, mine.market.size = mine.entry, 2
    with mine.away():
        for number in range(8):
            mine.market.post(f"{number}")
        alone = mine.refresh()
    assert not alone.complete
    assert mine.ask().complete
    assert mine.entry == whole
    assert mine.due is None
    assert other.ask().complete


@pytest.mark.parametrize(
    "event", ["delete", "delete another", "clear", "clear all", "clear under way", "twice"]
)
def test_nothing_comes_back_that_was_removed_since_its_load_began(bots: list[Bot], event: str) -> None:
    """Whoever has removed it was not heard by the process that has it."""
    mine, other, _ = bots
    with mine.away():
        mine.ask()
        if event.startswith("delete"):
            other.cache.delete(AAPL.key if event == "delete" else "twitter:MSFT:24")
        elif event == "clear under way":
            run(other.cache.core._hide("twitter:*"))
        else:
            other.cache.clear_pattern("*" if event == "clear all" else "twitter:*")
        if event == "twice":
            mine.refresh()
    there = mine.entry
    assert mine.offer() == there
    assert mine.due is None
    assert isinstance(mine.admission.admit(ask(source=OPEN, needed=1e6)), Go)


def test_what_is_loaded_after_a_clear_takes_the_place_of_what_is_hidden(bots: list[Bot]) -> None:
    """Its sweep may be still to come; nothing of before it comes back."""
    mine, other, _ = bots
    run(other.cache.core._hide("twitter:*"))
    mine.market.posts = mine.market.posts[:1]
    with mine.away():
        mine.ask()
    bought = mine.due
    assert bought is not None
    mine.memory.offered(LINE, bought)
    later = bought._replace(began=now() + mine.store.clock.timeout + 1)
    mine.memory.put_timeline(LINE, b"", in_redis=False, bought=later)
    mine.memory.forget_fallback()
    assert mine.ask().origin == "cache"
    assert ids(mine.there) == {"before"}
    assert birth_of(mine.entry) > UNCLEARED
    assert other.ask().origin == "cache"


@pytest.mark.parametrize(
    "way", ["another type", "too large", "damaged", "damaged part", "scorer", "refused", "cluster"]
)
def test_an_ask_goes_on_where_nothing_can_be_added(
    bots: list[Bot], monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """What is not put there is loaded again, and nothing waits for it."""
    mine = bots[0]
    with mine.away():
        mine.ask()
    entry, store = mine.store.keys.entry(LINE), mine.store
    bought = mine.due
    assert bought is not None
    if way == "another type":
        store.client.delete(entry)
        store.client.rpush(entry, "x")
        store.client.expire(entry, 60)
    elif way == "too large":
        monkeypatch.setattr("tbcache.admission.stock.MOST_TIMELINE_BYTES", 100)
    elif way == "damaged":
        store.client.set(entry, seal(b'{"h":24,"t":"x"}', 1), ex=60)
    elif way == "damaged part":
        mine.memory.offered(LINE, bought)
        mine.memory.put_timeline(LINE, b"", in_redis=False, bought=bought._replace(parts=(b"x",)))
        mine.memory.forget_fallback()
    elif way == "scorer":
        monkeypatch.setattr("tbcache.fetch.record.sentiment_of", _fails)
    elif way == "refused":
        asked = store.ask

        async def ask_other(script: Any, call: Any) -> Any:
            if script.name == "merge":
                raise Refused("there", "no right")
            return await asked(script, call)

        monkeypatch.setattr(store, "ask", ask_other)
    elif way == "cluster":
        cluster = SimpleNamespace(is_available=True, settings=SimpleNamespace(redis_cluster=True))
        monkeypatch.setattr(core(mine.admission)._stock, "_store", cluster)
    if way == "another type":
        assert run(core(mine.admission)._stock.look(ask(source=OPEN))) is None
    else:
        there = mine.entry
        assert mine.offer() == there
    assert mine.due is None


def test_a_bug_of_adding_is_met_once(bots: list[Bot], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each ask for the symbol would raise it, for as long as the process lives."""
    mine = bots[0]
    with mine.away():
        mine.ask()
    monkeypatch.setattr("tbcache.fetch.record.decode_record", lambda packed: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        mine.ask()
    assert mine.ask().origin == "cache"


def _fails(*_: object) -> Any:
    raise ConfigurationError("a rule has failed")


def merge_of(store: Store, after: Callable[[float], int], **options: Any) -> StoreMerged:
    keys = store.keys
    call = StoreMerged(
        keys.clears("twitter"),
        keys.clears("*"),
        keys.deleted("twitter"),
        keys.entry(LINE),
        keys.entry(AAPL.key),
        keys.outbox("twitter"),
        fetch_queue(keys, "twitter"),
        (),
        asked_us=after(-60),
        deadline_us=after(60),
        began_us=after(10),
        cleared=UNCLEARED,
        head=b"",
        fresh_us=after(300),
        timeline_us=MICROS,
        stale_us=0,
        payload=b"1",
        value=b"2",
        answer=b"",
    )
    return call._replace(**options)


def test_the_script_stores_nothing_that_may_be_wrong(store: Store) -> None:
    """Each is seen by it alone: what a process knows may be a moment old."""
    seconds, _ = store.client.time()

    def after(left: float) -> int:
        return round((seconds + left) * MICROS)

    keys = store.keys
    there = seal(b"0", after(200))
    store.client.set(keys.entry(LINE), there, px=60_000)
    head = stamps_of(there)
    for expected, options in (
        (0, {"head": head, "asked_us": after(30)}),
        (0, {"head": head, "deadline_us": after(-1)}),
        (0, {"head": head, "began_us": after(-3601)}),
        (2, {"head": stamps_of(seal(b"0", after(201)))}),
        (2, {"head": b""}),
        (2, {"head": head, "cleared": UNCLEARED + 1}),
    ):
        assert run(store.ask(MERGE, merge_of(store, after, **options))) == expected, options
        assert store.client.get(keys.entry(LINE)) == there
    assert not store.client.exists(keys.entry(AAPL.key))
    store.client.hset(keys.queue("twitter", "pending"), AAPL.key, "job")
    store.client.expire(keys.queue("twitter", "pending"), 60)
    assert run(store.ask(MERGE, merge_of(store, after, head=head))) == 1
    assert store.client.get(keys.entry(LINE)) == seal(b"1", after(300))
    assert store.client.get(keys.entry(AAPL.key)) == seal(b"2", after(300))
    assert store.client.zrange(keys.queue("twitter", "answered"), 0, -1) == [b"job"], "it waits for that"
    assert 0 < store.client.pttl(keys.entry(LINE)) <= 1000
    assert 280_000 < store.client.pttl(keys.entry(AAPL.key)) <= 300_000
    store.client.delete(keys.entry(AAPL.key))
    head = stamps_of(seal(b"1", after(300)))
    assert run(store.ask(MERGE, merge_of(store, after, head=head, fresh_us=after(-1)))) == 1
    assert not store.client.exists(keys.entry(AAPL.key)), "it would be gone by now"


def test_an_answer_of_a_later_load_stays(store: Store) -> None:
    """Of two loads that ran at once, one has stored its answer, and the other is to store the timeline."""
    seconds, _ = store.client.time()

    def after(left: float) -> int:
        return round((seconds + left) * MICROS)

    answers = [store.keys.entry(key) for key in (AAPL.key, "twitter:AAPL:1", "twitter:AAPL:2")]
    for answer, left in zip(answers, (301, 301, 299), strict=True):
        store.client.set(answer, seal(b"0", after(left)), px=60_000)
    assert run(store.ask(MERGE, merge_of(store, after, others=tuple(answers[1:])))) == 1
    found = [fresh_until(store.client.get(answer) or b"") for answer in answers]
    assert found[:2] == [after(301)] * 2
    assert found[2] < after(60)


@pytest.mark.parametrize("way", ["unknown", "ahead", "set", "set while away"])
def test_what_was_read_by_another_clock_is_not_added(
    bots: list[Bot], monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """A clock that is an hour ahead says that the hour to come is known: no post of it would be asked for."""
    mine, clock = bots[0], bots[0].store.clock

    def jump() -> None:
        before, _ = clock._jumped[-1]
        run(before("twitter", Jump(3600.0, now(), 3600.0, 3600.0, now())))

    with mine.away():
        with monkeypatch.context() as patch:
            if way in ("unknown", "ahead"):
                ranges = {
                    name: msgspec.structs.replace(one, high=one.high + 3600)
                    for name, one in clock._ranges.items()
                }
                patch.setattr(clock, "_ranges", {} if way == "unknown" else ranges)
            mine.ask()
        if way == "set while away":
            jump()
    if way == "set":
        jump()
    assert mine.memory.timeline(LINE) is not None
    assert (mine.due is None) is (way != "ahead")
    there = mine.entry
    assert mine.offer() == there
    assert mine.due is None


def test_of_what_was_bought_no_more_is_kept_than_may_be_added(bots: list[Bot]) -> None:
    """A source that Redis refuses for hours would fill the memory with it."""
    memory, key = bots[0].memory, "twitter:MSFT:timeline"
    bought = Bought((b"x" * (MOST_BOUGHT_BYTES // 2),), now(), now(), now() + 60, is_whole=True)
    for count in (1, 2, 0):
        memory.put_timeline(key, b"line", in_redis=False, bought=bought)
        assert (memory.stats.bytes > MOST_BOUGHT_BYTES // 2) is (count > 0)
        assert memory.bought(key) is None, "Redis has not been away"
        memory.forget_fallback()
        due = memory.bought(key)
        assert (0 if due is None else len(due.parts)) == count
        memory.offered(key, bought._replace(began=0.0))
        assert memory.bought(key) == due, "it is another by now"
    memory.put_timeline(key, b"line", in_redis=False, bought=bought)
    memory.delete("order-1", in_redis=True)
    memory.forget_fallback()
    assert memory.bought(key) is None
    assert memory.stats.bytes == 0
