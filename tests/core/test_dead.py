"""Dead letters, cancelling and promoting: what an operator does to single jobs, and to thousands."""

from __future__ import annotations

import json
import math
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from decimal import Decimal
from typing import Any

import dramatiq
import pytest
from dramatiq.encoder import PickleEncoder
from dramatiq.message import get_encoder
from dramatiq.middleware import CurrentMessage
from dramatiq.middleware.threading import raise_thread_exception

from tbcache.fetch import Pipeline
from tbcache.fleet import DeadFilter, Fleet, Operator
from tbcache.fleet.operator import CANCELLED
from tbcache.io import utc_now
from tbcache.models import FetchRequest, Page
from tbcache.models.caller import is_below
from tbcache.models.error import Paused, TbcacheError, UpstreamUnavailable
from tbcache.monitoring import UsageMonitor
from tbcache.queue import (
    Handle,
    HeartbeatMiddleware,
    PacingBroker,
    Queue,
    actor_name,
    batch,
    heartbeat,
    middleware,
)
from tbcache.queue.end import _arguments
from tbcache.queue.hand import EndedJob
from tbcache.queue.job import DeadLetter, Result, dead
from tbcache.queue.listing import JobFilter, Listing
from tbcache.queue.reader import read_message
from tbcache.queue.reason import count_reasons
from tbcache.queue.script import JobAsk, Queued
from tbcache.queue.wants import Wants
from tbcache.settings import Settings
from tbcache.store import Store, Unavailable
from tests.core.conftest import TWITTER, Upstream, item
from tests.core.test_operator import fetching, working
from tests.core.test_operator import operator as operator
from tests.core.test_queue import claimed, finish
from tests.core.test_queue import queue as queue
from tests.job import message
from tests.proxy import Proxy
from tests.server import Server, wait_until


def bury(store: Store, letters: Sequence[tuple[str, str, dict[str, Any]]], source: str = "twitter") -> None:
    """Put jobs among the dead of a source: the symbol, the reason, and options of the message of each."""
    dead, jobs, reasons = (store.keys.queue(source, part) for part in ("dead", "dead-jobs", "reasons"))
    messages = {
        f"job-{number}": message(FetchRequest(source, symbol), "interactive").copy(options=options).encode()
        for number, (symbol, _, options) in enumerate(letters)
    }
    pipe: Any = store.client.pipeline(transaction=False)
    pipe.zadd(dead, {f"job-{number}": 1_700_000_000_000_000 + number for number in range(len(letters))})
    pipe.hset(jobs, mapping=messages)
    pipe.hset(reasons, mapping={f"job-{number}": reason for number, (_, reason, _) in enumerate(letters)})
    for key in (dead, jobs, reasons):
        pipe.expire(key, 600)
    pipe.execute()


@pytest.fixture
def letters(store: Store) -> None:
    bury(
        store,
        [
            ("AAPL", "UpstreamUnavailable: timeout", {"caller": "desk.bot"}),
            ("AAPL", "its worker died 4 times", {}),
            ("GME", "UpstreamUnavailable: Timeout", {"caller": "other"}),
        ],
    )


@pytest.mark.usefixtures("letters")
@pytest.mark.parametrize(
    ("where", "found"),
    [
        (DeadFilter(), [2, 1, 0]),
        (DeadFilter(symbol="aapl"), [1, 0]),
        (DeadFilter(error="timeout"), [2, 0]),
        (DeadFilter(caller="desk.bot"), [0]),
        (DeadFilter(caller="desk"), []),
        (DeadFilter(job_id="job-1"), [1]),
        (DeadFilter(symbol="GME", error="died"), []),
    ],
)
def test_dead_letters_are_found_by_what_is_known_of_them(
    settings: Settings, store: Store, operator: Operator, where: DeadFilter, found: list[int]
) -> None:
    """Of ten thousand, those of one error are what somebody looks for."""
    letters = Fleet(settings, store).dead(10, "twitter", where)
    assert [letter.job_id for letter in letters] == [f"job-{number}" for number in found]
    assert operator.count_dead("twitter", where) == len(found)


def test_what_died_is_a_symbol_or_an_actor() -> None:
    """Of jobs of one's own the page said "?", and nobody knew which of three actors it was."""
    told = {
        "AAPL": {"actor_name": "fetch_reddit", "kwargs": {"symbol": "AAPL"}},
        "nightly": {"actor_name": "nightly", "kwargs": {}},
        "?": {"kwargs": {}},
    }
    letters = {
        what: DeadLetter("any", "1", utc_now(), "", json.dumps(one).encode()) for what, one in told.items()
    }
    assert {what: letter.what for what, letter in letters.items()} == {what: what for what in told}


def test_a_dead_job_begins_anew_with_all_its_tries() -> None:
    """One that has used them up would die at its next failure."""
    tried = {"retries": 3, "traceback": "...", "requeue_timestamp": 1, "valid_until": 1.0}
    fields = {"actor_name": "nightly", "options": {**tried, "caller": "desk"}}
    again = DeadLetter("any", "1", utc_now(), "", json.dumps(fields).encode()).anew()
    assert json.loads(again or b"") == {"actor_name": "nightly", "options": {"caller": "desk"}}


@pytest.mark.parametrize("what", [math.nan, math.inf, "\ud800", Decimal("1.5")])
def test_a_job_that_its_worker_could_read_can_be_queued_again(
    store: Store, queue: Queue, settings: Settings, what: Any
) -> None:
    """The prices of a bad day are NaN: none of its dead letters could be, and each was listed as "?"."""
    encoder = get_encoder()
    if isinstance(what, Decimal):
        dramatiq.set_encoder(PickleEncoder())
    try:
        message = dramatiq.Message("prices", "price", (what,), {}, {"caller": "desk", "retries": 3})
        keys = [store.keys.queue("prices", part) for part in ("dead", "dead-jobs", "reasons")]
        store.client.zadd(keys[0], {"job-1": 1_700_000_000_000_000})
        store.client.hset(keys[1], "job-1", message.encode())
        store.client.hset(keys[2], "job-1", "KeyError")
        for key in keys:
            store.client.expire(key, 600)
        (letter,) = queue.dead.search("prices")
        assert (letter.what, letter.caller) == ("price", "desk")
        assert queue.dead.requeue("prices") == (1, 0)
        (job,) = Listing(store, settings, "prices").search(JobFilter(), 10)
        assert (job.actor, job.caller) == ("price", "desk")
        (data,) = store.client.hvals(store.keys.queue("prices", "jobs"))
        assert repr(read_message(data, "prices").args) == repr((what,))
    finally:
        dramatiq.set_encoder(encoder)


def test_a_caller_is_meant_with_all_below_it() -> None:
    """So it is of jobs that wait: a search of both must not differ."""
    assert is_below("desk/Bot", "desk")
    assert is_below("desk", "Desk")
    assert not is_below("desks/bot", "desk")
    assert not is_below("desk", "desk/bot")


@pytest.mark.parametrize(
    ("message", "args"),
    [
        ({"args": ["AAPL", 3, None], "kwargs": {"side": "buy"}}, '"AAPL", 3, null, side="buy"'),
        ({"args": [float("nan")], "kwargs": {}}, "NaN"),
        ({"args": ["x" * 1000], "kwargs": {}}, f'"{"x" * 196}...'),
        ({"args": [], "kwargs": {}}, ""),
        ({"args": 1, "kwargs": {}}, None),
        ({"kwargs": []}, None),
        ([], None),
    ],
)
def test_a_dead_letter_says_what_its_actor_was_called_with(message: Any, args: str | None) -> None:
    """Of a job of a user's own it was a text within a text, and over HTTP nothing."""
    assert DeadLetter("default", "a", utc_now(), "died", json.dumps(message).encode()).args == args


@pytest.mark.usefixtures("letters")
def test_dead_letters_are_forgotten_by_a_filter(store: Store, queue: Queue, operator: Operator) -> None:
    """What is left out stays as it is, and of the others nothing does."""
    assert operator.purge_dead("twitter", DeadFilter(error="timeout")) == 2
    assert [letter.job_id for letter in queue.dead.search("twitter")] == ["job-1"]
    assert store.client.hkeys(store.keys.queue("twitter", "dead-jobs")) == [b"job-1"]
    assert store.client.hkeys(store.keys.queue("twitter", "reasons")) == [b"job-1"]
    assert operator.purge_dead("twitter") == 1
    assert operator.purge_dead("twitter") == 0


@pytest.mark.usefixtures("letters")
def test_dead_letters_are_queued_again_by_their_ids(queue: Queue, operator: Operator) -> None:
    """The two of one fetch are one job; who waits for it from now on is not told that it died."""
    assert operator.requeue_dead("twitter") == (3, 0)
    assert queue.dead.search("twitter") == []
    assert queue.depth("twitter").interactive == 2
    assert queue.enqueue(FetchRequest("twitter", "AAPL")).job_id == "job-0"
    assert operator.requeue_dead("twitter") == (0, 0)


def test_a_job_that_is_queued_again_has_no_result_of_before(
    store: Store, queue: Queue, operator: Operator
) -> None:
    """Its death was told to who waited then; who waits now would take it for the new result."""
    handle = queue.enqueue(FetchRequest("news", "AAPL"))
    finish(store, claimed(store, handle), "dead")
    with pytest.raises(TbcacheError, match="why"):
        handle.result(5.0)
    operator.requeue_dead("news", DeadFilter(job_id=handle.job_id))
    again = queue.enqueue(FetchRequest("news", "AAPL"))
    assert again.job_id == handle.job_id
    assert not store.client.exists(store.keys.result("news", again.job_id))


def test_what_cannot_be_read_stays_dead_and_is_counted(store: Store, operator: Operator) -> None:
    """To queue it again would bury it again."""
    bury(store, [("AAPL", "no", {}), ("MSFT", "no", {}), ("GME", "no", {})])
    jobs = store.keys.queue("twitter", "dead-jobs")
    store.client.hset(jobs, "job-0", b"\xff no JSON")
    text = json.loads(store.client.hget(jobs, "job-1"))  # type: ignore[arg-type]
    text["kwargs"]["hours"] = 100_000
    store.client.hset(jobs, "job-1", json.dumps(text))
    assert operator.requeue_dead("twitter") == (1, 2)
    assert operator.count_dead("twitter") == 2


def test_a_users_job_begins_anew_with_all_its_tries(
    store: Store, settings: Settings, operator: Operator
) -> None:
    """It keeps its id, by which its result is known; what dramatiq noted of its tries is gone."""
    ran: list[str] = []
    broker = PacingBroker(store, settings, [TWITTER])

    def fail(what: str) -> None:
        ran.append(what)
        if len(ran) < 3:
            raise ValueError(what)

    actor: Any = dramatiq.actor(actor_name="fail", broker=broker, max_retries=1, max_backoff=1)(fail)
    sent = actor.send("it")
    with working(broker):
        wait_until(lambda: operator.count_dead("default") == 1)
        assert len(ran) == 2
        assert operator.requeue_dead("default", DeadFilter(job_id=sent.message_id)) == (1, 0)
        wait_until(lambda: len(ran) == 3)
        broker.join("default", interval=5, timeout=30_000)
    assert operator.count_dead("default") == 0


@pytest.mark.usefixtures("letters")
def test_nothing_is_queued_again_while_a_queue_is_drained(operator: Operator) -> None:
    """And nothing is lost of it."""
    operator.drain("twitter")
    with pytest.raises(Paused):
        operator.requeue_dead("twitter")
    assert operator.count_dead("twitter") == 3


def test_thousands_of_dead_letters_hold_up_no_reader(
    server: Server, store: Store, store_for: Callable[..., Store], queue: Queue, operator: Operator
) -> None:
    """All is done in small calls: between two of them others are served."""
    bury(store, [(f"S{number}", "down", {}) for number in range(1000)])
    other, is_over, reads = store_for(server), threading.Event(), [0]

    def read() -> None:
        while not is_over.is_set():
            other.client.get("any")
            reads[0] += 1

    reader = threading.Thread(target=read)
    reader.start()
    try:
        wait_until(lambda: reads[0] > 0)
        before = server.calls("evalsha")
        assert operator.requeue_dead("twitter", DeadFilter(error="down")) == (1000, 0)
        assert server.calls("evalsha") - before >= 1000 / 200
    finally:
        is_over.set()
        reader.join(30)
    assert queue.depth("twitter").interactive == 1000


@pytest.fixture
def way(server: Server) -> Iterator[Proxy]:
    """To Redis, for an operator."""
    with closing(Proxy(server.port).start()) as proxy:
        yield proxy


@pytest.fixture
def far(way: Proxy, server: Server, settings: Settings, store_for: Callable[..., Store]) -> Operator:
    """An operator on the far side of it."""
    return Fleet(settings, store_for(server, REDIS_URL=way.url, TBCACHE_REDIS_TIMEOUT="1")).as_operator("ada")


def losing_one_answer(way: Proxy, then: Callable[[], object] = lambda: None) -> Callable[[int], None]:
    """What is told of an act's parts: the call after the first is carried out, and its answer is lost."""
    told: list[int] = []

    def mend() -> None:
        assert way.has_swallowed.wait(20)
        then()
        way.mend()

    def tell(more: int) -> None:
        told.append(more)
        if len(told) == 1:
            way.swallow()
            threading.Thread(target=mend).start()

    return tell


@pytest.mark.parametrize("act", ["requeue_dead", "purge_dead"])
def test_an_answer_that_is_lost_leaves_no_act_half_done(
    store: Store, settings: Settings, way: Proxy, far: Operator, act: str
) -> None:
    """On a busy machine two of eight acts of ten thousand ended early; all are counted, and none twice."""
    bury(store, [(f"S{number}", "down", {}) for number in range(500)])
    key = store.keys.queue("twitter", "dead")
    done = getattr(far, act)("twitter", DeadFilter(error="down"), losing_one_answer(way))
    assert (done if act == "purge_dead" else done.queued) == 500
    assert store.client.zcard(key) == 0
    (line, *_) = Fleet(settings, store).audit()
    assert (line.count, line.detail) == (500, "error=down")


def test_a_job_that_dies_anew_meanwhile_is_not_queued_once_more(
    store: Store, way: Proxy, far: Operator
) -> None:
    """It would run twice, and be paid for twice, and count as one."""
    bury(store, [(f"S{number}", "down", {}) for number in range(500)])
    key = store.keys.queue("twitter", "dead")
    again = losing_one_answer(way, lambda: store.client.zadd(key, {"job-399": 1_800_000_000_000_000}))
    assert far.requeue_dead("twitter", tell=again) == (500, 0)
    assert store.client.zrange(key, 0, -1) == [b"job-399"]


def test_a_part_of_a_call_that_is_carried_out_is_counted(
    store: Store, far: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is long goes in two calls, and the second was never sent."""
    bury(store, [(f"S{number}", "down", {}) for number in range(3)])
    real, calls = batch.put_all, list[int]()

    async def put_all(store: Store, queue: str, asks: Sequence[JobAsk], wants: Wants) -> list[Queued]:
        calls.append(len(asks))
        if len(calls) == 1:
            await real(store, queue, asks[:2], wants)
            raise Unavailable(store.address, "connection refused")
        return await real(store, queue, asks, wants)

    monkeypatch.setattr("tbcache.queue.dead.put_all", put_all)
    assert far.requeue_dead("twitter") == (3, 0)
    assert calls == [3, 1]


def test_an_answer_that_is_lost_leaves_no_job_uncancelled(
    store: Store, queue: Queue, way: Proxy, far: Operator
) -> None:
    """A hundred are in a call, and nobody knows whether it was carried out."""
    queue.enqueue_many([FetchRequest("twitter", f"S{number}") for number in range(500)])
    assert far.cancel_jobs("twitter", tell=losing_one_answer(way)) == 500
    assert queue.depth("twitter").waiting == 0


def test_who_cannot_write_the_audit_says_that_all_is_done(store: Store, way: Proxy, far: Operator) -> None:
    """That Redis is away would read as if nothing were."""
    bury(store, [("AAPL", "down", {})] * 3)
    with pytest.raises(Unavailable, match=r"^All 3 are done, and the audit could not be told so\. Redis "):
        far.purge_dead("twitter", tell=lambda _: way.refuse())
    assert store.client.zcard(store.keys.queue("twitter", "dead")) == 0


@pytest.mark.parametrize("act", ["requeue_dead", "purge_dead"])
@pytest.mark.parametrize(
    ("error", "told"),
    [
        (Unavailable("redis://somewhere", "no answer"), "broke off after 400, which are done"),
        (KeyboardInterrupt(), "^$"),
    ],
)
def test_what_broke_off_is_told_and_stands_in_the_audit(
    store: Store, settings: Settings, operator: Operator, act: str, error: BaseException, told: str
) -> None:
    """Of nine thousand two were queued again, or gone for good, and nobody could tell."""
    bury(store, [(f"S{number}", "down", {}) for number in range(500)])
    calls = [0]

    def tell(more: int) -> None:
        calls[0] += more
        if calls[0] >= 400:
            raise error

    with pytest.raises(type(error), match=told):
        getattr(operator, act)("twitter", DeadFilter(error="down"), tell)
    assert operator.count_dead("twitter") == 100
    (line, *_) = Fleet(settings, store).audit()
    assert (line.what, line.count) == (f"dead.{act.removesuffix('_dead')}", 400)
    assert "broke off" in line.detail


def test_the_oldest_dead_letters_make_room(store: Store, queue: Queue) -> None:
    """An upstream that is down for a day must not fill Redis."""
    bury(store, [("AAPL", "down", {})] * 10_000, "news")
    finish(store, claimed(store, queue.enqueue(FetchRequest("news", "GME"))), "dead")
    dead, jobs, reasons = (store.keys.queue("news", part) for part in ("dead", "dead-jobs", "reasons"))
    assert queue.depth("news").dead == 10_000
    assert store.client.hlen(jobs) == store.client.hlen(reasons) == 10_000
    assert store.client.zscore(dead, "job-0") is None


# Single jobs


def test_a_job_that_waits_is_cancelled_and_who_waits_for_it_is_told(
    store: Store, queue: Queue, operator: Operator
) -> None:
    """Nothing of it is left; the same fetch can be queued again."""
    handle = queue.enqueue(FetchRequest("twitter", "AAPL"))
    delayed = queue.enqueue(FetchRequest("twitter", "GME"), delay_seconds=60.0)
    assert operator.cancel("twitter", handle.job_id, "not today") == "done"
    with pytest.raises(TbcacheError, match="cancelled by ada@desk: not today"):
        handle.result(5.0)
    assert operator.cancel("twitter", delayed.job_id) == "done"
    assert operator.cancel("twitter", handle.job_id) == "gone"
    assert store.client.hlen(store.keys.queue("twitter", "jobs")) == 0
    assert queue.enqueue(FetchRequest("twitter", "AAPL")).is_new


@contextmanager
def let_go_after(event: threading.Event) -> Iterator[None]:
    """No job outlasts its test."""
    try:
        yield
    finally:
        event.set()


def test_a_job_in_a_workers_hands_is_not_promoted(store: Store, queue: Queue, operator: Operator) -> None:
    """It is at work already."""
    handle = queue.enqueue(FetchRequest("twitter", "AAPL"))
    claimed(store, handle)
    assert operator.promote("twitter", handle.job_id) == "running"


@pytest.mark.parametrize("name", ["twitter", "default"])
def test_a_job_that_runs_is_stopped_and_not_done_again(
    store: Store, settings: Settings, operator: Operator, name: str
) -> None:
    """A job that hangs would have its thread until its time limit. Others of the same worker go on, also one
    that is queued under its id, and however long a claim holds."""
    broker = PacingBroker(store, settings, [TWITTER], claim_seconds=300.0)
    began, ended, let_go = list[str](), list[str](), threading.Event()

    @dramatiq.actor(broker=broker, source=name if name == "twitter" else None)
    def work(what: str) -> None:
        began.append(what)
        try:
            while what == "hangs" and not let_go.wait(0.01):
                pass
        finally:
            ended.append(what)

    one = work.send("hangs")
    with working(broker), let_go_after(let_go):
        wait_until(lambda: began == ["hangs"])
        assert operator.cancel(name, one.message_id, "it hangs") == "stopping"
        assert operator.cancel(name, one.message_id) == "gone"
        broker.enqueue(one.copy(args=("next",)))
        wait_until(lambda: sorted(ended) == ["hangs", "next"])
        wait_until(lambda: not store.client.zcard(store.keys.queue(name, "claims")))
    assert began == ["hangs", "next"]
    assert not broker.context.jobs._jobs, "the process forgets those that are over"
    assert not [key for key in store.client.keys(store.keys.queue(name, "*")) if b"dead" in key]
    now = store.clock.today.timestamp() * 1e6
    assert not store.client.zcount(store.keys.slots("twitter"), now + 1e6, "+inf"), "a slot is held"
    assert Fleet(settings, store).audit(1)[0].what == "job.cancel"


def test_an_interrupt_that_comes_as_its_job_ends_ends_no_thread(
    store: Store, settings: Settings, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outside of the actor dramatiq expects none: it would end the thread, which nobody replaces."""
    broker, let_go, ran = PacingBroker(store, settings, []), threading.Event(), list[str]()

    @dramatiq.actor(broker=broker, max_retries=0)
    def work(what: str) -> None:
        ran.append(what)
        if what == "fails" and let_go.wait(60):
            raise ValueError(what)

    def interrupt_late(thread: int, error: type[BaseException]) -> None:
        let_go.set()
        # The actor has failed, and has come to its end.
        wait_until(lambda: sys._current_frames()[thread].f_code.co_name == "call")
        raise_thread_exception(thread, error)  # type: ignore[no-untyped-call]

    monkeypatch.setattr("tbcache.queue.cancel.raise_thread_exception", interrupt_late)
    one = work.send("fails")
    with working(broker, threads=1), let_go_after(let_go):
        wait_until(lambda: ran == ["fails"])
        assert operator.cancel("default", one.message_id) == "stopping"
        wait_until(let_go.is_set)
        work.send("next")
        wait_until(lambda: ran == ["fails", "next"])


def test_a_job_that_its_worker_has_taken_and_not_begun_is_cancelled(
    store: Store, settings: Settings, operator: Operator
) -> None:
    """It waits for a thread in the worker's memory, and not in Redis."""
    broker, let_go, began = PacingBroker(store, settings, []), threading.Event(), list[str]()

    @dramatiq.actor(broker=broker)
    def work(what: str) -> None:
        began.append(what)
        let_go.wait(60)

    key = store.keys.queue("default", "claims")

    def renewed_at() -> float:
        return min(score for _, score in store.client.zrange(key, 0, -1, withscores=True))

    jobs = [work.send(what) for what in ("first", "second", "third")]
    with working(broker), let_go_after(let_go):
        wait_until(lambda: len(began) == 2 and store.client.zcard(key) == 3)
        assert operator.cancel("default", jobs[2].message_id) == "stopping"
        # It is told of the third as it renews its claims.
        for _ in range(3):
            before = renewed_at()
            wait_until(lambda: renewed_at() > before)  # noqa: B023
        let_go.set()
        wait_until(lambda: not store.client.zcard(key))
    assert sorted(began) == ["first", "second"]


def test_nothing_is_left_of_a_cancelled_job_whose_worker_dies(
    store: Store, settings: Settings, queue: Queue, operator: Operator
) -> None:
    """Who waits is told at once, and the same fetch can be asked for again."""
    handle = queue.enqueue(FetchRequest("twitter", "AAPL"))
    claimed(store, handle)
    assert operator.cancel("twitter", handle.job_id, "not today") == "stopping"
    claims = store.keys.queue("twitter", "claims")
    assert store.client.ttl(claims) > 0
    with pytest.raises(TbcacheError, match="cancelled by ada@desk: not today"):
        handle.result(5.0)
    assert queue.enqueue(FetchRequest("twitter", "GME")).is_new
    assert queue.enqueue(FetchRequest("twitter", "AAPL")).is_new
    store.client.zadd(claims, dict.fromkeys(store.client.zrange(claims, 0, -1), 1.0), xx=True)
    ran: list[str] = []
    with working(fetching(store, settings, ran)):
        wait_until(lambda: sorted(ran) == ["AAPL", "GME"])
        wait_until(lambda: not store.client.zcard(claims))
    assert not store.client.exists(store.keys.queue("twitter", "deaths"))


def test_a_job_that_is_taken_while_others_are_cancelled_goes_on(
    store: Store, queue: Queue, operator: Operator
) -> None:
    """A filter means those that wait: to interrupt a fetch costs what it has cost."""
    handles = queue.enqueue_many([FetchRequest("twitter", f"S{number}") for number in range(CANCELLED + 2)])

    def take_another(done: int) -> None:
        if done == CANCELLED:
            claimed(store, handles[-1])

    assert operator.cancel_jobs("twitter", tell=take_another) == CANCELLED + 1
    assert [one.decode() for one in store.client.hkeys(store.keys.queue("twitter", "jobs"))] == [
        handles[-1].job_id
    ]
    assert store.client.zcard(store.keys.queue("twitter", "claims")) == 1


def test_what_is_cancelled_is_not_on_its_callers_account(
    store: Store, queue: Queue, operator: Operator
) -> None:
    """Who queues a thousand by mistake, and cancels them, would wait behind all others."""
    tags, handles = store.keys.queue("twitter", "interactive-tags"), list[Handle]()
    before = list[Any]()
    for symbol in ("AAPL", "GME", "MSFT"):
        before.append(store.client.zscore(tags, "bot"))
        handles.append(queue.enqueue(FetchRequest("twitter", symbol), caller="bot"))
    assert len({*before}) == 3
    assert operator.cancel("twitter", handles[2].job_id) == "done"
    assert store.client.zscore(tags, "bot") == before[2]


def test_a_job_is_promoted_to_the_front_of_its_lane(
    store: Store, settings: Settings, queue: Queue, operator: Operator
) -> None:
    """Somebody waits on the telephone."""
    handles: list[Handle] = [queue.enqueue(FetchRequest("twitter", f"S{number}")) for number in range(3)]
    put_off = queue.enqueue(FetchRequest("twitter", "LATE"), delay_seconds=600.0)
    assert operator.promote("twitter", handles[2].job_id) == "done"
    assert operator.promote("twitter", put_off.job_id) == "done"
    lane = store.client.zrange(store.keys.queue("twitter", "interactive"), 0, -1)
    numbers = [handle.job_id for handle in (put_off, handles[2], handles[0], handles[1])]
    assert [one.decode() for one in lane] == numbers  # type: ignore[union-attr]
    assert operator.promote("twitter", "nobody") == "gone"
    assert Fleet(settings, store).audit(1)[0].what == "job.promote"


def test_a_prewarm_that_is_queued_again_has_time_again(
    store: Store, queue: Queue, operator: Operator
) -> None:
    """It died long ago, as a rule: by the time of before it would be thrown away, and the letter with it."""
    handle = queue.enqueue(FetchRequest("news", "AAPL"), "prewarm")
    jobs = store.keys.queue("news", "jobs")
    message = dramatiq.Message.decode(store.client.hget(jobs, handle.job_id))  # type: ignore[arg-type]
    past = message.copy(options={"valid_until": 1.0})
    store.client.hset(jobs, handle.job_id, past.encode())
    finish(store, claimed(store, handle), "dead")
    operator.requeue_dead("news")
    again = dramatiq.Message.decode(store.client.hget(jobs, handle.job_id))  # type: ignore[arg-type]
    assert "valid_until" not in again.options


def test_a_reason_is_kept_in_a_line_however_long_it_is(store: Store) -> None:
    """An upstream's page of HTML in an error is usual, and ten thousand of them are much."""
    ended = EndedJob(b"job/1", dead("x" * 3_000_000))
    assert len(str(_arguments(ended, 1)[6])) <= 1000
    assert len(Result.of(None, ValueError("x" * 3_000_000)).message or "") <= 1000


def test_any_text_is_counted_as_a_reason() -> None:
    """One with a NUL in place of a number was taken for one with a number, and none was listed."""
    assert [one.count for one in count_reasons("news", ["died \0", "died 7"], 9)] == [1, 1]


def test_dead_letters_are_counted_by_their_error_and_each_is_a_filter_of_as_many(
    settings: Settings, store: Store, operator: Operator
) -> None:
    """Of ten thousand of two errors fifty were listed, and one had to know what to look for."""
    reasons = [
        *[f"ParseError: twitter {symbol}: no date in 3f2a9c1{at}" for at, symbol in enumerate("ABC")],
        *[f"TimeoutError: twitter GME: {seconds} s" for seconds in (10.25, 9.5)],
        "TimeoutError: HTTP 503",
        "TimeoutError: HTTP 429",
        "died 4 times",
        *[f"ValueError: no {ticker} in order {at % 2}" for at, ticker in enumerate("PQRSTUVWX")],
    ]
    bury(store, [("GME", reason, {}) for reason in reasons])
    fleet = Fleet(settings, store)
    found = {one.error: one.count for one in fleet.dead_reasons(10, "twitter")}
    assert found == {
        "ParseError: twitter *: no date in *": 3,
        "TimeoutError: twitter *: * s": 2,
        "TimeoutError: HTTP 503": 1,
        "TimeoutError: HTTP 429": 1,
        "died 4 times": 1,
        "ValueError: no * in order 0": 5,
        "ValueError: no * in order 1": 4,
    }
    assert fleet.dead_reasons(1) == fleet.dead_reasons(10)[:1]
    for error, count in found.items():
        assert operator.count_dead("twitter", DeadFilter(error=error)) == count
    assert operator.count_dead("twitter", DeadFilter(error="parse*DATE")) == 3
    assert operator.count_dead("twitter", DeadFilter(error="date*parse")) == 0
    most = DeadFilter(error="ParseError: twitter *: no date in *")
    assert operator.requeue_dead("twitter", most).queued == 3
    store.client.set(store.keys.queue("news", "dead"), "banana", ex=60)
    assert len(fleet.dead_reasons()) == 6


@pytest.mark.parametrize(("tries", "failed"), [(2, 0), (9, 1)])
def test_a_job_that_is_tried_again_fails_its_caller_once_and_only_if_none_succeeds(
    pipeline: Pipeline,
    store: Store,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    tries: int,
    failed: int,
) -> None:
    """Three short outages made three failures of one ask, which was answered."""
    monkeypatch.setattr(middleware, "RETRY_SECONDS", 0.0)
    left, request = [tries], FetchRequest("twitter", "AAPL")

    def shaky(cursor: str | None) -> Page:
        left[0] -= 1
        if left[0] >= 0:
            raise UpstreamUnavailable("twitter", "503", status=503)
        return Page((item("1"),))

    broker = PacingBroker(store, settings, [TWITTER])
    monitor = UsageMonitor(store, settings)
    monkeypatch.setattr(heartbeat, "get_usage_monitor", lambda: monitor)
    broker.add_middleware(HeartbeatMiddleware(broker))

    def fetch(symbol: str, hours: int, lane: str, needed: float) -> None:
        # What is known of a failure keeps others from asking for some seconds.
        store.client.delete(store.keys.lease(request.key))
        message: Any = CurrentMessage.get_current_message()
        try:
            pipeline.run(Upstream(answer=shaky), request, patience=0.0, slot=message.options["slot"])
        except UpstreamUnavailable as error:
            error.retry_at = None
            raise

    dramatiq.actor(actor_name=actor_name("twitter"), queue_name="twitter", broker=broker)(fetch)
    Queue(store, settings).enqueue(request, caller="desk")
    with working(broker):
        wait_until(lambda: not store.client.exists(store.keys.queue("twitter", "jobs")))
    monitor.flush()
    pipeline.admission._monitor.flush()
    counted = monitor.callers.read("twitter", pipeline.admission.now)["desk"]
    assert (counted["failed"], counted["live"]) == (failed, 1 - failed)
