"""One timeline of a symbol answers for any number of hours."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from scheduler.missing import Candidate
from tbcache.cache import CacheManager
from tbcache.cache.sweep import Sweeper
from tbcache.fetch import Pipeline
from tbcache.fetch.record import sentiment_of
from tbcache.io import run
from tbcache.models import FetchRequest, HttpRequest, Item, Limit, Outcome, Page, RawResponse
from tbcache.models.error import ConfigurationError, UpstreamUnavailable
from tbcache.models.request import Stretch
from tbcache.repository import decode_answer
from tbcache.scoring import VOICES, FinanceVader, VoiceRule
from tbcache.store import Store
from tbcache.store.clock import ServerClock
from tbcache.timeline import Read, Record, Span, Timeline, decode_record, encode_record
from tests.core.conftest import TWITTER, Upstream, item
from tests.server import wait_until

pytestmark = [pytest.mark.every_server, pytest.mark.usefixtures("every_driver")]

AAPL = FetchRequest("twitter", "AAPL")
LINE = "twitter:AAPL:timeline"


def over(hours: int) -> FetchRequest:
    return FetchRequest("twitter", "AAPL", hours)


def hours_ago(hours: float) -> datetime:
    return datetime.now(UTC) - timedelta(hours=hours)


def posts(*ages: float) -> Page:
    """One post for each of so many hours ago, and no more."""
    return Page(tuple(item(f"{age}", hours_ago(age)) for age in ages), exhausted=True)


def age(store: Store, *keys: str) -> None:
    """Let the values under ``keys`` be old."""
    for key in keys:
        entry = store.keys.entry(key)
        store.client.setrange(entry, 5, b"0000000000000001")


def figures(outcome: Outcome) -> tuple[int, float, bool]:
    return outcome.sentiment.count, outcome.covered_hours, outcome.complete


def test_one_fetch_answers_for_any_fewer_hours(pipeline: Pipeline) -> None:
    """Three bots that look at 1, 6 and 24 hours paid for the same posts three times."""
    upstream = Upstream(answer=lambda cursor: posts(0.5, 3, 20))
    found = [pipeline.run(upstream, over(hours)) for hours in (24, 1, 6, 24)]
    assert [each.origin for each in found] == ["live", "cache", "cache", "cache"]
    assert [figures(each) for each in found[:3]] == [(3, 24, True), (1, 1, True), (2, 6, True)]
    assert len(upstream.sent) == 1


def test_answers_of_one_timeline_are_of_one_moment(pipeline: Pipeline) -> None:
    """It knows nothing of what came since: its age is that of what it was made of."""
    upstream = Upstream(answer=lambda cursor: posts(0.5))
    first, other = pipeline.run(upstream, over(24)), pipeline.run(upstream, over(1))
    assert other.as_of == first.as_of


def test_a_load_ends_the_answers_over_other_hours(pipeline: Pipeline, store: Store) -> None:
    """They were of an earlier load until they expired, while the past is told by the last one."""
    upstream = Upstream(answer=lambda cursor: posts(0.5))
    pipeline.run(upstream, over(2))
    kept = store.client.pttl(store.keys.entry("twitter:AAPL:2"))
    upstream.answer = lambda cursor: posts(0.2, 0.5, 3)
    loaded = pipeline.run(upstream, over(4))
    assert 0 < store.client.pttl(store.keys.entry("twitter:AAPL:2")) <= kept
    found = pipeline.run(upstream, over(2))
    assert (found.origin, found.as_of, found.sentiment.count) == ("cache", loaded.as_of, 2)
    assert len(upstream.sent) == 3


def test_what_was_derived_is_a_hit_for_all(pipeline: Pipeline, store: Store) -> None:
    """The timeline may be long, and is read once; the answer is short."""
    upstream = Upstream(answer=lambda cursor: posts(0.5))
    pipeline.run(upstream, over(24))
    pipeline.run(upstream, over(1))
    assert store.client.pttl(store.keys.entry("twitter:AAPL:1")) > 0
    store.client.delete(store.keys.entry(LINE))
    assert pipeline.run(upstream, over(1)).origin == "cache"
    assert len(upstream.sent) == 1


def test_a_derived_answer_needs_no_slot(pipeline: Pipeline) -> None:
    """With the limit used up, what is known is known."""
    upstream = Upstream(replace(TWITTER, limits=(Limit(1, 60.0),)), lambda cursor: posts(0.5))
    pipeline.run(upstream, over(24))
    assert pipeline.run(upstream, over(6), patience=0).origin == "cache"


def test_a_job_that_waits_for_what_was_derived_is_found(pipeline: Pipeline, store: Store) -> None:
    """It would wait for a slot behind all others of its queue, and needs none."""
    store.client.hset(store.keys.queue("twitter", "pending"), "twitter:AAPL:1", "job")
    store.client.expire(store.keys.queue("twitter", "pending"), 60)
    upstream = Upstream(answer=lambda cursor: posts(0.5))
    pipeline.run(upstream, over(24))
    answered = store.keys.queue("twitter", "answered")
    assert not store.client.exists(answered)
    pipeline.run(upstream, over(1))
    assert store.client.zrange(answered, 0, -1) == [b"job"]


def test_more_hours_than_were_asked_for_are_fetched(pipeline: Pipeline) -> None:
    """A timeline of an hour says nothing of the day, and is no reason to claim it."""
    upstream = Upstream(answer=lambda cursor: posts(0.5, 20))
    assert figures(pipeline.run(upstream, over(1))) == (1, 1, True)
    day = pipeline.run(upstream, over(24))
    assert (day.origin, figures(day)) == ("live", (2, 24, True))
    assert pipeline.run(upstream, over(12)).origin == "cache"


def test_what_was_read_before_widens_the_answer(pipeline: Pipeline, store: Store) -> None:
    """For a busy symbol 24 hours were the last one and a half, for ever: each refresh began anew."""
    pages = [(Page((item("old", hours_ago(3)),), next="x")), Page((item("new", hours_ago(1)),), next="x")]
    source = replace(TWITTER, pages=1)
    first = pipeline.run(Upstream(source, lambda cursor: pages[0]), AAPL)
    assert first.sentiment.count == 1
    age(store, AAPL.key, LINE)
    refresh = replace(pages[1], items=(*pages[1].items, *pages[0].items))
    second = pipeline.run(Upstream(source, lambda cursor: refresh), AAPL, needed=1)
    assert (second.sentiment.count, second.sentiment.reason) == (2, "page_budget")
    assert second.covered_hours == pytest.approx(3, abs=0.1)


@dataclass
class Searched(Upstream):
    """An upstream that finds posts by words."""

    words: str = ""

    def search_words(self, symbol: str) -> str:
        return self.words


@pytest.mark.parametrize(
    ("before", "after", "covered"),
    [("stocks", "stocks+options", 1), ("stocks", "stocks", 3), ("", "stocks", 3), ("stocks", "", 3)],
)
def test_what_was_found_by_other_words_covers_nothing(
    pipeline: Pipeline, store: Store, before: str, after: str, covered: float
) -> None:
    """A subreddit more, and for a day the hours of before it were called complete. A version that does not
    say by what it has found a record is believed: an upgrade would pay for all of them again."""
    posts = item("old", hours_ago(3)), item("new", hours_ago(1))
    source = replace(TWITTER, pages=1)
    old = Searched(source, lambda cursor: Page((posts[0],), next="x"), words=before)
    assert pipeline.run(old, AAPL).sentiment.count == 1
    age(store, AAPL.key, LINE)
    page = Page(posts if covered > 1 else posts[1:], next="x")
    found = pipeline.run(Searched(source, lambda cursor: page, words=after), AAPL, needed=1).sentiment
    assert found.covered_hours == pytest.approx(covered, abs=0.1)
    assert found.count == (2 if covered > 1 else 1)


def test_an_edited_post_counts_as_it_is_now(pipeline: Pipeline, store: Store) -> None:
    """It was one voice, and is one, and has changed its mind."""
    before = Item("1", hours_ago(1), "great earnings beat, strong buy")
    after = Item("2", hours_ago(0.1), "terrible, a fraud, sell everything", first_id="1")
    for post, sign in ((before, 1), (after, -1)):
        page = Page((post,), exhausted=True)
        found = pipeline.run(Upstream(answer=lambda cursor, page=page: page), AAPL, needed=1).sentiment
        assert found.count == 1
        assert (found.score or 0) * sign > 0
        age(store, AAPL.key, LINE)


def test_two_that_want_other_hours_of_one_symbol_share_a_fetch(pipeline: Pipeline) -> None:
    """Their answers have keys of their own, and expire at the same moment."""
    asked, go_on = threading.Event(), threading.Event()

    def slowly(cursor: str | None) -> Page:
        asked.set()
        assert go_on.wait(20)
        return posts(0.5, 20)

    upstream = Upstream(answer=slowly)
    with ThreadPoolExecutor(2) as pool:
        day = pool.submit(pipeline.run, upstream, over(24))
        assert asked.wait(20)
        hour = pool.submit(pipeline.run, upstream, over(1))
        lease = pipeline.admission._store.keys.lease(LINE)
        try:
            wait_until(lambda: int(pipeline.admission._store.client.hget(lease, "waiters") or 0) == 1, 20)
        finally:
            go_on.set()
        assert (day.result(20).origin, hour.result(20).origin) == ("live", "cache")
    assert len(upstream.sent) == 1


@pytest.mark.parametrize("pattern", ["twitter:*", "twitter:AAPL:*", "twitter:AAPL:24", "*:24", "*4", "*"])
def test_a_clear_takes_the_timeline_that_an_answer_was_made_of(
    pipeline: Pipeline, store: Store, pattern: str
) -> None:
    """The next ask would get the same answer again, from what nobody knows is there."""
    upstream = Upstream(answer=lambda cursor: posts(0.5))
    pipeline.run(upstream, AAPL)
    assert CacheManager(store, pipeline.admission.memory).clear_pattern(pattern) == 1
    assert store.client.exists(store.keys.entry(LINE)) == 0
    assert pipeline.run(upstream, AAPL).origin == "live"


@pytest.mark.parametrize(("pattern", "hours"), [("twitter:AAPL:24", 1), ("twitter?AAPL?24", 24)])
def test_what_is_cleared_and_not_removed_yet_is_made_into_no_answer(
    pipeline: Pipeline, store: Store, pattern: str, hours: int
) -> None:
    """Its removal may take seconds; a pattern may match the answer alone."""
    upstream = Upstream(answer=lambda cursor: posts(0.5))
    pipeline.run(upstream, AAPL)
    run(Sweeper(store).hide(pattern))
    assert pipeline.run(upstream, over(hours)).origin == "live"


@pytest.mark.parametrize(
    "pattern",
    ["twitter:AAPL:24:rules-1a2b3c4d", "twitter:AAPL:24:*", "twitter:AAPL:*:rules-*", "*:24:rules-*"],
)
def test_a_clear_of_answers_by_other_rules_takes_the_timeline_as_well(
    pipeline: Pipeline, store: Store, pattern: str
) -> None:
    """They are made of the same one as those by the rules of the settings."""
    upstream, request = Upstream(answer=lambda cursor: posts(0.5)), replace(AAPL, rules="rules-1a2b3c4d")
    pipeline.run(upstream, request)
    assert CacheManager(store, pipeline.admission.memory).clear_pattern(pattern) == 1
    assert store.client.exists(store.keys.entry(LINE)) == 0
    assert pipeline.run(upstream, request).origin == "live"


def test_an_answer_by_rules_of_ones_own_is_written_as_nobody_elses(pipeline: Pipeline, store: Store) -> None:
    """The newest answer in the database was by one bot's scorer for everybody, in place of theirs."""
    upstream = Upstream(answer=lambda cursor: posts(0.5), persist_to_db=True)
    for hours, rules in ((24, "rules-1a2b3c4d"), (24, ""), (6, "rules-1a2b3c4d")):
        pipeline.run(upstream, replace(over(hours), rules=rules))
    entries = store.client.xrange(store.keys.outbox("twitter"))
    answers = [decode_answer(fields[b"answer"]) for _, fields in entries]
    assert [(answer.is_private, len(answer.items)) for answer in answers] == [(True, 1), (False, 0)]


def test_deleting_an_answer_takes_its_timeline(pipeline: Pipeline, store: Store) -> None:
    """Whoever deletes it wants it to be fetched."""
    upstream = Upstream(answer=lambda cursor: posts(0.5))
    pipeline.run(upstream, AAPL)
    assert CacheManager(store, pipeline.admission.memory).delete(AAPL.key)
    assert pipeline.run(upstream, AAPL).origin == "live"


@pytest.mark.parametrize("damage", [b"garbage", b'{"h":24,"t":"x"}'])
def test_a_damaged_timeline_is_read_anew(pipeline: Pipeline, store: Store, damage: bytes) -> None:
    """Corrupt bytes cost one fetch and lose nothing."""
    upstream = Upstream(answer=lambda cursor: posts(0.5))
    pipeline.run(upstream, AAPL)
    entry = store.keys.entry(LINE)
    store.client.setrange(entry, 47, damage + b"}")
    store.client.delete(store.keys.entry(AAPL.key))
    assert pipeline.run(upstream, AAPL).origin == "live"
    assert decode_record(store.client.get(entry)[47:-1]).timeline.versions


def test_a_timeline_whose_load_lost_its_lease_is_not_kept(pipeline: Pipeline, store: Store) -> None:
    """What was cleared while it was fetched does not come back with it."""

    def cleared(cursor: str | None) -> Page:
        store.client.delete(store.keys.lease(LINE))
        return posts(0.5)

    pipeline.run(Upstream(answer=cleared), AAPL)
    assert store.client.exists(store.keys.entry(LINE)) == 0


def test_a_load_that_another_overtook_is_no_part_of_the_past(pipeline: Pipeline, store: Store) -> None:
    """A scorer outlived the lease: every bot was told what one load found, a backtest the other."""
    other = Upstream(answer=lambda cursor: posts(0.5, 0.6), persist_to_db=True)

    def overtaken(cursor: str | None) -> Page:
        for key in (AAPL.key, LINE):
            store.client.delete(store.keys.lease(key))
        assert pipeline.run(other, AAPL).sentiment.count == 2
        return posts(0.7)

    assert pipeline.run(Upstream(answer=overtaken, persist_to_db=True), AAPL).sentiment.count == 1
    assert pipeline.run(other, AAPL).sentiment.count == 2
    assert who_was_overtaken(store) == [False, True]


def test_all_answers_are_of_the_load_that_ended_last(pipeline: Pipeline, store: Store) -> None:
    """The slower of two loads put its answer over that of the timeline, which knew more; so did the past."""
    other = Upstream(answer=lambda cursor: posts(0.5, 0.6, 30.0), persist_to_db=True)

    def overtaken(cursor: str | None) -> Page:
        assert pipeline.run(other, over(72)).sentiment.count == 3
        return posts(0.7)

    assert pipeline.run(Upstream(answer=overtaken, persist_to_db=True), AAPL).sentiment.count == 1
    outcomes = [pipeline.run(other, over(hours)) for hours in (72, 24, 6)]
    assert [outcome.sentiment.count for outcome in outcomes] == [3, 2, 2]
    assert len({outcome.sentiment.as_of for outcome in outcomes}) == 1
    assert who_was_overtaken(store) == [False, True, False, False]


@pytest.mark.parametrize("before", ["nothing", "fewer hours", "what was cleared"])
def test_what_one_load_found_is_told_where_the_other_has_failed(
    pipeline: Pipeline, store: Store, before: str
) -> None:
    """Also where there is a fresh timeline from before both: of fewer hours, or cleared and still there."""

    def failing(cursor: str | None) -> Page:
        raise UpstreamUnavailable("twitter", "down")

    def slow(cursor: str | None) -> Page:
        with pytest.raises(UpstreamUnavailable):
            pipeline.run(Upstream(answer=failing), over(72))
        return posts(0.7)

    if before != "nothing":
        pipeline.run(Upstream(answer=lambda cursor: posts(0.8)), over(6))
    if before == "what was cleared":
        run(Sweeper(store).hide("twitter:*"))
    upstream = Upstream(answer=slow, persist_to_db=True)
    pipeline.run(upstream, AAPL)
    assert pipeline.run(upstream, AAPL).origin == "cache"
    assert who_was_overtaken(store) == [False]


def who_was_overtaken(store: Store) -> list[bool]:
    entries = store.client.xrange(store.keys.outbox("twitter"))
    return [fields.get(b"overtaken") == b"1" for _, fields in entries]


def test_a_failed_fetch_leaves_the_timeline_and_no_lease(pipeline: Pipeline, store: Store) -> None:
    """What was paid for stays known."""
    upstream = Upstream(answer=lambda cursor: posts(0.5))
    pipeline.run(upstream, AAPL)
    before = store.client.get(store.keys.entry(LINE))

    def down(cursor: str | None) -> Page:
        raise UpstreamUnavailable("twitter", "down")

    with pytest.raises(UpstreamUnavailable):
        pipeline.run(Upstream(answer=down), over(48))
    assert store.client.get(store.keys.entry(LINE)) == before
    assert store.client.exists(store.keys.lease(LINE)) == 0


def test_another_scorer_scores_what_is_known_anew(pipeline: Pipeline, store: Store) -> None:
    """A mean of two scorers' figures means nothing."""

    class Bear(FinanceVader):
        name = "bear"

        def score_for(self, texts: list[str], symbol: str) -> list[float]:  # type: ignore[override]
            return [-1.0 for _ in texts]

    pipeline.run(Upstream(answer=lambda cursor: posts(0.5)), over(24))
    other = Upstream(answer=lambda cursor: posts(0.5))
    other.__dict__["scorer"] = Bear()
    other.__class__ = type("Other", (Upstream,), {"analyzer": property(lambda self: self.scorer)})
    found = pipeline.run(other, over(1)).sentiment
    assert (found.score, found.scorer.partition("/")[0]) == (-1.0, "bear")


def test_what_goes_to_the_database_is_what_is_new(pipeline: Pipeline, store: Store) -> None:
    """The whole day was written again with each refresh."""
    known = {each: item(f"{each}", hours_ago(each)) for each in (1.0, 2.0, 3.0)}
    for ages in ((2.0, 3.0), (1.0, 2.0, 3.0)):
        page = Page(tuple(known[each] for each in ages), exhausted=True)
        pipeline.run(Upstream(answer=lambda cursor, page=page: page, persist_to_db=True), AAPL, needed=1)
        age(store, AAPL.key, LINE)
    answers = [
        decode_answer(fields[b"answer"]) for _, fields in store.client.xrange(store.keys.outbox("twitter"))
    ]
    assert [[each.id for each, _ in answer.items] for answer in answers] == [["2.0", "3.0"], ["1.0"]]
    for answer in answers:
        (read,) = answer.reads
        assert read.at == answer.sentiment.as_of
        assert all(each.seen_at == read.at for each, _ in answer.items)


def test_an_answer_is_whole_though_the_servers_time_is_found_to_be_less(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its clock is known better with each look: a microsecond made a whole answer a partial one."""
    times = [hours_ago(0)] * 3

    def today(clock: ServerClock) -> datetime:
        times.append(times[-1] - timedelta(milliseconds=5))
        return times[-1]

    monkeypatch.setattr(ServerClock, "today", property(today))
    assert pipeline.run(Upstream(answer=lambda cursor: posts(0.5)), AAPL).complete


# Refreshes


@dataclass
class Asked(Upstream):
    """An upstream that notes which part of the hours it is asked for."""

    stretches: list[Stretch | None] = field(default_factory=list)

    def request(self, fetch: FetchRequest, cursor: str | None, since: datetime) -> HttpRequest:
        self.stretches.append(fetch.stretch)
        return super().request(fetch, cursor, since)


def test_a_refresh_asks_for_what_is_new_alone(pipeline: Pipeline, store: Store) -> None:
    """Each refresh bought the day again."""
    known = tuple(item(f"{20 - ago}", hours_ago(ago)) for ago in (1, 2, 3, 20))
    upstream = Asked(answer=lambda cursor: Page(known, exhausted=True))
    pipeline.run(upstream, AAPL)
    age(store, AAPL.key, LINE)
    upstream.answer = lambda cursor: Page((item("3", hours_ago(0)),), exhausted=True)
    found = pipeline.run(upstream, AAPL, needed=1)
    assert figures(found) == (5, 24, True)
    first, second = upstream.stretches
    assert first is None
    assert second is not None
    assert second.since == pytest.approx(hours_ago(0), abs=timedelta(seconds=60))
    assert (second.since_id, second.until) == ("18", None)


@pytest.mark.parametrize(
    ("seconds", "covered"), [(200, 24), (600, 23.833), (2 * 3600, 22), (25 * 3600, 0), (2e9, 0)]
)
def test_nothing_is_missed_where_the_upstreams_clock_is_behind(
    pipeline: Pipeline, store: Store, seconds: float, covered: float
) -> None:
    """Its posts seemed older than what had been read by then, were never asked for, and the hours whole."""

    class Behind(Asked):
        def send(self, request: HttpRequest) -> RawResponse:
            # A machine that does not know the time says 1970.
            date = max(hours_ago(seconds / 3600), datetime(1970, 1, 1, tzinfo=UTC))
            return replace(super().send(request), headers={"date": format_datetime(date, usegmt=True)})

    upstream = Behind(answer=lambda cursor: posts(23))
    is_near = covered == 24
    for _ in range(2):
        posted = hours_ago(seconds / 3600)
        found = pipeline.run(upstream, AAPL, needed=1)
        assert found.covered_hours == pytest.approx(covered, abs=0.01)
        assert (found.complete, found.sentiment.reason) == (is_near, None if is_near else "not_yet")
        assert not Candidate(AAPL, found.sentiment, asks=1).is_fillable
        age(store, AAPL.key, LINE)
    second = upstream.stretches[-1]
    assert second is not None
    assert second.since < max(posted, hours_ago(23.99))


def test_items_prove_that_only_the_date_is_wrong(pipeline: Pipeline, store: Store) -> None:
    """A proxy that does not know the time had each refresh pay for all hours: nothing counted as known. A
    single item is no proof: it may be dated ahead."""

    class Wrong(Asked):
        def send(self, request: HttpRequest) -> RawResponse:
            headers = {"date": "Thu, 01 Jan 1970 00:00:00 GMT"}
            return replace(super().send(request), headers=headers)

    upstream = Wrong(answer=lambda cursor: posts(0.5, 5))
    assert figures(pipeline.run(upstream, AAPL, needed=1)) == (2, 0, False)
    age(store, AAPL.key, LINE)
    upstream.answer = lambda cursor: posts(-0.1, 0.01, 0.02, 0.5, 5)
    found = pipeline.run(upstream, AAPL, needed=1)
    assert found.sentiment.until == pytest.approx(hours_ago(0.5), abs=timedelta(seconds=60))
    assert figures(found) == (5, pytest.approx(23.5, abs=0.02), False)
    age(store, AAPL.key, LINE)
    pipeline.run(upstream, AAPL, needed=1)
    third = upstream.stretches[-1]
    assert third is not None
    assert third.since == pytest.approx(hours_ago(0.5), abs=timedelta(seconds=90))


@pytest.mark.parametrize(("seconds", "is_whole"), [(1, True), (10, False)])
def test_what_came_while_a_scorer_ran_is_not_said_to_be_known(seconds: float, is_whole: bool) -> None:
    """An answer that took ten seconds to score said that it was true of these."""
    now = hours_ago(0)
    asked = now - timedelta(seconds=seconds)
    timeline = Timeline.of((), [Read(Span(asked - timedelta(hours=24), asked), now)])
    found = sentiment_of(Record(timeline, asked, now, 24, "none"), AAPL, VOICES)
    assert (found.complete, found.until) == (True, None if is_whole else asked)


def test_a_refresh_ends_where_it_meets_what_is_known(pipeline: Pipeline, store: Store) -> None:
    """An upstream that gives the same page again is asked for one page, not for all of the day."""
    old = tuple(item(f"{n}", hours_ago(n / 10)) for n in range(10, 1, -1))[::-1]
    pages = {None: Page(old, next="more"), "more": Page((item("last", hours_ago(30)),), exhausted=True)}
    upstream = Asked(answer=lambda cursor: pages[cursor])
    assert pipeline.run(upstream, AAPL).complete
    age(store, AAPL.key, LINE)
    upstream.sent.clear()
    pages[None] = Page((item("new", hours_ago(0)), *old), next="more")
    assert figures(pipeline.run(upstream, AAPL, needed=1)) == (10, 24, True)
    assert upstream.sent == [None]


def test_more_news_than_a_refresh_may_read_leaves_a_hole(pipeline: Pipeline, store: Store) -> None:
    """What lies between is not known, and is not claimed; what is known behind it still counts."""
    source = replace(TWITTER, pages=1)
    upstream = Asked(source, lambda cursor: posts(3, 20))
    assert pipeline.run(upstream, AAPL).complete
    line = decode_record(store.client.get(store.keys.entry(LINE))[47:-1])
    reads = tuple(_until(each, hours_ago(2)) for each in line.timeline.reads)
    rewrite(store, replace(line, timeline=replace(line.timeline, reads=reads)))
    age(store, AAPL.key, LINE)
    upstream.answer = lambda cursor: Page((item("new", hours_ago(0.5)),), next="more")
    found = pipeline.run(upstream, AAPL, needed=1)
    assert (found.sentiment.count, found.sentiment.reason) == (3, "page_budget")
    assert found.covered_hours == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("limit", [3, 2])
def test_older_hours_are_asked_for_where_a_load_has_one_page(
    pipeline: Pipeline, store: Store, limit: int
) -> None:
    """The news took the only page, or the last slot: an answer over a day was one over an hour for ever."""
    upstream = Asked(replace(TWITTER, pages=1, limits=(Limit(limit, 60.0),)))

    def answer(cursor: str | None) -> Page:
        asked = upstream.stretches[-1]
        return posts(20) if asked is not None and asked.until is not None else posts()

    upstream.answer = answer
    pipeline.run(upstream, over(1))
    found = pipeline.run(upstream, AAPL)
    if limit == 2:
        assert (found.sentiment.reason, found.covered_hours) == ("rate_limit", pytest.approx(1, abs=0.01))
        upstream.source = replace(upstream.source, limits=(Limit(5, 60.0),))
        age(store, AAPL.key, LINE)
        found = pipeline.run(upstream, AAPL, needed=1)
    assert figures(found) == (1, 24, True)


def test_what_an_ask_for_fewer_hours_reads_is_there_for_the_answer_over_more(
    pipeline: Pipeline, store: Store
) -> None:
    """Hours that are said to be covered, whose posts were thrown away, would be a false answer for a day."""
    upstream = Asked(answer=lambda cursor: posts(20))
    pipeline.run(upstream, AAPL)
    known = decode_record(store.client.get(store.keys.entry(LINE))[47:-1])
    reads = tuple(_until(each, hours_ago(6)) for each in known.timeline.reads)
    rewrite(store, replace(known, timeline=replace(known.timeline, reads=reads)))
    age(store, AAPL.key, LINE)
    upstream.answer = lambda cursor: posts(0.5, 5)
    assert figures(pipeline.run(upstream, over(1), needed=1)) == (1, 1, True)
    assert figures(pipeline.run(upstream, AAPL)) == (3, 24, True)


def test_a_timeline_that_has_no_room_for_more_says_so(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A load of older hours would be thrown away again, at each look of the scheduler, for ever."""
    monkeypatch.setattr("tbcache.timeline.merge.MOST_ITEMS", 2)
    found = pipeline.run(Upstream(answer=lambda cursor: posts(1, 2, 3)), AAPL).sentiment
    assert (found.count, found.complete, found.reason) == (2, False, "full")
    assert not Candidate(AAPL, found, 1).is_fillable


def test_more_hours_ask_for_what_is_older_than_is_known(pipeline: Pipeline) -> None:
    """What is known is not bought again for the sake of what is not."""
    upstream = Asked(answer=lambda cursor: posts(0.5, 0.6, 0.7))
    pipeline.run(upstream, over(1))
    upstream.answer = lambda cursor: Page((), exhausted=True)
    assert figures(pipeline.run(upstream, over(24))) == (3, 24, True)
    _, news, older = upstream.stretches
    assert news is not None
    assert older is not None
    assert news.until is None
    assert (older.since, older.until) == (
        pytest.approx(hours_ago(24), abs=timedelta(seconds=60)),
        pytest.approx(hours_ago(1), abs=timedelta(seconds=60)),
    )
    assert (older.until_id, older.above) == ("0.6", 3)


def test_what_is_known_counts_for_the_depth_of_a_search(pipeline: Pipeline) -> None:
    """A search of 5 posts gave 3, and 2 when it was to go on: it has ended there, and not at a week ago."""
    upstream = Asked(answer=lambda cursor: Page(posts(1, 2, 3).items, exhausted=True, depth=5))
    assert pipeline.run(upstream, over(6)).complete
    upstream.answer = lambda cursor: Page(posts(7, 8).items, exhausted=True, depth=5)
    found = pipeline.run(upstream, over(24))
    assert (found.complete, found.sentiment.reason) == (False, "search_depth")


def test_news_count_for_the_depth_of_a_search_as_well(pipeline: Pipeline) -> None:
    """They stand above what was known, and the search counts them first."""
    upstream = Asked(answer=lambda cursor: Page(posts(1, 2, 3).items, exhausted=True, depth=6))
    assert pipeline.run(upstream, over(6)).complete
    pages = [posts(0.01, 0.02), posts(7)]
    upstream.answer = lambda cursor: Page(pages.pop(0).items, exhausted=True, depth=6)
    found = pipeline.run(upstream, over(24))
    assert (found.complete, found.sentiment.reason) == (False, "search_depth")


def _until(read: Read, end: datetime) -> Read:
    return read._replace(span=read.span._replace(end=end))


def rewrite(store: Store, record: Record) -> None:
    """Let ``record`` be what is known."""
    entry = store.keys.entry(LINE)
    head = store.client.getrange(entry, 0, 46)
    store.client.set(entry, head + encode_record(record) + b"}", keepttl=True)


def test_a_load_after_the_servers_time_is_found_to_be_less_is_whole_as_well(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its day began a millisecond before that of the load before it, of which nothing was known."""
    upstream = Upstream(answer=lambda cursor: posts(0.5))
    pipeline.run(upstream, AAPL)
    earlier = datetime.now(UTC) - timedelta(seconds=30)
    monkeypatch.setattr(ServerClock, "today", property(lambda clock: earlier))
    found = pipeline.run(upstream, AAPL, needed=1000)
    assert (found.origin, found.complete) == ("live", True)


class Mine:
    """A scorer of somebody's own that is broken until it is mended."""

    name, version, is_broken = "mine", "1", True

    def score(self, texts: list[str]) -> list[float]:
        if self.is_broken:
            raise RuntimeError("no model")
        return [0.5] * len(texts)


@dataclass
class Own(Upstream):
    """An upstream whose texts are rated by a scorer of somebody's own."""

    mine: Mine = field(default_factory=Mine)

    analyzer = property(lambda self: self.mine)


def test_a_broken_scorer_is_named_and_what_was_paid_for_is_kept(pipeline: Pipeline) -> None:
    """Each try bought the same pages again, and said only that the fetch broke off."""
    upstream = Own(answer=lambda cursor: posts(0.5, 3))
    for hours in (24, 24, 6):
        with pytest.raises(ConfigurationError, match=r"scorer mine/1 raised RuntimeError: no model \(test_d"):
            pipeline.run(upstream, over(hours))
    upstream.mine.is_broken = False
    found = pipeline.run(upstream, over(24))
    assert (found.sentiment.score, figures(found)) == (0.5, (2, 24, True))
    assert len(upstream.sent) == 1


def test_a_broken_rule_is_named_and_what_was_paid_for_is_kept(pipeline: Pipeline) -> None:
    """It is one line of somebody's own, and costs nothing but that."""
    rule = VoiceRule("robot", lambda voices: [1 / 0 for _ in voices])
    upstream = Own(answer=lambda cursor: posts(0.5))
    upstream.mine.is_broken, upstream.voices = False, (rule,)
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=r"rule 'robot' raised ZeroDivisionError: .* \(test_d"):
            pipeline.run(upstream, AAPL)
    upstream.voices = ()
    assert pipeline.run(upstream, AAPL).sentiment.score == 0.5
    assert len(upstream.sent) == 1


def test_what_a_broken_scorer_has_not_rated_is_in_the_database(pipeline: Pipeline, store: Store) -> None:
    """The load after it names it as the one before: without it the past would end there."""
    upstream = Own(answer=lambda cursor: posts(0.5), persist_to_db=True)
    with pytest.raises(ConfigurationError):
        pipeline.run(upstream, AAPL)
    ((_, fields),) = store.client.xrange(store.keys.outbox("twitter"))
    kept = decode_answer(fields[b"answer"])
    assert ([score for _, score in kept.items], kept.sentiment.score) == ([None], None)
    assert kept.load is not None
