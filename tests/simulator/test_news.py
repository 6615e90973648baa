"""NewsAPI, as UPSTREAMS describes it."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, get_args

import pytest
from starlette.testclient import TestClient

from tbcache.embedded.simulator import headline
from tbcache.embedded.simulator.chatter import Stance
from tbcache.models import Limit
from tests.simulator import ask
from tests.simulator.conftest import START

DAY = 86_400


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S")


@pytest.fixture
def paid(simulator: Callable[..., TestClient]) -> TestClient:
    return simulator(plans={"news": "paid"})


def test_the_free_plan_is_a_day_late(client: TestClient, paid: TestClient) -> None:
    """An empty answer for the last 24 h is what the free plan gives, and must not read as `neutral`."""
    last_day = {"from": _iso(START - DAY)}
    empty = {"status": "ok", "totalResults": 0, "articles": []}
    assert ask.news(client, **last_day).json() == empty
    assert ask.news(paid, **last_day).json()["totalResults"] > 10
    assert ask.news(client, **{"from": _iso(START - 2 * DAY)}).json()["totalResults"] > 10


@pytest.mark.parametrize(
    "headers",
    [{"X-Api-Key": "KEY"}, {"Authorization": "KEY"}, {"Authorization": "Bearer KEY"}, {}],
    ids=["X-Api-Key", "Authorization", "Bearer", "apiKey"],
)
def test_a_key_is_taken_from_every_place_that_clients_put_it_in(
    client: TestClient, headers: dict[str, str]
) -> None:
    """newsapi-python sends it bare in `Authorization`; the real API serves it."""
    (key,) = ask.NEWS_KEY.values()
    given = {name: value.replace("KEY", key) for name, value in headers.items()}
    params = {"q": "AAPL"} if headers else {"q": "AAPL", "apiKey": key}
    assert client.get("/news/v2/everything", params=params, headers=given).status_code == 200
    wrong = {name: f"{value}x" for name, value in given.items()}
    answer = client.get("/news/v2/everything?q=AAPL", headers=wrong)
    assert (answer.status_code, answer.json()["code"]) == (
        401,
        "apiKeyInvalid" if wrong else "apiKeyMissing",
    )


def test_pages_do_not_overlap(paid: TestClient) -> None:
    """Pages are numbered, so their borders are the server's to keep."""
    pages = [ask.news(paid, pageSize=20, page=page).json()["articles"] for page in (1, 2)]
    whole = ask.news(paid, pageSize=40).json()["articles"]
    assert [*pages[0], *pages[1]] == whole


def test_a_sort_is_honoured(paid: TestClient) -> None:
    """Who asks for the most relevant and takes the last one for the oldest is wrong by days."""
    span = {"from": _iso(START - 3 * DAY), "pageSize": 100}
    times = {
        sort: [
            article["publishedAt"]
            for article in ask.news(paid, "NVDA", sortBy=sort, **span).json()["articles"]
            if article["title"] != "[Removed]"
        ]
        for sort in ("publishedAt", "relevancy")
    }
    assert times["publishedAt"] == sorted(times["publishedAt"], reverse=True)
    assert times["relevancy"] != sorted(times["relevancy"], reverse=True)


def test_headlines_and_sources_are_there(client: TestClient) -> None:
    """Clients offer them beside the search; headlines are of today on every plan."""
    articles = client.get("/news/v2/top-headlines?q=NVDA", headers=ask.NEWS_KEY).json()["articles"]
    assert len(articles) == 20
    assert {article["publishedAt"][:10] for article in articles} <= {"2026-06-02", "2026-06-01", "1970-01-01"}
    assert client.get("/news/v2/top-headlines", headers=ask.NEWS_KEY).json()["code"] == "parametersMissing"
    sources = client.get("/news/v2/sources", headers=ask.NEWS_KEY).json()["sources"]
    one = sources[0]["id"]
    found = ask.news(client, "", sources=one).json()["articles"]
    assert {article["source"]["id"] for article in found if article["title"] != "[Removed]"} == {one}
    assert client.get("/news/v2/sources?language=de", headers=ask.NEWS_KEY).json()["sources"] == []


def test_two_sites_rarely_write_the_same_headline() -> None:
    """What is told word for word is a copy: the truth would count it twice, and an answer once."""
    dice = random.Random(1)
    for view in get_args(Stance):
        titles = [headline.headline(dice, view, ("NVDA",), "en") for _ in range(60)]
        assert len(set(titles)) == len(titles)


def test_names_are_understood_in_lower_case(client: TestClient) -> None:
    """newsapi-python asks for `qintitle`."""
    assert client.get("/news/v2/everything?qintitle=NVDA", headers=ask.NEWS_KEY).json()["totalResults"] > 0
    refused = client.get("/news/v2/everything?q=NVDA&colour=red", headers=ask.NEWS_KEY)
    assert (refused.status_code, refused.json()["code"]) == (400, "parameterInvalid")


def test_from_and_to_bound_what_comes(paid: TestClient) -> None:
    """The window that was asked for is the window that is scored."""
    bounds = {"from": _iso(START - 2 * DAY), "to": _iso(START - DAY)}
    times = [
        article["publishedAt"]
        for article in ask.news(paid, **bounds).json()["articles"]
        if article["title"] != "[Removed]"
    ]
    assert times == sorted(times, reverse=True)
    assert bounds["from"] <= times[-1]
    assert times[0] <= bounds["to"] + "Z"


def test_removed_articles_come_as_they_do(paid: TestClient) -> None:
    """They are dated 1970 and are no items."""
    articles = ask.news(paid, "NVDA").json()["articles"] + ask.news(paid, "TSLA").json()["articles"]
    removed = [article for article in articles if article["title"] == "[Removed]"]
    assert removed
    assert {article["publishedAt"] for article in removed} == {"1970-01-01T00:00:00Z"}


def test_nulls_come_where_they_can(paid: TestClient) -> None:
    """source.id, author, description and content are each null at times."""
    articles = ask.news(paid, "NVDA").json()["articles"]
    for field in ("author", "description", "urlToImage", "content"):
        assert {article[field] is None for article in articles} == {True, False}
    assert {article["source"]["id"] is None for article in articles} == {True, False}
    assert all(article["content"] is None or "chars]" in article["content"] or article["author"] is None
               for article in articles)  # fmt: skip


@pytest.mark.parametrize(
    ("params", "status", "code"),
    [
        ({"q": ""}, 400, "parametersMissing"),
        ({"q": "x" * 501}, 400, "parameterInvalid"),
        ({"pageSize": 101}, 400, "parameterInvalid"),
        ({"page": 0}, 400, "parameterInvalid"),
        ({"from": "yesterday"}, 400, "parameterInvalid"),
        ({"sortBy": "mood"}, 400, "parameterInvalid"),
        ({"sources": ",".join("abcdefghijklmnopqrstu")}, 400, "sourcesTooMany"),
        ({"page": 3, "pageSize": 50}, 426, "maximumResultsReached"),
        ({"from": _iso(START - 40 * DAY)}, 426, "parameterInvalid"),
    ],
)
def test_a_refusal_carries_its_code(
    client: TestClient, params: dict[str, Any], status: int, code: str
) -> None:
    """The code, not the status, tells a plan that ends here from a mistake."""
    answer = ask.news(client, **params)
    assert (answer.status_code, answer.json()["status"], answer.json()["code"]) == (status, "error", code)


def test_a_paid_plan_goes_past_result_100(paid: TestClient) -> None:
    """426 is about the plan, not about the request."""
    assert len(ask.news(paid, page=3, pageSize=50).json()["articles"]) == 50


@pytest.mark.parametrize(("headers", "code"), [({}, "apiKeyMissing"), ({"X-Api-Key": "no"}, "apiKeyInvalid")])
def test_a_key_is_needed(client: TestClient, headers: dict[str, str], code: str) -> None:
    """Missing and wrong are told apart, as there."""
    answer = client.get("/news/v2/everything?q=AAPL", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, code)


def test_sources_are_honoured(paid: TestClient) -> None:
    """A filter that is ignored would pass unnoticed until the real API filters."""
    articles = ask.news(paid, sources="ledger-wire").json()["articles"]
    named = {article["source"]["id"] for article in articles if article["title"] != "[Removed]"}
    assert named == {"ledger-wire"}


def test_over_the_limit_there_is_no_hint(simulator: Callable[..., TestClient]) -> None:
    """NewsAPI sends no rate headers: the client has only its own books."""
    client = simulator(limits={"news": [Limit(1, 43_200)]})
    assert ask.news(client).status_code == 200
    refused = ask.news(client)
    assert (refused.status_code, refused.json()["code"]) == (429, "rateLimited")
    assert "12 hour" in refused.json()["message"]
    assert not [name for name in refused.headers if "limit" in name or "retry" in name]
