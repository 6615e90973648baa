"""What a refresh asks for: nothing that was paid for, and nothing that is known."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given

from tbcache.fetch.plan import is_packable, joined, stretches, to_recheck
from tbcache.models import FetchRequest, Item
from tbcache.models.price import Price
from tbcache.models.request import Stretch
from tbcache.settings import BUILT_IN, Source
from tbcache.timeline import Coverage, Read, Record, Scored, Span, Timeline
from tests.timeline.kit import coverages, examples

NOON = datetime(2026, 7, 28, 12, tzinfo=UTC)
MIDNIGHT = datetime(2026, 7, 28, tzinfo=UTC)
AAPL = FetchRequest("twitter", "AAPL")
X = BUILT_IN["twitter"]


def known(end: datetime, *times: datetime, hours: float = 24) -> Record:
    """All that was posted in the ``hours`` before ``end``: a post for each of ``times``."""
    posts = [Scored(Item(f"{n}", at, "", seen_at=end), 0.0) for n, at in enumerate(times)]
    read = Read(Span(end - timedelta(hours=hours), end), end)
    return Record(Timeline.of(posts, [read]), end, end, int(hours), "any/1")


def since(source: Source, end: datetime, now: datetime) -> datetime:
    (stretch,) = stretches(known(end), AAPL, source, now)
    return stretch.since


def test_all_is_asked_for_where_nothing_is_known() -> None:
    """The first ask of a symbol has nothing to build upon, and so has one after a pause of days."""
    assert stretches(None, AAPL, X, NOON) == ()
    assert stretches(known(NOON - timedelta(days=3)), AAPL, X, NOON) == (Stretch(NOON - timedelta(hours=24)),)


def test_an_ask_for_fewer_hours_leaves_no_hole_in_an_answer_over_more() -> None:
    """After a pause of a night, one bot that asks for an hour left all others 1 of 24 hours, for a day."""
    hour, end = FetchRequest("twitter", "AAPL", 1), NOON - timedelta(hours=5)
    (news,) = stretches(known(end), hour, X, NOON)
    assert news.since == end - timedelta(seconds=30)
    assert stretches(known(NOON - timedelta(days=3)), hour, X, NOON) == (Stretch(NOON - timedelta(hours=24)),)
    fewer = replace(X, max_hours=6)
    assert stretches(known(NOON - timedelta(days=3)), hour, fewer, NOON) == (
        Stretch(NOON - timedelta(hours=6)),
    )


def test_what_may_turn_up_late_is_looked_for_again() -> None:
    """X's search ends 30 seconds ago: a post of then would be missed for ever."""
    end = NOON - timedelta(minutes=5)
    assert since(X, end, NOON) == end - timedelta(seconds=30)
    assert since(BUILT_IN["stocktwits"], end, NOON) == end - timedelta(seconds=60)


@pytest.mark.parametrize(("end", "expected"), [(-120, -120), (-10, -10), (10, 0), (29, 0), (31, 1)])
def test_nothing_of_yesterday_is_billed_again_after_midnight(end: int, expected: int) -> None:
    """X bills a post once a UTC day: what is read again after midnight costs the same again."""
    read_to, now = MIDNIGHT + timedelta(seconds=end), MIDNIGHT + timedelta(seconds=200)
    assert since(X, read_to, now) == MIDNIGHT + timedelta(seconds=expected)


def test_what_is_billed_each_time_is_not_looked_for_again() -> None:
    """There an overlap costs money with every refresh."""
    source = replace(X, price=Price(per_item=0.01))
    assert since(source, NOON - timedelta(minutes=5), NOON) == NOON - timedelta(minutes=5)


def test_upstreams_that_count_by_ids_get_those_of_known_items() -> None:
    """Exclusive, so that none is given twice; what is too new for that is asked for again."""
    end = NOON - timedelta(minutes=5)
    ages = (7200, 3600, 60, 45, 31, 5)
    record = known(end, *(end - timedelta(seconds=age) for age in ages))
    (news,) = stretches(record, AAPL, X, NOON)
    assert news.since_id == "3"
    week = FetchRequest("twitter", "AAPL", 168)
    news, older = stretches(record, week, X, NOON)
    assert (older.until, older.until_id, older.above) == (end - timedelta(hours=24), "1", 6)
    assert older.since == NOON - timedelta(hours=168)


@pytest.mark.parametrize("odd", ["1", "99999999999999999"])
@pytest.mark.parametrize("place", range(5))
def test_an_id_that_does_not_fit_its_time_is_no_bound(odd: str, place: int) -> None:
    """Asked for what is above an id that is too high, Stocktwits has rightly nothing more to give."""
    end = NOON - timedelta(minutes=5)
    record = known(end, *(end - timedelta(minutes=age) for age in (5, 4, 3, 2, 1)))
    ids = [odd if n == place else f"{100 + n}" for n in range(5)]
    posts = [
        post._replace(item=replace(post.item, id=id))
        for post, id in zip(record.timeline.versions, ids, strict=True)
    ]
    record = replace(record, timeline=Timeline.of(posts, record.timeline.reads))
    news, older = stretches(record, replace(AAPL, hours=168), X, NOON)
    assert news.since_id != odd
    assert older.until_id != odd


def test_two_known_items_are_too_few_to_tell_which_id_is_odd() -> None:
    """All of the stretch is asked for then, which costs a page at most."""
    end = NOON - timedelta(minutes=5)
    record = known(end, end - timedelta(minutes=2), end - timedelta(minutes=1))
    news, older = stretches(record, replace(AAPL, hours=168), X, NOON)
    assert (news.since_id, older.until_id) == (None, None)


def test_one_request_for_several_asks_for_what_any_of_them_lacks() -> None:
    """By its time: an id of the one may be newer than what the other lacks."""
    stretch = joined([Stretch(NOON - timedelta(minutes=age), since_id=f"{age}") for age in (5, 7, 6)])
    assert stretch == Stretch(NOON - timedelta(minutes=7))


def test_only_news_of_about_one_time_go_together() -> None:
    """What lies between is read of all: money where each reading is billed, pages where none is."""

    def news(minutes: float) -> tuple[Stretch, ...]:
        return (Stretch(NOON - timedelta(minutes=minutes)),)

    assert is_packable(news(6)[0], news(10), X)
    assert not is_packable(news(6)[0], news(12), X)
    assert not is_packable(news(6)[0], (), X)
    assert not is_packable(news(6)[0], (*news(6), *news(60)), X)
    assert not is_packable(news(6)[0], news(6.1), replace(X, price=Price(per_item=0.01)))


def test_a_deep_request_asks_for_what_is_missing_the_newest_first() -> None:
    """Older hours come last: what was said lately is asked for most."""
    end = NOON - timedelta(minutes=5)
    spans = ((30, 20), (16, 10), (2, 0))
    reads = [Read(Span(end - timedelta(hours=a), end - timedelta(hours=b)), end) for a, b in spans]
    hours = (0.5, 1, 1.5, 11, 12, 13, 21, 22, 23)
    posts = [
        Scored(Item(f"{1000 + 60 * n:g}", end - timedelta(hours=n), "", seen_at=end), 0.0) for n in hours
    ]
    record = Record(Timeline.of(posts, reads), end, end, 24, "any/1")
    assert len(stretches(record, AAPL, X, NOON)) == 1
    news, *holes = stretches(record, replace(AAPL, is_deep=True), X, NOON)
    assert (news.until, news.since_id) == (None, "1060")
    assert [(hole.since, hole.until) for hole in holes] == [
        (end - timedelta(hours=10), end - timedelta(hours=2)),
        (end - timedelta(hours=20), end - timedelta(hours=16)),
    ]
    assert [(hole.since_id, hole.until_id) for hole in holes] == [("1720", "1060"), ("2320", "1720")]
    assert [hole.above for hole in holes] == [3, 6]


def test_only_what_costs_nothing_more_is_asked_for_again_by_its_id() -> None:
    """X bills a post once a UTC day; what is gone already needs no further look."""
    ages = (1, 2, 11, 13)
    posts = [
        Scored(Item(f"{age}", (at := NOON - timedelta(hours=age)), "up", seen_at=at), 0.1) for age in ages
    ]
    gone = Scored(Item("gone", NOON - timedelta(hours=3), "", seen_at=NOON, is_gone=True), None)
    record = Record(Timeline.of([*posts, gone]), NOON, NOON, 24, "any/1")
    assert to_recheck(record, AAPL, X, NOON) == ("1", "2", "11")
    assert to_recheck(record, AAPL, BUILT_IN["reddit"], NOON) == ("1", "2", "11", "13")
    assert to_recheck(record, AAPL, replace(X, price=Price(per_item=0.01)), NOON) == ()
    assert to_recheck(record, AAPL, BUILT_IN["stocktwits"], NOON) == ()


@given(coverages.filter(lambda coverage: bool(coverage.spans)))
@examples
def test_what_is_asked_for_and_what_is_known_are_all_the_hours(coverage: Coverage) -> None:
    """And nothing twice: a stretch that was left out would never be filled."""
    end = coverage.spans[-1].end
    record = Record(Timeline.of([], [Read(span, end) for span in coverage.spans]), end, end, 1, "any/1")
    now = end + timedelta(minutes=1)
    start = now - timedelta(hours=1)
    source = replace(X, price=Price(per_item=0.01))
    asked = stretches(record, FetchRequest("twitter", "AAPL", 1, is_deep=True), source, now)
    parts = [Span(stretch.since, stretch.until or now) for stretch in asked]
    known = coverage.within(Span(start, now))
    assert Coverage.of([*parts, *known.spans]).spans == (Span(start, now),)
    assert all(not known.within(part).spans for part in parts)


def test_the_first_moments_of_the_hours_are_not_asked_for_alone() -> None:
    """The hours begin a moment earlier once the server is found to be behind: that page has nothing."""
    deep = replace(AAPL, is_deep=True)
    assert len(stretches(known(NOON), deep, X, NOON - timedelta(seconds=1))) == 1
    assert len(stretches(known(NOON), deep, X, NOON - timedelta(seconds=3))) == 2


@pytest.mark.parametrize(("reason", "count"), [("page_budget", 2), ("full", 1), ("search_depth", 1)])
def test_hours_that_cannot_be_had_are_not_asked_for_again(reason: str, count: int) -> None:
    """Each hour, when known items are looked at again, twelve pages were read in vain, and paid for on X."""
    record = replace(known(NOON, hours=6), hours=24, reason=reason)
    assert len(stretches(record, replace(AAPL, is_deep=True), X, NOON)) == count
