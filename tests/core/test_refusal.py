"""A server that is there and refuses: everyone goes on alone, and uses it again as soon as it works."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import redis

from tbcache.cache.script import BEGIN_LOAD, BeginLoad
from tbcache.fetch import Pipeline
from tbcache.fleet import Fleet
from tbcache.io import utc_now
from tbcache.io.background import restart_dead
from tbcache.limiter import limiter_of
from tbcache.models import FetchRequest
from tbcache.models.error import ConfigurationError, RateLimited, RedisUnreachable
from tbcache.monitoring import UsageMonitor
from tbcache.queue import Queue
from tbcache.settings import Settings
from tbcache.store import Refused, Store, Unavailable
from tbcache.store.denied import Denied
from tbcache.store.envelope import seal
from tbcache.store.fault import is_bug, is_of_call, may_be_done, reason_of
from tbcache.store.start import require
from tests.blocking import Admission, core
from tests.core.conftest import Kept, Upstream
from tests.server import Server, wait_until

#: Asked about while the server refuses; a loop without a pause makes thousands of it.
REFUSED_SECONDS = 0.25
MOST_COMMANDS = 40


@dataclass(frozen=True)
class Refusal:
    """How a server comes to refuse, and how that ends; ``word`` is in what it says."""

    word: str
    begin: Callable[[Server], None]
    end: Callable[[Server], None]


def _save_fails(server: Server) -> None:
    # No folder, no snapshot; the server is where it was.
    shutil.rmtree(server.folder)
    server.client.config_set("save", "3600 1")
    server.client.config_set("stop-writes-on-bgsave-error", "yes")
    server.client.bgsave()
    wait_until(lambda: server.client.info("persistence")["rdb_last_bgsave_status"] == "err")


def _save_works(server: Server) -> None:
    server.folder.mkdir()
    server.client.config_set("save", "")


def _run_for_ever(server: Server) -> None:
    server.client.config_set("busy-reply-threshold", "1")

    def run() -> None:
        with contextlib.suppress(redis.ResponseError), redis.Redis.from_url(server.url) as client:
            client.eval("while true do end", 0)

    threading.Thread(target=run).start()
    wait_until(lambda: _is_busy(server))


def _is_busy(server: Server) -> bool:
    try:
        server.client.ping()
    except redis.ResponseError:
        return True
    return False


def _kill_script(server: Server) -> None:
    server.client.script_kill()
    wait_until(lambda: not _is_busy(server))


def _configure(**values: str) -> Callable[[Server], None]:
    def configure(server: Server) -> None:
        for name, value in values.items():
            server.client.config_set(name.replace("_", "-"), value)

    return configure


def _command(*words: str) -> Callable[[Server], None]:
    return lambda server: server.client.execute_command(*words)  # type: ignore[no-any-return]


def _all(*steps: Callable[[Server], None]) -> Callable[[Server], None]:
    def run(server: Server) -> None:
        for step in steps:
            step(server)

    return run


_FOLLOW = _command("REPLICAOF", "127.0.0.1", "1")
_LEAD = _command("REPLICAOF", "NO", "ONE")

REFUSALS = {
    "no disk": Refusal("MISCONF", _save_fails, _save_works),
    "no replicas": Refusal(
        "NOREPLICAS", _configure(min_replicas_to_write="1"), _configure(min_replicas_to_write="0")
    ),
    "no memory": Refusal("OOM", _configure(maxmemory="1"), _configure(maxmemory="0")),
    "a replica": Refusal("READONLY", _FOLLOW, _LEAD),
    "a replica without its primary": Refusal(
        "MASTERDOWN",
        _all(_configure(replica_serve_stale_data="no"), _FOLLOW),
        _all(_LEAD, _configure(replica_serve_stale_data="yes")),
    ),
    "no right to scripts": Refusal(
        "NOPERM",
        _command("ACL", "SETUSER", "default", "-evalsha"),
        _command("ACL", "SETUSER", "default", "+@all"),
    ),
    "no right to write": Refusal(
        "ACL failure",
        _command("ACL", "SETUSER", "default", "-@write"),
        _command("ACL", "SETUSER", "default", "+@all"),
    ),
    "no right that the probe asks for": Refusal(
        "ACL failure",
        _command("ACL", "SETUSER", "default", "-zadd"),
        _command("ACL", "SETUSER", "default", "+@all"),
    ),
    "no time": Refusal("BUSY", _run_for_ever, _kill_script),
}


@dataclass
class Process:
    """What a bot runs: it fetches, beats, counts and hears of changes."""

    store: Store
    monitor: UsageMonitor
    pipeline: Pipeline
    sent: list[object]

    def fetch(self, symbol: str) -> str:
        request = FetchRequest("twitter", symbol)
        return self.pipeline.run(Upstream(), request, patience=0.5).origin

    @property
    def requests(self) -> int:
        self.monitor.flush()
        return self.monitor.get_source_metrics("twitter").pages_today


@pytest.fixture
def process(
    private_server: Server, settings_for: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Process]:
    sent: list[object] = []
    send = redis.connection.AbstractConnection.send_packed_command

    def counted(self: object, *args: object, **options: object) -> None:
        sent.append(args)
        send(self, *args, **options)  # type: ignore[arg-type]

    # A busy machine may answer late, and that is another reason than the one that is looked for here.
    settings = settings_for(private_server, TBCACHE_REDIS_TIMEOUT="1")
    store = Store(settings)
    monitor = UsageMonitor(store, settings)
    pipeline = Pipeline(core(Admission(store, settings, monitor)), lambda: Kept())  # type: ignore[arg-type, return-value]
    monitor.keep_beating("client")
    process = Process(store, monitor, pipeline, sent)
    assert process.fetch("FIRST") == "live"
    wait_until(lambda: limiter_of(store).process_window("twitter").is_member)
    monkeypatch.setattr(redis.connection.AbstractConnection, "send_packed_command", counted)
    yield process
    monitor.leave()
    pipeline.close()
    store.close()


def _is_back(process: Process) -> bool:
    return process.store.is_available and not limiter_of(process.store).windows.broken


@pytest.mark.parametrize("kind", REFUSALS)
def test_whatever_a_server_refuses_callers_go_on_alone_and_come_back(
    kind: str, private_server: Server, process: Process
) -> None:
    """A full disk must not end a heartbeat, freeze a page or be filled again by retries."""
    refusal, store = REFUSALS[kind], process.store
    refusal.begin(private_server)
    try:
        assert process.fetch("SECOND") == "live"
        assert not store.is_available
        with pytest.raises(Unavailable, match=refusal.word):
            store.check()
        process.sent.clear()
        over = time.monotonic() + REFUSED_SECONDS
        while time.monotonic() < over:
            # From memory, or alone: whatever it is, no server is asked each time.
            assert process.fetch("SECOND") in ("cache", "live")
            time.sleep(0.01)
        assert len(process.sent) < MOST_COMMANDS
        assert restart_dead() == []
    finally:
        refusal.end(private_server)
    wait_until(lambda: _is_back(process), what="its return")
    assert process.fetch("THIRD") == "live"
    slots = private_server.client.zcard(store.keys.slots("twitter"))
    assert slots == process.requests >= 3
    wait_until(
        lambda: any(worker.age < 3.0 for worker in process.monitor.get_workers()), what="its heartbeat"
    )


@pytest.mark.parametrize("part", ["slots", "state", "fleet", "usage"])
def test_a_key_of_another_type_stops_one_source_only(
    part: str, private_server: Server, process: Process
) -> None:
    """One damaged key is one source's trouble: the rest of the process goes on with Redis."""
    store, client = process.store, private_server.client
    keys = {
        "slots": store.keys.slots("twitter"),
        "state": store.keys.state("twitter"),
        "fleet": store.keys.fleet("twitter"),
        "usage": store.keys.usage("twitter", utc_now()),
    }
    client.set(keys[part], "no such thing", ex=60)
    assert process.fetch("SECOND") == "live"
    process.sent.clear()
    over = time.monotonic() + REFUSED_SECONDS
    while time.monotonic() < over:
        assert process.fetch("SECOND") in ("cache", "live")
        assert store.is_available
        time.sleep(0.01)
    if part == "usage":
        # Without its figures, a source can be asked for as ever.
        assert not limiter_of(store).windows.broken
    else:
        assert len(process.sent) < MOST_COMMANDS
    assert restart_dead() == []
    client.unlink(keys[part])
    wait_until(lambda: _is_back(process) and process.fetch("THIRD") and _is_back(process), what="its return")
    wait_until(lambda: client.zcard(store.keys.slots("twitter")) >= 3)


@pytest.mark.parametrize("is_overwritten", [True, False])
def test_slots_are_lost_that_were_written_over_and_not_those_that_may_not_be_read(
    is_overwritten: bool, private_server: Server, process: Process
) -> None:
    """A missing right takes nothing from the window: no source is shut for it."""
    store, client = process.store, private_server.client
    slots, epoch = store.keys.slots("twitter"), client.hget(store.keys.state("twitter"), "epoch")
    if is_overwritten:
        client.set(slots, "no such thing", ex=60)
    else:
        client.execute_command("ACL", "SETUSER", "default", "-zcard")
    assert process.fetch("SECOND") == "live"
    client.execute_command("ACL", "SETUSER", "default", "+@all")
    assert (client.hget(store.keys.state("twitter"), "epoch") != epoch) == is_overwritten
    client.unlink(slots)


@pytest.mark.parametrize("right", ["hdel", "hlen"])
def test_a_right_that_is_lost_is_not_tried_again_until_the_rights_are_other_ones(
    right: str, private_server: Server, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each try has Redis hear of the process, and what leaves the window then is the others': it would have
    nothing left to go on with. One of these is a command whose name a script works out.
    """
    store, client = process.store, private_server.client
    window, heard, probe = limiter_of(store).process_window("twitter"), list[float](), store.probe

    def counted() -> None:
        heard.append(window.last_seen_at)
        probe()

    monkeypatch.setattr(store, "probe", counted)
    queue = Queue(store, store.settings)
    client.execute_command("ACL", "SETUSER", "default", f"-{right}")

    def is_heard_often() -> bool:
        with contextlib.suppress(Unavailable):
            queue.enqueue(FetchRequest("news", f"S{time.monotonic_ns()}"))
        return len(heard) >= 5

    wait_until(is_heard_often)
    client.execute_command("ACL", "SETUSER", "default", "+@all")
    assert heard[-1] == heard[-2] == heard[-3]
    wait_until(lambda: _is_back(process))


def test_a_server_that_only_reads_is_not_back(
    private_server: Server, store_for: Callable[..., Store]
) -> None:
    """A scheduler has no slots to put back, and a server without replicas answers a PING."""
    returns: list[int] = []
    store = store_for(private_server)
    store.breaker.on_return(lambda: returns.append(1))
    store.probe()
    REFUSALS["no replicas"].begin(private_server)
    with pytest.raises(Unavailable, match="NOREPLICAS"):
        store.probe()

    def asked() -> int:
        return private_server.calls("eval") + private_server.calls("evalsha")

    before = asked()
    with contextlib.suppress(AssertionError):
        wait_until(lambda: asked() >= before + 3, 20.0)
    seen = (asked() >= before + 3, len(returns))
    REFUSALS["no replicas"].end(private_server)
    assert seen == (True, 0)
    wait_until(lambda: store.is_available)


def test_a_server_that_is_back_for_a_moment_only_is_asked_less_often(
    private_server: Server, store_for: Callable[..., Store]
) -> None:
    """Each return makes everyone put back what they have: it must mean something."""
    returns: list[int] = []
    store = store_for(private_server)
    store.breaker.on_return(lambda: returns.append(1))
    store.probe()
    # Nothing that the probe would ask for.
    private_server.client.execute_command("ACL", "SETUSER", "default", "-getrange")
    over = time.monotonic() + 1.2
    ask = BeginLoad(store.keys.entry("x:1"), store.keys.lease("x:1"), "token", 1000, 0, 0)
    while time.monotonic() < over:
        with contextlib.suppress(Unavailable):
            store.run(BEGIN_LOAD, ask)
        time.sleep(0.005)
    private_server.client.execute_command("ACL", "SETUSER", "default", "+@all")
    assert 1 <= len(returns) <= 4


def test_a_command_without_rights_fails_alone(private_server: Server, process: Process) -> None:
    """What only shows something can be done without."""
    private_server.client.execute_command("ACL", "SETUSER", "default", "-info")
    try:
        with pytest.raises(Refused, match="NOPERM"):
            process.store.call("INFO")
        assert process.store.is_available
        assert process.fetch("SECOND") == "live"
    finally:
        private_server.client.execute_command("ACL", "SETUSER", "default", "+@all")


@pytest.mark.parametrize("kind", ["no disk", "no time"])
def test_a_server_that_refuses_is_no_wrong_setting(
    kind: str, private_server: Server, store_for: Callable[..., Store]
) -> None:
    """Told to check REDIS_DB, an operator looks in the wrong place."""
    refusal = REFUSALS[kind]
    refusal.begin(private_server)
    try:
        with pytest.raises(RedisUnreachable, match=refusal.word):
            require(store_for(private_server))
    finally:
        refusal.end(private_server)
    require(store_for(private_server))


def test_a_database_that_is_not_there_is_a_wrong_setting(
    private_server: Server, store_for: Callable[..., Store]
) -> None:
    """No wait will mend it."""
    store = store_for(private_server, REDIS_URL=f"redis://127.0.0.1:{private_server.port}/99")
    with pytest.raises(ConfigurationError, match="REDIS_DB"):
        require(store)


@pytest.mark.parametrize(
    ("text", "is_of_one_call"),
    [
        ("WRONGTYPE Operation against a key holding the wrong kind of value", True),
        ("Error running script (call to f_0): @user_script:1: WRONGTYPE Operation against a key", True),
        ("user_script:3: attempt to compare nil with number script: 0, on @user_script:3.", True),
        ("Command arguments must be strings or integers script: on @user_script:1.", True),
        ("Wrong number of args calling command from script script: on @user_script:1.", True),
        ("value is not an integer or out of range", True),
        ("Error running script (call to f_0): @user_script:1: @user_script: 1: -MISCONF Redis is", False),
        ("No permissions to access a key", True),
        ("ACL failure in script: No permissions to access a key", True),
        ("this user has no permissions to access one of the keys used as arguments", True),
        (
            "The user executing the script can't access at least one of the keys mentioned in",
            True,
        ),
        ("ACL failure in script: User x has no permissions to run the 'hset' command", False),
        ("User x has no permissions to run the 'keys' command", False),
        ("unknown command 'EVALSHA', with args beginning with: ", False),
        ("max number of clients reached", False),
        ("a word that no version has said so far", False),
    ],
)
def test_only_what_is_about_a_key_is_no_outage(text: str, is_of_one_call: bool) -> None:
    """The words of servers of today and of those before."""
    assert is_of_call(redis.ResponseError(text), is_script=True) == is_of_one_call


@pytest.mark.parametrize(
    ("text", "is_wrong"),
    [
        ("Error compiling script (new function): user_script:1: unexpected symbol near '<eof>'", True),
        ("user_script:1: Script attempted to access nonexistent global variable 'nope' script: 0, on", True),
        ("user_script:1: Attempt to modify a readonly table script: on @user_script:1.", True),
        ("user_script:1: attempt to call field 'nope' (a nil value) script: on @user_script:1.", True),
        ("Wrong number of args calling Redis command from script script: 0, on @user_script:1.", True),
        ("user_script:3: attempt to compare nil with number script: 0, on @user_script:3.", False),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", False),
    ],
)
def test_a_script_that_is_wrong_is_told_apart_from_a_damaged_key(text: str, is_wrong: bool) -> None:
    """Whatever a key may cause is not called a bug: the key is looked at first."""
    assert is_bug(redis.ResponseError(text)) == is_wrong
    assert is_of_call(redis.ResponseError(text), is_script=True)


def test_a_script_without_a_right_to_its_keys_was_not_begun() -> None:
    """What it would have taken of a limit is free; one that is stopped on its way may have taken it."""
    assert not may_be_done(redis.exceptions.NoPermissionError("No permissions to access a key"))
    assert may_be_done(redis.ResponseError("ACL failure in script: No permissions to access a key"))


def test_a_reason_shows_no_values() -> None:
    """redis-py repeats the whole command before the error, and reasons are shown on pages."""
    error = redis.ResponseError(
        "Command # 1 (HSET k secret) of pipeline caused error: OOM no memory. Advice."
    )
    assert reason_of(error) == "OOM no memory"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Error while reading from 127.0.0.1:1 : (9, 'Bad file descriptor')", "Bad file descriptor"),
        ("Error while reading from socket: (104, 'Connection reset by peer')", "Connection reset by peer"),
        ("Error 32 while writing to socket. Broken pipe.", "Broken pipe"),
    ],
)
def test_a_connection_that_broke_is_said_in_plain_words(text: str, reason: str) -> None:
    """redis-py tells what it was doing, and the address once more, as a Python tuple."""
    assert reason_of(redis.ConnectionError(text)) == f"the connection broke ({reason})"


def test_a_damaged_answer_that_cannot_be_removed_is_asked_about_now_and_then(
    private_server: Server, process: Process
) -> None:
    """A loop that reads it again and again would take the server's time from everyone."""
    store, client = process.store, private_server.client
    junk = seal(b"{}", int((time.time() + 60) * 1e6))
    client.set(store.keys.entry(FetchRequest("twitter", "BAD").key), junk, ex=60)
    client.execute_command("ACL", "SETUSER", "default", "-unlink")
    process.sent.clear()
    try:
        with pytest.raises(RateLimited, match="damaged"):
            process.fetch("BAD")
    finally:
        client.execute_command("ACL", "SETUSER", "default", "+@all")
    assert len(process.sent) < MOST_COMMANDS
    assert process.fetch("BAD") == "live"


def test_one_who_may_not_wait_for_anothers_load_asks_now_and_then(
    private_server: Server, process: Process, store_for: Callable[..., Store]
) -> None:
    """What is refused at once is refused a thousand times a second."""
    other = store_for(private_server)
    keys, request = other.keys, FetchRequest("twitter", "HELD")
    until = int(time.time() * 1e6) + 60_000_000
    client = private_server.client
    client.hset(keys.lease(request.key), mapping={"token": "another's", "until": until})
    client.expire(keys.lease(request.key), 60)
    client.execute_command("ACL", "SETUSER", "default", "-lindex")
    process.sent.clear()
    try:
        with pytest.raises(RateLimited, match="another worker"):
            process.fetch("HELD")
    finally:
        client.execute_command("ACL", "SETUSER", "default", "+@all")
    assert len(process.sent) < MOST_COMMANDS


def test_a_right_that_was_denied_is_forgotten_where_the_server_goes_away_for_another_reason() -> None:
    """Else whoever could not reach it would wait for rights that are not missing."""
    denied = Denied()
    denied.lost(
        redis.ResponseError("ACL failure in script: User x has no permissions to run the 'hlen' command")
    )
    assert denied.commands == ("hlen",)
    denied.lost(redis.ConnectionError("gone"))
    assert denied.commands == ()


@pytest.mark.parametrize("kind", ["no disk", "no right to scripts"])
def test_the_page_says_what_the_server_says(
    kind: str, private_server: Server, settings_for: Callable[..., Settings], store_for: Callable[..., Store]
) -> None:
    """Everything can still be read of a server that is full, and all looks well."""
    refusal = REFUSALS[kind]
    fleet = Fleet(settings_for(private_server), store_for(private_server))
    assert fleet.status().server.is_available
    refusal.begin(private_server)
    try:
        seen = fleet.status()
        assert [trouble.kind for trouble in seen.troubles] == ["redis_refuses"]
        assert refusal.word in seen.troubles[0].what
    finally:
        refusal.end(private_server)
    wait_until(lambda: fleet.status().server.is_available)
