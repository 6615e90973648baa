"""What the processes of a fleet have in common, however each was started, and whichever of them dies."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tbcache.admission import Go, Join, Settlement, Wait, bounded
from tbcache.fetch import Pipeline
from tbcache.io import run
from tbcache.io.log import REPEATED
from tbcache.limiter import limiter_of
from tbcache.limiter.member import BEAT_SECONDS
from tbcache.limiter.script import TAKE, Take
from tbcache.models import Failure, FetchRequest, Limit, Page, RateHint
from tbcache.models.error import BudgetExhausted, RateLimited, UpstreamThrottled
from tbcache.monitoring import UsageMonitor
from tbcache.rate_limiter import RateLimiter
from tbcache.settings import Settings, Source
from tbcache.store import Store
from tbcache.store.breaker import Refused
from tbcache.store.script import Script
from tests.blocking import Admission, Membership, core
from tests.cli.command import clean_environment
from tests.core.conftest import TWITTER, Upstream, ask
from tests.server import Server, wait_until

WIDE = replace(TWITTER, limits=(Limit(60, 60.0),))
NARROW = replace(TWITTER, limits=(Limit(5, 60.0),))


class Process:
    """One process of the fleet, as far as several can live in a test's own."""

    def __init__(self, store: Store, settings: Settings, source: Source, *, has_share: bool) -> None:
        self.store, self.source = store, source
        self.limiter = RateLimiter(source, store)
        self.admission = Admission(store, settings, UsageMonitor(store, settings))
        self.membership = Membership(store)
        limiter_of(self.store).process_window("twitter").must_announce(can_fall_back=has_share)
        self.beat()

    def beat(self) -> None:
        self.membership.beat("twitter")

    def takes(self, tries: int) -> int:
        """How many slots it gets."""
        return sum(self.limiter.check_rate_limit()[0] for _ in range(tries))


@pytest.fixture
def join(
    server: Server, store_for: Callable[..., Store], settings_for: Callable[..., Settings]
) -> Callable[..., Process]:
    """One more process: ``join(WIDE, TBCACHE_WORKER_NAME="w")``."""

    def start(
        source: Source = WIDE, *, has_share: bool = False, has_allowances: bool = False, **variables: str
    ) -> Process:
        if not has_allowances:
            # Without threads that beat nobody gives back what is kept for it: nothing is.
            state = store_for(server).keys.state("twitter")
            server.client.hset(state, "wanted_until", round((time.time() + 60.0) * 1e6))
        # A share is kept from the others as soon as this machine stands still for half a second. Where
        # nothing is asked without Redis, nobody has one.
        store, settings = store_for(server, **variables), settings_for(server, **variables)
        return Process(store, settings, source, has_share=has_share or has_allowances)

    return start


@pytest.mark.parametrize("names", [("w1", "w2"), ("w", "w")])
def test_two_processes_of_one_display_name_are_two(
    join: Callable[..., Process], server: Server, names: tuple[str, str]
) -> None:
    """After a loss of data a source opens when all have put back what they sent, and not one twice."""
    first, second = (join(NARROW, TBCACHE_WORKER_NAME=name) for name in names)
    first.beat()
    assert first.takes(1) + second.takes(9) == 5
    server.client.flushall()
    assert first.takes(9) == 0
    # Half a second later the first is still the only one of two.
    state = first.store.keys.state("twitter")
    for field in ("lost_at", "whole_at"):
        if server.client.hexists(state, field):
            server.client.hincrby(state, field, -1_000_000)
    assert first.takes(9) == 0
    second.beat()
    assert first.takes(9) + second.takes(9) == 0
    status = first.limiter.get_status()
    assert (status.used, status.reason) == (5, "limit 5")


def test_the_strictest_limit_of_those_alive_holds(
    join: Callable[..., Process], caplog: pytest.LogCaptureFixture
) -> None:
    """A second terminal without the variable must not spend what the first was told to leave."""
    narrow = join(NARROW)
    REPEATED.forget()
    with caplog.at_level(logging.WARNING, "tbcache"):
        wide = join(WIDE)
    assert wide.takes(4) == 4
    assert narrow.takes(4) == 1
    assert wide.takes(4) == 0
    assert wide.limiter.get_limits() == narrow.limiter.get_limits() == NARROW.limits
    assert wide.limiter.get_status().allowed == 5
    assert any("limits.differ" in record.msg for record in caplog.records)
    narrow.membership.stop()
    assert wide.takes(4) == 4
    assert wide.limiter.get_limits() == WIDE.limits


def test_limits_of_other_windows_hold_beside_ones_own(join: Callable[..., Process]) -> None:
    """A day's quota that one process knows of is everybody's."""
    join(replace(TWITTER, limits=(Limit(60, 60.0), Limit(3, 86400.0))))
    other = join(WIDE)
    assert other.takes(5) == 3
    assert set(other.limiter.get_limits()) == {Limit(60, 60.0), Limit(3, 86400.0)}


def test_a_stricter_limit_holds_without_redis_too(
    join: Callable[..., Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a process goes by alone is its part of the limits in force."""
    narrow, wide = join(NARROW, has_allowances=True), join(WIDE, has_allowances=True)
    for _ in range(2):
        narrow.beat()
        wide.beat()
    monkeypatch.setattr(wide.store.breaker, "reason", "cut off")
    assert wide.takes(9) == 2


def test_what_one_process_reads_of_a_larger_limit_shuts_no_other_out(join: Callable[..., Process]) -> None:
    """Of 60 the upstream has 30 left: that is plenty for one who goes by 5."""
    narrow, wide = join(NARROW), join(WIDE)
    verdict = wide.admission.admit(ask("A", WIDE))
    assert isinstance(verdict, Go)
    hint = RateHint(30, datetime.now(UTC) + timedelta(seconds=50))
    wide.admission.settle(verdict.grant, Settlement(payload=b"1", pages=1, hints=(hint,)))
    assert narrow.takes(9) == 4


@pytest.mark.parametrize("words", ["slow down", "budget", "limit exceeded", "giving_back", "closed", "share"])
def test_an_upstreams_words_are_no_codes_of_ours(join: Callable[..., Process], words: str) -> None:
    """A refusal is one, whatever it says; and it is known without Redis as well."""
    first, second = join(), join()

    def refuse(cursor: str | None) -> Page:
        raise UpstreamThrottled("twitter", words, status=429)

    with pytest.raises(UpstreamThrottled):
        Pipeline(core(first.admission)).run(Upstream(WIDE, refuse), FetchRequest("twitter", "AAPL"))
    with pytest.raises(RateLimited, match=words) as caught:
        Pipeline(core(second.admission)).run(Upstream(WIDE), FetchRequest("twitter", "MSFT"), patience=0.0)
    assert not isinstance(caught.value, BudgetExhausted)
    verdict = second.admission.admit(ask("GME", WIDE))
    assert isinstance(verdict, Wait)
    assert (verdict.why, verdict.reason, verdict.is_brief) == ("closed", words, False)
    assert limiter_of(second.store).closures.of("twitter")


def close(process: Process, failure: Failure) -> None:
    """The upstream refuses a request of ``process``."""
    verdict = process.admission.admit(ask("REFUSED", process.source))
    assert isinstance(verdict, Go)
    process.admission.settle(verdict.grant, Settlement(failure=failure, closed_by=failure, pages=1))


def quota(seconds: float, kind: str = "quota") -> Failure:
    return Failure(kind, "used up", 402, datetime.now(UTC) + timedelta(seconds=seconds))


def test_a_source_is_reopened_with_every_slot(join: Callable[..., Process]) -> None:
    """Credit was bought: the closure goes, for all, and what was sent in the window stays counted."""
    first, second = join(NARROW), join(NARROW)
    second.membership.start()
    assert first.takes(3) == 3
    close(first, quota(3600.0))
    wait_until(lambda: limiter_of(second.store).closures.of("twitter"))
    assert isinstance(second.admission.admit(ask("A", NARROW)), Wait)
    assert first.limiter.reopen()
    assert not first.limiter.reopen()
    assert first.limiter.get_status().used == 4
    wait_until(lambda: not limiter_of(second.store).closures.of("twitter"))
    assert isinstance(second.admission.admit(ask("A", NARROW)), Go)
    assert isinstance(second.admission.admit(ask("B", NARROW)), Wait)
    second.membership.stop()


@pytest.mark.parametrize(
    ("kind", "wanted", "most"),
    [
        ("quota", 75 * 365 * 86400.0, 31 * 86400.0),
        ("throttled", 30 * 86400.0, 86400.0),
        ("throttled", 50.0, 50.0),
    ],
)
def test_a_closure_is_no_longer_than_limits_can_mean(
    join: Callable[..., Process], kind: str, wanted: float, most: float, caplog: pytest.LogCaptureFixture
) -> None:
    """A reset in the year 2100 is a mistake, and is said to be one."""
    process = join()
    close(process, quota(wanted, kind))
    verdict = process.admission.admit(ask("A", WIDE))
    assert isinstance(verdict, Wait)
    assert verdict.seconds == pytest.approx(most, abs=5.0)
    assert ("later than its limits can mean" in verdict.reason) == (wanted > most)
    assert ("closure.suspicious" in caplog.text) == (wanted > most)


def test_a_closure_may_be_as_long_as_the_longest_limit() -> None:
    """A limit of a month is used up until the month is over."""
    month = replace(WIDE, limits=(Limit(1000, 30 * 86400.0),))
    failure = quota(20 * 86400.0, "throttled")
    assert bounded(month, failure) == failure


def test_a_newcomer_has_its_share_within_a_few_beats(join: Callable[..., Process]) -> None:
    """Redis may go two seconds after it came: it must not stand without any part by then."""
    old = join(has_share=True)
    old.membership.start()
    wait_until(lambda: limiter_of(old.store).process_window("twitter").share == 1.0)
    new = join(has_share=True)
    window = limiter_of(new.store).process_window("twitter")
    assert window.is_short
    # It asks again with the next beat, however much it is heard of meanwhile.
    window.answered("an ask")
    new.membership._asked_at["twitter"] -= BEAT_SECONDS
    assert new.membership._due_at("twitter") <= time.monotonic()
    new.membership.start()
    wait_until(lambda: window.share == 0.5)
    for process in (old, new):
        process.membership.stop()


def test_shares_are_for_those_who_can_act_alone(
    server: Server, join: Callable[..., Process], store_for: Callable[..., Store]
) -> None:
    """A worker does nothing without the queue: beside two that rest, a bot has the whole limit."""
    for _ in range(2):
        worker = store_for(server)
        limiter_of(worker).process_window("twitter").configure(WIDE.limits)
        Membership(worker).beat("twitter")
        assert limiter_of(worker).process_window("twitter").share == 0.0
    bot = join(has_share=True)
    assert limiter_of(bot.store).process_window("twitter").share == 1.0
    assert limiter_of(bot.store).process_window("twitter").processes == 3
    # It may be given jobs by then: one who begins while Redis is away is to know of it.
    assert limiter_of(worker).windows.machine.marker.is_clean


def test_who_was_never_told_a_share_takes_nothing_beside_others(
    server: Server,
    join: Callable[..., Process],
    store_for: Callable[..., Store],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It began while Redis was away: all that is free may be theirs."""
    old, store = join(), store_for(server)
    new = RateLimiter(WIDE, store)
    limiter_of(old.store).windows.stay_clean()
    monkeypatch.setattr(store.breaker, "reason", "away")
    assert not new.check_rate_limit()[0]
    old.membership.stop()
    limiter_of(old.store).windows.leave_machine()
    assert new.check_rate_limit()[0]


def test_a_look_at_a_source_writes_nothing(
    server: Server, join: Callable[..., Process], store_for: Callable[..., Store]
) -> None:
    """Whoever looks first, as a status page does, must not keep a later loss of data from being noticed."""
    state = store_for(server).keys.state("twitter")
    RateLimiter(NARROW, store_for(server)).get_status()
    assert not server.client.exists(state)
    # What a look of an earlier version left there is as good as nothing.
    server.client.hset(state, "epoch", "")
    first, second = join(NARROW), join(NARROW)
    first.beat()
    assert first.takes(1) + second.takes(9) == 5
    server.client.flushall()
    assert first.takes(9) == 0


def test_a_damaged_epoch_is_read(server: Server, join: Callable[..., Process]) -> None:
    """Whatever stands there, nobody dies of it, and a loss is noticed."""
    process = join()
    server.client.hset(process.store.keys.state("twitter"), "epoch", b"\xff\xfe")
    process.beat()
    assert limiter_of(process.store).epochs.of("twitter").isalnum()
    wait_until(lambda: isinstance(process.admission.admit(ask("A", WIDE)), Go))


def test_a_slot_of_the_queue_that_is_not_needed_is_nobodys(join: Callable[..., Process]) -> None:
    """Redis gives it back with its answer; put back after an outage, it would hold a place for nothing."""
    process, loader = join(), join()
    assert isinstance(loader.admission.admit(ask("A", WIDE)), Go)
    slot, window, me = (
        "job/claim",
        limiter_of(process.store).window_keys("twitter"),
        limiter_of(process.store).member,
    )
    process.store.run(TAKE, Take(window, "60:60000000", True, slot, 1, 15_000_000, 0, 0, "", 0, me, "fleet"))
    limiter_of(process.store).process_window("twitter").grant(slot, 1, WIDE.limits, 15.0)
    assert isinstance(process.admission.admit(ask("A", WIDE, slot=slot)), Join)
    run(limiter_of(process.store).restoration.restore("twitter"))
    assert loader.limiter.get_status().used == 1


def test_a_forked_child_is_a_process_of_its_own(join: Callable[..., Process]) -> None:
    """What Redis has told its parent is the parent's."""
    process = join()
    assert process.takes(3) == 3
    child = os.fork()
    if child == 0:
        code = 1
        try:
            process.takes(1)
            window = limiter_of(process.store).process_window("twitter")
            # Its parent does not beat: on a busy machine it is absent by now, and its part is kept.
            is_new = window.used(WIDE.limits[0]) <= 1 and not window.is_member
            code = 0 if is_new else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_damaged_source_leaves_nothing_behind(
    join: Callable[..., Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not sent is not asked, however often."""
    process = join()
    refused = Refused(process.store.address, "WRONGTYPE")
    monkeypatch.setitem(limiter_of(process.store).windows.broken._refused, "twitter", refused)
    window = limiter_of(process.store).process_window("twitter")
    for number in range(100):
        process.admission.admit(ask(f"S{number}", WIDE))
    assert len(window._pending) == 0
    assert len(process.admission._unsettled) == 0


def test_a_process_goes_on_alone_where_the_disk_is_full(
    join: Callable[..., Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk is why Redis refuses; the marker lies on it as well."""
    process = join(has_allowances=True)
    limiter_of(process.store).windows.stay_clean()
    write = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        write(self, b"")
        if data:
            raise OSError(errno.ENOSPC, "no space left")
        return 0

    monkeypatch.setattr(Path, "write_bytes", full)
    monkeypatch.setattr(process.store.breaker, "reason", "MISCONF")
    assert process.takes(3) == 3
    assert not limiter_of(process.store).windows.machine.marker.is_clean


def test_a_process_that_stood_still_takes_it_for_no_jump_of_the_clock(
    server: Server, join: Callable[..., Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped between a look at its clock and the ask: nobody's slots may be given up for that."""
    process = join()
    assert process.takes(1) == 1
    run = Store.ask

    async def slow(self: Store, script: Script[Any, Any], call: Any) -> object:
        time.sleep(0.4)
        return await run(self, script, call)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "ask", slow)
        process.limiter.check_rate_limit()
    wait_until(lambda: process.store.is_available)
    process.takes(1)
    state = process.store.keys.state("twitter")
    assert server.client.hget(state, "lost_at") is None
    assert server.client.zcard(process.store.keys.slots("twitter")) >= 2


@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.2])
def test_a_clock_that_is_corrected_has_not_jumped(
    server: Server, join: Callable[..., Process], seconds: float
) -> None:
    """Time daemons slew by milliseconds a second: no window is given up for that."""
    process = join()
    assert process.takes(1) == 1
    store = process.store
    for _ in range(3):
        store.clock._ranges = {
            name: msgspec.structs.replace(clock, low=clock.high + seconds, high=clock.high + seconds)
            for name, clock in store.clock._ranges.items()
        }
        process.takes(1)
    assert server.client.hget(store.keys.state("twitter"), "lost_at") is None
    assert server.client.zcard(store.keys.slots("twitter")) == 4


@pytest.mark.parametrize("others", [0, 1, 5])
def test_a_full_window_stays_full_when_the_word_about_others_is_past(
    join: Callable[..., Process], server: Server, others: int
) -> None:
    """One request may go to hear the next word, but not beyond the limit."""
    process = join(NARROW)
    assert process.takes(9) == 5
    told = {"foreign:60000000": others, "foreign_until:60000000": 1}
    server.client.hset(process.store.keys.state("twitter"), mapping=told)
    assert process.takes(2) == 0


def test_the_absent_are_kept_for_after_an_outage(join: Callable[..., Process]) -> None:
    """One that was there before it may have sent until its end: its part is kept until that is old."""
    new = join()
    keys = (new.store.keys.state("twitter"), new.store.keys.fleet("twitter"))
    now_us = round(new.store.clock.time_us("twitter") or 0)
    new.store.client.zadd(keys[1], {"elsewhere-1": now_us - 400_000_000})
    new.store.client.hset(keys[0], mapping={"share:elsewhere-1": 0.5, "returned_at": now_us - 10_000_000})
    new.store.client.hset(keys[0], "horizon", 60_000_000)
    new.beat()
    assert new.store.client.zscore(keys[1], "elsewhere-1") is not None
    new.store.client.hset(keys[0], "returned_at", now_us - 80_000_000)
    new.beat()
    assert new.store.client.zscore(keys[1], "elsewhere-1") is None


def test_a_refusal_that_is_met_without_redis_closes_the_source_for_the_limiter_too(
    join: Callable[..., Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bot that asks for slots by itself would go on sending to an upstream that has said stop."""
    process = join(has_allowances=True)
    monkeypatch.setattr(process.store.breaker, "reason", "away")
    verdict = process.admission.admit(ask("A", WIDE))
    assert isinstance(verdict, Go)
    refused = quota(3600.0, "throttled")
    process.admission.settle(verdict.grant, Settlement(failure=refused, closed_by=refused, pages=1))
    allowed, status = process.limiter.check_rate_limit()
    assert not allowed
    assert (status.is_limited, status.reason) == (True, "used up")
    assert process.limiter.get_status().is_limited
    with pytest.raises(RateLimited, match="used up"):
        process.limiter.wait_if_needed(max_wait=1.0)


SCRIPT = """
import logging, sys
from tbcache import get_rate_limiter
if sys.argv[1:]:
    logging.basicConfig()
get_rate_limiter("twitter").check_rate_limit()
"""


@pytest.mark.parametrize("has_logging", [False, True])
def test_other_limits_are_said_also_where_nobody_asked_for_logs(
    server: Server, join: Callable[..., Process], has_logging: bool
) -> None:
    """A bot that has set up no logging would go by a limit that it was never told of."""
    join(NARROW)
    command = [sys.executable, "-c", SCRIPT, *(["loud"] if has_logging else [])]
    variables = {"REDIS_URL": server.url, "TBCACHE_TWITTER__LIMITS": "60/1m", "TBCACHE_REDIS_TIMEOUT": "10"}
    done = subprocess.run(
        command, env=clean_environment(**variables), capture_output=True, text=True, timeout=60
    )
    said = "TbcacheWarning: twitter: this process was started with 60/1m, the fleet goes by 5/1m"
    assert (done.returncode, done.stderr.count(said)) == (0, 0 if has_logging else 1)
    # It may be an operator's word, and nothing that is wrong with the settings.
    assert done.stderr.count("of all processes and of what an operator has set") == 1
    assert done.stderr.count("limits.differ") == (1 if has_logging else 0)
    if not has_logging:
        # Whoever makes warnings errors loses no request by it.
        strict = [sys.executable, "-W", "error", "-c", SCRIPT]
        assert subprocess.run(strict, env=clean_environment(**variables), timeout=60).returncode == 0


@pytest.mark.parametrize("limits", ["5:" + "9" * 400, "9" * 400 + ":1", "x:1", "0:5", "5:0", "5:-1"])
def test_damaged_limits_of_the_fleet_are_left_out(join: Callable[..., Process], limits: str) -> None:
    """They would end a look at every source, and the thread that beats for all of them."""
    process = join()
    state = process.store.keys.state("twitter")
    process.store.client.hset(state, "limits", limits)
    assert process.limiter.get_limits() == WIDE.limits
    process.store.client.hdel(state, "limits")


def test_what_was_learned_of_others_goes_with_the_limit_that_it_was_measured_against(
    server: Server, store_for: Callable[..., Store]
) -> None:
    """What they used of 10 a minute is no figure for 8 a minute; that of a limit which stays is."""
    store = store_for(server, TBCACHE_REDIS_TIMEOUT="10")
    state, window, membership = (
        store.keys.state("twitter"),
        limiter_of(store).process_window("twitter"),
        Membership(store),
    )
    window.configure((Limit(10, 60.0), Limit(100, 3600.0)))
    membership.beat("twitter")
    parts = ("foreign", "foreign_until", "learned", "learned_next", "slides")
    learned = {f"{part}:{span}000000": 1 for part in parts for span in (60, 3600)}
    store.client.hset(state, mapping=learned)
    membership.beat("twitter")
    assert set(store.client.hmget(state, *learned)) == {b"1"}
    window.configure((Limit(8, 60.0), Limit(100, 3600.0)))
    membership.beat("twitter")
    kept = {name for name in learned if store.client.hexists(state, name)}
    assert kept == {f"{part}:3600000000" for part in parts}
