"""The limits over HTTP."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from starlette.testclient import TestClient

from tbcache.monitoring import UsageMonitor
from tbcache.rate_limiter import RateLimiter
from tbcache.settings import BUILT_IN, Settings, get_source
from tbcache.store import Store
from tests.server import Server

PATH = "/api/monitoring/rate-limits"


def test_every_source_is_listed_with_every_limit(
    server: Server, settings_for: Callable[..., Settings], client_for: Callable[..., TestClient]
) -> None:
    """The tightest limit hides the others; an operator needs to see which one bites."""
    client = client_for(settings_for(server, TBCACHE_TWITTER__LIMITS="300/15m,10000/1d"))
    answer = client.get(PATH).json()
    assert set(answer["sources"]) == set(BUILT_IN)
    limits = answer["sources"]["twitter"]["limits"]
    assert [(one["limit"], one["allowed"], one["window_seconds"]) for one in limits] == [
        ("300/15m", 300, 900),
        ("10000/1d", 10000, 86400),
    ]


def test_slots_in_use_are_shown_and_looking_takes_none(
    client: TestClient, store: Store, settings: Settings
) -> None:
    """A dashboard that is open all day must not eat the limit it shows."""
    limiter = RateLimiter(get_source("reddit", settings), store)
    limiter.check_rate_limit(cost=60)
    for _ in range(3):
        reddit = client.get(PATH).json()["sources"]["reddit"]
    limit = reddit["limits"][0]
    assert (limit["used"], limit["remaining"]) == (60, 0)
    assert limit["is_limited"] is True
    assert reddit["is_limited"] is True
    assert reddit["closed_until"] is None
    reset_at = datetime.fromisoformat(limit["reset_at"])
    assert timedelta(0) < reset_at - datetime.now(UTC) <= timedelta(seconds=60)
    # The same as `tbcache limits --json` has: there is nothing to wait for.
    (free,) = client.get(PATH).json()["sources"]["stocktwits"]["limits"]
    assert (free["used"], free["reset_at"]) == (0, None)


def test_each_limit_has_its_own_figures(client: TestClient, store: Store, settings: Settings) -> None:
    """Beside an hour that is used up the minute has room: that nothing goes is said of the source."""
    client.post("/api/limits/reddit/set", json={"limits": "60/1m,1/1h"})
    RateLimiter(get_source("reddit", settings), store).check_rate_limit()
    reddit = client.get(PATH).json()["sources"]["reddit"]
    rows = {
        one["limit"]: (one["count"], one["used"], one["remaining"], one["is_limited"], one["reason"])
        for one in reddit["limits"]
    }
    assert rows == {"60/1m": (60, 1, 59, False, None), "1/1h": (1, 1, 0, True, "limit 1")}
    minute, hour = (
        next(one["reset_at"] for one in reddit["limits"] if one["limit"] == limit) for limit in rows
    )
    assert reddit["is_limited"] is True
    assert datetime.fromisoformat(max(minute, hour)) - datetime.fromisoformat(min(minute, hour)) > timedelta(
        minutes=58
    )
    page = client.get("/source/reddit").text
    assert page.count("<dt>Next may go</dt>") == 2
    assert "<dt>Next may go</dt><dd>now</dd>" not in page, "not in either window"


def test_a_source_that_is_off_names_what_turns_it_on(client: TestClient) -> None:
    """The first question of a new user is why there is no answer from Twitter."""
    sources = client.get(PATH).json()["sources"]
    assert sources["twitter"]["is_enabled"] is False
    assert sources["twitter"]["missing"] == ["TBCACHE_TWITTER__BEARER_TOKEN"]
    assert sources["stocktwits"]["is_enabled"] is True
    assert sources["stocktwits"]["missing"] == []


@pytest.mark.parametrize(("seconds", "is_closed"), [(120, True), (-1, False)])
def test_a_closure_is_shown_while_it_lasts(
    client: TestClient, store: Store, seconds: int, is_closed: bool
) -> None:
    """What the upstream refused to one is refused to all, and until when is what matters."""
    until = time.time() + seconds
    key = store.keys.state("news")
    closure = {"closed_until": int(until * 1e6), "closed_reason": "quota"}
    store.client.hset(key, mapping=closure)
    store.client.expire(key, 60)
    news = client.get(PATH).json()["sources"]["news"]
    if is_closed:
        assert datetime.fromisoformat(news["closed_until"]).timestamp() == pytest.approx(until, abs=0.01)
        assert news["closed_reason"] == "quota"
        assert news["is_limited"] is True
    else:
        assert news["closed_until"] is None
        assert news["is_limited"] is False


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_closure_lasts_by_the_servers_clock(
    client: TestClient, store: Store, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    """The API's machine may be an hour off: what it shows is what the fleet goes by."""
    ahead = timedelta(hours=hours)
    monkeypatch.setattr("tbcache.api.source.utc_now", lambda: datetime.now(UTC) + ahead, raising=False)
    key, (seconds, _) = store.keys.state("news"), store.client.time()
    for until, is_closed in ((seconds + 1800, True), (seconds - 1800, False)):
        store.client.hset(key, mapping={"closed_until": until * 1_000_000, "closed_reason": "quota"})
        store.client.expire(key, 60)
        news = client.get(PATH).json()["sources"]["news"]
        assert (news["closed_until"] is not None) is is_closed


def test_without_redis_the_share_of_this_process_is_shown(
    private_server: Server, settings_for: Callable[..., Settings], client_for: Callable[..., TestClient]
) -> None:
    """The limits still hold without Redis, and the answer says on what ground."""
    client = client_for(settings_for(private_server))
    private_server.kill()
    answer = client.get(PATH)
    assert answer.status_code == 200
    assert answer.json()["is_available"] is False
    limit = answer.json()["sources"]["twitter"]["limits"][0]
    assert limit["allowed"] == 300
    assert "Redis is away" in limit["reason"]
    # A dashboard that reads the figures alone must not see a limit that is free.
    assert [limit[name] for name in ("used", "remaining", "reset_at", "is_limited")] == [None] * 4
    assert answer.json()["sources"]["twitter"]["is_limited"] is None


def test_the_limits_in_force_are_shown_beside_those_of_the_api_itself(
    server: Server, settings_for: Callable[..., Settings], store_for: Callable[..., Store], client: TestClient
) -> None:
    """The strictest of all processes holds, whatever the API was started with."""
    strict = settings_for(server, TBCACHE_REDDIT__LIMITS="5/1m")
    worker = store_for(server, TBCACHE_REDDIT__LIMITS="5/1m")
    monitor = UsageMonitor(worker, strict)
    monitor.keep_beating("worker")
    assert RateLimiter(get_source("reddit", strict), worker).check_rate_limit()[0]
    reddit = client.get(PATH).json()["sources"]["reddit"]
    assert ([one["limit"] for one in reddit["limits"]], reddit["configured"]) == (["5/1m"], ["60/1m"])
    page = client.get("/metrics").text
    assert 'tbcache_slots_limit{source="reddit",window="1m"} 5' in page
    # Of a process that is not heard for a moment, as on a busy machine, what it may take counts as used.
    assert re.search(r'tbcache_slots_used\{source="reddit",window="1m"\} [1-5]\.0\n', page)
    monitor.leave()
