"""What was counted between two minutes, by the sums of the day that are kept of each."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from tbcache.monitoring.interval import intervals_of
from tbcache.store.mark import DAY_MINUTES, Marks

#: A minute at noon, and what of an hour ago, of some day.
DAY = 20_000
NOON = DAY * DAY_MINUTES + 720


def marks(kept: dict[int, str], today: dict[str, int], yesterday: dict[str, int] | None = None) -> Marks:
    """``kept`` are the sums by the minute, counted from noon; it is half a minute past noon."""
    texts = {
        str(NOON + at).encode(): f"{(NOON + at) // DAY_MINUTES} {text}".encode() for at, text in kept.items()
    }
    return Marks((NOON * 60 + 30) * 1e6, texts, {DAY: Counter(today), DAY - 1: Counter(yesterday or {})})


def counts(found: Marks, *bounds: int) -> list[tuple[int, float, dict[str, int]]]:
    stretches = found.between([NOON + at for at in bounds])
    return [(one.start - NOON, one.seconds, dict(one.figures)) for one in stretches]


def test_what_was_counted_in_each_minute_is_told() -> None:
    """The last one goes on: it has been half a minute."""
    found = marks({-2: "go=1", -1: "go=4,hit=1", 0: "go=4,hit=3"}, {"go": 5, "hit": 3, "error.auth": 1})
    assert counts(found, -2, -1, 0, 1) == [
        (-2, 60, {"go": 3, "hit": 1}),
        (-1, 60, {"hit": 2}),
        (0, 30, {"go": 1, "error.auth": 1}),
    ]


def test_a_minute_that_nobody_kept_has_counted_nothing() -> None:
    """Whoever counts has the minute kept first, so a fleet that was down for a while has no figures of it."""
    found = marks({-9: "go=1", -3: "go=5", 0: "go=6"}, {"go": 6})
    assert counts(found, -9, -6, -3, 0) == [(-9, 180, {"go": 4}), (-6, 180, {}), (-3, 180, {"go": 1})]


def test_before_the_first_minute_nothing_is_known() -> None:
    """A nought for what Redis has lost would look like a quiet night."""
    found = marks({-4: "go=2", 0: "go=3"}, {"go": 3})
    assert counts(found, -20, -10, 0) == [(-4, 240, {"go": 1})]
    assert (counts(marks({}, {"go": 9}), -20, -10, 0), marks({}, {}).first) == ([], None)


def test_figures_go_on_beyond_midnight() -> None:
    """The sums begin anew with each day; the last minute of the day before may still say that day."""
    found = marks({-800: "go=90", -720: "go=0", 0: "go=7"}, {"go": 7}, {"go": 100})
    assert counts(found, -800, -720, 0) == [(-800, 4800, {"go": 10}), (-720, 43_200, {"go": 7})]
    late = Marks(found.now_us, {str(NOON - 720).encode(): f"{DAY - 1} go=95".encode()}, found._totals)
    assert counts(late, -720, 0) == [(-720, 43_200, {"go": 12})]


def test_the_most_that_was_queued_is_told() -> None:
    """A backlog of minutes is what somebody looks for, and the end of the hour may have none."""
    queued = {-3: 2, -2: 40, -1: 0, 0: 7}
    found = marks({at: f"queue.waiting={jobs},go=1" for at, jobs in queued.items()}, {"go": 1})
    assert counts(found, -3, -1, 1) == [(-3, 120, {"queue.waiting": 40}), (-1, 90, {"queue.waiting": 7})]
    (first, _) = intervals_of(found.between([NOON - 3, NOON - 1, NOON + 1]))
    assert (first.waiting, first.dead, first.requests) == (40, None, 0)


def test_what_is_damaged_or_lies_ahead_tells_nothing() -> None:
    """A clock that was put back leaves minutes of a time to come, and anybody may write any day."""
    found = marks({-2: "go=1", -1: "go=2", 5: "go=90"}, {"go": 3})
    assert counts(found, -2, 0, 9) == [(-2, 120, {"go": 2}), (0, 30, {})]
    texts = {b"banana": b"x", str(NOON - 3).encode(): b"7 go=1", str(NOON).encode(): f"{DAY} go=1".encode()}
    broken = Marks(found.now_us, texts, {DAY: Counter(go=3)})
    assert counts(broken, -3, 0, 1) == [(0, 30, {"go": 2})]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(-700, 0), st.integers(1, 9)), max_size=12), st.integers(1, 90))
def test_no_figure_is_lost_or_told_twice(asks: list[tuple[int, int]], step: int) -> None:
    """However a day is divided, its parts come to the whole."""
    kept = {at: sum(n for when, n in asks if when < at) for at in {-710, *(at for at, _ in asks)}}
    found = marks({at: f"go={total}" for at, total in kept.items()}, {"go": sum(n for _, n in asks)})
    stretches = found.between([*range(NOON - 710, NOON, step), NOON + 1])
    assert sum(one.figures["go"] for one in stretches) == sum(n for _, n in asks)
    assert sum(one.seconds for one in stretches) == 710 * 60 + 30
