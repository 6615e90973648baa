"""What an operator has the fleet do, on the command line."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import subprocess
import time
from collections.abc import Callable, Sequence

import pytest

from tbcache.cli import consent
from tbcache.fleet import Fleet, LimitsInForce, Operator
from tbcache.io import utc_now
from tbcache.models import FetchRequest, Limit
from tbcache.models.error import TbcacheError
from tbcache.monitoring import UsageMonitor
from tbcache.queue import JobFilter, Queue
from tbcache.settings import Settings
from tbcache.store import Store
from tests.cli.command import TBCACHE, Done, clean_environment
from tests.core.test_dead import bury
from tests.server import Server, wait_until


def test_a_source_is_paused_drained_and_resumed_by_hand(
    server: Server, settings: Settings, store: Store, cli: Callable[..., Done]
) -> None:
    """What stands still by an operator's word is shown, with who said so, and how to end it."""
    url = {"REDIS_URL": server.url}
    done = cli("queue", "pause", "stocktwits", "--why", "new key", "--by", "ada", **url)
    assert (done.code, done.data) == (
        0,
        {"name": "stocktwits", "order": "pause", "before": None, "is_done": True, "others": []},
    )
    assert "stocktwits is paused" in done.err
    assert cli("queue", "pause", "stocktwits", "--by", "eve", is_terminal=True).out == ""
    again = cli("queue", "pause", "stocktwits", "--by", "eve", "--why", "too dear")
    assert (again.code, again.data["before"]["who"], again.data["before"]["why"]) == (0, "ada", "new key")
    since = again.data["before"]["since"]
    in_words = f"paused since {since[:10]} {since[11:19]} UTC by ada: new key"
    assert f"stocktwits is paused; nothing is changed: it was {in_words}; cached answers" in again.err
    found = cli("status", **url)
    assert [(one["kind"], one["since"]) for one in found.data["troubles"]][-1] == ("paused", since)
    (source,) = (one for one in found.data["sources"] if one["name"] == "stocktwits")
    assert (source["state"], source["order"]["who"], source["order"]["why"]) == ("paused", "ada", "new key")
    check = cli("status", "--check", **url)
    assert check.code == 1
    assert "stocktwits is paused by ada: new key since" in check.out
    assert "`tbcache queue resume stocktwits` has it go on" in check.out
    resumed = cli("queue", "resume", "stocktwits", **url)
    assert f"stocktwits goes on; it was {in_words}; eve had paused it as well at " in resumed.err
    assert resumed.err.endswith("UTC: too dear\n")
    assert (resumed.data["order"], resumed.data["before"]["who"]) == (None, "ada")
    cli("queue", "drain", "stocktwits", **url)
    refused = cli("enqueue", "stocktwits", "AAPL", TBCACHE_STOCKTWITS__BASE_URL="http://127.0.0.1:9", **url)
    assert refused.code == 4
    assert "stocktwits: drained by" in refused.err
    (source,) = (one for one in cli("status", **url).data["sources"] if one["name"] == "stocktwits")
    assert source["state"] == "drained"
    cli("queue", "resume", "stocktwits", **url)
    assert Queue(store, settings).enqueue(FetchRequest("stocktwits", "AAPL")).is_new
    assert "did you mean 'stocktwits'?" in cli("queue", "pause", "stocktwit", **url).err
    audit = cli("audit", "--most", "3", **url).data
    assert [one["what"] for one in audit] == ["queue.resume", "queue.drain", "queue.resume"]
    assert "@" in audit[0]["who"]
    # What is long has further lines, and nothing else is cut.
    cli("queue", "pause", "stocktwits", "--why", "of a reason " * 9, "--by", "ada", **url)
    table = cli("audit", is_terminal=True, COLUMNS="80", **url).out
    assert re.search(r"\d\d:\d\d:\d\d  ada {2,}queue\.pause {2,}stocktwits ", table)
    assert "queue.drain" in table
    cli("queue", "resume", "stocktwits", **url)
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
    assert done.data == {
        "source": "stocktwits",
        "limits": ["20/1m"],
        "is_lowered": True,
        "is_raised": False,
        "before": [],
        "bound_before": None,
        "is_unchanged": False,
    }
    again = cli("limits", "set", "stocktwits", "20/60s", "--why", "other", "--by", "eve", **url)
    assert re.search(r"nothing is changed: it was 20/1m since [\d: -]+ UTC by ada: shared\n$", again.err)
    source = cli("limits", **url).data["sources"]["stocktwits"]
    assert [one["limit"] for one in source["limits"]] == ["20/1m"]
    assert (source["bound"]["who"], source["bound"]["why"]) == ("ada", "shared")
    shown = cli("limits", "show", **url)
    assert shown.data == cli("limits", **url).data
    # That an operator has lowered it is no mistake of this shell.
    assert shown.err.startswith(
        "tbcache: stocktwits: in force is 20/1m, as ada has set (shared); the settings say "
    )
    assert shown.err.endswith("`tbcache limits unset stocktwits` has them hold again\n")
    assert cli("limits", "set", "stocktwits", "20 per minute", **url).code == 2
    assert cli("limits", "unset", "stocktwits", **url).data["before"] == ["20/1m"]
    assert "no operator had set any" in cli("limits", "unset", "stocktwits", **url).err
    again = cli("limits", "reopen", "stocktwits", **url)
    assert (again.err, again.data["was_closed"]) == ("tbcache: stocktwits was not closed\n", False)
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


@pytest.mark.parametrize(
    ("answer", "code", "said"), [("n", 1, "nothing was done"), ("^C", 130, "interrupted")]
)
def test_a_no_and_ctrl_c_at_a_question_are_told_apart(
    server: Server, answer: str, code: int, said: str
) -> None:
    """A script goes on with the next one after a No, and ends where it is interrupted."""
    ours, theirs = pty.openpty()
    command = subprocess.Popen(
        [*TBCACHE, "limits", "reset", "reddit"],
        env=clean_environment(REDIS_URL=server.url),
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        # Where a shell has started the tests in the background, it ignores the signal.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    os.close(theirs)
    seen = b""
    while b"go on? [y/N]" not in seen:
        seen += os.read(ours, 1024)
    if answer == "^C":
        # One that comes just before the question is read is heeded by Python only after that.
        while command.poll() is None:
            command.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                command.wait(timeout=5)
    else:
        os.write(ours, b"n\n")
    out, _ = command.communicate(timeout=110)
    assert (command.returncode, out.strip()) == (code, b"")
    assert f"tbcache: {said}".encode() in os.read(ours, 1024)
    os.close(ours)


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
    assert dry.data.items() >= {"name": "twitter", "count": 2, "left": 0, "is_done": False}.items()
    wrong = cli("dead", "requeue", "twitter", "--error", "tiemout", "--dry-run", **url).err
    assert wrong.endswith("; 3 others are dead there: `tbcache dead list twitter` has the reasons\n")
    assert cli("dead", "purge", "twitter", **url).code == 1
    assert cli("queue", "cancel", "twitter", "job-0", "--dry-run", **url).data["state"] == "gone"
    done = cli("dead", "requeue", "twitter", "--error", "timeout", "--yes", **url)
    assert done.err == "tbcache: twitter: 2 queued again\n"
    assert done.data.items() >= {"name": "twitter", "count": 2, "left": 0, "is_done": True}.items()
    assert (
        cli("dead", "purge", "twitter", "--id", "job-1", "--yes", **url).err
        == "tbcache: twitter: 1 forgotten\n"
    )
    assert (
        cli("queue", "list", "twitter", **url).data[0]["cause"] == "a worker: none takes jobs of this queue"
    )
    assert (
        cli("queue", "promote", "twitter", "job-2", **url).err == "tbcache: job-2 is the next of its lane\n"
    )
    one = ("queue", "cancel", "twitter", "job-2")
    dry = cli(*one, "--dry-run", **url)
    assert (dry.err, dry.data["is_done"]) == ("tbcache: job-2 would be cancelled in twitter\n", False)
    assert "job-2 would be cancelled in twitter: nothing was done" in cli(*one, **url).err
    assert "--symbol, --caller and --state" in cli(*one, "--symbol", "GME", **url).err
    assert cli(*one, "--yes", **url).code == 0
    unknown = cli("queue", "explain", "job-2", "--queue", "twiter", **url)
    assert (unknown.code, "did you mean 'twitter'?" in unknown.err) == (2, True)
    # Nobody is asked about what is not there.
    gone = cli("queue", "explain", "job-2", **url)
    assert (gone.code, "it is over, or was never there" in gone.err) == (1, True)
    for more in ("--yes", "--dry-run", "--why=x"):
        again = cli(*one, more, **url)
        assert (again.code, again.err, again.data["state"]) == (1, "tbcache: job-2 is not there\n", "gone")


@pytest.mark.parametrize(
    "command", [("dead", "purge", "twitter"), ("dead", "requeue", "twitter"), ("queue", "cancel", "twitter")]
)
def test_what_comes_while_somebody_is_asked_is_left(
    server: Server,
    settings: Settings,
    store: Store,
    cli: Callable[..., Done],
    monkeypatch: pytest.MonkeyPatch,
    command: Sequence[str],
) -> None:
    """The question was of two, and thousands that died meanwhile were forgotten for good."""
    queue = Queue(store, settings)
    bury(store, [("AAPL", "timeout", {}), ("GME", "timeout", {})])
    for symbol in ("A", "B"):
        queue.enqueue(FetchRequest("twitter", symbol))

    def come(question: str) -> None:
        begun = time.time()
        wait_until(lambda: time.time() > begun + 0.002)
        store.client.zadd(store.keys.queue("twitter", "dead"), {"later": 1e6 * time.time()})
        queue.enqueue(FetchRequest("twitter", "LATER"))

    monkeypatch.setattr(consent, "confirm", come)
    done = cli(*command, REDIS_URL=server.url)
    assert (done.code, done.data["count"]) == (0, 2)
    assert done.err.endswith("; 1 that came while you were asked are left\n")
    assert [one.job_id for one in queue.dead.search("twitter")][:1] == ["later"]
    assert "LATER" in {one.symbol for one in queue.jobs("twitter", JobFilter(), 9)}


def test_a_job_that_would_be_put_off_again_is_not_called_the_next(
    server: Server, settings: Settings, store: Store, cli: Callable[..., Done]
) -> None:
    """It was the next of its lane, by what was said, and was not."""
    job = Queue(store, settings).enqueue(FetchRequest("twitter", "AAPL"), delay_seconds=600.0).job_id
    store.client.hset(store.keys.usage("twitter", utc_now()), "spent", 2_000_000)
    store.client.expire(store.keys.usage("twitter", utc_now()), 60)
    variables = {"TBCACHE_TWITTER__BEARER_TOKEN": "secret", "TBCACHE_TWITTER__DAILY_BUDGET": "2"}
    done = cli("queue", "promote", "twitter", job, REDIS_URL=server.url, **variables)
    assert (done.code, done.data["state"]) == (1, "delayed")
    words = "stays put off: twitter has spent its budget for the day ($2) until "
    assert done.err.startswith(f"tbcache: {job} {words}")


def test_who_puts_a_job_first_of_a_source_that_fails_is_told_so(
    server: Server, settings: Settings, store: Store, cli: Callable[..., Done]
) -> None:
    """Its last tries were spent within two seconds, and nothing had been said."""
    queue, monitor = Queue(store, settings), UsageMonitor(store, settings)
    job = [queue.enqueue(FetchRequest("stocktwits", symbol)).job_id for symbol in ("AAPL", "GME")][1]
    monitor.count("stocktwits", {"go": 4, "ms20": 4, "error.unavailable": 4})
    assert monitor.flush()
    done = cli("queue", "promote", "stocktwits", job, REDIS_URL=server.url)
    words = "is the next of its lane; stocktwits is failing: it may fail as well, and then has a try less"
    assert (done.code, done.err) == (0, f"tbcache: {job} {words}\n")


def test_the_jobs_that_are_meant_are_cancelled_once_they_were_counted(
    server: Server, settings: Settings, store: Store, cli: Callable[..., Done]
) -> None:
    """A bot has queued ten thousand by mistake, and its neighbour's jobs are to stay."""
    queue, url = Queue(store, settings), {"REDIS_URL": server.url}
    mine = [queue.enqueue(FetchRequest("stocktwits", name), caller="desk/bot") for name in ("AAPL", "GME")]
    kept = queue.enqueue(FetchRequest("stocktwits", "MSFT"), caller="other")
    dry = cli("queue", "cancel", "stocktwits", "--caller", "desk", "--dry-run", **url)
    assert dry.data.items() >= {"name": "stocktwits", "count": 2, "is_done": False}.items()
    assert dry.err == "tbcache: 2 would be cancelled in stocktwits\n"
    # One that a worker has in hand is not among them.
    claims = store.keys.queue("stocktwits", "claims")
    store.client.zadd(claims, {f"{kept.job_id}/a-worker": 1e17})
    store.client.expire(claims, 60)
    assert cli("queue", "cancel", "stocktwits", "--dry-run", **url).data["count"] == 2
    store.client.delete(claims)
    asked = cli("queue", "cancel", "stocktwits", "--caller", "desk", **url)
    assert (asked.code, asked.out) == (1, "")
    assert "--yes does it" in asked.err
    done = cli(
        "queue", "cancel", "stocktwits", "--caller", "desk", "--why", "typo", "--yes", "--by", "ada", **url
    )
    assert (done.code, done.data["count"], done.data["is_done"]) == (0, 2, True)
    for one in mine:
        with pytest.raises(TbcacheError, match="cancelled by ada: typo"):
            one.result(timeout=20)
    assert [one.job_id for one in queue.jobs("stocktwits", JobFilter(), 10)] == [kept.job_id]
    (line,) = Fleet(settings, store).audit()
    assert (line.what, line.name, line.detail, line.why, line.count) == (
        "job.cancel", "stocktwits", "caller=desk", "typo", 2,
    )  # fmt: skip
    none = cli("queue", "cancel", "stocktwits", "--symbol", "AMC", "--yes", **url)
    others = "; 1 other waits there: `tbcache queue list stocktwits` has all"
    assert (none.code, none.err) == (0, f"tbcache: none was cancelled in stocktwits{others}\n")
    for wrong in (("--symbol", ""), ("--state", "running"), ("some-id", "--symbol", "GME")):
        assert cli("queue", "cancel", "stocktwits", *wrong, **url).code == 2


def test_a_weight_is_set_by_hand(server: Server, cli: Callable[..., Done]) -> None:
    """Who shares a queue with a backtest gets more of it at once."""
    url = {"REDIS_URL": server.url}
    done = cli("queue", "weight", "desk/vip", "4", **url)
    assert done.err == "tbcache: desk/vip has the weight 4, for what is queued from now on\n"
    assert done.data == {"caller": "desk/vip", "weight": 4.0, "before": None}
    assert cli("queue", "weight", **url).data == {"desk/vip": 4.0}
    cli("queue", "weight", "desk/vip", "--unset", **url)
    assert cli("queue", "weight", **url).data == {}
    assert cli("queue", "weight", "desk", "0", **url).code == 2
