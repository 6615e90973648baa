"""What a fleet has come to, for the browser to look at: closed, dead, gone, spent."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from datetime import timedelta

import msgspec

from tbcache.cache import CacheManager
from tbcache.fleet import Fleet
from tbcache.io import utc_now
from tbcache.models import FetchRequest, SymbolSentiment
from tbcache.models.answer import Bucket, TopItem
from tbcache.models.caller import caller
from tbcache.monitoring import Heartbeat, UsageMonitor, Workload
from tbcache.queue import Queue
from tbcache.settings import Settings
from tbcache.store import Store
from tbcache.store.codec import encode_sentiment
from tbcache.store.envelope import seal
from tests.job import message

#: As many as are kept.
DEAD = 9_999
SYMBOLS = ("AAPL", "MSFT", "NVDA", "TSLA", "AMZN", "GOOGL", "META", "AMD", "SPY", "GME")


def close_source(store: Store, source: str, reason: str) -> None:
    until, since = int((time.time() + 600) * 1e6), int((time.time() - 240) * 1e6)
    closure = {"closed_until": until, "closed_reason": reason, "closed_at": since}
    store.client.hset(store.keys.state(source), mapping=closure)
    store.client.expire(store.keys.state(source), 600)


def bury(store: Store, source: str, symbol: str, reason: str, many: int = 1) -> None:
    """Dead jobs that a worker could run; of many each is of a symbol of its own."""
    part, symbols = store.keys.queue, [symbol, *(f"{symbol}{number}" for number in range(1, many))]
    messages = [message(FetchRequest(source, one), "interactive") for one in symbols]
    jobs = {f"job-{one}": each.encode() for one, each in zip(symbols, messages, strict=True)}
    store.client.zadd(part(source, "dead"), dict.fromkeys(jobs, int(time.time() * 1e6)))
    store.client.hset(part(source, "dead-jobs"), mapping=jobs)
    store.client.hset(part(source, "reasons"), mapping=dict.fromkeys(jobs, reason))
    for name in ("dead", "dead-jobs", "reasons"):
        store.client.expire(part(source, name), 600)


def keep_all(store: Store) -> None:
    """Answers of each kind for the common symbols."""
    for place, symbol in enumerate(SYMBOLS):
        for source in ("reddit", "news"):
            _keep(store, source, symbol, 24 if (place + len(source)) % 3 else 6 + place)


def _keep(store: Store, source: str, symbol: str, covered: float) -> None:
    now, is_complete = utc_now() - timedelta(seconds=40 + 7 * len(symbol)), covered == 24
    waves = [math.sin(hour / 3 + len(symbol)) / 2 + 0.1 for hour in range(24)]
    answer = SymbolSentiment(
        source,
        symbol,
        24,
        0.25,
        96,
        52,
        18,
        21,
        now,
        is_complete,
        now - timedelta(hours=covered),
        "any/1",
        None,
    )
    answer = replace(
        answer,
        reason=None if is_complete else "page_budget",
        authors=71,
        voices=88.5,
        dropped={"copy": 4.0, "tickers": 1.5},
        standard_error=0.06,
        confidence=0.91,
        buckets=tuple(Bucket(2 + hour % 5, round(wave, 2)) for hour, wave in enumerate(waves)),
        top=(
            TopItem("t3_1", now, 0.92, 0.031, "https://www.reddit.com/r/stocks/comments/1"),
            TopItem(
                "t3_2", now - timedelta(hours=5), -0.71, 0.024, "https://www.reddit.com/r/stocks/comments/2"
            ),
        ),
    )
    key = store.keys.entry(FetchRequest(source, symbol).key)
    store.client.set(key, seal(encode_sentiment(answer), int((time.time() + 300) * 1e6)), ex=600)


def populate(store: Store, settings: Settings) -> None:
    """A market day with all that is asked in the ten tasks."""
    now, queue, monitor = utc_now(), Queue(store, settings), UsageMonitor(store, settings)
    keep_all(store)
    stamps = {f"slot-{at}": (time.time() - 1.3 * at) * 1e6 for at in range(1, 40)}
    stamps["held"] = (time.time() + 100) * 1e6
    store.client.zadd(store.keys.slots("reddit"), stamps)
    store.client.expire(store.keys.slots("reddit"), 600)
    close_source(store, "reddit", "HTTP 402: pay first")
    for symbol in ("AMD", "AAPL"):
        with caller("desk/bot-1"):
            queue.enqueue(FetchRequest("reddit", symbol), fresh_after=now)
    bury(store, "news", "AAPL", "ParseError: no date", DEAD)
    bury(store, "news", "TSLA", "TimeoutError: 10 s")
    cache = CacheManager(store)
    for number in range(12):
        cache.set(f"news:{number}", number)
    cache.close()
    for name, micros in (("desk/bot-1", 1_400_000), ("research", 6_250_000)):
        with caller(name):
            monitor.callers.record("news", "live")
        monitor.callers.pay("news", name, micros)
    monitor.callers.flush()
    monitor.record_request("news", cost=7.1)
    monitor.flush()
    gone = Heartbeat("worker", 7, "far", 8, 0, (), now, now - timedelta(seconds=95), "0.1.0")
    store.client.hset(store.keys.workers, "worker-7", msgspec.json.encode(gone))
    store.client.expire(store.keys.workers, 600)
    operator = Fleet(settings, store).as_operator("ada")
    operator.pause("stocktwits", "its answers look wrong")


def beat(store: Store, settings: Settings) -> None:
    """A worker is there, for ten seconds."""
    monitor = UsageMonitor(store, settings)
    monitor.worker = "worker-1"
    work = Workload(8, 2, ("news MSFT", "reddit GME"), ("reddit", "news"), {"reddit": 0.4, "news": 0.3})
    monitor.beat("worker", started_at=utc_now(), workload=work)
