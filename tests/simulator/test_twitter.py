"""X API v2, as UPSTREAMS describes it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from html import unescape
from typing import Any

import pytest
from starlette.testclient import TestClient

from tbcache.models import Limit
from tbcache.simulator.stream import Stream
from tbcache.simulator.twitter import TwitterDialect
from tests.simulator import ask
from tests.simulator.conftest import START, Clock


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _all(client: TestClient, **params: Any) -> list[dict[str, Any]]:
    """Every post of every page."""
    rows: list[dict[str, Any]] = []
    while True:
        page = ask.twitter(client, **params).json()
        rows += page.get("data", [])
        if "next_token" not in page["meta"]:
            return rows
        params["next_token"] = page["meta"]["next_token"]


def test_without_fields_only_the_default_ones_come(client: TestClient) -> None:
    """A provider that forgets tweet.fields gets no times, here as there."""
    page = ask.twitter(client).json()
    assert page["meta"]["result_count"] == len(page["data"]) == 10
    assert all(set(row) == {"id", "text", "edit_history_tweet_ids"} for row in page["data"])
    assert "includes" not in page


def test_fields_and_expansions_are_honoured(client: TestClient) -> None:
    """Authors come beside the posts and are joined by id."""
    fields = {"tweet.fields": "created_at", "expansions": "author_id", "user.fields": "verified"}
    page = ask.twitter(client, **fields).json()
    users = {user["id"]: user for user in page["includes"]["users"]}
    assert all(row["author_id"] in users and row["created_at"].endswith(".000Z") for row in page["data"])
    assert set(next(iter(users.values()))) == {"id", "name", "username", "verified"}


def test_pages_cover_the_span_once_and_newest_first(client: TestClient, clock: Clock) -> None:
    """A refresh that pages must neither lose nor repeat a post, even while new ones arrive."""
    span = {"start_time": _iso(START - 86_400), "max_results": 100, "tweet.fields": "created_at"}
    first = ask.twitter(client, **span).json()
    clock.advance(3600)
    rest = _all(client, **span, next_token=first["meta"]["next_token"])
    times = [row["created_at"] for row in (*first["data"], *rest)]
    assert len(times) == len(
        Stream(7, "twitter", "AAPL", TwitterDialect.per_day).between(START - 86_400, START)
    )
    assert len({row["id"] for row in (*first["data"], *rest)}) == len(times)
    assert times == sorted(times, reverse=True)
    assert datetime.fromisoformat(times[-1]).timestamp() >= START - 86_400


def test_since_id_gives_only_what_is_new(client: TestClient, clock: Clock) -> None:
    """Posts cost money: a refresh pays only for new ones."""
    newest = ask.twitter(client).json()["meta"]["newest_id"]
    assert ask.twitter(client, since_id=newest).json() == {"meta": {"result_count": 0}}
    clock.advance(7200)
    fresh = _all(client, since_id=newest, max_results=100)
    assert 0 < len(fresh) < 100
    assert all(int(row["id"]) > int(newest) for row in fresh)


def test_until_id_and_end_time_are_exclusive(client: TestClient) -> None:
    """Off-by-one here shows as a repeated post at each page border."""
    page = ask.twitter(client, **{"tweet.fields": "created_at"}).json()
    third = page["data"][2]
    assert ask.twitter(client, until_id=third["id"]).json()["data"][0]["id"] == page["data"][3]["id"]
    before = ask.twitter(client, end_time=third["created_at"]).json()
    assert before["data"][0]["id"] == page["data"][3]["id"]


def test_an_empty_result_has_no_data_key(client: TestClient) -> None:
    """The one shape that a parser written against full pages trips over."""
    assert ask.twitter(client, "$ZZZQ").json() == {"meta": {"result_count": 0}}


def test_texts_are_escaped_and_carry_the_cashtag(client: TestClient) -> None:
    """Scoring `&amp;` as a word is a mistake only escaped texts reveal."""
    texts = [row["text"] for row in _all(client, max_results=100, start_time=_iso(START - 86_400))]
    assert any("&amp;" in text for text in texts)
    assert not any("& " in text for text in texts)
    assert all("$AAPL" in unescape(text) for text in texts)


def test_the_same_post_is_the_same_in_every_process(simulator: Callable[..., TestClient]) -> None:
    """A restarted simulator, or a second one, must not look like new posts; another seed must."""
    first, second, other = (ask.twitter(simulator(seed=seed)).json()["data"] for seed in (7, 7, 8))
    assert first == second
    assert first != other


@pytest.mark.parametrize(
    ("params", "parameter"),
    [
        ({"max_results": 9}, "max_results"),
        ({"max_results": 101}, "max_results"),
        ({"start_time": _iso(START - 7 * 86_400 - 5)}, "start_time"),
        ({"start_time": "yesterday"}, "start_time"),
        ({"end_time": _iso(START)}, "end_time"),
        ({"since_id": "1000"}, "since_id"),
        ({"next_token": "nonsense!"}, "next_token"),
        ({"tweet.fields": "mood"}, "tweet.fields"),
        ({"query": "x" * 513}, "query"),
        ({"max_result": 10}, "max_result"),
    ],
)
def test_a_bad_parameter_is_a_400_that_names_it(
    client: TestClient, params: dict[str, Any], parameter: str
) -> None:
    """A provider that asks wrongly must learn it here and not from the real API."""
    answer = ask.twitter(client, **params)
    assert answer.status_code == 400
    assert answer.json()["title"] == "Invalid Request"
    assert list(answer.json()["errors"][0]["parameters"]) == [parameter]


def test_seven_days_back_is_allowed_to_the_second(client: TestClient) -> None:
    """hours=168 is promised to users; its start_time must not be refused."""
    assert ask.twitter(client, start_time=_iso(START - 7 * 86_400)).status_code == 200


def test_a_wrong_token_is_an_unauthorized_problem(client: TestClient) -> None:
    """The body is what tells a provider apart from a throttled one."""
    answer = client.get("/twitter/2/tweets/search/recent?query=$A", headers={"Authorization": "Bearer no"})
    assert answer.status_code == 401
    assert answer.headers["content-type"].startswith("application/problem+json")
    expected = {"title": "Unauthorized", "detail": "Unauthorized", "type": "about:blank", "status": 401}
    assert answer.json() == expected


def test_the_window_is_fixed_and_all_of_it_comes_back_at_once(
    simulator: Callable[..., TestClient], clock: Clock
) -> None:
    """X says when its window ends; who comes back then has the whole limit again, and nothing before."""
    client = simulator(limits={"twitter": [Limit(3, 900)]})
    first = ask.twitter(client)
    clock.advance(800)
    headers = [ask.twitter(client).headers for _ in range(2)]
    assert {each["x-rate-limit-reset"] for each in (first.headers, *headers)} == {str(int(START + 900))}
    assert [each["x-rate-limit-remaining"] for each in (first.headers, *headers)] == ["2", "1", "0"]
    refused = ask.twitter(client)
    assert (refused.status_code, refused.headers["x-rate-limit-remaining"]) == (429, "0")
    clock.at = float(refused.headers["x-rate-limit-reset"])
    assert [ask.twitter(client).status_code for _ in range(4)] == [200, 200, 200, 429]
    assert client.get("/_stats").json()["twitter"]["max_in_window"] == {"3/15m": 7}


def test_a_503_has_a_body(client: TestClient) -> None:
    """tweepy shows its title; a parser must not take it for an empty page."""
    client.post("/_faults", json={"twitter": {"outage": True}})
    answer = ask.twitter(client)
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert (answer.status_code, answer.json()["title"]) == (503, "Service Unavailable")


def test_the_basic_plan_has_no_cashtag_operator(simulator: Callable[..., TestClient]) -> None:
    """The provider's fallback query exists for this plan."""
    client = simulator(plans={"twitter": "basic"})
    refused = ask.twitter(client, "$AAPL")
    assert refused.status_code == 400
    assert "cashtag" in refused.json()["errors"][0]["message"]
    assert ask.twitter(client, '"$AAPL" OR AAPL').json()["meta"]["result_count"] == 10


def test_counts_add_up_to_what_search_finds(client: TestClient) -> None:
    """Asking how many costs less than reading them, and is only of use when it is true."""
    span = {"start_time": _iso(START - 86_400)}
    url = "/twitter/2/tweets/counts/recent"
    counts = client.get(url, params={"query": "$AAPL", **span}, headers=ask.BEARER).json()
    total = counts["meta"]["total_tweet_count"]
    assert total == sum(bucket["tweet_count"] for bucket in counts["data"]) == len(_all(client, **span))
    assert len(counts["data"]) == 24
