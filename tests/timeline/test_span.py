"""Of which time everything is known."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from tbcache.timeline import Coverage, Span
from tests.timeline.kit import coverages, examples, moment, span, spans


def _covered(coverage: Coverage) -> set[int]:
    """Which of the twelve minutes are covered."""
    return {
        minute
        for minute in range(12)
        for each in coverage.spans
        if each.start <= moment(minute) and moment(minute + 1) <= each.end
    }


@examples
@given(st.lists(spans, max_size=6))
def test_what_was_asked_is_covered_and_nothing_else(asked: list[Span]) -> None:
    """A minute too many is an answer that claims what it does not know."""
    expected = {
        minute
        for minute in range(12)
        if any(each.start <= moment(minute) and moment(minute + 1) <= each.end for each in asked)
    }
    assert _covered(Coverage.of(asked)) == expected
    assert Coverage.of(reversed(asked)) == Coverage.of(asked)


@examples
@given(coverages)
def test_spans_are_in_order_and_do_not_touch(coverage: Coverage) -> None:
    """One stretch of time is one span, or its holes could not be told from none."""
    edges = [edge for each in coverage.spans for edge in each]
    assert edges == sorted(set(edges))
    assert coverage | coverage == coverage


@examples
@given(coverages, spans)
def test_holes_are_what_the_rest_leaves(coverage: Coverage, limits: Span) -> None:
    """What is filled is the holes, no more: each post of the rest would be paid for again."""
    holes = Coverage.of(coverage.holes(limits))
    assert _covered(holes).isdisjoint(_covered(coverage))
    if limits.start < limits.end:
        assert (holes | coverage.within(limits)).spans == (limits,)


def test_the_newest_span_says_how_far_back_an_answer_is_true() -> None:
    """What lies behind a hole does not reach the answer's end."""
    coverage = Coverage.of([span(0, 3), span(5, 9)])
    assert coverage.last(span(1, 8)) == span(5, 8)
    assert coverage.last(span(10, 12)) is None
    assert coverage.length == timedelta(minutes=7)
