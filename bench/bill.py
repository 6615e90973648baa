"""What we say a source has cost, and what it bills."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from bench import fleet
from bench.table import Bar, Table
from tbcache.admission import Admission
from tbcache.fetch import Pipeline
from tbcache.models import Limit
from tbcache.models.error import BudgetExhausted, RateLimited
from tbcache.monitoring import UsageMonitor
from tbcache.providers.twitter import TwitterProvider
from tbcache.settings import BUILT_IN, Settings
from tbcache.store import Store
from tests.server import Server
from tests.upstream import running_simulator

SYMBOLS = ("AAPL", "TSLA", "NVDA", "MSFT", "GME", "AMD", "META", "AMZN")
THREADS = 2
#: So short that every round reads the posts of the last one again.
TTL = 0.05
BUDGET = 2.0
SOURCE = replace(
    BUILT_IN["twitter"], limits=(Limit(100_000, 60.0),), cache_ttl=TTL, stale_ttl=0.0, missing=()
)
PAGE = SOURCE.price.per_page


@dataclass(frozen=True)
class Part:
    """One process's fetches, and those that the budget refused."""

    fetched: int
    refused: int


@dataclass(frozen=True)
class Seen:
    """Money in US dollars. ``read`` counts the posts that were served, repeats included."""

    fetched: int
    refused: int
    read: int
    reckoned: float
    billed: float
    status: dict[str, int]

    @property
    def off_by(self) -> float:
        return abs(self.reckoned - self.billed) / self.billed if self.billed else float("inf")


def work(process: int, start: float, variables: dict[str, str], rounds: int, budget: float | None) -> Part:
    """One process: every symbol so many times, by each of its threads."""
    settings = Settings.load({**variables, "TBCACHE_LOCAL_CACHE_BYTES": "0"})
    store = Store(settings)
    monitor = UsageMonitor(store, settings)
    own = settings.source("twitter")
    assert own.base_url is not None
    provider = TwitterProvider(replace(SOURCE, base_url=own.base_url, daily_budget=budget), own)
    provider.persist_to_db = False
    wired: Any = provider
    wired.pipeline = Pipeline(Admission(store, settings, monitor))
    wired.usage_monitor = monitor
    fetched: list[str] = []
    refused: list[str] = []

    def loop(thread: int) -> None:
        for number in range(rounds * len(SYMBOLS)):
            symbol = SYMBOLS[(number + process * THREADS + thread) % len(SYMBOLS)]
            try:
                provider.fetch(symbol, patience=1.0)
                fetched.append(symbol)
            except BudgetExhausted:
                refused.append(symbol)
            except RateLimited:
                continue

    fleet.in_threads(start, THREADS, loop)
    provider.pipeline.close()
    provider.client.close()
    monitor.flush()
    monitor.leave()
    store.close()
    return Part(len(fetched), len(refused))


def run(workers: fleet.Fleet, rounds: int, budget: float | None) -> Seen:
    """The fleet against a simulator of its own, and a server of its own."""
    server = Server().start()
    try:
        with running_simulator(limits={"twitter": "100000/1m"}, latency=(0.01, 0.05)) as upstream:
            variables = {"REDIS_URL": server.url, **upstream.variables}
            parts = workers.run(work, variables, rounds, budget)
            stats = upstream.stats()["twitter"]
        settings = Settings.load(variables)
        store = Store(settings)
        metrics = UsageMonitor(store, settings).get_source_metrics("twitter")
        store.close()
    finally:
        server.close()
    return Seen(
        fetched=sum(part.fetched for part in parts),
        refused=sum(part.refused for part in parts),
        read=stats["items_served"],
        reckoned=metrics.cost_today,
        billed=stats["billed"],
        status=stats["by_status"],
    )


def table(*, is_quick: bool) -> Table:
    """The table, in about 25 seconds; in 8 when ``is_quick``."""
    with fleet.start() as workers:
        return measure(workers, 1 if is_quick else 4)


def measure(workers: fleet.Fleet, rounds: int) -> Table:
    """Without a budget, and with one."""
    found = Table(
        "The bill",
        f"{workers.size} processes x {THREADS} threads fetch {len(SYMBOLS)} symbols of the simulated "
        f"twitter, {rounds} times each, with a TTL of {TTL * 1000:g} ms: a post costs $0.005 once a UTC day, "
        f"however often it is read; a page ${PAGE:.2f} at most.",
        ["budget", "fetches", "refused by the budget", "posts read", "reckoned", "billed"],
    )
    for budget in (None, BUDGET):
        seen = run(workers, rounds, budget)
        found.rows.append(row(budget, seen))
        found.bars += bars(budget, seen)
    return found


def row(budget: float | None, seen: Seen) -> list[str]:
    return [
        "-" if budget is None else f"${budget:.2f}",
        str(seen.fetched),
        str(seen.refused),
        str(seen.read),
        f"${seen.reckoned:.3f}",
        f"${seen.billed:.3f}",
    ]


def bars(budget: float | None, seen: Seen) -> list[Bar]:
    if budget is None:
        return [Bar("reckoned within 1% of the bill", f"{seen.off_by:.2%}", seen.off_by <= 0.01)]
    over = (seen.billed - budget) / PAGE
    return [
        Bar(
            "a day's budget is overshot by a page at most",
            f"{over:.2f} pages",
            over <= 1 and seen.refused > 0,
        ),
        Bar("reckoned within 1% of the bill, with a budget", f"{seen.off_by:.2%}", seen.off_by <= 0.01),
    ]
