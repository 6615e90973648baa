"""What a refresh asks for: nothing that was paid for, and nothing that is known."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tbcache.fetch.plan import is_packable, joined, stretches
from tbcache.models import FetchRequest, Item
from tbcache.models.price import Price
from tbcache.models.request import Stretch
from tbcache.settings import BUILT_IN, Source
from tbcache.timeline import Read, Record, Scored, Span, Timeline
from tests.timeline.kit import examples

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
    assert stretches(known(NOON - timedelta(days=3)), AAPL, X, NOON) == ()


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
    record = known(end, end - timedelta(hours=2), end - timedelta(seconds=31), end - timedelta(seconds=5))
    (news,) = stretches(record, AAPL, X, NOON)
    assert news.since_id == "1"
    week = FetchRequest("twitter", "AAPL", 168)
    news, older = stretches(record, week, X, NOON)
    assert (older.until, older.until_id) == (end - timedelta(hours=24), "0")
    assert older.since == NOON - timedelta(hours=168)


knowns = st.lists(
    st.builds(
        lambda end, ages: known(
            NOON - timedelta(minutes=end),
            *(NOON - timedelta(minutes=end + age) for age in sorted(ages)[::-1]),
        ),
        st.integers(0, 10),
        st.lists(st.integers(0, 30), max_size=4, unique=True),
    ),
    min_size=1,
    max_size=4,
)


@given(knowns)
@examples
def test_one_request_for_several_asks_each_for_all_that_it_lacks(records: list[Record]) -> None:
    """And for nothing that all of them know: by the newest id of any, not by that of the quietest."""
    news = [stretches(record, AAPL, X, NOON)[0] for record in records]
    found = joined(news, records)
    assert found.since == min(stretch.since for stretch in news)
    times = [version.at for record in records for version in record.timeline.versions]
    older = [at for at in times if at <= found.since]
    assert (found.since_id is None) == (not older)
    ids = {
        version.item.id
        for record in records
        for version in record.timeline.versions
        if older and version.at == max(older)
    }
    assert found.since_id is None or found.since_id in ids


def test_only_news_of_about_one_time_go_together() -> None:
    """What lies between is read of all: money where each reading is billed, pages where none is."""

    def news(minutes: float) -> tuple[Stretch, ...]:
        return (Stretch(NOON - timedelta(minutes=minutes)),)

    assert is_packable(news(6)[0], news(10), X)
    assert not is_packable(news(6)[0], news(12), X)
    assert not is_packable(news(6)[0], (), X)
    assert not is_packable(news(6)[0], (*news(6), *news(60)), X)
    assert not is_packable(news(6)[0], news(6.1), replace(X, price=Price(per_item=0.01)))
