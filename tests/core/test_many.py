"""Many jobs at once: fetches, calls of fetchers and messages of any actors; and many who wait for them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker

import tbcache
import tbcache.asyncio
from tbcache.fleet import Fleet
from tbcache.io import run
from tbcache.models import FetchRequest
from tbcache.models.error import InvalidRequest, Paused, RedisUnreachable, TbcacheError, UnknownSource
from tbcache.queue import PacingBroker, get_queue, handle, many
from tbcache.queue.batch import MOST_BYTES
from tbcache.queue.explain import prospect_of
from tbcache.queue.script import FINISH, FinishJobs, queue_keys
from tbcache.settings import get_settings, get_source
from tbcache.store import Store, Unavailable, get_store
from tests.server import Server, wait_until

ASKERS = 1000
#: Of a process, whatever many it does: for commands, for blocking, for what was said.
MOST_CONNECTIONS = 12


@pytest.fixture(autouse=True)
def broker(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[PacingBroker]:
    """The broker of this process; no worker takes its jobs."""
    for name, value in {**server.variables, "TBCACHE_REDIS_TIMEOUT": "10"}.items():
        monkeypatch.setenv(name, value)
    broker = tbcache.get_broker()
    monkeypatch.setattr("dramatiq.broker.global_broker", broker)
    yield broker
    broker.store.close()


@pytest.fixture
def store(broker: PacingBroker) -> Store:
    return get_store()


def note(what: str) -> None: ...


def lower(symbol: str) -> str:
    return symbol.lower()


def depth(queue: str) -> int:
    return get_queue().depth(queue).interactive


def test_fetches_calls_and_messages_are_queued_together(broker: PacingBroker) -> None:
    """Each with what became of it, in their order."""
    actor: Any = dramatiq.actor(broker=broker, actor_name="note")(note)
    quote = tbcache.source("quotes", limits="2/10m", ttl=60).fetcher(name="quote")(lower)
    quote("KNOWN")
    jobs = [
        FetchRequest("reddit", "GME"),
        actor.message("one"),
        quote.message("KNOWN"),
        quote.message("NEW"),
        FetchRequest("reddit", "GME"),
        quote.message("NEW"),
        actor.message("one"),
    ]
    placed = tbcache.enqueue_many(jobs)
    states = ["queued", "queued", "hit", "queued", "joined", "joined", "queued"]
    assert [one.state for one in placed] == states
    assert [one.queue for one in placed[:4]] == ["reddit", "default", "quotes", "quotes"]
    assert isinstance(placed[0], tbcache.Handle)
    assert placed[4].job_id == placed[0].job_id
    assert (depth("reddit"), depth("default"), depth("quotes")) == (1, 2, 1)
    assert placed[1].explain().place == 1


def test_the_call_of_a_fetcher_that_is_queued_is_not_queued_again(broker: PacingBroker) -> None:
    """Nor one whose value is cached: a worker would find that out."""
    quote = tbcache.source("quotes", limits="2/10m", ttl=60).fetcher(name="quote")(lower)
    for _ in range(3):
        quote.enqueue("A")
    assert depth("quotes") == 1
    quote("B")
    quote.enqueue("B")
    assert depth("quotes") == 1


def test_a_job_that_sends_itself_again_is_queued(broker: PacingBroker) -> None:
    """It does not join itself, which would end with it."""
    quote = tbcache.source("quotes", limits="2/10m", ttl=60).fetcher(name="quote")(lower)
    broker._put(quote.enqueue("A").message, 0, is_joining=False)
    assert depth("quotes") == 2


def test_big_messages_go_in_smaller_parts(
    broker: PacingBroker, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis does nothing else while it reads one call."""
    actor: Any = dramatiq.actor(broker=broker, actor_name="note")(note)
    asked, sizes = store.ask, []

    async def ask(script: Any, call: Any) -> Any:
        if script.name == "enqueue":
            sizes.append(sum(len(part) for part in call.asks))
        return await asked(script, call)

    monkeypatch.setattr(store, "ask", ask)
    tbcache.enqueue_many([actor.message("x" * (MOST_BYTES // 3)) for _ in range(8)])
    assert len(sizes) == 4
    assert max(sizes) <= MOST_BYTES + 1000


def test_many_jobs_take_few_calls(
    broker: PacingBroker, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is the same of all is asked once, and not job by job."""
    asked, calls = store.ask, []

    async def ask(script: Any, call: Any) -> Any:
        answer = await asked(script, call)
        # What goes there and comes back of each job.
        calls.append((script.name, len(answer if script.name == "enqueue" else answer.jobs)))
        return answer

    monkeypatch.setattr(store, "ask", ask)
    placed = get_queue().enqueue_many(requests())
    assert calls == [("enqueue", 0)] * 2 + [("explain", 1)] * 2
    assert len({one.job_id for one in placed}) == len(placed)
    assert [one.state for one in placed] == ["queued"] * len(placed)


class Dated(dramatiq.Message[Any]):
    """A user's own kind of message, which says more of itself."""

    def asdict(self) -> dict[str, Any]:
        return {**super().asdict(), "message_timestamp": 1}


def test_messages_are_queued_as_dramatiq_writes_them(broker: PacingBroker, store: Store) -> None:
    """By whatever encoder is set, and by their own class where that has a say."""
    actor: Any = dramatiq.actor(broker=broker, actor_name="note")(note)
    messages = [actor.message("ä", at=1.5), Dated("default", "note", (1,), {}, {})]
    broker.enqueue_many(messages)
    before = dramatiq.get_encoder()
    dramatiq.set_encoder(dramatiq.PickleEncoder())
    try:
        broker.enqueue(last := actor.message("last"))
        wanted = {last.message_id: last.encode()}
    finally:
        dramatiq.set_encoder(before)
    wanted |= {one.message_id: one.encode() for one in messages}
    found = store.client.hgetall(store.keys.queue("default", "jobs"))
    assert {id.decode(): message for id, message in found.items()} == wanted


def test_the_same_message_twice_is_two_jobs(broker: PacingBroker) -> None:
    """Whoever waits for one of them is told of that."""
    actor: Any = dramatiq.actor(broker=broker, actor_name="note")(note)
    message = actor.message("once")
    placed = broker.enqueue_many([message, actor.message("other"), message])
    assert [one.job_id for one in placed[::2]] == [message.message_id, f"{message.message_id}+"]
    assert {one.state for one in placed} == {"queued"}


def test_jobs_of_several_callers_stand_where_each_alone_does(broker: PacingBroker, store: Store) -> None:
    """Those who were there before, and those who come in turn, are between them."""
    settings, queue = get_settings(), get_queue()
    source = get_source("news", settings)
    symbols = {caller: [FetchRequest("news", f"{caller}{number}") for number in range(6)] for caller in "AB"}
    placed = [one for caller, some in symbols.items() for one in queue.enqueue_many(some, caller=caller)]
    placed += queue.enqueue_many([FetchRequest("news", f"P{number}") for number in range(3)], "prewarm")
    ids = [one.job_id for one in placed]
    together = run(prospect_of(store, settings, source, [*ids, "nobody", ids[0], ids[1]]))
    alone = [run(prospect_of(store, settings, source, [one])).stands for one in [*ids, "nobody", *ids[:2]]]
    assert [*together.stands] == [stand for (stand,) in alone]
    assert [stand.place for stand in together.stands][:12] == [0, *range(2, 12, 2), 1, *range(3, 12, 2)]


@pytest.mark.parametrize("is_async", [False, True])
def test_what_is_left_of_many_is_queued_once(
    broker: PacingBroker, store: Store, monkeypatch: pytest.MonkeyPatch, is_async: bool
) -> None:
    """Redis went away amid them, and whoever gave it all of them again had the first done twice."""
    monkeypatch.setattr("tbcache.queue.batch.MOST_ASKS", 2)
    first, second = (dramatiq.actor(note, actor_name=name, queue_name=name) for name in ("first", "second"))
    same = first.message("0")
    jobs = [
        FetchRequest("reddit", "GME"),
        same,
        second.message("a"),
        same,
        first.message("1"),
        second.message("b"),
    ]
    ask, asked = store.ask, itertools.count()

    async def ask_in_part(script: Any, call: Any) -> Any:
        if script.name == "enqueue" and next(asked) in (1, 3):
            raise Unavailable("redis://somewhere", "gone")
        return await ask(script, call)

    def queue(jobs: Sequence[Any]) -> Sequence[Any]:
        try:
            many = asyncio.run(tbcache.asyncio.enqueue_many(jobs)) if is_async else tbcache.enqueue_many(jobs)
        except RedisUnreachable as error:
            return error.left
        assert len(many) == len(jobs)
        return ()

    monkeypatch.setattr(store, "ask", ask_in_part)
    left = queue(jobs)
    assert left == [jobs[0], jobs[2], jobs[4], jobs[5]]
    left = queue(left)
    assert left == [jobs[0], jobs[4]]
    assert queue(left) == ()
    assert (depth("first"), depth("second"), depth("reddit")) == (3, 2, 1)


def test_what_is_left_of_many_is_what_a_drained_queue_refuses(broker: PacingBroker) -> None:
    open_, drained = (dramatiq.actor(note, actor_name=name, queue_name=name) for name in ("open", "drained"))
    drained.send("before")
    Fleet(get_settings(), broker.store).as_operator("ada").drain("drained")
    jobs = [drained.message("a"), open_.message("b")]
    with pytest.raises(Paused) as refused:
        tbcache.enqueue_many(jobs[::-1])
    assert refused.value.left == jobs[:1]
    with pytest.raises(Paused) as refused:
        broker.enqueue_many(jobs)
    assert refused.value.left == jobs


def test_jobs_are_queued_though_nobody_knows_when_they_start(
    broker: PacingBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def is_away(*about: Any) -> Any:
        raise Unavailable("redis://somewhere", "gone")

    monkeypatch.setattr("tbcache.queue.broker.starts_of", is_away)
    (job,) = tbcache.enqueue_many([dramatiq.actor(note).message("a")])
    assert (job.state, job.starts_at, depth("default")) == ("queued", None, 1)


@pytest.mark.parametrize(
    ("jobs", "why"),
    [
        (None, "must be a list of fetch requests and messages"),
        ("GME", "must be a list of fetch requests and messages"),
        ({"reddit": "GME"}, "must be a list of fetch requests and messages"),
        (7, "must be a list of fetch requests and messages"),
        (["GME"], "job 0, 'GME', is neither a FetchRequest nor a message"),
        ([FetchRequest("reddit", "GME"), ("reddit", "GME")], "job 1, "),
        ([FetchRequest("reddit", "GME"), FetchRequest("reddit", "GME", 100_000)], "hours"),
        ((FetchRequest("reddit", "GME") for _ in range(5)), "more than 3 jobs at once"),
    ],
)
def test_what_is_no_job_is_refused_before_anything_is_queued(
    jobs: Any, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one line that says which."""
    monkeypatch.setattr(many, "MOST_JOBS", 3)
    with pytest.raises(InvalidRequest, match=why) as raised:
        tbcache.enqueue_many(jobs)
    assert "\n" not in str(raised.value)
    assert depth("reddit") == 0


def test_no_fetch_is_queued_where_a_message_cannot_be(broker: PacingBroker) -> None:
    """What an actor is called with is known to be no JSON as it is written."""
    actor: Any = dramatiq.actor(broker=broker, actor_name="note")(note)
    fetch = FetchRequest("reddit", "GME")
    with pytest.raises(TypeError, match="JSON"):
        tbcache.enqueue_many([fetch, actor.message("x"), actor.message({"x"})])
    with pytest.raises(InvalidRequest, match="caller"):
        tbcache.enqueue_many([actor.message_with_options(args=("x",), caller="me"), fetch], caller="no name!")
    assert (depth("reddit"), depth("default")) == (0, 0)


def test_a_fetch_of_no_source_is_refused() -> None:
    """With the nearest there is."""
    with pytest.raises(UnknownSource, match="reddit"):
        tbcache.enqueue_many([FetchRequest("reddit", "GME"), FetchRequest("redit", "GME")])
    assert depth("reddit") == 0


def test_messages_need_our_broker_and_no_moment(
    broker: PacingBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another queues one at a time; and when an actor's work begins matters to nobody's answer."""
    actor: Any = dramatiq.actor(broker=broker, actor_name="note")(note)
    with pytest.raises(InvalidRequest, match="fresh_after is for fetches"):
        tbcache.enqueue_many([actor.message("x")], fresh_after=datetime(2026, 1, 1, tzinfo=UTC))
    stub = StubBroker()
    stub.declare_queue("quotes")
    monkeypatch.setattr("dramatiq.broker.global_broker", stub)
    job = tbcache.source("quotes", limits="2/10m", ttl=60).fetcher(name="quote")(lower).enqueue("A")
    assert (job.state, job.job_id) == ("queued", job.message.message_id)
    with pytest.raises(TypeError, match="says nothing of its jobs"):
        job.result()
    with pytest.raises(TypeError, match="StubBroker queues one message at a time"):
        tbcache.enqueue_many([actor.message("x")])


def test_an_actor_hears_of_its_messages_as_of_those_that_are_sent(broker: PacingBroker) -> None:
    """Middleware counts, checks and marks them there; and in whose name they are goes along."""

    before, after = list[str](), list[str]()

    class Noted(dramatiq.Middleware):
        def before_enqueue(self, broker: Any, message: Any, delay: Any) -> None:
            before.append(message.args[0])

        def after_enqueue(self, broker: Any, message: Any, delay: Any) -> None:
            after.append(message.options["caller"])

    broker.add_middleware(Noted())
    actor: Any = dramatiq.actor(broker=broker, actor_name="note")(note)
    own = actor.message_with_options(args=("two",), caller="desk/b")
    tbcache.enqueue_many([actor.message("one"), own], caller="desk/a")
    assert (before, after) == (["one", "two"], ["desk/a", "desk/b"])


def test_a_middleware_is_heard_from_the_moment_on_when_it_comes_until_it_goes(broker: PacingBroker) -> None:
    """Which of them do something at a signal is remembered, and the list of them is public."""
    heard = list[str]()

    class Noted(dramatiq.Middleware):
        def before_enqueue(self, broker: Any, message: Any, delay: Any) -> None:
            heard.append(message.args[0])

    actor: Any = dramatiq.actor(broker=broker, actor_name="note")(note)
    actor.send("before")
    broker.middleware.append(Noted())
    actor.send("while")
    broker.middleware.pop()
    actor.send("after")
    assert heard == ["while"]


def test_many_are_queued_and_explained_by_tasks(broker: PacingBroker) -> None:
    """As by threads."""
    asyncio.run(queue_many(broker))


async def queue_many(broker: PacingBroker) -> None:
    actor: Any = dramatiq.actor(broker=broker, actor_name="note")(note)
    handles = await tbcache.asyncio.enqueue_many([FetchRequest("reddit", f"S{n}") for n in range(3)])
    assert [(one.state, one.request.symbol) for one in handles] == [("queued", f"S{n}") for n in range(3)]
    assert [(await one.explain()).place for one in handles] == [1, 2, 3]
    (job,) = await tbcache.asyncio.enqueue_many([actor.message("one")])
    assert (job.queue, job.state, job.is_new, job.starts_at) == ("default", "queued", True, None)
    assert job.job_id in repr(job)


def finish(store: Store, handles: list[tbcache.Handle]) -> None:
    """The jobs are over, by the script that ends them."""
    claims = {f"{one.job_id}/1": 4e15 for one in handles}
    store.client.zadd(store.keys.queue("news", "claims"), claims)
    for at in range(0, len(claims), 50):
        parts = [
            (claim, "done", '{"message":"over"}', 0, 0, 0, "", 0, "") for claim in [*claims][at : at + 50]
        ]
        ends = tuple(part for several in parts for part in several)
        store.run(FINISH, FinishJobs(queue_keys(store.keys, "news"), store.keys.slots("news"), 4, 0, ends))


@pytest.fixture
def seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine the looks for lost jobs come while the last threads begin, each over a connection."""
    monkeypatch.setattr(handle, "LOOK_SECONDS", 100.0)


def requests() -> list[FetchRequest]:
    return [FetchRequest("news", f"S{number}") for number in range(ASKERS)]


@pytest.mark.usefixtures("seldom")
def test_a_thousand_threads_that_wait_for_results_share_a_few_connections(
    server: Server, store: Store
) -> None:
    """One of their own each is what a server refuses at some point, and whoever is refused got an error."""
    before = server.connections()
    handles = tbcache.enqueue_many(requests())

    def wait(handle: tbcache.Handle) -> str:
        with pytest.raises(TbcacheError) as raised:
            handle.result(100)
        return str(raised.value)

    with ThreadPoolExecutor(ASKERS) as pool:
        waits = [pool.submit(wait, handle) for handle in handles]
        wait_until(lambda: len(store._waiter._waits) == ASKERS, 60)
        assert len(server.connections() - before) <= MOST_CONNECTIONS
        finish(store, handles)
        assert {one.result(100) for one in waits} == {"news: the job died: over"}
    assert store.is_available


@pytest.mark.usefixtures("seldom")
def test_a_thousand_tasks_that_wait_for_results_share_a_few_connections(server: Server, store: Store) -> None:
    """The same in one loop."""
    asyncio.run(wait_in_tasks(server, store))
    assert store.is_available


async def wait_in_tasks(server: Server, store: Store) -> None:
    before = server.connections()
    handles = await tbcache.asyncio.enqueue_many(requests())
    tasks = [asyncio.create_task(handle.result(100)) for handle in handles]
    for _ in range(10_000):
        if len(store._waiter._waits) == ASKERS:
            break
        await asyncio.sleep(0.01)
    assert len(store._waiter._waits) == ASKERS
    assert len(server.connections() - before) <= MOST_CONNECTIONS
    await asyncio.to_thread(finish, store, [handle._handle for handle in handles])
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert {str(one) for one in found} == {"news: the job died: over"}
