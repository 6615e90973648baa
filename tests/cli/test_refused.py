"""A source whose keys alone Redis refuses: whoever looks is told which, since when, and in which words."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec
import pytest

from tbcache.admission import Go
from tbcache.fleet import Fleet, FleetStatus, SourceStatus, look
from tbcache.io import run, utc_now
from tbcache.limiter import limiter_of
from tbcache.limiter.script import TAKE
from tbcache.models import FetchRequest
from tbcache.monitoring import UsageMonitor
from tbcache.monitoring import process as process_module
from tbcache.queue import Queue
from tbcache.rate_limiter import RateLimiter
from tbcache.settings import BUILT_IN, Settings
from tbcache.store import Store, Unavailable, refusal
from tbcache.store.start import require
from tests.blocking import Admission
from tests.cli.command import Done, local_client
from tests.core.conftest import ask
from tests.core.test_queue import Worker
from tests.server import Server, wait_until

Cli = Callable[..., Done]

SOURCE = BUILT_IN["stocktwits"]
#: A busy machine may answer late; that is another trouble than the one that is looked for here.
PATIENT = {"TBCACHE_REDIS_TIMEOUT": "30"}
BEGAN = datetime(2030, 5, 6, 12, 0, 30).astimezone()


@pytest.fixture(autouse=True)
def _has_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server of a test is as young as that of a fleet that begins. A busy machine takes long to look."""
    monkeypatch.setattr(look, "STARTING_SECONDS", 0.0)
    monkeypatch.setattr(process_module, "ALIVE_SECONDS", 600.0)
    monkeypatch.setattr(refusal, "LASTING_SECONDS", 600.0)
    for name, value in PATIENT.items():
        monkeypatch.setenv(name, value)


@dataclass
class Process:
    """A worker of the fleet that asks, counts and beats when it is told to."""

    settings: Settings
    store: Store

    def __post_init__(self) -> None:
        self.monitor = UsageMonitor(self.store, self.settings)
        self.admission = Admission(self.store, self.settings, self.monitor)
        self.worker = Worker(self.store, self.settings, SOURCE)

    def beat(self) -> None:
        self.monitor.beat("worker", started_at=utc_now())

    def admit(self, symbol: str = "AAPL", source: str = "stocktwits") -> object:
        return self.admission.admit(ask(symbol, BUILT_IN[source]))

    def dequeue(self) -> None:
        self.worker.ask()

    def minute(self) -> None:
        self.monitor.count("stocktwits", {"go": 1})
        self.monitor.flush()

    def enqueue(self) -> None:
        with contextlib.suppress(Unavailable):
            Queue(self.store, self.settings).enqueue(FetchRequest("stocktwits", "AAPL"))

    def restore(self) -> None:
        with contextlib.suppress(Unavailable):
            run(limiter_of(self.store).restoration.restore("stocktwits"))

    def close(self) -> None:
        self.worker.consumer.close()
        self.store.close()


@contextmanager
def process(server: Server, settings_for: Callable[..., Settings], **variables: str) -> Iterator[Process]:
    settings = settings_for(server, **PATIENT, **variables)
    one = Process(settings, Store(settings))
    try:
        yield one
    finally:
        one.close()


def source(status: FleetStatus) -> SourceStatus:
    return next(one for one in status.sources if one.name == "stocktwits")


@pytest.mark.parametrize(
    ("part", "script"),
    [
        ("slots", "admit"),
        ("fleet", "restore"),
        ("queue:claims", "dequeue"),
        ("queue:lanes", "enqueue"),
        ("usage", "minute"),
    ],
)
def test_whoever_looks_is_told_of_a_key_of_another_type_until_it_is_mended(
    cli: Cli,
    server: Server,
    settings_for: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
    part: str,
    script: str,
) -> None:
    """Queued jobs were not done for as long as it lasted, and the page said that all was well."""
    with process(server, settings_for) as one:
        before = utc_now()
        usage = one.store.keys.usage("stocktwits", one.store.clock.today)
        key = usage if part == "usage" else f"trading_bot:{{stocktwits}}:{part}"
        server.client.set(key, "junk", ex=60)
        getattr(one, script)()
        one.beat()
        url = {"REDIS_URL": server.url}
        checked = cli("status", "--check", **url)
        words = f"stocktwits: Redis refuses its keys ({script}: WRONGTYPE Operation against a key"
        assert (checked.code, checked.err) == (1, "")
        assert checked.out.startswith(words)
        assert " since " in checked.out
        assert "'*{stocktwits}*'" in checked.out
        assert words in cli("status", is_terminal=True, COLUMNS="300", **url).out
        told = cli("status", **url).data
        (trouble,) = told["troubles"]
        assert (trouble["kind"], trouble["source"]) == ("keys_refused", "stocktwits")
        assert before <= datetime.fromisoformat(trouble["since"]) <= utc_now()
        (state,) = (one for one in told["sources"] if one["name"] == "stocktwits")
        assert (state["state"], state["refused_since"]) == ("refused", trouble["since"])
        assert state["refused_reason"].startswith(f"{script}: WRONGTYPE")
        with local_client(one.settings) as client:
            answer = client.get("/api/monitoring/status").json()
            assert [one["kind"] for one in answer["troubles"]] == ["keys_refused"]
            assert [one["refused_reason"] for one in answer["sources"] if one["refused_reason"]] == [
                state["refused_reason"]
            ]
            assert 'tbcache_troubles{kind="keys_refused"} 1' in client.get("/metrics").text
        server.client.delete(key)
        monkeypatch.setattr(refusal, "LASTING_SECONDS", 0.0)
        wait_until(lambda: one.store.refusals.lasting() == {})
        one.beat()
        checked = cli("status", "--check", **url)
        assert (checked.code, checked.out) == (0, "")


def test_a_wrong_script_is_told_as_what_it_is(
    server: Server,
    settings_for: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
    broken_scripts: list[str],
) -> None:
    """Whoever was told to remove a key looked for one in vain, and the process went alone without a word."""
    wrong = TAKE.text.replace("local now = server_time()\n", "local now = server_time()\nmisspelt(now)\n")
    monkeypatch.setitem(vars(TAKE), "text", wrong)
    monkeypatch.setitem(vars(TAKE), "sha", hashlib.sha1(wrong.encode(), usedforsecurity=False).hexdigest())
    with process(server, settings_for) as one:
        allowed, status = RateLimiter(SOURCE, one.store).check_rate_limit()
        assert (allowed, status.reason) == (
            True,
            "a script of tbcache is wrong: going on with this process's share",
        )
        one.beat()
        (trouble,) = Fleet(one.settings, one.store).status().troubles
    assert (trouble.kind, trouble.source) == ("script_broken", "stocktwits")
    assert trouble.what.startswith("stocktwits: a script of tbcache is wrong (take: ")
    assert "nonexistent global variable 'misspelt'" in trouble.what
    assert "remove" not in trouble.todo
    assert broken_scripts
    broken_scripts.clear()


def test_keys_without_a_right_to_them_stop_their_source_alone_and_are_told(
    cli: Cli, server: Server, settings_for: Callable[..., Settings]
) -> None:
    """The process went without Redis for every source, and was not even on the list of those that live."""
    rights = ("workers", "layout", "names", "clears:*", "*{probe}*", "*{news}*")
    keys = [f"~trading_bot:{pattern}" for pattern in rights]
    server.client.execute_command("ACL", "SETUSER", "some", "on", ">word", "&*", "+@all", *keys)
    url = f"redis://some:word@127.0.0.1:{server.port}/0"
    try:
        with process(server, settings_for, REDIS_URL=url) as one:
            require(one.store)
            one.admit()
            assert isinstance(one.admit("MSFT", "news"), Go)
            one.beat()
            broken = set(limiter_of(one.store).windows.broken)
            assert (one.store.is_available, broken) == (True, {"stocktwits"})
            (line,) = cli("status", "--check", REDIS_URL=server.url).out.splitlines()
            # Whoever has no right to them either sees the rest, and that it could not watch.
            unwatched, same = cli("status", "--check", REDIS_URL=url).out.splitlines()
            assert (unwatched.startswith("nobody is told of troubles"), same) == (True, line)
    finally:
        server.client.acl_deluser("some")
    assert line.startswith("stocktwits: Redis refuses its keys (admit: NOPERM ")
    assert "right" in line


def test_what_several_processes_are_refused_is_one_trouble(
    server: Server, settings_for: Callable[..., Settings]
) -> None:
    """A fleet of dozens meets one damaged key; one that is dead meets nothing any more."""
    with process(server, settings_for) as one:
        for name, minutes, script, is_dead in (
            ("w1", 1, "admit", False),
            ("w2", 3, "admit", False),
            ("w3", 2, "dequeue", False),
            ("w4", 9, "count", True),
        ):
            since = BEGAN - timedelta(minutes=minutes)
            say(one, name, {"stocktwits": {"since": since.isoformat(), "reason": f"{script}: no"}}, is_dead)
        seen = Fleet(one.settings, one.store).status()
        (trouble,) = seen.troubles
    assert trouble.what == "stocktwits: Redis refuses its keys (admit: no; dequeue: no)"
    assert trouble.since == source(seen).refused_since == BEGAN - timedelta(minutes=3)


def say(one: Process, name: str, refused: object, is_dead: bool = False) -> None:
    """A heartbeat of another process."""
    one.monitor.worker = name
    one.beat()
    key = one.store.keys.workers
    mark = json.loads(one.store.client.hget(key, name) or b"") | {"refused": refused}
    if is_dead:
        mark["beat_at"] = (utc_now() - timedelta(minutes=30)).isoformat()
    one.store.client.hset(key, name, json.dumps(mark))


@pytest.mark.parametrize(
    "junk",
    [
        7,
        {"stocktwits": 7},
        {"stocktwits": {"since": "2026-01-01T00:00:00", "reason": "x"}},
        {"stocktwits": {"since": "0001-01-01T00:00:00+14:00", "reason": "x"}},
        {"no\nname": {"since": "2026-01-01T00:00:00Z", "reason": "x"}},
    ],
    ids=repr,
)
def test_a_refusal_that_cannot_be_read_is_none_and_hides_nobody(
    server: Server, settings_for: Callable[..., Settings], junk: object
) -> None:
    """A process of a later version may tell it otherwise."""
    with process(server, settings_for) as one:
        say(one, "w1", junk)
        seen = Fleet(one.settings, one.store).status()
    assert ([worker.name for worker in seen.workers], seen.troubles) == (["w1"], ())


def test_words_of_a_refusal_do_not_command_a_terminal() -> None:
    """They stand in a heartbeat that anyone may have written."""
    told = {"stocktwits": {"since": "2026-01-01T00:00:00Z", "reason": "a\x1b[2J\nb" + "x" * 5000}}
    found = refusal.read_refusals(msgspec.json.encode(told))["stocktwits"].reason
    assert (found[:8], len(found)) == ("a?[2J bx", refusal.MOST_SAID)


def test_what_is_refused_of_many_names_takes_a_bounded_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys of a cache may have any name, and a heartbeat is sent each second."""
    refusals = refusal.Refusals()
    for number in range(2 * refusal.MOST_SOURCES):
        refusals.record(f"s{number}", "begin_load", "no")
    first = refusals.lasting()
    assert len(first) == refusal.MOST_SOURCES
    refusals.record("s0", "end_load", "never")
    again = refusals.lasting()["s0"]
    assert (again.since, again.reason) == (first["s0"].since, "end_load: never")
    # What was refused long ago and not since is over, and makes room.
    monkeypatch.setattr(refusal, "LASTING_SECONDS", -1.0)
    refusals.record("s1", "end_load", "never")
    assert refusals.lasting() == {}
