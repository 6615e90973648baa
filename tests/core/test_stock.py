"""What a process has bought while Redis was away from it is bought once: it is put there once it is back."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from tbcache.admission import Go, Hit, Join, Settlement, Stale
from tbcache.admission.script import PUT_BACK, PutBack, fetch_queue
from tbcache.admission.stock import MOST_BYTES
from tbcache.cache.entry import _MARKS
from tbcache.fetch import Pipeline
from tbcache.fetch.function.job import CallRequest
from tbcache.io import now, run
from tbcache.settings import Settings
from tbcache.store import Refused, Store
from tbcache.store.clock import Jump
from tbcache.store.envelope import UNCLEARED, birth_of, seal
from tbcache.store.wire import CLOCK_DRIFT, MICROS
from tests.blocking import core
from tests.core.conftest import ask
from tests.core.test_one_memory import OPEN, Process
from tests.server import Server, wait_until

KEY = "twitter:quote:AAPL"
CALL = replace(OPEN, name="twitter")
#: What is made of a timeline.
ANSWER = "twitter:AAPL:24"


def call(**options: Any) -> Any:
    """Ask for what a function gives, which is made of no timeline."""
    return msgspec.structs.replace(ask(source=OPEN, **options), request=CallRequest("twitter", KEY))


@pytest.fixture
def process(store: Store, settings: Settings) -> Iterator[Process]:
    process = Process(store, settings)
    assert isinstance(process.admission.admit(ask("WARM", source=OPEN)), Go)
    yield process
    process.memory.close()


def value(name: str, at: int = 2) -> bytes:
    """What a function gives, loaded then."""
    return b'{"at":%d,"v":"%b"}' % (10**15 + at, name.encode())


def load_alone(process: Process, payload: bytes = value("alone"), began: float = 0.0) -> float:
    """Load while Redis is away, which then is back; when the load began."""
    began = began or now()
    process.memory.put_loaded(KEY, payload, 300.0, 600.0, began=began)
    process.memory.forget_fallback()
    return began


def there(server: Server, store: Store, key: str = KEY) -> bytes | None:
    found = server.client.get(store.keys.entry(key))
    assert found is None or isinstance(found, bytes)
    return found


def put(server: Server, store: Store, payload: bytes, fresh_for: float, key: str = KEY) -> None:
    seconds, _ = server.client.time()
    entry = seal(payload, round((seconds + fresh_for) * MICROS))
    server.client.set(store.keys.entry(key), entry, px=600_000)


@pytest.mark.one_server
@pytest.mark.parametrize("way", ["kill", "freeze"])
def test_what_was_bought_while_redis_was_away_is_there_for_all_when_it_is_back(
    private_server: Server, settings_for: Callable[..., Settings], way: str
) -> None:
    """A restart of some seconds cost each process all that it had bought in them, and all at once."""
    settings = settings_for(private_server)
    with contextlib.ExitStack() as stack:
        mine, other = (Process(stack.enter_context(closing(Store(settings))), settings) for _ in range(2))
        mine.go()
        put(private_server, mine.store, value("before", 1), 250)
        assert isinstance(mine.admission.admit(call()), Hit)
        with private_server.frozen() if way == "freeze" else killed(private_server):
            for payload in (value("first", 2), value("second", 3)):
                verdict = mine.admission.admit(call(needed=1000.0))
                assert isinstance(verdict, Go)
                assert now() - 60 < verdict.grant.began
                settled = mine.admission.settle(verdict.grant, Settlement(payload=payload, pages=1))
                assert settled == "fallback"
            assert isinstance(mine.admission.admit(call()), Hit)
            mine.admission.settle(mine.go(), Settlement(payload=b"1", pages=1))
        wait_until(lambda: mine.store.is_available)
        pipeline = Pipeline(core(mine.admission))
        found = run(pipeline.find_kept(OPEN, KEY, lambda payload: payload, lambda value, payload: value))
        assert found is None, "what was expected there before is older"
        for process in (mine, other):
            verdict = process.admission.admit(call())
            assert isinstance(verdict, Hit)
            assert verdict.payload == value("second", 3)
            assert 280 < verdict.fresh_seconds <= 300
        assert mine.memory.due(KEY) is None
        # An answer that is made of a timeline is not put back: it may be made of less than the fleet's.
        assert mine.memory.due(ANSWER) is None
        assert mine.memory.stats.bytes == 0
        for name, setting in (("maxmemory-policy", "noeviction"), ("maxmemory", "1")):
            private_server.client.config_set(name, setting)
        mark = mine.store.keys.deleted("twitter")
        assert private_server.client.eval(_MARKS, 1, mark, 1000) is None, "who deletes makes room"


@contextmanager
def killed(server: Server) -> Iterator[None]:
    server.kill()
    yield
    server.start()


def test_it_takes_the_place_of_what_is_older_and_of_nothing_newer(process: Process, server: Server) -> None:
    """Who has decided on an answer would be given one of before it, marked as fresh."""
    for there, is_older in ((value("theirs", 1), True), (value("theirs", 3), False), (b'"set"', False)):
        load_alone(process)
        put(server, process.store, there, 250)
        assert process.admission.admit(call()).payload == (value("alone") if is_older else there)
        assert process.memory.due(KEY) is None
    process.memory.put_loaded(KEY, value("old"), 10.0, 600.0, began=now())
    process.memory.forget_fallback()
    put(server, process.store, value("older", 1), -60)
    verdict = process.admission.admit(call(needed=100.0))
    assert isinstance(verdict, Go)
    assert verdict.stale == value("old")


def test_keys_of_many_sources_are_marked_as_deleted_in_one_call(process: Process, server: Server) -> None:
    """Each source's by itself would be a script of its own; one more tells their queues."""
    before, names = server.calls("eval"), ["x", "y", "z"]
    assert run(process.cache.core._entries.remove([f"{name}:1" for name in names])) == 0
    assert server.calls("eval") - before == 2
    assert all(server.client.pttl(process.store.keys.deleted(name)) > 0 for name in names)


@pytest.mark.parametrize(
    "event", ["delete", "delete another", "delete set back", "clear", "clear all", "clear elsewhere"]
)
def test_nothing_comes_back_that_was_removed_since_its_load_began(
    process: Process, server: Server, settings: Settings, event: str
) -> None:
    """Whoever has removed it was not heard by the process that has it."""
    elsewhere = Store(settings)
    if event == "clear elsewhere":
        elsewhere.keys = replace(elsewhere.keys, sources=frozenset())
    other = Process(elsewhere, settings)
    load_alone(process)
    if event.startswith("delete"):
        other.cache.delete(ANSWER if event == "delete another" else KEY)
    elif event == "clear":
        run(other.cache.core._hide("twitter:*"))  # its sweep is still to come
    else:
        other.cache.clear_pattern("*")
    clock = process.store.clock
    known = dict(clock._ranges)
    if event == "delete set back":
        # As if nobody had heard of it yet.
        ahead = {
            name: msgspec.structs.replace(one, low=one.low + 3600, high=one.high + 3600)
            for name, one in known.items()
        }
        clock._ranges.update(ahead)
    other.cache.delete("order-1")
    assert not server.client.exists(process.store.keys.deleted("order-1")), "a key for each that is deleted"
    elsewhere.close()
    run(process.admission.core._stock.offer("twitter", KEY))
    clock._ranges.update(known)
    assert there(server, process.store) is None
    assert isinstance(process.admission.admit(call()), Go)
    load_alone(process, began=now() + process.store.clock.timeout - 1)
    assert isinstance(process.admission.admit(call()), Join), (
        "the server's clock may have been set by so much"
    )
    load_alone(process, began=now() + process.store.clock.timeout + 1)
    assert isinstance(process.admission.admit(call()), Hit), "it was loaded after that"


@pytest.mark.parametrize(
    "way", ["late", "set back", "gone", "another type", "cleared a moment ago", "damaged log"]
)
def test_put_back_stores_nothing(process: Process, server: Server, way: str) -> None:
    """Each is seen by the script alone: what a process knows may be a moment old."""
    keys, (seconds, _) = process.store.keys, server.client.time()

    def moment(after: float) -> int:
        return round((seconds + after) * MICROS)

    if way == "another type":
        server.client.rpush(keys.entry(KEY), "x")
        server.client.expire(keys.entry(KEY), 60)
    elif way == "cleared a moment ago":
        server.client.set(keys.clears("twitter"), str(moment(20)), ex=60)
    elif way == "damaged log":
        server.client.set(keys.clears("twitter"), "123", ex=60)
    server.client.hset(keys.queue("twitter", "pending"), KEY, "job")
    server.client.expire(keys.queue("twitter", "pending"), 60)
    asked = PutBack(
        keys.clears("twitter"),
        keys.clears("*"),
        keys.deleted("twitter"),
        keys.entry(KEY),
        fetch_queue(keys, "twitter"),
        asked_us=moment(30 if way == "set back" else -60),
        deadline_us=moment(-1 if way == "late" else 60),
        began_us=moment(10),
        fresh_us=moment(300),
        gone_us=moment(-1 if way == "gone" else 600),
        payload=value("1"),
    )
    is_stored = run(process.store.ask(PUT_BACK, asked))
    # A job that waits for it is found.
    assert server.client.exists(keys.queue("twitter", "answered")) == is_stored
    assert is_stored is (way == "damaged log")
    if is_stored:
        assert birth_of(there(server, process.store) or b"") == UNCLEARED
    else:
        assert server.client.type(keys.entry(KEY)) == (b"list" if way == "another type" else b"none")


@pytest.mark.parametrize("way", ["refused", "cluster"])
def test_an_ask_goes_on_where_nothing_can_be_put_back(
    process: Process, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """A right that is missing for this script alone; logs that lie elsewhere."""
    load_alone(process)
    store, asked = process.store, process.store.ask

    async def ask_other(script: Any, call: Any) -> Any:
        if script.name != "put_back":
            return await asked(script, call)
        assert way == "refused"
        raise Refused("there", "no right")

    monkeypatch.setattr(store, "ask", ask_other)
    if way == "cluster":
        monkeypatch.setattr(store, "settings", SimpleNamespace(redis_cluster=True))
    run(process.admission.core._stock.offer("twitter", KEY))
    assert process.memory.due(KEY) is None


def test_what_is_long_ago_is_told_by_how_far_clocks_may_go_apart(process: Process) -> None:
    """A load that seems to have begun later than it did could have begun before a deletion."""
    clock, moment = process.store.clock, now()
    ago = clock.moment_us(moment, "twitter") - clock.moment_us(moment - 1000, "twitter")
    assert ago == pytest.approx(1000 * (1 + CLOCK_DRIFT) * MICROS, abs=0.1 * MICROS)


@pytest.mark.parametrize("damage", ["too large", "no log", "log of another type", "mark without end"])
def test_what_is_in_the_way_leaves_all_as_it_is(process: Process, server: Server, damage: str) -> None:
    """What is not put back is loaded again, and nothing waits for it."""
    keys = process.store.keys
    load_alone(process, value("x" * (MOST_BYTES if damage == "too large" else 1)))
    if damage == "no log":
        server.client.set(keys.clears("*"), "9999999999999999", ex=60)
    elif damage == "log of another type":
        server.client.rpush(keys.clears("twitter"), "x")
        server.client.expire(keys.clears("twitter"), 60)
    elif damage == "mark without end":
        server.client.set(keys.deleted("twitter"), "")
    verdict = process.admission.admit(call())
    server.client.delete(keys.deleted("twitter"))
    is_harmless = damage in ("no log", "log of another type")
    assert isinstance(verdict, Hit if is_harmless else Go)
    assert process.memory.due(KEY) is None
    assert isinstance(process.admission.admit(call()), Hit if is_harmless else Join)


def test_what_is_of_another_clock_that_is_ahead_is_not_taken_for_newer(
    process: Process, server: Server, store: Store
) -> None:
    """A process that began without Redis goes by its machine's clock, which may be an hour ahead."""
    put(server, store, value("there", 10**14), 250)
    load_alone(process, value("ahead", 9 * 10**15))
    verdict = process.admission.admit(call())
    assert isinstance(verdict, Hit)
    assert verdict.payload == value("there", 10**14)


def test_a_server_whose_clock_was_set_is_given_nothing_of_before(process: Process) -> None:
    """It would take a load that began before a deletion for one that began after it."""
    other = "twitter:quote:MSFT"
    load_alone(process)
    process.memory.put_loaded(other, value("alone"), 300.0, 600.0, began=now())
    for before, _ in process.store.clock._jumped:
        run(before("twitter", Jump(3600.0, now(), 3600.0, 3600.0, now())))
    process.memory.forget_fallback()
    assert process.memory.due(KEY) is process.memory.due(other) is None


def test_what_was_loaded_before_an_earlier_outage_stands_in_no_more(process: Process) -> None:
    """Others may have removed it while Redis was there. It is to be put back all the same."""
    load_alone(process)
    process.store.breaker.open(ConnectionError())
    assert process.cache.get(KEY) is None
    verdict = process.admission.admit(call())
    assert not isinstance(verdict, Hit | Stale)
    due = process.memory.due(KEY)
    assert due is not None
    assert process.memory.stats.fallback == 0
    load_alone(process)
    process.memory.done(KEY, due)
    assert process.memory.due(KEY) is not None, "it is another by now"


def test_a_source_that_redis_refuses_goes_on_with_what_it_has(process: Process, server: Server) -> None:
    """Redis has not been away: each ask would put back what the next one needs, and be refused."""
    server.client.delete(process.store.keys.slots("twitter"))
    server.client.set(process.store.keys.slots("twitter"), "x", ex=60)
    verdict = process.admission.admit(call())
    assert isinstance(verdict, Go)
    process.admission.settle(verdict.grant, Settlement(payload=b"1"))
    for _ in range(2):
        assert isinstance(process.admission.admit(call()), Hit)
    assert there(server, process.store) is None


def test_a_deletion_is_noted_before_it_is_done(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is put back in between would stay."""
    sent, pipeline = list[Any](), process.store.pipeline

    async def noting(*commands: Any) -> Any:
        sent.extend(command[0] for command in commands)
        return await pipeline(*commands)

    monkeypatch.setattr(process.store, "pipeline", noting)
    process.cache.delete(KEY)
    assert sent == ["EVAL", "UNLINK", "UNLINK", "EVAL"]
    monkeypatch.setattr(process.store, "settings", SimpleNamespace(redis_cluster=True))
    process.cache.delete(KEY)
    assert sent[4:] == ["UNLINK", "UNLINK", "EVAL"], "nothing is put back in a cluster"
