"""Commands where there is no Redis at all: each is a process of its own, and all of them share the limits."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.command import Done, tbcache
from tests.upstream import SimulatorProcess

Cli = Callable[..., Done]
USED = "no Redis is configured: this user's commands on this machine have used the limit"


def accepted(simulator: SimulatorProcess, source: str) -> int:
    return int(simulator.stats()[source]["accepted"])


def test_three_in_a_row_send_one_request_on_a_limit_of_one(cli: Cli, simulator: SimulatorProcess) -> None:
    """Each had the whole limit."""
    before = accepted(simulator, "stocktwits")
    one = {"TBCACHE_STOCKTWITS__LIMITS": "1/1h", **simulator.variables}
    assert tbcache("fetch", "stocktwits", "GME", "--no-wait", **one).code == 0
    for symbol in ("AMC", "NVDA"):
        done = cli("fetch", "stocktwits", symbol, "--no-wait", **one)
        assert (done.code, done.out) == (4, "")
        assert USED in done.err
        assert "going on without Redis: what your commands here send is counted, no more" in done.err
    assert accepted(simulator, "stocktwits") - before == 1
    # Another namespace is another fleet.
    assert cli("fetch", "stocktwits", "NVDA", "--no-wait", TBCACHE_NAMESPACE="mine").code == 0


def test_what_one_has_paid_the_next_does_not_spend(cli: Cli, simulator: SimulatorProcess) -> None:
    """A day's budget was that of each command."""
    budget = {"TBCACHE_TWITTER__DAILY_BUDGET": "0.55", **simulator.variables}
    assert cli("fetch", "twitter", "AAPL", "--no-wait", **budget).data["origin"] == "live"
    done = cli("fetch", "twitter", "MSFT", "--no-wait")
    assert done.code == 4
    assert "the day's budget has no room for a page" in done.err


def test_what_one_finds_closed_the_next_does_not_ask(cli: Cli, simulator: SimulatorProcess) -> None:
    """It had said when to come again."""
    simulator.faults(news={"quota": "exhausted"})
    try:
        closed = cli("fetch", "news", "AAPL", "--no-wait", **simulator.variables)
    finally:
        simulator.clear_faults()
    before = accepted(simulator, "news")
    later = cli("fetch", "news", "MSFT", "--no-wait")
    assert (closed.code, later.code, accepted(simulator, "news")) == (5, 4, before)
    assert "has no more requests available" in later.err


def test_where_nothing_can_be_kept_nothing_is_sent(
    cli: Cli, simulator: SimulatorProcess, tmp_path: Path
) -> None:
    """The next command would send it once more."""
    (tmp_path / f"tbcache-{os.geteuid()}").mkdir(mode=0o755)
    where = {"XDG_STATE_HOME": str(tmp_path), **simulator.variables}
    done = cli("fetch", "reddit", "GME", "--no-wait", **where)
    assert done.code == 4
    assert "what was sent before is not known" in done.err
    assert "reddit.json: its folder is open to other users (mode 0755)" in done.err


@pytest.mark.parametrize(
    "command",
    [
        ("backfill", "stocktwits", "AMC", "--since", "1d", "--timeout", "0"),
        ("doctor", "--ask"),
        ("record", "stocktwits", "AMC", "--out", "tape", "--timeout", "0"),
    ],
)
def test_every_command_that_sends_shares_the_limit(
    cli: Cli, simulator: SimulatorProcess, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    """One that takes its first slot before it says that it is a command counts for itself."""
    monkeypatch.setattr("tbcache.cli.doctor.PATIENCE", 0.0)
    one = {"TBCACHE_STOCKTWITS__LIMITS": "1/1h", **simulator.variables}
    assert cli("fetch", "stocktwits", "GME", "--no-wait", **one).code == 0
    before = accepted(simulator, "stocktwits")
    done = cli(*command)
    assert USED in done.out + done.err
    assert accepted(simulator, "stocktwits") == before
