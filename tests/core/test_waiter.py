"""Waiting for results and for others' loads: one reader for all who wait in a process."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import dramatiq
import pytest

from tbcache.admission import Go, Join, Settlement
from tbcache.cache.key_lease import KeyLeases
from tbcache.io import run, utc_now
from tbcache.models import FetchRequest, Limit, Outcome, SymbolSentiment
from tbcache.models.error import RedisUnreachable, TbcacheError
from tbcache.queue import PacingBroker, Queue, actor_name
from tbcache.queue.script import FINISH, FinishJobs, queue_keys
from tbcache.settings import BUILT_IN, Settings
from tbcache.store import Refused, Store, Unavailable, waiter
from tbcache.store.clear import NO_CLEARS
from tbcache.store.envelope import seal
from tests.blocking import Admission, peek_list
from tests.core.conftest import ask
from tests.server import Server, wait_until

MANY = 300
#: More than a connection each, or a thread's turn each, would allow.
ASKERS = 1000

Pool = ThreadPoolExecutor


@pytest.fixture
def pool() -> Iterator[Pool]:
    with ThreadPoolExecutor(ASKERS) as pool:
        yield pool


def push(store: Store, key: str, element: str = "x", *, is_said: bool = True) -> None:
    """Put an element into a list, and say so."""
    store.client.rpush(key, element)
    store.client.expire(key, 60)
    if is_said:
        store.client.publish(store.keys.wakes, key)


def awaited(store: Store) -> int:
    """How many lists are waited for, all read once."""
    return len(store._waiter._waits) if not store._waiter._unread else 0


@pytest.fixture
def seldom(store: Store, pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is not told waits for long: the subscription stands, and lists are looked at no more."""
    monkeypatch.setattr(waiter, "LOOK_SECONDS", 30.0)
    monkeypatch.setattr(waiter, "POLL_SECONDS", 30.0)
    wait = pool.submit(peek_list, store, "{t}first", 20.0)
    wait_until(lambda: store._waiter._messages is not None and awaited(store) == 1)
    push(store, "{t}first")
    assert wait.result(30) == b"x"


@pytest.mark.every_server
def test_hundreds_wait_on_two_connections(server: Server, store: Store, pool: Pool) -> None:
    """A connection each is what a server, or the client's own pool, refuses at some point."""
    before = server.connections()
    waits = [pool.submit(peek_list, store, f"{{t}}{number}", 60.0) for number in range(MANY)]
    wait_until(lambda: awaited(store) == MANY, 60)
    assert len(server.connections() - before) <= 8
    for number in range(MANY):
        push(store, f"{{t}}{number}", str(number))
    assert [wait.result(60) for wait in waits] == [str(number).encode() for number in range(MANY)]
    assert store.is_available
    assert awaited(store) == 0


def test_a_limit_of_our_own_pool_is_no_word_of_the_server(store: Store, pool: Pool) -> None:
    """A process with many consumers would take it for an outage."""
    pops = [pool.submit(store.pop_list, [f"{{t}}{number}"], 0.5) for number in range(130)]
    assert not any(pop.result(30) for pop in pops)
    assert store.is_available


@pytest.mark.every_server
def test_whoever_waits_is_told_at_once(store: Store, pool: Pool, seldom: None) -> None:
    """Not at the next look at the list."""
    for number in range(3):
        wait = pool.submit(peek_list, store, f"{{t}}{number}", 20.0)
        wait_until(lambda: awaited(store) == 1)
        push(store, f"{{t}}{number}")
        assert wait.result(30) == b"x"


@pytest.mark.every_server
@pytest.mark.parametrize("what", ["done", "dead"])
def test_who_waits_for_a_job_is_told_at_once(
    store: Store, settings: Settings, pool: Pool, seldom: None, what: str
) -> None:
    """By the script that ends it."""
    handle = Queue(store, settings).enqueue(FetchRequest("news", "AAPL"))
    claim = f"{handle.job_id}/1"
    store.client.zadd(store.keys.queue("news", "claims"), {claim: 4e15})
    wait = pool.submit(handle.result, 20.0)
    wait_until(lambda: awaited(store) == 1)
    ends = (claim, what, '{"message": "over"}', 0, 0, 0, "why", 0, "")
    store.run(FINISH, FinishJobs(queue_keys(store.keys, "news"), store.keys.slots("news"), 4, 0, ends))
    with pytest.raises(TbcacheError, match="over"):
        wait.result(30)


def test_who_joined_a_fetch_is_told_at_once(
    admission: Admission, store: Store, pool: Pool, seldom: None
) -> None:
    """By the script that settles it."""
    go = admission.admit(ask())
    assert isinstance(go, Go)
    join = admission.admit(ask())
    assert isinstance(join, Join)
    wait = pool.submit(admission.wait_for, join, "twitter", 20.0)
    wait_until(lambda: awaited(store) == 1)
    admission.settle(go.grant, Settlement())
    wait.result(30)


def test_who_joined_a_load_is_told_at_once(store: Store, pool: Pool, seldom: None) -> None:
    """By the script that keeps its value."""
    first, second = KeyLeases(store), KeyLeases(store)
    load = run(first.begin("quote:A", NO_CLEARS, is_patient=True))
    assert load is not None
    wait = pool.submit(lambda: run(second.begin("quote:A", NO_CLEARS, is_patient=True)))
    wait_until(lambda: awaited(store) == 1)
    run(first.end(load, seal(b"1"), 60_000))
    assert wait.result(1.5) is None


def test_a_thousand_askers_in_one_process_all_get_their_answers(
    store: Store, settings: Settings, pool: Pool
) -> None:
    """A bot with a thread for each symbol is one of our users: none of them gets an error."""
    source = replace(BUILT_IN["news"], limits=(Limit(10_000, 1.0),))
    broker, queue = PacingBroker(store, settings, [source]), Queue(store, settings)
    symbols = [f"S{number}" for number in range(ASKERS)]
    handles = [queue.enqueue(FetchRequest("news", symbol)) for symbol in symbols]
    answers = [pool.submit(handle.result, 120.0) for handle in handles]
    wait_until(lambda: awaited(store) == ASKERS, 60)

    def fetch(symbol: str, hours: int, lane: str, needed: float) -> Outcome:
        sentiment = SymbolSentiment(
            "news", symbol, 24, 0.5, 1, 1, 0, 0, utc_now(), complete=True, since=None, scorer="test/1"
        )
        return Outcome(FetchRequest("news", symbol), sentiment, "live", 0.0)

    dramatiq.actor(actor_name=actor_name("news"), queue_name="news", broker=broker)(fetch)
    worker = dramatiq.Worker(broker, worker_threads=4, worker_timeout=100)
    worker.start()
    try:
        assert [answer.result(120).request.symbol for answer in answers] == symbols
    finally:
        worker.stop(5000)


def test_what_is_there_already_is_seen_at_once(store: Store, seldom: None) -> None:
    """The result of a job is often there before its asker waits for it."""
    push(store, "{t}1")
    # Nobody looks again before these end.
    assert peek_list(store, "{t}1", 20.0) == peek_list(store, "{t}1", 20.0) == b"x"


def test_what_comes_while_there_is_no_subscription_yet_is_seen(
    store: Store, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said to nobody: the lists are read again once the subscription stands."""
    monkeypatch.setattr(waiter, "LOOK_SECONDS", 30.0)
    subscribe, may_go = store._waiter._new_messages, threading.Event()

    def slowly() -> Any:
        assert may_go.wait(30)
        return subscribe()

    monkeypatch.setattr(store._waiter, "_new_messages", slowly)
    wait = pool.submit(peek_list, store, "{t}1", 20.0)
    wait_until(lambda: awaited(store) == 1)
    push(store, "{t}1")
    may_go.set()
    assert wait.result(30) == b"x"


def test_what_nobody_said_is_seen_before_long(store: Store, pool: Pool) -> None:
    """A message may be lost; several who wait for the same all get it."""
    waits = [pool.submit(peek_list, store, f"{{t}}{number % 2}", 20.0) for number in range(4)]
    wait_until(lambda: store._waiter._messages is not None and awaited(store) == 2)
    push(store, "{t}0", is_said=False)
    push(store, "{t}1", is_said=False)
    assert [wait.result(30) for wait in waits] == [b"x"] * 4


def test_a_busy_channel_keeps_nobody_from_being_looked_at(store: Store, pool: Pool) -> None:
    """What is said to others comes all the time; what was not heard is seen all the same."""
    wait, is_over = pool.submit(peek_list, store, "{t}1", 20.0), threading.Event()

    def chatter() -> None:
        while not is_over.wait(0.01):
            store.client.publish(store.keys.wakes, "somebody else's")

    talk = pool.submit(chatter)
    wait_until(lambda: store._waiter._messages is not None and awaited(store) == 1)
    push(store, "{t}1", is_said=False)
    try:
        assert wait.result(30) == b"x"
    finally:
        is_over.set()
        talk.result(5)


def test_more_are_waited_for_than_are_read_at_once(
    store: Store, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In turn: nobody is looked at for ever, and nobody never."""
    monkeypatch.setattr(waiter, "MOST_READ", 2)
    monkeypatch.setattr(waiter, "LOOK_SECONDS", 0.02)
    waits = [pool.submit(peek_list, store, f"{{t}}{number}", 20.0) for number in range(7)]
    wait_until(lambda: store._waiter._messages is not None and awaited(store) == 7)
    for number in range(7):
        push(store, f"{{t}}{number}", is_said=False)
    assert [wait.result(30) for wait in waits] == [b"x"] * 7


def test_a_subscription_that_is_cut_is_made_again(server: Server, store: Store, pool: Pool) -> None:
    """A proxy or an operator may end it at any time."""
    wait = pool.submit(peek_list, store, "{t}1", 20.0)
    wait_until(lambda: store._waiter._messages is not None)
    first = store._waiter._messages

    def is_made_again() -> bool:
        # The server may not have read the subscription yet, and then ends nothing, or another one.
        server.client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        return store._waiter._messages not in (None, first)

    wait_until(is_made_again)
    push(store, "{t}1")
    assert wait.result(30) == b"x"
    assert store.is_available


def test_without_a_right_to_the_channel_the_lists_are_read_often(
    server: Server, store: Store, store_for: Callable[..., Store], pool: Pool
) -> None:
    """Few think of channels when they write a user's rights."""
    server.client.execute_command("ACL", "SETUSER", "deaf", "on", ">pw", "~*", "+@all", "resetchannels")
    try:
        deaf = store_for(server, REDIS_URL=server.url.replace("//", "//deaf:pw@"))
        wait = pool.submit(peek_list, deaf, "{t}1", 20.0)
        wait_until(lambda: awaited(deaf) == 1)
        push(store, "{t}1")
        assert wait.result(30) == b"x"
        assert deaf.is_available
    finally:
        server.client.execute_command("ACL", "DELUSER", "deaf")


def test_all_who_wait_hear_that_redis_went_away(
    private_server: Server, store_for: Callable[..., Store], pool: Pool
) -> None:
    """A frozen server must hold nobody up; once it is back, it is waited for again."""
    store = store_for(private_server)
    waits: list[Future[Any]] = [pool.submit(peek_list, store, f"{{t}}{n}", 20.0) for n in range(20)]
    wait_until(lambda: store._waiter._messages is not None and awaited(store) == 20)
    with private_server.frozen():
        for wait in waits:
            with pytest.raises(RedisUnreachable):
                wait.result(15)
    wait_until(lambda: store.is_available)
    again = pool.submit(peek_list, store, "{t}1", 20.0)
    wait_until(lambda: awaited(store) == 1)
    push(store, "{t}1")
    assert again.result(30) == b"x"


def test_closing_ends_every_wait(store: Store, pool: Pool) -> None:
    """A process that ends must not hang on a thread that waits."""
    wait = pool.submit(peek_list, store, "{t}1", 20.0)
    wait_until(lambda: awaited(store) == 1)
    store.close()
    with pytest.raises(RedisUnreachable, match="closed"):
        wait.result(30)


def test_nothing_stays_behind_of_a_wait(
    server: Server, store: Store, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither of one that ran out, nor a thread and a subscription for nobody; the next has them again."""
    monkeypatch.setattr(waiter, "IDLE_SECONDS", 0.05)
    monkeypatch.setattr(waiter, "LOOK_SECONDS", 0.02)
    assert peek_list(store, "{t}1", 0.02) is None
    assert store._waiter._waits == {}
    wait_until(lambda: not store._waiter._thread.is_running)
    wait_until(lambda: server.client.pubsub_channels() == [])
    wait = pool.submit(peek_list, store, "{t}1", 20.0)
    wait_until(lambda: server.client.pubsub_channels() == [store.keys.wakes.encode()])
    push(store, "{t}1")
    assert wait.result(30) == b"x"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # forking beside threads is the point here
def test_a_forked_child_waits_for_itself(store: Store, pool: Pool) -> None:
    """It has neither its parent's thread nor its connection."""
    wait = pool.submit(peek_list, store, "{t}1", 20.0)
    wait_until(lambda: store._waiter._messages is not None)
    child = os.fork()
    if not child:
        try:
            os._exit(0 if peek_list(store, "{t}2", 20.0) == b"x" else 1)
        finally:
            os._exit(2)
    push(store, "{t}2")
    push(store, "{t}1")
    assert os.waitpid(child, 0)[1] == 0
    assert wait.result(30) == b"x"


@pytest.mark.parametrize("error", [Refused("here", "NOPERM"), Unavailable("here", "timed out")])
def test_who_waits_is_told_as_much_as_who_asked(error: Unavailable) -> None:
    """A refusal is no server that is away: who waits would start another one for it."""
    error.is_timeout = error.is_passing = True

    async def fail(_: Any) -> Any:
        raise error

    def refuse() -> Any:
        raise error

    reader = waiter.Waiter(fail, refuse, 0.1)
    with pytest.raises(type(error)) as told:
        run(reader.first("{t}list", 5.0))
    reader.close(error)
    assert told.value is not error
    assert (str(told.value), vars(told.value)) == (str(error), vars(error))


def test_nobody_waits_longer_for_a_read_of_others_than_for_an_element(store: Store, pool: Pool) -> None:
    """A frozen server holds one read up for its whole timeout: who waits for a moment is not held up too."""
    may_go, is_reading = threading.Event(), threading.Event()
    read = store._waiter._elements

    async def held_up(keys: list[str]) -> list[Any]:
        is_reading.set()
        assert may_go.wait(30)
        return await read(keys)

    store._waiter._elements = held_up  # type: ignore[method-assign]
    first = pool.submit(peek_list, store, "{t}1", 20.0)
    assert is_reading.wait(30)
    assert pool.submit(peek_list, store, "{t}2", 0.05).result(20) is None
    push(store, "{t}1")
    may_go.set()
    assert first.result(30) == b"x"
