"""The queue on real workers in this process: paced, joined, recovered."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import math
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker

from tbcache.fetch import Pipeline
from tbcache.io import BLOCKING, run
from tbcache.limiter import Limiter, limiter_of
from tbcache.models import FetchRequest, Lane, Limit
from tbcache.models.error import (
    InvalidRequest,
    RateLimited,
    ResultTimeout,
    TbcacheError,
    UpstreamNotFound,
    UpstreamUnavailable,
)
from tbcache.queue import (
    Handle,
    PacingBroker,
    Queue,
    RateLimitMiddleware,
    actor_name,
    asking,
    bell,
    consumer,
    context,
    end,
)
from tbcache.queue.account import Account
from tbcache.queue.batch import put_all
from tbcache.queue.job import Finish, Result
from tbcache.queue.middleware import JobMiddleware
from tbcache.queue.script import (
    DEQUEUE,
    FINISH,
    LOOK,
    PARTS,
    FinishJobs,
    JobAsk,
    Looked,
    LookForJobs,
    queue_keys,
)
from tbcache.queue.thread import Threads
from tbcache.queue.wants import Wants
from tbcache.rate_limiter import RateLimiter
from tbcache.settings import BUILT_IN, Settings, Source
from tbcache.store import Refused, Store, Unavailable
from tbcache.store.clock import Bounds
from tbcache.store.envelope import UNCLEARED
from tests.core.conftest import Upstream
from tests.job import message as queue_message
from tests.server import Server, wait_until

pytestmark = pytest.mark.every_server

FAST = replace(BUILT_IN["news"], name="news", limits=(Limit(1000, 1.0),))
SLOW = replace(BUILT_IN["twitter"], limits=(Limit(3, 60.0),), missing=())
#: How many commands Redis runs for a job, from its send to its end; a fetch is joined, takes a slot and has a
#: result.
MOST_COMMANDS = {"default": 20, "news": 36}


def declare(broker: PacingBroker, source: str, function: Callable[..., Any] | None = None) -> None:
    """An actor of that source."""

    def fetch(symbol: str, hours: int, lane: str, needed: float = 0.0, after: float = 0.0) -> None:
        pass

    dramatiq.actor(actor_name=actor_name(source), queue_name=source, broker=broker)(function or fetch)


class Fleet:
    """A broker with actors that call a function, and as many workers as asked for."""

    def __init__(self, store: Store, settings: Settings, *sources: Source, **options: float) -> None:
        self.broker = PacingBroker(store, settings, sources, **options)
        self.ran: list[tuple[str, str]] = []
        self.act: Callable[[str, str, str | None], Any] = lambda source, symbol, slot: None
        for source in sources:
            self._declare(source.name)
        self._workers: list[dramatiq.Worker] = []

    def _declare(self, name: str) -> None:
        def fetch(symbol: str, hours: int, lane: str, needed: float) -> Any:
            from dramatiq.middleware import CurrentMessage

            message: Any = CurrentMessage.get_current_message()
            self.ran.append((name, symbol))
            return self.act(name, symbol, message.options.get("slot"))

        declare(self.broker, name, fetch)

    def start(self, threads: int = 4, look_ms: int = 25) -> dramatiq.Worker:
        worker = dramatiq.Worker(self.broker, worker_threads=threads, worker_timeout=look_ms)
        worker.start()
        self._workers.append(worker)
        return worker

    def stop(self) -> None:
        for worker in self._workers:
            worker.stop(30_000)
        self._workers.clear()


@pytest.fixture
def fleet(store: Store, settings: Settings) -> Iterator[Fleet]:
    fleet = Fleet(store, settings, FAST, SLOW)
    yield fleet
    fleet.stop()


@pytest.fixture
def queue(store: Store, settings: Settings) -> Queue:
    return Queue(store, settings)


def elapse(seconds: float) -> None:
    """Time in which something must not happen."""
    begun = time.monotonic()
    wait_until(lambda: time.monotonic() - begun > seconds, seconds + 5)


def lapse(store: Store, seconds: float = 60.0) -> None:
    """The claims of the news queue have lapsed so long ago, as nobody has renewed them; no worker's are kept
    for a minute."""
    (at, micros), claims = store.client.time(), store.keys.queue("news", "claims")
    moment = (at - seconds) * 1e6 + micros
    store.client.zadd(claims, dict.fromkeys(store.client.zrange(claims, 0, -1), moment), xx=True)


def job(source: str, symbol: str) -> FetchRequest:
    return FetchRequest(source, symbol)


@pytest.mark.one_server
def test_a_limited_source_waits_in_redis_and_holds_no_thread(fleet: Fleet, queue: Queue) -> None:
    """Ten jobs of a source that allows three: the other source's are all done meanwhile."""
    for number in range(10):
        queue.enqueue(job("twitter", f"T{number}"))
    for number in range(50):
        queue.enqueue(job("news", f"N{number}"))
    fleet.start(threads=2)

    def ran(source: str) -> list[str]:
        return sorted(symbol for name, symbol in fleet.ran if name == source)

    wait_until(lambda: len(ran("news")) == 50)
    # The other source's three may begin after that; two threads note them in either order.
    wait_until(lambda: len(ran("twitter")) >= 3 and queue.depth("twitter").running == 0)
    assert ran("twitter") == ["T0", "T1", "T2"]
    assert queue.depth("twitter").interactive == 7


def test_a_job_comes_with_a_slot_it_holds(fleet: Fleet, queue: Queue, store: Store) -> None:
    """The actor need not ask again: the slot was taken as the job was."""
    slots: list[str | None] = []
    fleet.act = lambda source, symbol, slot: slots.append(slot)
    queue.enqueue(job("twitter", "AAPL"))
    fleet.start()
    wait_until(lambda: slots)
    assert store.client.zscore(store.keys.slots("twitter"), slots[0] or "") is not None


def test_the_same_fetch_is_queued_once(fleet: Fleet, queue: Queue) -> None:
    """A second ask joins the first, and both get its outcome."""
    first = queue.enqueue(job("news", "AAPL"))
    second = queue.enqueue(job("news", "AAPL"))
    assert (first.job_id, first.is_new, second.is_new) == (second.job_id, True, False)
    fleet.act = lambda source, symbol, slot: outcome(symbol)
    fleet.start()
    assert first.result(30).request.symbol == second.result(30).request.symbol == "AAPL"
    assert fleet.ran == [("news", "AAPL")]


def outcome(symbol: str) -> Any:
    from tbcache.io import utc_now
    from tbcache.models import Outcome, SymbolSentiment

    sentiment = SymbolSentiment(
        "news", symbol, 24, 0.5, 1, 1, 0, 0, utc_now(), complete=True, since=None, scorer="test/1"
    )
    return Outcome(FetchRequest("news", symbol), sentiment, "live", 0.0)


def test_a_fetch_that_is_over_can_be_queued_again(fleet: Fleet, queue: Queue) -> None:
    """Joining ends with the job."""
    fleet.start()
    queue.enqueue(job("news", "AAPL"))
    wait_until(lambda: fleet.ran and queue.depth("news").running == 0)
    assert queue.enqueue(job("news", "AAPL")).is_new


def test_interactive_jobs_go_before_prewarm_ones(fleet: Fleet, queue: Queue) -> None:
    """Somebody waits for the one."""
    queue.enqueue(job("news", "WARM"), "prewarm")
    queue.enqueue(job("news", "ASKED"))
    fleet.start(threads=1)
    wait_until(lambda: len(fleet.ran) == 2)
    assert fleet.ran == [("news", "ASKED"), ("news", "WARM")]


@pytest.mark.parametrize("lane", ["interactive", "prewarm"])
def test_jobs_of_a_lane_go_in_the_order_in_which_they_came(
    lane: Lane, queue: Queue, store: Store, settings: Settings
) -> None:
    """Their ids are random, and must not decide; a worker that takes a few at a time changes nothing."""
    sent, got = [], []
    for number in range(8):
        sent.append(queue.enqueue(job("news", f"N{number}"), lane).job_id)
        if number % 3 == 2:
            got += dequeue(store, settings, FAST, 2)[1]
    while ids := dequeue(store, settings, FAST, 1)[1]:
        got += ids
    assert got == sent


def test_an_interactive_ask_lifts_a_queued_prewarm(queue: Queue) -> None:
    """The job that is there changes its lane; no second one is made."""
    queue.enqueue(job("news", "AAPL"), "prewarm")
    assert not queue.enqueue(job("news", "AAPL")).is_new
    depth = queue.depth("news")
    assert (depth.interactive, depth.prewarm) == (1, 0)


def test_a_lifted_job_comes_back_where_somebody_waits_for_it(
    queue: Queue, store: Store, settings: Settings
) -> None:
    """Its worker dies, and it must not fall back behind the other pre-warms."""
    queue.enqueue(job("news", "AAPL"), lane="prewarm")
    queue.enqueue(job("news", "AAPL"))
    assert len(dequeue(store, settings, FAST, 1)[1]) == 1
    lapse(store)
    dequeue(store, settings, FAST, 0)
    assert queue.depth("news").interactive == 1


def test_an_interactive_ask_lifts_a_delayed_prewarm(queue: Queue, store: Store) -> None:
    """Nor does it wait for a delay that was meant to spread the load, or for an idle worker's next look."""
    queue.enqueue(job("news", "AAPL"), "prewarm", delay_seconds=60)
    store.client.delete(store.keys.queue("news", "bell"))
    queue.enqueue(job("news", "AAPL"))
    depth = queue.depth("news")
    assert (depth.interactive, depth.delayed) == (1, 0)
    assert left(store)["bell"] == 1


def test_a_delayed_job_comes_when_it_is_due(fleet: Fleet, queue: Queue, store: Store) -> None:
    """In order of time, whatever was queued first."""
    later = queue.enqueue(job("news", "LATER"), delay_seconds=60.0)
    soon = queue.enqueue(job("news", "SOON"), delay_seconds=0.1)
    # However long the machine takes to queue them, the one is due before the other.
    delayed = store.keys.queue("news", "delayed")
    due = store.client.zscore(delayed, soon.job_id)
    store.client.zadd(delayed, {later.job_id: due + 300_000})
    fleet.start(threads=1)
    wait_until(lambda: len(fleet.ran) == 2)
    assert fleet.ran == [("news", "SOON"), ("news", "LATER")]


def test_an_idle_worker_is_rung_up_for_a_job(
    fleet: Fleet, queue: Queue, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It need not come by to find it."""
    rung: list[int] = []
    pop = store.pop_list

    def listen(keys: Sequence[str], seconds: float) -> str | None:
        bell = pop(keys, seconds)
        if bell is not None:
            rung.append(queue.depth("news").interactive)
        return bell

    monkeypatch.setattr(store, "pop_list", listen)
    fleet.start(look_ms=200)
    numbers = itertools.count()

    def is_rung_before_it_asks() -> bool:
        symbol = f"N{next(numbers)}"
        queue.enqueue(job("news", symbol))
        wait_until(lambda: ("news", symbol) in fleet.ran)
        return 1 in rung

    wait_until(is_rung_before_it_asks)


@pytest.mark.one_server
def test_a_consumer_that_is_rung_up_goes_before_who_rings(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two threads of a process run in turn: the job would wait while the reader prepares to block again."""
    monkeypatch.setattr(bell, "ASKED_SECONDS", 3600.0)
    bells = bell.Bells(store)
    alarm = bells.join("news", queue_keys(store.keys, "news"), 30.0)
    alarm.set(math.inf)
    with ThreadPoolExecutor(1) as pool:
        wait = pool.submit(alarm.wait, 30.0)
        wait_until(lambda: alarm._is_listening)
        ring = threading.Thread(target=alarm.ring, daemon=True)
        ring.start()
        assert wait.result(30)
        ring.join(0.1)
        assert (ring.is_alive(), alarm._is_listening) == (True, False)
        # It has asked, and there is no more.
        alarm.begin()
        wait = pool.submit(alarm.wait, 30.0)
        ring.join(15)
        assert not ring.is_alive()
        alarm.find(0.0)
        assert wait.result(30)
    bells.leave("news")


def test_what_may_pass_is_tried_again_and_then_buried(
    fleet: Fleet, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that fails for good is kept for the operator, and its asker told."""
    monkeypatch.setattr("tbcache.queue.middleware.RETRY_SECONDS", 0.05)

    def fail(source: str, symbol: str, slot: str | None) -> None:
        raise UpstreamUnavailable("news", "on fire", status=503)

    fleet.act = fail
    handle = queue.enqueue(job("news", "AAPL"))
    fleet.start()
    with pytest.raises(UpstreamUnavailable, match="on fire"):
        handle.result(30)
    assert len(fleet.ran) == end.MOST_TRIES
    assert queue.depth("news").dead == 1


def left(store: Store) -> dict[str, int]:
    """How much of the news queue is there, by part; empty parts left out, and what is noted of asks."""
    found: dict[str, int] = {}
    for part in set(PARTS) - {"asked", "pace"}:
        key = store.keys.queue("news", part)
        size = {b"hash": "hlen", b"zset": "zcard", b"list": "llen", b"string": "strlen"}.get(
            store.client.type(key)
        )
        if size is not None:
            found[part] = getattr(store.client, size)(key)
    return found


def claimed(store: Store, handle: Handle, hand_out: str = "1") -> str:
    """The claim of a job that is in a worker's hands as if it had been dequeued."""
    parts = {part: store.keys.queue(handle.request.source, part) for part in PARTS}
    claim = f"{handle.job_id}/{hand_out}"
    pipe: Any = store.client.pipeline(transaction=False)
    for lane in ("interactive", "prewarm"):
        pipe.zrem(parts[lane], handle.job_id)
        pipe.delete(parts[f"{lane}-tags"])
    pipe.delete(parts["bell"])
    pipe.zadd(parts["claims"], {claim: 4e15})
    pipe.expire(parts["claims"], 60)
    pipe.execute()
    return claim


def finish(
    store: Store,
    claim: str,
    what: str,
    result: str = "",
    *,
    delay_us: int = 0,
    is_try: int = 0,
    most_tries: int = 4,
) -> str:
    """Say what became of a job of the news queue; what was made of it."""
    keys, ends = queue_keys(store.keys, "news"), (claim, what, result, delay_us, is_try, 1, "why", 0, "")
    (answer,) = store.run(FINISH, FinishJobs(keys, store.keys.slots("news"), most_tries, 0, ends))
    return answer


def test_the_slot_of_a_job_ends_by_the_time_that_its_worker_knows(queue: Queue, store: Store) -> None:
    """Where the clock was set back, and is put right, it would leave the window by so much too soon."""
    claim, slots = claimed(store, queue.enqueue(job("news", "AAPL"))), store.keys.slots("news")
    seconds, _ = store.client.time()
    asked_us = (seconds + 30) * 1_000_000
    store.client.zadd(slots, {claim: asked_us + 15_000_000})
    ends = (claim, "done", "", 0, 0, 0, "", 1, "")
    store.run(FINISH, FinishJobs(queue_keys(store.keys, "news"), slots, 4, asked_us, ends))
    assert store.client.zscore(slots, claim) == asked_us
    store.client.expire(slots, 60)


def test_nothing_of_a_job_that_is_done_is_left(fleet: Fleet, queue: Queue, store: Store) -> None:
    """A queue that is empty takes no allowance, however many jobs went through it."""
    fleet.start()
    for number in range(5):
        queue.enqueue(job("news", f"N{number}"), delay_seconds=0.01 * number)
    wait_until(lambda: len(fleet.ran) == 5)
    wait_until(lambda: set(left(store)) <= {"bell"})


@pytest.mark.parametrize(("what", "waits_in"), [("back", "prewarm"), ("later", "delayed")])
def test_a_job_that_is_not_over_waits_again(queue: Queue, store: Store, what: str, waits_in: str) -> None:
    """Given back it stands in its lane, put off it is delayed; a worker is told, and nobody claims it."""
    claim = claimed(store, queue.enqueue(job("news", "AAPL"), "prewarm"))
    assert finish(store, claim, what, delay_us=60_000_000) == what
    parts = left(store)
    assert (parts[waits_in], parts["bell"], "claims" in parts) == (1, 1, False)


def test_a_job_that_is_over_stays_over(queue: Queue, store: Store) -> None:
    """A worker that was thought dead finishes late: it must not bring the job back."""
    assert finish(store, "gone/1", "back") == "gone"
    assert left(store) == {}


def test_a_buried_job_leaves_nothing_but_its_grave(queue: Queue, store: Store) -> None:
    """And the same fetch can be queued again."""
    claim = claimed(store, queue.enqueue(job("news", "AAPL"), "prewarm"))
    assert finish(store, claim, "later", is_try=1, most_tries=1) == "dead"
    assert left(store) == {"dead": 1, "dead-jobs": 1, "reasons": 1}
    assert queue.enqueue(job("news", "AAPL")).is_new


@pytest.mark.parametrize("what", ["later", "lapsed"])
def test_a_damaged_count_buries_its_job(
    queue: Queue, store: Store, worker: Callable[..., Worker], what: str
) -> None:
    """Its asker is told, and the same fetch can be queued again; in no list it would wait for ever."""
    handle = queue.enqueue(job("news", "AAPL"))
    holder = worker()
    claim = holder.await_job().claim.decode()
    part = "tries" if what == "later" else "deaths"
    store.client.hset(store.keys.queue("news", part), handle.job_id, "banana")
    store.client.expire(store.keys.queue("news", part), 60)
    if what == "later":
        assert finish(store, claim, "later", is_try=1) == "dead"
    else:
        holder.die()
        worker().ask()
    assert [letter.job_id for letter in queue.dead.search("news")] == [handle.job_id]
    with pytest.raises(TbcacheError, match="why" if what == "later" else "its worker died"):
        handle.result(30)
    assert queue.enqueue(job("news", "AAPL")).is_new


@pytest.mark.parametrize(
    ("what", "damaged"),
    [("done", "pending"), ("later", "delayed"), ("back", "interactive"), ("dead", "dead")],
)
def test_a_job_whose_end_cannot_be_written_down_is_still_in_hand(
    queue: Queue, store: Store, what: str, damaged: str
) -> None:
    """It is said again, or the claim lapses: without one the job would be in no list, and joined for ever."""
    claim = claimed(store, queue.enqueue(job("news", "AAPL")))
    key = store.keys.queue("news", damaged)
    kept = store.client.dump(key)
    store.client.delete(key)
    store.client.set(key, "x", ex=60)
    with pytest.raises(Unavailable):
        finish(store, claim, what, "{}", delay_us=60_000_000)
    store.client.delete(key)
    if kept is not None:
        store.client.restore(key, 60_000, kept)
    assert finish(store, claim, what, "{}", delay_us=60_000_000) == what
    depth = queue.depth("news")
    assert (depth.running, depth.interactive, depth.delayed, depth.dead) == (
        0,
        int(what == "back"),
        int(what == "later"),
        int(what == "dead"),
    )


def test_the_bell_does_not_grow_while_nobody_listens(queue: Queue, store: Store) -> None:
    """A thousand jobs ring for one worker, which rings for the next where it leaves some."""
    for number in range(100):
        queue.enqueue(job("news", f"N{number}"))
    assert left(store)["bell"] == 1


def test_a_prewarm_that_fails_is_not_buried(fleet: Fleet, queue: Queue) -> None:
    """Nobody waits for it, and it comes again by itself: no dead letter for each of its tries."""

    def fail(source: str, symbol: str, slot: str | None) -> None:
        raise UpstreamUnavailable("news", "on fire", status=503)

    fleet.act = fail
    queue.enqueue(job("news", "AAPL"), "prewarm")
    fleet.start()
    wait_until(lambda: fleet.ran and queue.depth("news").running == 0)
    depth = queue.depth("news")
    assert (len(fleet.ran), depth.dead, depth.delayed) == (1, 0, 0)


def test_a_prewarm_whose_time_is_past_is_not_run(fleet: Fleet, queue: Queue, store: Store) -> None:
    """Whoever has queued it queues it again where it is still wanted; one that somebody waits for is run."""
    for symbol in ("AAPL", "GME", "AMD"):
        queue.enqueue(job("news", symbol), "prewarm", valid_seconds=60.0 if symbol == "AMD" else 1e-6)
    queue.enqueue(job("news", "GME"))
    queued_at = store.clock.today
    wait_until(lambda: store.clock.today > queued_at)
    fleet.start()
    wait_until(lambda: len(fleet.ran) == 2 and queue.depth("news").running == 0)
    assert sorted(fleet.ran) == [("news", "AMD"), ("news", "GME")]
    assert queue.depth("news").waiting == queue.depth("news").dead == 0
    # Its slot is free for another: the jobs that ran have theirs.
    wait_until(lambda: store.client.zcard(store.keys.slots("news")) == 2)


def test_what_cannot_pass_is_told_at_once(fleet: Fleet, queue: Queue) -> None:
    """An unknown symbol does not get known by asking again."""

    def fail(source: str, symbol: str, slot: str | None) -> None:
        raise UpstreamNotFound("news", "no such symbol", status=404)

    fleet.act = fail
    handle = queue.enqueue(job("news", "ZZZZ"))
    fleet.start()
    with pytest.raises(UpstreamNotFound):
        handle.result(30)
    assert (len(fleet.ran), queue.depth("news").dead) == (1, 0)


@pytest.mark.one_server
def test_a_limit_puts_a_job_off_and_spends_no_try(fleet: Fleet, queue: Queue) -> None:
    """Limits are no failures: however often, the job lives."""
    from tbcache.io import utc_now

    def limited(source: str, symbol: str, slot: str | None) -> Any:
        if len(fleet.ran) <= end.MOST_TRIES + 1:
            raise RateLimited("news", utc_now())
        return outcome(symbol)

    fleet.act = limited
    handle = queue.enqueue(job("news", "AAPL"))
    fleet.start()
    assert handle.result(30).origin == "live"


def test_a_dead_workers_job_is_taken_over(
    fleet: Fleet, queue: Queue, server: Server, store_for: Callable[..., Store], settings: Settings
) -> None:
    """kill -9 loses nothing: the claim lapses and another runs the job."""
    queue.enqueue(job("news", "AAPL"))
    dead = Fleet(store_for(server), settings, FAST)
    dead.broker.threads.open(1)
    assert next(iter(dead.broker.consume("news", timeout=50))) is not None
    assert queue.depth("news").running == 1
    dead.broker.context.presence.leave()
    lapse(dead.broker.store, 2.1 * context.CLAIM_SECONDS)
    fleet.start()
    wait_until(lambda: fleet.ran == [("news", "AAPL")])


@pytest.mark.one_server
def test_a_live_workers_job_is_not(fleet: Fleet, queue: Queue, store: Store) -> None:
    """However long it takes: the claim is renewed while the worker lives."""
    fleet.broker.context.claim_seconds = 2.0
    release = threading.Event()
    fleet.act = lambda source, symbol, slot: release.wait(30) and None
    queue.enqueue(job("news", "AAPL"))
    fleet.start()
    fleet.start()
    claims = store.keys.queue("news", "claims")
    ((_, first_end),) = wait_until(lambda: store.client.zrange(claims, 0, -1, withscores=True))
    # As the first end of the claim is past, the other worker would have taken the job.
    wait_until(lambda: store.client.zcount(claims, first_end + 2.1e6, "+inf") == 1)
    assert fleet.ran == [("news", "AAPL")]
    release.set()


class Worker:
    """A worker that asks when it is told to; it takes no job by itself, nor runs one."""

    def __init__(
        self, store: Store, settings: Settings, source: Source, threads: int = 1, **options: float
    ) -> None:
        self.broker = PacingBroker(store, settings, [source], **options)
        declare(self.broker, source.name)
        self.broker.threads.open(threads)
        self.consumer: Any = self.broker.consume(source.name, timeout=1)

    def ask(self) -> Any:
        """The next job; None for none."""
        self.consumer._alarm.set_off()
        return next(self.consumer)

    def look(self) -> None:
        """It asks, whatever the cause, and takes what it gets."""
        self.consumer._take()

    def await_job(self) -> Any:
        return wait_until(self.ask, what="a job")

    def die(self) -> None:
        """Its claims lapse as if it had said nothing for long."""
        claims = self.broker.store.keys.queue(self.consumer._source.name, "claims")
        self.broker.store.client.zadd(claims, dict.fromkeys(self.consumer._hand.claims, 1), xx=True)


def count_asks(store: Store, script: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What a script is called with from now on."""
    asks: list[Any] = []
    ask = store.ask

    def counted(called: Any, call: Any) -> Any:
        if called is script:
            asks.append(call)
        return ask(called, call)

    monkeypatch.setattr(store, "ask", counted)
    return asks


@pytest.mark.one_server
def test_an_idle_worker_asks_for_jobs_once_and_not_again_without_a_cause(
    store: Store, settings: Settings, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fleet that has nothing to do would keep Redis busy, and fill its log."""
    monkeypatch.setattr(consumer, "LOOK_TIMES", math.inf)
    idle = Worker(store, settings, FAST, claim_seconds=600.0)
    asks = count_asks(store, DEQUEUE, monkeypatch)
    for _ in range(20):
        assert next(idle.consumer) is None
    assert len(asks) == 1
    queue.enqueue(job("news", "AAPL"))
    assert wait_until(lambda: next(idle.consumer), 20).kwargs["symbol"] == "AAPL"
    assert len(asks) == 2
    idle.consumer.close()


@pytest.mark.one_server
def test_one_connection_blocks_for_all_queues_of_a_process(
    store: Store, fleet: Fleet, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each more costs Redis a client, and a call each time that it gives up."""
    listened: list[list[str]] = []
    pop = store.pop_list

    def listen(keys: Sequence[str], seconds: float) -> str | None:
        listened.append(list(keys))
        return pop(keys, seconds)

    monkeypatch.setattr(store, "pop_list", listen)
    fleet.start(threads=4, look_ms=500)
    bells = {store.keys.queue(name, "bell") for name in ("news", "twitter")}
    wait_until(lambda: any(set(keys) == bells for keys in listened), 20)
    blocked = [
        one for one in store.client.client_list() if one["cmd"].lower() == "blpop" and "b" in one["flags"]
    ]
    assert len(blocked) <= 1
    queue.enqueue(job("news", "AAPL"))
    queue.enqueue(job("twitter", "AAPL"))
    wait_until(lambda: {("news", "AAPL"), ("twitter", "AAPL")} == set(fleet.ran), 20)


@pytest.mark.one_server
def test_a_job_is_found_by_a_look_where_its_bell_is_lost(
    store: Store, fleet: Fleet, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever heard it may have died before it took the job."""

    def hear_nothing(keys: Sequence[str], seconds: float) -> None:
        threading.Event().wait(seconds)

    monkeypatch.setattr(store, "pop_list", hear_nothing)
    asks = count_asks(store, DEQUEUE, monkeypatch)
    fleet.start(threads=4, look_ms=10)
    wait_until(lambda: len(asks) >= 2, 20)
    queue.enqueue(job("news", "AAPL"))
    wait_until(lambda: fleet.ran, 20)


def test_a_bell_that_rings_where_no_thread_is_free_rings_on_for_another_worker(
    store: Store, queue: Queue, worker: Callable[..., Worker]
) -> None:
    """Its job would wait beside an idle worker."""
    busy = worker()
    queue.enqueue(job("news", "LONG"))
    assert busy.await_job().kwargs["symbol"] == "LONG"
    queue.enqueue(job("news", "NEXT"))
    bell = store.keys.queue("news", "bell")
    store.client.delete(bell)
    busy.consumer._alarm.ring()
    assert next(busy.consumer) is None
    assert store.client.llen(bell) == 1


@pytest.mark.one_server
def test_who_takes_as_many_jobs_as_it_has_threads_rings_for_the_rest(
    store: Store, queue: Queue, worker: Callable[..., Worker]
) -> None:
    """What came while slots were used up has no bell any more, and another worker may be idle."""
    for number in range(3):
        queue.enqueue(job("news", f"N{number}"))
    bell = store.keys.queue("news", "bell")
    store.client.delete(bell)
    assert worker(threads=2).ask() is not None
    assert store.client.llen(bell) == 1
    assert worker(threads=2).ask() is not None
    assert store.client.llen(bell) == 0


@pytest.mark.parametrize("what", ["done", "later", "back", "dead"])
def test_a_stalled_worker_has_no_say_in_a_job_that_another_has_now(
    queue: Queue, store: Store, settings: Settings, what: Any
) -> None:
    """It would have a third run the job beside the second, or take its answer from those who wait."""
    handle = queue.enqueue(job("news", "AAPL"))
    stalled = Worker(store, settings, FAST)
    late = stalled.await_job()
    lapse(store)
    heir = Worker(store, settings, FAST)
    heirs = heir.await_job()
    before = left(store)
    late.finish = Finish(what, Result(message="too late"), is_try=True)
    stalled.consumer.ack(late)
    assert left(store) == before
    assert not store.client.exists(store.keys.result("news", handle.job_id))
    assert stalled.broker.threads.busy == 0
    heirs.finish = Finish("done", Result(outcome=outcome("AAPL")))
    heir.consumer.ack(heirs)
    assert handle.result(30).sentiment.symbol == "AAPL"


@pytest.fixture
def worker(store: Store, settings: Settings) -> Callable[..., Worker]:
    """A worker of the news queue."""
    return lambda threads=1, **options: Worker(store, settings, FAST, threads, **options)


def counted(store: Store, monkeypatch: pytest.MonkeyPatch, name: str) -> list[int]:
    """How many keys and arguments a script is given, each time that it is run from now on."""
    calls: list[int] = []
    run = store.ask

    async def count(script: Any, call: Any) -> Any:
        if script.name == name:
            calls.append(len(script.pack(call)) - 1)
        return await run(script, call)

    monkeypatch.setattr(store, "ask", count)
    return calls


def test_a_worker_whose_threads_are_busy_asks_for_nothing(
    queue: Queue, store: Store, worker: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would ask twice for each job, and be told once that it has no allowance."""
    for symbol in ("FIRST", "SECOND"):
        queue.enqueue(job("news", symbol))
    one = worker()
    one.consumer._timeout = 60.0
    first = one.await_job()
    asks, waits, wait = counted(store, monkeypatch, "dequeue"), threading.Event(), one.broker.threads.wait

    def waiting(*args: Any) -> None:
        waits.set()
        wait(*args)

    monkeypatch.setattr(one.broker.threads, "wait", waiting)
    found: list[Any] = []
    asking = threading.Thread(target=lambda: found.append(one.ask()))
    asking.start()
    assert waits.wait(20)
    one.consumer.ack(first)
    asking.join(20)
    assert [one.kwargs["symbol"] for one in found] == ["SECOND"]
    assert len(asks) == 1


def test_jobs_that_end_together_are_told_of_together(
    queue: Queue, store: Store, worker: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a thread tells of one, those whose jobs end meanwhile leave that to it, and go on."""
    handles = [queue.enqueue(job("news", f"N{number}")) for number in range(4)]
    one = worker(threads=4)
    jobs = [one.await_job() for _ in handles]
    calls = counted(store, monkeypatch, "finish")
    for given in jobs:
        given.finish = Finish("done", Result(outcome=outcome(given.kwargs["symbol"])))
    with one.consumer._hand.saying:
        for given in jobs[:3]:
            one.consumer.ack(given)
        assert (calls, one.broker.threads.busy, queue.depth("news").running) == ([], 1, 4)
    one.consumer.ack(jobs[3])
    assert len(calls) == 1
    assert queue.depth("news").running == 0
    assert [handle.result(30).sentiment.symbol for handle in handles] == ["N0", "N1", "N2", "N3"]


def commands(store: Store) -> int:
    """How many commands the server has run, but for those that run others."""
    told: dict[str, Any] = store.client.info("commandstats")
    return sum(
        one["calls"] for name, one in told.items() if not name.startswith(("cmdstat_eval", "cmdstat_info"))
    )


@pytest.mark.one_server
@pytest.mark.parametrize("name", ["default", "news"])
def test_a_job_costs_few_commands(name: str, private_server: Server, store_for: Callable[..., Store]) -> None:
    """Redis has one thread for the whole fleet: what a job takes of it bounds what all workers can do."""
    store, jobs, rounds = store_for(private_server, TBCACHE_REDIS_TIMEOUT="20"), 16, 4
    # Nothing is due to be renewed meanwhile.
    broker = PacingBroker(store, store.settings, [FAST], claim_seconds=800.0)
    declare(broker, "news")
    plain = dramatiq.actor(actor_name="plain", broker=broker)(lambda symbol: None)
    queue = Queue(store, store.settings)
    broker.threads.open(jobs)
    consumer: Any = broker.consume(name, prefetch=jobs, timeout=100_000)

    def work(number: int) -> None:
        for at in range(jobs):
            symbol = f"N{number}A{at}"
            plain.send(symbol) if name == "default" else queue.enqueue(job("news", symbol))
        consumer._alarm.set_off()
        given = [next(consumer) for _ in range(jobs)]
        with consumer._hand.saying:
            for one in given:
                consumer.ack(one)
        consumer._ends.say()

    work(0)
    before = commands(store)
    for number in range(1, rounds + 1):
        work(number)
    assert (commands(store) - before) / (jobs * rounds) <= MOST_COMMANDS[name]
    assert queue.depth(name).waiting + queue.depth(name).running == 0


def test_ends_that_could_not_be_told_are_told_later(
    queue: Queue, store: Store, worker: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of those that were to be told of in one call, and before the next job is asked for."""
    for number in range(3):
        queue.enqueue(job("news", f"N{number}"))
    one = worker(threads=2)
    jobs = [one.await_job() for _ in range(2)]

    def is_away(*_: Any) -> Any:
        raise Unavailable("somewhere", "away")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "ask", is_away)
        for given in jobs:
            one.consumer.ack(given)
    assert queue.depth("news").running == 2
    calls = counted(store, monkeypatch, "finish")
    assert one.await_job().kwargs["symbol"] == "N2"
    assert (len(calls), queue.depth("news").running) == (1, 1)


def suspect(queue: Queue, worker: Callable[..., Worker], symbol: str = "SUSPECT") -> Handle:
    """A queued job whose workers died twice."""
    handle = queue.enqueue(job("news", symbol))
    for _ in range(2):
        victim = worker()
        assert victim.await_job().kwargs["symbol"] == symbol
        victim.die()
    worker(threads=0).look()
    assert queue.depth("news").suspects == 1
    return handle


def kill_worker_before(store: Store, handle: Handle) -> None:
    """As if a worker had died with the job in hand: with its next death it is suspected."""
    deaths = store.keys.queue(handle.request.source, "deaths")
    store.client.hincrby(deaths, handle.job_id, 1)
    store.client.expire(deaths, 60)


def test_a_dead_workers_jobs_begin_at_once_and_before_all_others(
    queue: Queue, worker: Callable[..., Worker]
) -> None:
    """One after another the last would begin long after its worker fell absent, for no fault of its own."""
    for number in range(8):
        queue.enqueue(job("news", f"N{number}"))
    victim, heir = worker(threads=8), worker(threads=8)
    victim.await_job()
    queue.enqueue(job("news", "NEXT"))
    victim.die()
    assert {one for one, _ in given(heir)} == {f"N{number}" for number in range(8)}
    assert queue.depth("news").interactive == 1


def test_a_worker_is_not_emptied_for_jobs_of_one_that_died(
    queue: Queue, worker: Callable[..., Worker]
) -> None:
    """A stalled machine's jobs would each cost the others what they could do meanwhile."""
    for symbol in ("RUNNING", "LAPSED"):
        queue.enqueue(job("news", symbol))
    busy, victim = worker(threads=1), worker(threads=1)
    busy.await_job()
    victim.await_job()
    queue.enqueue(job("news", "NEXT"))
    victim.die()
    busy.broker.threads.open(3)
    assert [one for one, _ in given(busy)] == ["LAPSED", "NEXT"]


def test_a_job_that_kills_its_workers_takes_no_other_along(
    queue: Queue, worker: Callable[..., Worker]
) -> None:
    """Whoever was in the same worker's hands is not to blame, and is done; what is to blame says so."""
    handles = {symbol: queue.enqueue(job("news", symbol)) for symbol in ("A", "B", "POISON", "C", "D")}
    deaths, at_once = 0, []
    one = worker(threads=5)
    while queue.depth("news").waiting or queue.depth("news").running:
        given = one.await_job()
        if given.kwargs["symbol"] == "POISON" or deaths < 2:
            one.die()
            one, deaths = worker(threads=5), deaths + 1
            one.ask()
            continue
        at_once.append((queue.depth("news").running, one.broker.threads.busy))
        given.finish = Finish("done", Result(outcome=outcome(given.kwargs["symbol"])))
        one.consumer.ack(given)
    assert at_once == [(1, 5)] * 4, "each alone, with all threads of its worker"
    assert all(handles[symbol].result(30).sentiment.symbol == symbol for symbol in "ABCD")
    with pytest.raises(TbcacheError, match="its worker died 4 times"):
        handles["POISON"].result(30)
    (letter,) = queue.dead.search("news")
    assert (letter.job_id, letter.reason, deaths) == (handles["POISON"].job_id, "its worker died 4 times", 4)
    assert '"POISON"' in letter.message


def test_a_worker_makes_itself_free_for_a_suspect(queue: Queue, worker: Callable[..., Worker]) -> None:
    """It takes nothing more until it has nothing in hand, and then the suspect alone."""
    busy = worker(threads=3)
    queue.enqueue(job("news", "RUNNING"))
    running = busy.await_job()
    suspect(queue, worker)
    queue.enqueue(job("news", "NEXT"))
    assert [busy.ask() for _ in range(3)] == [None] * 3
    busy.consumer.ack(running)
    accused = busy.await_job()
    assert accused.kwargs["symbol"] == "SUSPECT"
    assert [busy.ask() for _ in range(3)] == [None] * 3
    busy.consumer.ack(accused)
    assert busy.await_job().kwargs["symbol"] == "NEXT"


def test_a_worker_that_runs_a_suspect_takes_nothing_of_other_queues(
    queue: Queue, store: Store, settings: Settings, worker: Callable[..., Worker]
) -> None:
    """Their jobs would die with it."""
    broker = PacingBroker(store, settings, [FAST, SLOW])
    declare(broker, "news")
    declare(broker, "twitter")
    broker.threads.open(4)
    news: Any = broker.consume("news", timeout=1)
    twitter: Any = broker.consume("twitter", timeout=1)
    suspect(queue, worker)
    queue.enqueue(job("twitter", "OTHER"))
    assert next(news) is None
    assert next(twitter) is None
    accused = wait_until(lambda: next(news))
    assert next(twitter) is None
    news.ack(accused)
    assert next(news) is None
    assert wait_until(lambda: next(twitter)).kwargs["symbol"] == "OTHER"


def test_one_worker_at_a_time_makes_itself_free(queue: Queue, worker: Callable[..., Worker]) -> None:
    """A whole fleet that waits for its jobs to end, for the sake of one, would do nothing meanwhile."""
    called, other = worker(threads=2), worker(threads=2)
    for symbol, busy in (("RUNNING", called), ("ANOTHER", other)):
        queue.enqueue(job("news", symbol))
        busy.await_job()
    suspect(queue, worker)
    queue.enqueue(job("news", "NEXT"))
    assert called.ask() is None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Limiter, "member", "another")
        assert other.await_job().kwargs["symbol"] == "NEXT"


def test_a_suspect_waits_for_no_busy_worker_while_another_is_idle(
    queue: Queue, worker: Callable[..., Worker]
) -> None:
    """The busy one was called first, but its jobs may take long; it takes others again at once."""
    busy, idle = worker(threads=2), worker(threads=2)
    queue.enqueue(job("news", "RUNNING"))
    busy.await_job()
    suspect(queue, worker)
    assert busy.ask() is None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Limiter, "member", "another")
        assert idle.ask() is None
    queue.enqueue(job("news", "NEXT"))
    assert busy.await_job().kwargs["symbol"] == "NEXT"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Limiter, "member", "another")
        assert idle.ask().kwargs["symbol"] == "SUSPECT"


def test_of_two_idle_workers_one_has_the_suspect_at_once(queue: Queue, worker: Callable[..., Worker]) -> None:
    """Each is called for it; were the first refused for the second's sake, they could go on so for ever."""
    one, other = worker(threads=2), worker(threads=2)
    suspect(queue, worker)
    assert one.ask() is None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Limiter, "member", "another")
        assert other.ask() is None
    assert one.ask().kwargs["symbol"] == "SUSPECT"


def test_a_suspect_waits_no_longer_for_a_worker_that_is_gone(
    queue: Queue, worker: Callable[..., Worker]
) -> None:
    """One that died while it made itself free is as good as none."""
    called, other = worker(threads=2), worker(threads=2)
    queue.enqueue(job("news", "RUNNING"))
    called.await_job()
    suspect(queue, worker)
    # What it runs must not come back before it is called.
    called.broker.context.claim_seconds = 0.1
    assert called.ask() is None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Limiter, "member", "another")
        assert other.await_job().kwargs["symbol"] == "SUSPECT"


def test_suspects_run_side_by_side_in_several_workers(queue: Queue, worker: Callable[..., Worker]) -> None:
    """While one worker runs its suspect, the next suspect is for another."""
    for symbol in ("FIRST", "SECOND"):
        queue.enqueue(job("news", symbol))
    for _ in range(2):
        victim = worker(threads=2)
        victim.await_job()
        victim.die()
    one, other = worker(), worker()
    first = one.await_job().kwargs["symbol"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Limiter, "member", "another")
        assert {first, other.await_job().kwargs["symbol"]} == {"FIRST", "SECOND"}


def test_a_job_whose_message_is_gone_holds_up_nobody(
    queue: Queue, store: Store, worker: Callable[..., Worker]
) -> None:
    """It is over, and only its place in the lane is left."""
    for symbol in ("GONE", "HERE"):
        handle = queue.enqueue(job("news", symbol))
        if symbol == "GONE":
            store.client.hdel(store.keys.queue("news", "jobs"), handle.job_id)
    assert worker().await_job().kwargs["symbol"] == "HERE"
    assert queue.depth("news").interactive == 0


def test_a_stopping_worker_is_not_called(queue: Queue, store: Store, worker: Callable[..., Worker]) -> None:
    """The suspect would wait for it in vain."""
    suspect(queue, worker)
    stopping = worker(threads=2)
    stopping.broker.threads.close()
    stopping.ask()
    assert "called" not in left(store)


def test_no_worker_makes_itself_free_while_the_source_is_limited(
    queue: Queue, store: Store, settings: Settings
) -> None:
    """It would stand idle for as long as the limit lasts."""
    source = replace(SLOW, limits=(Limit(1, 60.0),))
    kill_worker_before(store, queue.enqueue(job("twitter", "SUSPECT")))
    victim = Worker(store, settings, source)
    victim.await_job()
    victim.die()
    heir = Worker(store, settings, source, threads=2)
    heir.ask()
    assert queue.depth("twitter").suspects == 1
    assert not heir.broker.threads.is_called_by("twitter")


def test_a_suspect_whose_answer_is_there_needs_no_slot(
    queue: Queue, store: Store, settings: Settings
) -> None:
    """Its worker died after it had fetched the answer, and before it said so."""
    source = replace(SLOW, limits=(Limit(1, 60.0),))
    kill_worker_before(store, queue.enqueue(job("twitter", "SUSPECT")))
    victim, heir = (Worker(store, settings, source, threads=2) for _ in range(2))
    victim.await_job()
    cache(store, "SUSPECT")
    victim.die()
    assert heir.await_job().options["slot"] == ""
    assert store.client.zcard(store.keys.slots("twitter")) == 1


@pytest.mark.parametrize("what", ["back", "later"])
def test_a_suspect_stays_one_until_it_is_over(
    queue: Queue, store: Store, worker: Callable[..., Worker], what: Any
) -> None:
    """Given back or put off it has not shown that it is harmless."""
    suspect(queue, worker)
    one = worker()
    given = one.await_job()
    given.finish = Finish(what)
    one.consumer.ack(given)
    one.broker.threads.close()
    wait_until(lambda: one.ask() or queue.depth("news").suspects == 1)
    assert store.client.ttl(store.keys.queue("news", "suspects")) > 0


def test_a_suspect_that_is_put_off_stays_one_when_it_is_asked_for(
    queue: Queue, store: Store, worker: Callable[..., Worker]
) -> None:
    """Who asks for the same fetch brings it back before its time, but not among harmless jobs."""
    handle = queue.enqueue(job("news", "SUSPECT"), "prewarm")
    for _ in range(2):
        kill_worker_before(store, handle)
    one = worker()
    accused = one.await_job()
    accused.finish = Finish("later", delay_seconds=60.0)
    one.consumer.ack(accused)
    assert queue.depth("news").delayed == 1
    queue.enqueue(job("news", "SUSPECT"))
    depth = queue.depth("news")
    assert (depth.suspects, depth.interactive, depth.delayed) == (1, 0, 0)


def test_a_prewarm_that_is_suspect_takes_no_more_than_its_share(
    queue: Queue, store: Store, settings: Settings
) -> None:
    """Nobody waits for it: what interactive asks need stays free."""
    source = replace(FAST, limits=(Limit(2, 60.0),))
    kill_worker_before(store, queue.enqueue(job("news", "WARM"), "prewarm"))
    victim = Worker(store, settings, source)
    victim.await_job()
    victim.die()
    heir = Worker(store, settings, source)
    assert [heir.ask() for _ in range(3)] == [None] * 3
    queue.enqueue(job("news", "ASKED"))
    assert heir.await_job().kwargs["symbol"] == "ASKED"


def test_claims_hold_where_nobody_could_renew_them(
    queue: Queue, store: Store, worker: Callable[..., Worker]
) -> None:
    """Redis was frozen: its first asker must not take up the jobs of those who are about to renew."""
    queue.enqueue(job("news", "AAPL"))
    holder, other = worker(), worker(threads=2)
    claim = holder.await_job().claim
    was_away(store, claim, asked_ago=40.0, lapsed_ago=31.0)
    assert (other.ask(), queue.depth("news").running) == (None, 1)
    holder.ask()
    was_away(store, claim, asked_ago=0.0)
    other.ask()
    assert queue.depth("news").running == 1


def test_the_claims_of_a_dead_worker_hold_no_longer_for_that(
    queue: Queue, store: Store, worker: Callable[..., Worker]
) -> None:
    """Where a worker asks seldom, each of its asks would put off the end of every claim."""
    queue.enqueue(job("news", "AAPL"))
    holder, other = worker(), worker(threads=0)
    claim = holder.await_job().claim
    was_away(store, claim, asked_ago=9.0, lapsed_ago=1.0)
    other.look()
    was_away(store, claim, asked_ago=42.0, lapsed_ago=40.5)
    other.look()
    assert queue.depth("news").waiting == 1


def was_away(store: Store, claim: bytes, *, asked_ago: float, lapsed_ago: float | None = None) -> None:
    """As if nobody had asked for so many seconds, and the claim had lapsed so long ago."""
    seconds, micros = store.client.time()
    now = seconds + micros / 1e6
    store.client.set(store.keys.queue("news", "asked"), round((now - asked_ago) * 1e6), ex=60)
    if lapsed_ago is not None:
        store.client.zadd(store.keys.queue("news", "claims"), {claim: round((now - lapsed_ago) * 1e6)})


@pytest.mark.one_server
def test_nothing_is_done_again_after_redis_was_frozen(
    private_server: Server, settings_for: Callable[..., Settings], store_for: Callable[..., Store]
) -> None:
    """What its worker has done meanwhile it says first; what it still does is still its own."""
    settings = settings_for(private_server)
    fleets = [Fleet(store_for(private_server), settings, FAST, claim_seconds=3.2) for _ in range(2)]
    may_end = {"SOON": threading.Event(), "LATE": threading.Event()}
    ran: list[str] = []

    def act(source: str, symbol: str, slot: str | None) -> Any:
        ran.append(symbol)
        may_end[symbol].wait(30)
        return outcome(symbol)

    queue = Queue(fleets[0].broker.store, settings)
    handles = [queue.enqueue(job("news", symbol)) for symbol in may_end]
    for fleet in fleets:
        fleet.act = act
        fleet.start(threads=4)
    try:
        wait_until(lambda: len(ran) == 2)
        with private_server.frozen():
            may_end["SOON"].set()
            elapse(3.8)
        wait_until(lambda: fleets[0].broker.store.is_available)
        assert handles[0].result(30).sentiment.symbol == "SOON"
        elapse(0.6)
        may_end["LATE"].set()
        assert handles[1].result(30).sentiment.symbol == "LATE"
        assert sorted(ran) == ["LATE", "SOON"]
    finally:
        may_end["LATE"].set()
        for fleet in fleets:
            fleet.stop()


@pytest.mark.one_server
@pytest.mark.parametrize("seconds", [0.1, context.CLAIM_SECONDS * (asking.PRESENT_TIMES - 1)])
def test_a_worker_that_only_stands_still_keeps_its_jobs(
    queue: Queue, server: Server, settings: Settings, store_for: Callable[..., Store], seconds: float
) -> None:
    """Code that holds the interpreter has its job begun again elsewhere, and be among the dead after four
    times, though no worker died. What a process is there for is not up to its threads: the system closes its
    connection when it ends."""
    slow, other = (Worker(store_for(server), settings, FAST) for _ in range(2))
    queue.enqueue(job("news", "AAPL"))
    slow.await_job()
    other.ask()
    lapse(slow.broker.store, seconds)
    assert other.ask() is None
    assert queue.depth("news").running == 1
    slow.consumer._presence.leave()
    assert other.await_job().kwargs["symbol"] == "AAPL"


@pytest.mark.one_server
def test_a_worker_that_stands_still_with_many_jobs_keeps_nobodys_but_its_own(
    queue: Queue, server: Server, settings: Settings, store_for: Callable[..., Store]
) -> None:
    """Its claims have lapsed before those of a worker that died, and are more than are looked at in one."""
    slow, dead, other = (Worker(store_for(server), settings, FAST, threads) for threads in (100, 1, 1))
    for number in range(101):
        queue.enqueue(job("news", f"N{number}"))
    slow.look()
    lapse(slow.broker.store, 2.0)
    dead.await_job()
    dead.consumer._presence.leave()
    (claim,) = dead.consumer._hand.claims
    was_away(dead.broker.store, claim, asked_ago=0.0, lapsed_ago=1.0)
    other.look()
    assert len(other.consumer._buffer) == 1


@pytest.mark.parametrize("times", [1.5, asking.PRESENT_TIMES + 1])
def test_a_worker_that_stands_still_for_long_loses_its_jobs(
    queue: Queue,
    server: Server,
    settings: Settings,
    settings_for: Callable[..., Settings],
    store_for: Callable[..., Store],
    times: float,
) -> None:
    """Its machine may be gone, with nobody there to close its connection; a cluster knows of none at all."""
    slow, other = (Worker(store_for(server), settings_for(server), FAST) for _ in range(2))
    queue.enqueue(job("news", "AAPL"))
    slow.await_job()
    other.ask()
    lapse(slow.broker.store, times * context.CLAIM_SECONDS)
    is_held = times < asking.PRESENT_TIMES and not settings.redis_cluster
    assert (other.ask() is None) == is_held


@pytest.mark.one_server
def test_a_worker_that_is_stopped_waits_for_redis_to_say_what_it_has_done(
    private_server: Server, store_for: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it does not say is done again by the next."""
    store = store_for(private_server)
    queue, worker = Queue(store, store.settings), Worker(store, store.settings, FAST)
    queue.enqueue(job("news", "AAPL"))
    done = worker.await_job()
    worker.broker.emit_before("worker_shutdown", None)
    private_server.freeze()
    worker.consumer.ack(done)
    tries, say = threading.Event(), worker.consumer._ends.say

    def try_to_say() -> None:
        try:
            say()
        finally:
            tries.set()

    monkeypatch.setattr(worker.consumer._ends, "say", try_to_say)
    monkeypatch.setattr(context, "STOP_SECONDS", 60.0)
    closing = threading.Thread(target=worker.consumer.close)
    closing.start()
    assert tries.wait(30)
    private_server.thaw()
    closing.join(60)
    wait_until(lambda: store.breaker.reason is None)
    assert (queue.depth("news").running, queue.depth("news").waiting) == (0, 0)


@pytest.mark.one_server
def test_a_worker_that_ends_lets_another_thread_say_what_it_is_saying(
    queue: Queue, worker: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    """That waits for its answer, and is not to be asked without a pause whether it has it."""
    ending = worker()
    queue.enqueue(job("news", "AAPL"))
    done = ending.await_job()
    hand, say, tries = ending.consumer._hand, ending.consumer._ends.say, iter(range(3))
    assert hand.saying.acquire()
    ending.consumer.ack(done)

    async def pause(seconds: float) -> None:
        hand.saying.release()

    monkeypatch.setattr(BLOCKING, "sleep", pause)
    monkeypatch.setattr(ending.consumer._ends, "say", lambda: (next(tries), say()))
    ending.consumer.close()
    assert (queue.depth("news").running, queue.depth("news").waiting) == (0, 0)


@pytest.mark.one_server
def test_a_worker_that_ends_says_what_another_thread_could_not(
    queue: Queue, worker: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call of that thread is under way as the worker ends, and fails: the job was done once more."""
    ending = worker()
    queue.enqueue(job("news", "AAPL"))
    done = ending.await_job()
    ends, say = ending.consumer._ends, ending.consumer._ends._say
    is_saying, is_lost = threading.Event(), threading.Event()

    def lose(some: Any) -> None:
        monkeypatch.setattr(ends, "_say", say)
        is_saying.set()
        assert is_lost.wait(30)
        raise Unavailable("there", "it is away")

    async def pause(seconds: float) -> None:
        is_lost.set()
        other.join(30)

    monkeypatch.setattr(ends, "_say", lose)
    monkeypatch.setattr(BLOCKING, "sleep", pause)
    other = threading.Thread(target=ending.consumer.ack, args=(done,))
    other.start()
    assert is_saying.wait(30)
    try:
        ending.consumer.close()
    finally:
        is_lost.set()
        other.join(30)
    assert (queue.depth("news").running, queue.depth("news").waiting) == (0, 0)


def test_a_worker_whose_job_outlasts_a_call_for_a_suspect_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a job of an hour it would begin nothing for an hour, and the suspect would not run either."""
    threads, at = Threads(), [100.0]
    monkeypatch.setattr("tbcache.queue.thread.now", lambda: at[0])
    threads.join(is_paced=True)
    threads.open(4)
    assert threads.take("news", 0)
    threads.set_free_for("news", True)
    at[0] += 14
    threads.let_go("news")
    assert not threads.take("twitter", 0)
    at[0] += 2
    threads.let_go("news")
    assert (threads.may_be_called, threads.take("twitter", 0)) == (False, True)
    at[0] += 60
    assert threads.may_be_called


def test_a_worker_that_was_called_for_minutes_waits_until_it_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside jobs that are long, and come all the time, the one job would wait for ever."""
    threads, at = Threads(), [100.0]
    monkeypatch.setattr("tbcache.queue.thread.now", lambda: at[0])
    threads.open(2)

    def is_called_in_vain() -> bool:
        """Whether it lets go after its time."""
        threads.set_free_for("news", True)
        at[0] += 16
        threads.let_go("news")
        is_over = not threads.is_called_by("news")
        at[0] += 60
        return is_over

    assert threads.take("news", 0)
    assert [is_called_in_vain() for _ in range(4)] == [True, True, True, False]
    threads.release("news")
    with threads.reserve("news") as reserved:
        assert reserved.is_all
    threads.set_free_for("news", False)
    # What comes later is another job, and so is what comes after it was free.
    assert threads.take("news", 0)
    assert is_called_in_vain()
    at[0] += 600
    assert [is_called_in_vain() for _ in range(4)] == [True, True, True, False]


def test_a_worker_that_was_idle_between_two_calls_lets_go_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another has had the job of the first; the second would have it begin nothing for hours at once."""
    threads, at = Threads(), [100.0]
    monkeypatch.setattr("tbcache.queue.thread.now", lambda: at[0])
    threads.open(2)

    def lets_go() -> bool:
        assert threads.take("news", 0)
        threads.set_free_for("news", True)
        at[0] += 16
        threads.let_go("news")
        return not threads.is_called_by("news")

    assert lets_go()
    threads.release("news")
    with threads.reserve("news") as reserved:
        assert (reserved.is_idle, reserved.is_all) == (True, False)
    threads.set_free_for("news", False)
    at[0] += 200
    assert lets_go()


def test_a_worker_that_another_queue_finds_idle_still_waits_for_the_one_that_calls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """That is free for a moment between long jobs, in which the queue of the suspect did not ask."""
    threads, at = Threads(), [100.0]
    monkeypatch.setattr("tbcache.queue.thread.now", lambda: at[0])
    threads.open(2)

    def lets_go() -> bool:
        with threads.reserve("twitter") as reserved:
            assert reserved.is_idle
        assert threads.take("twitter", 0)
        threads.set_free_for("news", True)
        at[0] += 16
        threads.let_go("news")
        is_over = not threads.is_called_by("news")
        at[0] += 60
        threads.release("twitter")
        return is_over

    assert [lets_go() for _ in range(4)] == [True, True, True, False]


def test_a_stalled_worker_does_not_renew_the_claim_of_another(
    queue: Queue, store: Store, settings: Settings
) -> None:
    """The job of a worker that died would wait for ever, were it kept by one that had it before."""
    queue.enqueue(job("news", "AAPL"))
    stalled = Worker(store, settings, FAST)
    stalled.await_job()
    lapse(store)
    heir = Worker(store, settings, FAST)
    claim = heir.await_job().claim
    claims = store.keys.queue("news", "claims")
    until = store.client.zscore(claims, claim)
    stalled.broker.context.claim_seconds = 60.0
    stalled.ask()
    assert store.client.zrange(claims, 0, -1, withscores=True) == [(claim, until)]
    heir.ask()
    assert store.client.zscore(claims, claim) > until


def dequeue(
    store: Store, settings: Settings, source: Source, most: int, **options: float
) -> tuple[float, list[str]]:
    """What a worker with ``most`` idle threads is given: when more may come, and the jobs."""
    broker = PacingBroker(store, settings, [source], **options)
    declare(broker, source.name)
    broker.threads.open(most)
    consuming: Any = broker.consume(source.name, timeout=1)
    with broker.threads.reserve(source.name) as reserved:
        consuming._dequeue(reserved, reserved.count)
    retry_in = max(0.0, consuming._alarm._ask_at - time.monotonic())
    return retry_in, [job.claim.decode().partition("/")[0] for _, _, job in consuming._buffer]


def test_a_worker_is_given_no_more_jobs_than_it_has_threads(
    queue: Queue, store: Store, settings: Settings
) -> None:
    """The others are for whoever is idle."""
    ids = [queue.enqueue(job("news", f"N{number}")).job_id for number in range(3)]
    assert dequeue(store, settings, FAST, 2)[1] == ids[:2]
    assert store.client.ttl(store.keys.queue("news", "claims")) > 0
    assert dequeue(store, settings, FAST, 2)[1] == ids[2:]


def test_jobs_that_come_together_hold_their_slots(queue: Queue, store: Store, settings: Settings) -> None:
    """Each as many as it costs, in Redis and by the worker's own count; what has its answer holds none."""
    source = replace(SLOW, limits=(Limit(8, 60.0),), cost=2)
    for symbol in ("A", "KNOWN", "B", "C", "D", "E"):
        queue.enqueue(job("twitter", symbol))
    cache(store, "KNOWN")
    found = given(Worker(store, settings, source, threads=6))
    assert sorted(symbol for symbol, _ in found) == ["A", "B", "C", "D", "KNOWN"]
    slots = {slot for _, slot in found if slot is not None}
    assert set(store.client.zrange(store.keys.slots("twitter"), 0, -1)) == {
        f"{slot}{unit}".encode() for slot in slots for unit in ("", "#2")
    }
    assert limiter_of(store).process_window("twitter").used(source.limits[0]) == 8


@pytest.mark.one_server
def test_jobs_that_come_together_are_looked_at_together(
    queue: Queue, store: Store, settings: Settings
) -> None:
    """Hundreds of threads wait for this one script; the limits are the same for each of its jobs."""

    numbers = itertools.count()

    def commands(jobs: int) -> int:
        for _ in range(jobs):
            queue.enqueue(job("news", f"N{next(numbers)}"))
        store.client.config_resetstat()
        assert len(dequeue(store, settings, FAST, jobs)[1]) == jobs
        return sum(one["calls"] for one in store.client.info("commandstats").values())

    commands(1)
    for_one, for_nine = commands(1), commands(9)
    assert (for_nine - for_one) / 8 <= 8, (for_one, for_nine)


def test_long_messages_come_in_several_replies(store: Store, settings: Settings) -> None:
    """In one they take longer than Redis is waited for, and the whole process would count it as away."""
    broker = PacingBroker(store, settings, [])
    sized = dramatiq.actor(actor_name="sized", broker=broker)(lambda number, text: None)
    for number in range(5):
        sized.send(number, "x" * 150_000)
    broker.threads.open(1)
    consumer: Any = broker.consume("default", prefetch=16, timeout=1)
    counts = []
    for _ in range(3):
        consumer._take()
        counts.append(len(consumer._buffer))
        assert consumer._alarm.is_due == (counts[-1] < 5)
    assert counts == [2, 4, 5]


def test_a_worker_learns_when_its_limited_source_has_more(
    queue: Queue, store: Store, settings: Settings
) -> None:
    """It comes back then, and not each second."""
    for number in range(4):
        queue.enqueue(job("twitter", f"T{number}"))
    retry_in, jobs = dequeue(store, settings, SLOW, 8)
    assert len(jobs) == 3
    assert 50 < retry_in <= 75


def test_a_worker_learns_when_a_delayed_job_is_due(queue: Queue, store: Store, settings: Settings) -> None:
    """No bell rings for it then."""
    queue.enqueue(job("news", "LATER"), delay_seconds=30.0)
    assert dequeue(store, settings, FAST, 1)[0] == pytest.approx(30.0, abs=1.0)


def test_a_job_taken_back_is_in_the_queue_once(queue: Queue, store: Store, settings: Settings) -> None:
    """Each look at the queue must not put it there again."""
    queue.enqueue(job("news", "AAPL"))
    dequeue(store, settings, FAST, 1)
    lapse(store)
    for _ in range(2):
        dequeue(store, settings, FAST, 0)
        assert queue.depth("news").waiting == 1


def test_a_job_that_falls_due_while_its_source_is_limited_does_not_stay_for_ever(
    queue: Queue, store: Store, settings: Settings
) -> None:
    """Moved from one list to another, it keeps a time to live."""
    limiter = RateLimiter(SLOW, store)
    assert all(limiter.check_rate_limit()[0] for _ in range(3))
    queue.enqueue(job("twitter", "LATER"), delay_seconds=0.01)
    wait_until(lambda: dequeue(store, settings, SLOW, 1) and queue.depth("twitter").waiting)
    assert store.client.ttl(store.keys.queue("twitter", "interactive")) > 0


def test_a_dequeue_past_its_deadline_gives_nothing(
    queue: Queue, store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that thaws must not hand jobs and slots to a worker that has given up asking."""
    queue.enqueue(job("news", "AAPL"))
    monkeypatch.setattr(store.clock, "bounds_at", long_past)
    retry_in, ids = dequeue(store, settings, FAST, 1)
    assert (retry_in < 1.0, ids) == (True, [])
    assert queue.depth("news").waiting == 1
    assert store.client.zcard(store.keys.slots("news")) == 0


def test_stopping_drains_and_gives_back(fleet: Fleet, queue: Queue) -> None:
    """Jobs in hand are finished, others are there for the next worker."""
    started, release = threading.Event(), threading.Event()

    def hold(source: str, symbol: str, slot: str | None) -> None:
        started.set()
        release.wait(30)

    fleet.act = hold
    for number in range(3):
        queue.enqueue(job("news", f"N{number}"))
    worker = fleet.start(threads=1)
    assert started.wait(30)
    stopper = threading.Thread(target=worker.stop, args=(30_000,))
    stopper.start()
    release.set()
    stopper.join()
    fleet._workers.clear()
    depth = queue.depth("news")
    assert (len(fleet.ran), depth.running) == (3 - depth.waiting, 0)


def test_a_drain_leaves_no_slot_unused(fleet: Fleet, queue: Queue, store: Store) -> None:
    """Slots that nobody sent for would be missing for a whole window after each deployment."""
    release = threading.Event()
    fleet.act = lambda source, symbol, slot: release.wait(30) and None
    worker = fleet.start(threads=4)
    for number in range(20):
        queue.enqueue(job("news", f"N{number}"))
    wait_until(lambda: len(fleet.ran) == 4)
    stopper = threading.Thread(target=worker.stop, args=(30_000,))
    stopper.start()
    wait_until(lambda: not worker.workers[0].running)
    release.set()
    stopper.join()
    fleet._workers.clear()
    assert store.client.zcard(store.keys.slots("news")) == len(fleet.ran) == 4
    assert (queue.depth("news").waiting, queue.depth("news").running) == (16, 0)


def test_a_job_that_is_given_back_gives_back_its_slot(queue: Queue, store: Store, settings: Settings) -> None:
    """It was not begun; the next worker takes it with a slot of its own."""
    source = replace(FAST, cost=2)
    queue.enqueue(job("news", "AAPL"))
    worker = Worker(store, settings, source)
    given = worker.await_job()
    slots = store.keys.slots("news")
    assert (store.client.zcard(slots), limiter_of(store).process_window("news").used(source.limits[0])) == (
        2,
        2,
    )
    worker.consumer.requeue([given])
    assert (store.client.zcard(slots), limiter_of(store).process_window("news").used(source.limits[0])) == (
        0,
        0,
    )
    assert queue.depth("news").waiting == 1


def test_a_request_that_nobody_can_answer_gives_back_its_slot(
    queue: Queue, store: Store, settings: Settings
) -> None:
    """Nothing was sent for it: the slot was held until its lease was over, and the next job waited."""
    queue.enqueue(job("news", "AAPL"))
    worker = Worker(store, settings, FAST)
    found = worker.await_job()
    JobMiddleware().after_process_message(worker.broker, found, exception=InvalidRequest("hours 900"))
    worker.consumer.ack(found)
    assert store.client.zcard(store.keys.slots("news")) == 0
    assert queue.depth("news").dead == 1


def test_a_worker_that_is_stopping_asks_for_nothing_more(
    queue: Queue, store: Store, settings: Settings
) -> None:
    """It would take jobs and slots only to give them back."""
    worker = Worker(store, settings, FAST, threads=2)
    queue.enqueue(job("news", "AAPL"))
    worker.broker.emit_before("worker_shutdown", None)
    assert worker.ask() is None
    assert (queue.depth("news").waiting, store.client.zcard(store.keys.slots("news"))) == (1, 0)


def test_whoever_waits_for_a_thread_hears_of_one_that_came_free_before() -> None:
    """Between the reservation that failed and the wait nothing may be lost."""
    threads = Threads()
    threads.open(1)
    with threads.reserve("news") as all_there_are, threads.reserve("news") as none:
        assert (all_there_are.count, none.count) == (1, 0)
    begun = time.monotonic()
    threads.wait("news", 60)
    assert time.monotonic() - begun < 30


class Takers:
    """Who has got a thread, in this order."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def take(self, threads: Threads, name: str) -> None:
        if threads.take(name, 30):
            self.names.append(name)


def test_a_thread_that_comes_free_goes_to_the_waiting_queue_that_has_the_fewest() -> None:
    """So the source that has many jobs holds up the others for no longer than a job of its own runs."""
    threads, got = Threads(), Takers()
    threads.join(is_paced=True)
    threads.open(3)
    assert [threads.take(name, 0) for name in ("many", "many", "few")] == [True] * 3
    waiting = [threading.Thread(target=got.take, args=(threads, name)) for name in ("few", "none")]
    for number, thread in enumerate(waiting, 1):
        thread.start()
        wait_until(lambda count=number: threads._waiting.total() == count)
    threads.release("many")
    wait_until(lambda: got.names)
    assert (got.names, threads.take("many", 0)) == (["none"], False)
    threads.release("many")
    for thread in waiting:
        thread.join(30)
    assert got.names == ["none", "few"]


def test_of_queues_with_equally_many_threads_the_one_whose_turn_was_longest_ago_is_next() -> None:
    """With one thread, a queue that never runs dry would have it for good."""
    threads, turns = Threads(), []
    threads.join(is_paced=True)
    threads.open(1)
    threads.take("a", 0)

    def work(name: str) -> None:
        for _ in range(10):
            assert threads.take(name, 30)
            turns.append(name)
            wait_until(lambda: threads._waiting.total() or len(turns) > 18)
            threads.release(name)

    working = [threading.Thread(target=work, args=(name,)) for name in ("b", "a")]
    for thread in working:
        thread.start()
    wait_until(lambda: threads._waiting.total() == 2)
    threads.release("a")
    for thread in working:
        thread.join(60)
    assert turns[:18] == ["b", "a"] * 9


def test_no_error_takes_a_thread_with_it(
    queue: Queue, store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker whose threads are reserved for nothing stands idle until somebody notices."""
    worker = Worker(store, settings, FAST, threads=2)
    worker.ask()
    queue.enqueue(job("news", "AAPL"))
    monkeypatch.setattr(store, "ask", broken)
    with pytest.raises(ZeroDivisionError):
        worker.ask()
    assert worker.broker.threads.busy == 0
    monkeypatch.undo()
    monkeypatch.setattr(store.clock, "compare", broken)
    with pytest.raises(ZeroDivisionError):
        worker.ask()
    assert worker.broker.threads.busy == 1
    worker.consumer.close()
    assert (worker.broker.threads.busy, queue.depth("news").waiting) == (0, 1)


def cache(
    store: Store, symbol: str, seconds: float = 60.0, birth: int = UNCLEARED, source: str = "twitter"
) -> None:
    """An answer that is fresh for so long, as its head tells."""
    now, micros = store.client.time()
    fresh_until = round((now + seconds) * 1e6) + micros
    store.client.set(
        store.keys.entry(job(source, symbol).key), f'{{"f":{fresh_until},"b":{birth},"v":{{}}}}', ex=60
    )


@pytest.fixture
def limited(store: Store, settings: Settings) -> Worker:
    """A worker of a source that has no slot left for a minute."""
    limiter = RateLimiter(SLOW, store)
    assert all(limiter.check_rate_limit()[0] for _ in range(3))
    return Worker(store, settings, SLOW, threads=4)


def given(worker: Worker) -> list[tuple[str, str | None]]:
    """What a worker gets in one go: symbols, and the slots they came with."""
    found = [worker.ask(), *(worker.ask() for _ in list(worker.consumer._buffer))]
    return [(one.kwargs["symbol"], one.options["slot"] or None) for one in found if one is not None]


def test_a_cached_answer_does_not_wait_for_a_slot(queue: Queue, store: Store, limited: Worker) -> None:
    """It sends nothing: the cache is looked at before the limit, wherever in the lane the job stands."""
    for symbol in ("A", "B", "C", "D"):
        queue.enqueue(job("twitter", symbol))
    cache(store, "C")
    assert given(limited) == [("C", None)]
    cache(store, "A")
    assert given(limited) == [("A", None)]
    assert given(limited) == []
    assert queue.depth("twitter").interactive == 2
    assert store.client.zcard(store.keys.slots("twitter")) == 3


def test_an_answered_job_that_took_no_slot_is_on_nobodys_account(
    queue: Queue, store: Store, limited: Worker
) -> None:
    """Its caller's next job would come as much later as if it had used a slot."""
    for number in range(4):
        queue.enqueue(job("twitter", f"A{number}"), caller="bot")
        queue.enqueue(job("twitter", f"B{number}"), caller="other")
        cache(store, f"A{number}")
    assert len(given(limited)) == 4
    assert queue.enqueue(job("twitter", "NEW"), caller="bot").explain().place == 2


def test_an_answered_job_in_front_of_its_lane_is_paid_back_once(
    queue: Queue, store: Store, limited: Worker
) -> None:
    """It was when it was put there; its caller's next jobs came before those of others by as much."""
    lane, tags = (store.keys.queue("twitter", part) for part in ("interactive", "interactive-tags"))
    first, known = (queue.enqueue(job("twitter", symbol), caller="bot") for symbol in ("FIRST", "KNOWN"))
    store.client.zadd(lane, {first.job_id: -2, known.job_id: -1})
    # A load tells of it once more.
    store.client.zadd(store.keys.queue("twitter", "answered"), {known.job_id: 0})
    before = store.client.zscore(tags, "bot")
    cache(store, "KNOWN")
    assert given(limited) == [("KNOWN", None)]
    assert store.client.zscore(tags, "bot") == before


def test_an_answered_job_takes_no_slot_that_is_free(queue: Queue, store: Store, settings: Settings) -> None:
    """The next job has more use for it."""
    for symbol in ("A", "B"):
        queue.enqueue(job("twitter", symbol))
    cache(store, "A")
    worker = Worker(store, settings, SLOW, threads=4)
    (first, slot), (second, other) = given(worker)
    assert (first, slot, second) == ("A", None, "B")
    assert store.client.zrange(store.keys.slots("twitter"), 0, -1) == [(other or "").encode()]
    assert limiter_of(store).process_window("twitter").used(SLOW.limits[0]) == 1


def test_a_job_whose_answer_is_found_in_the_cache_goes_before_all_others(
    queue: Queue, store: Store, limited: Worker
) -> None:
    """Behind some hundred that wait for slots nobody would find it, and some may wait for it."""
    for number in range(120):
        queue.enqueue(job("twitter", f"T{number}"))
    queue.enqueue(job("twitter", "KNOWN"))
    cache(store, "KNOWN")
    assert given(limited) == []
    assert not queue.enqueue(job("twitter", "KNOWN")).is_new
    assert given(limited) == [("KNOWN", None)]
    assert queue.depth("twitter").interactive == 120


def queue_behind_others(queue: Queue, symbol: str, **options: Any) -> Handle:
    """A job that a worker which looks at the first of the lane does not see."""
    for number in range(120):
        queue.enqueue(job("twitter", f"T{number}"))
    return queue.enqueue(job("twitter", symbol), **options)


def is_there(store: Store, part: str) -> bool:
    return bool(store.client.exists(store.keys.queue("twitter", part)))


def load_directly(pipeline: Pipeline, store: Store, *symbols: str) -> None:
    """By another than the queue's workers; then the source has no slot left."""
    limiter = RateLimiter(SLOW, store)
    for symbol in symbols:
        assert pipeline.run(Upstream(SLOW), job("twitter", symbol)).origin == "live"
    while limiter.check_rate_limit()[0]:
        pass


def test_a_job_whose_answer_another_has_loaded_goes_before_all_others(
    queue: Queue, store: Store, settings: Settings, pipeline: Pipeline
) -> None:
    """It waited for days for a slot that it did not need, and its caller for what was there."""
    queue_behind_others(queue, "KNOWN", caller="bot")
    tags = store.keys.queue("twitter", "interactive-tags")
    charged = store.client.zscore(tags, "bot")
    store.client.delete(store.keys.queue("twitter", "bell"))
    load_directly(pipeline, store, "KNOWN", "NOBODYS")
    assert is_there(store, "bell")
    assert given(Worker(store, settings, SLOW, threads=4)) == [("KNOWN", None)]
    # It is on nobody's account.
    assert store.client.zscore(tags, "bot") == charged - 1_000_000
    assert not is_there(store, "answered")


def test_a_worker_comes_again_where_more_are_answered_than_it_looks_at_in_one_go(
    queue: Queue, store: Store, settings: Settings
) -> None:
    """Redis is not to be kept for long, and none of them is to wait."""
    queue_behind_others(queue, "KNOWN")
    worker = Worker(store, settings, SLOW, threads=4)
    while RateLimiter(SLOW, store).check_rate_limit()[0]:
        pass
    answered = store.keys.queue("twitter", "answered")
    store.client.zadd(answered, {f"over-{number}": 0 for number in range(60)})
    store.client.expire(answered, 60)
    assert given(worker) == []
    assert worker.consumer._alarm.wait(0)
    while is_there(store, "answered"):
        given(worker)


@pytest.mark.parametrize("way", ["needed for longer", "cleared", "gone", "charged", "over"])
def test_a_job_that_what_was_stored_does_not_serve_keeps_its_place(
    queue: Queue, store: Store, settings: Settings, pipeline: Pipeline, way: str
) -> None:
    """It needs a slot like any other."""
    known = queue_behind_others(queue, "KNOWN", needed=3600.0 if way == "needed for longer" else 0.0)
    load_directly(pipeline, store, "KNOWN")
    if way == "cleared":
        log = f"{UNCLEARED + 6}\n{UNCLEARED + 6} twitter:*"
        store.client.set(store.keys.clears("twitter"), log, ex=60)
    elif way == "gone":
        store.client.delete(store.keys.entry("twitter:KNOWN:24"))
    elif way == "over":
        store.client.hdel(store.keys.queue("twitter", "jobs"), known.job_id)
    source = replace(SLOW, charge="request") if way == "charged" else SLOW
    before = store.client.zrange(store.keys.queue("twitter", "interactive"), 0, -1)
    assert given(Worker(store, settings, source, threads=4)) == []
    assert store.client.zrange(store.keys.queue("twitter", "interactive"), 0, -1) == before


def test_a_job_in_a_workers_hands_is_not_told_of_what_it_has_stored(
    queue: Queue, store: Store, settings: Settings, pipeline: Pipeline
) -> None:
    """Each job's own load ends so: a worker would be rung up for nothing."""
    queue.enqueue(job("twitter", "AAPL"))
    worker = Worker(store, settings, SLOW, threads=4)
    assert len(given(worker)) == 1
    store.client.delete(store.keys.queue("twitter", "bell"))
    load_directly(pipeline, store, "AAPL")
    assert not is_there(store, "answered")
    assert not is_there(store, "bell")


@pytest.mark.one_server
@pytest.mark.parametrize("part", ["pending", "answered", "bell"])
def test_a_damaged_queue_keeps_no_answer_from_being_stored(
    queue: Queue, store: Store, pipeline: Pipeline, part: str
) -> None:
    """The next ask would pay for it again."""
    queue.enqueue(job("twitter", "AAPL"))
    store.client.set(store.keys.queue("twitter", part), "junk", ex=60)
    load_directly(pipeline, store, "AAPL")
    assert store.client.exists(store.keys.entry("twitter:AAPL:24"))


def test_a_job_that_was_put_off_goes_first_where_its_answer_has_come(
    queue: Queue, store: Store, limited: Worker
) -> None:
    """Once it is due it stood behind all the others again."""
    for number in range(120):
        queue.enqueue(job("twitter", f"T{number}"))
    known = queue.enqueue(job("twitter", "KNOWN"), delay_seconds=60.0)
    cache(store, "KNOWN")
    store.client.zadd(store.keys.queue("twitter", "delayed"), {known.job_id: 1})
    assert given(limited) == [("KNOWN", None)]


def test_a_job_for_an_answer_that_is_too_big_to_be_replied_goes_before_all_others(
    queue: Queue, store: Store, limited: Worker
) -> None:
    """A worker looks at it, without a slot."""
    for number in range(120):
        queue.enqueue(job("twitter", f"T{number}"))
    cache(store, "KNOWN")
    entry = store.keys.entry("twitter:KNOWN:24")
    store.client.append(entry, "x" * 20_000)
    assert queue.enqueue(job("twitter", "KNOWN")).state == "queued"
    assert given(limited) == [("KNOWN", None)]
    assert queue.depth("twitter").interactive == 120


def test_an_answer_that_is_old_or_damaged_needs_a_slot(queue: Queue, store: Store, limited: Worker) -> None:
    """The job would go upstream."""
    for symbol in ("OLD", "ODD", "TYPE"):
        queue.enqueue(job("twitter", symbol))
    cache(store, "OLD", seconds=-1.0)
    store.client.set(store.keys.entry("twitter:ODD:24"), "banana", ex=60)
    store.client.rpush(store.keys.entry("twitter:TYPE:24"), "x")
    store.client.expire(store.keys.entry("twitter:TYPE:24"), 60)
    assert given(limited) == []


def test_an_answer_that_was_cleared_needs_a_slot(queue: Queue, store: Store, limited: Worker) -> None:
    """It is gone for everyone from then on, though it still stands there; one that came since is not."""
    log = store.keys.clears("twitter")
    queue.enqueue(job("twitter", "AAPL"))
    cache(store, "AAPL", birth=UNCLEARED + 5)
    store.client.set(log, f"{UNCLEARED + 6}\n{UNCLEARED + 6} twitter:*", ex=60)
    assert given(limited) == []
    store.client.set(log, "damaged log, no digits\n", ex=60)
    assert given(limited) == []
    store.client.set(log, f"{UNCLEARED + 5}\n{UNCLEARED + 5} twitter:*", ex=60)
    assert given(limited) == [("AAPL", None)]


def test_a_clear_that_is_swept_hides_nothing_more(queue: Queue, store: Store, limited: Worker) -> None:
    """What is there after the sweep is what was not cleared."""
    queue.enqueue(job("twitter", "AAPL"))
    cache(store, "AAPL")
    store.client.set(store.keys.clears("twitter"), f"{UNCLEARED + 6}", ex=60)
    assert given(limited) == [("AAPL", None)]


def test_a_refresh_is_answered_by_what_is_fresh_for_long_enough(
    queue: Queue, store: Store, limited: Worker
) -> None:
    """A pre-warm comes before the answer expires, and must not find that answer good enough."""
    queue.enqueue(job("twitter", "AAPL"), "prewarm", needed=30.0)
    cache(store, "AAPL", seconds=20.0)
    assert given(limited) == []
    cache(store, "AAPL", seconds=40.0)
    assert given(limited) == [("AAPL", None)]


def test_where_each_ask_is_charged_an_answer_needs_a_slot(
    queue: Queue, store: Store, settings: Settings, limited: Worker
) -> None:
    """The limit is on asks there, not on what is sent."""
    charged = Worker(store, settings, replace(SLOW, charge="request"), threads=2)
    queue.enqueue(job("twitter", "AAPL"))
    cache(store, "AAPL")
    assert given(charged) == []
    assert given(limited) == [("AAPL", None)]


def test_a_job_of_another_tag_is_never_answered(store: Store, limited: Worker) -> None:
    """Its entry lies in another hash slot, where no script of this queue may look."""
    cache(store, "AAPL")
    message = message_of(queue_name="twitter").encode()
    asks = [JobAsk(key, message, key) for key in ("twitterX:AAPL:24", "news-tw:AAPL:24")]
    assert {one.state for one in run(put_all(store, "twitter", asks, Wants(Account("", 0))))} == {"queued"}
    assert given(limited) == []


@pytest.mark.one_server
def test_an_answer_that_vanishes_puts_its_job_off_and_spends_no_try(
    queue: Queue, store: Store, fleet: Fleet, pipeline: Any
) -> None:
    """Between its hand-out and its run it may expire: the job waits for a slot like any other then."""
    limiter = RateLimiter(SLOW, store)
    assert all(limiter.check_rate_limit()[0] for _ in range(3))
    upstream = Upstream(SLOW)

    def fetch(name: str, symbol: str, slot: str | None) -> Any:
        store.client.delete(store.keys.entry("twitter:AAPL:24"))
        return pipeline.run(upstream, FetchRequest("twitter", symbol), patience=0.0, slot=slot)

    fleet.act = fetch
    fleet.broker.add_middleware(RateLimitMiddleware({"twitter": limiter}))
    queue.enqueue(job("twitter", "AAPL"))
    cache(store, "AAPL")
    fleet.start(threads=2)
    wait_until(lambda: queue.depth("twitter").delayed)
    assert (upstream.sent, fleet.ran) == ([], [("twitter", "AAPL")])
    assert store.client.hvals(store.keys.queue("twitter", "tries")) == []


@pytest.mark.one_server
def test_a_cached_answer_through_the_queue_takes_no_slot(
    queue: Queue, store: Store, fleet: Fleet, pipeline: Any
) -> None:
    """Nor does the middleware take one for it."""
    upstream = Upstream(SLOW)
    fleet.act = lambda name, symbol, slot: pipeline.run(
        upstream, FetchRequest("twitter", symbol), patience=0.0, slot=slot
    )
    fleet.broker.add_middleware(RateLimitMiddleware({"twitter": RateLimiter(SLOW, store)}))
    fleet.start(threads=2)
    assert queue.enqueue(job("twitter", "AAPL")).result(30).origin == "live"
    assert [queue.enqueue(job("twitter", "AAPL")).result(30).origin for _ in range(4)] == ["cache"] * 4
    assert store.client.zcard(store.keys.slots("twitter")) == 1


def message_of(**fields: Any) -> str:
    """The message of a job, with some fields replaced, or removed where they are None."""
    whole = {**json.loads(queue_message(job("news", "AAPL"), "interactive").encode()), **fields}
    return json.dumps({name: value for name, value in whole.items() if value is not None})


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("no json", "its message is no JSON"),
        (b"\xff\xfe", "its message is no JSON"),
        ("[" * 100_000, "its message is no JSON"),
        ("[]", "Expected `object`"),
        (message_of(kwargs=None), "missing required field `kwargs`"),
        (message_of(kwargs=5), r"Expected `object`, got `int`"),
        (message_of(actor_name=["x"]), r"Expected `str`, got `array`"),
        (message_of(queue_name="elsewhere"), "for the queue 'elsewhere'"),
        (message_of(kwargs={"symbol": "A"}), "missing a required argument: 'hours'"),
        (message_of(kwargs={"symbol": "A", "hours": "many", "lane": "x"}), "its hours: Expected `int`"),
        (message_of(kwargs={"symbol": None, "hours": 1, "lane": "x"}), "its symbol: Expected `str`"),
        (message_of(kwargs={"symbol": "A", "hours": 1, "lane": "x", "needed": []}), "its needed: Expected"),
    ],
)
def test_a_job_that_cannot_be_read_is_dead_lettered_with_its_reason(
    queue: Queue, store: Store, worker: Callable[..., Worker], data: Any, reason: str
) -> None:
    """It takes no thread, no slot and no other job along, and its asker is told at once."""
    handles = [queue.enqueue(job("news", symbol)) for symbol in ("BAD", "GOOD")]
    store.client.hset(store.keys.queue("news", "jobs"), handles[0].job_id, data)
    one = worker(threads=2)
    assert one.await_job().kwargs["symbol"] == "GOOD"
    assert (one.broker.threads.busy, store.client.zcard(store.keys.slots("news"))) == (1, 1)
    (letter,) = queue.dead.search("news")
    assert re.search(reason, letter.reason)
    with pytest.raises(TbcacheError, match=re.escape(letter.reason)):
        handles[0].result(30)


@pytest.mark.parametrize(
    "data",
    [
        message_of(version=2),
        message_of(actor_name="fetch.tomorrow"),
        message_of(kwargs={"symbol": "A", "hours": 1, "lane": "x", "newer_than": "2030-01-01"}),
        message_of(args=["A", 1, "x", 0.0, 0.0, "more"], kwargs={}),
    ],
)
def test_a_job_of_a_newer_version_waits_for_a_newer_worker(
    queue: Queue, store: Store, worker: Callable[..., Worker], data: str, caplog: pytest.LogCaptureFixture
) -> None:
    """During an upgrade both run; what the older one cannot read is no failure."""
    handles = [queue.enqueue(job("news", f"N{number}")) for number in range(2)]
    store.client.hset(store.keys.queue("news", "jobs"), mapping={one.job_id: data for one in handles})
    older = worker(threads=2)
    wait_until(lambda: older.ask() or queue.depth("news").delayed == 2)
    found = left(store)
    assert found.pop("bell")
    assert found == {"delayed": 2, "jobs": 2, "lanes": 2, "keys": 2, "pending": 2, "reasons": 2}
    found_out = queue.explain("news", handles[0].job_id)
    assert found_out.cause.startswith("it needs a worker that knows ")
    assert found_out.starts_at is None, "it is put off again at that moment"
    assert "put off: it needs a worker" in str(found_out)
    assert (older.broker.threads.busy, store.client.zcard(store.keys.slots("news"))) == (0, 0)
    assert len([one for one in caplog.records if "job.put_off" in one.msg]) == 1


def test_no_message_can_hold_a_thread_or_end_it(fleet: Fleet, queue: Queue, store: Store) -> None:
    """These options are dramatiq's own, which believes them."""
    handle = queue.enqueue(job("news", "AAPL"))
    data = message_of(options={"eta": 9e15, "throws": "everything"})
    store.client.hset(store.keys.queue("news", "jobs"), handle.job_id, data)

    def fail(source: str, symbol: str, slot: str | None) -> None:
        raise UpstreamNotFound("news", "no such symbol", status=404)

    fleet.act = fail
    fleet.start(threads=2)
    with pytest.raises(UpstreamNotFound):
        handle.result(30)


def test_what_no_source_can_be_asked_for_is_dead_lettered_at_once(fleet: Fleet, queue: Queue) -> None:
    """Asking four times does not make a ticker of it."""

    def refuse(source: str, symbol: str, slot: str | None) -> None:
        raise InvalidRequest("hours 9999 is more than news can answer")

    fleet.act = refuse
    handle = queue.enqueue(job("news", "AAPL"))
    fleet.start()
    with pytest.raises(TbcacheError, match="hours 9999 is more"):
        handle.result(30)
    assert len(fleet.ran) == 1
    assert [one.reason for one in queue.dead.search("news")] == [
        "InvalidRequest: hours 9999 is more than news can answer"
    ]


def broken(*_: Any, **__: Any) -> Any:
    return 1 / 0


def test_a_consumer_that_is_replaced_keeps_its_jobs(queue: Queue, store: Store, settings: Settings) -> None:
    """An error ends the consumer, not the jobs that run: their claims and threads are still known."""
    queue.enqueue(job("news", "AAPL"))
    worker = Worker(store, settings, FAST)
    given = worker.await_job()
    worker.consumer.close()
    until = store.client.zscore(store.keys.queue("news", "claims"), given.claim)
    worker.consumer = worker.broker.consume("news", timeout=1)
    worker.ask()
    assert store.client.zscore(store.keys.queue("news", "claims"), given.claim) > until
    worker.consumer.ack(given)
    assert (queue.depth("news").running, worker.broker.threads.busy) == (0, 0)


def test_a_damaged_result_is_said_to_be_one(queue: Queue, store: Store) -> None:
    """Whoever waits gets an error of ours, not one of a library."""
    handle = queue.enqueue(FetchRequest("news", "DAMAGED"))
    result = store.keys.result("news", handle.job_id)
    store.client.rpush(result, "banana")
    store.client.expire(result, 60)
    with pytest.raises(TbcacheError, match="cannot be read"):
        handle.result(30)


def test_who_waits_for_a_job_that_redis_has_lost_is_told(
    queue: Queue, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing would ever end the wait: the job is nowhere, and no result of it."""
    monkeypatch.setattr("tbcache.queue.handle.LOOK_SECONDS", 0.05)
    handle = queue.enqueue(FetchRequest("news", "LOST"))
    store.client.unlink(*queue_keys(store.keys, "news"))
    with pytest.raises(TbcacheError, match="Redis has lost the job"):
        handle.result(30)


def test_a_result_that_does_not_come_is_a_timeout(queue: Queue) -> None:
    """And says what to look at."""
    with pytest.raises(ResultTimeout, match=r"queue explain .* says what it waits for"):
        queue.enqueue(job("news", "AAPL")).result(0.05)


def test_under_another_broker_a_job_takes_its_slot(store: Store) -> None:
    """StubBroker does not pace: the middleware does, and puts back what must wait."""
    source = replace(SLOW, limits=(Limit(2, 60.0),))
    broker = StubBroker(middleware=[RateLimitMiddleware({"twitter": RateLimiter(source, store)})])
    ran: list[str] = []
    actor = dramatiq.actor(actor_name="fetch", queue_name="twitter", broker=broker)(ran.append)
    for symbol in ("A", "B", "C"):
        actor.send(symbol)
    worker = dramatiq.Worker(broker, worker_threads=1, worker_timeout=50)
    worker.start()
    wait_until(lambda: len(ran) == 2)
    wait_until(
        lambda: broker.queues["twitter.DQ"].qsize() + len(worker.consumers["twitter.DQ"].delay_queue.queue)
    )
    worker.stop()
    broker.close()
    assert ran == ["A", "B"]


@pytest.mark.one_server
def test_the_upstream_sees_no_more_than_the_limit(fleet: Fleet, queue: Queue, pipeline: Any) -> None:
    """The whole way: queue, slot, admission, upstream."""
    source = replace(SLOW, limits=(Limit(5, 0.5),))
    fleet.broker.sources["twitter"] = source
    arrivals: list[float] = []
    upstream = Upstream(source)

    def fetch(name: str, symbol: str, slot: str | None) -> Any:
        arrivals.append(time.monotonic())
        return pipeline.run(upstream, FetchRequest("twitter", symbol), patience=0.0, slot=slot)

    fleet.act = fetch
    handles = [queue.enqueue(job("twitter", f"T{number}")) for number in range(20)]
    fleet.start()
    for handle in handles:
        assert handle.result(30).origin == "live"
    assert len(arrivals) == 20
    assert all(later - earlier >= 0.5 for earlier, later in zip(arrivals, arrivals[5:], strict=False))


#: A part of the queue, and what stands there in its place.
DAMAGED = [
    *((part, b"junk") for part in PARTS if part not in ("asked", "called", "pace")),
    ("asked", b"banana"),
    ("asked", b"inf"),
]


@pytest.mark.one_server
@pytest.mark.parametrize(("part", "junk"), DAMAGED, ids=[f"{part}-{junk.decode()}" for part, junk in DAMAGED])
def test_a_damaged_part_of_a_queue_loses_no_job_and_claims_none(
    queue: Queue, store: Store, server: Server, settings: Settings, part: str, junk: bytes
) -> None:
    """Half of a change is a job in no list, which blocks its fetch, or one that is claimed and nobody has."""
    worker, key = Worker(store, settings, FAST, threads=3), store.keys.queue("news", part)
    queue.enqueue(job("news", "BEFORE"))
    held = server.client.dump(key) if part != "asked" else None
    server.client.set(key, junk, ex=60)
    with contextlib.suppress(Unavailable):
        queue.enqueue(job("news", "MEANWHILE"))
    given = worker.ask()
    server.client.delete(key)
    if held:
        server.client.restore(key, 60_000, held)
    limiter_of(store).windows.broken.renew()
    queue.enqueue(job("news", "MEANWHILE"))
    jobs = [given or worker.await_job(), worker.await_job()]
    assert {one.kwargs["symbol"] for one in jobs} == {"BEFORE", "MEANWHILE"}
    assert server.client.hgetall(store.keys.queue("news", "deaths")) == {}


def looked(store: Store) -> Looked:
    """When the news queue is to be asked for what is put off, or in hand."""
    keys = queue_keys(store.keys, "news")
    no_lane = keys.suspects
    return store.run(LOOK, LookForJobs((no_lane, no_lane, no_lane, keys.delayed, keys.claims)))


@pytest.mark.one_server
@pytest.mark.parametrize("junk", ["inf", "1e300"])
def test_a_place_or_a_moment_that_is_damaged_stops_no_job(
    queue: Queue, store: Store, settings: Settings, junk: str
) -> None:
    """No worker could read when it was to come again; and whoever waited behind an endless place had none."""
    client, keys = store.client, queue_keys(store.keys, "news")
    late, *others = [queue.enqueue(job("news", symbol), caller="ann") for symbol in ("LATE", "ONE", "TWO")]
    client.zadd(keys.delayed, {"ghost": junk})
    client.zadd(keys.interactive, {late.job_id: junk})
    client.zadd(keys.interactive_tags, {"": junk, "ann": junk})
    client.hset(keys.lanes, others[0].job_id, f"interactive {'9' * 400} ann")
    client.expire(keys.delayed, 60)
    assert looked(store).moments == (-1,)
    assert set(dequeue(store, settings, FAST, 2)[1]) == {one.job_id for one in others}
    queue.enqueue(job("news", "NEW"), caller="ann")
    assert client.zscore(keys.interactive_tags, "ann") < 1e9
    assert late.job_id in dequeue(store, settings, FAST, 9)[1]


@pytest.mark.one_server
def test_a_claim_that_ends_later_than_any_can_is_taken_over(
    queue: Queue, store: Store, settings: Settings
) -> None:
    """After the server's clock was set back by an hour the jobs of a dead worker waited for as long."""
    client, keys = store.client, queue_keys(store.keys, "news")
    claim = claimed(store, queue.enqueue(job("news", "HELD")))
    client.zadd(keys.claims, {claim: "inf"})
    found = looked(store)
    assert 0 < found.moments[0] - found.now <= 60_000_000
    dequeue(store, settings, FAST, 1)
    assert client.zscore(keys.claims, claim) < time.time() * 1e6 + 3_600_000_000


def parts_of(store: Store, *, without: str) -> dict[str, bytes | None]:
    """The news queue as it stands in Redis, but for one part."""
    kept = (part for part in PARTS if part not in (without, "asked", "called", "pace"))
    return {part: store.client.dump(store.keys.queue("news", part)) for part in kept}


@pytest.mark.one_server
@pytest.mark.parametrize(
    "part", [part for part in PARTS if part not in ("asked", "called", "pace", "answered")]
)
def test_a_part_of_another_type_stops_every_script_before_it_changes_anything(
    server: Server, settings_for: Callable[..., Settings], store_for: Callable[..., Store], part: str
) -> None:
    """Whichever it is: a claim that lapsed, and is removed before its job is dead-lettered, is a lost job."""
    # A server that is late is no refusal.
    patience = {"TBCACHE_REDIS_TIMEOUT": "10"}
    settings, store = settings_for(server, **patience), store_for(server, **patience)
    queue = Queue(store, settings)
    keys, key, client = queue_keys(store.keys, "news"), store.keys.queue("news", part), store.client
    lapsed, in_hand = queue.enqueue(job("news", "LAPSED")), queue.enqueue(job("news", "HELD"))
    client.zadd(keys.claims, {claimed(store, lapsed): 1})
    claim = claimed(store, in_hand)
    due = queue.enqueue(job("news", "DUE"), delay_seconds=60.0)
    client.zadd(keys.delayed, {due.job_id: 1})
    waiting = [queue.enqueue(job("news", lane), lane) for lane in ("interactive", "prewarm")]
    client.hset(keys.deaths, lapsed.job_id, end.MOST_TRIES - 1)
    for name in (keys.claims, keys.delayed, keys.deaths):
        client.expire(name, 60)
    held, before = client.dump(key), parts_of(store, without=part)
    client.set(key, "junk", ex=60)
    for script in (
        lambda: queue.enqueue(job("news", "NEW"), delay_seconds=60.0),
        lambda: dequeue(store, settings, FAST, 9),
        *(functools.partial(finish, store, claim, what, "{}") for what in ("done", "later", "back", "dead")),
    ):
        with pytest.raises(Refused):
            script()
    assert parts_of(store, without=part) == before
    client.delete(key)
    if held is not None:
        client.restore(key, 60_000, held)
    limiter_of(store).windows.broken.renew()
    assert set(dequeue(store, settings, FAST, 9)[1]) == {one.job_id for one in (due, *waiting)}
    assert [letter.job_id for letter in queue.dead.search("news")] == [lapsed.job_id]
    assert finish(store, claim, "done") == "done"


def test_what_is_queued_too_late_stops_no_other_thread(
    queue: Queue, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis is there, as it has said so: a send of one slow thread had those of all others raise."""

    async def bounds_long_past(source: str) -> Bounds:
        return Bounds(1, 2)

    with monkeypatch.context() as patch:
        patch.setattr(store.clock, "bounds_us", bounds_long_past)
        with pytest.raises(Unavailable, match="no answer in time"):
            queue.enqueue(job("news", "LATE"))
    assert store.is_available
    assert queue.depth("news").waiting == 0
    assert queue.enqueue(job("news", "NEXT")).is_new


def long_past(at: float, source: str) -> Bounds:
    """A deadline that nobody keeps."""
    return Bounds(0, 1)
