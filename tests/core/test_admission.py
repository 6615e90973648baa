"""One verdict, one test; and what settle leaves behind."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from tbcache.admission import (
    Ask,
    Failed,
    Go,
    Grant,
    Hit,
    Join,
    Settlement,
    Stale,
    Verdict,
    Wait,
)
from tbcache.admission.script import ADMIT, TURN, Admit, Turn
from tbcache.cache import CacheManager
from tbcache.cache import script as loads
from tbcache.cache.script import BEGIN_LOAD, END_LOAD, BeginLoad, EndLoad
from tbcache.io import run
from tbcache.limiter import limiter_of
from tbcache.limiter.allotment import Allotment
from tbcache.limiter.script import LOSE, RESTORE, TAKE, Late, Lose, Restore, Restored, Take
from tbcache.models import Failure, FetchRequest, Lane, Limit, RateHint
from tbcache.models.price import Bill, Price
from tbcache.monitoring import UsageMonitor, latency_bucket
from tbcache.settings import Settings, Source
from tbcache.store import Store
from tbcache.store.clock import Bounds
from tbcache.store.envelope import UNCLEARED, fresh_until
from tbcache.store.wire import MICROS
from tests.blocking import Admission, Membership, core
from tests.core.conftest import TWITTER, ask
from tests.server import Server, wait_until

pytestmark = [pytest.mark.every_server, pytest.mark.usefixtures("every_driver")]

VALUE = Settlement(payload=b'{"x":1}', pages=1, seconds=0.1)
PRICE = Price(per_item=0.005, per_user=0.010, daily_dedupe=True)


def go(admission: Admission, symbol: str = "AAPL", **options: object) -> Grant:
    verdict = admission.admit(ask(symbol, **options))  # type: ignore[arg-type]
    assert isinstance(verdict, Go)
    return verdict.grant


def slots(store: Store) -> int:
    return int(store.client.zcard(store.keys.slots("twitter")))


def usage(store: Store, metric: str) -> int:
    figures = store.client.hgetall(store.keys.usage("twitter", datetime.now(UTC)))
    return sum(int(value) for name, value in figures.items() if name.decode().endswith(f":{metric}"))


def test_a_cold_key_goes_and_holds_a_slot(admission: Admission, store: Store) -> None:
    """The slot must stand before anything is sent."""
    grant = go(admission)
    assert store.client.zscore(store.keys.slots("twitter"), grant.slot) is not None
    assert usage(store, "go") == 1


def test_a_settled_value_is_a_hit_for_everyone(
    admission: Admission, store: Store, settings: Settings
) -> None:
    """What one worker fetched, all have."""
    assert admission.settle(go(admission), VALUE) == "stored"
    other = Admission(store, settings, UsageMonitor(store, settings))
    verdict = other.admit(ask())
    assert isinstance(verdict, Hit)
    assert verdict.payload == b'{"x":1}'
    assert 280 < verdict.fresh_seconds <= 300


def test_a_hit_spends_no_slot(admission: Admission, store: Store) -> None:
    """Only what goes upstream is charged."""
    admission.settle(go(admission), VALUE)
    for _ in range(20):
        assert isinstance(admission.admit(ask()), Hit)
    assert slots(store) == 1
    admission._monitor.flush()
    assert usage(store, "hit") == 20


@pytest.mark.one_driver
def test_a_hit_is_one_round_trip_and_a_fetch_two(
    admission: Admission, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The figure the design promises: commands sent, each waiting for its answer."""
    admission.settle(go(admission), VALUE)
    sent: list[str] = []
    call = store._server.call

    def counted(*command: str | bytes | int | float) -> object:
        sent.append(str(command[0]))
        return call(*command)

    monkeypatch.setattr(store._server, "call", counted)
    admission.admit(ask())
    admission.admit(ask())
    assert sent == ["EVALSHA", "MGET"]
    sent.clear()
    admission.settle(go(admission, "MSFT"), VALUE)
    assert sent == ["EVALSHA", "EVALSHA"]


@pytest.mark.one_server
def test_a_granted_ask_reads_and_writes_nothing_twice(admission: Admission, store: Store) -> None:
    """Each command of a script holds up the thread of the server that all processes wait for."""
    fleet = store.keys.fleet("twitter")
    store.client.zadd(fleet, {limiter_of(store).member: 1})
    store.client.expire(fleet, 60)
    go(admission, "MSFT")
    before = calls_by_command(store)
    go(admission)
    made = calls_by_command(store) - before
    # This process in the fleet and its slot; the demand, the lease and that of the timeline.
    assert (made["zadd"], made["hset"], made["hdel"]) == (2, 3, 0)
    # The fleet, in which its own time is; the state; how many stamps there are; that nobody loads it.
    names = ("zscore", "zrange", "hmget", "zcard", "zcount", "exists", "getrange")
    assert [made[name] for name in names] == [0, 1, 2, 1, 0, 1, 0]


def calls_by_command(store: Store) -> Counter[str]:
    stats = store.client.info("commandstats").items()
    return Counter({name.removeprefix("cmdstat_"): figures["calls"] for name, figures in stats})


def test_a_hit_that_was_expected_and_is_none_is_asked_for(admission: Admission, store: Store) -> None:
    """Somebody cleared it: the expectation costs a round trip and nothing else."""
    admission.settle(go(admission), VALUE)
    assert isinstance(admission.admit(ask()), Hit)
    store.client.delete(store.keys.entry("twitter:AAPL:24"))
    assert isinstance(admission.admit(ask()), Go)


def test_an_expected_hit_that_is_damaged_is_none(admission: Admission, store: Store) -> None:
    """Corrupt bytes are a miss on this way too."""
    admission.settle(go(admission), VALUE)
    assert isinstance(admission.admit(ask()), Hit)
    store.client.set(store.keys.entry("twitter:AAPL:24"), b"garbage", ex=60)
    assert isinstance(admission.admit(ask()), Go)


def test_keys_of_another_type_are_none(admission: Admission, store: Store) -> None:
    """Whoever put them there: the fetch goes on and takes their place."""
    entry, lease = store.keys.entry("twitter:AAPL:24"), store.keys.lease("twitter:AAPL:24")
    store.client.rpush(entry, "garbage")
    store.client.set(lease, "garbage")
    assert admission.settle(go(admission), VALUE) == "stored"
    assert isinstance(admission.admit(ask()), Hit)


def test_the_limit_refuses_the_next_and_says_until_when(admission: Admission) -> None:
    """Five in a minute are five, and the sixth knows when to come back."""
    for symbol in "ABCDE":
        admission.settle(go(admission, symbol), VALUE)
    verdict = admission.admit(ask("F"))
    assert isinstance(verdict, Wait)
    assert 55 < verdict.seconds <= 60
    assert verdict.reason == "limit 5"


def test_every_limit_of_a_source_holds_at_once(admission: Admission) -> None:
    """A minute's allowance is worth nothing when the day's is spent."""
    source = replace(TWITTER, limits=(Limit(100, 1.0), Limit(2, 86400.0)))
    go(admission, "A", source=source)
    go(admission, "B", source=source)
    verdict = admission.admit(ask("C", source))
    assert isinstance(verdict, Wait)
    assert verdict.seconds > 86000


def test_a_slot_that_was_never_sent_is_given_back(admission: Admission, store: Store) -> None:
    """Nothing arrived upstream, so nothing counts."""
    admission.settle(go(admission), Settlement())
    assert slots(store) == 0
    assert isinstance(admission.admit(ask()), Go)


def test_a_held_slot_counts_until_its_lease_ends(store: Store, settings: Settings) -> None:
    """A worker that dies in mid-request may still have arrived: its slot stands."""
    short = replace(settings, lease_seconds=0.2)
    admission = Admission(store, short, UsageMonitor(store, short))
    source = replace(TWITTER, limits=(Limit(1, 0.3),))
    go(admission, "A", source=source)
    assert isinstance(admission.admit(ask("B", source)), Wait)
    wait_until(lambda: isinstance(admission.admit(ask("B", source)), Go))


def test_a_commit_only_ever_lowers_the_stamp(admission: Admission, store: Store) -> None:
    """A late answer must not keep the slot longer than its lease."""
    grant = go(admission)
    key = store.keys.slots("twitter")
    held = store.client.zscore(key, grant.slot)
    admission.settle(grant, VALUE)
    stamp = store.client.zscore(key, grant.slot)
    assert stamp < held
    admission.settle(grant, VALUE)
    assert store.client.zscore(key, grant.slot) >= stamp
    store.client.zadd(key, {grant.slot: 1})
    admission.settle(grant, VALUE)
    assert store.client.zscore(key, grant.slot) == 1


def test_a_second_asker_joins_the_load(admission: Admission) -> None:
    """A key is loaded once however many ask."""
    grant = go(admission)
    verdict = admission.admit(ask())
    assert isinstance(verdict, Join)
    assert verdict.token == grant.token
    assert 0 < verdict.seconds <= 15


def test_joiners_are_woken_when_the_load_is_over(admission: Admission) -> None:
    """They must not find out by polling, nor by the end of the lease."""
    grant = go(admission)
    join = admission.admit(ask())
    assert isinstance(join, Join)
    woken = threading.Event()

    def wait() -> None:
        admission.wait_for(join, "twitter", 60)
        woken.set()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    admission.settle(grant, VALUE)
    assert woken.wait(30)
    thread.join()


def test_those_who_join_for_fewer_hours_are_woken_as_well(admission: Admission, store: Store) -> None:
    """They wait for the timeline, which has a lease of its own."""
    grant = go(admission)
    join = admission.admit(Ask(TWITTER, FetchRequest("twitter", "AAPL", 1)))
    assert isinstance(join, Join)
    admission.settle(grant, replace(VALUE, timeline=b"{}", hours=24))
    assert store.client.llen(store.keys.wake("twitter", join.token)) == 1


def test_a_dead_loader_is_replaced_when_its_lease_ends(store: Store, settings: Settings) -> None:
    """Nobody waits for the dead."""
    short = replace(settings, lease_seconds=0.2)
    admission = Admission(store, short, UsageMonitor(store, short))
    first = go(admission)
    assert isinstance(admission.admit(ask()), Join)
    wait_until(lambda: isinstance(admission.admit(ask()), Go))
    assert admission.settle(first, VALUE) == "dropped"


def test_an_expired_value_is_served_while_one_refreshes(admission: Admission) -> None:
    """Nobody but the refresher sees the load."""
    brief = replace(TWITTER, cache_ttl=0.001)
    admission.settle(go(admission, source=brief), VALUE)
    refresher = wait_until(lambda: as_go(admission.admit(ask(source=brief))))
    assert refresher.stale == b'{"x":1}'
    assert admission.admit(ask(source=brief)) == Stale(b'{"x":1}')


def as_go(verdict: object) -> Go | None:
    return verdict if isinstance(verdict, Go) else None


def test_an_expired_value_is_served_when_no_slot_is_free(admission: Admission) -> None:
    """Old and now beats new and later."""
    brief = replace(TWITTER, limits=(Limit(1, 60.0),), cache_ttl=0.001)
    admission.settle(go(admission, source=brief), VALUE)
    wait_until(lambda: isinstance(admission.admit(ask(source=brief)), Stale))


def test_the_freshness_that_is_needed_makes_a_hit_a_load(admission: Admission) -> None:
    """The pre-warm refreshes what is still fresh."""
    admission.settle(go(admission), VALUE)
    assert isinstance(admission.admit(ask(needed=400.0)), Go)


def test_a_failure_is_known_to_all_for_a_while(admission: Admission, store: Store) -> None:
    """An upstream that is down is not asked again by everyone."""
    failure = Failure("unavailable", "down", 503, None)
    admission.settle(go(admission), Settlement(failure=failure, pages=1))
    assert admission.admit(ask()) == Failed(failure)
    assert usage(store, "error.unavailable") == 1


def test_failures_in_a_row_back_off_longer(admission: Admission, store: Store) -> None:
    """A broken upstream is asked less and less."""
    failure = Settlement(failure=Failure("unavailable", "down", 503, None), pages=1)
    key = store.keys.lease("twitter:AAPL:24")

    def back_off() -> float:
        admission.settle(go(admission), failure)
        seconds, micros = store.client.time()
        left = int(store.client.hget(key, "retry_at") or 0) / 1e6 - (seconds + micros / 1e6)
        store.client.hset(key, "retry_at", 0)
        return left

    first, second, third = back_off(), back_off(), back_off()
    assert first == pytest.approx(5, abs=0.5)
    assert second == pytest.approx(10, abs=0.5)
    assert third == pytest.approx(20, abs=0.5)


def test_a_failure_leaves_the_old_value_in_service(admission: Admission) -> None:
    """Stale if error: an old answer with its reason beats none."""
    brief = replace(TWITTER, cache_ttl=0.001)
    admission.settle(go(admission, source=brief), VALUE)
    wait_until(lambda: as_go(admission.admit(ask(source=brief))))
    # The lease is the poll's: end it with a failure by its own token.
    failure = Failure("unavailable", "down", 503, None)
    token = admission._store.client.hget(admission._store.keys.lease("twitter:AAPL:24"), "token")
    assert token is not None
    grant = Grant(ask(source=brief), token.decode(), token.decode(), 0.0, 0.0, 0.0)
    admission.settle(grant, Settlement(failure=failure, pages=1))
    assert admission.admit(ask(source=brief)) == Stale(b'{"x":1}', failure)


def test_a_refusal_closes_the_source_for_the_whole_fleet(
    admission: Admission, store: Store, settings: Settings
) -> None:
    """Retry-After is said to one and meant for all."""
    until = datetime.now(UTC) + timedelta(seconds=40)
    failure = Failure("throttled", "slow down", 429, until)
    admission.settle(go(admission), Settlement(failure=failure, closed_by=failure, pages=1))
    other = Admission(store, settings, UsageMonitor(store, settings))
    verdict = other.admit(ask("MSFT"))
    assert isinstance(verdict, Wait)
    assert verdict.retry_at == pytest.approx(until, abs=timedelta(milliseconds=200))
    assert verdict.reason == "slow down"


def test_a_refusal_without_a_hint_backs_off_by_itself(admission: Admission, store: Store) -> None:
    """``Retry-After: 0`` or none at all must not become a hot loop."""
    source = replace(TWITTER, limits=(Limit(100, 60.0),))
    failure = Failure("throttled", "slow down", 429, None)
    waits = []
    for symbol in "ABC":
        admission.settle(
            go(admission, symbol, source=source), Settlement(failure=failure, closed_by=failure, pages=1)
        )
        verdict = admission.admit(ask("D", source))
        assert isinstance(verdict, Wait)
        waits.append(verdict.seconds)
        store.client.hset(store.keys.state("twitter"), "closed_until", 0)
    assert waits == pytest.approx([1, 2, 4], abs=0.3)


def test_refusals_of_requests_under_way_together_are_one_strike(admission: Admission) -> None:
    """Four threads refused at once must not shut the source for eight seconds."""
    failure = Failure("throttled", "slow down", 429, None)
    grants = [go(admission, symbol) for symbol in "ABC"]
    for grant in grants:
        admission.settle(grant, Settlement(failure=failure, closed_by=failure, pages=1))
    verdict = admission.admit(ask("D"))
    assert isinstance(verdict, Wait)
    assert verdict.seconds <= 1


def test_a_key_cleared_during_the_load_stays_cleared(admission: Admission, store: Store) -> None:
    """A fill in flight must not bring back what was cleared."""
    grant = go(admission)
    store.client.unlink(store.keys.lease("twitter:AAPL:24"))
    assert admission.settle(grant, VALUE) == "dropped"
    assert store.client.get(store.keys.entry("twitter:AAPL:24")) is None


def test_charge_by_request_makes_a_hit_spend_a_slot(admission: Admission, store: Store) -> None:
    """The seed's way: every ask counts, and the limit is looked at first."""
    source = replace(TWITTER, charge="request", limits=(Limit(3, 60.0),))
    admission.settle(go(admission, source=source), VALUE)
    assert isinstance(admission.admit(ask(source=source)), Hit)
    assert isinstance(admission.admit(ask(source=source)), Hit)
    wait = admission.admit(ask(source=source))
    assert isinstance(wait, Wait)
    assert wait.stale is None, "no answer is given without a slot"
    assert slots(store) == 3


def test_a_prewarm_is_no_ask(admission: Admission, settings: Settings, store: Store) -> None:
    """Of what bots asked all was in the cache, and the page said 0% where they asked little."""
    verdict = admission.admit(ask(lane="prewarm"))
    assert isinstance(verdict, Go)
    admission.settle(verdict.grant, VALUE)
    assert isinstance(admission.admit(ask(lane="prewarm")), Hit)
    assert isinstance(admission.admit(ask()), Hit)
    admission._monitor.flush()
    found = admission._monitor.get_source_metrics("twitter")
    assert (found.requests_today, found.hits_today, found.misses_today) == (1, 1, 0)
    assert (found.cache_hit_rate, found.prewarms_today, found.pages_today) == (1.0, 1, VALUE.pages)


def prewarm(admission: Admission, store: Store, symbol: str, source: Source) -> Verdict:
    """An ask of the pre-warm lane, whatever its pace."""
    store.client.hdel(store.keys.state("twitter"), "paced:60000000")
    return admission.admit(ask(symbol, source, lane="prewarm"))


def fill(admission: Admission, store: Store, source: Source, name: str) -> None:
    """Pre-warm until there is to be no more."""
    while isinstance(prewarm(admission, store, f"{name}{slots(store)}", source), Go):
        pass


def spread(store: Store, seconds: float) -> None:
    """As if the slots had been taken one after another, evenly, over the last ``seconds``."""
    names = store.client.zrange(store.keys.slots("twitter"), 0, -1)
    steps = {name: us_ago(store, seconds * n / len(names)) for n, name in enumerate(names)}
    store.client.zadd(store.keys.slots("twitter"), steps)


FIFTY = replace(TWITTER, limits=(Limit(50, 60.0),))


HEAVY = replace(TWITTER, limits=(Limit(10, 60.0),), cost=3)


def test_a_heavy_request_takes_as_many_slots_as_it_weighs(admission: Admission, store: Store) -> None:
    """Taken, turned and committed as one: a part of it counts as nothing."""
    grant = go(admission, "A", source=HEAVY)
    assert slots(store) == 3
    turned = admission.turn(grant)
    assert isinstance(turned, Grant)
    assert slots(store) == 6
    admission.settle(turned, VALUE)
    now_us = us_ago(store, 0)
    assert all(
        stamp <= now_us for _, stamp in store.client.zrange(store.keys.slots("twitter"), 0, -1, True, True)
    )
    go(admission, "B", source=HEAVY)
    assert isinstance(admission.admit(ask("C", HEAVY)), Wait)


def test_a_heavy_request_that_was_never_sent_gives_all_of_it_back(admission: Admission, store: Store) -> None:
    """Also where the queue held it and the answer was in the cache."""
    admission.settle(go(admission, source=HEAVY), Settlement())
    assert slots(store) == 0
    admission.settle(go(admission, source=HEAVY), VALUE)
    slot = hold_for_a_job(store, cost=3)
    assert slots(store) == 6
    assert isinstance(admission.admit(ask(source=HEAVY, slot=slot)), Hit)
    assert slots(store) == 3


def test_a_heavy_source_goes_on_within_its_share(
    private_server: Server, store_for: object, settings_for: object
) -> None:
    """Weights count without Redis too."""
    store: Store = store_for(private_server)  # type: ignore[operator]
    settings: Settings = settings_for(private_server)  # type: ignore[operator]
    admission = Admission(store, settings, UsageMonitor(store, settings))
    private_server.kill()
    for symbol in "ABC":
        go(admission, symbol, source=HEAVY)
    assert isinstance(admission.admit(ask("D", HEAVY)), Wait)


def test_the_prewarm_lane_leaves_what_interactive_asks_need_until_slots_come_free(
    admission: Admission, store: Store
) -> None:
    """Somebody waits for the one, nobody for the other."""
    fill(admission, store, FIFTY, "P")
    # A fifth of the limit may be asked for: of that three quarters of a window's, and more by chance.
    assert slots(store) == 50 - 14
    for number in range(14):
        go(admission, f"I{number}", source=FIFTY)
    assert isinstance(admission.admit(ask("I14", FIFTY)), Wait)


def test_the_prewarm_lane_borrows_the_reserve_while_slots_come_free_steadily(
    admission: Admission, store: Store
) -> None:
    """What leaves in time need not be kept free as well."""
    fill(admission, store, FIFTY, "P")
    spread(store, 59.0)
    fill(admission, store, FIFTY, "Q")
    assert slots(store) == 50 - 3


def test_the_prewarm_lane_asks_again_when_a_slot_comes_free(admission: Admission, store: Store) -> None:
    """Or soon, where none does: what comes free in time grows as time goes by."""
    fill(admission, store, FIFTY, "P")
    verdict = admission.admit(ask("X", FIFTY, lane="prewarm"))
    assert isinstance(verdict, Wait)
    assert verdict.seconds == pytest.approx(60 / 16, abs=0.1)
    oldest = store.client.zrange(store.keys.slots("twitter"), 0, 0)[0]
    taken_us = us_ago(store, 57.0)
    store.client.zadd(store.keys.slots("twitter"), {oldest: taken_us})
    for number in range(10):
        go(admission, f"I{number}", source=FIFTY)
    verdict = admission.admit(ask("Y", FIFTY, lane="prewarm"))
    assert isinstance(verdict, Wait)
    assert verdict.retry_at.timestamp() == pytest.approx(taken_us / 1e6 + 60.0, abs=0.1)


def test_the_prewarm_lane_remembers_asks_for_the_shortest_window(admission: Admission, store: Store) -> None:
    """A day's window must not take this morning's rush for now."""
    source = replace(TWITTER, limits=(Limit(5000, 86400.0), Limit(50, 60.0)))
    go(admission, source=source)
    rate = float(store.client.hget(store.keys.state("twitter"), "demand"))
    assert rate == pytest.approx(1 / 60e6)


def test_a_load_of_ones_own_is_not_kept_over_a_fetch(admission: Admission, store: Store) -> None:
    """Whose lease was taken over by a fetch comes too late, as any load does."""
    entry, lease = store.keys.entry("twitter:AAPL:24"), store.keys.lease("twitter:AAPL:24")
    begun = store.run(BEGIN_LOAD, BeginLoad(entry, lease, "mine", 1, UNCLEARED, 0))
    assert isinstance(begun, loads.LeasedReply)
    wait_until(lambda: as_go(admission.admit(ask())))
    wake = store.keys.wake("twitter", "mine")
    assert not store.run(END_LOAD, EndLoad(entry, lease, wake, "mine", begun.generation, b"old", 60_000))
    assert not store.client.exists(entry)


def test_the_prewarm_lane_leaves_more_the_more_interactive_asks_there_are(
    admission: Admission, store: Store
) -> None:
    """And never more than its share leaves them."""
    for number in range(20):
        admission.settle(go(admission, f"I{number}", source=FIFTY), VALUE)
    fill(admission, store, FIFTY, "P")
    assert slots(store) == 50 - 15


def test_the_prewarm_lane_has_allowance_for_a_request_of_several_slots(
    admission: Admission, store: Store
) -> None:
    """Its part of a small limit may be less than one request costs: it would never go."""
    source = replace(TWITTER, limits=(Limit(2, 60.0),), cost=2)
    assert isinstance(prewarm(admission, store, "A", source), Go)


@pytest.mark.parametrize("lane", ["interactive", "prewarm"])
def test_a_slot_that_the_queue_holds_is_counted_once(admission: Admission, store: Store, lane: Lane) -> None:
    """The job takes no second place in its lane when it runs."""
    slot = hold_for_a_job(store)
    before = store.client.hget(store.keys.state("twitter"), "demand")
    go(admission, slot=slot, lane=lane)
    assert slots(store) == 1
    assert store.client.hget(store.keys.state("twitter"), "demand") == before


def test_an_answer_that_has_begun_is_finished(admission: Admission, store: Store) -> None:
    """A pre-warm's pages wait for no pace, or its answer would be cut short; nor do they count as asks."""
    grant = go(admission, source=FIFTY, lane="prewarm")
    for number in range(49):
        turned = admission.turn(grant)
        assert isinstance(turned, Grant), number
        grant = turned
    assert isinstance(admission.turn(grant), Wait)
    assert not store.client.hexists(store.keys.state("twitter"), "demand")


def test_beyond_half_of_a_limit_the_prewarm_lane_goes_at_its_pace(admission: Admission, store: Store) -> None:
    """What is taken in a burst comes free in a burst, and an interactive ask in between finds nothing."""
    began, pace = time.monotonic(), 60 / 50
    for number in range(26 + 3):
        go(admission, f"P{number}", source=FIFTY, lane="prewarm")
    verdict = admission.admit(ask("P", FIFTY, lane="prewarm"))
    assert isinstance(verdict, Wait)
    assert pace - (time.monotonic() - began) <= verdict.seconds <= pace
    go(admission, "I", source=FIFTY)
    # A moment that cannot be one stops the lane for no longer.
    for number, junk in enumerate(("inf", "x", us_ago(store, -3600.0))):
        store.client.hset(store.keys.state("twitter"), "paced:60000000", junk)
        go(admission, f"J{number}", source=FIFTY, lane="prewarm")


def test_a_request_is_sent_within_its_hold_counted_from_the_ask(admission: Admission) -> None:
    """One who stood still before he read the answer would send when the slot is held no more. Of a slot that
    is promised for later the time counts from its begin."""
    grants = [go(admission, symbol) for symbol in "ABCD"]
    further = admission.turn(grants[0])
    assert isinstance(further, Grant)
    for grant in (*grants, further):
        assert grant.send_by == pytest.approx(grant.granted_at + admission.send_seconds, abs=1e-6)
        admission.settle(grant, VALUE)
    later = go(admission, "F", patience=100.0)
    assert later.starts_at > later.granted_at + 30
    assert later.send_by == pytest.approx(later.starts_at + admission.send_seconds, abs=1.0)


def test_a_slot_held_by_the_queue_is_not_taken_twice(admission: Admission, store: Store) -> None:
    """The consumer took it when it popped the job."""
    hold_for_a_job(store)
    assert go(admission, slot="job.1").slot == "job.1"
    assert slots(store) == 1


def test_a_slot_held_by_the_queue_is_given_back_on_a_hit(admission: Admission, store: Store) -> None:
    """The job found its answer in the cache: nothing goes upstream."""
    admission.settle(go(admission), VALUE)
    assert isinstance(admission.admit(ask(slot=hold_for_a_job(store))), Hit)
    assert slots(store) == 1


def test_a_slot_whose_lease_ended_is_not_revived(admission: Admission, store: Store) -> None:
    """It has left the window: raising its stamp again would count it nowhere."""
    key = store.keys.slots("twitter")
    store.client.zadd(key, {"job.1": 1})
    for symbol in "ABCDE":
        go(admission, symbol)
    assert isinstance(admission.admit(ask("F", slot="job.1")), Wait)


def test_an_ask_past_its_deadline_does_nothing(admission: Admission, store: Store) -> None:
    """A frozen server that thaws must not act for those who have gone."""
    keys, day = store.keys, datetime.now(UTC)
    late = Admit(
        window=limiter_of(store).window_keys("twitter"),
        entry=keys.entry("twitter:AAPL:24"),
        lease=keys.lease("twitter:AAPL:24"),
        usage=keys.usage("twitter", day),
        clears=keys.clears("twitter"),
        purses=keys.purses("twitter", day),
        timeline=keys.entry("twitter:AAPL:timeline"),
        timeline_lease=keys.lease("twitter:AAPL:timeline"),
        limits="5:60000000",
        fraction=1.0,
        charge="fetch",
        hold_us=15_000_000,
        needed_us=0,
        ttl_us=60_000_000,
        stand_in_us=0,
        asked_us=0,
        deadline_us=1,
        worker="w",
        id="zombie",
        cost=1,
        is_held=False,
        is_of_queue=False,
        seen_before="",
        patience_us=0,
        budget=0,
        page_price=0,
        log_head=b"",
        cleared=0,
        process="me",
        hours=24,
        timeline_cleared=0,
    )
    assert isinstance(store.run(ADMIT, late), Late)
    assert list(store.client.scan_iter()) == [keys.layout.encode()]


def test_turn_commits_one_page_and_takes_the_next(admission: Admission, store: Store) -> None:
    """An answer of several pages needs a slot per page."""
    grant = go(admission)
    turned = admission.turn(grant)
    assert isinstance(turned, Grant)
    assert (turned.token, slots(store)) == (grant.token, 2)
    key, now = store.keys.slots("twitter"), us_ago(store, 0)
    assert store.client.zscore(key, grant.slot) < now + 1e6
    assert store.client.zscore(key, turned.slot) > now + 10e6
    assert admission.settle(turned, VALUE) == "stored"


def test_turn_waits_when_the_limit_is_reached(admission: Admission) -> None:
    """Further pages obey the limit like first ones."""
    source = replace(TWITTER, limits=(Limit(1, 60.0),))
    turned = admission.turn(go(admission, source=source))
    assert isinstance(turned, Wait)
    assert turned.seconds > 50


def test_items_are_billed_once_a_day(admission: Admission, store: Store) -> None:
    """As X bills posts: $0.005 each, once per UTC day."""
    for symbol, ids in (("A", ["1", "2", "3"]), ("B", ["2", "3", "4"])):
        admission.settle(go(admission, symbol), replace(VALUE, bill=PRICE.bill(ids)))
    assert usage(store, "cost") == 4 * 5000


def test_users_are_billed_beside_the_posts_once_a_day(admission: Admission, store: Store) -> None:
    """A user may have the number of a post, and costs $0.010 of its own."""
    for symbol, posts, users in (("A", ["1", "2"], ["1", "7"]), ("B", ["2"], ["7", "8"])):
        admission.settle(go(admission, symbol), replace(VALUE, bill=PRICE.bill(posts, users)))
    assert usage(store, "cost") == 2 * 5000 + 3 * 10_000


def test_what_was_paid_elsewhere_counts_against_the_budget(admission: Admission) -> None:
    """A page read while Redis was away, or a request of the user's own, costs the same money."""
    source = replace(TWITTER, daily_budget=0.01, price=PRICE)
    admission._monitor.record_request("twitter", cost=0.02)
    admission._monitor.flush()
    verdict = admission.admit(ask("A", source))
    assert isinstance(verdict, Wait)
    assert verdict.why == "budget"


def test_the_daily_budget_closes_the_source_until_midnight(admission: Admission) -> None:
    """Money is a limit like any other."""
    source = replace(TWITTER, daily_budget=0.01, price=Price(per_request=0.006))
    admission.settle(go(admission, "A", source=source), replace(VALUE, bill=Bill(0.006)))
    admission.settle(go(admission, "B", source=source), replace(VALUE, bill=Bill(0.006)))
    verdict = admission.admit(ask("C", source))
    assert isinstance(verdict, Wait)
    assert (verdict.why, verdict.retry_at.hour, verdict.retry_at.minute) == ("budget", 0, 0)


def test_an_accepted_answer_lies_in_the_outbox(admission: Admission, store: Store) -> None:
    """Stored and accepted in one step: neither without the other."""
    admission.settle(go(admission), replace(VALUE, answer=b"kept"))
    [(_, fields)] = store.client.xrange(store.keys.outbox("twitter"))
    assert fields == {b"answer": b"kept"}


def test_an_outbox_of_another_type_costs_neither_the_answer_nor_the_bill(
    admission: Admission, store: Store
) -> None:
    """Every load failed half-way, and was loaded once more by the next process."""
    store.client.set(store.keys.outbox("twitter"), "x", ex=60)
    paid = replace(VALUE, answer=b"kept", bill=Price(per_request=0.01).bill([]))
    assert admission.settle(go(admission), paid) == "stored"
    [(_, fields)] = store.client.xrange(store.keys.outbox("twitter"))
    assert fields == {b"answer": b"kept"}
    usage = store.keys.usage("twitter", store.clock.today)
    assert store.client.hget(usage, "spent") == b"10000"


def test_a_value_is_fresh_for_no_longer_than_it_was_written_for(admission: Admission, store: Store) -> None:
    """After a server's clock was set back by an hour, all that was cached was fresh for an hour more."""
    admission.settle(go(admission), VALUE)
    assert isinstance(admission.admit(ask()), Hit)
    key = store.keys.entry(ask().request.key)
    written = store.client.get(key)
    later = fresh_until(written) + 3_600_000_000
    store.client.set(key, written.replace(b"%d" % fresh_until(written), b"%d" % later), keepttl=True)
    assert admission.look(ask().source, ask().request.key) is None
    # One that it has read before is read without the script; the next it has not.
    for _ in range(2):
        admission._shared._fresh.expect("twitter", ask().request.key, later)
        verdict = admission.admit(ask())
        assert isinstance(verdict, Go | Stale)


@pytest.mark.parametrize("junk", ["x", "inf", "-9223372036854775807", "9223372036854775807"])
def test_a_count_of_refusals_that_is_damaged_begins_anew(
    admission: Admission, store: Store, junk: str
) -> None:
    """It failed the script that ends the load, or closed the source for no time, or for ever. Refusals of
    what was under way together count as one."""
    state, first, second = store.keys.state("twitter"), go(admission, "A"), go(admission, "B")
    store.client.hset(state, mapping={"strikes": junk, "closed_until": "1e300"})
    refused = Failure("throttled", "slow down", 429, None)
    admission.settle(first, Settlement(failure=refused, closed_by=refused, pages=1))
    noted = store.client.hmget(state, "strikes", "closed_at")
    until = int(store.client.hget(state, "closed_until"))
    assert noted == [b"1", b"%d" % (until - MICROS)]
    # However long this takes here.
    store.client.hset(state, "closed_until", until + 60 * MICROS)
    admission.settle(second, Settlement(failure=refused, closed_by=refused, pages=1))
    assert store.client.hmget(state, "strikes", "closed_at") == noted


def test_an_empty_redis_is_noticed_and_mended_by_those_who_know(
    admission: Admission, server: Server, store: Store
) -> None:
    """After FLUSHALL the window is whole again once everyone has put back what they sent."""
    source = replace(TWITTER, limits=(Limit(2, 60.0),))
    go(admission, "A", source=source)
    server.client.flushall()
    verdict = admission.admit(ask("B", source))
    assert isinstance(verdict, Wait)
    assert verdict.seconds <= 0.25
    assert verdict.reason == "limit 2, shut until what Redis has lost is known again"
    assert slots(store) == 1
    wait_until(lambda: as_go(admission.admit(ask("B", source))))
    assert isinstance(admission.admit(ask("C", source)), Wait)


def test_an_empty_redis_stays_shut_while_someone_is_missing(
    server: Server, store_for: object, settings_for: object
) -> None:
    """What the missing one sent is known to nobody: it must arrive, and the window pass."""
    store: Store = store_for(server, TBCACHE_LEASE_SECONDS="0.4")  # type: ignore[operator]
    settings: Settings = settings_for(server, TBCACHE_LEASE_SECONDS="0.4")  # type: ignore[operator]
    admission = Admission(store, settings, UsageMonitor(store, settings))
    source = replace(TWITTER, limits=(Limit(5, 0.6),))
    go(admission, "A", source=source)
    limiter_of(store).process_window("twitter").processes = 2
    server.client.flushall()
    lost = time.monotonic()
    wait_until(lambda: as_go(admission.admit(ask("B", source))))
    assert 0.9 < time.monotonic() - lost < 2.0


def test_a_absent_process_notices_a_loss_by_its_heartbeat(
    admission: Admission, server: Server, store: Store
) -> None:
    """It asks nothing, yet what it sent counts."""
    go(admission, "A")
    server.client.flushall()
    Membership(store).beat("twitter")
    assert slots(store) == 1


def test_redis_away_is_answered_from_this_processs_share(
    private_server: Server, store_for: object, settings_for: object
) -> None:
    """What was free is shared out: two processes may send two of the four each."""
    store: Store = store_for(private_server)  # type: ignore[operator]
    settings: Settings = settings_for(private_server)  # type: ignore[operator]
    admission = Admission(store, settings, UsageMonitor(store, settings))
    go(admission, "A")
    window = limiter_of(store).process_window("twitter")
    window.receive(Allotment(0.5, 0.5, {"5:60000000": 2}, TWITTER.limits, 2, 0.0), window.report()[1])
    private_server.kill()
    go(admission, "B")
    go(admission, "C")
    verdict = admission.admit(ask("D"))
    assert isinstance(verdict, Wait)
    assert verdict.seconds == 0.25
    assert 50 < (verdict.retry_at - datetime.now(UTC)).total_seconds() <= 75


def test_a_closed_source_gives_no_slot_for_a_further_page_without_redis(settings: Settings) -> None:
    """It would be refused, and the slot that was taken for it would be missing for a window."""
    store = Store(Settings.load({"REDIS_URL": "redis://127.0.0.1:1/0"}))
    admission, limiter = Admission(store, settings, UsageMonitor(store, settings)), limiter_of(store)
    grant = go(admission, "A")
    limiter.closures.close("twitter", 60.0, "come back later")
    turn = admission.turn(grant)
    assert isinstance(turn, Wait)
    assert (turn.why, turn.reason) == ("closed", "come back later")
    assert limiter.process_window("twitter").used(TWITTER.limits[0]) == 1


def test_slots_taken_while_redis_was_away_are_put_there_when_it_is_back(
    private_server: Server, store_for: object, settings_for: object
) -> None:
    """What was sent was sent, whoever counted it."""
    store: Store = store_for(private_server)  # type: ignore[operator]
    settings: Settings = settings_for(private_server)  # type: ignore[operator]
    admission = Admission(store, settings, UsageMonitor(store, settings))
    admission.settle(go(admission, "A"), VALUE)
    private_server.kill()
    local = go(admission, "B")
    assert local.is_fallback
    admission.settle(local, VALUE)
    assert isinstance(admission.admit(ask("B")), Hit)
    private_server.start()
    wait_until(lambda: store.is_available)
    assert slots(store) == 2
    assert isinstance(admission.admit(ask("B")), Wait | Go)


@pytest.mark.one_driver
@pytest.mark.parametrize("is_fallback", [True, False])
def test_what_was_granted_and_could_not_be_answered_ends_with_the_outage(
    private_server: Server,
    store_for: object,
    settings_for: object,
    monkeypatch: pytest.MonkeyPatch,
    is_fallback: bool,
) -> None:
    """Nobody waits for a lease of which its holder does not know; and it was one ask, not two."""
    store: Store = store_for(private_server)  # type: ignore[operator]
    monitor = UsageMonitor(store, settings_for(private_server))  # type: ignore[operator]
    admission = Admission(store, settings_for(private_server), monitor)  # type: ignore[operator]
    go(admission, "A")
    call = store._server.call

    def deaf(*command: object) -> object:
        call(*command)  # type: ignore[arg-type]
        raise ConnectionError("cut off")

    with monkeypatch.context() as patch:
        patch.setattr(store._server, "call", deaf)
        if not is_fallback:
            nothing = Allotment(0.0, 0.0, {}, TWITTER.limits, 2, 0.0)
            window = limiter_of(store).process_window("twitter")
            window.receive(nothing, window.report()[1])
        verdict = admission.admit(ask("B"))
    assert isinstance(verdict, Go if is_fallback else Wait)
    if isinstance(verdict, Go):
        assert admission.settle(verdict.grant, VALUE) == "fallback"
    wait_until(lambda: store.is_available)
    assert not store.client.exists(store.keys.lease("twitter:B:24"))
    now_us = us_ago(store, 0)
    assert store.client.zcount(store.keys.slots("twitter"), f"({now_us}", "+inf") == 1
    monitor.flush()
    assert usage(store, "go") - usage(store, "regranted") == 1 + is_fallback


def test_a_clear_while_redis_is_away_reaches_the_values_kept_meanwhile(
    private_server: Server, store_for: object, settings_for: object
) -> None:
    """A clear means all of it, wherever a value is."""
    store: Store = store_for(private_server)  # type: ignore[operator]
    settings: Settings = settings_for(private_server)  # type: ignore[operator]
    admission = Admission(store, settings, UsageMonitor(store, settings))
    private_server.kill()
    admission.settle(go(admission), VALUE)
    assert isinstance(admission.admit(ask()), Hit)
    CacheManager(store, admission.memory).clear_pattern("twitter:*")
    assert isinstance(admission.admit(ask()), Go)


def hint(remaining: int, seconds: float = 40.0) -> RateHint:
    return RateHint(remaining, datetime.now(UTC) + timedelta(seconds=seconds))


def test_what_the_upstream_says_is_left_lowers_what_is_left(admission: Admission) -> None:
    """Somebody else uses the same key: its count goes before ours."""
    admission.settle(go(admission, "A"), replace(VALUE, hints=(hint(1),)))
    go(admission, "B")
    verdict = admission.admit(ask("C"))
    assert isinstance(verdict, Wait)
    assert 35 < verdict.seconds < 40.1


def test_what_the_upstream_says_is_left_never_raises_it(admission: Admission) -> None:
    """The configured limit is the most, whatever a generous header says."""
    for symbol in "ABCDE":
        admission.settle(go(admission, symbol), replace(VALUE, hints=(hint(400),)))
    assert isinstance(admission.admit(ask("F")), Wait)


def test_a_later_word_of_the_upstream_replaces_the_earlier(admission: Admission) -> None:
    """The other consumer stopped: its part is ours again, a half at each word."""
    admission.settle(go(admission, "A"), replace(VALUE, hints=(hint(1),)))
    admission.settle(go(admission, "B"), replace(VALUE, hints=(hint(3),)))
    admission.settle(go(admission, "C"), replace(VALUE, hints=(hint(2),)))
    for symbol in "DE":
        go(admission, symbol)


def test_the_upstreams_word_ends_with_its_window(admission: Admission) -> None:
    """After the reset nobody has used anything."""
    admission.settle(go(admission, "A"), replace(VALUE, hints=(hint(0, 0.3),)))
    assert isinstance(admission.admit(ask("B")), Wait)
    wait_until(lambda: as_go(admission.admit(ask("B"))))


def test_a_hint_speaks_of_the_window_its_reset_lies_in(admission: Admission) -> None:
    """A minute's remainder says nothing of the day's."""
    source = replace(TWITTER, limits=(Limit(1000, 86400.0), Limit(5, 60.0)))
    admission.settle(go(admission, "A", source=source), replace(VALUE, hints=(hint(2),)))
    go(admission, "B", source=source)
    go(admission, "C", source=source)
    verdict = admission.admit(ask("D", source))
    assert isinstance(verdict, Wait)
    assert verdict.reason == "limit 5"


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_a_jump_of_the_servers_clock_costs_no_slot(admission: Admission, store: Store, jump: float) -> None:
    """Forward it would empty every window at once, back it would shut them for an hour."""
    for symbol in "ABCD":
        admission.settle(go(admission, symbol), VALUE)
    key = store.keys.slots("twitter")
    for slot, stamp in store.client.zrange(key, 0, -1, withscores=True):
        # What a jump does: the stamps stay, the clock they came from moves.
        store.client.zadd(key, {slot: stamp - jump * 1e6})
    store.clock._ranges = {
        name: msgspec.structs.replace(clock, low=clock.low - jump, high=clock.high - jump)
        for name, clock in store.clock._ranges.items()
    }
    wait_until(lambda: as_go(admission.admit(ask("E"))))
    wait_until(lambda: slots(store) == 5)
    assert isinstance(admission.admit(ask("F")), Wait)
    now_us = store.clock.time_us()
    assert now_us is not None
    assert all(abs(stamp - now_us) < 30e6 for _, stamp in store.client.zrange(key, 0, -1, withscores=True))


def test_a_damaged_source_keeps_no_other_from_the_mend_of_a_jump(admission: Admission, store: Store) -> None:
    """The stamps of the other would look old, and its limit could be taken twice."""
    reddit = replace(TWITTER, name="reddit")
    go(admission, "A", source=reddit)
    go(admission, "A")
    assert limiter_of(store).epochs.sources == ["reddit", "twitter"]
    damaged, epoch = store.keys.state("reddit"), limiter_of(store).epochs.of("twitter")
    store.client.set(damaged, "no hash", ex=60)
    store.clock._ranges = {
        name: msgspec.structs.replace(known, low=known.low - 3600.0, high=known.high - 3600.0)
        for name, known in store.clock._ranges.items()
    }
    for source in ("reddit", "twitter"):
        asked_at, now_us = time.monotonic(), round(time.time() * 1e6)
        run(store.clock.learn(now_us, asked_at, source))
    assert limiter_of(store).epochs.of("twitter") != epoch
    assert store.client.hexists(store.keys.state("twitter"), "stepped")
    assert slots(store) == 1
    store.client.delete(damaged)


def test_fetches_under_way_count_against_the_budget(admission: Admission) -> None:
    """However many start at once, it is overshot by one page at most."""
    source = replace(TWITTER, daily_budget=1.0, price=PRICE)
    first = go(admission, "A", source=source)
    go(admission, "B", source=source)
    verdict = admission.admit(ask("C", source))
    assert isinstance(verdict, Wait)
    assert (verdict.why, verdict.seconds) == ("budget", pytest.approx(0.1))
    admission.settle(first, replace(VALUE, bill=PRICE.bill(["1"])))
    go(admission, "C", source=source)


def test_pages_are_billed_by_their_turns(admission: Admission, store: Store) -> None:
    """An answer of many pages stops where the money ends."""
    source = replace(TWITTER, daily_budget=0.01, price=PRICE)
    turned = admission.turn(go(admission, "A", source=source), PRICE.bill(["1", "2"]))
    assert isinstance(turned, Wait)
    assert turned.why == "budget"
    assert usage(store, "cost") == 10_000


def test_a_window_that_others_fill_alone_opens_at_their_reset(admission: Admission, store: Store) -> None:
    """None of our slots has to leave: theirs do."""
    go(admission, "A")
    now_us = store.clock.time_us()
    assert now_us is not None
    told = {"foreign:60000000": 5, "foreign_until:60000000": round(now_us + 40e6)}
    store.client.hset(store.keys.state("twitter"), mapping=told)
    store.client.delete(store.keys.slots("twitter"))
    verdict = admission.admit(ask("B", patience=50.0))
    assert isinstance(verdict, Wait)
    assert verdict.seconds == pytest.approx(40, abs=0.5)


def test_nothing_is_promised_while_a_window_is_being_mended(
    admission: Admission, server: Server, store: Store
) -> None:
    """Whoever is patient gets no slot of a window that is not known."""
    source = replace(TWITTER, limits=(Limit(5, 20.0),))
    go(admission, "A", source=source)
    limiter_of(store).process_window("twitter").processes = 2
    server.client.flushall()
    assert isinstance(admission.admit(ask("B", source, patience=30.0)), Wait)
    assert isinstance(admission.admit(ask("B", source, patience=30.0)), Wait)


def test_slots_that_left_every_window_are_dropped(admission: Admission, store: Store) -> None:
    """A window's set is as long as the window, not as the year."""
    source = replace(TWITTER, limits=(Limit(5, 0.1),))
    admission.settle(go(admission, "A", source=source), VALUE)
    # Twice the window: our idea of the server's time is ahead of it by the way to it, long on a busy machine.
    wait_until(lambda: store.client.zcount(store.keys.slots("twitter"), "-inf", us_ago(store, 0.2)) == 1)
    go(admission, "B", source=source)
    assert slots(store) == 1


def us_ago(store: Store, seconds: float) -> int:
    now_us = store.clock.time_us()
    assert now_us is not None
    return round(now_us - seconds * 1e6)


def test_a_source_in_use_keeps_its_state(admission: Admission, store: Store) -> None:
    """Its epoch must not lapse after a month of good service. The first slot of each hour renews its life."""
    go(admission, "A")
    store.client.expire(store.keys.state("twitter"), 100)
    store.client.hset(store.keys.state("twitter"), "demand_at", us_ago(store, 3600.0))
    go(admission, "B")
    assert store.client.ttl(store.keys.state("twitter")) > 30 * 86400


def hold_for_a_job(store: Store, slot: str = "job.1", cost: int = 1) -> str:
    """What the queue does when it hands a job to a worker."""
    window, limits = limiter_of(store).window_keys("twitter"), "10:60000000"
    store.run(
        TAKE,
        Take(window, limits, True, slot, cost, 15_000_000, 0, 0, "", 0, limiter_of(store).member, "fleet"),
    )
    return slot


def test_a_held_slot_is_given_back_when_another_loads_the_key(admission: Admission, store: Store) -> None:
    """The job joins: nothing of its own goes upstream."""
    go(admission)
    assert isinstance(admission.admit(ask(slot=hold_for_a_job(store))), Join)
    assert slots(store) == 1


def test_a_held_slot_is_given_back_while_a_failure_stands(admission: Admission, store: Store) -> None:
    """It is too early for another try."""
    failure = Failure("unavailable", "down", 503, None)
    admission.settle(go(admission), Settlement(failure=failure, pages=1))
    assert isinstance(admission.admit(ask(slot=hold_for_a_job(store))), Failed)
    assert slots(store) == 1


def test_a_held_slot_is_given_back_when_the_money_is_spent(admission: Admission, store: Store) -> None:
    """The limit would allow it, the budget does not."""
    source = replace(TWITTER, daily_budget=0.01, price=Price(per_request=0.02))
    admission.settle(go(admission, "A", source=source), replace(VALUE, bill=Bill(0.02)))
    assert isinstance(admission.admit(ask("B", source, slot=hold_for_a_job(store))), Wait)
    assert slots(store) == 1


@pytest.mark.one_driver
def test_a_held_slot_is_given_back_as_redis_returns(admission: Admission, store: Store) -> None:
    """It went away before the job began, which is put off: nothing is sent with its slot."""
    slot = hold_for_a_job(store)
    limiter_of(store).closures.close("twitter", 60.0, "come back later")
    store.breaker.reason = "away"
    assert isinstance(admission.admit(ask(slot=slot)), Wait)
    store.breaker.reason = None
    admission._give_back()
    assert slots(store) == 0


def test_a_held_slot_is_spent_by_a_hit_where_asks_are_charged(admission: Admission, store: Store) -> None:
    """And it counts from now, not until the end of its lease."""
    source = replace(TWITTER, charge="request")
    admission.settle(go(admission, source=source), VALUE)
    slot = hold_for_a_job(store)
    assert isinstance(admission.admit(ask(source=source, slot=slot)), Hit)
    stamp = store.client.zscore(store.keys.slots("twitter"), slot)
    now_us = store.clock.time_us()
    assert now_us is not None
    assert stamp is not None
    assert stamp <= now_us + 1e6


def test_a_day_of_nothing_but_hits_is_not_kept_for_ever(admission: Admission, store: Store) -> None:
    """The first hit after midnight makes the day's figures."""
    admission.settle(go(admission), VALUE)
    key = store.keys.usage("twitter", datetime.now(UTC))
    store.client.delete(key)
    admission.admit(ask())
    assert store.client.ttl(key) > 30 * 86400


def test_an_answer_ends_a_row_of_refusals(admission: Admission, store: Store) -> None:
    """The next refusal is a first one again."""
    failure = Failure("throttled", "slow down", 429, None)
    source = replace(TWITTER, limits=(Limit(100, 60.0),))
    refused = Settlement(failure=failure, closed_by=failure, pages=1)

    def refuse(symbol: str) -> float:
        admission.settle(go(admission, symbol, source=source), refused)
        verdict = admission.admit(ask("Z", source))
        assert isinstance(verdict, Wait)
        store.client.hset(store.keys.state("twitter"), "closed_until", 0)
        return verdict.seconds

    assert refuse("A") == pytest.approx(1, abs=0.3)
    admission.settle(go(admission, "B", source=source), VALUE)
    assert refuse("C") == pytest.approx(1, abs=0.3)


def test_a_closed_source_keeps_its_state_for_more_than_a_month(admission: Admission, store: Store) -> None:
    """A monthly quota must not be forgotten before it resets."""
    until = datetime.now(UTC) + timedelta(days=30)
    failure = Failure("quota", "monthly cap", 429, until)
    grant = go(admission)
    store.client.expire(store.keys.state("twitter"), 100)
    admission.settle(grant, Settlement(failure=failure, closed_by=failure, pages=1))
    assert store.client.ttl(store.keys.state("twitter")) > 31 * 86400


def test_turn_prolongs_the_lease_of_the_key(admission: Admission, store: Store) -> None:
    """A long answer must not be loaded a second time half-way."""
    grant = go(admission)
    lease = store.keys.lease("twitter:AAPL:24")
    store.client.hset(lease, "until", us_ago(store, -0.5))
    admission.turn(grant)
    assert int(store.client.hget(lease, "until") or 0) > us_ago(store, -10)


@pytest.mark.parametrize("renews", [False, True])
def test_the_lease_of_a_dead_loader_ends_as_soon_where_the_clock_was_set_back(
    admission: Admission, store: Store, renews: bool
) -> None:
    """All who ask for that key would wait for as long as the clock was set back."""
    grant = go(admission)
    if renews:
        admission.turn(grant)
    lease = store.keys.lease("twitter:AAPL:24")
    store.client.hincrbyfloat(lease, "until", 3600e6)
    joined = admission.admit(ask())
    assert isinstance(joined, Join)
    assert joined.seconds == pytest.approx(15.0, abs=1.0)
    # It is by the same moment for everyone, and does not move on with each ask.
    until = store.client.hget(lease, "until")
    admission.admit(ask())
    assert store.client.hget(lease, "until") == until


def test_a_turn_past_its_deadline_takes_no_slot(admission: Admission, store: Store) -> None:
    """It commits what came, and holds nothing for one who has gone."""
    grant = go(admission)
    day = datetime.now(UTC)
    turn = Turn(
        window=limiter_of(store).window_keys("twitter"),
        lease=store.keys.lease("twitter:AAPL:24"),
        usage=store.keys.usage("twitter", day),
        billed=store.keys.billed("twitter", day),
        purses=store.keys.purses("twitter", day),
        timeline_lease=store.keys.lease("twitter:AAPL:timeline"),
        limits="5:60000000",
        hold_us=15_000_000,
        fraction=1.0,
        id=grant.slot,
        next_id="next",
        cost=1,
        asked_us=0,
        deadline_us=1,
        token=grant.token,
        worker="w",
        budget=0,
        page_price=0,
        amount=0,
        process="me",
        seen_before="",
        once=(),
    )
    assert isinstance(store.run(TURN, turn), Late)
    assert slots(store) == 1


def test_a_settle_past_its_deadline_commits_and_no_more(
    admission: Admission, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its asker has given up and kept the answer himself: a thawed server must not count it again."""
    grant = go(admission)
    with monkeypatch.context() as patch:
        patch.setattr(store.clock, "bounds_at", long_past)
        assert admission.settle(grant, VALUE) == "fallback"
    assert not store.client.exists(store.keys.entry("twitter:AAPL:24"))
    [(_, stamp)] = store.client.zrange(store.keys.slots("twitter"), 0, -1, withscores=True)
    assert stamp <= us_ago(store, 0)
    # So slow, it counts as away for a moment.
    wait_until(lambda: store.is_available)
    admission._monitor.flush()
    assert usage(store, "pages") == 1


def test_pages_and_latency_are_counted(admission: Admission, store: Store) -> None:
    """What the usage figures and their percentiles are made of."""
    admission.settle(go(admission), replace(VALUE, pages=3))
    assert usage(store, "pages") == 3
    assert usage(store, f"ms{latency_bucket(0.1)}") == 1
    assert usage(store, "took") == 100_000


def test_failures_in_a_row_are_remembered_between_loads(admission: Admission, store: Store) -> None:
    """The row must not be forgotten as soon as the lease is."""
    failure = Settlement(failure=Failure("unavailable", "down", 503, None), pages=1)
    grant = go(admission)
    lease = store.keys.lease("twitter:AAPL:24")
    store.client.expire(lease, 1)
    admission.settle(grant, failure)
    assert store.client.ttl(lease) > 500


def test_what_is_learned_is_learned_for_the_shortest_window(admission: Admission, store: Store) -> None:
    """A day's window would take a day to show that there is allowance again."""
    source = replace(TWITTER, limits=(Limit(1000, 86400.0), Limit(50, 60.0)))
    refused = Failure("throttled", "slow down", 429, None)
    admission.settle(go(admission, source=source), Settlement(failure=refused, closed_by=refused, pages=1))
    state = store.client.hgetall(store.keys.state("twitter"))
    assert state[b"learned:60000000"] == b"16"
    assert b"learned:86400000000" not in state


def test_refusals_together_teach_once(admission: Admission, store: Store) -> None:
    """They are one event, whatever the number of threads it met."""
    source = replace(TWITTER, limits=(Limit(50, 60.0),))
    refused = Failure("throttled", "slow down", 429, None)
    for grant in [go(admission, symbol, source=source) for symbol in "ABC"]:
        admission.settle(grant, Settlement(failure=refused, closed_by=refused, pages=1))
    assert store.client.hget(store.keys.state("twitter"), "learned:60000000") == b"16"


def test_a_window_is_mended_by_one_process_only(admission: Admission, store: Store) -> None:
    """The second to notice the jump must not undo what the first has mended."""
    go(admission, "A")
    window = limiter_of(store).window_keys("twitter")
    ((_, before),) = store.client.zrange(window.slots, 0, -1, withscores=True)
    now_us = round(run(store.clock.now_us("twitter")))
    earliest_us, latest_us = now_us - 5_000_000, now_us + 60_000_000
    first = (store.client.hget(window.state, "epoch") or b"").decode()
    # The third has learned of the second's epoch since, and says of none that it knew it before the step.
    for known, name in ((first, "second"), (first, "third"), ("", "third")):
        assert store.run(LOSE, Lose(window, 3_000_000, 1_000_000, known, earliest_us, latest_us, name))
    assert not store.run(LOSE, Lose(window, 3_000_000, 0, "", now_us - 9_000_000, earliest_us, "fourth"))
    ((_, after),) = store.client.zrange(window.slots, 0, -1, withscores=True)
    assert after - before == 3_000_000
    assert store.client.hget(window.state, "epoch") == b"second"


def test_a_mended_window_opens_when_the_largest_known_fleet_is_back(store: Store, server: Server) -> None:
    """The one who knows of two others must be believed, even by those who know of none."""
    keys, back = limiter_of(store).window_keys("twitter"), store.keys.back("twitter")

    def restore(process: str, fleet: int, *slots_: str | int) -> bool:
        """Whether the window is known to be whole from then on, or from soon after."""
        restored = store.run(RESTORE, returning(store, process, fleet, *slots_))
        assert isinstance(restored, Restored)
        assert restored.seen == ("new", 0)
        return bool(store.client.hexists(keys.state, "whole_at"))

    assert not restore("one", 3, "a", 1_000_000)
    assert store.client.ttl(keys.slots) > 60 + 60
    assert not restore("two", 1)
    assert restore("three", 1, "b", -5_000_000)
    # One who comes late and knows of more is believed as well: they may be as late.
    assert not restore("four", 9)
    assert store.client.hget(keys.state, "horizon") == b"60000000"
    assert store.client.zcard(keys[0]) == 2
    assert all(store.client.ttl(key) > 0 for key in (keys.slots, keys.state, back))


def returning(store: Store, process: str, fleet: int, *slots_: str | int, deadline_us: int = 0) -> Restore:
    """What a process of a fleet of so many puts back after a loss."""
    return Restore(
        window=limiter_of(store).window_keys("twitter"),
        back=store.keys.back("twitter"),
        horizon=60_000_000,
        process=process,
        seen_before="old 0",
        seen_ago_us=0,
        epoch="new",
        hold_us=15_000_000,
        whole="old",
        members=fleet,
        left_us=0,
        census_age_us=0,
        asked_us=0,
        deadline_us=deadline_us,
        is_member=False,
        going_by="",
        allowances="",
        taken=slots_,
    )


def test_what_is_expected_to_be_fresh_is_forgotten_in_time(
    admission: Admission, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For so many keys at most, and no longer than until one is found to be old."""
    monkeypatch.setattr("tbcache.admission.fresh.SEEN_KEYS", 2)
    fresh, far = core(admission).fresh, round((time.time() + 3600.0) * MICROS)
    for key, count in (("a", 1), ("b", 2), ("c", 1)):
        fresh.expect("twitter", key, far)
        assert len(fresh._seen) == count
    fresh.expect("twitter", "c", 1)
    assert run(fresh.find(TWITTER, "c")) is None
    assert not fresh._seen


@pytest.mark.parametrize(
    ("part", "junk"),
    [
        *((part, "banana") for part in ("until", "retry_at", "failure", "waiters", "failures", "since")),
        ("failure", '{"x":' * 5000),
        ("failure", b'{"kind":"\xff"}'),
    ],
)
def test_a_damaged_lease_is_one_answers_trouble(
    admission: Admission, store: Store, part: str, junk: str | bytes
) -> None:
    """What stands there is no reason to take a whole source off Redis, nor for an error of a library."""
    grant = go(admission)
    admission.settle(grant, Settlement(failure=Failure("unavailable", "down", 503, None), pages=1))
    lease = store.keys.lease("twitter:AAPL:24")
    now_us = us_ago(store, -50.0)
    sound = {"token": "x", "until": now_us, "failure": "{}", "retry_at": now_us, "since": "1" * 16}
    store.client.hset(lease, mapping={**sound, part: junk})
    verdict = admission.admit(ask())
    assert isinstance(verdict, Go | Join | Failed)
    if isinstance(verdict, Failed):
        assert verdict.failure.kind == "error"
    if isinstance(verdict, Go):
        assert not verdict.grant.is_fallback
        assert admission.settle(verdict.grant, VALUE) == "stored"
    assert "twitter" not in limiter_of(store).windows.broken


def test_what_an_answer_says_after_a_loss_of_data_is_not_kept_for_ever(
    admission: Admission, store: Store
) -> None:
    """The end of a load alone may be what makes the state of the source anew."""
    grant = go(admission)
    store.client.flushdb()
    admission.settle(grant, replace(VALUE, hints=(hint(1),)))
    assert store.client.ttl(store.keys.state("twitter")) > 0


def test_a_return_past_its_deadline_is_no_return(store: Store) -> None:
    """Its process has given up on the answer, and does not know that Redis has taken note of it."""
    ask = returning(store, "one", 1, "a", 1_000_000, deadline_us=1)
    assert isinstance(store.run(RESTORE, ask), Late)
    assert not store.client.exists(*ask.window, ask.back)


def long_past(at: float, source: str) -> Bounds:
    """A deadline that nobody keeps."""
    return Bounds(0, 1)
