"""Admission without Redis: the same verdicts, from what this process knows itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from tbcache.admission import Ask, Failed, Go, Grant, Hit, Join, Settlement, Stale, Wait
from tbcache.limiter import limiter_of
from tbcache.models import Failure, FetchRequest
from tbcache.models.error import RateLimited
from tbcache.models.price import Bill
from tbcache.monitoring import latency_bucket
from tbcache.store import memory
from tbcache.store.wire import MICROS
from tests.blocking import Admission, core
from tests.core.test_loss import beat, begin
from tests.core.world import LEASE, LIMIT, SOURCE, Clock, Process, moved_clock
from tests.server import wait_until

BRIEF = replace(SOURCE, cache_ttl=10.0, stale_ttl=1000.0)
DOWN = Failure("unavailable", "down", 503, None)
VALUE = Settlement(payload=b"1", pages=1)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    """Everyone's, that of what is in memory included."""
    with moved_clock() as clock:
        monkeypatch.setattr(memory, "time", clock)
        yield clock


@pytest.fixture
def process(clock: Clock) -> Process:
    """One that is alone, and cut off from Redis: it has all slots to itself."""
    _, (process,) = begin(clock, 1, source=BRIEF)
    # By then nobody wants allowances any more.
    clock.now += 10.0
    beat(process, process)
    process.cut_off()
    return process


@pytest.fixture
def admission(process: Process) -> Admission:
    return process.admission


def ask(patience: float = 0.0, symbol: str = "AAPL") -> Ask:
    return Ask(BRIEF, FetchRequest("reddit", symbol), patience=patience)


def go(admission: Admission, symbol: str = "AAPL") -> Go:
    verdict = admission.admit(ask(symbol=symbol))
    assert isinstance(verdict, Go)
    return verdict


def use_up(admission: Admission) -> None:
    """Take all slots that there are."""
    for number in range(LIMIT.count):
        if not isinstance(admission.admit(ask(symbol=f"S{number}")), Go):
            return


def test_an_old_value_is_given_while_it_is_loaded_anew(admission: Admission, clock: Clock) -> None:
    """One load, and nobody waits for it; who would rather wait does, where it is very old."""
    admission.settle(go(admission).grant, VALUE)
    assert admission.admit(ask()) == Hit(b"1", 10.0)
    clock.now += 19.9
    loading = go(admission)
    assert (loading.stale, loading.overdue) == (b"1", pytest.approx(9.9))
    assert admission.admit(ask()) == admission.admit(ask(patience=5.0)) == Stale(b"1")
    clock.now += 0.2
    assert admission.admit(ask()) == Stale(b"1")
    joined = admission.admit(ask(patience=5.0))
    assert isinstance(joined, Join)
    assert (joined.token, joined.stale) == (loading.grant.token, b"1")


def test_an_old_value_is_given_where_there_is_no_slot(admission: Admission, clock: Clock) -> None:
    """Who would rather wait is told for how long, and is given it in the end."""
    admission.settle(go(admission).grant, VALUE)
    clock.now += 20.1
    use_up(admission)
    assert admission.admit(ask()) == Stale(b"1")
    waiting = admission.admit(ask(patience=5.0))
    assert isinstance(waiting, Wait)
    assert waiting.stale == b"1"


def test_a_load_that_is_never_over_is_begun_again_by_another(admission: Admission, clock: Clock) -> None:
    """And what the first brings after all does not end the second."""
    first = go(admission).grant
    clock.now += LEASE + 0.1
    second = go(admission).grant
    admission.settle(first, Settlement(failure=DOWN, pages=1))
    joined = admission.admit(ask())
    assert isinstance(joined, Join)
    assert joined.token == second.token


def test_a_failure_answers_for_as_long_as_with_redis(admission: Admission, clock: Clock) -> None:
    """Each try costs a slot, of the few that there are then."""
    for symbol, kind, seconds in (("AAPL", "unavailable", 5.0), ("APPL", "not_found", 60.0)):
        failure = replace(DOWN, kind=kind)
        admission.settle(go(admission, symbol).grant, Settlement(failure=failure, pages=1))
        clock.now += seconds - 0.1
        assert admission.admit(ask(symbol=symbol)) == Failed(failure)
        clock.now += 0.2
        go(admission, symbol)


def test_a_failure_leaves_the_old_value_in_service(admission: Admission, clock: Clock) -> None:
    """Both are told."""
    admission.settle(go(admission).grant, VALUE)
    clock.now += 10.1
    admission.settle(go(admission).grant, Settlement(failure=DOWN, pages=1))
    assert admission.admit(ask()) == Stale(b"1", DOWN)


def test_a_further_page_takes_a_slot_of_its_own(process: Process, clock: Clock) -> None:
    """It is sent by that, until that is over."""
    first = go(process.admission).grant
    clock.now += 0.5
    second = process.admission.turn(first)
    assert isinstance(second, Grant)
    assert second.slot != first.slot
    assert second.send_by == pytest.approx(first.send_by + 0.5)
    window = limiter_of(process.store).process_window("reddit")
    assert window.used(LIMIT) == 2
    use_up(process.admission)
    assert isinstance(process.admission.turn(second), Wait)
    # The slots of both pages count from when these had come, and not from when they would have had to.
    clock.now += LIMIT.window_seconds + 0.1
    assert window.used(LIMIT) == LIMIT.count - 2


def test_a_load_that_has_sent_nothing_leaves_nothing(process: Process) -> None:
    """Its slot is free, and nobody waits for its lease."""
    grant = go(process.admission).grant
    process.admission.settle(grant, Settlement())
    assert limiter_of(process.store).process_window("reddit").used(LIMIT) == 0
    go(process.admission)


def test_what_is_done_is_counted(admission: Admission, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the scripts count it: what is asked for, pages, how long they took, money, and failures."""
    counted: Counter[str] = Counter()
    monitor = core(admission)._figures._monitor
    monkeypatch.setattr(monitor, "count", lambda source, figures: counted.update(figures))
    monkeypatch.setattr(monitor, "bill", lambda source, bill: counted.update(dollars=bill.most))
    # By who asked, and by what was asked for.
    monkeypatch.setattr(monitor, "pay", lambda source, by, micros: counted.update(paid=micros))
    bill = Bill(2.5)
    admission.settle(go(admission).grant, replace(VALUE, pages=2, seconds=0.1, bill=bill))
    admission.admit(ask())
    admission.settle(go(admission, "MSFT").grant, Settlement(failure=DOWN, pages=1))
    expected = {"go": 2, "hit": 1, "pages": 3, f"ms{latency_bucket(0.1)}": 1, "took": 100_000}
    assert counted == {**expected, "error.unavailable": 1, "dollars": 2.5, "paid": 5_000_000}


def test_what_redis_has_told_of_a_closure_holds_without_it(process: Process, clock: Clock) -> None:
    """The upstream has said stop to all."""
    process.mend()
    until = round((clock.now + 60.0) * MICROS)
    process.world.redis.hset("ns:{reddit}:state", mapping={"closed_until": until, "closed_reason": "stop"})
    told = process.admission.admit(ask())
    process.cut_off()
    kept = process.admission.admit(ask())
    assert isinstance(told, Wait)
    assert isinstance(kept, Wait)
    assert (kept.why, kept.reason) == (told.why, told.reason) == ("closed", "stop")


def test_a_timeline_is_loaded_on(admission: Admission, clock: Clock) -> None:
    """No item of it is paid for again."""
    admission.settle(go(admission).grant, replace(VALUE, timeline=b"read before"))
    clock.now += BRIEF.cache_ttl + 0.1
    assert go(admission).grant.timeline == b"read before"


def test_a_rate_limiter_tells_where_it_stands(process: Process, clock: Clock) -> None:
    """To look takes nothing; who waits has the slot that leaves the window first."""
    looks = [process.limiter.get_status() for _ in range(2)]
    assert {(one.used, one.remaining, one.is_limited) for one in looks} == {(0, LIMIT.count, False)}
    assert looks[0].reason == "Redis is away: going on with this process's share"
    for _ in range(LIMIT.count):
        assert process.take()
    look = process.limiter.get_status()
    assert (look.used, look.remaining, look.is_limited) == (LIMIT.count, 0, True)
    assert look.reason == "Redis is away: this process's share is used"
    begun = clock.now
    with pytest.raises(RateLimited, match="share is used"):
        process.limiter.wait_if_needed(max_wait=LIMIT.window_seconds / 2)
    assert clock.now == begun
    process.limiter.wait_if_needed()
    assert LIMIT.window_seconds <= clock.now - begun < LIMIT.window_seconds + 1.0


@pytest.mark.parametrize("way", ["its answer is in", "back at Redis", "the key is removed"])
def test_whoever_waits_for_a_load_is_woken_as_it_ends(process: Process, way: str) -> None:
    """Where the answer comes later than that, it is given to nobody."""
    admission = process.admission
    grant, fallback = go(admission).grant, core(admission)._fallback
    other = go(admission, "MSFT").grant
    join = admission.admit(ask())
    assert isinstance(join, Join)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(admission.wait_for, join, "reddit", 60)
        ((_, over),) = wait_until(lambda: fallback._waiting)
        admission.settle(other, VALUE)
        assert not over.done()
        if way == "back at Redis":
            process.mend()
        elif way == "the key is removed":
            fallback.end(ask().request.key.__eq__)
        else:
            admission.settle(grant, VALUE)
        waiting.result(30)
        pool.submit(admission.wait_for, join, "reddit", 60).result(30)
    assert not fallback._waiting
    admission.settle(grant, VALUE)
    assert isinstance(admission.admit(ask()), Hit) == (way == "its answer is in")
