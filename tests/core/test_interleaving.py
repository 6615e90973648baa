"""Every order in which takes, arrivals, commits, deaths and late commits can come, on small limits.

The exploration goes over a model of the window, ten lines long; that the scripts do what
the model does is tried at every state it meets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import fakeredis
import pytest

from tbcache.limiter.script import COMMIT, TAKE, Commit, Take, Taken, WindowKeys
from tbcache.models import Limit
from tbcache.store.wire import MICROS, pack_limits
from tests.fake import fake_redis
from tests.script import run

WINDOW, LEASE = 3, 2
START = 1_800_000_000


class Flight(NamedTuple):
    """A granted call: its slot's stamp, and whether it has arrived."""

    stamp: int
    send_by: int
    has_arrived: bool


class State(NamedTuple):
    """All that matters, in ticks from now. Calls that are the same are one, and what left every
    window is nothing: so there are finitely many states, however many calls are made.
    """

    flights: tuple[Flight, ...] = ()
    #: Stamps of committed slots, and of those whose process died.
    settled: tuple[int, ...] = ()
    arrivals: tuple[int, ...] = ()


Taking = Callable[[State, int], State | None]


def take(state: State, limit: int) -> State | None:
    """The rule under test: a slot if fewer than ``limit`` stamps lie in the window."""
    stamps = [*(flight.stamp for flight in state.flights), *state.settled]
    if sum(stamp > -WINDOW for stamp in stamps) >= limit:
        return None
    return state._replace(flights=_sorted(*state.flights, Flight(LEASE, LEASE, False)))


def steps(state: State, limit: int, rule: Taking) -> Iterator[State]:
    """Whatever can happen next."""
    yield _tick(state)
    if (taken := rule(state, limit)) is not None:
        yield taken
    for index, flight in enumerate(state.flights):
        others = state.flights[:index] + state.flights[index + 1 :]
        if not flight.has_arrived and flight.send_by > 0:
            # Past its deadline it is dropped instead.
            flights = _sorted(*others, flight._replace(has_arrived=True))
            yield state._replace(flights=flights, arrivals=_ordered(*state.arrivals, 0))
        # Answered, dropped or late: a commit lowers the stamp to now, and never raises it.
        yield state._replace(flights=others, settled=_ordered(*state.settled, min(flight.stamp, 0)))
        # Dead: nobody ever commits.
        yield state._replace(flights=others, settled=_ordered(*state.settled, flight.stamp))


def _tick(state: State) -> State:
    flights = (Flight(stamp - 1, max(by - 1, 0), arrived) for stamp, by, arrived in state.flights)
    settled = (stamp - 1 for stamp in state.settled if stamp - 1 > -WINDOW)
    arrivals = (at - 1 for at in state.arrivals if at - 1 > -WINDOW)
    # One that has left the window and may not send can do nothing more but commit in vain.
    return State(_sorted(*(f for f in flights if f.stamp > -WINDOW)), tuple(settled), tuple(arrivals))


def _ordered(*stamps: int) -> tuple[int, ...]:
    return tuple(sorted(stamps))


def _sorted(*flights: Flight) -> tuple[Flight, ...]:
    return tuple(sorted(flights))


def explore(limit: int, rule: Taking = take) -> set[State]:
    """Every state that can be reached.

    Raises:
      AssertionError: a window of one of them holds more arrivals than ``limit``.
    """
    seen, ahead = {State()}, [State()]
    while ahead:
        for after in steps(ahead.pop(), limit, rule):
            assert len(after.arrivals) <= limit, after
            if after not in seen:
                seen.add(after)
                ahead.append(after)
    return seen


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_no_interleaving_breaks_a_limit(limit: int) -> None:
    """Any number of calls in every order, time moving by a third of the window between any two steps."""
    assert any(len(state.arrivals) == limit for state in explore(limit))


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_a_stamp_of_the_decision_would_break_it(limit: int) -> None:
    """The check sees what is wrong with every limiter that stamps when it decides."""

    def stamped_now(state: State, limit: int) -> State | None:
        taken = take(state, limit)
        return taken and state._replace(flights=_sorted(*state.flights, Flight(0, LEASE, False)))

    with pytest.raises(AssertionError):
        explore(limit, stamped_now)


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_the_scripts_do_what_the_model_does(limit: int) -> None:
    """Each window the exploration meets is put before the real scripts."""
    redis = fake_redis()
    windows = {
        tuple(sorted((*(flight.stamp for flight in state.flights), *state.settled)))
        for state in explore(limit)
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.time", lambda: float(START))
        for stamps in windows:
            _compare(redis, stamps, limit)


def _compare(redis: fakeredis.FakeRedis, stamps: tuple[int, ...], limit: int) -> None:
    keys = ("{s}:slots", "{s}:state", "{s}:fleet")
    slots = keys[0]
    redis.delete(*keys)
    if stamps:
        redis.zadd(slots, {f"s{n}": (START + stamp) * MICROS for n, stamp in enumerate(stamps)})
    limits = pack_limits([Limit(limit, WINDOW)])
    ask = Take(WindowKeys(*keys), limits, True, "new", 1, LEASE * MICROS, 0, 0, "", 0, "me", "fleet")
    answer = run(redis, TAKE, ask)
    assert isinstance(answer, Taken)
    granted = take(State(settled=stamps), limit)
    assert answer.is_allowed == (granted is not None), stamps
    if granted is not None:
        assert redis.zscore(slots, "new") == (START + LEASE) * MICROS
        run(redis, COMMIT, Commit(slots, "new", 1, 0))
        assert redis.zscore(slots, "new") == START * MICROS
    for n, stamp in enumerate(stamps):
        run(redis, COMMIT, Commit(slots, f"s{n}", 1, 0))
        lowered = redis.zscore(slots, f"s{n}")
        assert lowered == ((START + min(stamp, 0)) * MICROS if stamp > -WINDOW else lowered)
