"""Older hours, filled where nobody waits for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tbcache.fetch import Pipeline
from tbcache.models import FetchRequest, HttpRequest, Item, Limit, Page, RawResponse
from tbcache.models.error import UpstreamThrottled
from tbcache.models.price import Price
from tests.core.conftest import TWITTER, Upstream

pytestmark = [pytest.mark.every_server, pytest.mark.usefixtures("every_driver")]

AAPL = FetchRequest("twitter", "AAPL")
DEEP = replace(AAPL, is_deep=True)
#: So far apart are the posts, and so many does a page have.
SPACING, SIZE = timedelta(minutes=24), 5


class Busy(Upstream):
    """An upstream with more in a day than one answer may read, which counts by ids and pages by ``until``."""

    def request(self, fetch: FetchRequest, cursor: str | None, since: datetime) -> object:  # type: ignore[override]
        stretch = fetch.stretch
        if cursor is None and stretch is not None and stretch.until_id is not None:
            # It is the middle one of the three oldest.
            cursor = str(int(stretch.until_id) + 2)
        return super().request(fetch, cursor, since)


def page(newest: datetime, cursor: str | None) -> Page:
    first = int(cursor or 0)
    items = tuple(Item(f"{n}", newest - n * SPACING, "up") for n in range(first, first + SIZE))
    return Page(items, next=f"{first + SIZE}")


def busy(limit: int = 100) -> Busy:
    upstream = Busy(replace(TWITTER, limits=(Limit(limit, 60.0),), pages=2))
    newest = datetime.now(UTC)
    upstream.answer = lambda cursor: page(newest, cursor)
    return upstream


def deepen(pipeline: Pipeline, upstream: Busy) -> float:
    return pipeline.run(upstream, DEEP, lane="prewarm", needed=1000.0).covered_hours


def test_a_deep_load_goes_on_where_the_last_one_ended_until_all_is_known(pipeline: Pipeline) -> None:
    """24 hours of a busy symbol were its last hour and a half, for ever."""
    upstream = busy()
    assert pipeline.run(upstream, AAPL).covered_hours == pytest.approx(3.6, abs=0.1)
    upstream.sent.clear()
    assert deepen(pipeline, upstream) == 24
    # A page of news, and of each other hour one page alone: nothing is read twice.
    assert upstream.sent[0] is None
    assert upstream.sent[1:] == [f"{n}" for n in range(10, 61, SIZE)]
    upstream.sent.clear()
    assert deepen(pipeline, upstream) == 24
    assert upstream.sent == [None]


def test_a_deep_load_leaves_the_others_their_part_of_the_limit(pipeline: Pipeline) -> None:
    """Who waits for an answer must not wait for what nobody asked for."""
    upstream = busy(limit=10)
    pipeline.run(upstream, AAPL)
    deepen(pipeline, upstream)
    assert len(upstream.sent) == 7
    assert pipeline.run(upstream, FetchRequest("twitter", "TSLA"), patience=0).origin == "live"
    assert len(upstream.sent) == 9


def test_a_deep_load_leaves_the_others_their_part_of_the_budget(pipeline: Pipeline) -> None:
    """One load would spend a small budget whole, and shut the source for the day."""
    upstream = busy()
    upstream.source = replace(upstream.source, price=Price(per_request=1.0), daily_budget=10.0)
    pipeline.run(upstream, AAPL)
    deepen(pipeline, upstream)
    assert len(upstream.sent) == 5
    deepen(pipeline, upstream)
    assert len(upstream.sent) == 5
    assert pipeline.run(upstream, FetchRequest("twitter", "TSLA"), patience=0).origin == "live"


def test_an_answer_that_was_asked_for_is_read_with_the_pages_of_one(pipeline: Pipeline) -> None:
    """It does not wait for holes."""
    upstream = busy()
    pipeline.run(upstream, AAPL)
    upstream.sent.clear()
    assert pipeline.run(upstream, AAPL, needed=1000.0).covered_hours == pytest.approx(3.6, abs=0.1)
    assert upstream.sent == [None]


#: What costs nothing is asked for again on any day.
FREE = replace(TWITTER, limits=(Limit(100, 60.0),), price=Price(), recheck_seconds=3600.0)


class Known(Upstream):
    """An upstream that says what became of known items."""

    def recheck(self, ids: Sequence[str]) -> HttpRequest:
        return HttpRequest("GET", "https://upstream.test/known", {"cursor": ",".join(ids)})

    def rechecked(self, response: RawResponse) -> Page:
        kept = Item("kept", datetime.now(UTC) - timedelta(hours=1), "terrible, sell everything")
        return Page((kept,), gone=("gone", "nobody's"))


def test_what_is_gone_counts_no_more_and_what_was_edited_counts_as_it_is(pipeline: Pipeline) -> None:
    """X asks its users to forget what is deleted; a refresh never sees an old post again."""
    posts = [Item(id, datetime.now(UTC) - timedelta(hours=1), "great, buy") for id in ("kept", "gone")]
    upstream = Known(FREE)
    upstream.answer = lambda cursor: Page(tuple(posts), exhausted=True)
    first = pipeline.run(upstream, AAPL).sentiment
    assert (first.count, first.bullish) == (2, 2)
    upstream.answer = lambda cursor: Page((), exhausted=True)
    pipeline.run(upstream, DEEP, lane="prewarm", needed=1000.0)
    assert upstream.sent[-1] in ("kept,gone", "gone,kept")
    again = pipeline.run(upstream, AAPL).sentiment
    assert (again.bullish, again.bearish) == (0, 1)
    assert again.complete


def test_items_are_asked_for_again_though_a_search_goes_no_deeper(pipeline: Pipeline) -> None:
    """The busiest symbols are never complete on Reddit, and what was removed there counted for ever."""
    upstream = Known(FREE)
    posts = [Item(id, datetime.now(UTC) - timedelta(hours=1), "great, buy") for id in ("kept", "gone")]
    upstream.answer = lambda cursor: Page(tuple(posts), exhausted=True, depth=2)
    assert pipeline.run(upstream, AAPL).sentiment.reason == "search_depth"
    upstream.answer = lambda cursor: Page((), exhausted=True, depth=0)
    found = pipeline.run(upstream, DEEP, lane="prewarm", needed=1000.0).sentiment
    assert (found.bullish, found.bearish, found.reason) == (0, 1, "search_depth")


@pytest.mark.parametrize(
    "error", [UpstreamThrottled("twitter", "slow down", status=429), RuntimeError("a bug")]
)
def test_a_refusal_to_say_what_became_of_items_costs_no_answer(pipeline: Pipeline, error: Exception) -> None:
    """All that was asked for is there, and was paid for."""

    class Refusing(Known):
        def rechecked(self, response: RawResponse) -> Page:
            raise error

    upstream = Refusing(FREE)
    upstream.answer = lambda cursor: Page((Item("1", datetime.now(UTC), "up"),), exhausted=True)
    pipeline.run(upstream, AAPL)
    assert pipeline.run(upstream, DEEP, lane="prewarm", needed=1000.0).complete
    assert len(upstream.sent) == 3
