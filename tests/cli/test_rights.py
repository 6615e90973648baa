"""A user of Redis with no more rights than docs/deploying.md names, and with fewer."""

from __future__ import annotations

import logging
import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tbcache.cache import CacheManager
from tbcache.fleet import Fleet
from tbcache.limiter import limiter_of
from tbcache.monitoring import UsageMonitor
from tbcache.rate_limiter import RateLimiter
from tbcache.settings import Settings, get_source
from tbcache.store import Store
from tbcache.store.memory import Memory
from tbcache.store.rights import missing_rights
from tests import readme
from tests.cli.command import Done, local_client
from tests.cli.test_process import running
from tests.server import Server, wait_until
from tests.test_floors import SCRIPTS
from tests.upstream import SimulatorProcess

Cli = Callable[..., Done]

# In a cluster only; and what only a server that has moved or lost something calls for.
CLUSTER = {"cluster|slots", "cluster|info", "asking"}
#: Without these nobody is let in, or it is told otherwise, or no script runs.
UNTRIED = {
    *("ping", "hello", "select", "time", "info", "eval", "evalsha", "publish", "subscribe", "pubsub|numsub"),
    *CLUSTER,
}


def rule() -> list[str]:
    """The arguments of the command on the page, without the client it is given to."""
    (block,) = (block for block in readme.blocks("sh", readme.DEPLOYING) if "ACL SETUSER" in block)
    client, *words = shlex.split(block.replace("\\\n", ""))
    assert client == "redis-cli"
    return words


def commands() -> set[str]:
    return {word[1:] for word in rule() if word.startswith("+")}


@contextmanager
def user(server: Server, *more: str) -> Iterator[str]:
    """The address of ``server`` for the user of the page, changed by ``more``."""
    server.client.execute_command(*rule(), *more)
    server.client.acl_log_reset()
    try:
        yield f"redis://tbcache:PASSWORD@127.0.0.1:{server.port}/0"
    finally:
        server.client.acl_deluser("tbcache")


def denied(server: Server) -> list[tuple[str, str]]:
    return [(entry["reason"], entry["object"]) for entry in server.client.acl_log()]


def called(server: Server) -> set[str]:
    return {name.removeprefix("cmdstat_") for name in server.client.info("commandstats")}


def inside_scripts() -> set[str]:
    text = "".join(script.read_text() for script in SCRIPTS)
    found = re.findall(r"redis\.p?call\('(\w+)'(?:, '(NUMSUB)')?", text)
    return {"|".join(filter(None, words)).lower() for words in found}


def test_the_rule_of_the_readme_is_enough_for_all_that_is_done_and_no_more(
    cli: Cli, server: Server, simulator: SimulatorProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An administrator gives the rights that are named, and finds out at night what was left out."""
    # It runs every command, so that none would be found to be named and not used.
    monkeypatch.setattr("tbcache.fleet.look.missing_rights", lambda store: ())
    server.client.config_resetstat()
    with user(server) as url:
        # Another database has to be selected.
        url = url.removesuffix("0") + "1"
        variables = {**simulator.variables, "REDIS_URL": url, "TBCACHE_COMMON_SYMBOLS": "AAPL"}
        use_library(Settings.load(variables))
        data = ("--data-dir", str(tmp_path / "data"))
        with (
            running("worker", "--threads", "2", *data, **variables),
            running("scheduler", *data, **variables),
        ):
            use_commands(cli, variables)
        use_api(Settings.load(variables))
        assert denied(server) == []
    assert inside_scripts() - commands() == set()
    assert commands() - called(server) - inside_scripts() - CLUSTER == set()


def use_commands(cli: Cli, variables: dict[str, str]) -> None:
    assert cli("fetch", "reddit", "GME", **variables).code == 0
    assert cli("enqueue", "stocktwits", "TSLA", "--wait", **variables).code == 0
    assert cli("warm", "AAPL", "--wait", **variables).code == 0
    status = cli("status", **variables)
    assert (status.code, status.err, status.data["denied"]) == (0, "", [])
    assert {worker["role"] for worker in status.data["workers"]} >= {"worker", "scheduler"}
    assert cli("limits", **variables).code == 0
    assert cli("dead", **variables).code == 0
    assert cli("cache", "clear", "stocktwits:*", "--yes", **variables).data["cleared"] > 0


def use_library(settings: Settings) -> None:
    store = Store(settings)
    try:
        local = Memory(store, 1_000_000, is_tracking=True)
        cache, monitor = CacheManager(store, local), UsageMonitor(store, settings)
        monitor.keep_beating("client")
        cache.set("mine:1", 1, ttl=60)
        wait_until(lambda: cache.get("mine:1") == 1 and local.is_on, what="the in-process layer")
        assert cache.exists("mine:1")
        assert (cache.get_ttl("mine:1") or 0) > 0
        assert cache.delete("mine:1")
        assert cache.clear_pattern("*") >= 0
        limiter = RateLimiter(get_source("stocktwits", settings), store)
        assert limiter.check_rate_limit()[0]
        with limiter.slot():
            pass
        limiter.reset()
        monitor.record_request("stocktwits", success=True, cost=0.01)
        assert monitor.flush()
        monitor.leave()
        cache.close()
    finally:
        store.close()


def use_api(settings: Settings) -> None:
    with local_client(settings) as client:
        for page in ("rate-limits", "usage?days=2", "cache/status"):
            assert client.get(f"/api/monitoring/{page}").json()["is_available"] is not False
        assert "tbcache_redis_up 1" in client.get("/metrics").text
        assert client.get("/readyz").status_code == 200
        assert client.post("/api/monitoring/cache/clear", json={"pattern": "*"}).status_code == 200


@pytest.mark.parametrize("is_terminal", [False, True])
def test_a_user_without_info_sees_all_but_what_only_info_tells(
    cli: Cli, server: Server, is_terminal: bool
) -> None:
    """Managed servers often forbid whatever is called dangerous."""
    with user(server, "-@dangerous") as url:
        done = cli("status", is_terminal=is_terminal, REDIS_URL=url, COLUMNS="200")
    assert (done.code, done.err) == (0, "")
    assert "this user may not ask INFO" in done.out
    assert "300/15m" in done.out
    assert is_terminal or done.data["server"]["version"] is None


def test_a_user_without_info_has_a_cache_and_a_page_of_it(server: Server, tmp_path: Path) -> None:
    """That the version is not known is no outage."""
    with user(server, "-info") as url:
        settings = Settings.load({"REDIS_URL": url}, data_dir=tmp_path)
        with local_client(settings) as client:
            status = client.get("/api/monitoring/cache/status").json()
    assert (status["is_available"], status["server_version"]) == (True, None)
    assert status["ping_ms"] > 0


def test_status_says_that_the_channel_is_denied(cli: Cli, server: Server) -> None:
    """Redis gives a new user no channel, and nothing else shows that one is missing."""
    with user(server, "resetchannels") as url:
        done = cli("status", REDIS_URL=url)
    assert (done.code, done.err) == (0, "")
    (line,) = done.data["denied"]
    assert "this user may not use the channel trading_bot:notices" in line


def test_without_the_channel_all_goes_on_and_one_line_says_so(
    server: Server, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """A process that asked for it again and again would open a connection each time."""
    caplog.set_level(logging.WARNING, "tbcache")
    with user(server, "resetchannels") as url:
        settings = Settings.load({"REDIS_URL": url}, data_dir=tmp_path)
        store = Store(settings)
        monitor = UsageMonitor(store, settings)
        monitor.keep_beating("client")
        limiter = RateLimiter(get_source("stocktwits", settings), store)
        assert limiter.check_rate_limit()[0]
        wait_until(lambda: caplog.messages, what="a line")
        began = limiter_of(store).process_window("stocktwits").last_seen_at
        wait_until(
            lambda: limiter_of(store).process_window("stocktwits").last_seen_at > began, what="another beat"
        )
        assert limiter.check_rate_limit()[0]
        assert denied(server) == [("channel", "trading_bot:notices")]
        monitor.leave()
        store.close()
    assert [one.msg for one in caplog.records] == ["redis.channel_denied"]


def test_status_names_each_right_that_is_missing(cli: Cli, server: Server, tmp_path: Path) -> None:
    """What needs one is refused, or does nothing, and Redis does not say which command a script lacks."""
    with user(server) as url:
        store = Store(Settings.load({"REDIS_URL": url}, data_dir=tmp_path))
        for command in (None, *sorted(commands() - UNTRIED)):
            lost = [] if command is None else [command]
            server.client.execute_command("ACL", "SETUSER", "tbcache", *(f"-{one}" for one in lost))
            assert missing_rights(store) == tuple(lost)
            server.client.execute_command("ACL", "SETUSER", "tbcache", *(f"+{one}" for one in lost))
        store.close()
        assert cli("status", "--check", REDIS_URL=url).code == 0
        assert server.client.keys("*scratch*") == []
    with user(server, "-llen") as url:
        done = cli("status", "--check", REDIS_URL=url)
    assert (done.code, done.err) == (1, "")
    assert "this user of Redis may not run llen" in done.out


def test_a_right_that_is_missing_is_told_until_it_is_given(server: Server, tmp_path: Path) -> None:
    """Rights are looked for once a minute: who has just given one must not be told that it is missing."""

    def kinds() -> set[str]:
        return {trouble.kind for trouble in fleet.status().troubles}

    with user(server, "-llen") as url:
        settings = Settings.load({"REDIS_URL": url}, data_dir=tmp_path)
        fleet = Fleet(settings, Store(settings))
        try:
            assert "rights_missing" in kinds()
            assert "rights_missing" in kinds()
            server.client.execute_command("ACL", "SETUSER", "tbcache", "+llen")
            assert "rights_missing" not in kinds()
        finally:
            fleet.close()
