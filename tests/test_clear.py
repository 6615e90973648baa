"""A clear is seen by all at once, whatever is left to sweep, and takes nothing that comes after it."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Any

import pytest

from scheduler.prewarm import Prewarm
from tbcache.admission import Ask, Failed, Go, Grant, Hit, Join, Settlement
from tbcache.cache import CacheManager, sweep
from tbcache.cache.script import CLEAR, COMPACT, ClearPattern, Compact
from tbcache.cache.sweep import CLAIM_MS
from tbcache.fleet import Fleet
from tbcache.io import run
from tbcache.models import Failure
from tbcache.monitoring import UsageMonitor
from tbcache.queue import Queue
from tbcache.settings import Settings, get_source
from tbcache.store import Store, envelope
from tbcache.store.clear import read_log
from tbcache.store.memory import Memory
from tests.blocking import Admission
from tests.server import Server, wait_until
from workers.chore import ChoreMiddleware

KEY = "twitter:AAPL:24"
VALUE = Settlement(payload=b"1", pages=1)


@pytest.fixture
def settings(server: Server, settings_for: Callable[..., Settings]) -> Settings:
    return settings_for(server, TBCACHE_TWITTER__BEARER_TOKEN="t", TBCACHE_COMMON_SYMBOLS="AAPL")


@pytest.fixture
def cache(store: Store) -> CacheManager:
    return CacheManager(store)


@pytest.fixture
def other(store_for: Callable[..., Store], server: Server) -> CacheManager:
    """Another process."""
    return CacheManager(store_for(server))


@pytest.fixture
def admission_for(settings: Settings) -> Callable[[CacheManager], Admission]:
    return lambda cache: Admission(cache.store, settings, UsageMonitor(cache.store, settings))


@pytest.fixture
def asked(settings: Settings) -> Ask:
    source = get_source("twitter", settings)
    return Ask(source, source.request("AAPL"))


@pytest.fixture
def unswept(store: Store) -> Callable[..., None]:
    """Makes every sweep wait: somebody who does nothing has it in hand."""

    def claim(seconds: float = CLAIM_MS / 1000) -> None:
        store.client.set(store.keys.sweeper, "1 idle", px=int(seconds * 1000))

    claim()
    return claim


def prewarm_of(cache: CacheManager, settings: Settings) -> Prewarm:
    monitor = UsageMonitor(cache.store, settings)
    return Prewarm(cache.store, Queue(cache.store, settings), settings, monitor)


def go(admission: Admission, ask: Ask) -> Grant:
    verdict = admission.admit(ask)
    assert isinstance(verdict, Go)
    return verdict.grant


def log_of(cache: CacheManager, source: str = "*") -> list[str]:
    """The patterns in a log."""
    log = read_log(cache.store.client.get(cache.store.keys.clears(source)))
    return [clear.pattern for clear in log.clears]


def finish(cache: CacheManager) -> None:
    """Let the sweep go on, to its end."""
    cache.store.client.unlink(cache.store.keys.sweeper)
    wait_until(lambda: cache.resume() >= 0 and log_of(cache) == [], what="the end of the sweep")


def is_there(cache: CacheManager, key: str) -> bool:
    return bool(cache.store.client.exists(cache.store.keys.entry(key)))


# --- seen at once -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "hidden"),
    [
        ("twitter:*", {KEY}),
        ("*", {KEY, "quote:AAPL", "plain"}),
        ("*:AAPL*", {KEY, "quote:AAPL"}),
        ("tw?tter:*", {KEY}),
        ("quote:*", {"quote:AAPL"}),
        ("plain", {"plain"}),
        ("reddit:*", set()),
    ],
)
@pytest.mark.usefixtures("unswept")
def test_what_was_cleared_is_gone_for_everyone_before_it_is_swept(
    cache: CacheManager, other: CacheManager, pattern: str, hidden: set[str]
) -> None:
    """A million keys take seconds to remove; nobody may read them meanwhile."""
    keys = [KEY, "quote:AAPL", "plain"]
    for key in keys:
        cache.set(key, 1)
        assert other.get(key) == 1
    assert cache.clear_pattern(pattern, wait=False) == 0
    for one in (cache, other):
        assert {key for key in keys if one.get(key) is None} == hidden
        assert {key for key in keys if not one.exists(key)} == hidden
        assert {key for key in keys if one.get_ttl(key) is None} == hidden
    assert all(is_there(cache, key) for key in keys)


@pytest.mark.usefixtures("unswept")
@pytest.mark.parametrize("pattern", ["twitter:*", "*"])
def test_a_cleared_answer_is_no_hit_for_admission(
    cache: CacheManager, other: CacheManager, admission_for: Any, asked: Ask, pattern: str
) -> None:
    """Neither by the script, nor where a hit was expected, nor as an old value to fall back on."""
    admission, elsewhere = admission_for(cache), admission_for(other)
    admission.settle(go(admission, asked), VALUE)
    assert isinstance(admission.admit(asked), Hit)
    assert isinstance(elsewhere.admit(asked), Hit)
    cache.clear_pattern(pattern, wait=False)
    assert is_there(cache, KEY)
    for one in (admission, elsewhere):
        verdict = one.admit(asked)
        assert isinstance(verdict, Go)
        assert verdict.stale is None
        one.settle(verdict.grant, Settlement())
    admission.settle(go(admission, asked), VALUE)
    assert isinstance(elsewhere.admit(asked), Hit)
    assert isinstance(elsewhere.admit(asked), Hit)
    assert other.get(KEY) == 1


@pytest.mark.usefixtures("unswept")
def test_a_cleared_answer_is_neither_warm_nor_fresh_enough(
    cache: CacheManager, admission_for: Any, asked: Ask, settings: Settings
) -> None:
    """The scheduler must fetch it anew, and the status must not claim that it is there."""
    admission, prewarm = admission_for(cache), prewarm_of(cache, settings)

    def warm() -> int:
        [twitter] = [s for s in Fleet(settings, cache.store).status().sources if s.name == "twitter"]
        return twitter.warm

    admission.settle(go(admission, asked), VALUE)
    assert (warm(), [due for due in prewarm.due() if due.request.key == KEY]) == (1, [])
    cache.clear_pattern("twitter:*", wait=False)
    assert (warm(), len([due for due in prewarm.due() if due.request.key == KEY])) == (0, 1)


@pytest.mark.usefixtures("unswept")
def test_an_in_process_layer_hears_of_a_clear(
    cache: CacheManager, store_for: Callable[..., Store], server: Server
) -> None:
    """No entry changes yet, so that the log is all it can hear of."""
    store = store_for(server)
    local = Memory(store, 1 << 20, is_tracking=True)
    layered = CacheManager(store, local)
    try:
        cache.set(KEY, 1)
        wait_until(lambda: layered.get(KEY) == 1 and layered.status().local_entries == 1)
        cache.clear_pattern("twitter:*", wait=False)
        wait_until(lambda: layered.get(KEY) is None)
    finally:
        layered.close()


@pytest.mark.usefixtures("unswept")
def test_a_source_known_elsewhere_only_is_cleared_there_as_well(
    cache: CacheManager, settings_for: Callable[..., Settings], server: Server
) -> None:
    """The one who clears may not have the settings of those who fetch."""
    store = Store(settings_for(server, TBCACHE_SOURCES="bluesky=mybot.sources:Bluesky"))
    try:
        knowing = CacheManager(store)
        knowing.set("bluesky:AAPL:24", 1)
        cache.clear_pattern("bluesky:*", wait=False)
        assert knowing.get("bluesky:AAPL:24") is None
    finally:
        store.close()


def test_a_source_that_becomes_known_during_a_sweep_is_swept_as_well(
    cache: CacheManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Code declares its sources when it likes; the sweep goes by the logs of before."""
    cache.set("declared:AAPL", 1)
    find = sweep.Sweeper._find

    def later(self: sweep.Sweeper, *args: Any) -> Any:
        cache.store.keys = cache.store.keys.knowing("declared")
        return find(self, *args)

    monkeypatch.setattr(sweep.Sweeper, "_find", later)
    assert cache.clear_pattern("*") == 1


# --- fills in flight --------------------------------------------------------------------


@pytest.mark.parametrize("is_swept", [False, True])
def test_a_fetch_from_before_a_clear_never_shows(
    cache: CacheManager, other: CacheManager, admission_for: Any, asked: Ask, unswept: Any, is_swept: bool
) -> None:
    """Whoever clears wants what is fetched from now on."""
    admission, elsewhere = admission_for(cache), admission_for(other)
    grant = go(admission, asked)
    assert isinstance(elsewhere.admit(asked), Join)
    if is_swept:
        unswept(0.001)
        wait_until(lambda: not cache.store.client.exists(cache.store.keys.sweeper))
    other.clear_pattern("twitter:*", wait=is_swept)
    admission.settle(grant, VALUE)
    assert other.get(KEY) is None
    if not is_swept:
        finish(other)
    assert other.get(KEY) is None
    assert isinstance(elsewhere.admit(asked), Go)


@pytest.mark.usefixtures("unswept")
def test_nobody_joins_a_fetch_from_before_a_clear(
    cache: CacheManager, other: CacheManager, admission_for: Any, asked: Ask
) -> None:
    """Its answer is dropped, even if it comes after the new one's."""
    admission, elsewhere = admission_for(cache), admission_for(other)
    old = go(admission, asked)
    cache.clear_pattern("twitter:*", wait=False)
    new = go(elsewhere, asked)
    assert isinstance(admission.admit(asked), Join)
    assert elsewhere.settle(new, VALUE) == "stored"
    assert admission.settle(old, Settlement(payload=b"2", pages=1)) == "dropped"
    assert other.get(KEY) == 1


@pytest.mark.usefixtures("unswept")
def test_a_clear_of_other_keys_costs_no_answer(cache: CacheManager, admission_for: Any, asked: Ask) -> None:
    """An answer under way has been paid for."""
    admission = admission_for(cache)
    grant = go(admission, asked)
    cache.clear_pattern("twitter:MSFT:*", wait=False)
    assert isinstance(admission.admit(asked), Join)
    assert admission.settle(grant, VALUE) == "stored"
    assert isinstance(admission.admit(asked), Hit)
    assert cache.get(KEY) == 1


@pytest.mark.usefixtures("unswept")
def test_a_failure_from_before_a_clear_does_not_stand(
    cache: CacheManager, admission_for: Any, asked: Ask, settings: Settings
) -> None:
    """Nor for those who come while the next load is under way, or when it is over."""
    admission = admission_for(cache)
    failed = Settlement(failure=Failure("unavailable", "down", 503, None), pages=1)
    admission.settle(go(admission, asked), failed)
    assert isinstance(admission.admit(asked), Failed)
    cache.clear_pattern("twitter:*", wait=False)
    prewarm = prewarm_of(cache, settings)
    assert [due for due in prewarm.due() if due.request.key == KEY]
    grant = go(admission, asked)
    assert isinstance(admission.admit(asked), Join)
    admission.settle(grant, Settlement())
    assert isinstance(admission.admit(asked), Go)


@pytest.mark.parametrize("wait", [False, True])
def test_a_load_from_before_a_clear_is_given_out_and_not_kept(
    cache: CacheManager, other: CacheManager, wait: bool
) -> None:
    """Its caller asked before the clear; others ask after it."""

    def load() -> str:
        other.clear_pattern("quote:*", wait=wait)
        wait_until(lambda: log_of(cache) == [])
        return "old"

    assert cache.get_or_load("quote:AAPL", load) == "old"
    assert cache.get("quote:AAPL") is None
    assert cache.get_or_load("quote:AAPL", lambda: "new") == "new"
    assert other.get("quote:AAPL") == "new"


def test_no_fill_survives_clears_that_go_on_beside_it(
    cache: CacheManager, store_for: Callable[..., Store], server: Server
) -> None:
    """The truth changes, then the cache is cleared: once that is done, nobody reads the old truth."""
    truth = cleared = 0
    over, wrong = threading.Event(), []

    def read(number: int) -> None:
        one, key = CacheManager(store_for(server)), f"quote:{number % 3}"
        while not over.is_set():
            at_least = cleared
            if (value := one.get_or_load(key, lambda: truth)) < at_least:
                wrong.append((value, at_least))

    threads = [threading.Thread(target=read, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for number in range(1, 100):
        truth = number
        cache.clear_pattern("quote:*", wait=number % 2 == 0)
        cleared = number
    over.set()
    for thread in threads:
        thread.join()
    assert not wrong
    wait_until(lambda: log_of(cache) == [])


# --- what comes after -------------------------------------------------------------------


def test_what_is_set_after_a_clear_is_there_and_is_not_swept(
    cache: CacheManager, other: CacheManager, unswept: Any
) -> None:
    """Also by a process that has not heard of the clear."""
    for key in (KEY, "quote:AAPL", "quote:MSFT"):
        other.set(key, "old")
    cache.clear_pattern("*", wait=False)
    other.set(KEY, "new")
    cache.set("quote:AAPL", "new")
    for one in (cache, other):
        assert [one.get(key) for key in (KEY, "quote:AAPL", "quote:MSFT")] == ["new", "new", None]
    assert [is_there(cache, key) for key in (KEY, "quote:AAPL", "quote:MSFT")] == [True] * 3
    finish(other)
    assert [is_there(cache, key) for key in (KEY, "quote:AAPL", "quote:MSFT")] == [True, True, False]
    for one in (cache, other):
        assert [one.get(key) for key in (KEY, "quote:AAPL", "quote:MSFT")] == ["new", "new", None]


def test_a_fetch_that_began_after_a_clear_is_not_swept(
    cache: CacheManager, other: CacheManager, admission_for: Any, asked: Ask, unswept: Any
) -> None:
    """Its lease stays, and so does its answer."""
    admission = admission_for(cache)
    cache.clear_pattern("twitter:*", wait=False)
    grant = go(admission, asked)
    finish(other)
    assert admission.settle(grant, VALUE) == "stored"
    assert other.get(KEY) == 1


# --- the sweep --------------------------------------------------------------------------


def test_what_a_dead_sweeper_left_is_finished_by_another(
    cache: CacheManager, other: CacheManager, unswept: Any
) -> None:
    """Else its patterns would be compared with every key for ever."""
    for number in range(60):
        cache.set(f"quote:{number}", 1)
    # And no thread of its own goes on with it.
    run(cache.core._hide("quote:*"))
    assert other.resume() == 0
    unswept(0.05)
    wait_until(lambda: other.resume() == 60, what="the other's sweep")
    assert not is_there(cache, "quote:7")
    assert log_of(cache) == []
    assert not cache.store.client.exists(cache.store.keys.sweeper)
    assert other.resume() == 0


def test_a_worker_looks_for_what_dead_sweepers_left(
    cache: CacheManager, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that cleared may have been a command that was interrupted."""
    monkeypatch.setenv("REDIS_URL", server.url)
    monkeypatch.setattr("workers.chore.RESUME_SECONDS", 0.01)
    cache.set("quote:AAPL", 1)
    run(cache.core._hide("quote:*"))
    middleware: Any = ChoreMiddleware()
    middleware.after_worker_boot(None, None)
    try:
        wait_until(lambda: not is_there(cache, "quote:AAPL") and log_of(cache) == [], what="the sweep")
    finally:
        middleware.before_worker_shutdown(None, None)
        middleware.after_worker_shutdown(None, None)
    wait_until(lambda: "tbcache-sweep-resume" not in {thread.name for thread in threading.enumerate()})


def test_a_clear_that_does_not_wait_is_swept_all_the_same(cache: CacheManager) -> None:
    """By a thread of its own."""
    cache.set("quote:AAPL", 1)
    assert cache.clear_pattern("quote:*", wait=False) == 0
    wait_until(lambda: not is_there(cache, "quote:AAPL") and log_of(cache) == [], what="the sweep")


def test_a_clear_that_waits_sweeps_its_own_and_leaves_others_to_the_background(
    cache: CacheManager, other: CacheManager, unswept: Any
) -> None:
    """It says how many it removed, and does not wait for what others have cleared."""
    cache.set("quote:AAPL", 1)
    cache.set(KEY, 1)
    other.clear_pattern("quote:*", wait=False)
    assert cache.clear_pattern("twitter:*") == 1
    assert is_there(cache, "quote:AAPL")
    assert log_of(cache) == ["quote:*"]
    assert log_of(cache, "twitter") == []
    assert cache.store.client.ttl(cache.store.keys.clears("*")) > 10 * 365 * 86400
    cache.store.client.unlink(cache.store.keys.sweeper)
    assert cache.clear_pattern("twitter:*") == 0
    # Now nobody has the other's in hand.
    wait_until(lambda: not is_there(cache, "quote:AAPL") and log_of(cache) == [], what="the sweep")


def test_a_log_keeps_its_sequence_for_a_day_after_the_sweep(cache: CacheManager) -> None:
    """Forgotten at once, a process that slept could bring back what it loaded before."""
    cache.clear_pattern("twitter:*")
    for source in ("*", "twitter"):
        name = cache.store.keys.clears(source)
        assert len(cache.store.client.get(name) or b"") == 16
        assert 80_000 < cache.store.client.ttl(name) <= 86_400


@pytest.mark.usefixtures("unswept")
def test_a_log_outlives_what_it_hides(cache: CacheManager) -> None:
    """An entry may live for ten years, and whoever was to sweep it may be gone."""
    cache.clear_pattern("twitter:*", wait=False)
    assert cache.store.client.ttl(cache.store.keys.clears("twitter")) > 10 * 365 * 86400


@pytest.mark.usefixtures("unswept")
def test_a_log_is_bounded(cache: CacheManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every reader compares with all that stands in it: who makes it too long sweeps it."""
    monkeypatch.setattr("tbcache.cache.core.MOST_CLEARS", 5)
    cache.set("quote:0", 1)
    lengths = []
    for number in range(20):
        cache.clear_pattern(f"quote:{number}", wait=False)
        lengths.append(len(log_of(cache)))
    assert max(lengths) == 5
    assert not is_there(cache, "quote:0")


@pytest.mark.usefixtures("unswept")
def test_the_same_clear_again_is_no_second_line(cache: CacheManager, other: CacheManager) -> None:
    """A bot that clears each minute must not fill the log. The last one counts."""
    cache.clear_pattern("quote:*", wait=False)
    cache.set("quote:AAPL", 1)
    other.clear_pattern("quote:*", wait=False)
    assert log_of(cache) == ["quote:*"]
    assert cache.get("quote:AAPL") is None


def test_a_pattern_cleared_again_during_its_sweep_is_swept_again(
    cache: CacheManager, other: CacheManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first sweep may have passed what was set in between."""
    remove = sweep.Sweeper._remove

    async def slowly(self: Any, kind: str, *args: Any) -> int:
        count = await remove(self, kind, *args)
        if kind == "cache":
            monkeypatch.undo()
            other.set("quote:AAPL", 1)
            cache.store.client.set(cache.store.keys.sweeper, "1 idle", px=60_000)
            await other.core._hide("quote:*")
        return count

    monkeypatch.setattr(sweep.Sweeper, "_remove", slowly)
    cache.clear_pattern("quote:*")
    assert other.get("quote:AAPL") is None
    assert log_of(cache) == ["quote:*"]
    finish(cache)
    assert not is_there(cache, "quote:AAPL")


def test_entries_and_leases_nobody_can_read_are_swept(cache: CacheManager, server: Server) -> None:
    """Of another type, or damaged: a clear is how one gets rid of them."""
    keys = cache.store.keys
    server.client.hset(keys.entry("quote:hash"), "a", "b")
    server.client.set(keys.entry("quote:junk"), "junk")
    server.client.set(keys.lease("quote:string"), "junk")
    assert cache.clear_pattern("quote:*") == 2
    assert [key for key in server.client.scan_iter() if not re.search(rb":clears:|:layout$", key)] == []


# --- the log itself ---------------------------------------------------------------------


def test_a_sequence_does_not_count_backwards(store: Store) -> None:
    """Not even where the server's clock does."""
    name = store.keys.clears("one")
    store.client.set(name, b"8000000000000000")
    log = read_log(store.run(CLEAR, ClearPattern(name, "a")))
    assert (log.sequence, log.clears) == (8000000000000001, ((8000000000000001, "a"),))


def test_a_log_that_is_gone_is_not_made_by_the_end_of_a_sweep(store: Store, server: Server) -> None:
    """Emptied meanwhile, or of another type: there is nothing to take off."""
    name = store.keys.clears("twitter")
    store.run(COMPACT, Compact(name, ("1767000000000000 a",)))
    assert not server.client.exists(name)
    server.client.hset(name, "a", "b")
    server.client.expire(name, 60)
    store.run(COMPACT, Compact(name, ("1767000000000000 a",)))
    assert server.client.hgetall(name) == {b"a": b"b"}


def test_a_lost_log_starts_beyond_what_it_was(cache: CacheManager, server: Server) -> None:
    """By the clock: what was born of the lost one is older than the next clear."""
    cache.clear_pattern("quote:*")
    cache.set("quote:AAPL", 1)
    server.client.unlink(*server.client.scan_iter(match="*:clears:*"))
    assert cache.get("quote:AAPL") == 1
    server.client.set(cache.store.keys.sweeper, "1 idle", px=60_000)
    cache.clear_pattern("quote:*", wait=False)
    assert cache.get("quote:AAPL") is None


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"junk",
        b"1e5",
        b"9999999999999999",
        b"0001\n",
        b"1767000000000000\njunk\n1767000000000000 \xff\n1 x",
        None,
    ],
)
def test_a_damaged_log_is_survived(
    cache: CacheManager,
    admission_for: Any,
    asked: Ask,
    server: Server,
    settings: Settings,
    damage: bytes | None,
) -> None:
    """Nothing is hidden by it, nothing raises, and the next clear makes it whole."""
    admission = admission_for(cache)
    for source in ("*", "twitter"):
        name = cache.store.keys.clears(source)
        if damage is None:
            server.client.hset(name, "a", "b")
        else:
            server.client.set(name, damage)
        server.client.expire(name, 60)
    assert cache.get("quote:AAPL") is None
    assert cache.set("quote:AAPL", 1)
    assert cache.get("quote:AAPL") == 1
    assert cache.exists("quote:AAPL")
    assert cache.get_or_load("quote:MSFT", lambda: 2) == 2
    assert cache.get("quote:MSFT") == 2
    assert admission.settle(go(admission, asked), VALUE) == "stored"
    assert isinstance(admission.admit(asked), Hit)
    assert isinstance(admission.admit(asked), Hit)
    assert envelope.read_head(server.client.getrange(cache.store.keys.entry(KEY), 0, envelope.HEAD_BYTES - 1))
    assert Fleet(settings, cache.store).status().server.is_available
    assert cache.resume() == 0
    server.client.set(cache.store.keys.sweeper, "1 idle", px=1000)
    cache.clear_pattern("*", wait=False)
    assert [cache.get(key) for key in (KEY, "quote:AAPL", "quote:MSFT")] == [None] * 3
    assert isinstance(admission.admit(asked), Go)
    finish(cache)
    assert not is_there(cache, KEY)


# --- Redis away -------------------------------------------------------------------------


def test_clears_made_without_redis_hold_as_soon_as_it_is_back(
    private_server: Server, store_for: Callable[..., Store]
) -> None:
    """However many keys they are of: swept after that, not before it is used again."""
    cache, other = CacheManager(store_for(private_server)), CacheManager(store_for(private_server))
    cache.set(KEY, "old")
    private_server.client.set(cache.store.keys.sweeper, "1 idle", px=60_000)
    cache.store.breaker._lost(ConnectionError("cut off"))
    assert cache.clear_pattern("twitter:*") == 0
    wait_until(lambda: cache.store.is_available, what="Redis' return")
    assert cache.get(KEY) is None
    assert other.get(KEY) is None
    assert is_there(cache, KEY)
    finish(other)
    assert not is_there(cache, KEY)


def test_too_many_clears_made_without_redis_become_one_of_everything(
    cache: CacheManager, unswept: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log must stay short."""
    monkeypatch.setattr("tbcache.cache.core.MOST_CLEARS", 3)
    for number in range(5):
        cache.memory.clear(f"quote:{number}", in_redis=False)
    cache.get("anything")
    assert log_of(cache) == ["*"]
