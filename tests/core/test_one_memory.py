"""A process keeps one value by a key, whoever brought it: the newest."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from tbcache.admission import Failed, Go, Grant, Hit, Join, Settlement, Stale
from tbcache.cache import CacheManager
from tbcache.models import Failure, Limit
from tbcache.monitoring import UsageMonitor
from tbcache.settings import Settings
from tbcache.store import Store
from tbcache.store.memory import Memory
from tests.blocking import Admission
from tests.core.conftest import TWITTER, ask
from tests.server import Server, wait_until

KEY = ask().request.key
OPEN = replace(TWITTER, limits=(Limit(50, 60.0),))
LOADED = Settlement(payload=b'"loaded"', pages=1, seconds=0.1)


class Process:
    """What has to do with values in one process."""

    def __init__(self, store: Store, settings: Settings, *, is_tracking: bool = False) -> None:
        self.store = store
        self.memory = Memory(store, is_tracking=is_tracking)
        self.cache = CacheManager(store, self.memory)
        self.admission = Admission(store, settings, UsageMonitor(store, settings), self.memory)

    def go(self, **options: Any) -> Grant:
        verdict = self.admission.admit(ask(source=OPEN, **options))
        assert isinstance(verdict, Go)
        return verdict.grant

    def load(self) -> None:
        """What a fetch leaves."""
        self.admission.settle(self.go(), LOADED)

    @property
    def answer(self) -> bytes | None:
        """What a fetch would be given."""
        verdict = self.admission.admit(ask(source=OPEN))
        return verdict.payload if isinstance(verdict, Hit | Stale) else None


@pytest.fixture
def fallback() -> Iterator[Process]:
    """Nobody listens there."""
    settings = Settings.load({"REDIS_URL": "redis://127.0.0.1:1/0"})
    store = Store(settings)
    yield Process(store, settings)
    store.close()


def test_an_answer_that_was_loaded_without_redis_is_in_the_cache(fallback: Process) -> None:
    """With Redis it is there by its key, for everyone; without, it was nowhere but in admission."""
    fallback.load()
    assert fallback.cache.get(KEY) == "loaded"
    assert fallback.cache.exists(KEY)
    assert 295 < (fallback.cache.get_ttl(KEY) or 0) <= 300
    assert fallback.cache.status().fallback_entries == 1


@pytest.mark.parametrize("is_set_last", [True, False])
def test_the_newest_of_a_set_and_a_load_without_redis_is_given_to_all(
    fallback: Process, is_set_last: bool
) -> None:
    """Each had a value of its own by the same key, and gave it whatever the other had since."""
    if is_set_last:
        fallback.load()
        fallback.cache.set(KEY, "set")
    else:
        fallback.cache.set(KEY, "set", ttl=0.01)
        wait_until(lambda: not fallback.cache.exists(KEY))
        fallback.load()
    newest = "set" if is_set_last else "loaded"
    assert fallback.cache.get(KEY) == newest
    assert fallback.answer == b'"%b"' % newest.encode()
    assert fallback.admission.look(TWITTER, KEY) is not None


def test_what_is_deleted_without_redis_is_gone_for_all_and_so_is_what_is_on_its_way(
    fallback: Process,
) -> None:
    """As with Redis, where a deletion takes the lease with it."""
    fallback.load()
    assert fallback.cache.delete(KEY) is True
    assert fallback.cache.delete(KEY) is False
    under_way = fallback.go()
    assert isinstance(fallback.admission.admit(ask(source=OPEN)), Join)
    fallback.cache.delete(KEY)
    fallback.admission.settle(under_way, LOADED)
    assert fallback.cache.get(KEY) is None
    assert isinstance(fallback.admission.admit(ask(source=OPEN)), Go)


def test_a_clear_without_redis_leaves_what_does_not_match(fallback: Process) -> None:
    """It is all that there is, and loading it again costs requests."""
    fallback.load()
    fallback.cache.set("reddit:GME:24", "other")
    assert fallback.cache.clear_pattern("reddit:*") == 1
    assert fallback.cache.get(KEY) == fallback.cache.get(KEY, "gone") == "loaded"
    assert fallback.cache.get("reddit:GME:24") is None


def test_a_failure_is_no_value_and_takes_none_away(fallback: Process) -> None:
    """What the last load met is told to who asks again too early; the old answer stands in."""
    failed = Settlement(failure=Failure("unavailable", "503", 503, None), pages=1)
    fallback.admission.settle(fallback.go(), failed)
    assert isinstance(fallback.admission.admit(ask(source=OPEN)), Failed)
    fallback.cache.set(KEY, "set")
    verdict = fallback.admission.admit(ask(source=OPEN, needed=400.0))
    assert isinstance(verdict, Stale)
    assert verdict.payload == b'"set"'


def test_a_value_that_the_cache_cannot_read_is_none(fallback: Process) -> None:
    """A fetcher's answers are its own; no call raises because Redis is away."""
    fallback.admission.settle(fallback.go(), Settlement(payload=b'{"$unknown":1}', pages=1))
    assert fallback.cache.get(KEY, "none") == "none"


def test_all_values_of_a_process_have_one_bound(fallback: Process) -> None:
    """Three bounds for the same values were three times the memory."""
    memory = Memory(fallback.store, max_bytes=4_000)
    cache = CacheManager(fallback.store, memory)
    for number in range(20):
        cache.set(f"set:{number}", "x" * 100)
        memory.put_loaded(f"loaded:{number}", b"x" * 100, 60, 60)
    assert memory.stats.bytes <= 4_000
    assert memory.stats.fallback == memory.stats.bytes // 400 == 9
    assert cache.get("set:0") is None
    assert cache.get("set:19") == "x" * 100


def test_timelines_are_within_the_bound_of_the_values(fallback: Process) -> None:
    """A small container was set to 16 MiB, and had 32 MB of timelines beside them."""
    memory = Memory(fallback.store, max_bytes=4_000)
    memory.set("value", b"x" * 100, 60)
    for number in range(10):
        memory.put_timeline(f"line:{number}", b"x" * 500, in_redis=False)
        assert memory.recall("value") is not None, "what is used stays"
    assert 3_000 < memory.stats.bytes <= 4_000
    assert (memory.timeline("line:0"), memory.timeline("line:9")) == (None, b"x" * 500)
    assert memory.stats.fallback == 1


def test_a_timeline_is_kept_until_something_is_removed_that_it_may_be_made_of(fallback: Process) -> None:
    """What was paid for is not bought again at the next outage; what was cleared does not come back by it."""
    memory, line = fallback.memory, b'{"line":1}'
    fallback.admission.settle(fallback.go(), replace(LOADED, timeline=line))
    memory.flush()
    memory.forget_fallback()
    grant = fallback.go()
    assert grant.timeline == line
    memory.delete("twitter:MSFT:24h", in_redis=True)
    assert memory.timeline(grant.ask.timeline_key) is None
    memory.put_timeline(grant.ask.timeline_key, line, in_redis=False)
    memory.clear("twitter:*", in_redis=True)
    assert memory.timeline(grant.ask.timeline_key) is None


@pytest.mark.parametrize("is_tracking", [True, False])
def test_a_process_that_keeps_nothing_of_redis_keeps_no_timelines_of_it(
    store: Store, settings: Settings, is_tracking: bool
) -> None:
    """TBCACHE_LOCAL_CACHE_BYTES=0 is said for the whole memory."""
    process, line = Process(store, settings, is_tracking=is_tracking), b'{"line":1}'
    grant = process.go()
    process.admission.settle(grant, replace(LOADED, timeline=line))
    assert process.memory.timeline(grant.ask.timeline_key) == (line if is_tracking else None)
    process.memory.close()


def test_a_load_makes_this_process_forget_what_it_has_read_of_the_symbol(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would give its own old answer until Redis tells it of the change."""
    process = Process(store, settings, is_tracking=True)
    memory, other = process.memory, KEY.removesuffix("24") + "6"
    try:
        memory.begin(KEY)
        wait_until(lambda: memory.is_on)
        monkeypatch.setattr(memory, "invalidate", lambda key: None)
        grant = process.go()
        for is_stored in (True, False):
            for key in (KEY, other):
                assert memory.put(key, "old", 60, memory.begin(key), 10)
            settled = process.admission.settle(grant, replace(LOADED, hours=24))
            assert settled == ("stored" if is_stored else "dropped")
            assert memory.get(KEY) is memory.get(other) is memory.get("nothing")
    finally:
        memory.close()


def test_what_is_cleared_while_it_is_loaded_does_not_stand_in(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source's answer and a cached value alike, though Redis has stored both."""
    process = Process(store, settings, is_tracking=True)
    memory = process.memory
    try:
        memory.begin(KEY)
        wait_until(lambda: memory.is_on)
        for is_cleared in (False, True):
            key = f"mine:{is_cleared}"
            grant, (_, lease) = process.go(symbol=f"S{is_cleared}"), process.cache.begin_load(key)
            if is_cleared:
                memory.flush()
            assert lease is not None
            assert process.cache.end_load(lease, "value")
            assert process.admission.settle(grant, LOADED) == "stored"
            with monkeypatch.context() as patch:
                patch.setattr(type(store), "is_available", False)
                for each in (key, grant.ask.request.key):
                    assert (memory.recall(each) is None) is is_cleared
    finally:
        memory.close()


@pytest.mark.one_server
def test_what_was_read_before_an_outage_gives_way_to_what_comes_in_it(
    private_server: Server, settings_for: Callable[..., Settings]
) -> None:
    """And with the return of Redis neither is given, but what Redis has. What was loaded just before it is
    there as well, though nobody has read it."""
    settings = settings_for(private_server)
    store = Store(settings)
    process = Process(store, settings, is_tracking=True)
    try:
        process.cache.set(KEY, "before", ttl=60)
        wait_until(lambda: process.cache.get(KEY) == "before" and process.memory.stats.entries == 1)
        process.admission.settle(process.go(symbol="MSFT"), LOADED)
        process.admission.settle(process.go(symbol="TSLA", slot=""), LOADED)
        private_server.kill()
        assert isinstance(process.admission.admit(ask("TSLA", source=OPEN)), Go), (
            "it was loaded for the queue"
        )
        assert process.admission.admit(ask("MSFT", source=OPEN)) == Stale(b'"loaded"')
        assert process.answer == b'"before"'
        assert isinstance(process.admission.admit(ask(source=OPEN)), Stale)
        # Redis says nothing of its own changes any more, and what it said before is old news.
        process.admission.settle(process.go(needed=100.0), LOADED)
        process.memory.invalidate(KEY)
        assert process.cache.get(KEY) == "loaded"
        assert isinstance(process.admission.admit(ask(source=OPEN)), Hit)
        private_server.start()
        wait_until(lambda: store.is_available)
        assert process.cache.get(KEY) is None
        assert process.memory.stats.fallback == 0
    finally:
        process.cache.close()
        store.close()


def test_a_read_of_redis_takes_no_place_of_what_is_to_be_put_right(
    server: Server, store_for: Callable[..., Store]
) -> None:
    """Refused once, a value is newer than what Redis has until Redis is told."""
    memory = Memory(store_for(server), is_tracking=True)
    try:
        memory.begin(KEY)
        wait_until(lambda: memory.is_on)
        memory.set(KEY, b'"newer"', 60)
        assert not memory.put(KEY, "older", 60, memory.begin(KEY), 10)
        assert memory.get(KEY) == memory.get("nothing")
        kept = memory.recall(KEY)
        assert kept is not None
        assert kept.payload == b'"newer"'
        memory.put_right(memory.changes)
        assert memory.recall(KEY) is None
        assert memory.put(KEY, "right", 60, memory.begin(KEY), 10)
    finally:
        memory.close()


def _in_child(process: Process, found: Any) -> None:
    found.put((process.cache.get("key"), process.cache.get(KEY)))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # forking beside threads is the point here
def test_a_forked_child_has_what_was_set_without_redis(fallback: Process) -> None:
    """A pool of processes on a machine without Redis reads what its parent has put there."""
    fallback.cache.set("key", (1, 2))
    fallback.load()
    context = multiprocessing.get_context("fork")
    found = context.Queue()
    child = context.Process(target=_in_child, args=(fallback, found))
    child.start()
    try:
        assert found.get(timeout=60) == ((1, 2), "loaded")
    finally:
        child.join(30)
        found.close()
