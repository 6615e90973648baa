"""The cache over HTTP."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from starlette.testclient import TestClient

from tbcache.cache import CacheManager
from tbcache.monitoring import UsageMonitor
from tbcache.settings import Settings
from tbcache.store import Store
from tests.server import Server

STATUS = "/api/monitoring/cache/status"
CLEAR = "/api/monitoring/cache/clear"


@pytest.fixture
def cache(store: Store) -> CacheManager:
    """A cache with three answers, of another process."""
    cache = CacheManager(store)
    for key in ("twitter:AAPL:24", "twitter:MSFT:24", "reddit:AAPL:24"):
        cache.set(key, {"score": 0.5}, ttl=60)
    return cache


def test_the_status_describes_the_shared_cache(client: TestClient, cache: CacheManager) -> None:
    """An operator looks here first."""
    status = client.get(STATUS).json()
    assert status["is_available"] is True
    assert status["reason"] is None
    assert status["keys"] == 3 + 1  # the layout
    assert status["memory_bytes"] > 0
    assert status["ping_ms"] > 0
    assert status["server_version"]
    assert status["namespace"] == "trading_bot"


def test_the_status_counts_the_hits_of_the_fleet(client: TestClient, monitor: UsageMonitor) -> None:
    """The API's own process asks for nothing, so its own hits would always be 0."""
    for cached in (True, True, True, False):
        monitor.record_request("twitter", cached=cached)
    assert monitor.flush()
    status = client.get(STATUS).json()
    assert (status["hits_today"], status["misses_today"]) == (3, 1)
    assert status["cache_hit_rate"] == 0.75


def test_the_status_says_why_redis_is_away(
    private_server: Server, settings_for: Callable[..., Settings], client_for: Callable[..., TestClient]
) -> None:
    """The status is most wanted when Redis is down."""
    client = client_for(settings_for(private_server))
    private_server.kill()
    answer = client.get(STATUS)
    assert answer.status_code == 200
    assert answer.json()["is_available"] is False
    unknown = ("keys", "hits_today", "misses_today", "cache_hit_rate")
    assert [answer.json()[name] for name in unknown] == [None] * 4
    assert "connection refused" in answer.json()["reason"]


@pytest.mark.parametrize("in_query", [True, False])
def test_clear_removes_what_matches_and_nothing_else(
    client: TestClient, cache: CacheManager, in_query: bool
) -> None:
    """Clearing one source must not cost the answers of the others."""
    what = {"pattern": "twitter:*"}
    answer = client.post(CLEAR, params=what) if in_query else client.post(CLEAR, json=what)
    assert answer.status_code == 200
    assert {name: one for name, one in answer.json().items() if one is not None} == {
        "pattern": "twitter:*",
        "count": 2,
        "cleared": 2,
        "is_done": True,
    }
    assert not cache.exists("twitter:AAPL:24")
    assert cache.exists("reddit:AAPL:24")


def test_a_dry_run_of_a_clear_tells_what_would_go(client: TestClient, cache: CacheManager) -> None:
    """Two that were cleared, and two that would be, are not the same figure; the command line has both."""
    told = client.post(CLEAR, json={"pattern": "twitter:*", "dry_run": True}).json()
    assert (told["cleared"], told["would_clear"], told["is_done"], told["hint"]) == (0, 2, False, None)
    assert [one["key"] for one in told["values"]] == ["twitter:AAPL:24", "twitter:MSFT:24"]
    assert all(one["bytes"] > 0 and one["age"] is None for one in told["values"])
    assert cache.exists("twitter:AAPL:24")


@pytest.mark.parametrize("is_dry", [True, False])
def test_a_clear_that_matches_nothing_names_the_source_that_may_be_meant(
    client: TestClient, cache: CacheManager, is_dry: bool
) -> None:
    """Who mistypes believes otherwise that the cache is empty."""
    told = client.post(CLEAR, json={"pattern": "twiter:*", "dry_run": is_dry}).json()
    assert (told["cleared"], told["hint"]) == (0, "did you mean 'twitter'?")


@pytest.mark.parametrize("more", ["dry_run=true", "patern=x", "pattern=reddit:*"])
def test_clear_throws_away_nothing_that_stands_behind_the_question_mark(
    client: TestClient, cache: CacheManager, more: str
) -> None:
    """Whoever says `dry_run` there must not lose the cache."""
    answer = client.post(f"{CLEAR}?pattern=*&{more}")
    assert (answer.status_code, "\n" in answer.json()["error"]) == (422, False)
    assert answer.json()["error"].startswith(more.partition("=")[0])
    assert client.post(f"{CLEAR}?pattern=*", json={"pattern": "x", "dry_run": True}).status_code == 422
    assert cache.exists("twitter:AAPL:24")


def test_a_star_clears_everything(client: TestClient, cache: CacheManager) -> None:
    """Everything is a wish like another, as long as it is said."""
    assert client.post(CLEAR, json={"pattern": "*"}).json()["cleared"] == 3


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("{", "body: it is no valid JSON (Expecting property name enclosed in double quotes)"),
        ("[]", "body: it should be a JSON object"),
        ('{"pattern": 1}', "pattern: it should be text"),
        ("{}", "pattern: it is missing"),
        ('{"pattern": "*", "dry": 1}', "dry: it is not known here"),
    ],
)
def test_a_body_that_is_not_understood_is_said_in_plain_words(
    client: TestClient, body: str, said: str
) -> None:
    """ "Input should be a valid dictionary or object to extract fields from" helps nobody."""
    answer = client.post(CLEAR, content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]) == (422, said)


@pytest.mark.parametrize("body", [None, {}, {"patern": "twitter:*"}, {"pattern": "*", "dry": True}])
def test_clear_does_nothing_unless_a_pattern_is_said_right(
    client: TestClient, cache: CacheManager, body: dict[str, object] | None
) -> None:
    """A slip of the hand must not empty a cache that cost money to fill."""
    answer = client.post(CLEAR, json=body) if body is not None else client.post(CLEAR)
    assert answer.status_code == 422
    assert set(answer.json()) >= {"error"}
    assert cache.exists("twitter:AAPL:24")


@pytest.mark.parametrize("pattern", ["", "x" * 257, "twitter:\n*", "a\x00b", "a\x1b[2Jb"])
@pytest.mark.parametrize("in_query", [True, False])
def test_a_bad_pattern_is_refused_in_one_line(client: TestClient, pattern: str, in_query: bool) -> None:
    """What cannot match a key is a mistake, and is called one."""
    what = {"pattern": pattern}
    answer = client.post(CLEAR, params=what) if in_query else client.post(CLEAR, json=what)
    assert answer.status_code == 422
    assert answer.json()["error"].startswith("pattern: a pattern has 1 to 256 printable characters")


def test_clear_is_not_said_to_be_done_while_redis_is_away(
    private_server: Server, settings_for: Callable[..., Settings], client_for: Callable[..., TestClient]
) -> None:
    """`cleared: 0` from an empty fallback would be a lie about what workers still serve."""
    client = client_for(settings_for(private_server))
    private_server.kill()
    answer = client.post(CLEAR, json={"pattern": "*"})
    assert answer.status_code == 503
    # Asked before anything was noted to be cleared later: a refusal must not come true afterwards.
    assert "connection refused" in answer.json()["error"]


def test_clear_is_not_said_to_be_done_when_redis_goes_away_meanwhile(
    private_server: Server,
    settings_for: Callable[..., Settings],
    client_for: Callable[..., TestClient],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The moment between looking and clearing is when it happens, sooner or later."""
    client = client_for(settings_for(private_server))
    cache: CacheManager = client.app.state.context.fleet._cache  # type: ignore[attr-defined]
    clear = cache.clear_pattern

    def clear_too_late(pattern: str) -> int:
        private_server.kill()
        return clear(pattern)

    monkeypatch.setattr(cache, "clear_pattern", clear_too_late)
    assert client.post(CLEAR, json={"pattern": "*"}).status_code == 503
