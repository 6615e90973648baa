"""Held slots: the proof, tried out. Time is moved, not waited for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import fakeredis
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tbcache.limiter.script import COMMIT, TAKE, Commit, Take, Taken, WindowKeys
from tbcache.models import Limit
from tbcache.store.wire import MICROS, pack_limits
from tests.fake import fake_redis
from tests.script import run

START = 1_800_000_000 * MICROS
SLOTS, STATE, FLEET = "ns:{s}:slots", "ns:{s}:state", "ns:{s}:fleet"


class Clock:
    """The server's time, in microseconds, moved by hand."""

    def __init__(self) -> None:
        self.now = START

    def time(self) -> float:
        return self.now / MICROS


@dataclass
class Model:
    """One window under the real scripts, and what arrived upstream."""

    redis: fakeredis.FakeRedis
    clock: Clock
    limits: tuple[Limit, ...]
    lease: int
    patience: int = 0
    arrivals: list[int] = field(default_factory=list)

    def take(self, name: str, cost: int = 1) -> bool:
        return self.start_of(name, cost) is not None

    def start_of(self, name: str, cost: int = 1) -> int | None:
        """When the slot begins; None when there is none to be had."""
        window, limits = WindowKeys(SLOTS, STATE, FLEET), pack_limits(self.limits)
        ask = Take(window, limits, True, name, cost, self.lease, 0, 0, "", self.patience, "me", "fleet")
        answer = run(self.redis, TAKE, ask)
        assert isinstance(answer, Taken)
        return answer.start if answer.is_allowed else None

    def commit(self, name: str, cost: int = 1) -> None:
        run(self.redis, COMMIT, Commit(SLOTS, name, cost, 0))

    def arrive(self, cost: int = 1) -> None:
        self.arrivals.extend([self.clock.now] * cost)

    def assert_kept(self) -> None:
        """No window of any limit holds more arrivals than it allows."""
        times = sorted(self.arrivals)
        for limit in self.limits:
            span = round(limit.window_seconds * MICROS)
            for first, later in zip(times, times[limit.count :], strict=False):
                assert later - first >= span, f"{limit} broken: {first} and {later}"


@pytest.fixture(scope="module")
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def redis(clock: Clock) -> Iterator[fakeredis.FakeRedis]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.time", clock.time)
        yield fake_redis()


@pytest.fixture
def model(redis: fakeredis.FakeRedis, clock: Clock) -> Callable[..., Model]:
    def build(*limits: Limit, lease: int = 3 * MICROS) -> Model:
        redis.flushall()
        clock.now = START
        return Model(redis, clock, limits, lease)

    return build


def test_a_full_window_opens_when_the_oldest_stamp_leaves_it(model: Callable[..., Model]) -> None:
    """Not a microsecond sooner, and not one later."""
    window = model(Limit(1, 2.0))
    assert window.take("a")
    window.commit("a")
    window.clock.now += 2 * MICROS - 1
    assert not window.take("b")
    window.clock.now += 1
    assert window.take("c")


def test_a_slot_is_promised_for_when_it_comes_free(model: Callable[..., Model]) -> None:
    """A waiter need not ask twice, and no two are promised the same."""
    window = model(Limit(2, 2.0))
    for name in "ab":
        window.take(name)
        window.clock.now += MICROS // 4
        window.commit(name)
    freed = [window.clock.now - MICROS // 4 + 2 * MICROS, window.clock.now + 2 * MICROS]
    window.patience = 10 * MICROS
    assert [window.start_of("c"), window.start_of("d")] == freed


def test_no_slot_is_promised_before_it_is_certain(model: Callable[..., Model]) -> None:
    """A held slot may be committed any time: when it leaves is not known yet."""
    window = model(Limit(1, 2.0))
    window.take("a")
    window.patience = 10 * MICROS
    assert window.start_of("b") is None


def test_a_cost_takes_that_many_slots_or_none(model: Callable[..., Model]) -> None:
    """Weights count as they are said; a part of one is never taken."""
    window = model(Limit(5, 2.0))
    assert window.take("a", cost=3)
    assert not window.take("b", cost=3)
    assert window.redis.zcard(SLOTS) == 3
    assert window.take("c", cost=2)


def test_commit_lowers_every_unit_of_a_cost(model: Callable[..., Model]) -> None:
    """Or a heavy request would block its window for the whole lease."""
    window = model(Limit(3, 2.0), lease=60 * MICROS)
    window.take("a", cost=3)
    window.commit("a", cost=3)
    window.clock.now += 2 * MICROS
    assert window.take("b", cost=3)


def test_a_short_window_does_not_forget_for_a_long_one(model: Callable[..., Model]) -> None:
    """Slots are kept for the longest window that was ever asked about."""
    window = model(Limit(2, 100.0))
    window.take("a")
    window.commit("a")
    window.clock.now += 50 * MICROS
    window.limits = (Limit(10, 1.0),)
    window.take("b")
    window.commit("b")
    window.limits = (Limit(2, 100.0),)
    assert not window.take("c")


Step = tuple[str, int, int]

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["take", "answer", "crash", "wait"]), st.integers(0, 7), st.integers(1, 900_000)
    ),
    min_size=5,
    max_size=60,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=STEPS,
    counts=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 30)), min_size=1, max_size=3),
    costs=st.integers(1, 2),
    patience=st.sampled_from([0, 500_000, 5_000_000]),
)
def test_no_window_holds_more_arrivals_than_allowed(
    model: Callable[..., Model],
    steps: list[Step],
    counts: list[tuple[int, int]],
    costs: int,
    patience: int,
) -> None:
    """Whatever the order of takes, arrivals, answers and deaths, under any limits; slots
    promised for later included.
    """
    window = model(*(Limit(count, tenths / 10) for count, tenths in counts), lease=MICROS)
    window.patience = patience
    cost = min(costs, min(count for count, _ in counts))
    flying: list[tuple[str, int, int]] = []
    for number, (step, which, micros) in enumerate(steps):
        if step == "take":
            start = window.start_of(str(number), cost)
            if start is not None:
                flying.append((str(number), start, start + window.lease))
        elif step == "answer" and flying:
            name, start, deadline = flying.pop(which % len(flying))
            # It arrives after its start and before its answer; past its deadline it is not sent.
            window.clock.now = max(start, min(window.clock.now + micros, max(deadline - 1, window.clock.now)))
            if window.clock.now < deadline:
                window.arrive(cost)
            window.clock.now += micros // 2
            window.commit(name, cost)
        elif step == "crash" and flying:
            _, start, deadline = flying.pop(which % len(flying))
            if start <= window.clock.now < deadline:
                window.arrive(cost)
        else:
            window.clock.now += micros
    window.assert_kept()
