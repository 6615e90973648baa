"""A process that stands still, as one that was stopped by a signal, right after it was given a slot."""

from __future__ import annotations

from typing import Any

import pytest

from tbcache.admission.sliding_window import SlidingWindow
from tests.core.world import LEASE, LIMIT, World, moved_clock


@pytest.mark.parametrize("is_away", [False, True])
@pytest.mark.parametrize("holds", [0.9, 2.0])
def test_a_slot_whose_hold_is_nearly_over_by_then_is_taken_anew(
    monkeypatch: pytest.MonkeyPatch, is_away: bool, holds: float
) -> None:
    """What was sent with it left the window as it was sent, or before."""
    way = "_ask_fallback" if is_away else "_read"
    ask, stands_still = getattr(SlidingWindow, way), iter([holds * LEASE])
    with moved_clock() as clock:
        world = World(clock, 1)
        (process,) = world.fleet
        assert process.take()
        process.beat()
        clock.now += LIMIT.window_seconds + LEASE
        process.beat()
        if is_away:
            process.cut_off()

        def ask_and_stand_still(self: SlidingWindow, *args: Any) -> Any:
            answer = ask(self, *args)
            clock.now += next(stands_still, 0.0)
            return answer

        monkeypatch.setattr(SlidingWindow, way, ask_and_stand_still)
        with process.limiter.slot():
            entered_at = clock.now
            ends = [end - clock.now for end in process.process_window._stamps.values()]
        assert max(ends) == pytest.approx(LEASE)
        assert clock.now == entered_at
