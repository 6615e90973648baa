"""The limits: strict, by arrival, in sliding windows and in fixed ones."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tbcache.embedded.simulator import window
from tbcache.embedded.simulator.window import FixedWindow, LimitSet, Window
from tbcache.models import Limit

ARRIVALS = st.lists(st.integers(0, 40), min_size=1, max_size=120).map(sorted)


@given(ARRIVALS, st.integers(1, 8), st.integers(1, 15))
def test_a_window_never_holds_more_than_its_limit_and_refuses_only_when_full(
    times: list[int], count: int, seconds: int
) -> None:
    """What tbcache is measured against must itself be exact, to both sides."""
    limits = LimitSet([Limit(count, seconds)])
    accepted: list[int] = []
    for at in times:
        inside = [each for each in accepted if each > at - seconds]
        verdict = limits.arrive(at).accepted
        assert verdict == (len(inside) < count)
        accepted += [at] * verdict


@given(ARRIVALS, st.integers(1, 8), st.integers(1, 15))
def test_a_fixed_window_opens_with_an_arrival_and_ends_as_a_whole(
    times: list[int], count: int, seconds: int
) -> None:
    """Who keeps to a sliding window is never refused by it, or a demo would blame the wrong side."""
    fixed, sliding = LimitSet([Limit(count, seconds)], FixedWindow), LimitSet([Limit(count, seconds)])
    opened, used = -1000, 0
    for at in times:
        opened, used = (at, 0) if at >= opened + seconds else (opened, used)
        arrival = fixed.arrive(at)
        assert arrival.accepted == (used < count)
        assert arrival.tightest.opens_in == opened + seconds - at
        used += arrival.accepted
    careful = LimitSet([Limit(count, seconds)], FixedWindow)
    assert all(careful.arrive(at).accepted for at in times if sliding.arrive(at).accepted)


@given(ARRIVALS)
def test_of_several_limits_every_one_holds(times: list[int]) -> None:
    """A source can have a limit per minute and one per day; an arrival must fit both."""
    limits = [Limit(3, 4), Limit(5, 20)]
    both = LimitSet(limits)
    accepted: list[int] = []
    for at in times:
        fits = all(
            sum(each > at - limit.window_seconds for each in accepted) < limit.count for limit in limits
        )
        assert both.arrive(at).accepted == fits
        accepted += [at] * fits


@given(ARRIVALS, st.integers(1, 4))
def test_most_counts_every_arrival_of_the_fullest_window(times: list[int], count: int) -> None:
    """A figure of accepted arrivals alone could never show that a client went over."""
    limits = LimitSet([Limit(count, 10)])
    for at in times:
        limits.arrive(at)
    fullest = max(sum(end - 10 < each <= end for each in times[: i + 1]) for i, end in enumerate(times))
    assert limits.windows[0].most == fullest


def test_a_refused_arrival_takes_no_room() -> None:
    """A client that keeps knocking is let in as soon as one that was let in has left the window."""
    limits = LimitSet([Limit(1, 10)])
    assert [limits.arrive(at).accepted for at in (0, 4, 8, 10)] == [True, False, False, True]


def test_a_reading_says_when_the_next_arrival_fits() -> None:
    """The hints in headers are made of it; one that is early costs its reader a refusal."""
    limits = LimitSet([Limit(2, 10), Limit(100, 60)])
    limits.arrive(0)
    limits.arrive(3)
    reading = limits.arrive(4).tightest
    assert (reading.limit.count, reading.remaining, reading.opens_in) == (2, 0, 6)
    assert not limits.arrive(9.99).accepted
    assert limits.arrive(10).accepted


def test_lowered_limits_hold_beside_the_own_ones() -> None:
    """A fault makes an upstream stricter, never more generous."""
    limits = LimitSet([Limit(3, 10)])
    limits.lower([Limit(1, 2)])
    assert [limits.arrive(at).accepted for at in (0, 1, 2, 4, 6)] == [True, False, True, True, False]
    limits.lower([])
    assert [limits.arrive(at).accepted for at in (7, 10)] == [False, True]


def test_what_a_window_remembers_is_bounded(monkeypatch) -> None:
    """A simulator that runs for days under a flood must not grow with it."""
    monkeypatch.setattr(window, "REMEMBERED", 50)
    tight = Window(Limit(10, 86_400))
    for at in range(1000):
        tight.record(at, tight.has_room(at))
    assert len(tight._arrivals) == 50
    assert len(tight._accepted) == 10
