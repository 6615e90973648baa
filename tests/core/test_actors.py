"""Actors of a user's own, on a real worker of the pacing broker: what runs on RedisBroker runs here."""

from __future__ import annotations

import asyncio
import itertools
import logging
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, cast

import dramatiq
import pytest
from dramatiq.middleware import (
    AsyncIO,
    CurrentMessage,
    GroupCallbacks,
    Middleware,
    Retries,
    SkipMessage,
    TimeLimit,
    TimeLimitExceeded,
)
from dramatiq.rate_limits.backends import StubBackend as Barriers
from dramatiq.results import ResultFailure, ResultMissing, Results
from dramatiq.results.backends import StubBackend

import tbcache
from tbcache.fetch.function.outcome import FetcherOutcome
from tbcache.fleet import Fleet
from tbcache.io.log import get_logger
from tbcache.limiter import limiter_of
from tbcache.models import Limit
from tbcache.models.error import (
    InvalidRequest,
    Paused,
    RateLimited,
    ResultTimeout,
    TbcacheError,
    UnknownSource,
    UpstreamNotFound,
)
from tbcache.queue import HeartbeatMiddleware, PacingBroker, Queue, consumer
from tbcache.queue.account import Account
from tbcache.queue.batch import put_all
from tbcache.queue.end import MOST_TRIES
from tbcache.queue.hand import HeldJob
from tbcache.queue.job import UNHEARD, Finish, Result, decode_result, encode_result
from tbcache.queue.script import FINISH, HandedOut, JobAsk, queue_keys
from tbcache.queue.wants import Wants
from tbcache.queue.work import declare_work
from tbcache.settings import BUILT_IN, Settings
from tbcache.store import Refused, Store, Unavailable
from tbcache.store.clock import Bounds, _Range
from tests.server import Server, wait_until

REDDIT = replace(BUILT_IN["reddit"], limits=(Limit(2, 600.0),), missing=())
#: A queue that is empty within so many ms, on any machine.
PATIENCE_MS = 30_000


@dataclass
class Shop:
    """A broker with actors of a user's own, who note what they do."""

    broker: PacingBroker
    results: Any = field(default_factory=cast(Any, StubBackend))
    done: list[Any] = field(default_factory=list)

    def actor(self, function: Callable[..., Any] | None = None, **options: Any) -> Any:
        named: Any = {"actor_name": "note", **options}
        return dramatiq.actor(broker=self.broker, **named)(function or self.note)

    def note(self, what: Any) -> Any:
        self.done.append(what)
        return what

    @contextmanager
    def open(self, threads: int = 4, prefetch: int = 8) -> Iterator[dramatiq.Worker]:
        worker = dramatiq.Worker(self.broker, worker_threads=threads, worker_timeout=100)
        worker.queue_prefetch = prefetch
        worker.start()
        try:
            yield worker
        finally:
            worker.stop(PATIENCE_MS)

    def work_off(self, queue: str = "default", threads: int = 4) -> None:
        """Have a worker do what is queued, and what comes of it."""
        with self.open(threads):
            self.broker.join(queue, interval=5, timeout=PATIENCE_MS)


@pytest.fixture
def shop(store: Store, settings: Settings) -> Shop:
    shop, results = Shop(PacingBroker(store, settings, [REDDIT])), cast(Any, Results)
    shop.broker.add_middleware(results(backend=shop.results))
    shop.broker.add_middleware(GroupCallbacks(cast(Any, Barriers)()))
    return shop


def test_a_job_is_queued_whatever_stands_where_queues_are_listed(shop: Shop, store: Store) -> None:
    """Only views read that list."""
    store.client.set(store.keys.queues, "x", ex=60)
    shop.actor().send("what")
    shop.work_off()
    assert shop.done == ["what"]


def test_a_queue_lives_for_a_week_after_a_message_whatever_it_had_left(shop: Shop, store: Store) -> None:
    note, days = shop.actor(), 24 * 3600
    parts = ("interactive", "interactive-tags", "jobs", "lanes")
    keys = [store.keys.queue("default", part) for part in parts]
    note.send("what")
    assert store.client.llen(store.keys.queue("default", "bell")) == 1
    for _ in range(2):
        assert min(map(store.client.ttl, keys)) > 6 * days
        for key in (keys[0], keys[2]):
            store.client.expire(key, 5 * days)
        note.send("what")


def test_what_a_message_makes_anew_beside_what_is_there_has_its_ttl(shop: Shop, store: Store) -> None:
    """A job that was given back stands in front of a lane that has no virtual time."""
    note, keys = shop.actor(), queue_keys(store.keys, "default")
    note.send("what")
    store.client.delete(keys.interactive_tags)
    note.send("what")
    assert store.client.ttl(keys.interactive_tags) > 0


@pytest.mark.one_server
@pytest.mark.parametrize("part", ["interactive", "interactive_tags", "jobs", "lanes", "bell"])
def test_a_message_changes_nothing_where_a_part_of_the_queue_is_of_another_type(
    shop: Shop, store: Store, part: str
) -> None:
    keys, client = queue_keys(store.keys, "default"), store.client
    others = [key for key in keys if key != getattr(keys, part)]
    shop.actor().send("what")
    client.set(getattr(keys, part), "junk", ex=60)
    before = [client.dump(key) for key in others]
    with pytest.raises(Refused):
        shop.actor(actor_name="other").send("what")
    assert [client.dump(key) for key in others] == before


def test_a_message_is_sent_to_a_server_that_has_forgotten_its_script(shop: Shop) -> None:
    """As one that was restarted has."""
    shop.actor().send("before")
    shop.broker.store.client.script_flush()
    shop.actor(actor_name="other").send("after")
    shop.work_off()
    assert sorted(shop.done) == ["after", "before"]


def test_a_message_whose_id_is_empty_is_one_job(shop: Shop) -> None:
    """Any id that a program gives its messages is one: it was taken for none, and the job ran twice."""
    note = shop.actor()
    shop.broker.enqueue(dramatiq.Message(**{**vars(note.message("what")), "message_id": ""}))
    shop.work_off()
    assert shop.done == ["what"]


def test_a_message_that_is_sent_again_while_it_waits_is_one_more_job(shop: Shop, store: Store) -> None:
    message = shop.actor().message("what")
    for _ in range(3):
        shop.broker.enqueue(message)
    assert store.client.zcard(store.keys.queue("default", "interactive")) == 3
    shop.work_off()
    assert shop.done == ["what"] * 3


def test_a_job_ends_whatever_a_program_makes_of_what_is_logged_of_it(
    shop: Shop, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its end is told before it is said."""

    def refuse(*args: Any, **fields: Any) -> None:
        raise KeyError("trace_id")

    monkeypatch.setattr("tbcache.queue.end.say_end", refuse)
    shop.actor().send("what")
    with shop.open():
        wait_until(
            lambda: shop.done == ["what"] and not store.client.exists(store.keys.queue("default", "jobs"))
        )


def fail(times: int, shop: Shop) -> Callable[[str], None]:
    """An actor that fails so often, and then does its work."""

    def work(what: str) -> None:
        shop.done.append(what)
        if len(shop.done) <= times:
            raise RuntimeError("not yet")

    return work


def retries(shop: Shop) -> None:
    work = shop.actor(fail(2, shop), actor_name="work", min_backoff=1, max_backoff=20)
    work.send("try")
    shop.work_off()
    assert shop.done == ["try"] * 3


def retries_that_run_out(shop: Shop) -> None:
    work = shop.actor(fail(9, shop), actor_name="work", max_retries=1, min_backoff=1, max_backoff=5)
    work.send("try")
    shop.work_off()
    (letter,) = Queue(shop.broker.store, shop.broker.settings).dead.search("default")
    assert (shop.done, letter.reason) == (["try"] * 2, "RuntimeError: not yet")
    # Nobody can wait for it.
    assert not shop.broker.store.client.exists(shop.broker.store.keys.result("default", letter.job_id))


def delays(shop: Shop) -> None:
    note = shop.actor()
    note.send_with_options(args=("later",), delay=300)
    note.send_with_options(args=("soon",), delay=1)
    note.send("now")
    shop.work_off(threads=1)
    assert shop.done == ["now", "soon", "later"]


def max_age(shop: Shop) -> None:
    note = shop.actor(max_age=1000, store_results=True)
    message = shop.broker.enqueue(note.message("old")._replace(message_timestamp=1))
    shop.work_off()
    with pytest.raises(ResultFailure, match="age limit exceeded"):
        shop.results.get_result(message)
    assert shop.done == []


def time_limits(shop: Shop) -> None:
    def work() -> None:
        try:
            wait_until(lambda: False, 30)
        except TimeLimitExceeded:
            shop.done.append("stopped")
            raise

    settings = shop.broker.settings
    shop.broker = PacingBroker(
        shop.broker.store, settings, [], middleware=[TimeLimit(interval=10), Retries()]
    )
    # As dramatiq's command does, in each process that it starts.
    shop.broker.emit_after("process_boot")
    shop.actor(work, actor_name="work", time_limit=20, max_retries=0).send()
    shop.work_off()
    assert shop.done == ["stopped"]


def priorities(shop: Shop) -> None:
    low = shop.actor(actor_name="low", priority=10)
    high = shop.actor(actor_name="high", priority=0)
    for number in range(3):
        low.send(f"low {number}")
        high.send(f"high {number}")
    shop.work_off(threads=1)
    assert shop.done == ["high 0", "high 1", "high 2", "low 0", "low 1", "low 2"]


def results(shop: Shop) -> None:
    message = shop.actor(store_results=True).send(42)
    shop.work_off()
    assert shop.results.get_result(message) == 42


def groups(shop: Shop) -> None:
    note = shop.actor(store_results=True)
    group: Any = dramatiq.group
    queued = group([note.message(number) for number in range(3)], broker=shop.broker)
    queued.add_completion_callback(note.message("all"))
    queued = queued.run()
    shop.work_off()
    assert (sorted(queued.get_results()), shop.done[-1]) == ([0, 1, 2], "all")


def pipelines(shop: Shop) -> None:
    double = shop.actor(lambda number: 2 * number, actor_name="double")
    pipeline: Any = dramatiq.pipeline
    pipeline([double.message(5), double.message(), shop.actor().message()], broker=shop.broker).run()
    shop.work_off()
    assert shop.done == [20]


def callbacks(shop: Shop) -> None:
    shop.actor(lambda message, result: shop.done.append(result), actor_name="succeeded")
    shop.actor(lambda message, error: shop.done.append(error["type"]), actor_name="failed")
    shop.actor(lambda: 7, actor_name="good", on_success="succeeded").send()
    shop.actor(lambda: 1 / 0, actor_name="bad", on_failure="failed", max_retries=0).send()
    shop.work_off()
    assert sorted(map(str, shop.done)) == ["7", "ZeroDivisionError"]


def async_actors(shop: Shop) -> None:
    shop.broker.add_middleware(AsyncIO())

    async def work(what: str) -> None:
        await asyncio.sleep(0)
        # What it sends goes out from the loop's thread.
        note.send(what)

    note = shop.actor()
    shop.actor(work, actor_name="work").send("awaited")
    shop.work_off()
    assert shop.done == ["awaited"]


def messages_of_its_own(shop: Shop) -> None:
    """Any arguments, a lane among them, and a message that is sent again while it runs."""

    def work(**given: Any) -> None:
        shop.done.append(given)
        message: Any = CurrentMessage.get_current_message()
        if len(shop.done) == 1:
            shop.broker.enqueue(message._message)

    shop.actor(work, actor_name="work").send(lane="fast", hours=[1])
    shop.work_off()
    assert shop.done == [{"lane": "fast", "hours": [1]}] * 2


def an_unknown_actor(shop: Shop) -> None:
    shop.actor()
    shop.broker.enqueue(dramatiq.Message("default", "nobody", (), {}, {}))
    shop.work_off()
    (letter,) = Queue(shop.broker.store, shop.broker.settings).dead.search("default")
    assert letter.reason == "ActorNotFound: nobody"


@pytest.mark.parametrize(
    "feature",
    [
        retries,
        retries_that_run_out,
        delays,
        max_age,
        time_limits,
        priorities,
        results,
        groups,
        pipelines,
        callbacks,
        async_actors,
        messages_of_its_own,
        an_unknown_actor,
    ],
)
def test_what_dramatiq_offers_works(shop: Shop, feature: Callable[[Shop], None]) -> None:
    """Who moves to this broker changes no actor."""
    feature(shop)
    assert shop.broker.threads.busy == 0


# Paced


def test_a_paced_actor_waits_for_its_slot_and_holds_up_no_other(shop: Shop, store: Store) -> None:
    """One worker runs both kinds, and priorities hold among jobs that are not paced."""
    paced = shop.actor(lambda number: shop.done.append(number), actor_name="paced", source="reddit")
    low, high = (shop.actor(actor_name=name, priority=at) for name, at in (("low", 5), ("high", 0)))
    for number in range(3):
        paced.send(number)
        low.send("low")
        high.send("high")
    with shop.open(threads=2):
        shop.broker.join("default", interval=5, timeout=PATIENCE_MS)
        wait_until(lambda: Queue(store, shop.broker.settings).depth("reddit").running == 0 and 1 in shop.done)
    assert [one for one in shop.done if isinstance(one, str)] == ["high"] * 3 + ["low"] * 3
    assert sorted(one for one in shop.done if isinstance(one, int)) == [0, 1]
    assert Queue(store, shop.broker.settings).depth("reddit").waiting == 1


@pytest.mark.parametrize("busy", ["default", "reddit"])
def test_the_one_queue_that_is_busy_has_every_thread(shop: Shop, busy: str) -> None:
    """Threads that are kept for queues with nothing to do are missing where there is much."""
    wide = (Limit(100, 1.0),)
    shop.broker.sources |= {name: replace(BUILT_IN[name], limits=wide) for name in ("news", "reddit")}
    together = threading.Barrier(4)
    for name in ("one", "two", "three"):
        shop.actor(actor_name=name, queue_name=name)
    shop.actor(actor_name="paced", source="news")
    where = {"source": busy} if busy == "reddit" else {}
    meet = shop.actor(lambda what: shop.note(together.wait(30)), actor_name="meet", **where)
    for number in range(8):
        meet.send(number)
    shop.work_off(busy, threads=4)
    assert sorted(shop.done) == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("is_lost", [False, True])
def test_a_slot_is_held_for_as_long_as_its_job_runs_and_leaves_the_window_after_it(
    store: Store, is_lost: bool
) -> None:
    """The request may be sent at its very end: a slot that counts from its begin would leave too early. So it
    would where Redis has lost the job, which its worker goes on with."""
    shop = Shop(PacingBroker(store, store.settings, [REDDIT]))
    goes_on = threading.Event()
    shop.actor(lambda: goes_on.wait(30), actor_name="slow", source="reddit").send()
    slots = store.keys.slots("reddit")

    def stamps() -> list[float]:
        return [stamp for _, stamp in store.client.zrange(slots, 0, -1, withscores=True)]

    with shop.open(threads=1):
        wait_until(stamps)
        if is_lost:
            store.client.delete(*(store.keys.queue("reddit", part) for part in ("jobs", "claims")))
        # Before the stamp is read: the slot may be held on in between.
        store.client.expire(slots, 60)
        (first,) = stamps()
        wait_until(lambda: stamps()[0] > first)
        assert store.client.ttl(slots) > 600, "it would be forgotten with the key"
        goes_on.set()
        shop.broker.join("reddit", interval=5, timeout=PATIENCE_MS)
    now, micros = store.client.time()
    (last,) = stamps()
    assert last <= now * 1e6 + micros


def test_a_slot_of_a_job_that_is_over_is_not_held_on_by_an_ask_that_began_before(
    shop: Shop, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would stand in the window for as long as a hold, and no other job could have it."""
    shop.actor(source="reddit").send(1)
    shop.broker.threads.open(1)
    consumer: Any = shop.broker.consume("reddit", timeout=1)
    job = wait_until(lambda: next(consumer), what="a job")
    job.is_begun = True
    in_hand = consumer._hand.renewals
    consumer.ack(job)
    monkeypatch.setattr(type(consumer._hand), "renewals", property(lambda hand: in_hand))
    consumer._take()
    ((_, stamp),) = store.client.zrange(store.keys.slots("reddit"), 0, -1, withscores=True)
    seconds, micros = store.client.time()
    assert stamp <= seconds * 1e6 + micros


@pytest.mark.parametrize("is_paced", [True, False])
def test_a_job_that_is_skipped_is_no_request(
    shop: Shop, store: Store, caplog: pytest.LogCaptureFixture, is_paced: bool
) -> None:
    """Its slot goes to the next, and the log has no end of what never began."""
    caplog.set_level("INFO", "tbcache.queue")
    paced = shop.actor(actor_name="paced", max_age=1000, **({"source": "reddit"} if is_paced else {}))
    shop.broker.enqueue(paced.message("old")._replace(message_timestamp=1))
    shop.work_off(paced.queue_name)
    assert (shop.done, store.client.zcard(store.keys.slots("reddit"))) == ([], 0)
    paced.send("new")
    shop.work_off(paced.queue_name)
    assert (shop.done, [one.msg for one in caplog.records].count("job.ended")) == (["new"], 1)


def test_the_slot_of_a_job_that_is_skipped_is_asked_for_at_once(shop: Shop) -> None:
    """A fresh one behind 600 that had expired waited for half a minute, with its limit unused."""
    paced = shop.actor(source="reddit", max_age=1000)
    for _ in range(3):
        paced.send("old")
    shop.broker.threads.open(3)
    consumer: Any = shop.broker.consume("reddit", timeout=1)
    first, second = (wait_until(lambda: next(consumer), what="a job") for _ in range(2))
    wait_until(lambda: not consumer._alarm.is_due, what="no slot for the third")
    first.is_begun = True
    consumer.ack(first)
    assert not consumer._alarm.is_due, "its slot is used"
    consumer.nack(second)
    assert consumer._alarm.is_due
    assert wait_until(lambda: next(consumer), what="the third").args == ("old",)


def test_nobody_does_a_job_that_was_skipped(shop: Shop) -> None:
    """`status` would say for good that its worker does it."""
    beats, job = HeartbeatMiddleware(shop.broker), cast(Any, shop.actor().message("what"))
    beats.before_process_message(shop.broker, job)
    assert beats._load().doing == ("default ",)
    beats.after_skip_message(shop.broker, job)
    beats.after_process_message(shop.broker, job)
    assert (beats._load().doing, beats._load().pace) == ((), {"default": 0.0})
    # One that was started for some of its queues takes no job of the others.
    shop.actor(actor_name="other", queue_name="other")
    worker = cast(Any, types.SimpleNamespace(consumer_whitelist={"other"}, workers=[]))
    beats.after_worker_boot(shop.broker, worker)
    assert beats._load().pace == {"other": 0.0}


def test_a_job_that_is_due_by_its_own_option_is_handed_out_once(shop: Shop) -> None:
    """Dramatiq would queue it again, behind all that wait."""
    queued: list[Any] = []

    class Hearing(Middleware):
        def after_enqueue(self, broker: Any, message: Any, delay: int | None) -> None:
            queued.append(delay)

    shop.broker.add_middleware(cast(Any, Hearing)())
    shop.actor().send_with_options(args=("due",), eta=1)
    shop.work_off()
    assert (shop.done, queued) == (["due"], [None])


def test_what_a_worker_has_not_begun_as_it_is_stopped_keeps_its_order(shop: Shop, store: Store) -> None:
    """Each is put in front of its lane: those in the consumer first, then those in dramatiq's own queue."""
    note = shop.actor()
    sent = [note.send(number).message_id for number in range(6)]
    consumer: Any = shop.broker.consume("default", prefetch=4, timeout=1)
    jobs = [next(consumer) for _ in range(2)]
    shop.broker.threads.close()
    assert next(consumer) is None
    consumer.requeue(jobs)
    lane = store.client.zrange(store.keys.queue("default", "interactive"), 0, -1)
    assert [one.decode() for one in cast(Any, lane)] == sent


def test_an_actor_waits_in_the_queue_of_its_source(shop: Shop) -> None:
    """Another queue could not see the slots, and an unknown source would be no limit at all."""
    assert shop.actor(source="reddit").queue_name == "reddit"
    with pytest.raises(UnknownSource, match="did you mean 'reddit'"):
        shop.actor(actor_name="typo", source="redit")
    with pytest.raises(ValueError, match="leave out the queue 'mail'"):
        shop.actor(actor_name="both", source="reddit", queue_name="mail")


def test_an_actor_in_the_queue_of_a_source_says_so(shop: Shop) -> None:
    """It was paced by limits of an API that its program never asks, and nothing told why its jobs waited."""
    with pytest.raises(
        ValueError, match=r"^mine waits in the queue 'reddit', .*source='reddit'.*'reddit-jobs'$"
    ):
        shop.actor(actor_name="mine", queue_name="reddit")
    assert "mine" not in shop.broker.actors
    assert shop.actor(actor_name="both", source="reddit", queue_name="reddit").queue_name == "reddit"
    assert shop.actor(actor_name="other", queue_name="reddit-jobs").queue_name == "reddit-jobs"
    assert shop.actor(actor_name="fetch.reddit", queue_name="reddit").queue_name == "reddit"


def test_what_was_queued_before_its_actor_was_paced_waits_for_its_slot(shop: Shop, store: Store) -> None:
    """The version before had a plain actor, or one of another source: 20 of its jobs were sent in 30 ms."""
    shop.actor(actor_name="plain")
    paced = shop.actor(source="reddit")
    for number in range(3):
        shop.broker.enqueue(paced.message(number).copy(queue_name="default"))
    with shop.open():
        shop.broker.join("default", interval=5, timeout=PATIENCE_MS)
        wait_until(lambda: len(shop.done) == 2)
        wait_until(lambda: Queue(store, shop.broker.settings).depth("reddit").running == 0)
    assert len(shop.done) == 2
    assert Queue(store, shop.broker.settings).depth("reddit").waiting == 1


def test_of_long_messages_no_more_are_read_than_are_handed_out(shop: Shop, store: Store) -> None:
    """Sixteen of two megabytes were read for one; none was handed out within the time that a worker waits."""
    note = shop.actor()
    for _ in range(8):
        note.send("x" * 300_000)
    store.client.config_resetstat()
    consumer = shop.broker.consume("default", prefetch=4, timeout=100)
    shop.broker.threads.open(4)
    try:
        job = next(consumer)
        assert job is not None
        output = store.client.info("commandstats")
        assert output["cmdstat_hget"]["calls"] <= 3
        assert "cmdstat_hmget" not in output
        consumer.ack(job)
    finally:
        consumer.close()
    shop.work_off()
    assert len(shop.done) == 7


def test_a_message_that_could_not_be_handed_out_is_refused(shop: Shop) -> None:
    """One of 60 MB was queued, and held up all behind it for ever."""
    with pytest.raises(
        InvalidRequest, match=r"a message of 9\.0 MB to note, and the most is 8 MB: keep what"
    ):
        shop.actor().send("x" * 9_000_000)
    with pytest.raises(InvalidRequest):
        shop.broker.enqueue_many([shop.actor(actor_name="many").message("x" * 9_000_000)])


def outcomes(caplog: pytest.LogCaptureFixture) -> list[str]:
    """How jobs ended, as the log has it."""
    return [cast(Any, one).outcome for one in caplog.records if one.msg == "job.ended"]


def send_two(shop: Shop, follow: str, may_end: threading.Event) -> None:
    """Queue a job that waits for its end, and one that follows it, as a pipeline or by a callback."""

    def first(what: Any) -> Any:
        shop.done.append(f"begun {what}")
        assert may_end.wait(30)
        return what

    second = shop.actor(lambda *args: shop.done.append("then"), actor_name="second")
    one = shop.actor(first, actor_name="first")
    if follow == "pipeline":
        dramatiq.pipeline([one.message("it"), second.message()], broker=shop.broker).run()
    else:
        one.send_with_options(args=("it",), on_success=second)


@pytest.mark.parametrize("is_known", [True, False])
@pytest.mark.parametrize("follow", ["pipeline", "callback"])
def test_what_follows_a_job_is_not_lost_where_redis_stands_still(
    private_server: Server,
    settings_for: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
    follow: str,
    is_known: bool,
) -> None:
    """The job was acknowledged, and its pipeline ended there: of eight none went on."""
    settings = settings_for(private_server)
    with closing(Store(settings)) as store:
        shop = Shop(PacingBroker(store, settings, [REDDIT]))
        may_end, is_asked, is_frozen = (threading.Event() for _ in range(3))
        ask = store.call if is_known else shop.broker._put

        def ask_then(*args: Any, **more: Any) -> Any:
            if may_end.is_set():
                is_asked.set()
                assert is_frozen.wait(30)
            return ask(*args, **more)

        monkeypatch.setattr(*((store, "call") if is_known else (shop.broker, "_put")), ask_then)

        send_two(shop, follow, may_end)
        with shop.open():
            wait_until(lambda: shop.done == ["begun it"])
            if not is_known:
                may_end.set()
                assert is_asked.wait(30)
            with private_server.frozen():
                if is_known:
                    wait_until(lambda: not store.is_available)
                    may_end.set()
                    assert is_asked.wait(30)
                is_frozen.set()
                # It asks, in vain.
                wait_until(lambda: not store.is_available)
            wait_until(lambda: shop.done == ["begun it", "then"])
            shop.broker.join("default", interval=5, timeout=PATIENCE_MS)
    # What was asked of a server that stood still is not done as it goes on.
    assert shop.done == ["begun it", "then"]


class Wordless(Exception):
    """As one whose ``__str__`` goes by an attribute that is not set."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


def test_a_job_that_fails_without_words_is_tried_again_and_dead_then(shop: Shop, store: Store) -> None:
    """It was taken for done after one try: the words were asked for as it was put off."""

    def fail() -> None:
        shop.done.append("tried")
        raise Wordless

    shop.actor(fail, max_retries=1, min_backoff=1, max_backoff=1).send()
    with shop.open():
        wait_until(lambda: Queue(store, shop.broker.settings).dead.search("default"))
    assert shop.done == ["tried"] * 2


def test_a_job_that_fails_with_half_a_character_is_dead_and_holds_up_no_other(
    shop: Shop, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a text that was cut within an emoji. Its end, and all that were to be told with it, came back again
    and again, in each worker that took it up."""
    # pytest-xdist hands on what was logged, and cannot hand on that text.
    monkeypatch.setattr(logging.root.manager, "disable", logging.CRITICAL)

    def fail() -> None:
        raise ValueError("bad text: \ud83d")

    fails, note = shop.actor(fail, actor_name="fail", max_retries=0), shop.actor()
    with shop.open():
        for number in range(4):
            fails.send()
            note.send(number)
        wait_until(lambda: sorted(shop.done) == [0, 1, 2, 3])
        shop.broker.join("default", interval=5, timeout=PATIENCE_MS)
    dead = Queue(store, shop.broker.settings).dead.search("default")
    assert [one.reason for one in dead] == ["ValueError: bad text: ?"] * 4


def test_a_result_that_cannot_be_written_says_so() -> None:
    """Nor is any other told that stands beside it."""
    told = decode_result(encode_result(Result(message="\ud83d")))
    assert told.message == "its result cannot be written (UnicodeEncodeError)"


@pytest.mark.parametrize(
    "error",
    [
        UpstreamNotFound("news", "no \ud83d"),
        RateLimited("news", datetime(2030, 1, 1, tzinfo=UTC), "no \ud83d"),
    ],
)
def test_who_waits_gets_the_error_itself_that_has_half_a_character(
    error: UpstreamNotFound | RateLimited,
) -> None:
    """Who backs off goes by its type, and by until when."""
    with pytest.raises(type(error), match=r"no \?") as raised:
        decode_result(encode_result(Result.of(None, error))).get("news")
    assert raised.value.retry_at == error.retry_at


@pytest.mark.parametrize("has_asked", [False, True])
@pytest.mark.parametrize("follow", ["pipeline", "callback"])
def test_what_follows_a_job_that_was_given_away_is_queued_by_whoever_has_it(
    shop: Shop, store: Store, caplog: pytest.LogCaptureFixture, follow: str, has_asked: bool
) -> None:
    """A worker that had stood still sent it a second time, and all that came after it; and its log told of a
    job that was done."""
    caplog.set_level("INFO", "tbcache.queue")
    claims, jobs = (store.keys.queue("default", part) for part in ("claims", "jobs"))
    may_end = threading.Event()

    send_two(shop, follow, may_end)
    with shop.open():
        wait_until(lambda: shop.done == ["begun it"])
        # As a dequeue of another worker does, beside the claim of its own.
        assert store.client.zremrangebyrank(claims, 0, -1) == 1
        hand = shop.broker.hands["default"]
        hand.holds_until = 0.0
        if has_asked:
            # It goes on, and believes once more that it renews what it has.
            wait_until(lambda: hand.holds_until)
        may_end.set()
        wait_until(lambda: not shop.broker.threads.busy)
        note = shop.actor()
        note.send("later")
        wait_until(lambda: "later" in shop.done)
        wait_until(lambda: store.client.hlen(jobs) == 1)
    assert shop.done == ["begun it", "later"]
    assert sorted(outcomes(caplog)) == ["done", "lost"]


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("has_asked", [False, True])
def test_the_end_of_a_job_that_was_given_away_counts_nowhere(
    shop: Shop, store: Store, caplog: pytest.LogCaptureFixture, has_asked: bool, fails: bool
) -> None:
    """A worker that had been cut off counted it in its group a second time, whose callback came while others
    ran, and twice; and what it made of the job, as that it had failed, took the place of its result."""
    caplog.set_level("INFO", "tbcache.queue")
    may_end, messages = threading.Event(), list[Any]()

    def work(what: str) -> str:
        messages.append(CurrentMessage.get_current_message().copy())
        shop.done.append(f"{what} begun")
        if shop.done.count(f"{what} begun") == 1:
            assert may_end.wait(30)
            if fails:
                raise RuntimeError("it failed")
        return f"{what} done"

    work_on, note = shop.actor(work, actor_name="work", store_results=True, max_retries=0), shop.actor()
    group: Any = dramatiq.group
    queued = group([work_on.message("it"), note.message("other")], broker=shop.broker)
    queued.add_completion_callback(note.message("all"))
    queued.run()
    with shop.open():
        wait_until(lambda: sorted(shop.done) == ["it begun", "other"])
        wait_until(lambda: outcomes(caplog) == ["done"])
        assert store.client.zremrangebyrank(store.keys.queue("default", "claims"), 0, -1) == 1
        hand = shop.broker.hands["default"]
        hand.holds_until = 0.0
        if has_asked:
            wait_until(lambda: hand.holds_until)
        may_end.set()
        wait_until(lambda: outcomes(caplog) == ["done", "lost"])
        with pytest.raises(ResultMissing):
            shop.results.get_result(messages[0])
        # As another does that has it.
        shop.broker.enqueue(messages[0])
        wait_until(lambda: shop.done[-1] == "all")
        note.send("later")
        wait_until(lambda: "later" in shop.done)
    assert shop.results.get_result(messages[0]) == "it done"
    assert sorted(shop.done) == ["all", "it begun", "it begun", "later", "other"]


def test_the_end_of_a_job_whose_claim_may_have_lapsed_waits_for_redis(
    private_server: Server, settings_for: Callable[..., Settings]
) -> None:
    """Longer than its time limit: its actor is through."""
    settings = settings_for(private_server)
    with closing(Store(settings)) as store:
        shop = Shop(PacingBroker(store, settings, [REDDIT]))
        shop.broker.add_middleware(cast(Any, Results)(backend=shop.results))
        shop.broker.emit_after("process_boot")
        may_end = threading.Event()

        def work() -> str:
            shop.done.append("begun")
            assert may_end.wait(30)
            return "done"

        message = shop.actor(work, actor_name="work", store_results=True, time_limit=1500).send()
        with shop.open() as worker:
            wait_until(lambda: shop.done == ["begun"])
            with private_server.frozen():
                wait_until(lambda: not store.is_available)
                shop.broker.hands["default"].holds_until = 0.0
                may_end.set()
                overdue = time.monotonic() + 2.5
                wait_until(lambda: time.monotonic() > overdue)
                with pytest.raises(ResultMissing):
                    shop.results.get_result(message)
            wait_until(lambda: not shop.broker.threads.busy)
            assert all(thread.is_alive() for thread in worker.workers)
    assert (shop.results.get_result(message), shop.done) == ("done", ["begun"])


def test_a_job_of_which_a_stopped_worker_cannot_know_whose_it_is_is_done_once_more(
    shop: Shop, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever does it then is heard of."""
    monkeypatch.setattr("tbcache.queue.context.STOP_SECONDS", 0.5)
    may_end, is_asked, ask = threading.Event(), threading.Event(), store.call

    def work() -> int:
        shop.done.append("begun")
        assert may_end.wait(30)
        return len(shop.done)

    def is_away(name: str, *args: Any) -> Any:
        if name != "ZSCORE":
            return ask(name, *args)
        is_asked.set()
        raise Unavailable("there", "it is away")

    message = shop.actor(work, actor_name="work", store_results=True).send()
    with shop.open():
        wait_until(lambda: shop.done == ["begun"])
        monkeypatch.setattr(store, "call", is_away)
        (job,) = shop.broker.context.jobs._jobs.values()
        job.holds_until = lambda: 0.0
        may_end.set()
        assert is_asked.wait(30)
    monkeypatch.undo()
    with pytest.raises(ResultMissing):
        shop.results.get_result(message)
    shop.work_off()
    assert (shop.results.get_result(message), shop.done) == (2, ["begun"] * 2)


def test_a_message_that_is_queued_again_after_its_job_is_one_more_job(shop: Shop) -> None:
    """As an actor does that keeps what it has, and works it off later: it was dropped without a word."""
    kept: list[Any] = []

    def keep(what: str) -> None:
        shop.done.append(what)
        kept.append(CurrentMessage.get_current_message())

    shop.actor(keep, actor_name="keep").send("what")
    shop.work_off()
    shop.broker.enqueue(kept[0])
    shop.work_off()
    assert shop.done == ["what"] * 2


def test_a_job_whose_end_was_told_twice_is_no_lost_one(
    shop: Shop, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer of Redis came too late, and by then its claim was over as it should be."""
    caplog.set_level("INFO", "tbcache.queue")
    store, is_late = shop.broker.store, threading.Event()
    run_script = store.run

    def run_late(script: Any, call: Any) -> Any:
        answer = run_script(script, call)
        if script is FINISH and not is_late.is_set():
            is_late.set()
            raise Unavailable("there", "it is late")
        return answer

    monkeypatch.setattr(store, "run", run_late)
    shop.actor().send("what")
    shop.work_off()
    wait_until(lambda: outcomes(caplog))
    assert outcomes(caplog) == ["done"]


@pytest.mark.parametrize("follow", ["pipeline", "callback"])
def test_what_follows_a_job_is_queued_where_redis_has_come_back_empty(
    shop: Shop, store: Store, follow: str
) -> None:
    """Nobody else has the job, or will: its pipeline ended there for good."""
    may_end = threading.Event()
    send_two(shop, follow, may_end)
    with shop.open():
        wait_until(lambda: shop.done == ["begun it"])
        shop.broker.flush_all()
        may_end.set()
        wait_until(lambda: shop.done == ["begun it", "then"])


@pytest.mark.parametrize("may_be_done", [False, True])
def test_what_follows_a_job_is_given_up_only_where_it_may_have_been_queued(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, may_be_done: bool
) -> None:
    """What Redis has not done, as it came to it too late, can be asked for as often as need be."""
    resend, tries = shop.broker.context.resend, itertools.count(1)

    def resend_late(*args: Any) -> None:
        if next(tries) <= MOST_TRIES + 1:
            error = Unavailable("there", "it is late")
            error.is_timeout = may_be_done
            raise error
        resend(*args)

    monkeypatch.setattr(shop.broker.context, "resend", resend_late)
    may_end = threading.Event()
    may_end.set()
    send_two(shop, "pipeline", may_end)
    shop.work_off()
    said = [one.msg for one in caplog.records if one.msg.startswith("job.follow")]
    assert shop.done == ["begun it", *([] if may_be_done else ["then"])]
    assert said == ["job.follow_waits", *(["job.follow_lost"] if may_be_done else [])]


def test_what_follows_a_job_that_is_cancelled_is_dropped(shop: Shop, store: Store) -> None:
    """Redis knows its claim no more, as where it is empty; the worker may not have been told yet."""
    may_end, queue = threading.Event(), Queue(store, shop.broker.settings)
    send_two(shop, "pipeline", may_end)
    with shop.open(), pytest.MonkeyPatch.context() as patch:
        wait_until(lambda: shop.done == ["begun it"])
        patch.setattr(shop.broker.context.jobs, "cancel", lambda claims: None)
        (job_id,) = store.client.hkeys(store.keys.queue("default", "jobs"))
        queue.cancel("default", job_id.decode(), "nobody wants it")
        may_end.set()
        wait_until(lambda: not shop.broker.threads.busy)
        shop.actor().send("later")
        wait_until(lambda: "later" in shop.done)
    assert shop.done == ["begun it", "later"]


def test_a_job_that_another_has_by_now_is_not_begun(shop: Shop, store: Store) -> None:
    """A worker that stood still asks for jobs as it goes on, and seemed to have renewed what it had."""
    note, claims = shop.actor(), store.keys.queue("default", "claims")
    for number in range(2):
        note.send(number)
    consumer: Any = shop.broker.consume("default", prefetch=2, timeout=1)
    jobs = [next(consumer) for _ in range(2)]
    shop.broker.hands["default"].holds_until = 0.0
    store.client.zrem(claims, jobs[0].claim)
    consumer._take()
    with pytest.raises(SkipMessage):
        shop.broker.emit_before("process_message", jobs[0])
    shop.broker.emit_before("process_message", jobs[1])
    for one in jobs:
        shop.broker.emit_after("process_message", one)
        consumer.ack(one)


@pytest.mark.parametrize("has_source", [False, True])
def test_a_job_whose_workers_died_twice_has_no_other_beside_it(
    shop: Shop, store: Store, has_source: bool
) -> None:
    """Those that were taken ahead would die with it, and count as having killed their worker."""
    may_end, keys = threading.Event(), queue_keys(store.keys, "default")

    def wait() -> None:
        shop.done.append("begun")
        assert may_end.wait(30)

    note, accused = shop.actor(), shop.actor(wait, actor_name="wait")
    if has_source:
        shop.actor(actor_name="paced", source="reddit")
    job_id = accused.send().message_id
    store.client.hset(keys.deaths, job_id, 2)
    store.client.expire(keys.deaths, 60)
    store.client.zrem(keys.interactive, job_id)
    store.client.zadd(keys.suspects, {job_id: 1})
    store.client.expire(keys.suspects, 60)
    with shop.open(threads=2):
        wait_until(lambda: shop.done == ["begun"])
        for number in range(4):
            note.send(number)
        hand = shop.broker.hands["default"]
        for _ in range(3):
            # It has asked once more.
            wait_until(lambda before=hand.holds_until: hand.holds_until > before)
        assert len(hand) == 1
        assert shop.done == ["begun"]
        may_end.set()
        wait_until(lambda: len(shop.done) == 5)


def test_an_interrupt_amid_a_line_of_the_log_leaves_no_lock(shop: Shop) -> None:
    """A handler's lock was taken by a function in Python, and every thread that logged hung for good."""

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            shop.done.append(str.__str__(record.msg))

    logger, handler = logging.getLogger("tbcache"), Lines(logging.WARNING)
    lock: Any = handler.lock

    def interrupt(frame: types.FrameType, event: str, called: object) -> None:
        if event == "c_return" and called == lock.acquire:
            raise TimeLimitExceeded

    def work() -> None:
        sys.setprofile(interrupt)
        try:
            get_logger("tbcache.fetch").warning("it.works")
        finally:
            sys.setprofile(None)

    logger.addHandler(handler)
    try:
        shop.broker.emit_after("process_boot")
        shop.actor(work, actor_name="work", max_retries=0).send()
        shop.work_off()
        assert shop.done == ["it.works"]
        assert lock.acquire(timeout=30)
        lock.release()
    finally:
        logger.removeHandler(handler)


@pytest.mark.parametrize("fails", [False, True])
def test_no_time_limit_ends_the_wait_of_what_follows_a_job(
    private_server: Server, settings_for: Callable[..., Settings], fails: bool
) -> None:
    """It ended in the middleware: the job that was done was done again, and one that had failed took its
    thread with it."""
    settings = settings_for(private_server)
    with closing(Store(settings)) as store:
        shop = Shop(PacingBroker(store, settings, [REDDIT]))
        shop.broker.emit_after("process_boot")
        may_end = threading.Event()

        def first() -> None:
            shop.done.append("begun")
            assert may_end.wait(30)
            if fails:
                raise RuntimeError("it failed")

        second = shop.actor(lambda *args: shop.done.append("then"), actor_name="second")
        one = shop.actor(first, actor_name="first", time_limit=1500, max_retries=0)
        one.send_with_options(**{"on_failure" if fails else "on_success": second})
        with shop.open() as worker:
            wait_until(lambda: shop.done == ["begun"])
            with private_server.frozen():
                wait_until(lambda: not store.is_available)
                may_end.set()
                # Beyond its time limit.
                overdue = time.monotonic() + 2.5
                wait_until(lambda: time.monotonic() > overdue)
            wait_until(lambda: shop.done == ["begun", "then"])
            assert all(thread.is_alive() for thread in worker.workers)


def test_what_was_accepted_is_moved_into_a_queue_that_is_drained(shop: Shop, store: Store) -> None:
    """It was dead-lettered as if it were new."""
    shop.actor(actor_name="plain")
    paced = shop.actor(source="reddit")
    shop.broker.enqueue(paced.message(1).copy(queue_name="default"))
    Fleet(shop.broker.settings, store).as_operator("ada").drain("reddit")
    with shop.open():
        wait_until(lambda: shop.done == [1])
    assert not Queue(store, shop.broker.settings).dead.search("default")


@pytest.mark.parametrize("key", ["", "a fetch"])
def test_what_is_asked_after_its_deadline_is_not_queued(
    shop: Shop, store: Store, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    """A server that had stood still did it, and whoever had given up had asked once more by then."""

    def long_past(*_: object) -> Bounds:
        return Bounds(1, 1)

    monkeypatch.setattr(store.clock, "bounds_at", long_past)
    with pytest.raises(Unavailable):
        tbcache.io.run(put_all(store, "default", [JobAsk("1", b"{}", key)], Wants(Account("", 1000))))
    assert not store.client.exists(store.keys.queue("default", "jobs"))


@pytest.mark.parametrize("many", [1, 2])
@pytest.mark.parametrize("seconds", [-3600.0, 3600.0])
def test_who_sends_after_the_servers_clock_was_set_asks_once_more(
    shop: Shop, store: Store, seconds: float, many: int
) -> None:
    """Nothing is wrong with the server, and nobody but a sender may have asked it for long."""
    store.clock._ranges = {
        name: _Range(one.low + seconds, one.high + seconds, one.seen_at)
        for name, one in store.clock._ranges.items()
    }
    note = shop.actor()
    shop.broker.enqueue_many([note.message(place) for place in range(many)])
    shop.work_off()
    assert len(shop.done) == many


def test_a_send_that_raises_is_not_done_later(
    private_server: Server, settings_for: Callable[..., Settings]
) -> None:
    """Who sends the same message again, as one must not lose it, had it done twice."""
    settings = settings_for(private_server)
    with closing(Store(settings)) as store:
        shop = Shop(PacingBroker(store, settings, [REDDIT]))
        note = shop.actor()
        note.send("before")
        with private_server.frozen(), pytest.raises(Unavailable):
            note.send("it")
        wait_until(lambda: store.is_available)
        note.send("it")
        shop.work_off()
    assert sorted(shop.done) == ["before", "it"]


def test_a_worker_without_redis_says_that_it_gets_no_jobs(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """It said that it was ready for action, and did nothing."""
    with (
        closing(Store(replace(settings, redis_url=""))) as store,
        Shop(PacingBroker(store, settings, [])).open(),
    ):
        assert "this worker gets no jobs" in caplog.text


def test_a_retry_is_not_lost_where_redis_is_away(
    shop: Shop, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On RedisBroker a retry that cannot be queued is swallowed, and its message acknowledged."""

    refused: list[str] = []

    async def is_away(script: Any, call: Any) -> Any:
        refused.append(script.name)
        raise Unavailable("somewhere", "away")

    def work() -> None:
        shop.done.append("tried")
        if len(shop.done) == 1:
            monkeypatch.setattr(store, "ask", is_away)
            raise RuntimeError("and Redis with it")

    shop.actor(work, actor_name="work", min_backoff=1, max_backoff=5).send()
    with shop.open():
        wait_until(lambda: "finish" in refused)
        monkeypatch.undo()
        shop.broker.join("default", interval=5, timeout=PATIENCE_MS)
    assert shop.done == ["tried"] * 2


def test_a_paced_job_is_left_to_a_worker_that_has_its_actor(shop: Shop, store: Store) -> None:
    """Workers of one source may have different actors, and it has one queue. Who draws a job whose actor it
    has not puts it off for a moment, and for longer where nobody has."""
    shop.actor(source="reddit").send("this")
    stranger = Shop(PacingBroker(store, shop.broker.settings, [REDDIT]))
    stranger.broker.threads.open(1)
    consumer: Any = stranger.broker.consume("reddit", timeout=1)
    met = stranger.broker.hands["reddit"].put_off
    wait_until(lambda: consumer._take() or list(met.values()) == [0.2], what="a second time")
    assert store.client.zcard(store.keys.slots("reddit")) == 0
    shop.work_off("reddit")
    assert shop.done == ["this"]
    assert Queue(store, shop.broker.settings).dead.search("reddit") == []


@pytest.mark.parametrize("is_async", [False, True])
def test_a_fetcher_is_called_by_a_worker_with_the_slot_of_its_job(
    server: Server, monkeypatch: pytest.MonkeyPatch, is_async: bool
) -> None:
    """What is cached by then takes none, and what must wait does so in Redis."""
    for name, value in server.variables.items():
        monkeypatch.setenv(name, value)
    quotes, called = tbcache.source("quotes", limits="2/10m", ttl=60), list[str]()
    broker = tbcache.get_broker()
    monkeypatch.setattr("dramatiq.broker.global_broker", broker)

    def quote(symbol: str) -> str:
        called.append(symbol)
        return symbol.lower()

    async def quote_async(symbol: str) -> str:
        return quote(symbol)

    def found(asked: Any) -> Any:
        return asyncio.run(asked) if is_async else asked

    # Who waits is told, and need not look.
    monkeypatch.setattr("tbcache.queue.handle.LOOK_SECONDS", 60.0)
    fetcher: Any = quotes.fetcher(name="quote")(quote_async if is_async else quote)
    jobs = [found(fetcher.enqueue(symbol)) for symbol in ("A", "A", "B", "C")]
    assert [job.state for job in jobs] == ["queued", "joined", "queued", "queued"]
    assert jobs[0].job_id == jobs[1].job_id == jobs[0].message.message_id != jobs[1].message.message_id
    queue = Queue(broker.store, broker.settings)
    with Shop(broker).open(threads=1):
        assert [found(job.result(20.0)) for job in jobs[:3]] == ["a", "a", "b"]
        wait_until(lambda: queue.depth("quotes").running == 0)
    assert (called, queue.depth("quotes").waiting) == (["A", "B"], 1)
    hit = found(fetcher.enqueue("B"))
    assert (hit.state, hit.is_new, found(hit.result())) == ("hit", False, "b")
    assert found(jobs[3].explain()).place == 1
    with pytest.raises(ResultTimeout, match=f"no result within 0 s.*queue explain {jobs[3].job_id}"):
        found(jobs[3].result(0.0))
    Fleet(broker.settings, broker.store).as_operator("ada").cancel("quotes", jobs[3].job_id)
    with pytest.raises(TbcacheError, match="cancelled by ada"):
        found(jobs[3].result(20.0))
    slots = broker.store.client.zrange(broker.store.keys.slots("quotes"), 0, -1)
    assert len(slots) == 2
    broker.flush_all()


def test_a_call_that_is_queued_after_its_value_was_forgotten_is_made_anew(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job was loading what is forgotten: the ask joined it, and nothing was loaded anew."""
    broker, prices, is_told = broker_of_settings(server, monkeypatch), [1, 2], threading.Event()
    quotes, asked = tbcache.source("quotes", limits="50/10m", ttl=60), list[str]()

    @quotes.fetcher(name="quote")
    def quote(symbol: str) -> int:
        asked.append(symbol)
        price = prices[0]
        assert is_told.wait(30.0)
        return price

    quote.enqueue("A")
    with Shop(broker).open(threads=2):
        wait_until(lambda: asked, what="the load")
        del prices[0]
        quote.invalidate("A")
        states = [quote.enqueue("A") for _ in range(3)]
        is_told.set()
        assert [job.state for job in states] == ["queued", "joined", "joined"]
        assert (states[2].result(20.0), asked) == (2, ["A", "A"])
    broker.flush_all()


def test_a_call_that_costs_more_than_its_job_waits_in_redis_without_a_slot(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each held the slot of its job, and waited in its thread for those of the others."""
    broker = broker_of_settings(server, monkeypatch)
    quotes = tbcache.source("quotes", limits="5/10m", ttl=60)
    quote = quotes.fetcher(name="quote", cost=5, patience=float("inf"))(lambda symbol: symbol.lower())
    jobs = [quote.enqueue(symbol) for symbol in "AB"]
    queue, store = Queue(broker.store, broker.settings), broker.store
    with Shop(broker).open(threads=2):
        wait_until(lambda: queue.depth("quotes").delayed == 1, what="one that waits in Redis")
        wait_until(lambda: queue.depth("quotes").running == 0)
    states = [job.explain().state for job in jobs]
    (done,) = (job for job, state in zip(jobs, states, strict=True) if state != "delayed")
    assert (done.result(0.0), store.client.zcard(store.keys.slots("quotes"))) == (
        done.message.args[0].lower(),
        5,
    )
    (left,) = store.client.hvals(store.keys.queue("quotes", "jobs"))
    assert dramatiq.Message.decode(left).options["retries"] == 0
    broker.flush_all()


@pytest.mark.parametrize("cost", [1, 3])
def test_a_queued_call_of_a_drained_source_is_done_though_it_comes_without_a_slot(
    server: Server, monkeypatch: pytest.MonkeyPatch, cost: int
) -> None:
    """It was accepted before; it was put off for as long as the source was drained."""
    broker = broker_of_settings(server, monkeypatch)
    quotes = tbcache.source("quotes", limits="5/10m", ttl=60)
    quote = quotes.fetcher(name="quote", cost=cost)(lambda symbol: symbol.lower())
    quote.enqueue("A")
    Fleet(broker.settings, broker.store).as_operator("ada").drain("quotes")
    if cost == 1:
        # Its value was in the cache as it was handed out.
        monkeypatch.setattr(HandedOut, "is_held", False)
    with Shop(broker).open(threads=2):
        wait_until(lambda: quote.peek("A") == "a")
    window = limiter_of(broker.store).process_window("quotes")
    assert not window.can_fall_back, "its worker has no share of the limit, which would be kept from others"
    with pytest.raises(Paused, match="drained by ada"):
        quote("B")
    broker.flush_all()


def test_a_call_that_costs_more_than_its_job_is_not_done_by_an_old_value(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its limit was used: the job was over, with what was to be loaded anew."""
    broker = broker_of_settings(server, monkeypatch)
    quotes = tbcache.source("quotes", limits="5/10m", ttl=0.2, stale=300)
    quote = quotes.fetcher(name="quote", cost=3)(lambda symbol: symbol.lower())
    assert quote("A") == "a"
    wait_until(lambda: quote.peek("A") is None)
    quote.enqueue("A")
    queue = Queue(broker.store, broker.settings)
    with Shop(broker).open(threads=2):
        wait_until(lambda: queue.depth("quotes").delayed == 1, what="one that waits in Redis")
    broker.flush_all()


def test_a_call_that_costs_more_than_its_job_is_made_within_it(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an old value there it was made in the background: nobody tried a failure of it again."""
    broker, threads = broker_of_settings(server, monkeypatch), list[str]()
    quotes = tbcache.source("quotes", limits="10/10m", ttl=0.2, stale=300)

    @quotes.fetcher(name="quote", cost=3)
    def quote(symbol: str) -> str:
        threads.append(threading.current_thread().name)
        return symbol.lower()

    assert quote("A") == "a"
    wait_until(lambda: quote.peek("A") is None)
    quote.enqueue("A")
    with Shop(broker).open(threads=2):
        wait_until(lambda: len(threads) == 2)
    assert not threads[1].startswith("tbcache-refresh")
    broker.flush_all()


def test_a_call_that_fails_beside_an_old_value_is_over_with_that(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was dead after one try, and whoever waited for it had an error in place of the value."""
    broker = broker_of_settings(server, monkeypatch)
    quotes, answers = tbcache.source("quotes", limits="5/10m", ttl=0.2, stale=300), iter("a")
    quote = quotes.fetcher(name="quote")(lambda symbol: next(answers))
    assert quote("A") == "a"
    wait_until(lambda: quote.peek("A") is None)
    job = quote.enqueue("A")
    with Shop(broker).open(threads=1):
        assert job.result(20.0) == "a"
    assert broker.store.client.zcard(broker.store.keys.slots("quotes")) == 2
    assert Queue(broker.store, broker.settings).dead.search("quotes") == []
    broker.flush_all()


def test_a_call_that_has_just_failed_elsewhere_is_tried_again(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was dead without a try, as for some seconds the failure of another is all that there is."""
    broker = broker_of_settings(server, monkeypatch)

    @tbcache.source("quotes", limits="5/10m").fetcher(name="quote")
    def quote(symbol: str) -> str:
        raise RuntimeError("it broke")

    with pytest.raises(RuntimeError, match="it broke"):
        quote("A")
    job = quote.enqueue("A")
    with Shop(broker).open(threads=1):
        wait_until(lambda: job.explain().state == "delayed", what="another try")
    broker.flush_all()


def test_a_call_is_done_without_redis_by_what_is_fresh_in_memory() -> None:
    """On a broker of dramatiq's own it was put off again and again, each time with a slot used."""
    quote = tbcache.source("quotes", limits="5/10m", ttl=600).fetcher(name="quote")(lambda symbol: symbol)
    assert quote._loaded(FetcherOutcome("a", "stale", 569.0)) == "a"
    # By its age alone it may be no more than nearly old: some end a little earlier than others.
    with pytest.raises(RateLimited, match="no new value"):
        quote._loaded(FetcherOutcome("a", "stale", 571.0))


def test_a_fetch_that_nobody_may_hear_of_is_given_back_with_its_slot_used(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its worker was stopped while Redis was away: it was said to be done, and answered nobody."""
    broker = broker_of_settings(server, monkeypatch)
    job = HeldJob(dramatiq.Message("reddit", "fetch.reddit", (), {"symbol": "AAPL"}, {}), b"c", is_fetch=True)

    def give_up(job: HeldJob) -> bool:
        job.finish = UNHEARD
        return True

    job.is_given_away = give_up
    broker.emit_after("process_message", job, exception=RuntimeError("the fetch failed"))
    assert job.finish == Finish("back", is_begun=True)


def broker_of_settings(server: Server, monkeypatch: pytest.MonkeyPatch) -> PacingBroker:
    """The broker of a program whose settings name the server."""
    for name, value in server.variables.items():
        monkeypatch.setenv(name, value)
    broker = tbcache.get_broker()
    monkeypatch.setattr("dramatiq.broker.global_broker", broker)
    return broker


def test_who_waits_in_vain_is_told_why_the_job_failed(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A function with a bug is tried again for minutes, and "no result" says nothing of it."""
    broker = broker_of_settings(server, monkeypatch)

    @tbcache.source("quotes", limits="5/1m").fetcher(name="quote")
    def quote(symbol: str) -> float:
        raise ValueError(symbol)

    job = quote.enqueue("AAPL")
    with Shop(broker).open(threads=1):
        wait_until(lambda: job.explain().state == "delayed")
    with pytest.raises(
        ResultTimeout, match=r"no result within 0 s \(try 1 failed: ValueError: AAPL .*queue explain"
    ):
        job.result(0.0)
    broker.flush_all()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"a": (1, 2)}, "NotCacheable: .* cannot be cached"),
        (InvalidRequest("no such thing"), "InvalidRequest: no such thing"),
        (UnknownSource("redit"), "UnknownSource: unknown source 'redit'"),
    ],
)
def test_a_call_that_fails_for_good_is_dead_at_once(
    server: Server, monkeypatch: pytest.MonkeyPatch, value: Any, words: str
) -> None:
    """It was made four times, and each was paid for, while who waited was told nothing for minutes."""
    broker, called = broker_of_settings(server, monkeypatch), list[str]()

    @tbcache.source("quotes", limits="5/1m").fetcher(name="quote")
    def quote(symbol: str) -> Any:
        called.append(symbol)
        if isinstance(value, Exception):
            raise value
        return value

    job = quote.enqueue("AAPL")
    with Shop(broker).open(threads=1), pytest.raises(TbcacheError, match=words):
        job.result(20.0)
    assert (job.explain().state, called) == ("dead", ["AAPL"])
    broker.flush_all()


def test_a_dead_call_that_is_queued_again_is_the_one_job_of_that_call(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of two would take a slot, and who waits for one by its id would not be told of its end."""
    broker = broker_of_settings(server, monkeypatch)
    monkeypatch.setattr("tbcache.queue.handle.LOOK_SECONDS", 60.0)

    @tbcache.source("quotes", limits="9/1m", ttl=60).fetcher(name="quote")
    def quote(symbol: str) -> str:
        return symbol.lower()

    def bury() -> None:
        consumer.nack(wait_until(lambda: consumer._alarm.set_off() or next(consumer), what="a job"))

    declare_work(broker)
    broker.threads.open(1)
    consumer: Any = broker.consume("quotes", timeout=1)
    store, operator = broker.store, Fleet(broker.settings, broker.store).as_operator("ada")
    died = quote.enqueue("AAPL")
    bury()
    assert operator.requeue_dead("quotes") == (1, 0)
    again = quote.enqueue("AAPL")
    assert (again.state, again.job_id) == ("joined", died.job_id)
    bury()
    queued = quote.enqueue("AAPL")
    assert (queued.state, operator.requeue_dead("quotes")) == ("queued", (1, 0))
    assert store.client.hkeys(store.keys.queue("quotes", "jobs")) == [queued.job_id.encode()]
    # By the id of that letter nothing comes any more.
    with pytest.raises(TbcacheError, match="it was refused"):
        died.result(20.0)
    with Shop(broker).open(threads=1):
        assert queued.result(20.0) == "aapl"
    broker.flush_all()


def test_a_call_whose_end_sends_another_joins_none_and_is_no_hit(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next step of its pipeline was never sent, and its group never complete."""
    broker = broker_of_settings(server, monkeypatch)
    shop = Shop(broker)

    @tbcache.source("quotes", limits="9/1m", ttl=60).fetcher(name="quote")
    def quote(symbol: str) -> str:
        return symbol.lower()

    note = shop.actor(lambda number, _: shop.note(number))
    waiting = quote.enqueue("AAPL")
    for number in range(2):
        (quote.message("AAPL") | note.message(number)).run()
    with shop.open(threads=1):
        assert waiting.result(20.0) == "aapl"
        (quote.message("AAPL") | note.message(2)).run()
        wait_until(lambda: len(shop.done) == 3)
    assert sorted(shop.done) == [0, 1, 2]
    broker.flush_all()


def test_a_call_to_which_a_pipeline_adds_a_value_is_no_other_call(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was taken for the call without that value, and never ran where that was cached, or queued."""
    broker = broker_of_settings(server, monkeypatch)
    shop = Shop(broker)

    @tbcache.source("quotes", limits="9/1m", ttl=60).fetcher(name="bars")
    def bars(symbol: str, hours: int = 1) -> int:
        shop.done.append(hours)
        return hours

    choose = shop.actor(lambda hours: hours)
    with shop.open(threads=1):
        bars.enqueue("AAPL").result(20.0)
        (choose.message(24) | bars.message("AAPL")).run()
        wait_until(lambda: shop.done == [1, 24])
    assert bars.peek("AAPL", 24) == 24
    broker.flush_all()


def test_an_operator_knows_a_source_whose_actors_alone_are_used(shop: Shop, store: Store) -> None:
    """Nothing is fetched from it, and its jobs may wait before any worker has begun."""
    tbcache.source("prices", limits="2/10m")
    shop.actor(source="prices").send("AAPL")
    operator = Fleet(shop.broker.settings, store).as_operator("ada")
    operator.set_limits("prices", [Limit(1, 600.0)])
    operator.unset_limits("prices")


def test_a_worker_that_stood_still_begins_nothing_that_others_may_have(shop: Shop, store: Store) -> None:
    """Its claims have lapsed, and the jobs that it had taken ahead are done by others."""
    note = shop.actor(store_results=True)
    messages = [note.send(number) for number in range(4)]
    # Four jobs that a worker has taken ahead, when it is stopped.
    consumer: Any = shop.broker.consume("default", prefetch=4, timeout=1)
    jobs = [next(consumer) for _ in range(4)]
    shop.broker.hands["default"].holds_until = 0.0
    for job in jobs:
        with pytest.raises(SkipMessage):
            shop.broker.emit_before("process_message", job)
        shop.broker.emit_after("skip_message", job)
        assert CurrentMessage.get_current_message() is None, "this thread has no job any more"
        consumer.ack(job)
    assert shop.broker.hands["default"].keep_from_threads() == []
    assert Queue(store, shop.broker.settings).depth("default").waiting == 4
    shop.work_off()
    assert [shop.results.get_result(message) for message in messages] == [0, 1, 2, 3]
    assert sorted(shop.done) == [0, 1, 2, 3]


@pytest.mark.parametrize("is_paced", [False, True])
def test_what_was_taken_ahead_of_a_queue_that_is_paused_waits_again(
    shop: Shop, store: Store, caplog: pytest.LogCaptureFixture, is_paced: bool
) -> None:
    """It would begin whenever a thread comes free, and nobody could cancel it with those that wait. Where a
    worker has a paced queue too, its jobs wait in the consumer, else in dramatiq's own queue."""
    release, queue = threading.Event(), Queue(store, shop.broker.settings)
    operator = Fleet(shop.broker.settings, store).as_operator("ada")

    def work(number: int) -> None:
        shop.done.append(number)
        assert release.wait(30)

    actor = shop.actor(work)
    if is_paced:
        shop.actor(actor_name="paced", source="reddit")
    for number in range(6):
        actor.send(number)
    with shop.open(threads=1, prefetch=4):
        wait_until(lambda: shop.done and queue.depth("default").running == 4)
        operator.pause("default")
        wait_until(lambda: queue.depth("default").running == 1)
        release.set()
        wait_until(lambda: queue.depth("default").running == 0)
        assert (shop.done, queue.depth("default").waiting) == ([0], 5)
        operator.resume("default")
        wait_until(lambda: len(shop.done) == 6)
    assert shop.done == [*range(6)]
    assert caplog.text.count("was skipped") == (0 if is_paced else 3)


def test_a_job_that_a_thread_comes_to_as_it_is_given_back_waits_again(
    shop: Shop, store: Store, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread passes it over, and says so before the server has heard that it was given back."""
    release, end = threading.Event(), consumer.PacingConsumer._end

    def after_the_thread(self: Any, *args: Any) -> None:
        release.set()
        wait_until(lambda: "was skipped" in caplog.text)
        end(self, *args)

    monkeypatch.setattr(consumer.PacingConsumer, "_end", after_the_thread)

    def work(number: int) -> None:
        shop.done.append(number)
        assert release.wait(30)

    actor, queue = shop.actor(work), Queue(store, shop.broker.settings)
    operator = Fleet(shop.broker.settings, store).as_operator("ada")
    for number in range(3):
        actor.send(number)
    with shop.open(threads=1, prefetch=4):
        wait_until(lambda: shop.done and queue.depth("default").running == 3)
        operator.pause("default")
        wait_until(lambda: queue.depth("default").running == 0)
        assert (shop.done, queue.depth("default").waiting) == ([0], 2)
