"""What it takes to answer most asks at once: nothing kept warm, a list kept warm, and what is asked for most.

All code is the real one, with its Redis scripts; time is virtual.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

from bench.table import Bar, Table
from tests.warm_fleet import Seen, running

SYMBOLS, ASKS_PER_SECOND, TTL, LIMIT = 200, 2.0, 300.0, 60
LISTED = 10
#: An hour of asks is known before; it is counted after one TTL.
SECONDS, QUICK_SECONDS = 3000.0, 600.0
MOST_CALLS, LEAST_FRESH = 1.3, 0.9


@dataclass(frozen=True)
class Way:
    """How much of the list of symbols is listed, and whether there is a scheduler at all."""

    name: str
    listed: int
    has_scheduler: bool = True


ON_DEMAND = Way("on demand", 1, has_scheduler=False)
BY_DEMAND = Way(f"{LISTED} listed, and by demand", LISTED)
WAYS = (ON_DEMAND, Way(f"all {SYMBOLS} listed", SYMBOLS), BY_DEMAND)


def zipf(symbols: int, total: float) -> dict[str, float]:
    """Asks a second for each symbol: the n-th is asked for 1/n as often as the first."""
    whole = sum(1 / place for place in range(1, symbols + 1))
    return {f"S{place}": total / whole / place for place in range(1, symbols + 1)}


def run(way: Way, seconds: float, rates: Mapping[str, float], ttl: float = TTL) -> Seen:
    """What was seen in ``seconds``, once the fleet has run for a TTL."""
    listed = ",".join(itertools.islice(rates, way.listed))
    limits = {"LIMITS": f"{LIMIT}/60s", "CACHE_TTL": f"{ttl:g}", "TBCACHE_COMMON_SYMBOLS": listed}
    with running(1, **limits) as fleet:
        fleet.know(rates)
        if way.has_scheduler:
            fleet.scheduler("scheduler")
        fleet.worker()
        fleet.bots(rates, 2)
        fleet.fleet.advance(ttl + seconds)
        return fleet.seen.since(ttl)


def table(*, is_quick: bool) -> Table:
    """The table, in about 4 minutes; in 1 when ``is_quick``."""
    return measure(WAYS, QUICK_SECONDS if is_quick else SECONDS, zipf(SYMBOLS, ASKS_PER_SECOND))


def measure(ways: tuple[Way, ...], seconds: float, rates: Mapping[str, float], ttl: float = TTL) -> Table:
    """Each way for so long; the first is what the others are compared with."""
    found = Table(
        "Keeping answers warm",
        f"{len(rates)} symbols, {sum(rates.values()):g} asks a second (Poisson, Zipf 1), TTL {ttl:g} s, "
        f"limit {LIMIT} a minute, {seconds:g} s in virtual time, an hour of asks known before. Fresh: "
        "answered at once.",
        ["kept warm", "asks", "fresh", "calls a minute", "calls / on demand"],
    )
    seen = {way: run(way, seconds, rates, ttl) for way in ways}
    base = len(seen[ways[0]].calls)
    for way, one in seen.items():
        found.rows.append(row(way, one, seconds, base))
    found.bars += bars(seen[ways[-1]], base)
    return found


def row(way: Way, seen: Seen, seconds: float, base: int) -> list[str]:
    calls = len(seen.calls)
    a_minute = f"{calls / seconds * 60:.1f}"
    return [way.name, str(len(seen.asks)), f"{seen.fresh:.1%}", a_minute, f"{calls / base:.2f}"]


def bars(seen: Seen, base: int) -> list[Bar]:
    ratio = len(seen.calls) / base
    return [
        Bar(f"{LEAST_FRESH:.0%} of the asks are fresh", f"{seen.fresh:.1%}", seen.fresh >= LEAST_FRESH),
        Bar(f"for {MOST_CALLS:g} x the calls on demand", f"{ratio:.2f}", ratio <= MOST_CALLS),
    ]
