"""Schedulers that die, or stand still, as they lead: what is kept warm stays so, and is fetched once."""

from __future__ import annotations

import itertools
from collections import defaultdict
from typing import Any

from scheduler.leader import LEASE_MS, TICK_SECONDS
from scheduler.prewarm import HORIZON_SECONDS
from tbcache.settings.capacity import LEAD_SECONDS
from tbcache.store.envelope import read_head
from tests.warm_fleet import NAME, WarmFleet, running

TTL = 60.0
SYMBOLS = ("A", "B", "C", "D", "E", "F")
#: A takeover takes so long at most: the lease ends, and the next tick of another takes it.
TAKEOVER_SECONDS = LEASE_MS / 1000 + TICK_SECONDS


def leader_of(fleet: WarmFleet) -> Any:
    """The process that leads."""
    server = fleet.fleet._fleet.server
    value = server.keyspace.do("GET", [b"trading_bot:schedule:leader"])
    name = value.decode().rpartition(" ")[2]
    (found,) = (one for one in fleet.fleet._fleet.living if one.name == name)
    return found


def gaps(fleet: WarmFleet, seconds: float) -> dict[str, float]:
    """How long each answer was missing, or not fresh, in the next ``seconds``, by four looks a second."""
    server, stale = fleet.fleet._fleet.server, defaultdict[str, float](float)
    for _ in range(round(seconds * 4)):
        fleet.fleet.advance(0.25)
        for symbol in SYMBOLS:
            entry = server.keyspace.do(
                "GET", [b"trading_bot:cache:{%b}:%b:24" % (NAME.encode(), symbol.encode())]
            )
            if entry is None or read_head(entry)[0] <= server.now_us():
                stale[symbol] += 0.25
    return dict(stale)


def twice(fleet: WarmFleet) -> list[tuple[str, float]]:
    """Calls that came while the answer of the one before had more than what a refresh is early."""
    calls = defaultdict[str, list[float]](list)
    for at, symbol in fleet.seen.calls:
        calls[symbol].append(at)
    # Half of a life is the most by which refreshes are spread, and they are once, after the first fill.
    return [
        (symbol, later - sooner)
        for symbol, moments in calls.items()
        for sooner, later in itertools.pairwise(moments)
        if later - sooner < TTL / 2 - LEAD_SECONDS
    ]


def test_the_queue_has_the_refreshes_of_a_takeover_beforehand() -> None:
    """The arithmetic: who dies in a tick has done its last one a tick ago."""
    assert HORIZON_SECONDS >= TICK_SECONDS + TAKEOVER_SECONDS
    # An answer of a minute is looked at by the next leader before its refresh is due.
    assert TTL * 0.95 - LEAD_SECONDS >= TICK_SECONDS + TAKEOVER_SECONDS


def test_a_takeover_lets_nothing_expire_and_fetches_nothing_twice() -> None:
    """One leader is killed shortly before all answers expire, the next stands still for longer than its lease
    before they do again, wakes up, and goes on."""
    with running(3, TBCACHE_COMMON_SYMBOLS=",".join(SYMBOLS), LIMITS="60/60s", CACHE_TTL=f"{TTL:g}") as fleet:
        for number in range(3):
            fleet.scheduler(f"scheduler-{number}")
        fleet.worker()
        fleet.fleet.advance(TTL - 13)
        leader_of(fleet).kill()
        stale = gaps(fleet, 52.0)
        second = leader_of(fleet)
        second.freeze(20.0)
        for symbol, seconds in gaps(fleet, 24.0).items():
            stale[symbol] = stale.get(symbol, 0.0) + seconds
        assert leader_of(fleet) is not second
        assert max(stale.values(), default=0.0) <= 1.0, stale
        assert twice(fleet) == []
        assert len(fleet.seen.calls) == 3 * len(SYMBOLS)
