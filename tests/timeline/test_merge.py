"""What several records of a symbol say together."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given

from tbcache.timeline import Read, Record, Timeline, covers_less, merged
from tbcache.timeline.tally import quarter_of
from tests.timeline.kit import examples, moment, seen, span, timelines


def record(timeline: Timeline, read_at: float = 12, hours: int = 24) -> Record:
    return Record(timeline, moment(read_at - 1), moment(read_at), hours, "finance/1")


LAST = record(Timeline(), 13)


@examples
@given(timelines, timelines, timelines)
def test_records_are_merged_in_any_order_and_as_often_as_one_likes(
    one: Timeline, other: Timeline, third: Timeline
) -> None:
    """Each process adds what it has bought when it is asked for it, and a killed one may have done so."""
    parts = [record(each) for each in (one, other, third)]
    whole = merged(*parts, LAST)
    assert whole == merged(*reversed(parts), LAST)
    assert whole == merged(parts[1], merged(parts[0], parts[2], LAST)[0])
    assert whole == merged(whole[0], parts[0], whole[0])
    assert whole[0].timeline.coverage == one.coverage | other.coverage | third.coverage
    assert whole[0].timeline.latest() == (one | other | third).latest()


def test_a_merged_record_is_as_of_its_last_and_over_the_most_hours_of_any() -> None:
    """What was bought without Redis may be newer than what is there, or older, and of fewer hours."""
    old = replace(record(Timeline.of([seen("a", -100, -99)]), 1, hours=1), reason="page_budget", tally={1: 2})
    new = replace(record(Timeline.of([seen("b", 2, 3)]), 62, hours=2), tally={1: 3})
    whole, kept_from = merged(old, new)
    assert (whole.asked_at, whole.read_at, whole.hours) == (new.asked_at, new.read_at, 2)
    assert whole.reason == "page_budget"
    assert kept_from == moment(62 - 120)
    assert [version.item.id for version in whole.timeline.versions] == ["b"]
    assert merged(replace(old, tally={}), replace(new, reason="budget"))[0].reason == "budget"
    quarter = quarter_of(moment(0))
    counts = [replace(old, tally={-quarter: 2, quarter: 1}), replace(new, tally={-quarter: 3})]
    assert merged(*counts)[0].tally == {-quarter: 3, quarter: 1}


def test_a_hole_behind_what_is_merged_makes_an_answer_cover_less() -> None:
    """Three pages of a busy symbol, loaded alone, are newer than the fleet's day, and no more of it."""

    def read(start: float, end: float, at: float = 12) -> Record:
        return record(Timeline.of((), [Read(span(start, end), moment(at))]), at)

    def is_less(before: Record, bought: Record, kept_from: float = -100) -> bool:
        return covers_less(merged(before, bought)[0], moment(kept_from), before)

    assert is_less(read(0, 8), read(9, 12))
    assert not is_less(read(0, 9), read(9, 12))
    assert not is_less(read(9, 12), read(0, 5)), "what is older takes nothing away"
    assert not is_less(read(0, 8), read(9, 12), kept_from=9), "that is too old by now"
    assert not is_less(record(Timeline()), read(9, 12))
    assert is_less(read(0, 10, 11), record(Timeline())), "nothing says that it is all up to then"
    assert not is_less(read(0, 9, 11), replace(record(Timeline()), asked_at=moment(10)))
    assert covers_less(record(Timeline()), moment(0), read(0, 8))
