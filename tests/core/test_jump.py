"""The server's clock is set: what was sent before counts as it did, whoever asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from tbcache.limiter.script import LOSE
from tbcache.store.script import Script
from tests.core.test_loss import beat, begin
from tests.core.world import LIMIT, Clock, Process, moved_clock


class ServersClock(Clock):
    """Everyone's clock, and the server's, which may be ``ahead`` of it (s)."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead = 0.0

    def time(self) -> float:
        return self.now + self.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[ServersClock]:
    found = ServersClock()
    with moved_clock() as moved:
        # Whoever looks at a clock has the method of this one.
        moved.__dict__ = found.__dict__
        monkeypatch.setattr("time.time", found.time)
        yield found


def before_the_window_is_given_up(process: Process, act: Callable[[], object]) -> None:
    """What another thread of the process does as this one is about to have its window given up."""
    run = process.line._run

    async def act_and_run(script: Script[Any, Any], packed: Sequence[Any]) -> Any:
        if script is LOSE:
            # Once: what it asks notices the jump as well.
            process.line._run = run  # type: ignore[method-assign]
            act()
        return await run(script, packed)

    process.line._run = act_and_run  # type: ignore[method-assign]


@pytest.mark.parametrize("seconds", [1.95, 30.0])
def test_nobody_takes_a_slot_between_the_notice_of_a_jump_and_its_mend(
    clock: ServersClock, seconds: float
) -> None:
    """Another thread goes by the new time as soon as it is known: what was sent just now looks old by it."""
    world, (busy, other) = begin(clock, 5, 1)
    clock.ahead += seconds
    tried: list[bool] = []
    before_the_window_is_given_up(busy, lambda: tried.append(busy.take()))
    beat(busy, other, busy, other)
    assert tried == [False]
    assert world.most_in_a_window() == LIMIT.count
