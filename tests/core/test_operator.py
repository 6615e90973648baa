"""What operators have a fleet do: pause, drain, resume, and lower a limit; in force at once, for all."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import dramatiq
import pytest
from dramatiq.middleware import Pipelines

from tbcache.admission import Go, Stale, Wait
from tbcache.cache import CacheManager
from tbcache.fetch import Pipeline
from tbcache.fleet import Fleet, Operator
from tbcache.limiter import limiter_of
from tbcache.models import FetchRequest, Limit
from tbcache.models.error import InvalidRequest, Paused, RateLimited, UnknownSource
from tbcache.queue import DeadFilter, JobFilter, PacingBroker, Queue, actor_name
from tbcache.rate_limiter import RateLimiter
from tbcache.settings import Settings
from tbcache.store import Store
from tests.blocking import core
from tests.browser.fleet import bury, close_source
from tests.core.conftest import TWITTER, Upstream, ask
from tests.core.test_fleet_limits import Process
from tests.core.test_fleet_limits import join as join
from tests.server import Server, wait_until

AAPL, MSFT = FetchRequest("twitter", "AAPL"), FetchRequest("twitter", "MSFT")
WIDE = replace(TWITTER, limits=(Limit(60, 60.0),))
PATIENCE_MS = 30_000


@pytest.fixture
def operator(settings: Settings, store: Store) -> Operator:
    return Fleet(settings, store).as_operator("ada@desk")


def read(pipeline: Pipeline, upstream: Upstream, request: FetchRequest, **options: Any) -> Any:
    return pipeline.run(upstream, request, **options)


@contextmanager
def working(broker: PacingBroker, threads: int = 2) -> Iterator[None]:
    worker = dramatiq.Worker(broker, worker_threads=threads, worker_timeout=50)
    worker.start()
    try:
        yield
    finally:
        worker.stop(PATIENCE_MS)


# Pause


def test_what_is_said_is_told_to_all_at_once(store: Store, operator: Operator) -> None:
    """Slots that were granted before a pause are not sent with, and allowances are given back."""
    state, bell = store.keys.state("twitter"), store.keys.queue("twitter", "bell")
    with contextlib.closing(store.subscribe()) as channel:

        def told(act: Callable[[], object]) -> bytes:
            # The subscription may come after the first.
            found: Any = wait_until(lambda: (act(), channel.get_message(timeout=1.0))[1])
            return bytes(found["data"])

        assert told(lambda: operator.pause("twitter", "key")) == b"twitter paused paused by ada@desk: key"
        assert not store.client.exists(bell)
        assert told(lambda: operator.resume("twitter")) == b"twitter resumed"
        assert store.client.exists(bell)
        assert told(lambda: operator.set_limits("twitter", [Limit(1, 60.0)])) == b"twitter"
    wanted_until: Any = store.client.hget(state, "wanted_until")
    assert float(wanted_until) > store.clock.today.timestamp() * 1e6


def test_a_paused_source_is_sent_nothing_and_says_who_paused_it_and_why(
    pipeline: Pipeline, operator: Operator
) -> None:
    """However long somebody would wait: nobody knows until when. What is in the cache is given out."""
    upstream = Upstream()
    read(pipeline, upstream, AAPL)
    operator.pause("twitter", "new key")
    began = time.monotonic()
    with pytest.raises(Paused, match="twitter: paused by ada@desk: new key") as caught:
        read(pipeline, upstream, MSFT, patience=300.0)
    assert time.monotonic() - began < 100
    assert isinstance(caught.value, RateLimited)
    assert caught.value.reason == "paused by ada@desk: new key"
    assert read(pipeline, upstream, AAPL).origin == "cache"
    assert len(upstream.sent) == 1
    before = operator.resume("twitter").before
    assert before is not None
    assert (before.what, before.who, before.why) == ("pause", "ada@desk", "new key")
    assert operator.resume("twitter").before is None
    assert read(pipeline, upstream, MSFT).origin == "live"


def test_an_old_answer_is_given_out_while_its_source_is_paused(
    join: Callable[..., Process], operator: Operator
) -> None:
    """A pause is no reason to have no answer."""
    one = join(replace(WIDE, cache_ttl=0.001))
    upstream, pipeline = Upstream(one.source), Pipeline(core(one.admission))
    read(pipeline, upstream, AAPL)
    operator.pause("twitter")
    wait_until(lambda: isinstance(one.admission.admit(ask("AAPL", one.source)), Stale))
    assert len(upstream.sent) == 1


def test_what_was_granted_before_a_pause_is_not_sent(
    join: Callable[..., Process], operator: Operator
) -> None:
    """Other processes hear of it at once, and those that hear nothing with their next beat."""
    hearing, deaf = join(), join()
    hearing.membership.start()
    heard, unheard = hearing.admission.admit(ask("A")), deaf.admission.admit(ask("B"))
    assert isinstance(heard, Go)
    assert isinstance(unheard, Go)
    operator.pause("twitter")
    wait_until(lambda: not hearing.admission.may_send(heard.grant))
    assert deaf.admission.may_send(unheard.grant)
    deaf.beat()
    assert not deaf.admission.may_send(unheard.grant)
    operator.resume("twitter")
    deaf.beat()
    wait_until(lambda: limiter_of(hearing.store).closures.of("twitter") is None)
    hearing.membership.stop()
    assert limiter_of(deaf.store).closures.of("twitter") is None


def test_a_pause_holds_without_redis_and_a_closure_outlives_its_end(
    join: Callable[..., Process], operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Redis said before it went is known; and what an upstream said is its own word."""
    one = join(has_allowances=True)
    operator.pause("twitter", "no")
    one.beat()
    with monkeypatch.context() as away:
        away.setattr(one.store.breaker, "reason", "cut off")
        verdict = one.admission.admit(ask("A"))
        assert isinstance(verdict, Wait)
        assert (verdict.why, verdict.reason) == ("paused", "paused by ada@desk: no")
    limiter_of(one.store).closures.close("twitter", 60.0, "quota")
    operator.resume("twitter")
    one.beat()
    closure = limiter_of(one.store).closures.of("twitter")
    assert closure is not None
    assert closure.reason == "quota"


def test_a_limiter_on_its_own_is_paused_as_well(store: Store, operator: Operator) -> None:
    """A bot's own requests go through the same window."""
    limiter = RateLimiter(TWITTER, store)
    operator.pause("twitter", "later")
    assert not limiter.check_rate_limit()[0]
    status = limiter.get_status()
    assert (status.is_limited, status.reason, status.used) == (True, "paused by ada@desk: later", 0)
    operator.resume("twitter")
    assert limiter.check_rate_limit()[0]


def fetching(store: Store, settings: Settings, ran: list[str]) -> PacingBroker:
    """A broker whose actors note the symbols, and the arguments of a plain queue's."""
    broker = PacingBroker(store, settings, [TWITTER])

    def fetch(symbol: str, hours: int, lane: str, needed: float = 0.0) -> None:
        ran.append(symbol)

    dramatiq.actor(actor_name=actor_name("twitter"), queue_name="twitter", broker=broker)(fetch)
    dramatiq.actor(actor_name="note", broker=broker)(ran.append)
    return broker


@pytest.mark.parametrize("name", ["twitter", "default"])
def test_no_job_of_a_paused_queue_is_handed_out(
    store: Store, settings: Settings, operator: Operator, name: str
) -> None:
    """Neither of a source's queue nor of any other; they are there when it is resumed."""
    ran: list[str] = []
    broker, queue = fetching(store, settings, ran), Queue(store, settings)
    broker.get_actor("note").send("plain")
    queue.enqueue(AAPL)
    operator.pause(name)
    paused, other = ("AAPL", "plain") if name == "twitter" else ("plain", "AAPL")
    with working(broker):
        wait_until(lambda: ran == [other])
        # It has been asked for by then, and is asked for again each second.
        wait_until(lambda: store.client.exists(store.keys.queue(name, "asked")))
        operator.resume(name)
        wait_until(lambda: ran == [other, paused])


# Drain


def test_a_drained_queue_accepts_nothing_new_and_does_what_is_queued(
    store: Store, settings: Settings, operator: Operator, pipeline: Pipeline
) -> None:
    """Before a move: what was accepted is done, and who comes later is told."""
    ran: list[str] = []
    broker, queue = fetching(store, settings, ran), Queue(store, settings)
    handle = queue.enqueue(AAPL)
    broker.get_actor("note").send("plain")
    operator.drain("twitter", "moving")
    operator.drain("default")
    with pytest.raises(Paused, match="twitter: drained by ada@desk: moving"):
        queue.enqueue(MSFT)
    with pytest.raises(Paused, match="default: drained by ada@desk;"):
        broker.get_actor("note").send("late")
    assert queue.enqueue(AAPL).job_id == handle.job_id
    with pytest.raises(Paused, match="drained"):
        read(pipeline, Upstream(), MSFT)
    with working(broker):
        wait_until(lambda: sorted(ran) == ["AAPL", "plain"])
    operator.resume("twitter")
    assert queue.enqueue(MSFT).state == "queued"


def test_what_is_paused_is_not_drained(
    store: Store, settings: Settings, operator: Operator, pipeline: Pipeline
) -> None:
    """Whoever wants less would send what waits. The other way round it is less, and holds at once."""
    ran: list[str] = []
    queue = Queue(store, settings)
    with working(fetching(store, settings, ran)):
        operator.pause("twitter", "the key leaks")
        paused = operator.pause("twitter")
        queue.enqueue(AAPL)
        assert operator.drain("twitter").before == paused.before is not None
        # It goes through the same script, and no worker has taken the job by then.
        assert (operator.pause("twitter"), ran) == (paused, [])
        assert operator.resume("twitter").before == paused.before
        assert operator.drain("twitter").before is None
        before = operator.pause("twitter").before
        assert before is not None
        assert (before.what, queue.enqueue(MSFT).state) == ("drain", "queued")


def test_what_is_drained_is_not_ok_and_says_when_it_is_done(
    store: Store, settings: Settings, operator: Operator
) -> None:
    """Nothing new may go; what waits goes on by itself, which of what is paused it does not."""
    fetching(store, settings, []).get_actor("note").send("plain")
    fleet = Fleet(settings, store)
    for say, state in ((operator.drain, "drained"), (operator.pause, "paused")):
        say("stocktwits")
        say("default")
        status = fleet.status()
        (source,) = (one for one in status.sources if one.name == "stocktwits")
        assert (source.state, source.seconds_for(1) is not None) == (state, state == "drained")
        assert {one.state for one in status.queues if one.order} == {state}


def test_what_a_job_of_a_drained_queue_leads_to_is_done_as_well(
    store: Store, settings: Settings, operator: Operator
) -> None:
    """The next job of a pipeline was accepted with its first, and so was a fetch that a job asks for."""
    ran: list[Any] = []
    broker = PacingBroker(store, settings, [TWITTER])
    assert any(isinstance(one, Pipelines) for one in broker.middleware)
    note: Any = dramatiq.actor(actor_name="note", broker=broker)(lambda *what: ran.append(what) or 1)
    ask: Any = dramatiq.actor(actor_name="ask", broker=broker)(lambda *_: queue.enqueue(AAPL).state)
    queue = Queue(store, settings)
    dramatiq.pipeline([note.message("first"), ask.message(), note.message("last")], broker=broker).run()
    operator.drain("default")
    operator.drain("twitter")
    with working(broker):
        wait_until(lambda: len(ran) == 2)
    assert ran[1] == ("last", "queued")


# Limits


def test_a_limit_that_is_lowered_holds_at_once_and_counts_what_was_taken(
    join: Callable[..., Process], operator: Operator
) -> None:
    """Slots that are held stay so, and count: no window ever has one more than is allowed by then."""
    one, other = join(), join()
    verdicts = [one.admission.admit(ask(f"S{number}", WIDE)) for number in range(4)]
    assert all(isinstance(verdict, Go) for verdict in verdicts)
    found = operator.set_limits("twitter", [Limit(6, 60.0)], "shared")
    assert (found.limits, found.is_lowered, found.is_raised) == ((Limit(6, 60.0),), True, False)
    assert (found.before, found.bound_before) == (WIDE.limits, None)
    assert str(found) == "twitter: in force is 6/1m; until now it was 60/1m"
    assert one.takes(9) + other.takes(9) == 2
    assert operator.set_limits("twitter", [Limit(3, 60.0)]).limits == (Limit(3, 60.0),)
    status = other.limiter.get_status()
    assert (status.allowed, status.used, status.is_limited) == (3, 6, True)
    done = operator.unset_limits("twitter")
    assert (done.limits, done.before, done.is_raised) == (WIDE.limits, (Limit(3, 60.0),), True)
    assert one.takes(99) + other.takes(99) == 54


def test_a_limit_that_is_set_raises_none(join: Callable[..., Process], operator: Operator) -> None:
    """What the upstream allows is for the settings of the fleet to say."""
    one = join()
    found = operator.set_limits("twitter", [Limit(1000, 60.0), Limit(7, 1.0)])
    assert set(found.limits) == {Limit(60, 60.0), Limit(7, 1.0)}
    assert found.is_lowered
    assert not operator.set_limits("twitter", [Limit(1000, 60.0)]).is_lowered
    assert one.takes(99) == 60


def test_one_that_is_set_over_another_says_what_it_takes_back(
    join: Callable[..., Process], operator: Operator
) -> None:
    """A 0 too many lifts what a colleague has set, and reads like a success else."""
    join()
    operator.set_limits("twitter", [Limit(10, 60.0), Limit(100, 86400.0)], "shared")
    found = operator.set_limits("twitter", [Limit(1000, 60.0)])
    assert (found.before, found.limits) == ((Limit(10, 60.0), Limit(100, 86400.0)), WIDE.limits)
    assert (found.is_lowered, found.is_raised) == (False, True)
    assert found.bound_before is not None
    assert (found.bound_before.who, found.bound_before.why) == ("ada@desk", "shared")
    assert str(found) == (
        "twitter: in force is 60/1m, by the settings of the processes; until now it was 10/1m,100/1d "
        "(10/1m,100/1d set by ada@desk: shared): this raises it"
    )
    # What was set last was never in force.
    done = operator.unset_limits("twitter")
    assert (done.before, done.is_raised) == (WIDE.limits, False)


def test_what_is_kept_for_one_that_does_not_know_the_new_limit_is_kept_in_it(
    join: Callable[..., Process], operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may lose Redis before it hears of it, and goes on with what it was told before."""
    cut, other = join(has_allowances=True), join(has_allowances=True)
    for _ in range(3):
        cut.beat()
        other.beat()
    assert limiter_of(cut.store).process_window("twitter").report()[0] == "60:60000000=30"
    operator.set_limits("twitter", [Limit(50, 60.0)])
    for _ in range(2):
        other.beat()
    # Of one that is silent for long its part of the limit is kept.
    assert other.takes(31) in (20, 25)
    monkeypatch.setattr(cut.store.breaker, "reason", "cut off")
    assert cut.takes(99) == 30


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ([], "say 1 to 4 limits"),
        ([Limit(1, 60.0), Limit(2, 60.0)], "two limits of one window"),
        ([Limit(number, float(number)) for number in range(1, 6)], "say 1 to 4 limits"),
    ],
)
def test_limits_that_cannot_be_meant_are_refused(operator: Operator, limits: list[Limit], words: str) -> None:
    """A mistake here stops a fleet."""
    with pytest.raises(InvalidRequest, match=words):
        operator.set_limits("twitter", limits)


# Callers


def test_a_weight_that_is_set_counts_for_all_who_queue(
    server: Server, settings: Settings, store: Store, store_for: Callable[..., Store], operator: Operator
) -> None:
    """Without a restart of any of them: the desk needs its answers now."""
    queues = [Queue(store, settings), Queue(store_for(server), settings)]
    numbers = itertools.count()

    def account(queue: Queue) -> tuple[int, bytes]:
        handle = queue.enqueue(FetchRequest("twitter", f"S{next(numbers)}"), caller="desk/vip")
        return account_of(store, "twitter", handle.job_id)

    assert [account(queue) for queue in queues] == [(1_000_000, b"desk")] * 2
    assert operator.set_weight("desk/vip", 4.0, "earnings") is None
    assert Fleet(settings, store).weights() == {"desk/vip": 4.0}
    for queue in queues:
        wait_until(lambda queue=queue: account(queue) == (250_000, b"desk/vip"))
    assert operator.unset_weight("desk/vip") == 4.0
    assert operator.unset_weight("desk/vip") is None
    for queue in queues:
        wait_until(lambda queue=queue: account(queue) == (1_000_000, b"desk"))
    with pytest.raises(InvalidRequest, match="a weight is"):
        operator.set_weight("desk", 0.0)
    with pytest.raises(InvalidRequest, match="is no caller"):
        operator.set_weight("a desk", 1.0)


def test_a_weight_that_is_set_counts_for_who_sends_messages(
    settings: Settings, store: Store, operator: Operator
) -> None:
    """What is known of a caller is kept from one message to the next, and not for long."""
    note: Any = dramatiq.actor(actor_name="note", broker=PacingBroker(store, settings, []))(print)

    def account() -> tuple[int, bytes]:
        return account_of(store, "default", note.send_with_options(caller="desk/vip").message_id)

    assert account() == (1_000_000, b"desk")
    operator.set_weight("desk/vip", 4.0, "earnings")
    wait_until(lambda: account() == (250_000, b"desk/vip"))


def account_of(store: Store, queue: str, job_id: str) -> tuple[int, bytes]:
    """How far apart the places lie that a job's caller has in its lane, and the caller."""
    account: Any = store.client.hget(store.keys.queue(queue, "lanes"), job_id)
    _, stride, caller = account.split()
    return int(stride), caller


# Who, what, when


def test_each_thing_that_is_done_has_a_line(
    settings: Settings, store: Store, operator: Operator, server: Server
) -> None:
    """Who asks at 9:30 why nothing comes must find it."""
    operator.pause("twitter", "new key")
    operator.resume("twitter")
    operator.set_limits("twitter", [Limit(3, 60.0)], "shared")
    operator.unset_limits("twitter")
    operator.reset("twitter")
    # What changes nothing has no line: it would look as if it had.
    operator.resume("twitter")
    operator.unset_limits("twitter")
    operator.reopen("twitter")
    operator.unset_weight("desk")
    operator.clear("twitter:*")
    operator.purge_dead("twitter")
    operator.requeue_dead("twitter")
    operator.cancel_jobs("twitter")
    lines = Fleet(settings, store).audit()
    assert [(one.what, one.name, one.detail, one.why, one.count) for one in reversed(lines)] == [
        ("queue.pause", "twitter", "", "new key", None),
        ("queue.resume", "twitter", "", "", None),
        ("limits.set", "twitter", "3/1m", "shared", None),
        ("limits.unset", "twitter", "", "", None),
        ("limits.reset", "twitter", "", "", None),
    ]
    assert {one.who for one in lines} == {"ada@desk"}
    assert 29 * 86400 < server.client.ttl(store.keys.audit) <= 30 * 86400
    assert len(Fleet(settings, store).audit(2)) == 2


def test_no_verb_is_without_its_line(settings: Settings, store: Store, operator: Operator) -> None:
    """The one that is left out is the one that somebody asks for."""
    queue, cache = Queue(store, settings), CacheManager(store)
    first, _, third = (queue.enqueue(FetchRequest("twitter", symbol)).job_id for symbol in ("A", "B", "C"))
    bury(store, "twitter", "D", "HTTP 500", many=2)
    close_source(store, "twitter", "HTTP 429")
    cache.set("twitter:x", 1)
    cache.close()
    operator.promote("twitter", third)
    operator.cancel("twitter", first, "typo")
    operator.cancel_jobs("twitter", JobFilter(symbol="B"))
    operator.requeue_dead("twitter", DeadFilter(symbol="D"))
    operator.purge_dead("twitter")
    operator.clear("twitter:*")
    operator.warm([FetchRequest("twitter", "E")])
    operator.set_weight("desk", 4)
    operator.unset_weight("desk")
    operator.reopen("twitter")
    operator.drain("twitter")
    lines = [*reversed(Fleet(settings, store).audit())]
    assert (lines[1].detail, lines[1].why) == (first, "typo")
    assert [(one.what, one.count) for one in lines] == [
        ("job.promote", None),
        ("job.cancel", None),
        ("job.cancel", 1),
        ("dead.requeue", 1),
        ("dead.purge", 1),
        ("cache.clear", 1),
        ("cache.warm", 1),
        ("caller.weight", None),
        ("caller.unweight", None),
        ("limits.reopen", None),
        ("queue.drain", None),
    ]


def test_a_name_that_nobody_knows_is_no_queue(operator: Operator) -> None:
    """To pause what is not there would look like a pause."""
    with pytest.raises(UnknownSource, match="did you mean 'twitter'"):
        operator.pause("twiter")


def test_a_name_that_is_no_queue_is_told_those_of_plain_ones(
    operator: Operator, store: Store, settings: Settings
) -> None:
    fetching(store, settings, []).get_actor("note").send("plain")
    with pytest.raises(UnknownSource, match=r"did you mean 'default'.*known: default, news"):
        operator.pause("defalt")


@pytest.mark.parametrize("who", ["", "ada lovelace", "a" * 65, "ada\n"])
def test_an_operator_has_a_name(settings: Settings, store: Store, who: str) -> None:
    """It stands between spaces in Redis, and in a line for all to see."""
    with pytest.raises(InvalidRequest, match="is no name"):
        Fleet(settings, store).as_operator(who)


def test_a_reason_is_one_short_line(operator: Operator) -> None:
    """It is shown on every page."""
    for why in ("two\nlines", "x" * 201):
        with pytest.raises(InvalidRequest, match="a reason has at most"):
            operator.pause("twitter", why)
