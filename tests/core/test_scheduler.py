"""Pre-warming: what is due, once, in its own lane."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from scheduler.due import Look, due_of, needed_of
from scheduler.leader import Leader
from scheduler.prewarm import Prewarm
from tbcache.admission import Go, Settlement
from tbcache.models import Failure
from tbcache.queue import Queue
from tbcache.queue.script import queue_keys
from tbcache.settings import Settings
from tbcache.store import Store
from tests.blocking import Admission
from tests.core.conftest import ask
from tests.server import wait_until

pytestmark = pytest.mark.every_server

CREDENTIALS = {"TBCACHE_TWITTER__BEARER_TOKEN": "t", "TBCACHE_COMMON_SYMBOLS": "AAPL,MSFT"}


@pytest.fixture
def warm_settings(settings_for: object, server: object) -> Settings:
    loaded: Settings = settings_for(server, **CREDENTIALS)  # type: ignore[operator]
    return loaded


@pytest.fixture
def prewarm(store: Store, warm_settings: Settings) -> Prewarm:
    return Prewarm(store, Queue(store, warm_settings), warm_settings)


def due(prewarm: Prewarm, source: str = "twitter") -> list[str]:
    return [one.request.symbol for one in prewarm.due() if one.request.source == source]


def settle(admission: Admission, symbol: str, settlement: Settlement, ttl: float = 300.0) -> None:
    verdict = admission.admit(ask(symbol, replace(ask().source, cache_ttl=ttl)))
    assert isinstance(verdict, Go)
    admission.settle(verdict.grant, settlement)


def test_what_is_missing_is_due(prewarm: Prewarm) -> None:
    """A cold start warms everything that is on, and nothing that is off."""
    assert due(prewarm) == ["AAPL", "MSFT"]
    assert due(prewarm, "stocktwits") == ["AAPL", "MSFT"]
    assert due(prewarm, "news") == []


def test_what_is_fresh_is_not(prewarm: Prewarm, admission: Admission) -> None:
    """Nothing is fetched before its time."""
    settle(admission, "AAPL", Settlement(payload=b"1"))
    assert due(prewarm) == ["MSFT"]


def test_what_is_about_to_expire_is(prewarm: Prewarm, admission: Admission) -> None:
    """And the job asks for more freshness than is left, so that it is no hit."""
    settle(admission, "AAPL", Settlement(payload=b"1"), ttl=12.0)
    [one] = [one for one in prewarm.due() if one.request.symbol == "AAPL" and one.request.source == "twitter"]
    assert 11 < one.needed < 14


def test_refreshes_of_answers_that_came_together_are_spread(prewarm: Prewarm, store: Store) -> None:
    """A burst of fills must not become a burst of refreshes for ever."""
    source = ask().source
    now = round(time.time() * 1e6)
    requests = [replace(ask().request, symbol=f"S{number}") for number in range(40)]
    planned = [needed_of(source, request, now + 45_000_000, now) is not None for request in requests]
    assert 10 < sum(planned) < 40


def looks(**left: float) -> list[Look]:
    """Answers that are fresh for so many seconds more, from a moment of 1000 s on."""
    request = ask().request
    return [
        Look(replace(request, symbol=symbol), round((1000 + each) * 1e6) if each >= 0 else 0, 0)
        for symbol, each in left.items()
    ]


def planned(**left: float) -> list[tuple[tuple[str, ...], float]]:
    source = replace(ask().source, pack=3)
    return [(due.request.symbols, due.needed) for due in due_of(source, looks(**left), 1_000_000_000)]


def test_what_one_request_can_ask_for_goes_together() -> None:
    """Ten symbols in ten requests cost ten times the limit; nothing that is needed is still a hit."""
    assert planned(AAPL=10, TSLA=100, NVDA=16, GME=149) == [
        (("AAPL", "NVDA", "TSLA"), 101.0),
        (("GME",), 150.0),
    ]
    assert planned(AAPL=10, TSLA=151) == [(("AAPL",), 11.0)]
    assert planned(AAPL=16, TSLA=100) == []


def test_what_was_never_fetched_goes_by_itself() -> None:
    """It needs all its hours, which would be read of all others as well."""
    assert planned(AAPL=-1, TSLA=-1, NVDA=0) == [(("AAPL",), 0.0), (("TSLA",), 0.0), (("NVDA",), 1.0)]


def test_what_failed_lately_is_left_alone(prewarm: Prewarm, admission: Admission) -> None:
    """Its back-off holds for the scheduler too."""
    settle(admission, "AAPL", Settlement(failure=Failure("unavailable", "down", 503, None), pages=1))
    assert due(prewarm) == ["MSFT"]


def test_two_runs_queue_once(prewarm: Prewarm, store: Store, warm_settings: Settings) -> None:
    """The second finds the first's jobs."""
    assert prewarm.run() == 4
    assert prewarm.run() == 0
    depth = Queue(store, warm_settings).depth("twitter")
    assert (depth.prewarm, depth.interactive) == (2, 0)


def test_one_of_two_schedulers_leads(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two on one Redis warm once; when the leader goes, the other takes over."""
    one, two = Leader(store, "one"), Leader(store, "two")
    assert one.is_mine()
    assert not two.is_mine()
    assert one.is_mine()
    one.resign()
    assert two.is_mine()
    two.resign()
    monkeypatch.setattr("scheduler.leader.LEASE_MS", 100)
    assert one.is_mine()
    wait_until(two.is_mine)


def test_what_is_damaged_in_one_source_leaves_no_other_cold(prewarm: Prewarm, store: Store) -> None:
    """A lease that says nothing sensible, or a queue of another type, is one source's trouble."""
    lease = store.keys.lease("twitter:AAPL:24")
    store.client.hset(lease, mapping={"retry_at": "banana", "since": "\x1b["})
    store.client.expire(lease, 60)
    assert {due.request.symbol for due in prewarm.due()} >= {"AAPL", "MSFT"}
    first = prewarm._sources[0].name
    broken = store.keys.queue(first, "jobs")
    store.client.set(broken, "no hash", ex=60)
    assert prewarm.run() > 0
    store.client.unlink(*queue_keys(store.keys, first))
