"""What an operator has the fleet do, on the command line."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tbcache.fleet.operator import LimitsInForce, Operator
from tbcache.models import FetchRequest, Limit
from tbcache.queue import Queue
from tbcache.settings import Settings
from tbcache.store import Store
from tests.cli.command import Done
from tests.core.test_dead import bury
from tests.server import Server


def test_a_source_is_paused_drained_and_resumed_by_hand(
    server: Server, settings: Settings, store: Store, cli: Callable[..., Done]
) -> None:
    """What stands still by an operator's word is shown, with who said so, and how to end it."""
    url = {"REDIS_URL": server.url}
    done = cli("queue", "pause", "stocktwits", "--why", "new key", "--by", "ada", **url)
    assert (done.code, done.out) == (0, "")
    assert "stocktwits is paused" in done.err
    found = cli("status", **url)
    (source,) = (one for one in found.data["sources"] if one["name"] == "stocktwits")
    assert (source["state"], source["order"]["who"], source["order"]["why"]) == ("paused", "ada", "new key")
    check = cli("status", "--check", **url)
    assert check.code == 1
    assert "stocktwits is paused by ada: new key since" in check.out
    assert "`tbcache queue resume stocktwits` has it go on" in check.out
    assert "it was paused by ada: new key" in cli("queue", "resume", "stocktwits", **url).err
    cli("queue", "drain", "stocktwits", **url)
    refused = cli("enqueue", "stocktwits", "AAPL", TBCACHE_STOCKTWITS__BASE_URL="http://127.0.0.1:9", **url)
    assert refused.code == 4
    assert "stocktwits: drained by" in refused.err
    cli("queue", "resume", "stocktwits", **url)
    assert Queue(store, settings).enqueue(FetchRequest("stocktwits", "AAPL")).is_new
    assert "did you mean 'stocktwits'?" in cli("queue", "pause", "stocktwit", **url).err
    audit = cli("audit", "--most", "3", **url).data
    assert [one["what"] for one in audit] == ["queue.resume", "queue.drain", "queue.resume"]
    assert "@" in audit[0]["who"]
    assert "queue.drain" in cli("audit", is_terminal=True, COLUMNS="200", **url).out
    changes = cli("changes", "--hours", "2", **url).data
    assert [one["kind"] for one in changes[:3]] == ["order"] * 3
    assert "queue.drain" in cli("changes", is_terminal=True, COLUMNS="200", **url).out


def test_limits_are_set_and_taken_back_by_hand(
    server: Server, settings: Settings, cli: Callable[..., Done]
) -> None:
    """They hold beside those of the shell, and say who set them."""
    url = {"REDIS_URL": server.url}
    done = cli("limits", "set", "stocktwits", "20/60s", "--why", "shared", "--by", "ada", **url)
    assert (done.code, done.err) == (0, "tbcache: stocktwits: in force is 20/1m\n")
    (source,) = (one for one in cli("limits", **url).data if one["name"] == "stocktwits")
    assert [one["limit"] for one in source["limits"]] == ["20/1m"]
    assert (source["bound"]["who"], source["bound"]["why"]) == ("ada", "shared")
    assert cli("limits", "show", **url).data == cli("limits", **url).data
    assert cli("limits", "set", "stocktwits", "20 per minute", **url).code == 2
    assert cli("limits", "unset", "stocktwits", **url).code == 0
    assert cli("limits", "reopen", "stocktwits", **url).err == "tbcache: stocktwits was not closed\n"
    assert cli("limits", "reset", "stocktwits", **url).code == 1
    assert (
        cli("limits", "reset", "stocktwits", "--yes", **url).err
        == "tbcache: stocktwits counts from 0 again\n"
    )


def test_a_limit_above_those_of_the_processes_is_said_to_change_nothing(
    server: Server, cli: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who raises one reads `in force is 60/1m` for a success otherwise."""
    found = LimitsInForce("stocktwits", (Limit(60, 60.0),), is_lowered=False)
    monkeypatch.setattr(Operator, "set_limits", lambda *_: found)
    done = cli("limits", "set", "stocktwits", "9000/60s", REDIS_URL=server.url)
    assert done.code == 0
    assert "in force is 60/1m, by the settings of the processes" in done.err
    assert "raises none" in done.err


def test_dead_letters_are_counted_before_anything_is_done(
    server: Server, store: Store, cli: Callable[..., Done]
) -> None:
    """Ten thousand of the wrong error are soon queued again, and not soon done."""
    bury(store, [("AAPL", "timeout", {}), ("GME", "no", {}), ("GME", "Timeout", {})])
    url = {"REDIS_URL": server.url}
    listed = cli("dead", "list", "twitter", "--symbol", "GME", **url).data
    assert [one["job_id"] for one in listed] == ["job-2", "job-1"]
    dry = cli("dead", "requeue", "twitter", "--error", "timeout", "--dry-run", **url)
    assert dry.err == "tbcache: 2 would be queued again in twitter\n"
    assert cli("dead", "purge", "twitter", **url).code == 1
    done = cli("dead", "requeue", "twitter", "--error", "timeout", "--yes", **url)
    assert done.err == "tbcache: twitter: 2 queued again\n"
    assert (
        cli("dead", "purge", "twitter", "--id", "job-1", "--yes", **url).err
        == "tbcache: twitter: 1 forgotten\n"
    )
    assert (
        cli("queue", "promote", "twitter", "job-2", **url).err == "tbcache: job-2 is the next of its lane\n"
    )
    assert cli("queue", "cancel", "twitter", "job-2", **url).code == 0
    again = cli("queue", "cancel", "twitter", "job-2", **url)
    assert (again.code, again.err) == (1, "tbcache: job-2 is not there\n")


def test_a_weight_is_set_by_hand(server: Server, cli: Callable[..., Done]) -> None:
    """Who shares a queue with a backtest gets more of it at once."""
    url = {"REDIS_URL": server.url}
    done = cli("queue", "weight", "desk/vip", "4", **url)
    assert done.err == "tbcache: desk/vip has the weight 4, for what is queued from now on\n"
    assert cli("queue", "weight", **url).data == {"desk/vip": 4.0}
    cli("queue", "weight", "desk/vip", "--unset", **url)
    assert cli("queue", "weight", **url).data == {}
    assert cli("queue", "weight", "desk", "0", **url).code == 2
