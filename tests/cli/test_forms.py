"""The forms of what is printed: a table on a terminal, JSON in a pipe, CSV where that is asked for."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from tbcache.cli.command import FORM, Form
from tbcache.cli.output import show
from tbcache.fleet import Fleet, FleetStatus
from tbcache.io import utc_now
from tbcache.models import FetchRequest, Limit
from tbcache.monitoring import UsageMonitor
from tbcache.queue import Queue
from tbcache.settings import Settings
from tbcache.store import Store
from tests.cli.command import Done
from tests.core.test_dead import bury
from tests.kept import keep
from tests.server import PATIENT, Server

Cli = Callable[..., Done]


def lines(done: Done) -> list[dict[str, str]]:
    assert done.code == 0, done.err
    return list(csv.DictReader(io.StringIO(done.out)))


def test_csv_is_flat_and_runs_nothing_in_a_spreadsheet(capsys: pytest.CaptureFixture[str]) -> None:
    """A reason may be an upstream's words, and a spreadsheet runs what begins like a formula."""
    data = [
        {"name": "a", "queue": {"dead": 1, "order": None}, "limits": ["1/1m", "2/1h"], "change": -0.5},
        {
            "name": '=HYPERLINK("x")',
            "why": "a\nb",
            "at": datetime(2026, 1, 2, tzinfo=UTC),
            "none": {},
            "is_on": True,
        },
    ]
    FORM.set(Form(as_csv=True))
    columns = ("name", "queue.dead", "queue.order", "limits", "change", "why", "at", "none", "is_on")
    show(data, lambda: "no table", columns=columns)
    first, second = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert first["queue.dead"] == "1"
    assert (first["queue.order"], first["limits"], first["change"]) == ("", "1/1m; 2/1h", "-0.5")
    assert (second["name"], second["why"]) == ('\'=HYPERLINK("x")', "a b")
    # As in JSON.
    assert (second["at"], second["is_on"]) == ("2026-01-02T00:00:00Z", "true")


def test_two_forms_at_once_are_refused_before_anything_is_done(
    cli: Cli, server: Server, store: Store
) -> None:
    """Of a command that queues, or forgets, nothing may be done by then."""
    bury(store, [("AAPL", "timeout", {})])
    for args in (
        ["dead", "--clear", "twitter"],
        ["enqueue", "stocktwits", "GME"],
        ["fetch", "stocktwits", "GME"],
    ):
        done = cli(*args, "--json", "--csv", REDIS_URL=server.url)
        assert (done.code, done.out) == (2, "")
        assert done.err == f"tbcache: --json and --csv exclude each other (see `tbcache {args[0]} --help`)\n"
    assert store.client.zcard(store.keys.queue("twitter", "dead")) == 1
    assert not list(server.client.scan_iter("*stocktwits*queue*"))


def test_usage_is_told_by_source_worker_caller_and_day(
    cli: Cli, server: Server, settings: Settings, store: Store
) -> None:
    """Who spent the budget this week, and on what."""
    yesterday = utc_now() - timedelta(days=1)
    key = store.keys.usage("twitter", yesterday)
    store.client.hset(key, mapping={"bot-2:go": 3, "bot-2:cost": 2_000_000, "bot-2:ms40": 3})
    store.client.expire(key, 60)
    callers = store.keys.callers("twitter", yesterday)
    store.client.hset(
        callers, mapping={"desk:cache": 5, "desk:live": 1, "desk:paid": 1_500_000, "backtest:live": 2}
    )
    store.client.expire(callers, 60)
    monitor = UsageMonitor(store, settings)
    monitor.worker = "bot-1"
    monitor.record_request("reddit", cached=True)
    monitor.record_request("twitter", cost=0.5)
    assert monitor.flush()

    def rows(*args: str) -> list[tuple[str, int, float | None]]:
        found = cli("usage", *args, REDIS_URL=server.url).data["rows"]
        return [(one["name"], one["requests"], one["cost"]) for one in found if one["requests"]]

    week = ("--days", "7")
    assert rows(*week) == [("twitter", 4, 2.5), ("reddit", 1, 0.0)]
    assert rows() == [("reddit", 1, 0.0), ("twitter", 1, 0.5)]
    assert rows(*week, "--by", "worker") == [("bot-2", 3, 2.0), ("bot-1", 2, 0.5)]
    assert rows(*week, "--by", "caller") == [
        ("desk", 6, 1.5),
        ("backtest", 2, 0.0),
        # Of the four fetches of the sources two callers know of three.
        ("(nobody's)", 1, None),
    ]
    # What a caller has cost is a bound, and is called so: the callers together may cost more than was paid.
    of_callers = lines(cli("usage", *week, "--by", "caller", "--csv", REDIS_URL=server.url))
    assert [one["cost_most"] for one in of_callers] == ["1.5", "0.0", ""]
    assert {one["cost_most"] for one in cli("usage", *week).data["rows"]} == {None}
    # A fetch that failed, also where an old answer was given, is a miss of the source, and is counted once.
    for origin in ("stale", "failed"):
        store.client.hset(callers, f"late:{origin}", 1)
        assert rows(*week, "--by", "caller")[2:] == [("late", 1, 0.0)]
        store.client.hdel(callers, f"late:{origin}")
    store.client.hset(callers, "late:stale", 1)
    days = [f"{yesterday:%Y-%m-%d}", f"{utc_now():%Y-%m-%d}"]
    assert rows(*week, "--by", "day") == [(days[0], 3, 2.0), (days[1], 2, 0.5)]
    assert rows("--source", "reddit") == [("reddit", 1, 0.0)]
    total = cli("usage", *week).data["total"]
    assert (total["requests"], total["served"], total["cost"], total["cache_hit_rate"]) == (5, 1, 2.5, 0.2)
    table = cli("usage", *week, "--by", "worker", is_terminal=True, COLUMNS="120").out
    assert table.splitlines()[1].split() == [
        "bot-2",
        "3",
        "0%",
        "3",
        "0",
        "0",
        "0",
        "0",
        "752",
        "ms",
        "752",
        "ms",
        "$2.00",
    ]
    assert f"{days[1]} (UTC): 5 asked, 20% from the cache, 0 errors, $2.50" in table
    assert lines(cli("usage", "--source", "reddit", "--csv"))[0]["cache_hit_rate"] == "1.0"
    assert "did you mean 'reddit'" in cli("usage", "--source", "redit").err
    steps = lines(cli("usage", "--source", "reddit", "--over", "15m", "--csv"))
    assert sum(int(one["requests"]) for one in steps) == int(
        lines(cli("usage", "--source", "reddit", "--csv"))[0]["requests"]
    )
    assert (
        "waited" in cli("usage", "--source", "reddit", "--over", "24h", is_terminal=True, COLUMNS="120").out
    )
    assert "with --source" in cli("usage", "--over", "24h").err


def test_queues_are_told_in_figures_and_job_by_job(
    cli: Cli, server: Server, settings: Settings, store: Store
) -> None:
    """Why AAPL waits, and what waits before it."""
    queue = Queue(store, settings)
    queue.enqueue(FetchRequest("stocktwits", "AAPL"), caller="desk")
    queue.enqueue(FetchRequest("stocktwits", "GME"), "prewarm")
    url = {"REDIS_URL": server.url}
    (found,) = cli("queue", "stats", "stocktwits", **url).data
    assert (found["queue"]["interactive"], found["queue"]["prewarm"]) == (1, 1)
    assert found["load"]["waiting"] == 2
    table = cli("queue", "stats", is_terminal=True, COLUMNS="160").out.splitlines()
    assert table[-1].split()[:4] == ["stocktwits", "ok", "1", "1"]
    narrow = cli("queue", "stats", is_terminal=True, COLUMNS="80").out
    assert "…" not in narrow, "a heading or a figure is cut"
    assert narrow.partition("\n")[0].split()[-4:] == ["running", "oldest", "begun", "dead"]
    assert [one["symbol"] for one in cli("queue", "list").data] == ["AAPL", "GME"]
    (job,) = lines(cli("queue", "list", "stocktwits", "--caller", "desk", "--state", "waiting", "--csv"))
    assert (job["symbol"], job["state"], job["place"]) == ("AAPL", "waiting", "1")
    shown = cli("queue", "list", "--symbol", "gme", is_terminal=True, COLUMNS="200").out.splitlines()
    assert shown[1].split()[:5] == ["stocktwits", "GME", "waiting", "prewarm", "1"]
    none = cli("queue", "list", "--symbol", "TSLA")
    assert (none.code, none.data, none.err) == (0, [], "")
    assert cli("queue", "list", "--symbol", "TSLA", is_terminal=True).out == "no such job is queued\n"
    for command in (
        ("queue", "list", "stocktwit"),
        ("queue", "stats", "stocktwit"),
        ("limits", "show", "stocktwit"),
    ):
        assert "did you mean 'stocktwits'" in cli(*command).err


def test_the_cache_is_told_and_a_clear_is_tried_first(cli: Cli, server: Server, store: Store) -> None:
    """What would go is known before it goes."""
    keep(store, "AAPL", 24)
    keep(store, "GME", 24)
    url = {"REDIS_URL": server.url}
    found = cli("cache", "stats", **url).data
    assert (found["is_available"], found["namespace"]) == (True, "trading_bot")
    assert "hit rate today" in cli("cache", "stats", is_terminal=True).out
    # How far a symbol is covered is asked without a fetch, which may cost money.
    held = cli("symbol", "aapl", is_terminal=True, COLUMNS="120").out.splitlines()
    (line,) = (one for one in held if one.startswith("reddit"))
    assert re.fullmatch(r"reddit +24\.0/24 h +\+0\.25 +8 +[\d:]{8} +[\d:]{8} +-", line.rstrip())
    assert [one.split()[1:4] for one in held if one.startswith("news")] == [["-/24", "h", "-"]]
    rows = {one["source"]: one for one in lines(cli("symbol", "AAPL", "--csv"))}
    assert (rows["reddit"]["score"], rows["reddit"]["sentiment.count"], rows["news"]["score"]) == (
        "0.25",
        "8",
        "",
    )
    assert cli("symbol", "no ticker").code == 2
    dry = cli("cache", "clear", "reddit:*", "--dry-run")
    assert (dry.code, dry.data["cleared"], dry.data["would_clear"]) == (0, 0, 2)
    assert [one["key"] for one in dry.data["values"]] == ["reddit:AAPL:24", "reddit:GME:24"]
    known = r"\(of AAPL, GME; [\d.]+ k?B; \d+ s( to \d+ s)? old\)"
    assert re.fullmatch(rf"tbcache: 2 would be cleared by 'reddit:\*' {known}\n", dry.err)
    # Nobody is there to be asked.
    assert cli("cache", "clear", "reddit:*").code == 1
    assert cli("cache", "clear", "reddit:*:12", "--dry-run").data["would_clear"] == 0
    done = cli("cache", "clear", "reddit:*", "--yes", is_terminal=True)
    assert (done.out, done.err) == ("", "tbcache: 2 cleared\n")
    assert cli("cache", "clear", "reddit:*", "--dry-run").err == "tbcache: 0 would be cleared by 'reddit:*'\n"


def test_each_limit_is_a_line_of_csv(cli: Cli, server: Server) -> None:
    """Two limits of one source are two lines."""
    found = lines(
        cli(
            *("limits", "show", "news", "--csv"),
            **{"REDIS_URL": server.url, "TBCACHE_NEWS__LIMITS": "5/1m,9/1d", **PATIENT},
        )
    )
    assert [(one["source"], one["limit"], one["remaining"]) for one in found] == [
        ("news", "5/1m", "5"),
        ("news", "9/1d", "9"),
    ]


#: What may be empty, and what has a column of its own only where something is so.
LISTS = (
    *(
        "audit",
        "changes",
        "config --source news",
        "dead",
        "dead errors",
        "dead list",
        "queue list",
        "queue stats",
    ),
    *("queue weight", "usage", "usage --by caller", "usage --by symbol", "usage --source reddit --over 15m"),
    *("limits show news", "cache stats", "symbol AAPL"),
)


def test_the_columns_of_csv_are_the_same_whatever_there_is(
    cli: Cli, server: Server, store: Store, settings: Settings
) -> None:
    """A script that reads columns by name has them on the day on which nothing is wrong as well."""

    def heads() -> dict[str, str]:
        done = {name: cli(*name.split(), "--csv", REDIS_URL=server.url, **PATIENT) for name in LISTS}
        assert {one.code for one in done.values()} == {0}
        return {name: one.out.partition("\n")[0] for name, one in done.items()}

    empty = heads()
    assert all(empty.values())
    assert empty["audit"] == "at,who,what,name,detail,count,why"
    operator = Fleet(settings, store).as_operator("ada")
    operator.set_weight("desk", 2.0)
    operator.pause("reddit", "new key")
    operator.set_limits("news", [Limit(1, 60.0)])
    bury(store, [("AAPL", "timeout", {})])
    monitor = UsageMonitor(store, settings)
    monitor.record_request("twitter", cost=0.5)
    assert monitor.flush()
    assert heads() == empty
    (dead,) = lines(cli("dead", "--csv"))
    assert (dead["source"], dead["symbol"], dead["reason"]) == ("twitter", "AAPL", "timeout")
    assert dead["actor"] == "fetch.twitter"
    assert dead["args"].startswith('symbol="AAPL", ')
    stats = {one["name"]: one for one in lines(cli("queue", "stats", "--csv"))}
    assert (stats["reddit"]["order.who"], stats["news"]["order.who"]) == ("ada", "")
    assert stats["twitter"]["queue.dead"] == "1"


def test_a_plain_status_is_small(cli: Cli, server: Server) -> None:
    """Of five sources it was 248 KB, most of it each slot and each answer that is kept warm."""
    plain, full = (
        cli("status", *option, REDIS_URL=server.url).data["sources"][0] for option in ((), ("--full",))
    )
    assert full.keys() - plain.keys() == {"kept", "slots"}


def test_status_is_watched_until_ctrl_c(cli: Cli, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a pipe each look is a line, for `jq` and the like; on a terminal it is the same page."""
    looks, status = [], Fleet.status

    def look(fleet: Fleet) -> FleetStatus:
        looks.append(fleet)
        if len(looks) % 2 == 0:
            os.kill(os.getpid(), signal.SIGINT)
        return status(fleet)

    monkeypatch.setattr(Fleet, "status", look)
    done = cli("status", "--watch", "--every", "0.2", REDIS_URL=server.url)
    assert (done.code, done.err) == (0, "")
    assert [json.loads(line)["server"]["is_available"] for line in done.out.splitlines()] == [True, True]
    page = cli("status", "--watch", "--every", "0.2", is_terminal=True, COLUMNS="120")
    assert (page.code, len(looks)) == (0, 4)
    assert "used of limit" in page.out
    both = cli("status", "--check", "--watch")
    assert (both.code, both.err) == (
        2,
        "tbcache: --check and --watch exclude each other (see `tbcache status --help`)\n",
    )
