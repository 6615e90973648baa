"""Whether an answer is all there is: paging, by pages of any shape, without Redis or an upstream."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tbcache import io
from tbcache.admission import Ask, Grant
from tbcache.fetch.job import Attempt
from tbcache.fetch.reader import Fetched, PageReader
from tbcache.fetch.record import load_result
from tbcache.io import utc_now
from tbcache.models import FetchRequest, Item, Outcome, Page
from tests.blocking import go_on
from tests.core.conftest import TWITTER, Upstream, item

HOURS = 24
SOURCE = replace(TWITTER, pages=4)


def ago(hours: float) -> datetime:
    return utc_now() - timedelta(hours=hours)


def posts(*hours: float | None) -> tuple[Item, ...]:
    """A post for each time, ``hours`` ago; None for one that does not say."""
    return tuple(item(f"{each}", None if each is None else ago(each)) for each in hours)


def fetch(upstream: Upstream, hours: int = HOURS) -> Fetched:
    request = FetchRequest("twitter", "AAPL", hours)
    grant = Grant(Ask(upstream.source, request), "token", "slot", 0.0, 0.0, time.monotonic() + 60)
    return io.run(PageReader(upstream, Attempt(grant), go_on, lambda _: True, utc_now()).read())


def read(*pages: Page) -> Fetched:
    """What is made of ``pages``, of which each leads to the next by its place: ``next="1"`` is the second."""
    return fetch(Upstream(SOURCE, lambda cursor: pages[int(cursor or 0)]))


def run(upstream: Upstream, hours: int = HOURS) -> Outcome:
    """The outcome of a fetch that nobody has made before."""
    request = FetchRequest("twitter", "AAPL", hours)
    sentiment = load_result(upstream, request, None, fetch(upstream, hours), utc_now).answer.sentiment
    return Outcome(request, sentiment, "live", 0.0)


def since(fetched: Fetched) -> float | None:
    """How many hours back it reaches."""
    return None if fetched.since is None else round((utc_now() - fetched.since).total_seconds() / 3600, 2)


def test_no_next_page_is_no_proof_of_an_end() -> None:
    """A null where a token should be ended an answer over an hour as a complete one over a day."""
    fetched = read(Page(posts(1, 2)))
    assert (fetched.reason, since(fetched)) == ("no_next_page", 2)


def test_an_end_that_is_stated_is_one() -> None:
    """A quiet symbol has three posts a day, and nothing is missing."""
    fetched = read(Page(posts(1, 2), exhausted=True))
    assert (fetched.reason, since(fetched)) == (None, HOURS)


def test_an_answer_that_reaches_back_to_the_start_is_whole() -> None:
    """Whatever the upstream says of its end: all that was asked for is there."""
    fetched = read(Page(posts(1, 8, 15), next="1"), Page(posts(23, 25)))
    assert (fetched.reason, since(fetched), len(fetched.items)) == (None, HOURS, 4)


@pytest.mark.parametrize(("depth", "reason"), [(5, None), (4, "search_depth"), (3, "search_depth")])
def test_an_end_as_deep_as_a_search_goes_is_not_believed(depth: int, reason: str | None) -> None:
    """Of a week of posts a search shows the newest 250, and then ends as if there were no more."""
    fetched = read(
        Page(posts(1, 2), next="1", depth=depth), Page(posts(2, 3, 4), exhausted=True, depth=depth)
    )
    assert (fetched.reason, since(fetched)) == (reason, 4 if reason else HOURS)


def test_rows_without_times_reach_nowhere() -> None:
    """Nothing says what time they are of, so no time is covered."""
    fetched = read(Page(posts(None)))
    assert (fetched.reason, fetched.since) == ("no_times", None)


def test_a_zero_in_place_of_a_time_reaches_nowhere() -> None:
    """It is of 1970, and would end every paging as one that has come far enough."""
    zero = item("zero", datetime(1970, 1, 1, tzinfo=UTC))
    fetched = read(Page((*posts(1), zero), next="1"), Page(posts(2)))
    assert (fetched.pages, fetched.reason, since(fetched)) == (2, "no_next_page", 2)
    assert read(Page((zero,))).reason == "no_times"


@pytest.mark.parametrize("place", [0, 1])
def test_an_old_post_above_others_does_not_end_the_paging(place: int) -> None:
    """One that a moderator pinned three days ago ended an answer over hours as a complete one over a day."""
    first = list(posts(1, 2))
    first.insert(place, item("pinned", ago(72)))
    fetched = read(Page(tuple(first), next="1"), Page(posts(3, 4), next="2"), Page(posts(5)))
    assert (fetched.pages, fetched.reason, since(fetched)) == (3, "no_next_page", 5)
    assert "pinned" not in {one.id for one in fetched.items}


def test_a_pinned_post_of_today_makes_no_answer_reach_further_back() -> None:
    """It stands above posts of an hour ago; of the hours between nothing is known."""
    fetched = read(Page(posts(20, 1, 2)))
    assert since(fetched) == 2


@pytest.mark.parametrize(
    "following",
    [
        Page(posts(3), next="1"),  # the token that led here
        Page(posts(1, 2), next="2"),  # nothing new, under a new token
        Page((), next="2"),
    ],
)
def test_an_upstream_that_goes_in_circles_is_noticed(
    following: Page, caplog: pytest.LogCaptureFixture
) -> None:
    """Each further page would cost a slot, and money, and bring nothing."""
    caplog.set_level(logging.INFO)
    fetched = read(Page(posts(1, 2), next="1"), following)
    assert (fetched.pages, fetched.reason) == (2, "repeated_page")
    (record,) = (record for record in caplog.records if record.msg == "page.repeated")
    assert (vars(record)["source"], vars(record)["symbol"], vars(record)["pages"]) == ("twitter", "AAPL", 2)


def test_an_empty_first_page_may_lead_to_a_next_one() -> None:
    """A query that a plan refuses is asked for in other words, by a next page."""
    fetched = read(Page((), next="1"), Page(posts(1), exhausted=True))
    assert (fetched.pages, fetched.reason) == (2, None)


@pytest.mark.parametrize("times", [(None, None), (1, None, None)])
def test_an_end_that_is_stated_covers_nothing_of_rows_without_times(times: Sequence[float | None]) -> None:
    """They may be years old, and would be scored as those of the day."""
    assert read(Page(posts(*times), exhausted=True)).reason == "no_times"


def test_a_page_that_comes_again_is_no_end() -> None:
    """The token was ignored: what an upstream says of its end there is that of the first page."""
    fetched = read(Page(posts(1, 2), next="1"), Page(posts(1, 2), exhausted=True))
    assert (fetched.reason, since(fetched)) == ("repeated_page", 2)


@pytest.mark.parametrize(
    "times",
    [(0.1, 0.2, 0.3, 30), (0.1, 0.2, 0.3, 0.4, 30, 31, 32), (0.3, 30), (0.3, 30, 31), (72, 0.1, 0.3, 30)],
)
def test_a_few_old_items_in_last_place_do_not_end_the_paging(times: Sequence[float]) -> None:
    """Old posts behind those of some minutes made of these an answer over a day."""
    fetched = read(Page(posts(*times), next="1"), Page(posts(0.5, 0.6)))
    assert (fetched.pages, fetched.reason, since(fetched)) == (2, "no_next_page", 0.6)
    alone = read(Page(posts(*times)))
    newest = max(each for each in times if each < 1)
    assert (alone.reason, since(alone)) == ("no_next_page", newest)


def test_a_step_that_is_long_among_many_short_ones_covers_nothing() -> None:
    """An advert at the end of a page made eleven hours of it twenty, and nobody asked again."""
    fetched = read(Page(posts(*range(1, 12), 20)))
    assert (fetched.reason, since(fetched)) == ("no_next_page", 11)


@settings(max_examples=50, deadline=None)
@given(st.permutations(range(1, 13)))
def test_a_page_that_is_not_in_order_covers_nothing(ages: Sequence[int]) -> None:
    """Pages by relevance covered a day of which a tenth was read, which was never asked for again."""
    out_of_order = sum(min(ages[place:]) < ages[place] for place in range(len(ages)))
    fetched = read(Page(posts(*ages)))
    after = read(Page(posts(0.1, 0.2), next="1"), Page(posts(*ages)))
    assert fetched.reason == after.reason == "no_next_page"
    assert out_of_order <= len(ages) // 4 or fetched.since is after.since is None


@pytest.mark.parametrize("times", [(-24.5, 0.1, 0.2, 0.3, 30), (0.1, 0.2, 0.3, -24, 30), (-24, 0.3, 30)])
def test_an_item_of_a_time_to_come_shows_no_order(times: Sequence[float]) -> None:
    """A wrong zone put one item a day ahead, and an old post seemed near to it: a day of which some minutes
    were read called itself complete.
    """
    fetched = read(Page(posts(*times), next="1"), Page(posts(0.5, 0.6)))
    assert (fetched.pages, fetched.reason, since(fetched)) == (2, "no_next_page", 0.6)
    ahead = read(Page(posts(0.1, 0.2, -24)))
    assert (ahead.reason, since(ahead), len(ahead.items)) == ("no_next_page", 0.2, 3)


def test_an_item_of_a_far_off_time_is_not_kept() -> None:
    """It was one of each last hour up to that time, and the past soon knew nothing of it."""
    fetched = read(Page((item("far", ago(-25)), *posts(-23, 1)), exhausted=True))
    assert (fetched.reason, [one.id for one in fetched.items]) == (None, ["-23", "1"])


def test_an_upstream_whose_clock_is_ahead_by_seconds_shows_its_order() -> None:
    """No two clocks are the same."""
    fetched = read(Page(posts(-0.01)))
    assert (fetched.reason, since(fetched)) == ("no_next_page", -0.01)


def test_an_old_item_that_stands_alone_does_not_end_the_paging() -> None:
    """One pinned post was all that a page showed of a busy day, and a whole day of nothing was made of it."""
    fetched = read(Page(posts(30), next="1"), Page(posts(1, 2)))
    assert (fetched.pages, fetched.reason, since(fetched)) == (2, "no_next_page", 2)
    alone = read(Page(posts(30)))
    assert (alone.reason, alone.since) == ("no_next_page", None)


@pytest.mark.parametrize("times", [(0.1, 0.2, 0.3, 30), (30,)])
def test_a_quiet_symbol_is_told_by_a_page_that_goes_on_behind_its_gap(times: Sequence[float]) -> None:
    """One page more is what it costs to know that nothing was said in between."""
    fetched = read(Page(posts(*times), next="1"), Page(posts(31), next="2"))
    assert (fetched.pages, fetched.reason) == (2, None)


@pytest.mark.parametrize(
    "times",
    [(1, 5, 8, 12, 16, 20, 26), (72, 1, 5, 8, 12, 16, 20, 26), (0.1, 0.2, 25, 30, 40, 50), (25, 26, 27, 28)],
)
def test_a_page_whose_order_leads_past_the_start_is_enough(times: Sequence[float]) -> None:
    """Each further page costs a slot, and shows what nobody asked for."""
    fetched = read(Page(posts(*times), next="1"))
    assert (fetched.pages, fetched.reason, since(fetched)) == (1, None, HOURS)


def test_a_last_page_that_begins_where_the_one_before_it_ended_is_the_end() -> None:
    """Asked for up to a second, an upstream shows again what is of that second, and then has no more."""
    last = item("last", ago(2))
    fetched = read(Page((*posts(1), last), next="1"), Page((last,), exhausted=True))
    assert (fetched.pages, fetched.reason) == (2, None)


@pytest.mark.parametrize(
    ("hours", "times", "reason", "covered"),
    [
        (12, (), "plan_delay", 0.0),
        (24, (), "plan_delay", 0.0),
        (48, (25, 40), "plan_delay", 24.0),
        (48, (2, 40), None, 48.0),
    ],
)
def test_a_plan_whose_items_come_late_leaves_the_last_hours_open(
    hours: int, times: Sequence[float], reason: str | None, covered: float
) -> None:
    """Silence by construction is no calm, and of two days there is one."""
    source = replace(SOURCE, delay_hours=24.0)
    outcome = run(Upstream(source, lambda _: Page(posts(*times), exhausted=True)), hours)
    assert outcome.sentiment.reason == reason
    assert outcome.covered_hours == pytest.approx(covered, abs=0.01)


def test_an_outcome_says_of_how_many_hours_its_score_is_true() -> None:
    """A bot that trades on a day must be able to see that it has an hour and a half of it."""
    short = run(Upstream(SOURCE, lambda _: Page(posts(0.5, 1.5))))
    whole = run(Upstream(SOURCE, lambda _: Page(posts(0.5, 1.5), exhausted=True)))
    unknown = run(Upstream(SOURCE, lambda _: Page(posts(None))))
    assert [(one.covered_hours, one.complete) for one in (whole, unknown)] == [(24.0, True), (0.0, False)]
    assert short.covered_hours == pytest.approx(1.5, abs=0.01)
    assert short.sentiment.covered_hours == short.covered_hours
    much_later = replace(short.sentiment, hours=1)
    assert much_later.covered_hours == 1.0


_times = st.none() | st.integers(0, 60).map(float)
_tokens = st.none() | st.integers(0, 5).map(str)
_pages = st.lists(
    st.tuples(st.lists(_times, max_size=4), _tokens, st.booleans(), st.none() | st.integers(1, 6)),
    min_size=6,
    max_size=6,
)


@settings(max_examples=300, deadline=None)
@given(_pages)
def test_complete_means_that_the_start_was_reached_or_the_end_stated(drawn: Sequence[Any]) -> None:
    """Whatever pages come, in whatever order: nobody trades on an hour that is called a day."""
    pages = [
        Page(posts(*dict.fromkeys(times)), next=token, exhausted=is_end, depth=depth)
        for times, token, is_end, depth in drawn
    ]
    sent: list[Page] = []

    def answer(cursor: str | None) -> Page:
        sent.append(pages[int(cursor or 0)])
        return sent[-1]

    upstream = Upstream(SOURCE, answer)
    fetched = fetch(upstream)
    last, seen = sent[-1], {one.id for page in sent for one in page.items}
    is_undated = any(one.at is None for page in sent for one in page.items)
    is_at_end = last.next is None and last.exhausted and (last.depth is None or len(seen) < last.depth)
    before = {one.id for page in sent[:-1] for one in page.items}
    is_again = len(sent) > 1 and bool(last.items) and {one.id for one in last.items} <= before
    is_past = any(one.at is not None and one.at < ago(HOURS - 0.01) for page in sent for one in page.items)
    if fetched.reason is None:
        assert is_past or (is_at_end and not is_undated)
    elif is_at_end and not is_again and not is_undated:
        raise AssertionError(f"the end was stated, and the answer is {fetched.reason}")
    assert len(upstream.sent) == len(set(upstream.sent)) == fetched.pages <= SOURCE.pages
    assert {one.id for one in fetched.items} <= seen
    covered = since(fetched)
    assert covered is None or 0 <= covered <= HOURS
    assert fetched.reason is not None or covered == HOURS
