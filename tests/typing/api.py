"""Calls a user makes, for mypy --strict: what it must accept, and the types it must see.

Never run; tests/test_public_api.py has it checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, assert_type

import tbcache
from tbcache import asyncio as aio
from tbcache import cache, monitoring, rate_limiter
from tbcache.cache import CacheManager
from tbcache.models import Failure
from tbcache.monitoring import SourceMetrics, UsageMonitor

# any function

quotes = tbcache.source("alphavantage", limits="5/1m,500/1d", ttl=60)
assert_type(quotes, tbcache.FunctionSource)


@quotes.fetcher
def quote(symbol: str, currency: str = "USD") -> list[float]:
    return [1.5]


@quotes.fetcher(ttl=5, cost=2, name="later", patience=1.0)
async def quote_later(symbol: str) -> dict[str, float]:
    return {"price": 1.5}


class Client:
    @quotes.fetcher
    def quote(self, symbol: str) -> float:
        return 1.5

    @quotes.fetcher()
    async def quote_later(self, symbol: str) -> float:
        return 1.5


assert_type(quote("AAPL", currency="EUR"), list[float])
assert_type(quote.outcome("AAPL"), tbcache.FetcherOutcome[list[float]])
assert_type(quote.outcome("AAPL").value, list[float] | None)
assert_type(quote.outcome("AAPL").age, float | None)
assert_type(quote.outcome("AAPL").error, Exception | None)
assert_type(quote.peek("AAPL"), list[float] | None)
assert_type(quote.refresh("AAPL"), list[float])
assert_type(quote.invalidate("AAPL"), bool)
assert_type(quote.prewarm(["AAPL", ("MSFT", "EUR"), {"symbol": "GME"}]), int)
assert_type(quote.cache_key("AAPL"), str)
assert_type(quote.enqueue("AAPL"), tbcache.QueuedCall[list[float]])
assert_type(quote.enqueue("AAPL").result(timeout=5.0), list[float])
assert_type(quote.enqueue("AAPL").explain(), tbcache.Explanation)
assert_type(quote.enqueue("AAPL").message.message_id, str)
assert_type(Client().quote("AAPL"), float)
assert_type(Client().quote.outcome("AAPL").value, float | None)
quote(1)  # type: ignore[arg-type]
quote.outcome()  # type: ignore[call-arg]
Client().quote()  # type: ignore[call-arg]


async def use_quotes() -> None:
    assert_type(await quote_later("AAPL"), dict[str, float])
    assert_type(await quote_later.outcome("AAPL"), tbcache.FetcherOutcome[dict[str, float]])
    assert_type(await quote_later.peek("AAPL"), dict[str, float] | None)
    assert_type(await quote_later.prewarm(["AAPL"]), int)
    job = await quote_later.enqueue("AAPL")
    assert_type(job, tbcache.AsyncQueuedCall[dict[str, float]])
    assert_type(await job.result(), dict[str, float])
    assert_type(await Client().quote_later("AAPL"), float)


# fetching

provider = tbcache.get_provider("twitter")
assert_type(provider, tbcache.Provider)
outcome = provider.fetch("AAPL", hours=24, patience=5.0)
assert_type(outcome, tbcache.Outcome)
assert_type(outcome.as_of, datetime)
assert_type(outcome.age, float)
assert_type(outcome.complete, bool)
assert_type(outcome.covered_hours, float)
assert_type(outcome.error, Failure | None)
assert_type(outcome.sentiment, tbcache.SymbolSentiment)
assert_type(outcome.sentiment.score, float | None)
assert_type(provider.get_sentiment("AAPL", 24), tbcache.SymbolSentiment | None)
assert_type(tbcache.history("AAPL", "twitter", outcome.as_of, outcome.as_of, 60), tbcache.History)
assert_type(tbcache.get_symbol("AAPL", sources=["twitter"], min_coverage=0.5), tbcache.CombinedSentiment)
assert_type(provider.parse(tbcache.RawResponse(200, {}, b"{}")), tbcache.Page)
assert_type(provider.cache_ttl, float)
assert_type(provider.persist_to_db, bool)


class Optimist:
    """A scorer needs no base class."""

    name = "optimist"
    version = "1"

    def score(self, texts: Sequence[str]) -> list[float]:
        return [1.0 for _ in texts]


scorer: tbcache.Scorer = Optimist()
provider.analyzer = scorer

# queueing

handle = tbcache.enqueue("reddit", "GME", hours=24)
assert_type(handle, tbcache.Handle)
assert_type(handle.is_new, bool)
assert_type(handle.result(timeout=5), tbcache.Outcome)
assert_type(handle.explain(), tbcache.Explanation)
with tbcache.caller("desk/bot-1"):
    handle = tbcache.enqueue("reddit", "GME", caller="desk/bot-2")
handle = tbcache.enqueue("reddit", "GME", fresh_after=datetime.now(UTC))
handles = tbcache.enqueue_many([tbcache.FetchRequest("reddit", "GME")])
assert_type(handles, list[tbcache.Handle])
assert_type(handles[0].starts_at, datetime | None)

# cache

manager = cache.get_cache_manager()
assert_type(manager, CacheManager)
assert_type(manager.set("key", {"any": "thing"}, ttl=60), bool)
assert_type(manager.get("key"), Any)
assert_type(manager.exists("key"), bool)
assert_type(manager.delete("key"), bool)
assert_type(manager.clear_pattern("key:*"), int)
assert_type(manager.get_ttl("key"), int | None)


@tbcache.cached(ttl=60, key_prefix="price")
def price(symbol: str) -> float:
    return 1.0


@tbcache.cached
async def name_of(symbol: str) -> str:
    return symbol


class Desk:
    @tbcache.cached(ttl=60)
    def position(self, symbol: str) -> int | None:
        return None


async def use() -> None:
    assert_type(price("AAPL"), float)
    assert_type(await name_of("AAPL"), str)
    assert_type(Desk().position("AAPL"), int | None)
    assert_type(price.cache_key("AAPL"), str)
    price.invalidate("AAPL")
    price(1)  # type: ignore[arg-type]


# limits

limiter = rate_limiter.get_rate_limiter("twitter")
assert_type(limiter.check_rate_limit(limit=300, window_seconds=900), tuple[bool, tbcache.RateLimitStatus])
assert_type(limiter.wait_if_needed(max_wait=1.0), tbcache.RateLimitStatus)
assert_type(limiter.get_status(), tbcache.RateLimitStatus)
assert_type(limiter.get_status().reset_at, datetime)
limiter.reset()
with limiter.slot() as held:
    assert_type(held, tbcache.RateLimitStatus)

# usage

monitor = monitoring.get_usage_monitor()
assert_type(monitor, UsageMonitor)
monitor.record_request("twitter", success=True, cached=False, cost=0.01)
assert_type(monitor.get_source_metrics("twitter"), SourceMetrics)
assert_type(monitor.get_source_metrics("twitter").cache_hit_rate, float)
assert_type(monitor.get_usage_summary(), dict[str, Any])

# settings and errors

assert_type(tbcache.get_settings(), tbcache.Settings)
try:
    handle.result()
except tbcache.RateLimited as error:
    assert_type(error.retry_at, datetime)
    assert_type(error.retry_after, float)
except tbcache.UpstreamQuotaExhausted as error:
    assert_type(error.until, datetime | None)
except tbcache.UpstreamError as error:
    assert_type(error.retry_at, datetime | None)
    assert_type(error.kind, str)


async def awaited() -> None:
    """The same names, awaited."""
    provider = aio.get_provider("twitter")
    assert_type(await provider.fetch("AAPL", 24, patience=1.0), tbcache.Outcome)
    assert_type(await provider.get_sentiment("AAPL"), tbcache.SymbolSentiment | None)
    assert_type(await aio.get_symbol("AAPL", 24), tbcache.CombinedSentiment)

    manager = aio.get_cache_manager()
    assert_type(await manager.set("key", 1, ttl=60), bool)
    assert_type(await manager.get_or_load("key", load_later, ttl=60), int)
    assert_type(await manager.clear_pattern("key:*", wait=False), int)

    limiter = aio.get_rate_limiter("any_name")
    assert_type(
        await limiter.check_rate_limit(limit=1, window_seconds=60), tuple[bool, tbcache.RateLimitStatus]
    )
    async with limiter.slot(limit=1, window_seconds=60, max_wait=1.0) as status:
        assert_type(status, tbcache.RateLimitStatus)

    monitor = aio.get_usage_monitor()
    monitor.record_request("any_name", success=True, cost=0.01)
    assert_type(await monitor.get_source_metrics("any_name"), SourceMetrics)

    handle = await aio.enqueue("reddit", "GME")
    assert_type(await handle.result(timeout=1.0), tbcache.Outcome)
    assert_type(await aio.enqueue_many([tbcache.FetchRequest("reddit", "GME")]), list[aio.Handle])

    assert_type(await sector_later("AAPL"), str)
    assert_type(sector_later.cache_key("AAPL"), str)


async def load_later() -> int:
    return 1


@aio.cached
async def sector_later(symbol: str) -> str:
    return "Technology"
