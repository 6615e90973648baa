"""What the commands print, where, and how they are described."""

from __future__ import annotations

import math
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tbcache.cli.app import PLACES, load
from tbcache.cli.backfill import _Pages
from tbcache.io import utc_now
from tbcache.models.version import __version__
from tbcache.monitoring.presence import command_name
from tbcache.settings import Settings
from tbcache.store import Store
from tests.cli.command import TBCACHE, Done, clean_environment
from tests.providers.wire import answering
from tests.server import Server, wait_until
from tests.upstream import SimulatorProcess

Cli = Callable[..., Done]


def _commands() -> Iterator[list[str]]:
    for name in PLACES:
        yield [name]
        yield from ([name, below] for below in getattr(load(name), "commands", {}))


@pytest.fixture
def fleet(server: Server, simulator: SimulatorProcess) -> dict[str, str]:
    """Variables of a fleet that asks the simulator."""
    return {**simulator.variables, **server.variables, "TBCACHE_COMMON_SYMBOLS": "AAPL,MSFT"}


@pytest.mark.parametrize("args", [[], *_commands()], ids=" ".join)
def test_every_help_begins_with_a_verb_and_ends_with_an_example(cli: Cli, args: list[str]) -> None:
    """The example is what people copy, so it must be there and stand where the eye falls."""
    done = cli(*args, "--help", COLUMNS="200")
    words = [line for line in done.out.splitlines() if line.strip()]
    assert done.code == 0
    assert words[1].split()[0] in (
        "Start", "Fetch", "Queue", "Warm", "Show", "List", "Run", "Serve", "Clear", "Remove",
        "Record", "Check", "Pause", "Send", "Accept", "Have", "Lower", "Take", "Lift", "Forget", "Set",
        "Print", "Count",
    )  # fmt: skip
    assert words[-1].strip().startswith("Example: tbcache ")


def test_no_command_at_all_shows_the_help(cli: Cli) -> None:
    """A new person's first try must teach them the second."""
    done = cli()
    assert done.code == 0
    assert "Usage: tbcache" in done.out


def test_the_version_is_one_line(cli: Cli) -> None:
    """Bug reports begin with it."""
    assert cli("--version").out == f"tbcache {__version__}\n"


def test_fetch_prints_json_and_nothing_else_in_a_pipe(cli: Cli, fleet: dict[str, str]) -> None:
    """One stray line on stdout breaks every script."""
    done = cli("fetch", "news", "aapl", "--hours", "48", **fleet)
    assert (done.code, done.err) == (0, "")
    assert done.data["sentiment"]["symbol"] == "AAPL"
    assert (done.data["sentiment"]["source"], done.data["sentiment"]["hours"]) == ("news", 48)
    assert done.data["origin"] == "live"
    assert cli("fetch", "news", "AAPL", "--hours", "48").data["origin"] == "cache"
    # Each is a process of its own; a cron of them would hide the workers.
    (row,) = (one for one in cli("usage", "--by", "worker").data["rows"] if one["requests"])
    assert (row["name"], row["requests"]) == (command_name(Settings.load({})), 2)


def test_a_terminal_gets_a_table_and_json_only_when_asked(cli: Cli, fleet: dict[str, str]) -> None:
    """People read tables; --json must win all the same."""
    table = cli("fetch", "news", "AAPL", is_terminal=True, COLUMNS="140", **fleet).out
    assert table.splitlines()[0].split()[:4] == ["source", "symbol", "covered", "score"]
    assert "AAPL" in table
    assert cli("fetch", "news", "AAPL", "--json", is_terminal=True).data["sentiment"]["source"] == "news"


def test_a_narrow_terminal_gets_one_line_for_each_answer(cli: Cli, fleet: dict[str, str]) -> None:
    """80 columns is what a new window has; a table that wraps there is no table."""
    cli("fetch", "stocktwits", "NVDA", **fleet)
    for width, has_reason in (("80", False), ("120", True)):
        table = cli("fetch", "stocktwits", "NVDA", is_terminal=True, COLUMNS=width).out
        heads, answer = table.splitlines()
        assert heads.split()[-1] == "complete"
        assert answer.split()[:2] == ["stocktwits", "NVDA"]
        assert ("(page budget)" in answer) is has_reason


def test_beside_a_score_stands_of_how_many_hours_it_is_true(cli: Cli, fleet: dict[str, str]) -> None:
    """Ninety messages of a busy symbol are an hour and a half, and were shown as the score of a day."""
    found = cli("fetch", "stocktwits", "NVDA", **fleet).data["sentiment"]
    assert (found["complete"], found["hours"]) == (False, 24)
    assert 0 < found["covered_hours"] < 12
    for width in ("80", "120"):
        answer = cli("fetch", "stocktwits", "NVDA", is_terminal=True, COLUMNS=width).out.splitlines()[1]
        assert answer.split()[2:4] == [f"{math.floor(found['covered_hours'] * 10) / 10:g}/24", "h"]


def test_a_week_that_is_deeper_than_a_search_goes_is_not_complete(cli: Cli, fleet: dict[str, str]) -> None:
    """Reddit's search ends at 250 posts as if there were no more: two days and a half passed for seven."""
    found = cli("fetch", "reddit", "NVDA", "--hours", "168", **fleet).data["sentiment"]
    assert (found["complete"], found["reason"]) == (False, "search_depth")
    assert found["count"] >= 200
    assert found["covered_hours"] < 120
    day = cli("fetch", "reddit", "ZM", "--hours", "24", **fleet).data["sentiment"]
    assert (day["complete"], day["covered_hours"]) == (True, 24)


def test_the_dead_are_listed_with_their_reasons(cli: Cli, fleet: dict[str, str], store: Store) -> None:
    """Who finds an answer missing must find out why, whatever stands in the message, on any terminal."""
    job = "0d5e63a2-6d7b-4b0f-9d2f-3b1a9f2c4e11"
    buried = {
        "reasons": "its [b]worker[/b] died \x1b[31m4 times",
        "dead-jobs": '{"kwargs": {"symbol": "GME"}}',
    }
    for part, text in buried.items():
        store.client.hset(store.keys.queue("news", part), job, text)
    store.client.zadd(store.keys.queue("news", "dead"), {job: 1})
    for part in (*buried, "dead"):
        store.client.expire(store.keys.queue("news", part), 60)
    (letter,) = cli("dead", **fleet).data
    assert (letter["source"], letter["job_id"], letter["reason"]) == ("news", job, buried["reasons"])
    wide = cli("dead", is_terminal=True, COLUMNS="140").out.splitlines()
    assert wide[0].split()[0] == "queue"
    assert wide[1].split()[:2] == ["news", "GME"]
    for page in (wide, cli("dead", is_terminal=True, COLUMNS="80").out.splitlines()):
        assert page[1].strip().endswith("its [b]worker[/b] died ?[31m4 times")
        assert (job in page[1]) == (page is wide)
    assert page[2].strip() == "Too narrow for: job. --json has all."


def test_status_and_limits_are_tables_on_a_terminal(
    cli: Cli, fleet: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page must answer: is anything wrong, which source, what to do."""
    monkeypatch.setattr("tbcache.fleet.look.STARTING_SECONDS", 0.0)
    cli("enqueue", "twitter", "GME", **fleet)
    page = cli("status", is_terminal=True, COLUMNS="140", **fleet).out
    assert "no worker is running, and queued fetches wait: start one with `tbcache worker`" in page
    assert "0/2" in page
    assert "300/15m" in cli("limits", is_terminal=True).out


def test_status_says_which_variable_turns_a_source_on(cli: Cli, server: Server) -> None:
    """A source that is off looks like one that is broken until someone says what is missing."""
    sources = {source["name"]: source for source in cli("status", REDIS_URL=server.url).data["sources"]}
    assert sources["twitter"]["state"] == "off"
    assert sources["twitter"]["missing"] == ["TBCACHE_TWITTER__BEARER_TOKEN"]
    assert sources["stocktwits"]["state"] == "ok"


def test_limits_tell_what_is_used_and_when_it_comes_free(cli: Cli, fleet: dict[str, str]) -> None:
    """Several limits of one source are several answers: the day's may be short while the minute's is not."""
    cli("fetch", "news", "AAPL", **fleet)
    news = cli("limits", TBCACHE_NEWS__LIMITS="5/1m,2/1d").data["sources"]["news"]
    assert [(one["limit"], one["used"], one["remaining"]) for one in news["limits"]] == [
        ("5/1m", 1, 4),
        ("2/1d", 1, 1),
    ]
    assert all(one["reset_at"] for one in news["limits"])


def test_cache_clear_counts_what_it_removed(cli: Cli, fleet: dict[str, str]) -> None:
    """0 for a pattern that should have matched is how one finds out about a typo."""
    cli("fetch", "news", "AAPL", **fleet)
    done = cli("cache", "clear", "news:*", "--yes").data
    assert (done["pattern"], done["cleared"], done["is_done"]) == ("news:*", 1, True)
    done = cli("cache", "clear", "nws:*")
    assert done.data["cleared"] == 0
    assert done.err == "tbcache: nothing matches 'nws:*'; did you mean 'news'?\n"
    assert cli("cache", "clear", "nothing").err == "tbcache: nothing matches 'nothing'\n"


def test_the_same_fetch_is_queued_once(cli: Cli, fleet: dict[str, str]) -> None:
    """An impatient script that asks twice must not cost two fetches."""
    first = cli("enqueue", "news", "AAPL", "MSFT", **fleet).data
    again = cli("enqueue", "news", "AAPL").data
    assert [(job["symbol"], job["state"]) for job in first] == [("AAPL", "queued"), ("MSFT", "queued")]
    # How it is loaded is the library's own.
    assert set(first[0]) == {"source", "symbol", "hours", "job_id", "state", "starts_at"}
    assert again[0]["job_id"] == first[0]["job_id"]
    assert [job["state"] for job in (first[0], again[0])] == ["queued", "joined"]


def test_a_wrong_symbol_among_many_queues_none(cli: Cli, fleet: dict[str, str], server: Server) -> None:
    """Half a batch that went through is worse than none: nobody knows which half."""
    assert cli("enqueue", "news", "AAPL", "no way", **fleet).code == 2
    assert not list(server.client.scan_iter("*queue*"))


def test_fetches_are_queued_in_the_name_that_the_command_says(
    cli: Cli, fleet: dict[str, str], server: Server
) -> None:
    """An operator who queues by hand for somebody else does it on their account."""
    assert cli("enqueue", "news", "AAPL", "--caller", "desk/bot-1", **fleet).code == 0
    assert [one.split()[2] for one in server.client.hvals("trading_bot:{news}:queue:lanes")] == [b"desk"]
    refused = cli("enqueue", "news", "AAPL", "--caller", "a b", **fleet)
    assert (refused.code, "'a b' is no caller" in refused.err) == (2, True)


def test_a_wait_for_workers_that_are_not_there_ends_with_1(cli: Cli, fleet: dict[str, str]) -> None:
    """The job goes on, and the line says where to look."""
    done = cli("enqueue", "news", "AAPL", "--wait", "--timeout", "0.1", **fleet)
    assert done.code == 1
    assert done.data[0]["error"]["kind"] == "ResultTimeout"
    assert "says what it waits for" in done.data[0]["error"]["message"]
    asked = cli("enqueue", "news", "AAPL", "--wait", "--timeout", "0.1", is_terminal=True)
    assert asked.err.startswith("tbcache: news AAPL: no result within ")


def test_warm_queues_every_source_that_is_on_behind_what_somebody_waits_for(
    cli: Cli, fleet: dict[str, str], server: Server
) -> None:
    """Warming must never make an interactive ask wait."""
    jobs = cli("warm", "GME", **fleet).data
    assert sorted(job["source"] for job in jobs) == ["news", "options", "reddit", "stocktwits", "twitter"]
    (news,) = [s for s in cli("status").data["sources"] if s["name"] == "news"]
    assert (news["queue"]["prewarm"], news["queue"]["interactive"]) == (1, 0)


@pytest.mark.parametrize("place", ["before", "after"])
def test_the_data_folder_may_be_named_before_and_after_the_command(cli: Cli, place: str) -> None:
    """People add the option where they happen to be typing."""
    option = ["--data-dir", "over-there"]
    args = [*option, "status"] if place == "before" else ["status", *option]
    assert "data folder over-there" in cli(*args).err


def test_a_source_in_the_working_folder_is_found(cli: Cli, server: Server, tmp_path: Path) -> None:
    """A user's own source must not have to be installed before the first try."""
    (tmp_path / "my_own_source.py").write_text("")
    done = cli("fetch", "mine", "AAPL", REDIS_URL=server.url, TBCACHE_SOURCES="mine=my_own_source:Mine")
    assert "module 'my_own_source' has no attribute 'Mine'" in done.err
    done = cli("fetch", "my_own_source:Mine", "AAPL", REDIS_URL=server.url)
    assert "TBCACHE_SOURCES=mine=my_own_source:Mine, and ask for 'mine'" in done.err


def test_the_past_is_shown_as_it_was_answered(cli: Cli, fleet: dict[str, str]) -> None:
    """What a bot was told last night, without writing a program."""
    told = cli("fetch", "reddit", "AAPL", **fleet).data["sentiment"]
    then = ("--since", told["as_of"], "--until", told["as_of"])

    def rows() -> list[tuple[object, ...]]:
        found = cli("history", "reddit", "aapl", *then, **fleet).data["points"]
        return [(row["score"], row["as_of"], row["covered_hours"]) for row in found]

    wait_until(lambda: rows() == [(told["score"], told["as_of"], told["covered_hours"])], 30)
    table = cli("history", "reddit", "AAPL", "--since", "1h", "--every", "30m", is_terminal=True, **fleet)
    assert "score" in table.out
    assert "none" in table.out
    assert "what the database has of AAPL in reddit begins at" not in table.err
    before = cli("history", "reddit", "AAPL", "--since", "9h", "--until", "8h", **fleet)
    assert "what the database has of AAPL in reddit begins at" in before.err
    assert "nothing is recorded of GME in reddit" in cli("history", "reddit", "GME", *then, **fleet).err


@pytest.mark.parametrize(
    ("option", "what"),
    [
        (("--since", "yesterday"), "--since 'yesterday' is no moment"),
        (("--every", "soon"), "--every 'soon' is no duration"),
        (("--since", "1h", "--until", "2h"), "--since 1h is later than --until 2h"),
    ],
)
def test_a_time_that_is_none_is_named(cli: Cli, option: tuple[str, ...], what: str) -> None:
    """The option and what it should be, in one line."""
    done = cli(
        "history", "reddit", "AAPL", *option, TBCACHE_REDDIT__CLIENT_ID="x", TBCACHE_REDDIT__CLIENT_SECRET="y"
    )
    assert done.code == 2
    assert what in done.err


KILLED = """
import os, signal, sys
from datetime import datetime
from tbcache import get_provider

pages = []

def on_page(items, since):
    pages.append(items)
    if len(pages) == 3:
        os.kill(os.getpid(), signal.SIGKILL)

get_provider("stocktwits").backfill("NVDA", datetime.fromisoformat(sys.argv[1]), on_page=on_page)
"""


def test_a_backfill_that_was_killed_goes_on_where_it_was(
    cli: Cli, fleet: dict[str, str], simulator: SimulatorProcess, tmp_path: Path
) -> None:
    """A page that was paid for is not paid for again because a laptop was shut."""
    since = (datetime.now(UTC) - timedelta(hours=4)).isoformat(timespec="minutes")
    variables = {**fleet, "TBCACHE_DATA_DIR": str(tmp_path / "data")}

    def pages_of(run: Callable[[], Done]) -> tuple[int, Done]:
        before = simulator.stats()["stocktwits"]["accepted"]
        done = run()
        assert done.code == 0, done.err
        return simulator.stats()["stocktwits"]["accepted"] - before, done

    killed = subprocess.run(
        [sys.executable, "-c", KILLED, since], env=clean_environment(**variables), timeout=110
    )
    assert killed.returncode == -signal.SIGKILL
    command = ("backfill", "stocktwits", "NVDA", "--since", since)
    rest, told = pages_of(lambda: cli(*command, **variables))
    assert told.err.endswith("; all is known\n")
    assert (told.data["pages"], told.data["reason"]) == (rest, None)
    whole, _ = pages_of(lambda: cli(*command, **{**variables, "TBCACHE_DATA_DIR": str(tmp_path / "whole")}))
    told_of = (*command[1:3], "--since", since, "--every", "4h", "--hours", "1")
    assert cli("history", *told_of, **variables).data["points"][-1]["score"] is None
    late = ("--until", "30m", "--every", "3h", "--hindsight")
    row = cli("history", *told_of, *late, **variables).data["points"][-1]
    assert row["count"] > 20
    assert row["covered_hours"] == 1
    # What was posted meanwhile may take one more.
    assert 3 + rest <= whole + 1
    assert rest < whole
    again, told = pages_of(lambda: cli(*command, **variables))
    assert (again, told.err) == (0, "tbcache: 0 pages, 0 items; all is known\n")
    assert (told.data["pages"], told.data["items"], told.data["reached_at"]) == (0, 0, None)


def test_a_backfill_in_a_pipe_says_now_and_then_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """A line a page was one a second, for as long as it took."""
    pages = _Pages(utc_now() - timedelta(days=7))
    for _ in range(3):
        pages.add(10, utc_now() - timedelta(hours=1))
    assert capsys.readouterr().err.count("back to") == 1
    assert f"{pages}" == "3 pages, 30 items"


def test_a_backfill_of_what_costs_money_needs_a_budget(cli: Cli, fleet: dict[str, str]) -> None:
    """A week of posts is hundreds of dollars: nobody spends that by a typing error."""
    done = cli("backfill", "twitter", "AAPL", "--since", "2d", **fleet)
    assert done.code == 2
    assert "TBCACHE_TWITTER__DAILY_BUDGET" in done.err


def test_ctrl_c_ends_a_wait_with_130(server: Server, simulator: SimulatorProcess, tmp_path: Path) -> None:
    """Shells and scripts know 130 as `interrupted`, and nobody wants a traceback for it."""
    command = [*TBCACHE, "enqueue", "news", "AAPL", "--wait"]
    env = clean_environment(REDIS_URL=server.url, TBCACHE_DATA_DIR=str(tmp_path), **simulator.variables)
    with started(command, env) as waiting:
        wait_until(lambda: server.client.exists("trading_bot:{news}:queue:jobs"), seconds=60)
        waiting.send_signal(signal.SIGINT)
        out, err = waiting.communicate(timeout=60)
    assert (waiting.returncode, out, err) == (130, "", "tbcache: interrupted\n")


def test_a_fetch_that_is_ended_gives_back_what_it_loads(server: Server, store: Store, tmp_path: Path) -> None:
    """Whoever asks for the same next would wait until the lease runs out, for 17 s."""
    asked, is_over = threading.Event(), threading.Event()

    def answer(connection: socket.socket, request: bytes) -> None:
        asked.set()
        is_over.wait(110)

    with answering(answer) as url:
        variables = {"REDIS_URL": server.url, "TBCACHE_DATA_DIR": str(tmp_path)}
        env = clean_environment(TBCACHE_STOCKTWITS__BASE_URL=url, **variables)
        with started([*TBCACHE, "fetch", "stocktwits", "ENDED"], env) as fetch:
            assert asked.wait(110)
            fetch.send_signal(signal.SIGTERM)
            out, err = fetch.communicate(timeout=110)
        is_over.set()
    assert (fetch.returncode, out) == (-signal.SIGTERM, "")
    assert "Traceback" not in err
    assert not store.client.hexists(store.keys.lease("stocktwits:ENDED:24"), "token")


#: Presses Ctrl-C at the moment when the start comes to import a module.
STARTING = """
import runpy, signal, sys

class Pressing:
    def find_spec(self, name, path=None, target=None):
        if name == "{module}":
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Pressing())
sys.argv = ["tbcache", "status"]
{entry}
"""
CONSOLE_SCRIPT = "from tbcache.cli import main; sys.exit(main())"
PYTHON_M = "runpy.run_module('tbcache', run_name='__main__', alter_sys=True)"


@pytest.mark.parametrize(
    ("entry", "module"),
    [(PYTHON_M, "tbcache.models"), (CONSOLE_SCRIPT, "pydantic"), (CONSOLE_SCRIPT, "tbcache.cli.status")],
    ids=["python -m", "script", "script, late"],
)
def test_ctrl_c_ends_a_start_with_130(entry: str, module: str) -> None:
    """A start takes a second, most of it imports, and who has mistyped presses it just then."""
    program = STARTING.format(module=module, entry=entry)
    with started([sys.executable, "-P", "-c", program], clean_environment()) as starting:
        out, err = starting.communicate(timeout=110)
    assert (starting.returncode, out, err) == (130, "", "tbcache: interrupted\n")


PRESSED_IN_THE_WORKER = """
import signal, sys

class Pressing:
    def find_spec(self, name, path=None, target=None):
        if name == "workers.actor":
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Pressing())
"""


def test_ctrl_c_while_a_worker_starts_stops_it(server: Server, tmp_path: Path) -> None:
    """It is a program of its own, which takes a second to start as well."""
    (tmp_path / "sitecustomize.py").write_text(PRESSED_IN_THE_WORKER)
    env = clean_environment(REDIS_URL=server.url, PYTHONPATH=str(tmp_path))
    with started([*TBCACHE, "worker", "--data-dir", str(tmp_path)], env) as worker:
        out, err = worker.communicate(timeout=110)
    assert worker.returncode == 0
    assert "Traceback" not in out + err


DROPPED = """
import signal, sys, time
from tbcache.cli import interrupt

class Dropping:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)

def wait():
    Dropping()
    while True:
        time.sleep(0.01)

with interrupt.never_lost():
    try:
        wait()
    except KeyboardInterrupt:
        sys.exit(130)
"""


def test_a_ctrl_c_that_python_drops_comes_again() -> None:
    """Python drops what is raised in ``__del__``, which runs at any time: the command would wait for ever."""
    with started([sys.executable, "-P", "-c", DROPPED], clean_environment()) as dropping:
        out, err = dropping.communicate(timeout=60)
    assert (dropping.returncode, out, err) == (130, "", "")


@contextmanager
def started(command: list[str], env: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A command in a process of its own that heeds Ctrl-C, and is gone at the end."""
    process = subprocess.Popen(
        command,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # What a shell starts in the background ignores Ctrl-C, and so would all that it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    with process:
        try:
            yield process
        finally:
            process.kill()
