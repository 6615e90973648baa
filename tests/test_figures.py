"""What an answer says of itself: how sure it is, how it came about, and how much there was to hear."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tbcache.models import Bucket, FetchRequest, Item, Premium, SymbolSentiment, Volume
from tbcache.scoring import VOICES, VoiceRule, aggregate
from tbcache.scoring.precision import Estimate, confidence, estimate
from tbcache.store.codec import decode_sentiment, encode_sentiment
from tbcache.timeline import (
    Read,
    Scored,
    Span,
    Timeline,
    compared,
    counted,
    counted_by_upstream,
    uses_upstream,
)
from tests.timeline.kit import examples

NOW = datetime(2026, 7, 28, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def item(name: str, hours_ago: float = 1.0, **facts: Any) -> Item:
    return Item(name, NOW - timedelta(hours=hours_ago), f"text {name}", **facts)


def answer(
    items: Sequence[Item], scores: Sequence[float | None], rules: Sequence[VoiceRule] = (), **options: Any
) -> SymbolSentiment:
    facts = {"as_of": NOW, "complete": True, "since": None, "reason": None, "scorer": "any/1", **options}
    return aggregate(FetchRequest("twitter", "AAPL", 24), items, scores, voices=rules, **facts)


weighed = st.lists(st.tuples(st.floats(-1, 1), st.floats(0.01, 1e12)), min_size=1, max_size=30)


def test_the_standard_error_of_equal_weights_is_that_of_the_textbook() -> None:
    """Who knows the field reads the figure without our documentation."""
    values = [0.1, -0.4, 0.9, 0.3, 0.2]
    found = estimate([(value, 7.0) for value in values])
    assert found is not None
    assert found.standard_error == pytest.approx(statistics.stdev(values) / math.sqrt(5))
    assert found.size == pytest.approx(5)


def test_weights_that_differ_make_fewer_items_of_them() -> None:
    """One trade of ten million among a hundred of a dollar says what one trade says."""
    found = estimate([(1.0, 1e7), *[(0.0, 1.0)] * 100])
    assert found is not None
    assert found.size == pytest.approx(1, abs=0.001)
    assert confidence(found, 1.0) < 0.2


@examples
@given(weighed, st.floats(0, 1))
def test_a_confidence_is_a_share_and_falls_with_what_is_not_known(
    pairs: list[tuple[float, float]], known: float
) -> None:
    """It is to be used as a weight, whatever a source sends."""
    found = estimate(pairs)
    assert 0 <= confidence(found, known) <= confidence(found, 1.0) < 1


@examples
@given(weighed)
def test_the_more_there_are_the_surer(pairs: list[tuple[float, float]]) -> None:
    """The same opinions from four times the people are worth more."""
    one, four = estimate(pairs), estimate(pairs * 4)
    assert one is not None
    assert four is not None
    assert four.reliability > one.reliability
    assert four.mean == pytest.approx(one.mean, abs=1e-9)


def test_two_who_agree_are_no_certainty() -> None:
    """Their spread is 0 by chance: no bot may bet on it as on a thousand."""
    assert Estimate(0.8, 0.0, 2.0).standard_error == 0
    assert confidence(Estimate(0.8, 0.0, 2.0), 1.0) < 0.5 < confidence(Estimate(0.8, 0.2, 1000.0), 1.0)


def test_of_one_item_there_is_no_standard_error() -> None:
    """A figure there would be made up."""
    found = answer([item("1")], [0.5])
    assert found.standard_error is None
    assert 0 < (found.confidence or 0) < 0.3
    assert answer([], []).confidence == 0


def test_an_answer_of_half_the_hours_is_half_as_sure() -> None:
    """What is not known must not count as known."""
    items, scores = [item(f"{n}") for n in range(40)], [0.5, 0.1] * 20
    whole = answer(items, scores)
    half = answer(items, scores, complete=False, since=NOW - DAY / 2)
    assert half.confidence == pytest.approx((whole.confidence or 0) / 2, abs=1e-4)
    assert (half.coverage, whole.coverage) == (0.5, 1.0)


def test_who_counts_is_said() -> None:
    """Forty posts of two authors are not forty opinions."""
    items = [
        item("1", author="ann", label="bullish"),
        item("2", author="ann"),
        item("3", author="bob"),
        item("4"),
    ]
    found = answer(items, [0.8, 0.0, -0.4, None])
    assert (found.authors, found.labelled, found.opinion) == (2, 0.3333, 0.2)
    assert answer([item("1")], [0.5]).authors is None


def test_duplicates_are_counted() -> None:
    """A wire story on twenty sites is one story."""
    text = "Shares of the company rally after a quarter that beat all estimates"
    items = [replace(item(f"{n}"), text=text) for n in range(3)] + [item("r", kind="repost", origin="0")]
    assert answer(items, [0.5] * 4, VOICES).duplicates == 3


def test_the_parts_of_the_hours_add_up() -> None:
    """A chart of an answer must show what its figures say."""
    items = [item("a", 23.9), item("b", 0.5), item("c", 0.6), item("d", 0.0)]
    found = answer(items, [0.5, 1.0, 0.0, None])
    assert len(found.buckets) == 24
    assert sum(bucket.items for bucket in found.buckets) == found.count
    assert (found.buckets[0], found.buckets[-1]) == (Bucket(1, 0.5), Bucket(3, 0.5))
    assert found.buckets[12] == Bucket(0, None)
    assert answer([], []).buckets == ()


def test_the_items_that_move_the_score_are_named() -> None:
    """A person who is to believe a figure wants to read where it comes from."""
    items = [item(f"{n}", url=f"https://x.test/{n}", weight=float(n)) for n in range(8)]
    found = answer(items, [0.1] * 6 + [-1.0, 0.0])
    assert [each.id for each in found.top] == ["6", "5", "4", "3", "2"]
    assert found.top[0] == ("6", items[6].at, -1.0, round(6 / 28, 4), "https://x.test/6")


def test_premium_is_told_by_right_and_legs_stand_apart() -> None:
    """A spread's leg is no bet: a call sold against another one would count as bearish."""
    trades = [
        item("1", kind="trade", right="call", weight=100.0),
        item("2", kind="trade", right="put", weight=40.0),
        item("3", kind="trade", right="call", weight=900.0, is_multi_leg=True),
    ]
    found = answer(trades, [1.0, -1.0, -1.0], VOICES)
    assert found.premium == Premium(100.0, 40.0, 900.0)
    assert (found.score, found.dropped) == (round(60 / 140, 6), {"multi_leg": 1})
    assert answer([item("1")], [0.5]).premium is None


def timeline(*times: datetime) -> Timeline:
    seen = NOW + DAY
    versions = (Scored(Item(f"{n}", at, "text", seen_at=seen), None) for n, at in enumerate(times))
    return Timeline.of(versions, [Read(Span(NOW - 3 * DAY, NOW), seen)])


def test_volume_is_compared_with_the_same_hours_before() -> None:
    """Forty posts are many at night and few at noon."""
    hours = Span(NOW - timedelta(hours=2), NOW)
    now = [NOW - timedelta(minutes=m) for m in (10, 20, 100)]
    before = [NOW - DAY - timedelta(minutes=m) for m in (30, 31)]
    tally = counted({}, timeline(*now, *before, NOW - timedelta(hours=3)), NOW)
    assert compared(tally, hours) == Volume(2.0, 0.5, None, None)


def test_a_week_is_the_baseline_where_three_days_of_it_are_known() -> None:
    """A Monday beside a Sunday says little."""
    hours = Span(NOW - timedelta(hours=2), NOW)
    week = {
        quarter - 96 * day: n
        for day, n in ((0, 4), (2, 1), (3, 2), (5, 3))
        for quarter in counted({}, timeline(), NOW)
        if quarter >= int((NOW - timedelta(hours=2)).timestamp()) // 900
    }
    assert compared(week, hours) == Volume(None, None, 8 * 2.0, 1.0)
    assert compared({q: n for q, n in week.items() if n != 3}, hours).baseline is None


def test_whose_count_a_volume_is_compared_with_is_said() -> None:
    """An upstream counts what an answer leaves out as well; our own count comes before its."""
    hours = Span(NOW - timedelta(hours=2), NOW)
    own = counted({}, timeline(NOW - timedelta(minutes=10), NOW - DAY - timedelta(minutes=30)), NOW)
    starts = (NOW - day * DAY - timedelta(minutes=15 * n) for day in range(1, 6) for n in range(1, 9))
    both = {**own, **counted_by_upstream(dict.fromkeys(starts, 5))}
    assert compared(own, hours) == Volume(1.0, 0.0, None, None)
    volume = compared(both, hours)
    assert volume.day_before == 1.0
    assert not uses_upstream(own, hours)
    assert uses_upstream(both, hours)
    assert volume.baseline == pytest.approx((1.0 + 0.0 + 40 * 3) / 5)
    assert counted(both, Timeline(), NOW + 10 * DAY) == {}


def test_what_was_not_known_completely_is_compared_with_nothing() -> None:
    """Of a day of which half was read, a doubling would be made up."""
    read = [Read(Span(NOW - DAY - timedelta(hours=1), NOW), NOW)]
    tally = counted({}, Timeline.of((), read), NOW)
    assert compared(tally, Span(NOW - timedelta(hours=2), NOW)) == Volume()


def test_counts_outlive_their_items_and_are_dropped_at_last() -> None:
    """The items of a week ago are gone; how many they were is what a baseline needs."""
    at = NOW - timedelta(hours=30)
    first = counted({}, timeline(at), NOW)
    later = counted(first, Timeline(), NOW + 6 * DAY)
    assert later[int(at.timestamp()) // 900] == 1
    assert counted(first, Timeline(), NOW + 10 * DAY) == {}


def test_an_answer_of_an_earlier_version_is_read() -> None:
    """Redis is full of them when a fleet is upgraded."""
    new = answer([item("1")], [0.5])
    names = ("authors", "labelled", "opinion", "standard_error", "confidence", "volume", "buckets", "top")
    old = msgspec.json.decode(encode_sentiment(new))
    for name in (*names, "premium"):
        del old["v"][name]
    found = decode_sentiment(msgspec.json.encode(old))
    assert (found.score, found.confidence, found.volume, found.buckets) == (0.5, None, Volume(), ())
    assert decode_sentiment(encode_sentiment(new)) == new


def test_an_answer_is_told_by_name() -> None:
    """Who reads JSON or a table need not know in which place a figure stands."""
    told = answer([item("1", url="https://x.test")], [0.5]).as_dict()
    assert told["volume"]["day_before"] is None
    assert told["buckets"][-1] == {"items": 1, "score": 0.5}
    assert told["top"][0]["url"] == "https://x.test"
    assert told["covered_hours"] == 24.0
