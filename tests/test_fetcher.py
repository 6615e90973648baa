"""Any function as what fetches from a source: cached, loaded once for the fleet, inside the limits."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.message import Message
from email.utils import format_datetime
from pathlib import Path
from typing import Any, TypedDict
from zoneinfo import ZoneInfo

import httpx2
import msgspec
import pytest
from pydantic import BaseModel, Field, SecretStr, field_serializer, field_validator

import tbcache
from tbcache import FetcherOutcome, TbcacheWarning, get_cache_manager, get_rate_limiter, get_usage_monitor
from tbcache.fetch import get_pipeline
from tbcache.fetch.function import value as value_module
from tbcache.fetch.function.shape import shape
from tbcache.fleet import Fleet
from tbcache.io.deadline import until
from tbcache.models.error import (
    AnswerPending,
    BudgetExhausted,
    ConfigurationError,
    InvalidRequest,
    RateLimited,
    UpstreamError,
    UpstreamNotFound,
    UpstreamThrottled,
)
from tbcache.monitoring import UsageMonitor
from tbcache.settings import get_settings
from tbcache.store import get_store
from tests.cli.command import clean_environment
from tests.providers.wire import answering
from tests.server import Server, sending, sent_here, wait_until
from tests.task import SECONDS


class Quote(BaseModel):
    """As an upstream has it: its field is called otherwise there."""

    price: float = Field(alias="05. price")
    at: datetime


@dataclass
class Bar:
    high: float
    low: float


class Tick(msgspec.Struct):
    price: float


class Row(TypedDict):
    price: float


DAY = timedelta(days=1)
QUOTE = Quote(**{"05. price": 1.5, "at": datetime(2026, 1, 5, tzinfo=UTC)})


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may answer late, and Redis would be away for a moment."""
    monkeypatch.setenv("TBCACHE_REDIS_TIMEOUT", "10")


@pytest.fixture
def redis_server(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """This process, with Redis."""
    monkeypatch.setenv("REDIS_URL", server.url)
    yield server
    get_pipeline().close()
    get_usage_monitor().leave()


@pytest.fixture(params=["redis", "nothing"])
def _fleet(request: pytest.FixtureRequest) -> Iterator[None]:
    """This process, with Redis and without any."""
    if request.param == "redis":
        request.getfixturevalue("redis_server")
    yield
    get_pipeline().close()
    get_usage_monitor().leave()


@pytest.fixture
def quotes() -> tbcache.FunctionSource:
    return tbcache.source("alphavantage", limits="20/1m,500/1d", ttl=60)


# The shortest way in


@pytest.mark.usefixtures("_fleet")
def test_a_call_is_cached_by_its_arguments_however_they_are_given(quotes: tbcache.FunctionSource) -> None:
    """One request is what a value costs, for whoever asks and however it is written down."""
    calls = []

    @quotes.fetcher
    def quote(symbol: str, currency: str = "USD") -> float:
        calls.append((symbol, currency))
        return 1.5

    assert (
        quote("AAPL") == quote(symbol="AAPL") == quote("AAPL", "USD") == quote("AAPL", currency="USD") == 1.5
    )
    quote("AAPL", "EUR")
    assert calls == [("AAPL", "USD"), ("AAPL", "EUR")]
    assert list(inspect.signature(quote).parameters) == ["symbol", "currency"]
    assert quote.cache_key("AAPL") == (
        "alphavantage:test_a_call_is_cached_by_its_arguments_however_they_are_given.<locals>.quote:"
        'symbol="AAPL",currency="USD"@770b52'
    )


@pytest.mark.usefixtures("_fleet")
def test_an_outcome_says_where_a_value_comes_from(quotes: tbcache.FunctionSource) -> None:
    """A price without its age is no price."""

    @quotes.fetcher
    def quote(symbol: str) -> float:
        return 1.5

    assert quote.outcome("AAPL") == FetcherOutcome(1.5, "live", 0.0, None)
    again = quote.outcome("AAPL")
    assert (again.value, again.origin, again.error) == (1.5, "cache", None)
    assert again.age is not None
    assert 0 <= again.age < 60


@pytest.mark.usefixtures("_fleet")
def test_a_value_is_peeked_at_refreshed_and_forgotten(quotes: tbcache.FunctionSource) -> None:
    """What a trader needs beside a cache: to look without cost, to insist, and to drop."""
    prices = iter([1.0, 2.0, 3.0])

    @quotes.fetcher
    def quote(symbol: str) -> float:
        return next(prices)

    assert quote.peek("AAPL") is None
    assert (quote("AAPL"), quote.peek("AAPL")) == (1.0, 1.0)
    assert (quote.refresh("AAPL"), quote("AAPL")) == (2.0, 2.0)
    assert (quote.invalidate("AAPL"), quote.peek("AAPL"), quote.invalidate("AAPL")) == (True, None, False)
    assert quote("AAPL") == 3.0


@pytest.mark.usefixtures("redis_server")
def test_prewarming_takes_its_part_of_the_limit_and_no_more() -> None:
    """Whoever asks for a value goes before whoever might."""
    source = tbcache.source("alphavantage", limits="10/1m")

    @source.fetcher
    def quote(symbol: str, currency: str = "USD") -> float:
        if symbol == "BAD":
            raise LookupError(symbol)
        return 1.5

    quote("AAPL")
    assert quote.prewarm(["AAPL", "MSFT", "BAD", ("GME", "EUR"), {"symbol": "GME"}]) == 3
    assert quote.peek("GME", "EUR") == quote.peek("GME") == 1.5
    with pytest.raises(TypeError):
        quote.prewarm(["NVDA", ("NVDA", "USD", "x")])
    for one in ("NVDA", {"symbol": "NVDA"}):
        with pytest.raises(TypeError, match="which is one call: give it a list"):
            quote.prewarm(one)
    assert quote.peek("NVDA") is None


def test_prewarming_leaves_room_for_those_who_ask(redis_server: Server) -> None:
    """By the share that all prewarming of the fleet has."""
    source = tbcache.source("alphavantage", limits="10/1m")

    @source.fetcher(patience=0.0)
    def quote(number: int) -> int:
        return number

    assert quote.prewarm(range(20)) == 7
    assert [quote.outcome(number).origin for number in range(20, 24)] == ["live"] * 3 + [None]


@pytest.mark.usefixtures("redis_server")
def test_a_method_is_called_on_its_instance_and_shared_by_all(quotes: tbcache.FunctionSource) -> None:
    """A client of one's own is mostly an object; its value is the upstream's."""

    class Client:
        def __init__(self, price: float) -> None:
            self.price = price

        @quotes.fetcher
        def quote(self, symbol: str) -> float:
            return self.price

        @quotes.fetcher
        async def later(self, symbol: str) -> float:
            return self.price

    assert (Client(1.0).quote("AAPL"), Client(2.0).quote("AAPL")) == (1.0, 1.0)
    assert Client(2.0).quote.outcome("AAPL").origin == "cache"
    assert (Client(2.0).quote.refresh("AAPL"), Client(3.0).quote.peek("AAPL")) == (2.0, 2.0)
    assert Client.quote.cache_key("AAPL") == Client(1.0).quote.cache_key("AAPL")
    assert asyncio.run(Client(3.0).later("AAPL")) == 3.0


def plus_one(number: int) -> int:
    return number + 1


class Adder:
    def plus_two(self, number: int) -> int:
        return number + 2


def test_a_fetcher_goes_to_another_process_by_its_name(
    quotes: tbcache.FunctionSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As any function does, for a pool of processes to call."""
    monkeypatch.setitem(globals(), "plus_one", quotes.fetcher(plus_one))
    monkeypatch.setattr(Adder, "plus_two", quotes.fetcher(Adder.plus_two))
    assert pickle.loads(pickle.dumps(plus_one)) is plus_one  # noqa: S301 -- our own bytes
    assert pickle.loads(pickle.dumps(Adder().plus_two))(1) == 3  # noqa: S301 -- as above


@pytest.mark.usefixtures("redis_server")
def test_a_fetcher_may_be_cached_and_be_another_sources(quotes: tbcache.FunctionSource) -> None:
    """As a function may, sync or async: a broker's data behind a gateway that has limits of its own."""
    gateway = tbcache.source("gateway", limits="20/1m")

    def quote(symbol: str) -> float:
        return 1.5

    async def later(symbol: str) -> float:
        return 2.5

    sync, waiting = quotes.fetcher(quote), quotes.fetcher(later)
    assert (gateway.fetcher(sync)("AAPL"), sync.peek("AAPL")) == (1.5, 1.5)
    assert asyncio.run(gateway.fetcher(waiting)("AAPL")) == 2.5
    assert tbcache.cached(key_prefix="kept")(sync)("AAPL") == 1.5
    assert asyncio.run(tbcache.cached(key_prefix="awaited")(waiting)("AAPL")) == 2.5
    assert [get_rate_limiter(name).get_status().used for name in ("gateway", "alphavantage")] == [2, 2]


@pytest.mark.usefixtures("redis_server")
def test_an_object_that_is_called_by_async_code_is_awaited(quotes: tbcache.FunctionSource) -> None:
    """Its coroutine was taken for what it returns: a slot was used, and a TypeError raised."""

    class Client:
        async def __call__(self, symbol: str) -> float:
            return 4.5

    quote = quotes.fetcher(name="quote")(Client())
    assert asyncio.run(quote("AAPL")) == 4.5
    assert asyncio.run(tbcache.cached(key_prefix="client")(Client())("AAPL")) == 4.5


def test_a_fetcher_is_made_once(quotes: tbcache.FunctionSource) -> None:
    """Twice around a function it would wait for itself; and it says what it is."""

    def quote(symbol: str) -> float:
        return 1.5

    fetch = quotes.fetcher(name="quote")(quote)
    assert repr(fetch) == "<Fetcher alphavantage:quote>"
    with pytest.raises(
        InvalidRequest, match="<Fetcher alphavantage:quote> fetches from alphavantage already"
    ):
        quotes.fetcher(fetch)


def test_a_key_may_be_chosen(quotes: tbcache.FunctionSource) -> None:
    """Some arguments mean the same to the upstream, and some are no part of the question."""

    @quotes.fetcher(name="quote", key=lambda symbol, session: symbol.upper())
    def quote(symbol: str, session: object) -> float:
        return 1.5

    assert quote.cache_key("aapl", session=object()) == 'alphavantage:quote:"AAPL"@770b52'
    assert quote.cache_key("x" * 1000, session=None).startswith("alphavantage:quote:#")
    assert (quote("aapl", session=object()), quote.outcome("AAPL", session=None).origin) == (1.5, "cache")


# The fleet


@contextlib.contextmanager
def forked(work: Callable[[], bool]) -> Iterator[None]:
    """A child of this process, which must find ``work`` true by the end of the block."""
    child, ended = os.fork(), False
    if child == 0:
        code = 1
        try:
            code = 0 if work() else 2
        finally:
            os._exit(code)

    def end() -> tuple[int, int] | None:
        found, status = os.waitpid(child, os.WNOHANG)
        return (found, os.waitstatus_to_exitcode(status)) if found else None

    try:
        yield
        found = wait_until(end, 60, "the child's end")
        ended = True
        assert found == (child, 0)
    finally:
        if not ended:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def test_two_processes_that_want_the_same_make_one_load(
    redis_server: Server, quotes: tbcache.FunctionSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is what a fleet is for: the second bot waits for the first one's answer, and pays nothing."""
    monkeypatch.setenv("TBCACHE_LEASE_SECONDS", "120")
    get_settings.cache_clear()
    asked, has_joined, store = [], threading.Event(), get_store()

    def answer(connection: socket.socket, request: bytes) -> None:
        asked.append(request.split()[1])
        has_joined.wait(60)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\n1.5")

    with answering(answer) as url, ThreadPoolExecutor(1) as pool:

        @quotes.fetcher
        def quote(symbol: str) -> str:
            return httpx2.get(f"{url}/{symbol}", timeout=60).text

        lease = store.keys.lease(quote.cache_key("AAPL"))
        try:
            with forked(lambda: quote("AAPL") == "1.5"):
                mine = pool.submit(quote, "AAPL")
                wait_until(lambda: int(store.client.hget(lease, "waiters") or 0), 60, "one joining the other")
                has_joined.set()
                assert mine.result(60) == "1.5"
        finally:
            has_joined.set()
    assert asked == [b"/AAPL"]


@pytest.mark.usefixtures("_fleet")
def test_what_exceeds_the_limit_says_when_it_may_be_asked_again() -> None:
    """No call goes upstream beyond it, whichever function makes it."""
    source = tbcache.source("alphavantage", limits="3/1m")

    @source.fetcher(patience=0.0)
    def quote(symbol: str) -> float:
        return 1.5

    @source.fetcher(patience=0.0, cost=2)
    def history(symbol: str) -> list[float]:
        return [1.5]

    assert (history("AAPL"), quote("AAPL")) == ([1.5], 1.5)
    with pytest.raises(RateLimited) as caught:
        quote("MSFT")
    assert 0 < caught.value.retry_after <= 61
    assert isinstance(quote.outcome("MSFT").error, RateLimited)
    assert (quote("AAPL"), get_rate_limiter("alphavantage").check_rate_limit()[0]) == (1.5, False)


def test_a_source_of_functions_is_in_every_view(redis_server: Server) -> None:
    """Whoever looks at the fleet sees what it asks of whom, also from another process."""
    source = tbcache.source("alphavantage", limits="5/1m,500/1d", cost_per_request=0.25)

    @source.fetcher
    def quote(symbol: str) -> float:
        return 1.5

    quote("AAPL")
    quote("AAPL")
    monitor = get_usage_monitor()
    monitor.flush()
    now = datetime.now(UTC)
    days = [monitor.get_source_metrics("alphavantage", day) for day in (now, now - DAY)]
    figures = [(day.requests_today, day.hits_today, day.pages_today, day.cost_today) for day in days]
    assert tuple(map(sum, zip(*figures, strict=True))) == (2, 1, 1, 0.25)
    assert "alphavantage" in monitor.get_source_names()
    [seen] = [
        one for one in Fleet(get_settings(), get_store()).status().sources if one.name == "alphavantage"
    ]
    assert [(str(one.limit), one.used) for one in seen.limits] == [("5/1m", 1), ("500/1d", 1)]
    assert get_rate_limiter("alphavantage").get_status().used == 1


def test_its_last_minutes_are_told_apart_from_its_day(redis_server: Server) -> None:
    """A source that fails now is a trouble, whatever it did this morning."""
    source = tbcache.source("alphavantage", limits="100000/1m")

    @source.fetcher
    def quote(symbol: str) -> float:
        return 1.5

    def has_recent() -> bool:
        quote.refresh("AAPL")
        return get_usage_monitor().get_recent_metrics("alphavantage").misses > 0

    wait_until(has_recent, what="a figure of the last minutes")


@pytest.mark.parametrize("name", ["alphavantage", "stocktwits"])
def test_a_first_call_that_is_refused_is_told_at_once(
    redis_server: Server, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A bot that cron starts asks once, with a wrong key, and is gone before its next beat."""
    monkeypatch.setattr(UsageMonitor, "beat", lambda monitor, role, **told: None)
    source = tbcache.source(name, **({} if name == "stocktwits" else {"limits": "20/1m"}))

    @source.fetcher
    def quote(symbol: str) -> float:
        raise HTTPError(Response(401, {}))

    assert quote.outcome("AAPL").error is not None
    status = Fleet(get_settings(), get_store()).status()
    assert [(one.kind, one.source) for one in status.troubles] == [("failing", name)]


def test_an_error_that_is_stated_costs_nothing(redis_server: Server) -> None:
    """What came of any other call nobody knows, so it counts as a bound."""
    source = tbcache.source("alphavantage", limits="20/1m", cost_per_request=0.25)

    @source.fetcher
    def quote(symbol: str) -> float:
        if symbol == "GME":
            # What is asked in the handler may have been answered, and billed, and not be what was expected.
            try:
                raise HTTPError(Response(429, {"Retry-After": "0"}))
            except HTTPError:
                raise KeyError("price")  # noqa: B904
        raise HTTPError(Response(404, {})) if symbol == "NONE" else ConnectionResetError

    for symbol, cost in (("NONE", 0.0), ("AAPL", 0.25), ("GME", 0.5)):
        assert quote.outcome(symbol).origin is None
        today = datetime.now(UTC)
        days = [get_usage_monitor().get_source_metrics("alphavantage", day) for day in (today, today - DAY)]
        assert sum(day.cost_today for day in days) == sum(day.uncertain_cost_today for day in days) == cost


@pytest.mark.parametrize("how", ["httpx2", "socket", "requests"])
def test_what_was_not_sent_costs_nothing(redis_server: Server, how: str) -> None:
    """A network that is down for minutes would spend the day's budget, with no bill behind it."""
    source = tbcache.source("alphavantage", limits="50/1m", cost_per_request=1.0, daily_budget=2.0)
    with socket.socket() as taken:
        # Nobody listens there, and nobody else gets it meanwhile.
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]

        @source.fetcher
        def quote(number: int) -> int:
            if how == "socket":
                socket.create_connection(("127.0.0.1", port))
            if how == "httpx2":
                httpx2.get(f"http://127.0.0.1:{port}/")
            raise ConnectionError(OutOfTries(NewConnectionError("nobody is there")))

        outcomes = [quote.outcome(number) for number in range(4)]
    assert not any(isinstance(one.error, BudgetExhausted) for one in outcomes)
    get_usage_monitor().flush()
    assert get_usage_monitor().get_source_metrics("alphavantage").cost_today == 0.0


class NewConnectionError(Exception):
    """Named as that of urllib3, which is no dependency."""


class OutOfTries(Exception):
    """What requests has in hand, with the reason of the last try."""

    def __init__(self, reason: Exception) -> None:
        super().__init__()
        self.reason = reason


def test_a_fetcher_within_another_waits_no_longer_than_the_outer_one_may_send(redis_server: Server) -> None:
    """Its slot would have left the window by then, and what it sends would be in none."""
    outer = tbcache.source("alphavantage", limits="5/1m")
    inner = tbcache.source("betavantage", limits="1/6s")

    @inner.fetcher
    def token(number: int) -> int:
        return number

    @outer.fetcher
    def quote(number: int) -> float:
        with until(time.monotonic() + 0.5):
            return float(token(number))

    assert quote(0) == 0.0
    with pytest.raises(RateLimited) as refused:
        quote(1)
    assert refused.value.source == "betavantage"


def test_a_days_budget_is_kept(redis_server: Server) -> None:
    """Calls cost money, and nobody watches a bot at night."""
    source = tbcache.source("alphavantage", limits="50/1m", cost_per_request=1.0, daily_budget=2.0)

    @source.fetcher
    def quote(number: int) -> int:
        return number

    origins = [quote.outcome(number).origin for number in range(8)]
    # At midnight another day's begins.
    assert 2 <= origins.count("live") <= 4
    with pytest.raises(BudgetExhausted):
        quote(8)

    def is_told() -> bool:
        troubles = Fleet(get_settings(), get_store()).status().troubles
        return [(one.kind, one.source) for one in troubles] == [("budget", "alphavantage")]

    # At midnight another day's begins.
    wait_until(lambda: is_told() or quote.outcome(9).error is None, what="a budget that is spent")


def test_values_are_cleared_like_any_sources(redis_server: Server, quotes: tbcache.FunctionSource) -> None:
    """`tbcache cache clear` knows one rule."""
    calls = []

    @quotes.fetcher
    def quote(symbol: str) -> float:
        calls.append(symbol)
        return 1.5

    for pattern in ("alphavantage:*", "*"):
        quote("AAPL")
        assert get_cache_manager().clear_pattern(pattern) == 1
        assert quote.peek("AAPL") is None
        quote("AAPL")
    assert len(calls) == 3


def test_a_clear_is_seen_before_it_is_swept(
    redis_server: Server, quotes: tbcache.FunctionSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As that of any source: nobody is served what was just cleared."""
    monkeypatch.setattr("tbcache.cache.sweep.Sweeper.start", lambda _: None)

    @quotes.fetcher
    def quote(symbol: str) -> float:
        return 1.5

    quote("AAPL")
    get_cache_manager().clear_pattern("*", wait=False)
    assert (quote.peek("AAPL"), quote.outcome("AAPL").origin) == (None, "live")


def test_a_hit_costs_no_round_trip(redis_server: Server, quotes: tbcache.FunctionSource) -> None:
    """What this process has read a moment ago, and nobody has changed since, it need not ask for."""

    @quotes.fetcher
    def quote(symbol: str) -> dict[str, float]:
        return {"price": 1.5}

    def is_local() -> bool:
        with sending() as sent:
            assert quote("AAPL") == {"price": 1.5}
        return not sent_here(sent)

    wait_until(is_local, what="a hit of this process's own")


def test_nothing_is_called_with_a_slot_whose_time_is_over(
    redis_server: Server, quotes: tbcache.FunctionSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a process that stood still, say: the slot is given back, and another asked for."""
    may_send = iter([False, True])
    monkeypatch.setattr(get_pipeline().admission, "may_send", lambda _: next(may_send))

    @quotes.fetcher
    def quote(symbol: str) -> float:
        return 1.5

    assert quote("AAPL") == 1.5
    assert get_rate_limiter("alphavantage").get_status().used == 1
    assert next(may_send, None) is None


# Failures


@dataclass
class Response:
    """As those of httpx, httpx2 and requests are, as far as they are looked at."""

    status_code: int
    headers: dict[str, str]


class HTTPError(Exception):
    def __init__(self, response: Any) -> None:
        super().__init__("for url: https://upstream.test/?apikey=SECRET")
        self.response = response


def _by_httpx(status: int, headers: dict[str, str]) -> Any:
    request = httpx2.Request("GET", "https://upstream.test/?apikey=SECRET")
    httpx2.Response(status, headers=headers, request=request).raise_for_status()


def _by_requests(status: int, headers: dict[str, str]) -> Any:
    raise HTTPError(Response(status, headers))


def _returned(status: int, headers: dict[str, str]) -> Any:
    return httpx2.Response(status, headers=headers)


def _by_urllib(status: int, headers: dict[str, str]) -> Any:
    named = Message()
    for name, value in headers.items():
        named[name] = value
    raise urllib.error.HTTPError("https://upstream.test/?apikey=SECRET", status, "Wait", named, None)


def _by_aiohttp(status: int, headers: dict[str, str]) -> Any:
    raise ClientResponseError(status, headers)


def _from_another(status: int, headers: dict[str, str]) -> Any:
    raise UnboundLocalError("SECRET") from HTTPError(Response(status, headers))


def _in_a_group(status: int, headers: dict[str, str]) -> Any:
    raise ExceptionGroup("tasks", [ZeroDivisionError(), HTTPError(Response(status, headers))])


class ClientResponseError(Exception):
    """As that of aiohttp, which is no dependency."""

    def __init__(self, status: int, headers: dict[str, str]) -> None:
        super().__init__("SECRET")
        self.status, self.headers = status, headers


def _in(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    "refuse", [_by_httpx, _by_requests, _returned, _by_urllib, _by_aiohttp, _from_another, _in_a_group]
)
def test_a_response_that_says_wait_closes_the_source_for_all(
    redis_server: Server, refuse: Callable[..., Any]
) -> None:
    """Retry-After is said to one and meant for all, and a date is of the upstream's clock."""
    for status in (429, 503):
        for name, headers in (
            ("seconds", {"Retry-After": "40"}),
            ("date", {"Date": _in(-3600), "Retry-After": _in(-3560)}),
        ):
            source = tbcache.source(f"{name}-{status}", limits="5/1m")
            error, calls = _refused(source, lambda status=status, headers=headers: refuse(status, headers))
            assert isinstance(error, RateLimited)
            assert 20 < error.retry_after < 42
            assert "SECRET" not in str(error)
            assert get_rate_limiter(source.source.name).get_status().is_limited
            assert calls == ["AAPL"]


def _refused(source: tbcache.FunctionSource, refuse: Callable[[], Any]) -> tuple[Exception | None, list[str]]:
    """What a call finds after one that was refused, and what the function was called with."""
    calls = []

    @source.fetcher(patience=0.0)
    def quote(symbol: str) -> float:
        calls.append(symbol)
        found: float = refuse()
        return found

    assert quote.outcome("AAPL").value is None
    return quote.outcome("MSFT").error, calls


@pytest.mark.usefixtures("redis_server")
def test_requests_that_were_tried_in_vain_close_the_source_as_well() -> None:
    """What the upstream said of when to come back is lost there, but not that it refused."""
    source = tbcache.source("alphavantage", limits="5/1m")
    tried = OutOfTries(Exception("too many 429 error responses"))
    error, calls = _refused(source, lambda: (_ for _ in ()).throw(ConnectionError(tried)))
    assert isinstance(error, RateLimited)
    assert calls == ["AAPL"]


@pytest.mark.usefixtures("redis_server")
def test_a_refusal_by_another_upstream_that_is_being_handled_closes_nothing() -> None:
    """As where the caller turns to this source because the other has refused."""
    source = tbcache.source("alphavantage", limits="5/1m")
    try:
        _by_requests(429, {"Retry-After": "40"})
    except HTTPError:
        error, calls = _refused(source, lambda: 1 / 0)
    assert isinstance(error, ZeroDivisionError)
    assert calls == ["AAPL", "MSFT"]


@pytest.mark.usefixtures("redis_server")
@pytest.mark.parametrize("is_meant", [True, False])
def test_a_refusal_that_the_function_was_handling_closes_the_source(is_meant: bool) -> None:
    """Few write `raise ... from`; whoever writes `from None` says that the two have nothing in common."""
    source = tbcache.source("alphavantage", limits="5/1m")

    def refuse() -> None:
        try:
            _by_requests(429, {"Retry-After": "40"})
        except HTTPError:
            if is_meant:
                raise ZeroDivisionError  # noqa: B904
            raise ZeroDivisionError from None

    error, calls = _refused(source, refuse)
    assert isinstance(error, RateLimited) == is_meant
    assert calls == (["AAPL"] if is_meant else ["AAPL", "MSFT"])


@pytest.mark.usefixtures("redis_server")
@pytest.mark.parametrize("is_handled", [True, False])
@pytest.mark.parametrize("is_told", [True, False, None])
def test_what_the_fetcher_of_another_source_meets_closes_that_alone(
    is_handled: bool, is_told: bool | None
) -> None:
    """It was taken for an answer of the upstream whose function called it."""
    source, others = tbcache.source("alphavantage", limits="5/1m"), tbcache.source("rates", limits="5/1m")

    @others.fetcher
    def rate() -> Any:
        if is_told:
            raise tbcache.UpstreamThrottled("alpha", "slow down")
        return Response(429, {"Retry-After": "40"}) if is_told is None else _by_requests(429, {})

    def ask() -> None:
        try:
            rate()
        except (HTTPError, tbcache.UpstreamError):
            if is_handled:
                raise ZeroDivisionError  # noqa: B904
            raise

    error, calls = _refused(source, ask)
    assert not isinstance(error, RateLimited) or error.source == "rates"
    assert calls == ["AAPL", "MSFT"]
    assert tbcache.get_rate_limiter("rates").get_status().reason


@pytest.mark.usefixtures("redis_server")
def test_of_what_an_error_was_raised_from_only_a_refusal_counts() -> None:
    """That the upstream knows no such thing was the answer to another request. And a cause may be its own."""
    source = tbcache.source("alphavantage", limits="5/1m")

    @source.fetcher
    def quote(symbol: str) -> float:
        error = ZeroDivisionError("SECRET")
        error.__cause__ = HTTPError(Response(404, {}))
        error.__cause__.__cause__ = error
        raise error

    assert isinstance(quote.outcome("AAPL").error, ZeroDivisionError)
    assert type(quote.outcome("AAPL").error) is UpstreamError


@pytest.mark.usefixtures("_fleet")
def test_what_a_function_raises_is_its_callers_and_others_know_its_kind(
    quotes: tbcache.FunctionSource,
) -> None:
    """No exception of ours stands for yours; and the same failure is not met twice in a row."""
    calls = []

    @quotes.fetcher
    def quote(symbol: str) -> float:
        calls.append(symbol)
        raise HTTPError(Response(404, {})) if symbol == "NONE" else ZeroDivisionError("SECRET")

    with pytest.raises(ZeroDivisionError):
        quote("AAPL")
    with pytest.raises(UpstreamError, match=r"quote\(\) raised ZeroDivisionError") as caught:
        quote("AAPL")
    assert "SECRET" not in str(caught.value)
    assert isinstance(quote.outcome("NONE").error, HTTPError)
    assert isinstance(quote.outcome("NONE").error, UpstreamNotFound)
    assert calls == ["AAPL", "NONE"]


@pytest.mark.usefixtures("_fleet")
@pytest.mark.parametrize("words", ["no \ud83d", LookupError("no \ud83d")])
def test_a_failure_with_half_a_character_is_known_to_all(quotes: tbcache.FunctionSource, words: Any) -> None:
    """An upstream's JSON may have it. Who asked got a UnicodeEncodeError, and asked again each time."""
    calls = []

    @quotes.fetcher
    def quote(symbol: str) -> float:
        calls.append(symbol)
        raise UpstreamNotFound("alphavantage", words)

    for said in ("no \ud83d", r"no \?"):
        with pytest.raises(UpstreamNotFound, match=said):
            quote("NONE")
    assert calls == ["NONE"]


@pytest.mark.usefixtures("_fleet")
def test_a_call_that_asks_for_itself_is_told_so(quotes: tbcache.FunctionSource) -> None:
    """It waited for itself until its slot was over, and another worker was to blame."""

    @quotes.fetcher
    def quote(symbol: str) -> float:
        return mean(symbol)

    def mean(symbol: str) -> float:
        return quote(symbol)

    with pytest.raises(AnswerPending, match="the very call that asks for it is still fetching it"):
        quote("AAPL")


@pytest.mark.usefixtures("_fleet")
def test_a_thread_that_a_load_has_begun_has_its_value(quotes: tbcache.FunctionSource) -> None:
    """A thread of one's own outlives the load whose context it has: it was refused, as if the load waited."""
    admission, has_joined = get_pipeline().admission, threading.Event()
    wait_for = admission.wait_for

    async def join(*args: Any) -> Any:
        has_joined.set()
        return await wait_for(*args)

    admission.wait_for = join  # type: ignore[method-assign]
    begun: list[Future[float]] = []

    @quotes.fetcher
    def quote(symbol: str) -> float:
        begun.append(pool.submit(copy_context().run, quote, symbol))
        assert has_joined.wait(SECONDS)
        return 1.5

    with ThreadPoolExecutor(1) as pool:
        assert quote("AAPL") == begun[0].result(SECONDS) == 1.5


@pytest.mark.usefixtures("redis_server")
def test_a_failure_without_words_ends_its_load(redis_server: Server, quotes: tbcache.FunctionSource) -> None:
    """Its text is somebody else's code. The lease was held until its end, and so was the slot."""

    class Wordless(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

        __repr__ = __str__

    @quotes.fetcher
    def quote(symbol: str) -> float:
        raise Wordless

    for _ in range(2):
        assert isinstance(quote.outcome("AAPL").error, Wordless | UpstreamError)
    store = get_store()
    assert not store.client.hget(store.keys.lease(quote.cache_key("AAPL")), "token")


def test_an_error_of_ours_says_what_no_status_does() -> None:
    """Some upstreams refuse with a 200 and a note."""
    source = tbcache.source("alphavantage", limits="5/1m")

    @source.fetcher(patience=0.0)
    def quote(symbol: str) -> float:
        raise UpstreamThrottled("alphavantage", "note", retry_at=datetime.now(UTC) + timedelta(seconds=40))

    with pytest.raises(UpstreamThrottled, match="note"):
        quote("AAPL")
    assert isinstance(quote.outcome("MSFT").error, RateLimited)


@pytest.mark.usefixtures("redis_server")
@pytest.mark.parametrize("moment", [4_000_000_000.0, "3", timedelta(3), datetime(2100, 1, 1)])
def test_a_refusal_counts_where_its_moment_is_none(moment: Any) -> None:
    """To go on asking would be worse than to wait for as long as we think right."""
    source = tbcache.source("alphavantage", limits="5/1m")

    @source.fetcher(patience=0.0)
    def quote(symbol: str) -> float:
        raise UpstreamThrottled("alphavantage", "note", retry_at=moment)

    with pytest.warns(TbcacheWarning, match="it should be a datetime with a time zone"):
        assert isinstance(quote.outcome("AAPL").error, UpstreamThrottled)
    assert isinstance(quote.outcome("MSFT").error, RateLimited)


class Unread(Exception):
    """Of a client whose response was not read."""

    @property
    def response(self) -> object:
        raise RuntimeError("no response was read")


@pytest.mark.usefixtures("_fleet")
@pytest.mark.parametrize("error", [StopIteration("SECRET"), Unread("SECRET")])
def test_a_function_may_raise_anything(quotes: tbcache.FunctionSource, error: Exception) -> None:
    """Whoever catches it knows it by its class, and never meets another in its place."""

    @quotes.fetcher
    def quote(symbol: str) -> float:
        raise error

    with pytest.raises(type(error)) as caught:
        quote("AAPL")
    assert caught.value is error
    assert quote.outcome("MSFT").error is error
    with pytest.raises(UpstreamError, match=rf"quote\(\) raised {type(error).__name__}$"):
        quote("AAPL")


@pytest.mark.usefixtures("_fleet")
def test_what_a_function_returns_is_looked_at_with_care(quotes: tbcache.FunctionSource) -> None:
    """A property of its class that raises is no concern of the cache's."""

    class Price(BaseModel):
        price: float

        @property
        def status_code(self) -> int:
            raise RuntimeError("no response was read")

    # Its class is none of a module, so the annotation is given as it is.
    def quote(symbol: str) -> Any:
        return Price(price=1.5)

    quote.__annotations__["return"] = Price
    assert quotes.fetcher(quote)("AAPL").price == 1.5


@pytest.mark.parametrize("reason", [None, LookupError("note")])
def test_an_error_of_ours_keeps_the_cause_it_has(
    redis_server: Server, quotes: tbcache.FunctionSource, reason: Exception | None
) -> None:
    """Alerts walk from cause to cause to the first: one that is its own cause has no end."""

    @quotes.fetcher
    def quote(symbol: str) -> float:
        raise UpstreamError("alphavantage", "note") from reason

    error = quote.outcome("AAPL").error
    assert isinstance(error, UpstreamError)
    assert error.__cause__ is reason


@pytest.mark.usefixtures("_fleet")
def test_an_old_value_stands_in_where_that_is_asked_for() -> None:
    """For as long as somebody has said; nobody trades on yesterday's price without knowing."""
    source = tbcache.source("alphavantage", limits="20/1m", ttl=0.05, stale=60)
    prices = iter([1.0])

    @source.fetcher
    def quote(symbol: str) -> float:
        return next(prices)

    assert quote("AAPL") == 1.0
    wait_until(lambda: quote.outcome("AAPL").origin == "stale", what="the value's growing old")
    wait_until(lambda: quote.outcome("AAPL").error is not None, what="the refresh's failing")
    kept = quote.outcome("AAPL")
    assert (kept.value, kept.origin, quote("AAPL")) == (1.0, "stale", 1.0)
    assert isinstance(kept.error, UpstreamError)


def test_without_that_an_old_value_is_no_value(redis_server: Server) -> None:
    """The default: better no number than an old one without a mark."""
    source = tbcache.source("alphavantage", limits="20/1m", ttl=0.05)
    prices = [1.0]

    @source.fetcher
    def quote(symbol: str) -> float:
        return prices.pop()

    assert quote("AAPL") == 1.0
    # The server's clock counts: what looks old here may be fresh there for a moment.
    wait_until(lambda: quote.outcome("AAPL").error is not None, what="the value's growing old")
    assert quote.outcome("AAPL").origin is None


# Values


def _values(source: tbcache.FunctionSource) -> list[tuple[Any, Any]]:
    def model() -> Quote:
        return QUOTE

    def models() -> list[Quote]:
        return [QUOTE]

    def maybe(is_there: bool = False) -> Quote | None:
        return QUOTE if is_there else None

    def record() -> Bar:
        return Bar(2.0, 1.0)

    def struct() -> dict[str, Tick]:
        return {"AAPL": Tick(1.5)}

    def row() -> Row:
        return {"price": 1.5}

    def pair() -> tuple[str, float]:
        return "AAPL", 1.5

    def plain():  # type: ignore[no-untyped-def]
        return {"$ref": [1, 2.5, None, "x", True], "n": 2**70}

    functions: list[Callable[[], Any]] = [model, models, maybe, record, struct, row, pair, plain]
    return [(source.fetcher(one), one()) for one in functions]


def test_every_call_gives_what_the_first_gave(redis_server: Server, quotes: tbcache.FunctionSource) -> None:
    """Whether it comes from the upstream or from the cache, a value is of one type: the annotation's."""
    for fetch, value in _values(quotes):
        for origin in ("live", "cache", "cache"):
            found = fetch.outcome()
            assert (found.value, found.origin) == (value, origin)
            assert type(found.value) is type(value)
        assert fetch.peek() == value


def test_nobody_changes_what_another_gets(redis_server: Server, quotes: tbcache.FunctionSource) -> None:
    """Each caller has a value of his own."""

    @quotes.fetcher
    def prices() -> list[float]:
        return [1.5]

    for _ in range(4):
        prices().append(0.0)
    assert prices() == [1.5]


@pytest.mark.usefixtures("redis_server")
def test_what_is_no_plain_json_and_not_annotated_is_refused() -> None:
    """The second call would give something else than the first."""
    source = tbcache.source("alphavantage", limits="50/1m")
    values = [object(), (1, 2), {1: 2}, [Bar(2.0, 1.0)], float("nan"), {1, 2}, "\ud800"]

    @source.fetcher(name="look")
    def look(number: int):  # type: ignore[no-untyped-def]
        return values[number]

    for number in range(len(values)):
        with pytest.raises(TypeError, match=r"look\(\) returned a .* that cannot be cached .*annotate"):
            look(number)
        assert look.peek(number) is None


class Answer(TypedDict):
    raw: Any


@dataclass
class Report:
    raw: dict[str, Any]
    note: Any = None


NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


def _annotated(values: list[tuple[Any, Any]]) -> Iterator[tuple[tbcache.Fetcher[[], Any], Any]]:
    """Functions that return these values, by the annotations beside them."""
    source = tbcache.source("alphavantage", limits="50/1m")
    for number, (annotation, value) in enumerate(values):

        def look(value: Any = value) -> Any:
            return value

        look.__annotations__["return"] = annotation
        yield source.fetcher(name=f"look{number}", key=lambda value: ())(look), value


CHANGING: list[tuple[Any, Any]] = [
    (dict, {1: 1.5}),
    (dict, {"at": NOON}),
    (dict[str, Any], {"AAPL": (1, 2)}),
    (dict[str, object], {"AAPL": [(1, 2)]}),
    (dict[str, float], {1: 1.5}),
    (dict[datetime, Any], {NOON: (1, 2)}),
    (dict, Bar(2.0, 1.0)),
    (list, [NOON]),
    (list[Any], [{1: 2}]),
    (list | dict, [(1, 2)]),
    (dict[str, Any] | None, {"at": NOON}),
    (tuple, ((1, 2),)),
    (tuple[str, Any], ("AAPL", (1, 2))),
    (set, {NOON}),
    (Answer, {"raw": (1, 2)}),
    (Report, Report({"at": NOON})),
    (list[Report], [Report({}, note=(1, 2))]),
]


@pytest.mark.usefixtures("redis_server")
def test_what_changes_where_its_annotation_is_open_is_refused() -> None:
    """A key that has become text, or a time that has, is missed far from here."""
    for fetch, _ in _annotated(CHANGING):
        with pytest.raises(TypeError, match=r"look\(\) returned a .* that cannot be cached .*annotate"):
            fetch()
        assert fetch.peek() is None


@pytest.mark.usefixtures("redis_server")
@pytest.mark.parametrize(
    ("kind", "value", "part"),
    [
        (Any, {"quote": [{"at": NOON}]}, r"it['quote'][0]['at'] is a datetime"),
        (dict[str, Any], {"at": NOON}, r"it['at'] is a datetime"),
        (dict, {"bars": {1: 2}}, r"it['bars'] has the key 1"),
        (list, [1, (2,)], r"it[1] is a tuple"),
    ],
)
def test_the_part_that_json_does_not_know_is_named(kind: Any, value: Any, part: str) -> None:
    """Of a dict of forty fields one is a time."""
    source = tbcache.source("alphavantage", limits="50/1m")

    def look() -> Any:
        return value

    look.__annotations__["return"] = kind
    with pytest.raises(TypeError, match=re.escape(f"({part}, and no annotation says how to read that)")):
        source.fetcher(name="look")(look)()


class Floor(BaseModel):
    price: float | None = None
    key: SecretStr = SecretStr("")
    note: str = Field("none", exclude=True)
    notes: list[str] = Field(default_factory=list, exclude=True)
    raw: dict[str, Any] = {}
    counts: dict[str, int] = Field(default_factory=dict, exclude=True)


class Ceiling(Floor):
    price_above: float = 1.0


class Doubled(BaseModel):
    prices: dict[str, list[float]]

    @field_serializer("prices")
    def _double(self, prices: dict[str, list[float]]) -> dict[str, list[float]]:
        return {name: [2 * one for one in found] for name, found in prices.items()}


@dataclass
class Cents:
    price: float

    def __post_init__(self) -> None:
        self.price *= 100


@dataclass
class Alike:
    price: float | None = field(compare=False)


@dataclass
class Wick(Bar):
    top: float = 3.0


class Deep(Tick):
    size: int = 1


class Share(msgspec.Struct, tag=True):
    count: Any


class Coin(msgspec.Struct, tag=True):
    count: float


def _nested(deep: int) -> Any:
    return [_nested(deep - 1)] if deep else 1


#: In the hour that comes twice.
LATE = datetime(2024, 11, 3, 5, 30, tzinfo=UTC).astimezone(ZoneInfo("America/New_York"))
NAN = float("nan")


@pytest.mark.usefixtures("redis_server")
@pytest.mark.parametrize(
    ("kind", "value", "why"),
    [
        (float | None, NAN, "it is nan, which JSON cannot say, and would come back as None"),
        (dict[str, float | None], {"x": float("inf")}, "it['x'] is inf, which JSON cannot say, and would"),
        (list[Tick | None], [Tick(1.5), Deep(1.5)], "it[1] is a Deep, and would come back as a Tick"),
        (tuple[int, Floor], (1, Floor(price=NAN)), "it[1].price is nan, which JSON cannot say, and would"),
        (Floor, Floor(key=SecretStr("x")), "it.key would come back as another value, as its model writes it"),
        (Floor, Floor(note="x"), "it.note would come back as another value"),
        (Floor | None, Ceiling(), "it is a Ceiling, and would come back as a Floor"),
        (Doubled, Doubled(prices={"x": [1.0]}), "it.prices['x'][0] would come back as another value"),
        (Floor, Floor(notes=["x"]), "it.notes would come back as another value"),
        (Floor, Floor(counts={"x": 1}), "it.counts would come back as another value"),
        (Floor, Floor(raw={"at": NOON}), "it.raw['at'] would come back as another value"),
        (Floor, Floor(raw={"book": {1: 2}}), "it.raw['book'] has the key 1, and no annotation says"),
        (dict[int | str, float], {1: 1.5}, "it has the key 1, and no annotation says how to read that"),
        (dict, {"x": _nested(300)}, "it is nested too deeply"),
        (Cents, Cents(1.5), "it.price would come back as another value"),
        (list[Alike], [Alike(NAN)], "it[0].price is nan, which JSON cannot say, and would"),
        (Report, Report({}, note=NAN), "it.note is nan, which JSON cannot say, and would come back as None"),
        (dict[str, list[Bar]], {"x": [Wick(2.0, 1.0)]}, "it['x'][0] is a Wick, and would come back as a Bar"),
    ],
)
def test_what_comes_back_as_another_is_refused_under_any_annotation(kind: Any, value: Any, why: str) -> None:
    """The caller who loaded it would have that other as well: NaN as no price, stars as a key."""
    ((fetch, _),) = _annotated([(kind, value)])
    with pytest.raises(TypeError, match=re.escape(f"({why}")):
        fetch()
    assert fetch.peek() is None


@pytest.mark.usefixtures("redis_server")
def test_of_what_is_equal_not_each_part_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 50,000 bars that took as long as all the rest, twenty times over."""
    monkeypatch.setattr(value_module, "change", lambda *_: "it was looked at")
    ((fetch, _),) = _annotated([(dict[str, list[dict[str, float]]], {"AAPL": [{"close": 1.5}]})])
    assert fetch() == {"AAPL": [{"close": 1.5}]}
    ((fetch, _),) = _annotated([(dict[str, Any], {"AAPL": 1})])
    with pytest.raises(TypeError, match="it was looked at"):
        fetch()


LASTING: list[tuple[Any, Any]] = [
    (dict, {"AAPL": [1, 2.5, None, {"x": True}]}),
    (dict[str, object], {"AAPL": [1, "x"]}),
    (dict[str, Any] | None, None),
    (dict[int, Any], {1: [1, 2]}),
    (dict[datetime, tuple[int, int]], {NOON: (1, 2)}),
    (list | dict, [{"x": 1}]),
    (tuple[str, Any], ("AAPL", [1, 2])),
    (set, {1, 2}),
    (Answer, {"raw": [1, 2]}),
    (Report, Report({"x": [1]}, note={"y": 1})),
    (Report | None, Report({})),
    (Floor, Floor(price=1.5, raw={"x": [1.5, {"y": None}]})),
    (Share | Coin, Coin(1)),
    (list[Floor | None], [Floor(), None]),
    (dict[str, Decimal | None], {"x": Decimal("1.10"), "y": None}),
    (set[int] | None, {1, 2}),
]


@pytest.mark.usefixtures("redis_server")
def test_an_open_annotation_takes_plain_json() -> None:
    """It is what most answers are, and what most people write before them."""
    for fetch, value in _annotated(LASTING):
        assert [fetch(), fetch.outcome().origin, fetch.peek()] == [value, "cache", value]


@pytest.mark.usefixtures("redis_server")
def test_a_time_in_the_hour_that_comes_twice_is_kept() -> None:
    """Python calls it unequal to the same moment in any other zone."""
    ((fetch, _),) = _annotated([(tuple[datetime, int], (LATE, 1))])
    assert fetch()[0].astimezone(UTC) == LATE.astimezone(UTC)


@pytest.mark.usefixtures("redis_server")
def test_what_does_not_fit_its_annotation_is_refused(quotes: tbcache.FunctionSource) -> None:
    """It could not be read back."""

    @quotes.fetcher
    def quote() -> Tick:
        return {"cost": 1}  # type: ignore[return-value]

    @quotes.fetcher
    def unreadable() -> Tick | Row | Bar:
        return Tick(1.5)

    with pytest.raises(
        TypeError, match=r"does not fit the annotation: Object missing required field `price`"
    ):
        quote()
    with pytest.raises(TypeError, match=r"unreadable\(\) .*cannot be cached"):
        unreadable()


class Plain:
    """Nobody can tell how to read one."""


@dataclass
class Tree:
    """One whose type has itself within it."""

    below: list[Tree]


def test_what_can_never_be_kept_is_refused_where_it_is_declared(quotes: tbcache.FunctionSource) -> None:
    """Not at the first call, which would be made, and paid for, and made again."""

    def quote() -> dict[str, list[Plain] | None]:
        return {}

    def quotes_of() -> Iterator[float]:
        yield 1.5

    def later() -> NotYetThere:  # type: ignore[name-defined]  # noqa: F821
        return 1.5

    def tree() -> Tree:
        return Tree([])

    assert quotes.fetcher(tree).cache_key()
    with pytest.raises(InvalidRequest, match=r"quote\(\) returns a Plain, .*: return plain JSON"):
        quotes.fetcher(quote)
    with pytest.raises(InvalidRequest, match=r"quotes_of\(\) yields, .*: return a list"):
        quotes.fetcher(quotes_of)
    assert quotes.fetcher(later).cache_key()


@pytest.mark.usefixtures("_fleet")
def test_versions_of_a_function_live_side_by_side(quotes: tbcache.FunctionSource) -> None:
    """While one is deployed beside the other, each loads once, not at every call until no slot is left."""
    calls = []

    @quotes.fetcher(name="quote")
    def before(symbol: str) -> Row:
        calls.append("before")
        return {"price": 1.5}

    @quotes.fetcher(name="quote")
    def after(symbol: str) -> Bar:
        calls.append("after")
        return Bar(2.0, 1.0)

    for _ in range(3):
        assert (before("AAPL"), after("AAPL")) == ({"price": 1.5}, Bar(2.0, 1.0))
    assert calls == ["before", "after"]


def _price_up_to(most: float) -> Any:
    class Price(BaseModel):
        price: float

        @field_validator("price")
        @classmethod
        def _is_sound(cls, price: float) -> float:
            if price > most:
                raise ValueError("too high")
            return price

    return Price


def test_a_value_that_is_refused_now_is_loaded_anew(
    redis_server: Server, quotes: tbcache.FunctionSource
) -> None:
    """A release must not begin with exceptions, whatever the one before has left in Redis."""
    prices = iter([2.0, 1.0])
    functions = []
    for kind in (_price_up_to(2.0), _price_up_to(1.0)):

        def quote(symbol: str, kind: Any = kind) -> Any:
            return kind(price=next(prices))

        quote.__annotations__["return"] = kind
        functions.append(quotes.fetcher(name="quote", key=lambda symbol, kind: symbol)(quote))
    before, after = functions
    assert before.cache_key("AAPL") == after.cache_key("AAPL")
    assert before("AAPL").price == 2.0
    assert after.peek("AAPL") is None
    assert (after("AAPL").price, after.outcome("AAPL").origin) == (1.0, "cache")


@dataclass
class Remarks:
    """Of which nothing says how a value is read."""

    title: str
    kinds: frozenset[str] = frozenset({"call", "put", "future"})


def test_a_shape_is_the_same_in_each_process() -> None:
    """Where it is not, nothing is shared any more, and nobody is told."""
    assert [shape(kind) for kind in (float, list[Bar], Remarks)] == ["770b52", "5fda02", "93f27f"]
    assert [shape(kind) for kind in (Any, object, Tick | Row | Bar)] == ["", "", ""]
    assert shape(Quote) not in ("", shape(Tick))


def test_an_argument_that_has_no_form_of_its_own_is_refused(quotes: tbcache.FunctionSource) -> None:
    """Two calls with it could not be told apart."""

    @quotes.fetcher
    def quote(symbol: object) -> float:
        return 1.5

    for call in (quote, quote.outcome, quote.peek, quote.refresh, quote.invalidate):
        with pytest.raises(
            TypeError, match=r"argument 'symbol' of .*quote\(\) cannot be part of a cache key"
        ):
            call(object())
        with pytest.raises(TypeError, match="argument"):
            call()  # type: ignore[call-arg]


# What a source is


@pytest.mark.parametrize(
    ("name", "variable"),
    [("1x", "1X"), ("a__b", "A_B"), ("a-_b", "A_B"), ("a.b", "A_B"), ("a_", "A")],
)
def test_each_name_is_reached_by_a_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, variable: str
) -> None:
    """Which was refused as no setting, by each process of the machine."""
    monkeypatch.setenv(f"TBCACHE_{variable}__LIMITS", "3/1m")
    assert [str(one) for one in tbcache.source(name, limits="5/1m").source.limits] == ["3/1m"]


def test_the_environment_goes_before_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs a bot knows the plan that was paid for."""
    monkeypatch.setenv("TBCACHE_ALPHA_VANTAGE__LIMITS", "75/1m")
    monkeypatch.setenv("TBCACHE_ALPHA_VANTAGE__CACHE_TTL", "5")
    source = tbcache.source("alpha-vantage", limits="5/1m,500/1d", ttl=60, stale=7).source
    assert (str(source.limits[0]), len(source.limits)) == ("75/1m", 1)
    assert (source.cache_ttl, source.stale_ttl) == (5.0, 7.0)


def test_limits_may_be_the_environments_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any there is nothing to keep to."""
    with pytest.raises(ConfigurationError, match=r"'alphavantage' has no limits: say limits="):
        tbcache.source("alphavantage")
    monkeypatch.setenv("TBCACHE_ALPHAVANTAGE__LIMITS", "5/1m")
    get_settings.cache_clear()
    assert str(tbcache.source("alphavantage").source.limits[0]) == "5/1m"


@pytest.mark.parametrize(
    ("variable", "value", "what"),
    [
        ("TBCACHE_TWITER__LIMITS", "5/1m", "did you mean TBCACHE_TWITTER__LIMITS"),
        ("TBCACHE_ALPHAVANTAGE__LIMTS", "5/1m", "did you mean TBCACHE_ALPHAVANTAGE__LIMITS"),
        ("TBCACHE_ALPHAVANTAGE__LIMITS", "5/1x", "TBCACHE_ALPHAVANTAGE__LIMITS='5/1x' is not valid"),
    ],
)
def test_a_variable_that_is_none_is_told(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, what: str
) -> None:
    """A limit that is misspelt, and so not kept to, is a ban."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError, match=what):
        tbcache.source("alphavantage", limits="5/1m")


def test_a_source_is_declared_with_one_set_of_figures() -> None:
    """Two modules that believe in different limits are one mistake, and it is told at once."""
    source = tbcache.source("alphavantage", limits="5/1m,500/1d", ttl=60)
    assert tbcache.source("alphavantage", limits="5/1m, 500/1d", ttl=60.0) is source
    assert tbcache.source("alphavantage") is source
    with pytest.raises(
        ConfigurationError, match=r"declared with other figures.*limits was 5/1m,500/1d, and is 6/1m"
    ):
        tbcache.source("alphavantage", limits="6/1m")
    with pytest.raises(ConfigurationError, match="stale was not said, and is 5 here"):
        tbcache.source("alphavantage", stale=5)


def test_a_configured_source_has_its_figures_and_takes_functions_as_well() -> None:
    """A bot's own calls of an upstream that is fetched from are inside the same limits."""
    assert str(tbcache.source("reddit").source.limits[0]) == "60/1m"
    with pytest.raises(ConfigurationError, match=r"reddit is a configured source.*TBCACHE_REDDIT__LIMITS"):
        tbcache.source("reddit", limits="5/1m")


@pytest.mark.parametrize(
    ("figures", "what"),
    [
        ({"limits": "5/1x"}, "limits"),
        ({"ttl": 0}, "ttl=0, which is not valid"),
        ({"stale": -1}, "stale=-1, which is not valid"),
        ({"daily_budget": "much"}, "daily_budget='much', which is not valid"),
        ({"ttl": True}, "ttl=True, which is not valid: it should be a number"),
        ({"ttl": "60"}, "ttl='60', which is not valid: it should be a number"),
        ({"cost_per_request": True}, "cost_per_request=True, which is not valid"),
        ({"daily_budget": 5.0}, "daily_budget without cost_per_request"),
    ],
)
def test_a_figure_that_cannot_be_one_is_told(figures: dict[str, Any], what: str) -> None:
    """At the line that says it."""
    with pytest.raises(ConfigurationError, match=what):
        tbcache.source("alphavantage", **{"limits": "5/1m", **figures})


def test_a_budget_of_what_costs_nothing_is_told_whoever_says_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sets it believes that the day is bounded."""
    monkeypatch.setenv("TBCACHE_ALPHAVANTAGE__DAILY_BUDGET", "0.5")
    with pytest.raises(ConfigurationError, match="TBCACHE_ALPHAVANTAGE__DAILY_BUDGET is never spent"):
        tbcache.source("alphavantage", limits="5/1m")
    tbcache.source("alphavantage", limits="5/1m", cost_per_request=0.01)


@pytest.mark.parametrize("name", ["", "a b", "{x}", "a:b", None])
def test_a_name_is_checked_before_it_becomes_a_key(name: Any) -> None:
    """It is a part of names in Redis, of metrics and of messages."""
    with pytest.raises(InvalidRequest, match="is not valid"):
        tbcache.source(name, limits="5/1m")


def test_a_name_that_is_nearly_a_configured_sources_is_told_once() -> None:
    """It would have limits of its own, beside those of the same upstream."""
    with pytest.warns(TbcacheWarning, match="did you mean 'twitter'") as warned:
        tbcache.source("twiter", limits="5/1m")
    assert warned[0].filename == __file__
    tbcache.source("twiter")


def test_a_variable_that_is_nearly_a_declared_sources_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit that is misspelt, and so not kept to, is a ban. But two sources may be called nearly alike."""
    monkeypatch.setenv("TBCACHE_ALPHAVANTGE__LIMITS", "1/1m")
    monkeypatch.setenv("TBCACHE_SHARD_1__LIMITS", "1/1m")
    monkeypatch.setenv("TBCACHE_SHARD_2__LIMITS", "2/1m")
    said = r"^TBCACHE_ALPHAVANTGE__LIMITS changes nothing .*did you mean TBCACHE_ALPHAVANTAGE__LIMITS\?$"
    with pytest.warns(TbcacheWarning, match=said) as warned:
        tbcache.source("alphavantage", limits="5/1m")
    assert [one.filename for one in warned] == [__file__]
    tbcache.source("alphavantage")
    tbcache.source("shard-1")
    tbcache.source("shard-2")


def test_two_sources_that_differ_in_a_word_are_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each was told of as a misspelling of the other, and refused beside one that is configured."""
    monkeypatch.setenv("TBCACHE_FEED_US__LIMITS", "1/1m")
    monkeypatch.setenv("TBCACHE_FEED2__LIMITS", "1/1m")
    monkeypatch.setenv("TBCACHE_SOURCES", "feed_jp=tests.test_custom_source:Bluesky")
    for name in ("feed-eu", "feed-us", "feed3", "feed2"):
        tbcache.source(name, limits="5/1m")
    monkeypatch.setenv("TBCACHE_FEEDS_AU__LIMITS", "1/1m")
    get_settings.cache_clear()
    with pytest.warns(TbcacheWarning, match="did you mean TBCACHE_FEED_AU__LIMITS"):
        tbcache.source("feed-au", limits="5/1m")


@pytest.mark.parametrize(
    ("url", "words"),
    [("", "no REDIS_URL is set"), ("redis://127.0.0.1:1", "Redis was not reached at redis://127.0.0.1:1")],
)
def test_a_process_that_has_reached_no_redis_says_that_its_limits_are_its_own(url: str, words: str) -> None:
    """Else a second process would send as much again, and nobody would see why the upstream refuses."""
    code = """
import tbcache
quotes = tbcache.source("alphavantage", limits="5/1m")
@quotes.fetcher
def quote(symbol):
    return 189.5
quote("AAPL"), quote("MSFT")
"""
    env = clean_environment() | ({"REDIS_URL": url} if url else {})
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr.count(words)) == (0, 1), done.stderr
    # Where no Redis is configured, no other process has to see this one.
    assert Path(env["TMPDIR"], f"tbcache-{os.geteuid()}").exists() == bool(url)


def test_a_program_that_its_own_modules_import_has_its_fetchers(tmp_path: Path) -> None:
    """It is read twice then: as `__main__`, and by its name."""
    (tmp_path / "bot.py").write_text("""
import tbcache
quotes = tbcache.source("alphavantage", limits="5/1m")
@quotes.fetcher(name="quote")
def quote(symbol):
    return 189.5
if __name__ == "__main__":
    import report
    print(report.quote is not quote, report.quote("AAPL"), quote("AAPL"))
""")
    (tmp_path / "report.py").write_text("from bot import quote\n")
    folders = tmp_path, Path(tbcache.__file__).parents[1]
    env = clean_environment() | {"PYTHONPATH": os.pathsep.join(map(str, folders))}
    done = subprocess.run([sys.executable, "-m", "bot"], env=env, capture_output=True, text=True, timeout=60)
    assert done.stdout == "True 189.5 189.5\n", done.stderr


def test_two_functions_share_no_name_by_chance(quotes: tbcache.FunctionSource) -> None:
    """Each would get the other's values."""

    def quote() -> float:
        return 1.5

    def other() -> float:
        return 2.5

    other.__qualname__, other.__module__ = quote.__qualname__, "another"
    quotes.fetcher(quote)
    quotes.fetcher(quote)  # a cell of a notebook that is run again
    with pytest.raises(InvalidRequest, match="say name= for one of them"):
        quotes.fetcher(other)
    for nameless in (lambda: 1.5, functools.partial(quote)):
        with pytest.raises(InvalidRequest, match="say name="):
            quotes.fetcher(nameless)
    assert quotes.fetcher(name="part")(functools.partial(quote))() == 1.5
    with pytest.raises(InvalidRequest, match="cost 6"):
        tbcache.source("small", "5/1m").fetcher(cost=6)(quote)
    with pytest.raises(InvalidRequest, match="patience -1 must be 0 seconds or more"):
        quotes.fetcher(patience=-1)
    with pytest.raises(InvalidRequest, match="key 'symbol' is no function"):
        quotes.fetcher(key="symbol")  # type: ignore[call-overload]
    with pytest.raises(InvalidRequest, match=r"@source\.fetcher was given 60, which is no function"):
        quotes.fetcher(60)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match=r"tbcache.source\('alphavantage'\) is a source and no decorator"):
        quotes(quote)  # type: ignore[operator]


def _price_in(source: tbcache.FunctionSource, currency: Any, **said: Any) -> tbcache.Fetcher[[str], float]:
    def rate() -> float:
        return {"USD": 1.0, "JPY": 155.0}[currency]

    @source.fetcher(**said)
    def price(symbol: str) -> float:
        return rate() if price is not None else 0.0

    return price


def test_two_functions_of_a_factory_share_no_values_by_chance(quotes: tbcache.FunctionSource) -> None:
    """A price in another currency looks like any price."""
    _price_in(quotes, "USD")
    _price_in(quotes, "USD")
    for other in ("JPY", [1.0], object()):
        with pytest.raises(InvalidRequest, match=r"price was made before, around other values.*say name="):
            _price_in(quotes, other)
    assert _price_in(quotes, "JPY", name="yen").cache_key("AAPL") == 'alphavantage:yen:symbol="AAPL"@770b52'
    # A name that is said is meant, as where what differs is a client.
    _price_in(quotes, "USD", name="yen")


def test_values_that_cannot_be_compared_are_different(quotes: tbcache.FunctionSource) -> None:
    """As two arrays are, which say of each of their items whether it is the same."""

    class Array:
        def __eq__(self, other: object) -> bool:
            raise ValueError("the truth value of an array is ambiguous")

        __hash__ = None  # type: ignore[assignment]

    array = Array()
    _price_in(quotes, array)
    _price_in(quotes, array)
    with pytest.raises(InvalidRequest, match="say name="):
        _price_in(quotes, Array())


def test_a_factory_that_is_defined_again_is_another(quotes: tbcache.FunctionSource) -> None:
    """A cell of a notebook that is changed and run again; what it makes then is compared all the same."""

    def define() -> Callable[[float], Any]:
        names: dict[str, Any] = {"quotes": quotes, "__name__": __name__}
        text = "def make(x):\n  @quotes.fetcher\n  def quote() -> float:\n    return x\n  return quote"
        exec(text, names)  # noqa: S102 -- our own text
        make: Callable[[float], Any] = names["make"]
        return make

    define()(1.0)
    make = define()
    make(2.0)
    with pytest.raises(InvalidRequest, match="say name="):
        make(3.0)


# Processes


def test_a_forked_child_fetches_as_well(redis_server: Server, quotes: tbcache.FunctionSource) -> None:
    """Web servers fork after they have imported, and perhaps asked."""

    @quotes.fetcher
    def quote(symbol: str) -> int:
        return os.getpid()

    @quotes.fetcher
    async def later(symbol: str) -> int:
        return os.getpid()

    parent = os.getpid()

    def fetches() -> bool:
        found = quote("AAPL"), quote("MSFT"), asyncio.run(later("AAPL")), asyncio.run(later("MSFT"))
        # It is one more of the fleet, with a part of the limits of its own.
        wait_until(lambda: os.getpid() in {one.pid for one in get_usage_monitor().get_workers()})
        return found == (parent, os.getpid(), parent, os.getpid())

    assert (quote("AAPL"), asyncio.run(later("AAPL"))) == (parent, parent)
    with forked(fetches):
        pass
