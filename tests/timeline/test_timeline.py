"""What is known of a symbol's items."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tbcache.models import Engagement, Item
from tbcache.timeline import Coverage, Read, Scored, Timeline
from tests.timeline.kit import examples, minutes, moment, seen, span, timelines, versions


@examples
@given(timelines, timelines, timelines)
def test_the_order_of_arrival_does_not_matter(one: Timeline, other: Timeline, third: Timeline) -> None:
    """Two workers that merge the same reads, each in its own order, have the same answer."""
    assert one | other == other | one
    assert (one | other) | third == one | (other | third)


@examples
@given(timelines, timelines)
def test_merging_twice_changes_nothing(one: Timeline, other: Timeline) -> None:
    """What a killed worker has merged is merged again by the next."""
    both = one | other
    assert both | other == both | both == both


@examples
@given(timelines, timelines)
def test_coverage_claims_no_more_than_the_reads(one: Timeline, other: Timeline) -> None:
    """It is the upstream's word alone that makes a time known."""
    assert (one | other).coverage == one.coverage | other.coverage
    assert one.coverage == Coverage.of(read.span for read in one.reads)


@examples
@given(st.lists(versions, max_size=8))
def test_the_version_that_was_seen_last_replaces_the_earlier_ones(known: list[Scored]) -> None:
    """An edited post is one post, and says what it says now."""
    last = Timeline.of(known).latest()
    assert last.keys() == {version.item.identity for version in known}
    for version in known:
        assert last[version.item.identity].seen_at >= version.seen_at


def test_an_edited_post_with_a_new_id_replaces_its_first_version() -> None:
    """X gives each version an id of its own: both would be voices."""
    before = seen("1", 0, 1, "to the moon")
    after = Scored(replace(before.item, id="2", first_id="1", text="sold all", seen_at=moment(5)), -0.5)
    assert Timeline.of([before, after]).since(moment(0)) == [after]


@examples
@given(timelines, minutes.map(moment))
def test_nothing_that_was_seen_later_shows_in_an_earlier_answer(known: Timeline, when: datetime) -> None:
    """A backtest that sees an edit, a deletion or a late post before it was there is wrong."""
    then = known.as_of(when)
    assert all(version.seen_at <= when for version in then.versions)
    assert all(read.at <= when for read in then.reads)
    assert then.as_of(when) == then


@examples
@given(timelines, timelines, minutes.map(moment))
def test_what_is_learned_later_changes_no_earlier_answer(
    known: Timeline, more: Timeline, when: datetime
) -> None:
    """What we said on Tuesday stays what it was, whatever is read on Wednesday."""
    later = Timeline.of(
        (version for version in more.versions if version.seen_at > when),
        (read for read in more.reads if read.at > when),
    )
    assert (known | later).as_of(when) == known.as_of(when)


@examples
@given(timelines, minutes.map(moment), st.integers(0, 6))
def test_what_is_left_out_is_not_covered(known: Timeline, oldest: datetime, most: int) -> None:
    """An answer over hours of which items were dropped would claim a silence that never was."""
    kept = known.kept_from(known.cut(oldest, most))
    assert len(kept.versions) <= most
    assert kept.coverage | known.coverage == known.coverage
    for left_out in known.latest().values():
        if left_out not in kept.versions:
            assert all(not (each.start <= left_out.at <= each.end) for each in kept.coverage.spans)


def test_reads_of_one_span_become_one() -> None:
    """A timeline is refreshed every few minutes for days: its reads must not grow for ever."""
    reads = [Read(span(minute, minute + 1), moment(minute + 1)) for minute in range(9)]
    known = Timeline.of([], reads)
    (only,) = known.kept_from(known.cut(moment(0), 10)).reads
    assert only == Read(span(0, 9), moment(9))


def test_what_says_the_same_again_is_no_news() -> None:
    """An upstream without a since-parameter gives the same page again: nothing of it is scored or written."""
    known = Timeline.of([seen("a", 1, 2, "up"), seen("b", 1, 2, "up")])
    liked = Item("a", moment(1), "up", engagement=Engagement(likes=5))
    edited = Item("b", moment(1), "down")
    new = Item("c", moment(1), "up")
    found = known.news([liked, edited, new], moment(9))
    assert found == [replace(each, seen_at=moment(9)) for each in (edited, new)]


@pytest.mark.parametrize("is_known", [True, False])
def test_of_a_page_with_both_versions_of_an_edited_post_the_later_counts(is_known: bool) -> None:
    """With each refresh the one that was not known replaced the other, and the score changed its sign."""
    before, after = Item("9", moment(1), "up"), Item("10", moment(1), "down", first_id="9")
    known = Timeline.of([Scored(replace(after, seen_at=moment(2)), -1.0)] if is_known else [])
    for page in ([before, after], [after, before]):
        found = known.news(page, moment(3))
        assert found == ([] if is_known else [replace(after, seen_at=moment(3))])


def test_a_version_that_is_read_by_a_clock_that_was_set_back_still_counts() -> None:
    """It would be hidden by the one that it replaces until the clock has caught up."""
    known = Timeline.of([seen("a", 1, 8, "up")])
    (found,) = known.news([Item("a", moment(1), "down")], moment(3))
    assert (known | Timeline.of([Scored(found, None)])).since(moment(0)) == [Scored(found, None)]


def test_an_item_without_a_time_counts_from_when_it_was_seen() -> None:
    """It has to be of some hour."""
    assert Timeline.of([seen("a", None, 5)]).since(moment(4)) == [seen("a", None, 5)]
    assert Timeline.of([seen("a", None, 5)]).since(moment(6)) == []


def test_an_item_that_was_not_read_yet_is_in_no_timeline() -> None:
    """When a version was seen decides which of them counts."""
    with pytest.raises(ValueError, match="no seen_at"):
        Timeline.of([Scored(Item("a", moment(1), ""), None)])
