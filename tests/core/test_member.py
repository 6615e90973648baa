"""Shares of a limit, for the time that Redis is away from one or from all."""

from __future__ import annotations

import math
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import settings as trials
from hypothesis import strategies as st

from tbcache import io
from tbcache.admission import Go, Settlement, Wait
from tbcache.limiter import limiter_of
from tbcache.limiter import process_window as process_window
from tbcache.limiter.allotment import Allotment
from tbcache.limiter.member import BEAT_SECONDS, FORGET_SECONDS
from tbcache.limiter.process_window import ABSENT_SECONDS, ProcessWindow
from tbcache.limiter.promise import MARGIN_SECONDS, SLOWEST
from tbcache.limiter.script import (
    BEAT,
    LEAVE,
    REOPEN,
    TAKE,
    Allotted,
    Beat,
    Late,
    Leave,
    Left,
    Reopen,
    Take,
    Taken,
    WindowKeys,
)
from tbcache.limiter.slot_record import SWEEP_FROM
from tbcache.models import Failure, Limit
from tbcache.monitoring import UsageMonitor
from tbcache.queue import PacingBroker
from tbcache.rate_limiter import RateLimiter
from tbcache.settings import Settings
from tbcache.store import Store
from tbcache.store.wire import CLOCK_DRIFT, MICROS, pack_limits
from tests.blocking import Admission, Membership
from tests.core.conftest import TWITTER, ask
from tests.core.world import THEIRS_SECONDS
from tests.fake import fake_redis
from tests.script import run
from tests.server import Server, wait_until


def beat(store: Store, process: str, going_by: float = 0.0, *, can_fall_back: bool = True) -> float:
    """One beat of ``process``; the share it is told."""
    told = store.run(
        BEAT, saying(limiter_of(store).window_keys("twitter"), process, going_by, can_fall_back=can_fall_back)
    )
    assert isinstance(told, Allotted)
    return told.share


def saying(window: WindowKeys, process: str, going_by: float = 0.0, *, can_fall_back: bool = True) -> Beat:
    """What a beat says."""
    return Beat(
        window=window,
        limits="5:60000000",
        process=process,
        going_by=str(going_by),
        asked_us=0,
        deadline_us=0,
        forget_us=300_000_000,
        allowances="",
        can_fall_back=can_fall_back,
        seen_before="",
        epoch="an-epoch",
        hold_us=15_000_000,
        silence_us=0,
    )


def leave(store: Store, process: str, *, is_clean: bool, gone_in_us: int = -1) -> int:
    """Until when (us) the share of ``process`` is kept."""
    window = limiter_of(store).window_keys("twitter")
    ask = Leave(window.state, window.fleet, process, is_clean, 15_000_000, gone_in_us, 0, 0)
    left = store.run(LEAVE, ask)
    assert isinstance(left, Left)
    return left.reserved_until


def silence(store: Store, process: str, seconds: float = ABSENT_SECONDS + 0.1) -> None:
    """As if ``process`` had not been heard of for ``seconds``."""
    server_seconds, micros = store.client.time()
    last_seen_us = server_seconds * 1_000_000 + micros - round(seconds * 1e6)
    store.client.zadd(store.keys.fleet("twitter"), {process: last_seen_us})


def shares(store: Store) -> float:
    state = store.client.hgetall(store.keys.state("twitter"))
    return sum(float(part) for name, part in state.items() if name.startswith(b"share:"))


def test_shares_never_add_up_to_more_than_the_limit(store: Store) -> None:
    """A newcomer has none before the others have given theirs up."""
    assert beat(store, "a") == 1.0
    assert beat(store, "b") == 0.0
    assert beat(store, "a", 1.0) == 0.5
    # Until a has been heard going by it, its old share counts: the answer may be lost.
    assert beat(store, "b") == 0.0
    assert beat(store, "a", 0.5) == 0.5
    assert beat(store, "b") == 0.5
    assert shares(store) <= 1.0


@trials(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.booleans()), max_size=30))
def test_whatever_beats_and_answers_are_lost_shares_add_up(beats: list[tuple[str, bool]]) -> None:
    """Each goes by the last answer it has read: together never by more than the whole."""
    redis = fake_redis()
    going_by: dict[str, float] = {}
    for process, is_read in beats:
        window = WindowKeys("{s}:slots", "{s}:state", "{s}:fleet")
        told = run(redis, BEAT, saying(window, process, going_by.get(process, 0.0)))
        assert isinstance(told, Allotted)
        if is_read:
            going_by[process] = told.share
        assert sum(going_by.values()) <= 1.0 + 1e-6


def test_the_share_of_one_who_is_absent_is_kept_free(admission: Admission, store: Store) -> None:
    """It may be cut off and sending; whoever comes asks again soon, for it may be back."""
    admission.admit(ask("A"))
    beat(store, "cut off")
    beat(store, limiter_of(store).member)
    store.client.hset(store.keys.state("twitter"), "share:cut off", 0.5)
    silence(store, "cut off")
    assert isinstance(admission.admit(ask("B")), Go)
    assert isinstance(admission.admit(ask("C")), Go)
    verdict = admission.admit(ask("D", patience=60.0))
    assert isinstance(verdict, Wait)
    assert verdict.seconds == pytest.approx(0.25)
    assert verdict.reason == "limit 5, 2 of it kept for processes that are absent"
    beat(store, "cut off", 0.5)
    assert isinstance(admission.admit(ask("D")), Go)


def test_what_is_kept_is_no_more_than_what_is_left(admission: Admission, store: Store) -> None:
    """Every view would say for as long as somebody stands still that 6 of 5 are used."""
    for symbol in "ABCD":
        assert isinstance(admission.admit(ask(symbol)), Go)
    beat(store, "cut off")
    store.client.hset(store.keys.state("twitter"), "share:cut off", 0.5)
    silence(store, "cut off")
    status = RateLimiter(TWITTER, store).get_status()
    assert (status.used, status.allowed, status.remaining, status.is_limited) == (5, 5, 0, True)
    assert "2 of it kept" in status.reason


def test_one_who_asks_is_not_absent(admission: Admission, store: Store) -> None:
    """Its own share is not kept from itself, however long it was away."""
    beat(store, limiter_of(store).member)
    silence(store, limiter_of(store).member)
    for symbol in "ABCDE":
        assert isinstance(admission.admit(ask(symbol)), Go)


@pytest.mark.parametrize("way", ["admit", "turn", "take", "dequeue"])
def test_whatever_a_process_asks_says_that_it_is_there(
    admission: Admission, store: Store, settings: Settings, way: str
) -> None:
    """Who is busy need not beat as well."""
    verdict = admission.admit(ask("A"))
    assert isinstance(verdict, Go)
    beat(store, limiter_of(store).member)
    silence(store, limiter_of(store).member)
    if way == "admit":
        admission.admit(ask("B"))
    elif way == "turn":
        admission.turn(verdict.grant)
    elif way == "take":
        RateLimiter(TWITTER, store).check_rate_limit()
    else:
        broker = PacingBroker(store, settings, [TWITTER])
        broker.threads.open(1)
        next(broker.consume("twitter", timeout=1))
    now_us = store.clock.time_us("twitter")
    assert now_us is not None
    last_seen_us = store.client.zscore(store.keys.fleet("twitter"), limiter_of(store).member)
    assert last_seen_us > now_us - ABSENT_SECONDS * 1e6


def test_one_who_leaves_or_is_forgotten_gives_his_share_back(store: Store) -> None:
    """Or the limit would shrink with every process that ever was."""
    beat(store, "a")
    beat(store, "b")
    silence(store, "a", 301.0)
    beat(store, "b")
    assert beat(store, "b") == 1.0
    assert leave(store, "b", is_clean=True) == 0
    assert store.client.zcard(store.keys.fleet("twitter")) == 0
    assert shares(store) == 0
    # What it leaves where Redis has lost all goes as well.
    store.client.unlink(store.keys.state("twitter"))
    leave(store, "b", is_clean=True)
    assert store.client.pttl(store.keys.state("twitter")) > 0


@pytest.mark.parametrize("junk", ["inf", "nan"])
def test_the_share_of_one_found_dead_is_kept_for_a_hold_and_a_window_whatever_is_noted(
    store: Store, junk: str
) -> None:
    """What something else wrote over the moment of its death kept it for ever, or gave it away at once."""
    beat(store, "a")
    store.client.hset(store.keys.state("twitter"), "died:a", junk)
    seconds, _ = store.client.time()
    kept_until = leave(store, "a", is_clean=False)
    assert 75.0 <= kept_until / MICROS - seconds < 95.0
    store.client.zadd(store.keys.fleet("twitter"), {"a": "inf"})
    assert leave(store, "a", is_clean=False) == kept_until


def test_a_beat_past_its_deadline_does_nothing(store: Store) -> None:
    """A server that thaws must not take the dead for living."""
    window = limiter_of(store).window_keys("twitter")
    assert isinstance(store.run(BEAT, saying(window, "late")._replace(deadline_us=1)), Late)
    assert store.client.exists(*window) == 0


@pytest.fixture(params=["waited for", "a zombie"])
def ghost(request: pytest.FixtureRequest, store: Store) -> Iterator[str]:
    """A process of this machine that is dead, whatever its parent did; its share was the whole limit."""
    dead = subprocess.Popen([sys.executable, "-c", "pass"])
    os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)
    if request.param == "waited for":
        dead.wait()
    name = f"{limiter_of(store).member.rpartition('-')[0]}-{dead.pid}.1234"
    assert beat(store, name) == 1.0
    silence(store, name)
    limiter_of(store).process_window("twitter").configure(TWITTER.limits)
    yield name
    dead.wait()


def members_of(store: Store) -> set[str]:
    return {name.decode() for name in store.client.zrange(store.keys.fleet("twitter"), 0, -1)}


def test_a_process_of_this_machine_that_died_is_dead_lettered(store: Store, ghost: str) -> None:
    """It never went on without Redis, as its marker says: its share is back with the next beat."""
    limiter_of(store).windows.machine.marker_of(ghost).set_clean()
    beat(store, "elsewhere-1")
    silence(store, "elsewhere-1")
    store.client.hset(store.keys.state("twitter"), "share:elsewhere-1", 0.5)
    Membership(store).beat("twitter")
    assert members_of(store) == {limiter_of(store).member, "elsewhere-1"}
    assert not limiter_of(store).process_window("twitter").promises.is_kept(time.monotonic())
    limiter_of(store).windows.machine.marker_of(ghost).remove()


def test_what_one_may_have_sent_alone_before_it_died_is_kept_free(
    admission: Admission, store: Store, ghost: str
) -> None:
    """Nobody can ask it any more: its part is kept until all of that has left the window."""
    membership = Membership(store)
    membership.beat("twitter")
    assert ghost in members_of(store)
    assert isinstance(admission.admit(ask("A")), Wait)
    silence(store, ghost, 77.0)
    died_at, state = us_ago(store, 76.0), store.keys.state("twitter")
    store.client.hset(state, mapping={f"died:{ghost}": died_at, "horizon": 60_000_000})
    membership.leaving._reserved_until.clear()
    membership.beat("twitter")
    assert members_of(store) == {limiter_of(store).member}
    assert not any(ghost in name.decode() for name in store.client.hkeys(state))
    assert isinstance(admission.admit(ask("A")), Go)


def test_a_dead_process_that_could_not_go_alone_is_forgotten_at_once(store: Store, ghost: str) -> None:
    """A worker has no share that could be kept."""
    beat(store, ghost, can_fall_back=False)
    silence(store, ghost)
    Membership(store).beat("twitter")
    assert members_of(store) == {limiter_of(store).member}


def us_ago(store: Store, seconds: float) -> int:
    now_us = store.clock.time_us()
    assert now_us is not None
    return round(now_us - seconds * 1e6)


def test_a_member_joins_learns_its_share_and_leaves(store: Store) -> None:
    """From start to stop, for every source that the process takes slots of."""
    limiter_of(store).process_window("twitter").share = 0.123
    membership = Membership(store)
    limiter_of(store).process_window("twitter").configure(TWITTER.limits)
    membership.start()
    limiter_of(store).process_window("twitter").must_announce(can_fall_back=True)
    wait_until(lambda: limiter_of(store).process_window("twitter").share == 1.0)
    beat(store, "other")
    wait_until(lambda: limiter_of(store).process_window("twitter").share == 0.5)
    membership.stop()
    members = store.client.zrange(store.keys.fleet("twitter"), 0, -1)
    assert members == [b"other"]


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(io.BLOCKING, "now", clock.monotonic)
    return clock


LIMIT = Limit(8, 10.0)
NAME = "8:10000000"


def window_of(clock: Clock, taken: int, allowance: int, share: float, hold: float = 0.0) -> ProcessWindow:
    """A process that took ``taken`` slots one a second, the last of them now, and then is cut off."""
    window = ProcessWindow()
    for number in range(taken):
        window.grant(str(number), 1, [LIMIT], 0.0)
        clock.now += 1.0
    clock.now -= 1.0
    window.receive(Allotment(share, share, {NAME: allowance}, (LIMIT,), 2, hold), window.report()[1])
    window.answered("beat")
    return window


def test_in_a_full_window_one_goes_on_as_one_was(clock: Clock) -> None:
    """What leaves of ours may be taken again; nothing else may."""
    window = window_of(clock, taken=4, allowance=0, share=0.5)
    assert window.take("x", 1, [LIMIT], 0.0) == pytest.approx(7.0, abs=0.02)
    clock.now += 7.02
    assert window.take("x", 1, [LIMIT], 0.0) == 0.0
    assert window.take("y", 1, [LIMIT], 0.0) > 0.0


def test_what_leaves_before_the_others_notice_is_theirs(clock: Clock) -> None:
    """They may have taken it, also on a promise: it counts as in use for a window more."""
    window = window_of(clock, taken=4, allowance=0, share=0.5)
    clock.now += 7.0 - THEIRS_SECONDS / 2
    window.answered("beat")
    clock.now += THEIRS_SECONDS
    assert window.take("x", 1, [LIMIT], 0.0) > 0.0
    clock.now += 1.0
    assert window.take("x", 1, [LIMIT], 0.0) == 0.0


def test_what_the_others_took_of_ours_may_be_under_way_for_a_hold(clock: Clock) -> None:
    """It leaves a window after it has arrived; what leaves once they leave it free is ours."""
    window = window_of(clock, taken=4, allowance=0, share=0.5, hold=5.0)
    clock.now += 7.0 - THEIRS_SECONDS / 2
    window.answered("beat")
    clock.now += 3.4
    assert [window.take(name, 1, [LIMIT], 0.0) == 0.0 for name in "abcd"] == [True, True, True, False]
    clock.now += LIMIT.window_seconds + THEIRS_SECONDS + 5.0 - 3.45
    assert [window.take(name, 1, [LIMIT], 0.0) == 0.0 for name in "efgh"] == [True, True, True, False]
    clock.now += 0.1
    assert window.take("h", 1, [LIMIT], 0.0) == 0.0


def test_the_longest_hold_that_was_told_is_waited_for(clock: Clock) -> None:
    """Whoever has it may be gone for all that Redis knows now, and its requests under way."""
    window = window_of(clock, taken=0, allowance=0, share=0.5, hold=5.0)
    window.receive(Allotment(0.5, 0.5, {}, (LIMIT,), 2, 0.0), window.report()[1])
    window.answered("beat")
    clock.now += LIMIT.window_seconds + 3.0
    assert window.take("a", 1, [LIMIT], 0.0) > 0.0
    clock.now += 3.0
    assert window.take("a", 1, [LIMIT], 0.0) == 0.0


def test_a_window_is_over_by_every_clock_before_a_slot_is_taken_again(clock: Clock) -> None:
    """The rates of two clocks differ by up to 0.1%: by the upstream's it may last longer than by ours."""
    window = window_of(clock, taken=4, allowance=0, share=0.5)
    clock.now += 7.0 + 0.9 * LIMIT.window_seconds * CLOCK_DRIFT
    assert window.take("x", 1, [LIMIT], 0.0) > 0.0
    clock.now += 0.2 * LIMIT.window_seconds * CLOCK_DRIFT
    assert window.take("x", 1, [LIMIT], 0.0) == 0.0


def test_ages_are_told_as_the_slowest_clock_has_them(clock: Clock) -> None:
    """Redis must not take a slot for older than it is by its own clock, nor for held no more."""
    window = ProcessWindow()
    window.grant("over", 1, [LIMIT], 0.0)
    window.grant("held", 1, [LIMIT], 10.0)
    clock.now += 5.0
    ages = dict(window.ages())
    assert ages["over"] == pytest.approx(5.0 / SLOWEST)
    assert ages["held"] == pytest.approx(-5.0 * SLOWEST)


def test_a_slot_that_ends_while_it_is_put_back_as_held_is_reported(clock: Clock) -> None:
    """Redis would go on holding it."""
    own = ProcessWindow()
    for slot in ("over", "unused", "held"):
        own.grant(slot, 1, [LIMIT], 10.0)
    ages = own.ages()
    own.commit("over", 1)
    own.release("unused", 1)
    own.restored(ages)
    assert own.unreported == [("over", 1, False), ("unused", 1, True)]


def test_the_end_of_a_slot_that_was_put_back_is_reported_once_and_whole(clock: Clock) -> None:
    """Redis would go on holding one of the two."""
    own = ProcessWindow()
    own.grant("two", 2, [LIMIT], 10.0)
    own.restored(own.ages())
    own.must_report("two", 2)
    own.commit("two", 2)
    assert own.unreported == [("two", 2, False)]
    own.reported("two")
    own.commit("two", 2)
    assert own.unreported == []


def test_a_hold_is_prolonged_and_is_never_shortened_or_begun_anew(clock: Clock) -> None:
    """A job of one's own says again and again that it runs, even as it ends."""
    own = ProcessWindow()
    for slot in ("over", "held"):
        own.grant(slot, 1, [LIMIT], 10.0)
    own.commit("over", 1)
    for slot in ("over", "held"):
        own.hold_on(slot, 1, 1.0)
    assert own.held == 1
    clock.now += 9.0
    assert own.held == 1
    own.hold_on("held", 1, 10.0)
    clock.now += 9.0
    assert own.held == 1


def test_old_slots_are_forgotten_as_new_ones_are_taken(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bot that runs for weeks keeps no list of all that it has sent, nor looks through it each time."""
    own = ProcessWindow()
    sweep = Mock(side_effect=own._forget)
    monkeypatch.setattr(own, "_forget", sweep)
    for number in range(3 * SWEEP_FROM):
        own.grant(f"old {number}", 1, [LIMIT], 0.0)
    assert sweep.call_count == 1
    clock.now += 2 * LIMIT.window_seconds
    own.answered("beat")
    for number in range(SWEEP_FROM):
        own.grant(f"new {number}", 1, [LIMIT], 0.0)
    assert len(own._stamps) <= SWEEP_FROM


def test_nothing_is_known_of_a_slot_after_a_reset(clock: Clock) -> None:
    """Else a process would go on without Redis with less than its share, and report ends for nothing."""
    own = ProcessWindow()
    assert own.take("alone", 1, [LIMIT], 0.0) == 0.0
    own.grant("held", 1, [LIMIT], 10.0)
    own.restored([("held", -10.0)])
    own.clear()
    own.commit("held", 1)
    assert (own.ages(), own.has_fallback_slots, own.unreported) == ([], False, [])


def test_what_the_others_may_use_is_theirs_by_every_clock(clock: Clock) -> None:
    """By the slowest they find a process absent a little later: what leaves till then is theirs."""
    own = window_of(clock, taken=4, allowance=0, share=0.5)
    leaves_in = LIMIT.window_seconds * SLOWEST - 3.0
    clock.now += leaves_in - THEIRS_SECONDS * (1 + CLOCK_DRIFT / 2)
    own.answered("beat")
    clock.now += THEIRS_SECONDS * (1 + CLOCK_DRIFT / 2) + 1e-6
    assert own.take("x", 1, [LIMIT], 0.0) > 0.5
    clock.now += 1.0
    assert own.take("x", 1, [LIMIT], 0.0) == 0.0


def test_a_slot_is_known_until_its_window_is_over_by_every_clock(clock: Clock) -> None:
    """What is shown, what is put back after a loss, and what is said as a process leaves. A call may name a
    shorter window than the others count it in."""
    own = ProcessWindow()
    own.configure((LIMIT,))
    own.grant("one", 1, [Limit(LIMIT.count, 1.0)], 0.0)
    assert own.gone_in == pytest.approx(LIMIT.window_seconds * SLOWEST)
    clock.now += LIMIT.window_seconds * (1 + CLOCK_DRIFT / 2)
    assert (own.used(LIMIT), len(own.ages())) == (1, 1)
    clock.now += LIMIT.window_seconds * CLOCK_DRIFT
    own.answered("beat")
    assert (own.used(LIMIT), len(own.ages())) == (0, 0)


def test_what_has_left_of_ours_stays_ours_while_we_try_to_come_back(clock: Clock) -> None:
    """Each try looks which slots to tell of. It forgot those that had left, so nothing could be taken."""
    window = window_of(clock, taken=4, allowance=0, share=0.5)
    clock.now += 8.02
    assert window.take("x", 1, [LIMIT], 0.0) == 0.0
    window.ages()
    assert window.take("y", 1, [LIMIT], 0.0) == 0.0
    assert window.take("z", 1, [LIMIT], 0.0) > 0.0
    clock.now += 2.0 * LIMIT.window_seconds
    # What was taken alone may be much, as long as Redis is away.
    assert "x" not in dict(window.ages())
    assert window.take("z", 1, [LIMIT], 0.0) == 0.0
    window.answered("beat")
    assert [slot for slot, _ in window.ages()] == ["z"]


def test_what_was_free_is_shared_out(clock: Clock) -> None:
    """One of two takes half of it at once, and no more before the others' slots have left."""
    window = window_of(clock, taken=0, allowance=2, share=0.5)
    assert [window.take(name, 1, [LIMIT], 0.0) == 0.0 for name in "abc"] == [True, True, False]
    clock.now += (LIMIT.window_seconds + THEIRS_SECONDS) * SLOWEST
    assert [window.take(name, 1, [LIMIT], 0.0) == 0.0 for name in "defgh"] == [True, True, True, True, False]


def test_a_promise_is_kept_while_everyone_is_known_to_be_there(clock: Clock) -> None:
    """Whoever may be going on alone takes again what leaves of his, which may be what was promised."""
    promises, asked_at = window_of(clock, taken=0, allowance=0, share=0.5).promises, clock.now
    assert promises.is_kept(asked_at)
    promises.record_fleet(asked_at, 0.3)
    promises.record(asked_at + 5.0, asked_at, 0.3)
    clock.now += 0.99 * 0.3
    assert promises.is_kept(asked_at)
    clock.now += 0.01 * 0.3
    assert not promises.is_kept(asked_at)
    promises.record_fleet(clock.now, 0.0)
    assert not promises.is_kept(clock.now)
    # Nothing is promised while somebody is absent: nobody was.
    promises.record(clock.now + 5.0, clock.now, 0.3)
    promises.record_fleet(clock.now, 0.3)
    assert promises.is_kept(clock.now)


def test_no_promise_is_kept_beyond_an_absence_in_whatever_order_asks_are_carried_out_and_read(
    clock: Clock,
) -> None:
    """One is absent, and heard again; many asks of another are under way meanwhile, each as late as it may be
    on its way there and back."""
    for seed in range(400):
        _ask_about_one_that_is_absent(clock, seed)


def _ask_about_one_that_is_absent(clock: Clock, seed: int) -> None:
    chance, at = random.Random(seed), clock.now
    promises = window_of(clock, taken=0, allowance=0, share=0.5).promises
    promises.record_fleet(at - 10.0, 0.1)
    gone, back = at + 0.3, at + 0.3 + chance.choice((0.001, 0.01, 0.1))
    events: list[tuple[float, str, float, float]] = []
    beat_at = at + chance.uniform(0.0, 0.2)
    for number in range(24):
        is_beat = number % 3 == 0
        asked = beat_at if is_beat else at + chance.uniform(0.0, 0.6)
        there = asked + chance.choice((0.0, 0.001, 0.03, chance.uniform(0.0, 0.2)))
        read = there + chance.choice((0.0, 0.001, 0.03, chance.uniform(0.0, 0.2)))
        if is_beat:
            # One after the other.
            beat_at = read + chance.choice((0.001, 0.15))
        if is_beat or not gone < there < back:
            events.append((read, "beat" if is_beat else "promise", asked, there))
    events += [(at + 0.005 * number, "look", 0.0, 0.0) for number in range(200)]
    promised = []
    for moment, what, asked, there in sorted(events):
        clock.now = moment
        absent_from = back + ABSENT_SECONDS if there >= back else gone
        present = max(0.0, min(ABSENT_SECONDS, absent_from - there))
        if what == "beat":
            promises.record_fleet(asked, present)
        elif what == "promise":
            promised.append((there, promises.record(at + 5.0, asked, present)))
        hidden = [one for one in promised if one[0] <= gone < moment - 1e-9 and promises.is_kept(one[1])]
        assert not hidden, f"seed {seed}, at {moment - at}"


def test_what_may_leave_by_a_faster_clock_before_others_find_one_absent_is_not_its_own(clock: Clock) -> None:
    """Clocks differ by a thousandth: a window of 1,000 s is over a second sooner there than by ours."""
    limit = Limit(8, 1000.0)
    window = ProcessWindow()
    window.grant("old", 1, [limit], 0.0)
    clock.now += limit.window_seconds - ABSENT_SECONDS
    window.receive(Allotment(0.5, 0.5, {}, (limit,), 2, 0.0), window.report()[1])
    window.answered("beat")
    clock.now += ABSENT_SECONDS + 1.5
    assert window.take("new", 1, [limit], 0.0) > 0


def test_a_promise_whose_answer_is_read_late_reaches_no_further_than_its_ask(clock: Clock) -> None:
    """Nobody knows when within that time Redis has looked."""
    promises, at = window_of(clock, taken=0, allowance=0, share=0.5).promises, clock.now
    promises.record_fleet(at - 10.0, 0.1)
    clock.now = at + 0.2
    stands = promises.record(at + 5.0, at, 0.3)
    clock.now = at + 0.299
    assert promises.is_kept(stands)
    clock.now = at + 0.301
    assert not promises.is_kept(stands)
    # One more, of which nothing is known any more as it is read.
    promises.record_fleet(clock.now, 0.3)
    assert not promises.is_kept(promises.record(at + 5.0, at, 0.3))


def test_promises_that_are_asked_for_together_are_all_kept(clock: Clock) -> None:
    """None was looked for lately. Each that is read has looked itself."""
    promises, at = window_of(clock, taken=0, allowance=0, share=0.5).promises, clock.now
    promises.record_fleet(at - 10.0, 0.1)
    kept = []
    for late in (0.01, 0.02, 0.03):
        clock.now = at + late
        kept.append(promises.record(at + 5.0, at + 0.03 - late, 0.3))
    assert all(promises.is_kept(since) for since in kept)


def test_before_somebody_may_be_absent_it_is_asked_again(clock: Clock) -> None:
    """A promise that lapses costs whoever has it two more ways to Redis."""
    promises = window_of(clock, taken=0, allowance=0, share=0.5).promises
    promises.record_fleet(clock.now, 0.3)
    assert promises.beat_at(0.15) == math.inf
    promises.record(clock.now + 5.0, clock.now, 0.3)
    assert promises.beat_at(0.15) == clock.now + 0.15
    promises.record_fleet(clock.now, 0.1)
    assert promises.beat_at(0.15) == pytest.approx(clock.now + 0.1 - MARGIN_SECONDS, abs=0.001)
    clock.now += 5.0
    assert promises.beat_at(0.15) == math.inf


@pytest.mark.parametrize("is_told", [True, False])
def test_a_promise_is_kept_no_more_once_somebody_was_absent(clock: Clock, is_told: bool) -> None:
    """He is back, and what he has sent alone came in place of what had left of his."""
    promises, asked_at = window_of(clock, taken=0, allowance=0, share=0.5).promises, clock.now
    promises.record_fleet(asked_at, 0.3)
    promises.record(asked_at + 5.0, asked_at, 0.3)
    for _ in range(4):
        clock.now += 0.9 * 0.3
        promises.record_fleet(clock.now, 0.3)
    assert promises.is_kept(asked_at)
    if is_told:
        promises.record_fleet(clock.now, 0.0)
    else:
        # Nobody has looked for so long that he may have gone and come.
        clock.now += 1.1 * 0.3
    promises.record_fleet(clock.now, 0.3)
    assert not promises.is_kept(asked_at)
    assert promises.is_kept(clock.now)


def test_nothing_is_promised_while_somebody_is_absent(admission: Admission, store: Store) -> None:
    """What leaves may be his, and then he takes it again."""
    for symbol in "ABCDE":
        verdict = admission.admit(ask(symbol))
        assert isinstance(verdict, Go)
        admission.settle(verdict.grant, Settlement(payload=b"1", pages=1))
    beat(store, "far-1")
    promised = admission.admit(ask("F", patience=100.0))
    assert isinstance(promised, Go)
    assert promised.grant.starts_at > promised.grant.granted_at
    silence(store, "far-1")
    assert isinstance(admission.admit(ask("G", patience=100.0)), Wait)


def test_a_promised_slot_is_not_used_once_somebody_is_absent(admission: Admission, store: Store) -> None:
    """It is given back, and whoever waited asks again."""
    for symbol in "ABCDE":
        verdict = admission.admit(ask(symbol))
        assert isinstance(verdict, Go)
        admission.settle(verdict.grant, Settlement(payload=b"1", pages=1))
    now_us, slots = store.clock.time_us(), store.keys.slots("twitter")
    assert now_us is not None
    for number, slot in enumerate(store.client.zrange(slots, 0, -1)):
        store.client.zadd(slots, {slot: now_us - 59_900_000 + number})
    # That a slot is promised says as well that nobody is absent.
    limiter_of(store).process_window("twitter").promises.record_fleet(time.monotonic() - 10.0, ABSENT_SECONDS)
    promised = admission.admit(ask("F", patience=100.0))
    assert isinstance(promised, Go)
    wait_until(lambda: time.monotonic() > promised.grant.starts_at)
    assert admission.may_send(promised.grant)
    limiter_of(store).process_window("twitter").promises.record_fleet(time.monotonic(), 0.0)
    assert not admission.may_send(promised.grant)
    admission.settle(promised.grant, Settlement())
    immediate = admission.admit(ask("G"))
    assert isinstance(immediate, Go)
    assert admission.may_send(immediate.grant)


def test_one_who_had_more_than_his_share_comes_down_to_it(clock: Clock) -> None:
    """A window later the others have theirs."""
    window = window_of(clock, taken=6, allowance=0, share=0.25)
    clock.now += LIMIT.window_seconds + THEIRS_SECONDS
    assert [window.take(name, 1, [LIMIT], 0.0) == 0.0 for name in "abc"] == [True, True, False]


def test_alone_one_goes_on_window_after_window(clock: Clock) -> None:
    """What was taken alone leaves as anything else does."""
    window = window_of(clock, taken=0, allowance=4, share=0.5)
    for round_ in range(3):
        taken = [window.take(f"{round_} {number}", 1, [LIMIT], 0.0) == 0.0 for number in range(5)]
        assert taken == [True, True, True, True, False]
        clock.now += LIMIT.window_seconds + THEIRS_SECONDS


def test_nothing_is_taken_alone_once_redis_was_told(
    admission: Admission, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be known to nobody: neither put back before, nor asked for after."""
    window, waits = limiter_of(store).process_window("twitter"), []
    monkeypatch.setattr(store.breaker, "reason", "cut off")
    monkeypatch.setattr(store.breaker._prober, "_thread", threading.current_thread())
    store.breaker.on_return(lambda: waits.append(window.take("between", 1, TWITTER.limits, 15.0)))
    assert window.take("before", 1, TWITTER.limits, 15.0) == 0.0
    store.breaker._come_back()
    assert store.is_available
    assert waits == [process_window.RETURN_SECONDS]
    assert store.client.zrange(store.keys.slots("twitter"), 0, -1) == [b"before"]
    # Nor by a thread that found it away, and was held up until it was back.
    assert window.take("after", 1, TWITTER.limits, 15.0) == process_window.RETURN_SECONDS


def test_without_a_share_nothing_is_sent(clock: Clock) -> None:
    """A newcomer waits for the whole: he knows nothing of the others."""
    window = window_of(clock, taken=0, allowance=0, share=0.0)
    assert window.take("x", 1, [LIMIT], 0.0) >= LIMIT.window_seconds


def test_a_load_that_ended_without_redis_is_no_zombie_after(
    admission: Admission, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease is given up when Redis is back, not when it ends: nobody joins what is over."""
    verdict = admission.admit(ask("A"))
    assert isinstance(verdict, Go)
    with monkeypatch.context() as patch:
        patch.setattr(store.breaker, "reason", "cut off")
        assert admission.settle(verdict.grant, Settlement(payload=b"1", pages=1)) == "fallback"
    begun = time.monotonic()
    for callback in store.breaker._then:
        callback()
    assert isinstance(admission.admit(ask("A")), Go)
    assert time.monotonic() - begun < 1.0


REFUSED = Failure("quota", "used up", 429, datetime.now(UTC) + timedelta(hours=1))


def test_a_closure_reaches_those_whose_slots_were_granted_before(
    admission: Admission, store: Store, settings: Settings, server: Server
) -> None:
    """A request that waits for its moment is not sent after another has been refused."""
    # Those of tests before may still be on their way out.
    wait_until(lambda: subscribers(server, store) == 0)
    far = Store(settings)
    other = Admission(far, settings, UsageMonitor(far, settings))
    membership = Membership(far)
    limiter_of(far).process_window("twitter").configure(TWITTER.limits)
    membership.start()
    granted = [one.admit(ask(symbol)) for one, symbol in ((admission, "A"), (other, "B"))]
    mine, theirs = (verdict.grant for verdict in granted if isinstance(verdict, Go))
    assert other.may_send(theirs)
    wait_until(lambda: subscribers(server, store) == 1)
    admission.settle(mine, Settlement(failure=REFUSED, closed_by=REFUSED, pages=1))
    wait_until(lambda: not other.may_send(theirs))
    membership.stop()
    far.close()


def subscribers(server: Server, store: Store) -> int:
    return int(server.client.pubsub_numsub(store.keys.notices)[0][1])


def test_a_closure_is_told_at_once(admission: Admission, store: Store, server: Server) -> None:
    """Not only with the next beat."""
    verdict = admission.admit(ask("A"))
    assert isinstance(verdict, Go)
    told = server.calls("publish")
    admission.settle(verdict.grant, Settlement(failure=REFUSED, closed_by=REFUSED, pages=1))
    assert server.calls("publish") == told + 1


def test_a_slot_that_is_over_is_held_no_longer_once_it_is_put_back(
    admission: Admission, store: Store
) -> None:
    """That its answer was in could not be told: it counts from then on, not from the end of its lease."""
    verdict = admission.admit(ask("A"))
    assert isinstance(verdict, Go)
    limiter_of(store).process_window("twitter").commit(verdict.grant.slot, 1)
    io.run(limiter_of(store).restoration.restore("twitter"))
    now_us = store.clock.time_us("twitter")
    assert now_us is not None
    assert store.client.zscore(store.keys.slots("twitter"), verdict.grant.slot) <= now_us + 1000


def test_a_closure_that_was_not_heard_comes_with_the_next_beat(admission: Admission, store: Store) -> None:
    """A subscription that is broken and made anew misses what was told between."""
    verdict = admission.admit(ask("A"))
    assert isinstance(verdict, Go)
    until_us = round((time.time() + 60.0) * 1e6)
    store.client.hset(
        store.keys.state("twitter"), mapping={"closed_until": until_us, "closed_reason": "used up"}
    )
    assert admission.may_send(verdict.grant)
    Membership(store).beat("twitter")
    assert not admission.may_send(verdict.grant)


def test_a_reopening_that_was_not_heard_comes_with_the_next_beat(store: Store) -> None:
    """Should Redis go, the process would refuse everything until the old date, a month ahead at worst."""
    state, member = store.keys.state("twitter"), Membership(store)
    member.beat("twitter")
    until_us = round((time.time() + 3600.0) * 1e6)
    store.client.hset(state, mapping={"closed_until": until_us, "closed_reason": "quota"})
    member.beat("twitter")
    closure = limiter_of(store).closures.of("twitter")
    assert closure is not None
    # Heard while the beat was under way, it may be newer than what the beat says.
    limiter_of(store).closures.on_open("twitter", closure.since)
    assert limiter_of(store).closures.of("twitter") is closure
    store.run(REOPEN, Reopen(state))
    member.beat("twitter")
    assert limiter_of(store).closures.of("twitter") is None
    limiter_of(store).closures.close("twitter", 60.0, "heard from the upstream itself")
    member.beat("twitter")
    assert limiter_of(store).closures.of("twitter") is not None


@pytest.mark.parametrize(
    ("silent", "silence_us", "can_fall_back", "present"),
    [
        (0.2, 0, True, ABSENT_SECONDS - 0.2),
        (0.2, 4_500_000, True, ABSENT_SECONDS),
        (ABSENT_SECONDS + 0.1, 0, True, 0.0),
        (ABSENT_SECONDS + 0.1, 0, False, ABSENT_SECONDS),
        # It is noted in the future, and counts as absent.
        (-60.0, 0, True, 0.0),
    ],
)
def test_redis_says_for_how_long_nobody_will_be_absent(
    store: Store, silent: float, silence_us: int, can_fall_back: bool, present: float
) -> None:
    """One that may be silent for longer may say another with its next beat. One without a share is not
    missed."""
    beat(store, "far-1", can_fall_back=can_fall_back)
    if silence_us:
        store.client.hset(store.keys.state("twitter"), "silence:far-1", silence_us)
    silence(store, "far-1", silent)
    window = limiter_of(store).window_keys("twitter")
    told = store.run(BEAT, saying(window, "me"))
    assert isinstance(told, Allotted)
    look = Take(window, pack_limits(TWITTER.limits), True, "x", 1, 0, 0, 0, "", 0, "me", "fleet")
    taken = store.run(TAKE, look)
    assert isinstance(taken, Taken)
    for found in (told, taken):
        assert present - 0.2 <= found.present_us / 1e6 <= present


def test_a_promise_holds_no_longer_than_until_somebody_may_be_absent(
    admission: Admission, store: Store
) -> None:
    """Then he takes again what leaves of his, which may be what was promised."""
    promises = limiter_of(store).process_window("twitter").promises
    for symbol in "ABCDE":
        verdict = admission.admit(ask(symbol))
        assert isinstance(verdict, Go)
        admission.settle(verdict.grant, Settlement(payload=b"1", pages=1))
    beat(store, "far-1")
    promises.record_fleet(time.monotonic() - 10.0, ABSENT_SECONDS)
    silence(store, "far-1", 0.1)
    before = time.monotonic()
    promised = admission.admit(ask("F", patience=100.0))
    assert isinstance(promised, Go)
    assert promises.is_kept(promised.grant.promised_at)
    wait_until(lambda: time.monotonic() > before + ABSENT_SECONDS - 0.1)
    assert not promises.is_kept(promised.grant.promised_at)


def test_a_beat_comes_as_it_is_due_whatever_was_asked_meanwhile(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that came a whole pause later would leave its process unheard for twice as long."""
    membership, window = Membership(store), limiter_of(store).process_window("twitter")
    window.configure(TWITTER.limits)
    membership.beat("twitter")
    until: list[float] = []
    monkeypatch.setattr(membership._notices, "listen", lambda moment, _: until.append(moment))
    membership._round()
    assert until == [window.last_seen_at + BEAT_SECONDS]


def test_one_who_was_promised_a_slot_asks_whether_somebody_is_absent(store: Store) -> None:
    """Though Redis answers it all the time: a promise is used only while nobody is."""
    membership, window = Membership(store), limiter_of(store).process_window("twitter")
    window.configure(TWITTER.limits)
    membership.beat("twitter")
    window.answered("beat")
    assert membership._due_at("twitter") > time.monotonic()
    asked_at = time.monotonic() - ABSENT_SECONDS
    window.promises.record_fleet(asked_at, ABSENT_SECONDS)
    window.promises.record(time.monotonic() + 60.0, asked_at, ABSENT_SECONDS)
    assert membership._due_at("twitter") <= time.monotonic()


def test_a_slot_that_was_not_used_is_given_back_after_an_outage(
    admission: Admission, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Granted with Redis and dropped without: nothing was sent with it."""
    verdict = admission.admit(ask("A"))
    assert isinstance(verdict, Go)
    with monkeypatch.context() as patch:
        patch.setattr(store.breaker, "reason", "cut off")
        admission.settle(verdict.grant, Settlement())
    assert store.client.zcard(store.keys.slots("twitter")) == 1
    for callback in store.breaker._then:
        callback()
    assert store.client.zcard(store.keys.slots("twitter")) == 0


def test_whoever_was_refused_sends_no_more(admission: Admission, store: Store) -> None:
    """Also what other threads were granted before; and what is granted after a reset goes."""
    granted = [admission.admit(ask(symbol)) for symbol in "AB"]
    mine, theirs = (verdict.grant for verdict in granted if isinstance(verdict, Go))
    admission.settle(mine, Settlement(failure=REFUSED, closed_by=REFUSED, pages=1))
    assert not admission.may_send(theirs)
    RateLimiter(TWITTER, store).reset()
    verdict = admission.admit(ask("C"))
    assert isinstance(verdict, Go)
    assert admission.may_send(verdict.grant)


def test_the_upstreams_word_holds_without_redis(
    admission: Admission, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was told to stop does not begin again because Redis has gone."""
    verdict = admission.admit(ask("A"))
    assert isinstance(verdict, Go)
    with monkeypatch.context() as patch:
        patch.setattr(store.breaker, "reason", "cut off")
        admission.settle(verdict.grant, Settlement(failure=REFUSED, closed_by=REFUSED, pages=1))
        waiting = admission.admit(ask("B"))
        assert isinstance(waiting, Wait)
        assert waiting.reason == "used up"
    for callback in store.breaker._then:
        callback()
    assert store.client.hget(store.keys.state("twitter"), "closed_reason") == b"used up"


def test_the_scripts_and_the_processes_reckon_alike() -> None:
    """One who takes himself for absent later than the others do would send what is theirs."""
    source = TAKE._source
    for name, value in (
        ("ABSENT_US", ABSENT_SECONDS * 1e6),
        ("FORGET_US", FORGET_SECONDS * 1e6),
        ("ROUNDING", process_window.ROUNDING),
    ):
        line = next(line for line in source.splitlines() if name in line.partition("--")[0])
        before, after = line.split(name)
        assert f"{before}{value:g}{after}" in TAKE.text or f"{before}{value:.0f}{after}" in TAKE.text, name


def test_one_damaged_source_does_not_keep_the_shares_of_the_others(server: Server, store: Store) -> None:
    """Whoever leaves gives back what can be given back: others would go without for minutes."""
    membership = Membership(store)
    for source in ("twitter", "news"):
        membership.beat(source)
    limiter_of(store).windows.stay_clean()
    fleet = store.keys.fleet("twitter")
    server.client.delete(fleet)
    server.client.set(fleet, "x", ex=60)
    membership.stop()
    assert not [name for name in server.client.hkeys(store.keys.state("news")) if name.startswith(b"share:")]
    assert not limiter_of(store).windows.machine.marker.is_clean


def test_a_subscription_that_broke_is_closed(
    private_server: Server, store_for: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each outage would leave a connection behind."""
    store, made = store_for(private_server), []
    subscribe = store.subscribe
    monkeypatch.setattr(store, "subscribe", lambda: made.append(subscribe()) or made[-1])
    membership = Membership(store)
    membership.start()
    try:
        wait_until(lambda: made and made[0].connection is not None)
        private_server.kill()
        wait_until(lambda: made[0].connection is None)
    finally:
        membership.stop()


def fill_fleet(store: Store, members: int) -> None:
    """So many others that have just been heard of, each with its share and its allowances."""
    pipe: Any = store.client.pipeline(transaction=False)
    seconds, micros = store.client.time()
    for number in range(members):
        name = f"elsewhere-{number}.x"
        pipe.zadd(store.keys.fleet("twitter"), {name: seconds * 1_000_000 + micros})
        parts = {f"share:{name}": 1e-4, f"rooms:{name}": "5:60000000=1", f"limits:{name}": "5:60000000"}
        pipe.hset(store.keys.state("twitter"), mapping=parts)
    pipe.execute()


def commands_of_a_beat(server: Server, store: Store) -> int:
    membership, before = Membership(store), server.commands()
    membership.beat("twitter")
    return server.commands() - before


def test_a_beat_asks_no_more_commands_of_redis_in_a_larger_fleet(server: Server, store: Store) -> None:
    """Everyone beats several times a second: what each costs for each other member is paid squared."""
    limiter_of(store).process_window("twitter").configure(TWITTER.limits)
    counts = []
    for members in (2, 50):
        fill_fleet(store, members)
        commands_of_a_beat(server, store)
        counts.append(commands_of_a_beat(server, store))
    assert counts[0] == counts[1] <= 25


def test_five_thousand_members_break_no_script(store: Store, admission: Admission) -> None:
    """Short processes that were killed in a loop stay in the fleet for minutes."""
    fill_fleet(store, 5_000)
    silence(store, "elsewhere-1.x")
    Membership(store).beat("twitter")
    assert limiter_of(store).process_window("twitter").processes == 5_001
    assert not limiter_of(store).process_window("twitter").promises.is_kept(time.monotonic())
    admission.admit(ask("A"))
    assert "twitter" not in limiter_of(store).windows.broken
    assert leave(store, "elsewhere-2.x", is_clean=True) == 0


def test_what_an_interrupted_ask_may_have_taken_counts_as_sent(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C between the ask and its answer: Redis counts the slot, and so must we, should Redis go."""
    limiter, run = RateLimiter(TWITTER, store), store.ask

    async def interrupted(script: Any, call: Any) -> Any:
        answer = await run(script, call)
        if script is TAKE:
            raise KeyboardInterrupt
        return answer

    monkeypatch.setattr(store, "ask", interrupted)
    with pytest.raises(KeyboardInterrupt):
        limiter.check_rate_limit()
    window = limiter_of(store).process_window("twitter")
    assert window.used(TWITTER.limits[0]) == store.client.zcard(store.keys.slots("twitter")) == 1
    # It is over, and takes nothing of what may be taken alone.
    assert not window._pending


def test_an_answer_that_was_lost_takes_nothing_any_more_once_redis_is_back(store: Store) -> None:
    """Redis carries nothing out after its deadline; each lost answer would lessen the allowance for good."""
    window = limiter_of(store).process_window("twitter")
    window.configure(TWITTER.limits)
    window.ask("lost", 2, time.monotonic())
    window.lose("lost", is_answer_lost=True)
    store.breaker._lost(OSError("cut off"))
    wait_until(lambda: store.is_available)
    assert not window.is_asked("lost")
