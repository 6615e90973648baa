"""The volume of a week by X's own count, where nobody has watched for a week."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx2
import pytest

from tbcache import Outcome, get_provider, get_rate_limiter, get_usage_monitor
from tbcache.embedded.simulator import DEMO_CREDENTIALS
from tbcache.models.error import UpstreamPayloadError
from tbcache.providers.base import Provider
from tbcache.providers.client import HttpClient
from tbcache.providers.twitter_counts import NAME, parse
from tests.providers.kit import answer
from tests.server import Server

TOKEN = DEMO_CREDENTIALS["TBCACHE_TWITTER__BEARER_TOKEN"]
MINUTE = timedelta(minutes=1)


class Upstream:
    """X with one post a minute, of which a search shows the newest."""

    def __init__(self) -> None:
        self.counted: list[dict[str, str]] = []
        self.searches = 0
        self.status = 200

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        assert request.headers["authorization"] == f"Bearer {TOKEN}"
        if not request.url.path.endswith("/counts/recent"):
            self.searches += 1
            return httpx2.Response(200, json=self._search())
        self.counted.append(dict(request.url.params))
        now, start = datetime.now(UTC), datetime.fromisoformat(request.url.params["start_time"])
        # As many days as a baseline needs; X gives seven.
        start += 3 * timedelta(days=1)
        minutes = int((now - start) / MINUTE)
        rows = [_row(start + n * MINUTE, start + (n + 1) * MINUTE) for n in range(minutes)]
        rows.append(_row(start + minutes * MINUTE, now))
        return httpx2.Response(self.status, json={"data": rows, "meta": {"total_tweet_count": len(rows)}})

    def _search(self) -> dict[str, object]:
        at = datetime.now(UTC) - timedelta(seconds=40)
        post = {"id": "9", "text": "$GME up", "created_at": at.isoformat(), "author_id": "1"}
        return {"data": [post], "meta": {"result_count": 1}}


def _row(start: datetime, end: datetime, posts: int = 1) -> dict[str, object]:
    return {"start": start.isoformat(), "end": end.isoformat(), "tweet_count": posts}


@pytest.fixture
def upstream() -> Upstream:
    return Upstream()


@pytest.fixture
def twitter(server: Server, upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Provider]:
    """X with this budget for its counts."""

    def build(budget: str) -> Provider:
        for name, value in {
            "REDIS_URL": server.url,
            # On a busy machine a slow answer of Redis is no outage.
            "TBCACHE_REDIS_TIMEOUT": "10",
            "TBCACHE_PERSIST": "false",
            "TBCACHE_TWITTER__BEARER_TOKEN": TOKEN,
            "TBCACHE_TWITTER__DAILY_BUDGET": "5",
            "TBCACHE_TWITTER__COUNTS_BUDGET": budget,
        }.items():
            monkeypatch.setenv(name, value)
        provider = get_provider("twitter")
        client = HttpClient("twitter", auth=provider.auth(), transport=httpx2.MockTransport(upstream))
        provider.__dict__["client"] = client
        return provider

    return build


def watched(provider: Provider) -> Outcome:
    """The answer after what the scheduler has done in the background, which is the second load."""
    request = provider.source.request("GME", 2)
    provider.run(request)
    return provider.run(replace(request, is_deep=True), lane="prewarm", needed=1e9)


def test_a_baseline_is_bought_for_the_price_of_a_post(
    twitter: Callable[[str], Provider], upstream: Upstream
) -> None:
    """Else a bot waits three days for its first one, or reads a week of posts."""
    sentiment = watched(twitter("1")).sentiment
    volume = sentiment.volume
    # Two hours have 120 posts, less those of a quarter that has only begun.
    assert volume.baseline is not None
    assert 90 <= volume.baseline <= 120
    assert volume.day_before is not None
    # X also counts what is no voice, so that the answer says whose count it is.
    assert sentiment.volume_by_upstream
    (asked,) = upstream.counted
    assert (asked["query"], asked["granularity"]) == ("$GME -is:retweet lang:en", "minute")
    assert get_usage_monitor().get_source_metrics(NAME).cost_today == pytest.approx(0.005)


def test_counts_have_a_window_of_their_own_and_are_bought_once(
    twitter: Callable[[str], Provider], upstream: Upstream
) -> None:
    """A search must not wait for them, and a week does not change within a day."""
    provider = twitter("1")
    for _ in range(3):
        watched(provider)
    assert len(upstream.counted) == 1
    assert get_rate_limiter(NAME).get_status().used == 1
    assert get_rate_limiter("twitter").get_status().used == upstream.searches


def test_nothing_is_bought_without_a_budget(twitter: Callable[[str], Provider], upstream: Upstream) -> None:
    """Money is spent where somebody has said how much."""
    assert watched(twitter("")).sentiment.volume.baseline is None
    assert upstream.counted == []


def test_a_refusal_of_counts_costs_no_answer(twitter: Callable[[str], Provider], upstream: Upstream) -> None:
    """Not every plan has them."""
    upstream.status = 403
    found = watched(twitter("1"))
    assert (found.sentiment.count, found.sentiment.volume.baseline) == (1, None)
    assert len(upstream.counted) == 1


def test_only_quarters_of_an_hour_that_were_counted_completely_count() -> None:
    """The first and the last minute are cut off, and a quarter with them."""
    start = datetime(2026, 7, 28, 20, 14, 30, tzinfo=UTC)
    whole = [start + MINUTE / 2 + n * MINUTE for n in range(29)]
    rows = [_row(start, whole[0], 7), *(_row(at, at + MINUTE, 2) for at in whole)]
    assert list(parse(answer({"data": rows})).values()) == [30]


@pytest.mark.parametrize("body", [{}, {"data": None}, [], {"data": [1, 2]}])
def test_an_answer_without_counts_is_no_silence(body: object) -> None:
    """No posts for a week would be the loudest change of volume there is."""
    with pytest.raises(UpstreamPayloadError, match="the answer holds no counts"):
        parse(answer(body))
