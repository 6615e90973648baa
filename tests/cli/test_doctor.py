"""What the check-up finds, what mends it, and how settings are told."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dramatiq
import pytest
from dramatiq.brokers.redis import RedisBroker

from tbcache.cli import process
from tbcache.embedded import Supervisor
from tbcache.fleet import doctor
from tbcache.fleet.finding import losses
from tbcache.io import utc_now
from tbcache.monitoring import UsageMonitor, Workload
from tbcache.settings import Settings
from tbcache.settings.origin import MASK, near_misses, settings_in_force
from tbcache.store import Store
from tbcache.store.server import ServerFacts
from tests.cli.command import Done
from tests.cli.test_rights import denied, user
from tests.server import Server, free_port
from tests.upstream import SimulatorProcess

Cli = Callable[..., Done]


def about(done: Done, what: str) -> list[dict[str, Any]]:
    return [one for one in done.data if one["about"] == what]


def wrong(done: Done) -> list[tuple[str, str, str]]:
    return [(one["about"], one["what"], one["fix"]) for one in done.data if one["level"] == "wrong"]


@pytest.fixture
def sound(server: Server, tmp_path: Path) -> dict[str, str]:
    """Variables of a shell with which nothing is wrong, if the server keeps what it is given."""
    return {
        "REDIS_URL": server.url,
        "TBCACHE_DATA_DIR": str(tmp_path / "data"),
        "TBCACHE_REDIS_TIMEOUT": "10",
        "TBCACHE_COMMON_SYMBOLS": "AAPL",
    }


@pytest.fixture
def keeping(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server of the tests keeps nothing."""
    monkeypatch.setattr(doctor, "losses", lambda facts: iter(()))


@pytest.mark.usefixtures("keeping")
def test_a_sound_shell_has_nothing_wrong_and_each_thing_is_told(cli: Cli, sound: dict[str, str]) -> None:
    """Who sees what was looked at knows what was not."""
    done = cli("doctor", **sound)
    assert (done.code, done.err, wrong(done)) == (0, "", [])
    told = {one["about"] for one in done.data}
    assert {"python", "extras", "data folder", "redis", "clock", "fleet", "stocktwits", "twitter"} <= told
    (stocktwits,) = about(done, "stocktwits")
    assert stocktwits["what"] == (
        "1 symbols kept warm take 0.2 requests in 60 s (1 each 300 s), and 42 of 60/1m are for that: "
        "there is room for 210 symbols"
    )
    assert about(done, "twitter")[0]["fix"] == "set TBCACHE_TWITTER__BEARER_TOKEN"
    page = cli("doctor", is_terminal=True, COLUMNS="140").out
    assert page.rstrip().endswith("nothing is wrong")


@pytest.mark.usefixtures("keeping")
def test_each_thing_that_is_wrong_comes_with_what_mends_it(
    cli: Cli, sound: dict[str, str], server: Server, store: Store, settings: Settings, tmp_path: Path
) -> None:
    """A check-up that says "bad" and not what to do is one more thing to look up."""
    folder = tmp_path / "open"
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    monitor = UsageMonitor(store, settings)
    monitor.worker = "theirs"
    monitor.beat("worker", started_at=utc_now(), workload=Workload(threads=1))
    variables = {
        **sound,
        "TBCACHE_DATA_DIR": str(folder),
        "STOCKTWITS_LIMITS": "9/1m",
        "TBCACHE_STOCKTWITS__LIMITS": "2/1h",
        "TBCACHE_DATABASE_URL": "postgresql://bot@127.0.0.1:1/db",
        "TBCACHE_COMMON_SYMBOLS": "AAPL,GME,TSLA",
    }
    with user(server, "-llen") as url:
        done = cli("doctor", **{**variables, "REDIS_URL": url})
    assert done.code == 1
    found = wrong(done)
    fixes = {fix for _, _, fix in found}
    assert "did you mean TBCACHE_STOCKTWITS__LIMITS?" in fixes
    assert f"if all in it is yours, `chmod 700 {folder}`, else choose another --data-dir" in fixes
    assert "give it the rights of the rule in docs/deploying.md: +llen" in fixes
    assert "start all with the same TBCACHE_STOCKTWITS__LIMITS" in fixes
    (drift,) = [what for _, what, _ in found if "other limits" in what]
    assert "this shell 2/1h" in drift
    page = cli("doctor", is_terminal=True, COLUMNS="200").out
    assert "-> did you mean TBCACHE_STOCKTWITS__LIMITS?" in page


@pytest.mark.usefixtures("keeping")
def test_what_dramatiqs_own_broker_has_queued_is_told(
    cli: Cli, sound: dict[str, str], server: Server
) -> None:
    """Who moves to this broker and stops the old workers leaves it behind, and nothing else says so."""
    assert about(cli("doctor", **sound), "dramatiq") == []
    stock = RedisBroker(url=server.url)
    tell = dramatiq.actor(broker=stock, actor_name="tell")(print)
    others = [dramatiq.actor(broker=stock, actor_name=name, queue_name=name)(print) for name in ("news", "x")]
    for message, delay in ((tell.message(1), None), (tell.message(2), 60_000), (others[0].message(3), None)):
        stock.enqueue(message, delay=delay)
    # Of a key that is no queue, and of one that nobody here knows, nothing is said.
    server.client.set("dramatiq:stocktwits.msgs", "x", ex=60)
    stock.enqueue(others[1].message(4))
    done = cli("doctor", **sound)
    assert (done.code, [(one["level"], one["what"]) for one in about(done, "dramatiq")]) == (
        0,
        [
            ("note", "2 messages of dramatiq's RedisBroker wait in default (1 put off)"),
            ("note", "1 message of dramatiq's RedisBroker waits in news (0 put off)"),
        ],
    )
    stock.flush_all()
    stock.close()
    server.client.delete("dramatiq:__heartbeats__")


@pytest.mark.usefixtures("keeping")
def test_a_user_who_may_not_read_what_dramatiqs_own_broker_has_left_is_told_so(
    cli: Cli, sound: dict[str, str], server: Server
) -> None:
    """By the rule of the docs nobody may: silence reads as none, and each key that is asked for is logged."""
    with user(server) as url:
        done = cli("doctor", **{**sound, "REDIS_URL": url})
        assert denied(server) == [("key", "dramatiq:default.msgs")]
    (found,) = about(done, "dramatiq")
    assert (done.code, found["level"]) == (0, "note")
    assert "this user may not look whether dramatiq's RedisBroker has left" in found["what"]


def test_a_server_that_is_away_is_one_finding_among_others(cli: Cli, sound: dict[str, str]) -> None:
    """What is wrong here is told all the same."""
    done = cli("doctor", **{**sound, "REDIS_URL": f"redis://127.0.0.1:{free_port()}/0"})
    ((what, words, fix),) = wrong(done)
    assert (done.code, what, "Redis is away" in words) == (1, "redis", True)
    assert "start it at redis://127.0.0.1" in fix
    assert about(done, "python")
    nowhere = cli("doctor", **{**sound, "REDIS_URL": ""})
    assert wrong(nowhere) == [
        ("redis", "nobody has said where Redis is", "set REDIS_URL, or start `tbcache up` here")
    ]


def test_what_keeps_credentials_from_being_tried_takes_nothing_else_away(
    cli: Cli, sound: dict[str, str], server: Server
) -> None:
    """A password that is wrong is why somebody calls the doctor."""
    done = cli("doctor", "--ask", **{**sound, "REDIS_URL": f"redis://:wrong@127.0.0.1:{server.port}/0"})
    assert (done.code, [what for what, _, _ in wrong(done)]) == (1, ["redis"])
    assert about(done, "python")
    assert "no upstream is asked: " in done.err


@pytest.mark.usefixtures("keeping")
def test_a_clock_that_is_off_and_a_server_that_is_slow_are_told(
    cli: Cli, sound: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Moments are the server's, and whoever compares them with a clock of his own is misled."""
    monkeypatch.setattr(doctor, "_ask_time", lambda store: doctor.Trip(9.0, -30.0))
    (slow, off) = wrong(cli("doctor", **sound))
    assert slow[1] == "a call takes 9,000.0 ms, of 10,000 ms that are waited for it"
    assert (off[0], off[1]) == ("clock", "its clock is 30.0 s behind this machine's")


@pytest.mark.usefixtures("keeping")
def test_credentials_are_tried_by_one_request_each_on_request_alone(
    cli: Cli, sound: dict[str, str], simulator: SimulatorProcess, store: Store
) -> None:
    """It takes a slot like any other, and says which credential is refused."""
    variables = {**sound, **simulator.variables, "TBCACHE_NEWS__API_KEY": "wrong"}
    before = {name: one["accepted"] for name, one in simulator.stats().items()}
    assert cli("doctor", **variables).code == 0
    assert {name: one["accepted"] for name, one in simulator.stats().items()} == before
    done = cli("doctor", "--ask", **variables)
    assert done.code == 1
    ((what, words, fix),) = wrong(done)
    assert (what, fix) == ("news", "the upstream refuses the credentials: set TBCACHE_NEWS__API_KEY anew")
    assert "HTTP 401" in words
    taken = [one for one in done.data if one["what"].startswith("the upstream takes the credentials")]
    assert {one["about"] for one in taken} == {"twitter", "reddit", "options", "stocktwits"}
    assert store.client.zcard(store.keys.slots("stocktwits")) == 1
    assert not store.client.exists(store.keys.entry("stocktwits:AAPL:1"))


def test_a_server_that_may_lose_what_it_holds_is_told_by_one_rule() -> None:
    """What is queued is the fleet's memory."""
    kept = ServerFacts(append_only=True, eviction_policy="noeviction", most_memory_bytes=0)
    assert list(losses(kept)) == list(losses(ServerFacts())) == []
    (lost,) = losses(ServerFacts(append_only=False, eviction_policy="noeviction"))
    assert (lost.level, "CONFIG SET appendonly yes" in lost.fix) == ("wrong", True)
    for most, level in ((0, "note"), (10**9, "wrong")):
        (found,) = losses(ServerFacts(eviction_policy="allkeys-lru", most_memory_bytes=most))
        assert (found.level, "allkeys-lru" in found.what) == (level, True)


def test_who_starts_something_is_told_that_its_server_keeps_nothing(
    cli: Cli, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is found out at the first restart otherwise, when the queue is gone."""
    line = "Redis keeps no append-only file: what is queued, cached and counted is lost with its process"
    variables = {"REDIS_URL": server.url, "TBCACHE_REDIS_TIMEOUT": "10", "TBCACHE_DATA_DIR": str(tmp_path)}
    tmp_path.chmod(0o700)
    monkeypatch.setattr(process, "_become", lambda program: 0)
    for part in ("worker", "scheduler"):
        assert cli(part, **variables).err.startswith(
            f"tbcache: {line}: `redis-cli CONFIG SET appendonly yes`"
        )
    monkeypatch.setattr(Supervisor, "start", lambda self, part: None)
    monkeypatch.setattr(Supervisor, "watch", lambda self: os.kill(os.getpid(), signal.SIGINT))
    assert line in cli("up", "--no-api", **variables).out
    with user(server, "-info") as url:
        assert line not in cli("worker", **{**variables, "REDIS_URL": url}).err


def test_settings_are_told_with_where_they_are_from_and_no_secret(cli: Cli, server: Server) -> None:
    """ "Which limit counts here, and who says so" is the first question of anyone who looks for a mistake."""
    variables = {
        "REDIS_URL": server.url.replace("redis://", "redis://bot:hunter2@"),
        "TBCACHE_TWITTER__BEARER_TOKEN": "hunter2",
        "TBCACHE_REDDIT__CLIENT_ID": "hunter2",
        "TBCACHE_NEWS__BASE_URL": "http://bot:hunter2@127.0.0.1:9",
        "TBCACHE_DATABASE_URL": "postgresql://bot:hunter2@h/db",
        "TBCACHE_API_TOKEN": "hunter2-of-the-api",
        "TBCACHE_COMMON_HOURS": "12",
        "REDIS_PASS": "hunter2",
        "REDIS_HOST": "elsewhere",
    }
    done = cli("config", "--all", **variables)
    assert done.code == 0
    assert "hunter2" not in done.out + done.err
    assert done.err == (
        "tbcache: REDIS_HOST counts for nothing: REDIS_URL goes before\n"
        "tbcache: REDIS_PASS is no setting of tbcache; did you mean REDIS_PASSWORD?\n"
    )
    found = {one["variable"]: (one["value"], one["origin"]) for one in done.data}
    assert found["TBCACHE_COMMON_HOURS"] == ("12", "environment")
    assert found["TBCACHE_TWITTER__BEARER_TOKEN"] == (MASK, "environment")
    assert found["TBCACHE_NEWS__BASE_URL"] == ("http://127.0.0.1:9", "environment")
    assert found["TBCACHE_TWITTER__LIMITS"] == ("300/15m", "source")
    assert found["TBCACHE_KEEP_DAYS"] == ("90", "default")
    assert found["REDIS_URL"] == (server.url, "environment")
    table = cli("config", "--source", "twitter", is_terminal=True, COLUMNS="120").out
    assert table.splitlines()[1].split() == ["TBCACHE_TWITTER__BASE_URL", "source", "https://api.x.com"]
    assert "TBCACHE_REDDIT" not in table


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("TWITTER_BEARER_TOKEN", "TBCACHE_TWITTER__BEARER_TOKEN"),
        ("tbcache_news__api_key", "TBCACHE_NEWS__API_KEY"),
        ("TBCACH_COMMON_SYMBOLS", "TBCACHE_COMMON_SYMBOLS"),
        ("REDIS_URI", "REDIS_URL"),
        ("PATH", None),
        ("LOG_LEVEL", None),
        ("REDIS_VERSION", None),
        ("TBCACHE_TWITTER__LIMITS", None),
    ],
)
def test_a_variable_that_is_nearly_one_of_ours_is_found(name: str, meant: str | None) -> None:
    """It changes nothing, in silence."""
    found = near_misses(Settings.load({}), [name])
    assert [one.meant for one in found] == ([] if meant is None else [meant])


def test_each_setting_is_told_as_a_variable_would_have_it() -> None:
    """What is copied from there into an environment changes nothing."""
    given = {
        "TBCACHE_COMMON_SYMBOLS": "AAPL,GME",
        "TBCACHE_NAMES": "SQ=Block|Cash App",
        "TBCACHE_PERSIST": "false",
    }
    own = [one for one in settings_in_force(Settings.load(given)) if one.value and one.value != MASK]
    copied = {one.variable: one.value for one in own if "__" not in one.variable}
    assert Settings.load(copied) == Settings.load(given)
