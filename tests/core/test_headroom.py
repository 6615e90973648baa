"""Somebody else uses the same key: what is left to us is learned."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tbcache.admission import Go, Grant, Settlement, Wait
from tbcache.limiter import limiter_of
from tbcache.limiter.script import TAKE, Take, Taken
from tbcache.models import Failure, Limit, RateHint
from tbcache.store import Store
from tbcache.store.wire import pack_limits
from tests.blocking import Admission
from tests.core.conftest import TWITTER, ask
from tests.server import wait_until

REFUSED = Failure("throttled", "slow down", 429, None)
SOURCE = replace(TWITTER, limits=(Limit(50, 0.5), Limit(5000, 3600.0)))
MINUTE = replace(TWITTER, limits=(Limit(50, 60.0),))


class Strict:
    """An upstream that refuses by arrival."""

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._times: deque[float] = deque()

    def arrive(self) -> tuple[int, float]:
        """How many are left, -1 when this one is refused, and seconds until one more is."""
        with self._lock:
            now = time.monotonic()
            while self._times and now - self._times[0] >= self._limit.window_seconds:
                self._times.popleft()
            left = self._limit.count - len(self._times) - 1
            if left >= 0:
                self._times.append(now)
            return left, self._times[0] + self._limit.window_seconds - now


def learned(store: Store) -> int:
    return int(store.client.hget(store.keys.state("twitter"), "learned:500000") or 0)


def refuse(admission: Admission, symbol: str) -> None:
    verdict = admission.admit(ask(symbol, SOURCE))
    assert isinstance(verdict, Go)
    admission.settle(verdict.grant, Settlement(failure=REFUSED, closed_by=REFUSED, pages=1))
    admission._store.client.hdel(admission._store.keys.state("twitter"), "closed_until")


def used(admission: Admission, store: Store, limit: Limit = SOURCE.limits[0]) -> int:
    """How much of a window counts as used; of the shortest one, where nothing else is said."""
    limits = pack_limits((limit,))
    look = Take(limiter_of(store).window_keys("twitter"), limits, False, "", 1, 0, 0, 0, "", 0, "", "bound")
    found = store.run(TAKE, look)
    assert isinstance(found, Taken)
    return found.used


def test_a_refusal_leaves_room_to_others_and_time_takes_it_back(admission: Admission, store: Store) -> None:
    """A third of the shortest window, then a tenth at a refusal; a fiftieth back after each four windows."""
    refuse(admission, "A")
    assert learned(store) == 16
    refuse(admission, "B")
    assert learned(store) == 21
    store.client.delete(store.keys.slots("twitter"))
    now_us = store.clock.time_us() or 0.0
    # By three steps of two seconds, and a moment.
    store.client.hset(store.keys.state("twitter"), "learned_next:500000", round(now_us - 4.5e6))
    assert used(admission, store) == 18
    refuse(admission, "C")
    assert learned(store) == 18 + 5
    store.client.delete(store.keys.slots("twitter"))
    store.client.hset(store.keys.state("twitter"), "learned_next:500000", 0)
    assert used(admission, store) == 0


def test_the_prewarm_lane_goes_on_after_refusals_though_nobody_else_asks(
    admission: Admission, store: Store
) -> None:
    """A scheduler and a worker alone: of a small limit, what was learned and the reserve were the whole."""
    source = replace(TWITTER, limits=(Limit(2, 0.1),))
    verdict = admission.admit(ask("A", source, lane="prewarm"))
    assert isinstance(verdict, Go)
    admission.settle(verdict.grant, Settlement(failure=REFUSED, closed_by=REFUSED, pages=1))
    store.client.hdel(store.keys.state("twitter"), "closed_until")
    assert isinstance(admission.admit(ask("B", source, lane="prewarm")), Wait)
    wait_until(lambda: isinstance(admission.admit(ask("B", source, lane="prewarm")), Go), 20.0)


def test_refusals_leave_room_for_a_request_of_several_slots(admission: Admission, store: Store) -> None:
    """What was learned shrinks with requests that go well: if none fitted, none would ever go again."""
    source = replace(TWITTER, limits=(Limit(2, 0.2),), cost=2)
    verdict = admission.admit(ask("A", source))
    assert isinstance(verdict, Go)
    admission.settle(verdict.grant, Settlement(failure=REFUSED, closed_by=REFUSED, pages=1))
    store.client.hdel(store.keys.state("twitter"), "closed_until")
    wait_until(lambda: isinstance(admission.admit(ask("B", source)), Go))


def told(left: int, seconds: float = 40.0) -> Settlement:
    """A page whose headers say that so many are left."""
    hint = RateHint(left, datetime.now(UTC) + timedelta(seconds=seconds))
    return Settlement(payload=b"1", pages=1, hints=(hint,))


def foreign(store: Store) -> int:
    return int(store.client.hget(store.keys.state("twitter"), "foreign:60000000") or 0)


def go(admission: Admission, symbol: str) -> Grant:
    verdict = admission.admit(ask(symbol, MINUTE))
    assert isinstance(verdict, Go)
    return verdict.grant


def pass_word(store: Store) -> None:
    """What the upstream said last has ended a moment ago."""
    now_us = store.clock.time_us()
    assert now_us is not None
    store.client.hset(store.keys.state("twitter"), "foreign_until:60000000", round(now_us - 50_000))


def test_others_get_room_to_come_more_often(admission: Admission, store: Store) -> None:
    """Whoever is refused at our limit is not counted, and would never be seen to want more."""
    admission.settle(go(admission, "A"), told(39))
    assert foreign(store) == 10 + 4


def test_figures_leave_room_for_a_request_of_several_slots(admission: Admission, store: Store) -> None:
    """Others use all the rest, and want more: one request of ours goes all the same, and hears of it."""
    verdict = admission.admit(ask("A", replace(TWITTER, limits=(Limit(24, 60.0),), cost=12)))
    assert isinstance(verdict, Go)
    admission.settle(verdict.grant, told(0))
    assert foreign(store) == 12


def test_figures_told_while_slots_are_held_only_raise(admission: Admission, store: Store) -> None:
    """A request under way may not be in the upstream's count: others have used at least so much."""
    admission.settle(go(admission, "A"), told(39))
    held = go(admission, "B")
    admission.settle(go(admission, "C"), told(48))
    assert foreign(store) == 14
    admission.settle(go(admission, "D"), told(20))
    assert foreign(store) == 26 + 4
    admission.settle(held, told(46))
    assert foreign(store) == 30 // 2


def test_figures_told_while_slots_leave_the_window_only_raise(admission: Admission, store: Store) -> None:
    """An arrival leaves the upstream's window before its stamp leaves ours."""
    admission.settle(go(admission, "A"), told(39))
    now_us = store.clock.time_us()
    assert now_us is not None
    store.client.zadd(store.keys.slots("twitter"), {"leaving": now_us - 59_900_000})
    admission.settle(go(admission, "B"), told(45))
    assert foreign(store) == 14
    store.client.zadd(store.keys.slots("twitter"), {"leaving": now_us - 58_000_000})
    admission.settle(go(admission, "C"), told(45))
    assert foreign(store) == (14 + 1 + 4) // 2


def test_after_the_first_word_one_request_goes_to_hear_the_next(admission: Admission, store: Store) -> None:
    """Windows may have been reset, or slide on: sixteen at once would find out at the price of sixteen."""
    admission.settle(go(admission, "A"), told(0))
    assert isinstance(admission.admit(ask("B", MINUTE)), Wait)
    pass_word(store)
    held = go(admission, "B")
    verdict = admission.admit(ask("C", MINUTE))
    assert isinstance(verdict, Wait)
    assert verdict.seconds == pytest.approx(0.1, abs=0.01)
    admission.settle(held, told(48))
    go(admission, "C")
    go(admission, "D")


def test_what_others_still_use_after_a_word_is_expected_after_the_next(
    admission: Admission, store: Store
) -> None:
    """Where windows slide, the end of a word frees one slot, not all of them."""
    admission.settle(go(admission, "A"), told(4))
    pass_word(store)
    admission.settle(go(admission, "B"), told(6))
    assert int(store.client.hget(store.keys.state("twitter"), "learned:60000000") or 0) == 42 + 4
    pass_word(store)
    go(admission, "C")
    go(admission, "D")
    assert isinstance(admission.admit(ask("E", MINUTE)), Wait)


def test_where_windows_slide_the_last_word_holds_on_beyond_its_end(
    admission: Admission, store: Store
) -> None:
    """Others do not go when a word ends: what they have used since the first of it counts as well."""
    admission.settle(go(admission, "A"), told(30))
    pass_word(store)
    admission.settle(go(admission, "B"), told(29))
    admission.settle(go(admission, "C"), told(10))
    assert foreign(store) == 37 + 4
    pass_word(store)
    for number in range(6):
        go(admission, f"D{number}")
    assert isinstance(admission.admit(ask("E", MINUTE)), Wait)


@pytest.mark.parametrize(
    "known",
    [
        {"foreign": 47, "foreign_until": 9e15},
        {"foreign": 47, "slides": 1},
        {"learned": 47, "learned_next": 9e15},
    ],
)
def test_a_stricter_ask_gets_no_more_than_others_leave(
    admission: Admission, store: Store, known: dict[str, float]
) -> None:
    """What others use was counted by the larger limit of the source."""
    go(admission, "A")
    now_us = store.clock.time_us() or 0.0
    fields = {f"{name}:60000000": round(min(value, now_us + 4e7)) for name, value in known.items()}
    store.client.hset(store.keys.state("twitter"), mapping=fields)
    assert used(admission, store, MINUTE.limits[0]) == 48
    assert used(admission, store, Limit(40, 60.0)) == 40


def test_a_figure_that_would_hold_for_ever_is_over(admission: Admission, store: Store) -> None:
    """What others use after it tells whether the windows of the upstream slide."""
    state, grant = store.keys.state("twitter"), go(admission, "A")
    damaged = {"foreign:60000000": 40, "foreign_until:60000000": "1e300", "learned_next:60000000": 1}
    store.client.hset(state, mapping=damaged)
    admission.settle(grant, told(47))
    # What an upstream has stated does not fade.
    assert store.client.hmget(state, "slides:60000000", "learned_next:60000000") == [b"0", None]


def test_a_figure_of_a_larger_limit_stays_while_slots_are_held(admission: Admission, store: Store) -> None:
    """It counted as nothing, and the next figure, which is then only to raise it, took its place."""
    first, _ = go(admission, "A"), go(admission, "B")
    now_us = store.clock.time_us() or 0.0
    known = {"foreign:60000000": 1000, "foreign_until:60000000": round(now_us + 4e7)}
    store.client.hset(store.keys.state("twitter"), mapping=known)
    admission.settle(first, told(47))
    assert foreign(store) == 1000


def test_where_windows_slide_no_longer_the_last_word_ends(admission: Admission, store: Store) -> None:
    """Others came back for one window only, or the upstream counts in another way now."""
    admission.settle(go(admission, "A"), told(30))
    pass_word(store)
    admission.settle(go(admission, "B"), told(29))
    pass_word(store)
    # Half of what is less is believed; a reset, which is seen by now, is believed whole.
    admission.settle(go(admission, "C"), told(47))
    assert foreign(store) == 23 // 2
    pass_word(store)
    admission.settle(go(admission, "D"), told(46))
    assert foreign(store) == 0


def test_what_others_have_used_since_a_reset_is_expected_after_the_next(
    admission: Admission, store: Store
) -> None:
    """Where windows reset, nothing is held back for others at their beginning."""
    admission.settle(go(admission, "A"), told(4))
    pass_word(store)
    admission.settle(go(admission, "B"), told(49))
    admission.settle(go(admission, "C"), told(7))
    pass_word(store)
    for number in range(47):
        go(admission, f"D{number}")


def test_one_request_is_always_left_to_hear_that_others_are_gone(admission: Admission, store: Store) -> None:
    """Believing that they use it all would never end: nobody asks, so nobody is told."""
    admission.settle(go(admission, "A"), told(0))
    pass_word(store)
    admission.settle(go(admission, "B"), told(0))
    pass_word(store)
    for number in range(6):
        store.client.delete(store.keys.slots("twitter"))
        admission.settle(go(admission, f"C{number}"), told(49))
    assert foreign(store) == 0


def test_a_long_window_does_not_doubt_its_figures_for_long(admission: Admission, store: Store) -> None:
    """A request is under way for seconds, whatever the window's length."""
    source = replace(TWITTER, limits=(Limit(50, 86400.0),))

    def hear(symbol: str, left: int) -> bytes | None:
        verdict = admission.admit(ask(symbol, source))
        assert isinstance(verdict, Go)
        admission.settle(verdict.grant, told(left))
        return store.client.hget(store.keys.state("twitter"), "foreign:86400000000")

    assert hear("A", 39) == b"14"
    now_us = store.clock.time_us()
    assert now_us is not None
    store.client.zadd(store.keys.slots("twitter"), {"leaving": now_us - 86_390_000_000})
    assert hear("B", 47) == b"7"


@pytest.mark.parametrize("tells_figures", [False, True])
def test_a_foreign_consumer_is_made_room_for(admission: Admission, store: Store, tells_figures: bool) -> None:
    """Its 28% cost us few refusals once they are learned, and the rest is used."""
    upstream, stop = Strict(SOURCE.limits[0]), threading.Event()
    sent, refused = [0, 0], [0, 0]
    half = time.monotonic() + 2.5
    end = half + 2.5

    def somebody() -> None:
        while not stop.wait(0.5 / 14):
            upstream.arrive()

    def ours(name: str) -> None:
        number = 0
        while (now := time.monotonic()) < end:
            number += 1
            verdict = admission.admit(ask(f"{name}N{number}", SOURCE, patience=end - now))
            if isinstance(verdict, Wait):
                time.sleep(min(verdict.seconds, max(0.0, end - now)))
            elif isinstance(verdict, Go):
                time.sleep(max(0.0, verdict.grant.starts_at - time.monotonic()))
                part = int(time.monotonic() > half)
                sent[part] += 1
                left, opens_in = upstream.arrive()
                hint = RateHint(left, datetime.now(UTC) + timedelta(seconds=opens_in))
                hints = (hint,) if tells_figures else ()
                if left >= 0:
                    admission.settle(verdict.grant, Settlement(payload=b"1", pages=1, hints=hints))
                else:
                    refused[part] += 1
                    admission.settle(verdict.grant, Settlement(failure=REFUSED, closed_by=REFUSED, pages=1))

    threads = [threading.Thread(target=ours, args=(f"T{n}",)) for n in range(4)]
    other = threading.Thread(target=somebody)
    for thread in (*threads, other):
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    other.join()
    # Half of what they would be if nothing were learned; how few they are is for the benchmark.
    assert refused[1] <= max(3, 0.14 * sent[1])
    assert sent[1] > 50


def test_what_others_use_of_the_key_is_reckoned_with_beside_the_allowances_of_a_fleet(
    admission: Admission, store: Store
) -> None:
    """A source of which both are known is asked of Redis as any other."""
    first = go(admission, "A")
    now_us, state = store.clock.time_us(), store.keys.state("twitter")
    assert now_us is not None
    store.client.zadd(store.keys.fleet("twitter"), {"other": round(now_us - 1e6)})
    store.client.expire(store.keys.fleet("twitter"), 60)
    # It is not absent for as long as the test takes.
    theirs = {"share:other": "0.5", "rooms:other": "50:60000000=3", "silence:other": 60_000_000}
    store.client.hset(state, mapping={**theirs, "learned:60000000": 45})
    second = admission.admit(ask("B", MINUTE))
    assert isinstance(second, Go)
    assert [first.is_fallback, second.grant.is_fallback] == [False, False]
    # One of ours and one more, three kept for the other and 45 that strangers use are all there are.
    assert isinstance(admission.admit(ask("C", MINUTE)), Wait)
