"""The cache manager, with Redis, without it, and when it comes back."""

from __future__ import annotations

import itertools
import logging
import math
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from traceback import extract_tb
from typing import Any, ClassVar

import msgspec
import pytest

from tbcache.admission import Ask, Go, Settlement
from tbcache.cache import CacheManager, get_cache_manager
from tbcache.cache.preview import preview
from tbcache.cache.single_flight import SingleFlight, _Flight
from tbcache.io import run
from tbcache.models.error import InvalidRequest
from tbcache.monitoring import UsageMonitor
from tbcache.settings import Settings, get_source
from tbcache.store import Store, envelope
from tbcache.store import change as change_module
from tbcache.store.breaker import LONGEST_PROBE_SECONDS
from tbcache.store.memory import MISSING, Memory
from tests.blocking import Admission
from tests.server import Server, sending, sent_here, wait_until

pytestmark = pytest.mark.usefixtures("every_driver")


@dataclass(frozen=True)
class Quote:
    symbol: str
    price: float
    at: datetime


@pytest.fixture
def cache(store: Store) -> CacheManager:
    return CacheManager(store)


@pytest.fixture
def outage(private_server: Server, store_for: Callable[..., Store]) -> CacheManager:
    """A cache whose server may be killed."""
    return CacheManager(store_for(private_server))


@pytest.fixture
def local_cache_for(server: Server, store_for: Callable[..., Store]) -> Iterator[Callable[[], CacheManager]]:
    """Caches with the in-process layer on, as many processes would have."""
    made: list[CacheManager] = []

    def build() -> CacheManager:
        store = store_for(server)
        local = Memory(store, 1 << 20, is_tracking=True)
        made.append(CacheManager(store, local))
        made[-1].get("warm:up")
        wait_until(lambda: local.is_on, what="the layer's being on")
        return made[-1]

    yield build
    for cache in made:
        cache.close()


def back(cache: CacheManager) -> None:
    wait_until(lambda: cache.store.is_available, what="Redis' return")


def together(count: int, call: Callable[[], Any]) -> list[Any]:
    """What ``count`` threads get that call at the same moment."""
    start = threading.Barrier(count)

    def run() -> Any:
        start.wait(30)
        return call()

    with ThreadPoolExecutor(count) as pool:
        return [future.result(10) for future in [pool.submit(run) for _ in range(count)]]


# --- get, set, exists, delete -----------------------------------------------------------


def test_a_value_is_there_for_the_whole_fleet(cache: CacheManager, store_for: Callable[..., Store]) -> None:
    """What one process has set, another reads with its types."""
    quote = Quote("AAPL", 1.5, datetime(2026, 1, 5, tzinfo=UTC))
    assert cache.set("quote:AAPL", quote, ttl=60)
    assert CacheManager(cache.store).get("quote:AAPL") == quote
    assert cache.get("quote:MSFT") is None
    assert cache.get("quote:MSFT", "none") == "none"


@pytest.mark.parametrize("value", [None, {}, 0, "", False, [], ()])
def test_a_falsy_value_is_a_hit(cache: CacheManager, value: Any) -> None:
    """ "No news" is an answer, and asking for it again costs money."""
    cache.set("key", value)
    assert cache.get("key", "default") == value
    assert cache.exists("key")
    assert (cache.status().hits, cache.status().misses) == (1, 0)


def test_a_ttl_is_kept_in_redis(cache: CacheManager, server: Server) -> None:
    """Five minutes unless said otherwise; a fraction of a second is a TTL too."""
    began = time.monotonic()
    cache.set("short", 1, ttl=60)
    cache.set("default", 1)
    cache.set("fraction", 1, ttl=9.5)
    cache.set("tiny", 1, ttl=0.02)
    left = [(key, cache.get_ttl(key)) for key in ("short", "default", "fraction")]
    gone = time.monotonic() - began
    for (key, seconds), ttl in zip(left, (60, 300, 9.5), strict=True):
        assert seconds is not None, key
        assert math.ceil(ttl - gone) <= seconds <= math.ceil(ttl), key
    assert cache.get_ttl("nothing") is None
    # In its last millisecond there is a value whose TTL is 0: what is gone for `get` is gone for all.
    wait_until(lambda: cache.get("tiny", "gone") == "gone")
    assert not cache.exists("tiny")


def test_delete_says_whether_there_was_anything(cache: CacheManager) -> None:
    """Callers count what they removed."""
    cache.set("key", 1)
    assert cache.delete("key") is True
    assert cache.delete("key") is False
    assert not cache.exists("key")


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("", "is empty"),
        ("k" * 513, "has 513 characters; the most is 512"),
        ("a\nb", "has control characters"),
        ("a\x7fb", "has control characters"),
        ("a\ud800", "has control characters"),
        (5, "is a int, not a str"),
        (None, "is a NoneType, not a str"),
    ],
)
def test_what_is_no_key_is_refused(cache: CacheManager, key: Any, message: str) -> None:
    """One clear line, from every method alike, before Redis is asked."""
    calls: list[Callable[[Any], Any]] = [
        cache.get,
        cache.exists,
        cache.delete,
        cache.get_ttl,
        cache.clear_pattern,
        lambda key: cache.set(key, 1),
    ]
    for call in calls:
        with pytest.raises(InvalidRequest, match=message) as raised:
            call(key)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("ttl", [0, -1, -0.5, float("nan"), float("inf"), 1e12, "60", True])
def test_what_is_no_ttl_is_refused(cache: CacheManager, ttl: Any) -> None:
    """Redis would answer with an error of its own, or keep the value for ever."""
    with pytest.raises(InvalidRequest, match="must be a number of seconds above 0"):
        cache.set("key", 1, ttl=ttl)
    assert not cache.exists("key")


def test_what_cannot_be_stored_is_refused(cache: CacheManager) -> None:
    """Pickling it instead would let Redis run code here."""
    with pytest.raises(TypeError, match="cannot encode a object"):
        cache.set("key", object())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"junk",
        envelope.seal(b"{broken"),
        envelope.seal(b'{"$bytes":7}'),
        envelope.seal(b'{"$enum":"os:system","v":1}'),
    ],
)
@pytest.mark.parametrize("has_local", [False, True])
def test_corrupt_bytes_are_a_miss_and_go(
    server: Server,
    local_cache_for: Callable[[], CacheManager],
    caplog: pytest.LogCaptureFixture,
    data: bytes,
    has_local: bool,
) -> None:
    """One bad entry must not fail every ask for its key until it expires."""
    cache = local_cache_for()
    cache = cache if has_local else CacheManager(cache.store)
    entry = cache.store.keys.entry("bad:key")
    server.client.set(entry, data, ex=60)
    with caplog.at_level(logging.WARNING, "tbcache"):
        assert cache.get("bad:key", "default") == "default"
        assert cache.get("bad:key", "default") == "default"
    assert [record.msg for record in caplog.records] == ["cache.corrupt"]
    assert not server.client.exists(entry)


@pytest.mark.parametrize("has_local", [False, True])
def test_an_entry_of_another_redis_type_is_a_miss_and_goes(
    server: Server, local_cache_for: Callable[[], CacheManager], has_local: bool
) -> None:
    """Someone's HSET by hand must not make the key unusable."""
    cache = local_cache_for()
    cache = cache if has_local else CacheManager(cache.store)
    entry = cache.store.keys.entry("bad:key")
    server.client.hset(entry, "a", "b")
    assert not cache.exists("bad:key")
    assert cache.get_ttl("bad:key") is None
    assert cache.get("bad:key", "default") == "default"
    assert not server.client.exists(entry)


def test_a_value_of_a_class_not_loaded_here_is_a_miss_and_stays(cache: CacheManager, server: Server) -> None:
    """The process it was written for can still read it."""
    entry = cache.store.keys.entry("other:process")
    server.client.set(entry, envelope.seal(b'{"$dataclass":"bot.models:Order","v":{}}'), ex=60)
    assert cache.get("other:process", "miss") == "miss"
    assert server.client.exists(entry)


def test_a_value_in_memory_of_a_class_that_has_gone_is_a_miss(
    local_cache_for: Callable[[], CacheManager], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cell of a notebook may rename its class: until the TTL was over, each ask was a DecodeError."""
    cache = local_cache_for()
    cache.set("quote", Quote("AAPL", 1.5, datetime(2026, 1, 5, tzinfo=UTC)))
    wait_until(lambda: cache.get("quote") and cache.core.recall("quote") is not MISSING)
    monkeypatch.delattr(f"{__name__}.Quote")
    assert cache.get("quote", "none") == "none"
    assert cache.get_or_load("quote", lambda: 1.5) == 1.5


def test_an_answer_of_a_source_is_a_hit_while_it_is_fresh(cache: CacheManager, server: Server) -> None:
    """Its key outlives it, because a stale answer may stand in for a failing upstream."""
    now_us = int(time.time() * 1e6)
    entry = cache.store.keys.entry("twitter:AAPL:24")
    server.client.set(entry, envelope.seal(b"1", now_us + 30_000_000), ex=3600)
    assert cache.get("twitter:AAPL:24") == 1
    assert cache.exists("twitter:AAPL:24")
    assert cache.get_ttl("twitter:AAPL:24") == 30
    server.client.set(entry, envelope.seal(b"1", now_us - 1_000_000), ex=3600)
    assert cache.get("twitter:AAPL:24", "stale") == "stale"
    assert not cache.exists("twitter:AAPL:24")
    assert cache.get_ttl("twitter:AAPL:24") is None
    assert server.client.exists(entry)


def test_a_hit_is_one_round_trip(cache: CacheManager, server: Server) -> None:
    """The hot path of every caller."""
    cache.set("key", 1)
    before = server.commands()
    cache.get("key")
    assert server.commands() - before == 2  # the GET, and the INFO that counted it


# --- clearing ---------------------------------------------------------------------------


@pytest.mark.every_server
def test_a_clear_takes_exactly_what_matches(cache: CacheManager, server: Server) -> None:
    """Keys lie in Redis under a hash tag, which a pattern's author knows nothing of."""
    keys = ["twitter:AAPL:24", "twitter:MSFT:24", "twitter2:AAPL:24", "tw:AAPL", "reddit:AAPL:24", "plain"]
    for pattern, expected in [
        ("twitter:*", {"twitter:AAPL:24", "twitter:MSFT:24"}),
        ("twitter*", {"twitter:AAPL:24", "twitter:MSFT:24", "twitter2:AAPL:24"}),
        ("*:AAPL:24", {"twitter:AAPL:24", "twitter2:AAPL:24", "reddit:AAPL:24"}),
        ("*:AAPL*", {"twitter:AAPL:24", "twitter2:AAPL:24", "reddit:AAPL:24", "tw:AAPL"}),
        ("twitter:[AM]?[PF]*", {"twitter:AAPL:24", "twitter:MSFT:24"}),
        ("t?:AAPL", {"tw:AAPL"}),
        ("plain", {"plain"}),
        ("plai", set()),
        ("*", set(keys)),
    ]:
        for key in keys:
            cache.set(key, 1)
        told = run(preview(cache.store, pattern))
        assert (told.count, {one.key for one in told.values}) == (len(expected), expected), pattern
        assert cache.clear_pattern(pattern) == len(expected), pattern
        assert {key for key in keys if not cache.exists(key)} == expected, pattern


def test_a_clear_leaves_everything_else_in_redis_alone(cache: CacheManager, server: Server) -> None:
    """Slots and usage are no cache; without them the limits would be broken."""
    server.client.set("trading_bot:{twitter}:slots", 1, ex=60)
    server.client.set("other:cache:{twitter}:AAPL", 1, ex=60)
    cache.set("twitter:AAPL", 1)
    assert cache.clear_pattern("*") == 1
    assert {key for key in server.client.scan_iter() if not re.search(rb":clears:|:layout$", key)} == {
        b"trading_bot:{twitter}:slots",
        b"other:cache:{twitter}:AAPL",
    }


def test_a_clear_of_many_keys_blocks_nobody(cache: CacheManager, server: Server) -> None:
    """KEYS on a full server stops every client for as long as it takes."""
    pipe = server.client.pipeline(transaction=False)
    for n in range(3000):
        pipe.set(cache.store.keys.entry(f"twitter:S{n}:24"), envelope.seal(b"1"), ex=60)
    pipe.execute()
    server.client.config_resetstat()
    told = run(preview(cache.store, "twitter:*"))
    assert (told.count, len(told.values), str(told)) == (3000, 200, "the first 200: 9.8 kB")
    assert cache.clear_pattern("twitter:*") == 3000
    commands = server.client.info("commandstats")
    assert "cmdstat_keys" not in commands
    assert "cmdstat_del" not in commands
    assert commands["cmdstat_scan"]["calls"] >= 3
    assert commands["cmdstat_unlink"]["calls"] >= 3
    assert [key for key in server.client.scan_iter() if not re.search(rb":clears:|:layout$", key)] == []


@pytest.mark.parametrize("clear", ["pattern", "delete"])
def test_an_answer_under_way_does_not_come_back_after_a_clear(
    cache: CacheManager, settings: Settings, clear: str
) -> None:
    """Whoever clears wants what is fetched from now on."""
    admission = Admission(cache.store, settings, UsageMonitor(cache.store, settings))
    source = get_source("twitter", settings)
    ask = Ask(source, source.request("AAPL"))
    going = admission.admit(ask)
    assert isinstance(going, Go)
    if clear == "pattern":
        assert cache.clear_pattern("*:AAPL:*") == 0
    else:
        assert cache.delete("twitter:AAPL:24") is False
    assert admission.settle(going.grant, Settlement(payload=b"1", pages=1)) == "dropped"
    assert cache.get("twitter:AAPL:24", "cleared") == "cleared"
    again = admission.admit(ask)
    assert isinstance(again, Go)
    assert admission.settle(again.grant, Settlement(payload=b"2", pages=1)) == "stored"
    assert cache.get("twitter:AAPL:24") == 2


@pytest.mark.parametrize("is_away", [False, True])
def test_what_was_set_during_a_load_is_newer_than_what_that_brings(
    outage: CacheManager, private_server: Server, is_away: bool
) -> None:
    """A stream brings a price while the slow call of before is under way."""
    if is_away:
        private_server.kill()
    begun, goes_on = threading.Event(), threading.Event()

    def load() -> str:
        begun.set()
        assert goes_on.wait(30)
        return "older"

    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(outage.get_or_load, "key", load)
        assert begun.wait(30)
        outage.set("key", "newer")
        goes_on.set()
        assert loading.result(30) == "older"
    assert outage.get("key") == "newer"


# --- Redis away -------------------------------------------------------------------------


def test_without_redis_the_same_calls_work_in_memory(outage: CacheManager, private_server: Server) -> None:
    """A bot must not stop trading because its cache did."""
    private_server.kill()
    assert outage.get("key", "default") == "default"
    value = {"a": (1, None)}
    assert outage.set("twitter:A", value, ttl=60)
    value["a"] = (2, None)
    assert outage.get("twitter:A") == {"a": (1, None)}
    assert outage.set("twitter:none", None)
    assert outage.get("twitter:none", "default") is None
    assert outage.exists("twitter:none")
    assert outage.get_ttl("twitter:A") == 60
    assert outage.get_ttl("nothing") is None
    assert outage.set("tiny", 1, ttl=0.02)
    wait_until(lambda: not outage.exists("tiny"))
    assert outage.delete("twitter:none") is True
    assert outage.delete("twitter:none") is False
    outage.set("reddit:A", 1)
    assert outage.clear_pattern("twitter:*") == 1
    assert outage.get("twitter:A") is None
    assert outage.get("reddit:A") == 1
    status = outage.status()
    assert (status.is_available, status.keys, status.fallback_entries) == (False, None, 1)


def test_once_redis_is_known_to_be_away_nobody_waits_for_it(
    outage: CacheManager, private_server: Server
) -> None:
    """250 ms for every key of a page would be an outage of our own."""
    private_server.freeze()
    with sending() as sent:
        outage.set("key", 1)
        assert len(sent_here(sent)) == 1
        assert [outage.get("key") for _ in range(100)] == [1] * 100
    assert len(sent_here(sent)) == 1
    private_server.thaw()
    back(outage)
    # What was sent to the frozen server was done when it thawed, and is out of date.
    assert outage.get("key", "dropped") == "dropped"


def test_redis_is_used_again_within_a_second(outage: CacheManager, private_server: Server) -> None:
    """Everything fetched before that is fetched once per process."""
    # So often it is asked whether it is back; a busy machine takes its time to do so.
    assert LONGEST_PROBE_SECONDS <= 1.0
    private_server.kill()
    outage.set("during", 1)
    private_server.start()
    wait_until(lambda: outage.status().is_available, what="Redis' return")
    assert outage.get("during", "gone") == "gone"
    assert outage.status().fallback_entries == 0
    outage.set("after", 1)
    assert outage.store.client.exists(outage.store.keys.entry("after"))


@pytest.mark.parametrize("change", ["set", "delete", "clear"])
def test_what_was_changed_during_an_outage_is_removed_from_redis(
    store_for: Callable[..., Store], change: str
) -> None:
    """Redis has slept through the change: what it holds is older than what was served since."""
    server = Server(append_only=True).start()
    try:
        cache = CacheManager(store_for(server))
        for key in ("twitter:A:24", "twitter:B:24", "reddit:A:24"):
            cache.set(key, "before")
        server.kill()
        assert cache.get("twitter:A:24") is None
        {
            "set": lambda: cache.set("twitter:A:24", "during"),
            "delete": lambda: cache.delete("twitter:A:24"),
            "clear": lambda: cache.clear_pattern("*A:*"),
        }[change]()
        server.start()
        back(cache)
        assert cache.get("twitter:A:24") is None
        assert cache.get("twitter:B:24") == "before"
        assert cache.get("reddit:A:24") == (None if change == "clear" else "before")
        assert cache.status().fallback_entries == 0
    finally:
        server.close()


def test_a_change_noted_too_late_is_put_right_before_redis_is_used(cache: CacheManager) -> None:
    """A thread may learn of the outage just before, and note its change just after, the return."""
    cache.set("key", "old")
    cache.memory.set("key", b'"during"', 60)
    assert cache.get("key", "removed") == "removed"
    assert cache.status().fallback_entries == 0


def test_a_second_outage_serves_nothing_of_the_first(outage: CacheManager, private_server: Server) -> None:
    """In between, others may have changed it."""
    private_server.kill()
    outage.set("key", "first", ttl=60)
    private_server.start()
    back(outage)
    private_server.kill()
    assert outage.get("key", "nothing") == "nothing"
    private_server.start()
    back(outage)


def test_an_emptied_redis_is_just_empty(outage: CacheManager, private_server: Server) -> None:
    """A restart without its data is a cold cache, nothing worse."""
    outage.set("key", 1)
    private_server.restart(empty=True)
    assert outage.get("key", "cold") == "cold"
    back(outage)
    assert outage.set("key", 2)
    assert outage.get("key") == 2


def test_many_threads_through_an_outage_see_no_exception(
    outage: CacheManager, private_server: Server
) -> None:
    """Workers share one manager, and none of them may fall over."""
    over = threading.Event()

    def work(n: int) -> None:
        while not over.is_set():
            for call in (
                lambda: outage.set(f"k:{n}", n),
                lambda: outage.get(f"k:{n}"),
                lambda: outage.exists(f"k:{n}"),
                lambda: outage.clear_pattern("other:*"),
            ):
                call()
            time.sleep(0.001)

    with ThreadPoolExecutor(4) as pool:
        workers = [pool.submit(work, n) for n in range(4)]
        private_server.kill()
        wait_until(lambda: not outage.store.is_available)
        private_server.start()
        back(outage)
        over.set()
        for worker in workers:
            worker.result(10)


def test_a_redis_that_refuses_to_write_is_as_good_as_away(cache: CacheManager, server: Server) -> None:
    """A full disk makes Redis answer MISCONF, and a forbidden command NOPERM: no caller's fault."""
    cache.set("key", "old")
    server.client.execute_command("ACL", "SETUSER", "default", "-set")
    try:
        assert cache.set("key", "new")
        assert cache.store.is_available
    finally:
        server.client.execute_command("ACL", "SETUSER", "default", "+set")
    assert cache.get("key", "removed") == "removed"


def test_a_wrong_password_is_no_exception_either(server: Server) -> None:
    """The commands say so at their start; a running bot goes on."""
    store = Store(Settings.load({"REDIS_URL": f"redis://:wrong@127.0.0.1:{server.port}/0"}))
    assert CacheManager(store).get("key", "default") == "default"
    store.close()


def test_no_redis_at_all_is_memory(tmp_path: Any) -> None:
    """The library works before anything is installed beside it."""
    cache = CacheManager(Store(Settings.load({}, data_dir=tmp_path)))
    cache.set("key", (1, 2))
    assert cache.get("key") == (1, 2)
    assert cache.status().address == "(no REDIS_URL is set)"
    cache.store.close()


def test_what_is_set_without_redis_is_bounded_in_bytes(store: Store) -> None:
    """A worker that goes on for hours without Redis must not eat the machine."""
    kept = Memory(store, max_bytes=10_000)
    for n in range(1000):
        assert kept.set(f"key:{n}", b"x" * 100, 60)
    assert 0 < kept.stats.fallback <= 25
    assert kept.recall("key:999") is not None
    assert kept.recall("key:0") is None
    assert not kept.set("key:999", b"x" * 10_001, 60)
    assert kept.recall("key:999") is None


def test_too_many_changes_become_a_clear_of_everything(
    cache: CacheManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What must be put right is remembered, in bounded memory."""
    monkeypatch.setattr(change_module, "MAX_CHANGES", 10)
    for n in range(20):
        cache.set(f"key:{n}", "old")
        cache.memory.delete(f"key:{n}", in_redis=False)
    assert len(cache.memory.changes.keys) <= 10
    assert cache.get("key:5", "removed") == "removed"
    assert not any(cache.exists(f"key:{n}") for n in range(20))


def test_changes_made_while_others_are_put_right_are_put_right_too(cache: CacheManager) -> None:
    """Threads go on writing to the fallback while a long clear runs at Redis' return."""
    for key in ("one", "two"):
        cache.set(key, "old")
    cache.memory.delete("one", in_redis=False)
    undo, calls = cache.core._undo, []

    async def slowly(changes: Any) -> None:
        calls.append(changes)
        await undo(changes)
        if len(calls) == 1:
            cache.memory.set("two", b'"during"', 60)

    cache.core._undo = slowly  # type: ignore[method-assign]
    assert cache.get("one") is None
    assert cache.get("two") is None
    assert not cache.memory.is_changed


# --- the in-process layer ---------------------------------------------------------------


@pytest.mark.parametrize("value", [5, None, {"a": [1]}, Quote("A", 1.0, datetime(2026, 1, 1))])
def test_a_repeated_read_asks_redis_no_more(
    local_cache_for: Callable[[], CacheManager], server: Server, value: Any
) -> None:
    """The layer is what makes a hit twenty times cheaper than a GET."""
    cache = local_cache_for()
    cache.set("key", value)
    wait_until(lambda: cache.get("key") == value and cache.status().local_entries == 1)

    def asks_no_more() -> bool:
        server.client.config_resetstat()
        assert [cache.get("key") for _ in range(3)] == [value] * 3
        return "cmdstat_get" not in server.client.info("commandstats")

    # Redis may still tell of the change that was just made: then the value is read once more.
    wait_until(asks_no_more)


def test_a_callers_change_to_a_value_stays_its_own(local_cache_for: Callable[[], CacheManager]) -> None:
    """The layer hands out copies of what can be changed."""
    cache = local_cache_for()
    cache.set("key", {"a": [1]})
    wait_until(lambda: cache.get("key") and cache.status().local_entries == 1)
    cache.get("key")["a"].append(2)
    assert cache.get("key") == {"a": [1]}


@pytest.mark.parametrize("change", ["set", "delete", "clear"])
def test_a_process_sees_its_own_change_at_once(
    local_cache_for: Callable[[], CacheManager], change: str
) -> None:
    """The server's word arrives a moment after the reply to the write."""
    cache = local_cache_for()
    for _ in range(50):
        cache.set("a:key", "old")
        cache.get("a:key")
        {
            "set": lambda: cache.set("a:key", None),
            "delete": lambda: cache.delete("a:key"),
            "clear": lambda: cache.clear_pattern("a:*"),
        }[change]()
        assert cache.get("a:key") is None


def test_another_process_sees_it_soon(local_cache_for: Callable[[], CacheManager]) -> None:
    """A cleared answer that lives on in one worker of ten would be a riddle."""
    one, other = local_cache_for(), local_cache_for()
    one.set("a:key", "old")
    wait_until(lambda: other.get("a:key") == "old" and other.status().local_entries == 1)
    one.set("a:key", "new")
    wait_until(lambda: other.get("a:key") == "new")
    one.clear_pattern("a:*")
    wait_until(lambda: other.get("a:key") is None)


def test_what_was_read_before_an_outage_is_there_during_it(
    private_server: Server, store_for: Callable[..., Store]
) -> None:
    """A value fresh for minutes more is no reason to load it again, let alone by everyone at once."""
    store = store_for(private_server)
    local = Memory(store, 1 << 20, is_tracking=True)
    cache = CacheManager(store, local)
    cache.get("warm:up")
    wait_until(lambda: local.is_on, what="the layer's being on")
    for key in ("kept", "changed", "deleted"):
        cache.set(key, ["value"], ttl=60)
    cache.get_or_load("loaded", lambda: ["value"])
    # An answer to a later ask: the server has told of these writes, which drops what it names.
    told = local._sure_until
    wait_until(lambda: local._sure_until > told)
    # Long enough that a busy machine reads it, and notices the kill, before that.
    cache.set("short", ["value"], ttl=3)
    for key in ("kept", "changed", "deleted", "short"):
        assert cache.get(key) == ["value"]
    private_server.kill()
    wait_until(lambda: not local.is_on, what="noticing the kill")
    assert cache.get("kept") == ["value"]
    assert cache.get("kept") is not cache.get("kept")
    for key in ("kept", "loaded"):
        assert cache.get_or_load(key, lambda: pytest.fail("loaded")) == ["value"]
    assert cache.exists("kept")
    assert 50 < (cache.get_ttl("kept") or 0) <= 60
    cache.set("changed", "newer")
    assert cache.get("changed") == "newer"
    assert cache.delete("deleted") is True
    assert cache.delete("deleted") is False
    assert cache.get("deleted") is None
    wait_until(lambda: cache.get("short") is None, what="the end of its TTL")
    cache.clear_pattern("ke*")
    assert cache.get("kept") is None
    private_server.start()
    back(cache)
    assert cache.get("changed") is None
    cache.close()


def test_how_long_an_answer_is_fresh_is_told_by_the_servers_clock(
    cache: CacheManager, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine an hour ahead took no answer from the cache, and one that is behind took old ones."""
    seconds, _ = server.client.time()
    entry = cache.store.keys.entry("twitter:AAPL:24")
    clock = time.time
    for hours in (-1, 1):
        monkeypatch.setattr(time, "time", lambda hours=hours: clock() + 3600 * hours)
        server.client.set(entry, envelope.seal(b"1", (seconds + 1800) * 1_000_000), ex=3600)
        assert cache.get("twitter:AAPL:24") == 1
        assert 1700 < (cache.get_ttl("twitter:AAPL:24") or 0) <= 1800
        server.client.set(entry, envelope.seal(b"1", (seconds - 1800) * 1_000_000), ex=3600)
        assert cache.get("twitter:AAPL:24") is None
        assert cache.get_ttl("twitter:AAPL:24") is None


def test_the_layer_keeps_no_answer_longer_than_it_is_fresh(
    local_cache_for: Callable[[], CacheManager], server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key of a source's answer lives on for an hour after that."""
    cache = local_cache_for()
    ttls: list[float] = []
    monkeypatch.setattr(cache.memory, "put", lambda key, value, ttl, token, size: ttls.append(ttl))
    entry = cache.store.keys.entry("twitter:AAPL:24")
    server.client.set(entry, envelope.seal(b"1", int((time.time() + 30) * 1e6)), ex=3600)
    cache.get("twitter:AAPL:24")
    cache.set("plain", 1, ttl=20)
    cache.get("plain")
    assert 29 < ttls[0] <= 30
    assert 19 < ttls[1] <= 20


# --- loading ----------------------------------------------------------------------------


def test_get_or_load_loads_once_for_all_threads(cache: CacheManager) -> None:
    """The upstream is asked once, however many want the same at once."""
    loads: list[int] = []

    def load() -> str:
        loads.append(1)
        time.sleep(0.05)
        return "value"

    assert together(8, lambda: cache.get_or_load("key", load, ttl=60)) == ["value"] * 8
    assert loads == [1]
    assert cache.get_ttl("key") == 60


@pytest.mark.one_driver
def test_nobody_changes_what_another_gets_who_shares_the_load(cache: CacheManager) -> None:
    """Each bot adds its own last tick to what it was given."""
    ticks = itertools.count()

    def load() -> list[int]:
        wait_until(lambda: waiting(cache) == 3)
        return []

    def use() -> list[int]:
        found = cache.get_or_load("key", load)
        found.append(next(ticks))
        return found

    assert sorted(together(4, use)) == [[0], [1], [2], [3]]


class Once(msgspec.Struct):
    """What cannot be made again."""

    symbol: str
    made: ClassVar[list[str]] = []

    def __post_init__(self) -> None:
        if self.made:
            raise ValueError("there is one")
        self.made.append(self.symbol)


@pytest.mark.one_driver
def test_those_who_share_a_load_get_the_value_itself_where_it_cannot_be_read_again(
    cache: CacheManager,
) -> None:
    """It is what they would get one after the other without a cache."""

    def load() -> Once:
        wait_until(lambda: waiting(cache) == 1)
        return Once("A")

    one, other = together(2, lambda: cache.get_or_load("key", load))
    assert one is other


def test_a_failed_load_fails_all_who_waited_and_is_not_kept(cache: CacheManager) -> None:
    """An error of one moment must not be the answer of the next five minutes."""
    loads: list[int] = []

    def fail() -> str:
        loads.append(1)
        time.sleep(0.05)
        raise LookupError("no such symbol")

    def call() -> str:
        with pytest.raises(LookupError):
            cache.get_or_load("key", fail)
        return "raised"

    assert together(4, call) == ["raised"] * 4
    assert len(loads) == 1
    assert cache.get_or_load("key", lambda: "now") == "now"


@pytest.mark.one_driver
def test_a_thread_told_to_end_does_not_end_those_who_wait_for_it(cache: CacheManager) -> None:
    """A worker's time limit is raised in one thread and meant for it alone."""
    loading = threading.Event()

    def interrupted() -> str:
        loading.set()
        time.sleep(0.05)
        raise SystemExit

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(cache.get_or_load, "key", interrupted)
        assert loading.wait(30)
        second = pool.submit(cache.get_or_load, "key", lambda: "value")
        assert second.result(30) == "value"
        with pytest.raises(SystemExit):
            first.result(5)


class Interrupted(BaseException):
    """What a handler of a signal raises, as Ctrl-C does: at any moment."""


@pytest.mark.one_driver
def test_a_load_that_is_interrupted_before_it_begins_stands_in_nobodys_way(
    cache: CacheManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is in the table already, and nobody runs it."""
    with monkeypatch.context() as patch:
        patch.setattr(SingleFlight, "_joined", interrupted_after(SingleFlight._joined))
        with pytest.raises(Interrupted):
            cache.get_or_load("key", lambda: "lost")
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(cache.get_or_load, "key", lambda: "value").result(10) == "value"


@pytest.mark.one_driver
def test_a_load_that_is_interrupted_at_its_end_is_not_for_those_who_ask_later(
    cache: CacheManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has landed, and is still in the table."""
    with monkeypatch.context() as patch:
        patch.setattr(SingleFlight, "_leave", interrupted_before)
        with pytest.raises(Interrupted):
            cache.get_or_load("key", lambda: "old")
    # Its time is over.
    cache.store.client.unlink(cache.store.keys.entry("key"))
    cache.memory.flush()
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(cache.get_or_load, "key", lambda: "new").result(10) == "new"


@pytest.mark.one_driver
def test_a_load_that_takes_long_is_one_load_all_the_same(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A report takes minutes: each of those who waited for it began one more, one after the other."""
    cache, loads, looks = CacheManager(store, lease_seconds=0.05), list[int](), list[int]()
    joined = SingleFlight._joined

    def counted(*args: Any) -> Any:
        looks.append(1)
        return joined(*args)

    def load() -> str:
        loads.append(1)
        wait_until(lambda: waiting(cache) == 3 and len(looks) > 12, what="looks at it")
        return "value"

    monkeypatch.setattr(SingleFlight, "_joined", counted)
    assert together(4, lambda: cache.get_or_load("key", load)) == ["value"] * 4
    assert loads == [1]


@pytest.mark.one_driver
def test_a_load_whose_thread_has_ended_is_another_threads_to_do(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second Ctrl-C came as it was about to say that the first had ended it."""
    cache = CacheManager(store, lease_seconds=0.05)

    def interrupted() -> None:
        with pytest.raises(Interrupted):
            cache.get_or_load("key", interrupted_before)

    with monkeypatch.context() as patch:
        patch.setattr(SingleFlight, "_leave", interrupted_before)
        thread = threading.Thread(target=interrupted)
        thread.start()
        thread.join()
    with ThreadPoolExecutor(2) as pool:
        asks = [pool.submit(cache.get_or_load, "key", lambda: "value") for _ in range(2)]
        assert [ask.result(10) for ask in asks] == ["value"] * 2


@pytest.mark.one_driver
def test_an_interrupt_just_after_a_load_comes_out_as_what_it_is(
    cache: CacheManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that is told to end by Ctrl-C ends."""
    monkeypatch.setattr(_Flight, "land", interrupted_after(_Flight.land))
    with pytest.raises(Interrupted):
        cache.get_or_load("key", lambda: "value")


@pytest.mark.one_driver
def test_an_end_that_an_interrupt_has_left_locked_holds_up_no_other_key(cache: CacheManager) -> None:
    """A future's lock may stay locked: who asked for that key did so too, and held the lock of all keys."""
    is_loading, may_end = threading.Event(), threading.Event()

    def load() -> str:
        is_loading.set()
        assert may_end.wait(30)
        return "value"

    with ThreadPoolExecutor(3) as pool:
        loading = pool.submit(cache.get_or_load, "key", load)
        assert is_loading.wait(30)
        flights = cache.core._single_flight
        with flights._flights["key"].end.future._condition:  # type: ignore[attr-defined]
            asking = pool.submit(flights._joined, "key", _Flight())
            try:
                assert pool.submit(cache.get_or_load, "other", lambda: "other").result(10) == "other"
                asking.result(10)
            finally:
                may_end.set()
        assert loading.result(10) == "value"


@pytest.mark.one_driver
@pytest.mark.parametrize("kind", [LookupError, TimeoutError])
def test_those_who_share_a_failed_load_raise_errors_of_their_own(
    cache: CacheManager, kind: type[Exception]
) -> None:
    """An error collects the traces and notes of all who raise it. That of an upstream that did not answer in
    time is shared as any other: they would ask it one after the other."""

    def fail() -> str:
        wait_until(lambda: waiting(cache) == 3)
        raise kind("no such symbol")

    def call() -> Exception:
        with pytest.raises(kind, match="no such symbol") as raised:
            cache.get_or_load("key", fail)
        raised.value.add_note("mine")
        return raised.value

    errors = together(4, call)
    assert len(set(map(id, errors))) == 4
    assert [error.__notes__ for error in errors] == [["mine"]] * 4
    assert all("fail" in [frame.name for frame in extract_tb(error.__traceback__)] for error in errors)


def interrupted_after(step: Callable[..., Any]) -> Callable[..., Any]:
    """``step``, with an interrupt just after its first end."""
    ends: list[None] = []

    def once(*args: Any) -> Any:
        found = step(*args)
        ends.append(None)
        if len(ends) == 1:
            raise Interrupted
        return found

    return once


def interrupted_before(*_: Any) -> None:
    raise Interrupted


def waiting(cache: CacheManager) -> int:
    """How many threads wait for the loads of others."""
    flights = list(cache.core._single_flight._flights.values())
    return sum(len(flight.end.future._condition._waiters) for flight in flights)  # type: ignore[attr-defined]


def test_a_load_that_landed_meanwhile_is_not_repeated(
    cache: CacheManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller may look just before another's load lands and want to load just after."""
    run = cache.core._single_flight.run

    async def land_first(key: str, load: Callable[[], Any]) -> Any:
        await cache.core.set(key, "landed")
        return await run(key, load)

    monkeypatch.setattr(cache.core._single_flight, "run", land_first)
    assert cache.get_or_load("key", lambda: "loaded again") == "landed"


def test_a_loader_may_raise_anything(cache: CacheManager) -> None:
    """A coroutine makes a RuntimeError of a StopIteration; whoever loads by ``next`` means it."""
    with pytest.raises(StopIteration):
        cache.get_or_load("key", lambda: next(iter(())))
    assert cache.get_or_load("key", lambda: 1) == 1


def test_a_load_may_ask_for_its_own_key(cache: CacheManager) -> None:
    """Waiting for oneself has no end."""
    assert cache.get_or_load("key", lambda: cache.get_or_load("key", lambda: 1) + 1) == 2


# --- status and the process's own manager -------------------------------------------------


def test_status_says_where_the_cache_stands(cache: CacheManager, server: Server) -> None:
    """It is what GET /api/monitoring/cache/status answers."""
    cache.set("key", 1)
    cache.get("key")
    cache.get("nothing")
    status = cache.status()
    assert status.is_available
    assert status.address == server.url
    assert status.keys == 2  # the layout is one
    assert status.memory_bytes is not None
    assert status.memory_bytes > 100_000
    assert status.ping_ms is not None
    assert 0 < status.ping_ms < 1000
    assert (status.hits, status.misses) == (1, 1)
    assert status.server_version is not None
    assert status.server_version.startswith("Valkey 9.")


def test_the_process_has_one_manager_as_its_settings_say(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everyone in a process shares the fallback and the in-process layer."""
    monkeypatch.setenv("REDIS_URL", server.url)
    monkeypatch.setenv("TBCACHE_LOCAL_CACHE_BYTES", "1000000")
    monkeypatch.setenv("TBCACHE_NAMESPACE", "other")
    cache = get_cache_manager()
    assert cache is get_cache_manager()
    cache.set("key", 1)
    assert server.client.exists("other:cache:{key}")
    cache.get("key")
    wait_until(lambda: cache.get("key") == 1 and cache.status().local_entries == 1)
    cache.set("key", 2)
    assert cache.get("key") == 2


def test_the_layer_can_be_turned_off(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """TBCACHE_LOCAL_CACHE_BYTES=0."""
    monkeypatch.setenv("REDIS_URL", server.url)
    monkeypatch.setenv("TBCACHE_LOCAL_CACHE_BYTES", "0")
    cache = get_cache_manager()
    cache.set("key", 1)
    assert [cache.get("key") for _ in range(3)] == [1] * 3
    assert not cache.memory.is_on
    assert cache.status().local_entries == 0
