"""What limits and budgets cannot hold is said before it is missed, or paid for."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tbcache.cli.dashboard import remarks
from tbcache.fleet import Fleet
from tbcache.fleet.answer import covering, kept
from tbcache.fleet.expense import Covered, busiest, day_cost
from tbcache.models import FetchRequest, SymbolSentiment
from tbcache.models.price import Price
from tbcache.monitoring import Popularity, UsageMonitor
from tbcache.settings import BUILT_IN, Settings, shortages
from tbcache.store import Store
from tbcache.store.codec import encode_sentiment
from tbcache.store.envelope import seal
from tests.server import Server

NOON = datetime(2026, 7, 28, 12, tzinfo=UTC)
NEWS = {
    "TBCACHE_NEWS__API_KEY": "k",
    "TBCACHE_NEWS__LIMITS": "100/1d,50/12h",
    "TBCACHE_NEWS__DELAY_HOURS": "0",
}
X = BUILT_IN["twitter"]


def said(**variables: str) -> list[str]:
    return shortages(Settings.load(variables))


def test_limits_that_cannot_keep_the_symbols_warm_are_said_with_the_arithmetic() -> None:
    """NewsAPI's free plan: 10 symbols are 2,880 requests a day. One wondered why they were hours old."""
    symbols = ",".join(f"S{n}" for n in range(10))
    (line,) = said(TBCACHE_COMMON_SYMBOLS=symbols, **NEWS)
    assert line == (
        "news: 10 symbols kept warm take 2,880 requests in 86,400 s (10 each 300 s), and 70 of 100/1d are "
        "for that: each is fresh 300 s of 12,343, and no older hours are filled"
    )
    assert said(TBCACHE_COMMON_SYMBOLS=symbols, **{**NEWS, "TBCACHE_NEWS__CACHE_TTL": "20000"}) == []
    # What the plan has only later is not kept warm.
    assert said(TBCACHE_COMMON_SYMBOLS=symbols, **{**NEWS, "TBCACHE_NEWS__DELAY_HOURS": "24"}) == []
    assert said() == []


def test_symbols_that_share_a_request_count_once() -> None:
    """A limit of one in five minutes holds thirty symbols on X."""
    token = {"TBCACHE_TWITTER__BEARER_TOKEN": "t", "TBCACHE_TWITTER__DAILY_BUDGET": "5"}
    limits = {
        "TBCACHE_TWITTER__LIMITS": "2/300s",
        "TBCACHE_COMMON_SYMBOLS": ",".join(f"S{n}" for n in range(30)),
    }
    assert said(**token, **limits) == []
    (line,) = said(**token, **limits, TBCACHE_TWITTER__PACK="1")
    assert "30 each 300 s" in line


def test_what_costs_money_without_a_budget_is_said() -> None:
    """Before it is spent: what bounds it, and where it is seen what a day comes to."""
    (line,) = said(TBCACHE_TWITTER__BEARER_TOKEN="t")
    assert "TBCACHE_TWITTER__DAILY_BUDGET is not set" in line
    assert "tbcache status" in line
    assert said(TBCACHE_TWITTER__BEARER_TOKEN="t", TBCACHE_TWITTER__DAILY_BUDGET="5") == []


def entry(count: int, covered: float) -> bytes:
    since = datetime.fromtimestamp(NOON.timestamp() - covered * 3600, UTC)
    answer = SymbolSentiment(
        "twitter", "AAPL", 24, 0.1, count, 1, 0, 0, NOON, covered == 24, since, "any/1", "page_budget"
    )
    return seal(encode_sentiment(answer), int((time.time() + 60) * 1e6))


def answers(*entries: bytes) -> list[SymbolSentiment]:
    """What entries hold that are fresh."""
    return covering(kept(FetchRequest("twitter", "AAPL"), entry, 1) for entry in entries)


def test_a_day_comes_to_what_is_new_in_it() -> None:
    """At the rate of what is covered, and the requests, where these cost something."""
    found = answers(entry(100, 24), entry(50, 1), entry(7, 0), b"damaged")
    assert day_cost(X, found) == (100 + 50 * 24) * 0.005
    asked = replace(X, price=Price(per_request=0.01), pack=1)
    assert day_cost(asked, found) == 2 * 288 * 0.01
    assert day_cost(X, []) is None
    assert day_cost(replace(X, daily_budget=5.0), found) is None
    assert day_cost(BUILT_IN["stocktwits"], found) is None


def test_the_busiest_symbol_is_that_of_most_items_an_hour() -> None:
    """And not of most items: it may be known for a part of its hours alone."""
    assert busiest(answers(entry(100, 24), entry(50, 1), entry(7, 0), b"damaged")) == Covered("AAPL", 1.0, 24)
    assert busiest(answers(entry(7, 0), b"")) is None


def test_the_status_says_what_a_day_comes_to(settings_for: object, server: Server, store: Store) -> None:
    """The bill comes at the end of a month."""

    def remarked(**more: str) -> list[str]:
        settings: Settings = settings_for(server, TBCACHE_TWITTER__BEARER_TOKEN="t", **more)  # type: ignore[operator]
        return [line for line in remarks(Fleet(settings, store).status()) if "a day comes" in line]

    assert remarked() == []
    store.client.set(store.keys.entry("twitter:AAPL:24"), entry(974, 24), ex=60)
    (line,) = remarked()
    assert line.startswith("twitter: a day comes to about $4.87 at the present rate")
    assert remarked(TBCACHE_TWITTER__DAILY_BUDGET="5") == []


def test_the_status_says_what_of_the_asks_cannot_be_kept_warm(
    settings_for: object, server: Server, store: Store
) -> None:
    """Or a limit that is too small shows as misses that nobody can explain."""
    settings: Settings = settings_for(  # type: ignore[operator]
        server, TBCACHE_STOCKTWITS__LIMITS="2/300s", TBCACHE_COMMON_SYMBOLS="AAPL"
    )
    assert Fleet(settings, store).status().shortages == []
    popularity = UsageMonitor(store, settings).popularity
    for symbol in ("GME", "TSLA"):
        for _ in range(90):
            popularity.record(f"stocktwits:{symbol}:24")
    popularity.flush()
    status = Fleet(settings, store).status()
    left_out, idle = status.shortages
    assert left_out == (
        "stocktwits: 2 symbols beside the 1 listed are asked for at least 1.2 times in 300 s; 70% of 2/5m "
        "can keep 1 symbols warm: 2 are fetched when somebody asks"
    )
    assert idle.startswith("stocktwits: 1 of the 1 symbols listed are asked for less than 1.2 times in 300 s")
    assert [line for line in remarks(status) if line in status.shortages] == status.shortages


def test_what_is_asked_for_is_counted_of_so_many_symbols(
    settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks for ever new symbols must not fill the Redis that everybody needs."""
    monkeypatch.setattr(Popularity, "most_fields", 2)
    popularity = UsageMonitor(store, settings).popularity
    for symbols in (("GME",), ("GME", "TSLA", "NVDA"), ("GME", "AMD")):
        for symbol in symbols:
            popularity.record(f"stocktwits:{symbol}:24")
        popularity.flush()
    assert dict(popularity.most("stocktwits", 9)) == {"stocktwits:GME:24": 3, "stocktwits:TSLA:24": 1}
