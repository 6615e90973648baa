"""Reddit over OAuth, as UPSTREAMS describes it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from starlette.testclient import TestClient

from tbcache.models import Limit
from tests.simulator import ask
from tests.simulator.conftest import START, Clock, is_gone, truth

TOKEN = "/reddit/api/v1/access_token"


def _rows(answer: Any) -> list[dict[str, Any]]:
    return [child["data"] for child in answer.json()["data"]["children"]]


def test_a_token_is_given_for_the_right_client(client: TestClient) -> None:
    """Everything else on this API needs it."""
    answer = client.post(TOKEN, auth=ask.LOGIN, data={"grant_type": "client_credentials"})
    token = answer.json()
    assert (token["token_type"], token["expires_in"], token["scope"]) == ("bearer", 86_400, "*")


def test_a_wrong_client_is_unauthorized(client: TestClient) -> None:
    """Wrong credentials must not look like an outage."""
    answer = client.post(TOKEN, auth=("a", "b"), data={"grant_type": "client_credentials"})
    assert (answer.status_code, answer.json()) == (401, {"message": "Unauthorized", "error": 401})


def test_a_wrong_grant_is_a_200_with_an_error(client: TestClient) -> None:
    """A 200 without a token is the failure that a careless client stores as a token."""
    answer = client.post(TOKEN, auth=ask.LOGIN, data={"grant_type": "password"})
    assert (answer.status_code, answer.json()) == (200, {"error": "unsupported_grant_type"})


def test_a_token_ends_after_a_day(client: TestClient, clock: Clock) -> None:
    """A worker that lives longer than its token has to notice the 401."""
    headers = {"Authorization": f"bearer {ask.reddit_token(client)}"}
    url = "/reddit/r/stocks/search?q=AAPL"
    assert client.get(url, headers=headers).status_code == 200
    clock.advance(86_400)
    assert client.get(url, headers=headers).status_code == 401
    assert client.get(url).status_code == 401


@pytest.mark.parametrize("agent", ["", "python-httpx2/2.16", "python-requests/2.32"])
def test_a_caller_without_a_name_of_its_own_is_throttled(client: TestClient, agent: str) -> None:
    """Reddit limits generic User-Agents; so a provider that sets none fails here first."""
    answer = client.get("/reddit/r/stocks/search?q=AAPL", headers={"User-Agent": agent})
    assert answer.status_code == 429
    assert answer.headers["content-type"].startswith("text/html")
    assert client.post(TOKEN, auth=ask.LOGIN, headers={"User-Agent": agent}).json()["error"] == 429


def test_a_listing_reads_like_one(client: TestClient) -> None:
    """Shape and types as recorded: fullnames, float times, only what was asked for."""
    answer = ask.reddit(client)
    rows = _rows(answer)
    assert answer.json()["kind"] == "Listing"
    assert rows
    assert all(row["name"] == f"t3_{row['id']}" for row in rows)
    assert all(
        type(row["created_utc"]) is float and START - 86_400 <= row["created_utc"] < START for row in rows
    )
    assert {row["subreddit"] for row in rows} <= set(ask.SUBREDDITS.split("+"))


def test_pages_end_at_about_250(client: TestClient) -> None:
    """Search goes no deeper: coverage of busy symbols must be reported as partial."""
    after, ids, sizes = "", [], []
    while after is not None:
        answer = ask.reddit(client, "NVDA", t="year", limit=100, after=after)
        rows = [row for row in _rows(answer) if not row["stickied"]]
        ids += [row["id"] for row in rows]
        sizes.append(len(rows))
        after = answer.json()["data"]["after"]
    assert sizes == [100, 100, 50]
    assert len(set(ids)) == 250


def _browse(client: TestClient, path: str, **params: Any) -> Any:
    headers = {"Authorization": f"bearer {ask.reddit_token(client)}"}
    return client.get(f"/reddit{path}", params={"raw_json": "1", **params}, headers=headers)


def test_pinned_posts_ride_on_top_of_hot_and_are_not_found(client: TestClient) -> None:
    """102 where 100 were asked for has been recorded; search carries none of them."""
    hot = _rows(_browse(client, "/r/wallstreetbets/hot", limit=100))
    assert len(hot) == 102
    assert [row["stickied"] for row in hot[:3]] == [True, True, False]
    assert hot[0]["author"] == "AutoModerator"
    for sort in ("new", "hot", "top", "comments", "relevance"):
        found = _rows(ask.reddit(client, "NVDA", t="week", limit=100, sort=sort))
        assert [row["stickied"] for row in found] == [False] * 100


def test_search_honours_its_sort(client: TestClient) -> None:
    """Who leaves `sort=new` away gets the most relevant first, and takes an old post for the end."""

    def values(sort: str, field: str) -> list[float]:
        return [row[field] for row in _rows(ask.reddit(client, "NVDA", t="week", limit=100, sort=sort))]

    for sort, field in (("new", "created_utc"), ("top", "score"), ("comments", "num_comments")):
        assert values(sort, field) == sorted(values(sort, field), reverse=True)
    assert values("relevance", "created_utc") != sorted(values("relevance", "created_utc"), reverse=True)
    assert values("", "created_utc") == values("relevance", "created_utc")


@pytest.mark.parametrize(("listing", "kind"), [("new", "t3"), ("comments", "t1")])
def test_a_listing_goes_1000_deep_and_newest_first(client: TestClient, listing: str, kind: str) -> None:
    """Where search ends at 250, these go on."""
    after, rows = "", []
    while after is not None:
        answer = _browse(client, f"/r/all/{listing}", limit=100, after=after).json()
        rows += answer["data"]["children"]
        after = answer["data"]["after"]
    times = [row["data"]["created_utc"] for row in rows]
    assert {row["kind"] for row in rows} == {kind}
    assert len({row["data"]["name"] for row in rows}) == len(rows) == 1000
    assert times == sorted(times, reverse=True)


def test_a_listing_is_of_its_subreddits(client: TestClient) -> None:
    """`r/stocks/new` is not the whole site."""
    rows = _rows(_browse(client, "/r/stocks+options/new", limit=100))
    assert {row["subreddit"] for row in rows} == {"stocks", "options"}


def test_info_tells_what_became_of_known_posts(client: TestClient, clock: Clock) -> None:
    """A post that was removed since it was counted is an opinion no more."""
    gone = next(row for row in truth(client, "reddit", "NVDA", 72) if is_gone(row) and not row["edited_at"])
    comment = _rows(_browse(client, "/r/all/comments", limit=1))[0]
    asked = ",".join((*gone["ids"], comment["name"], "t3_nonsense", "t3_zzzzzz1"))
    now = _rows(_browse(client, "/api/info", id=asked))
    assert [row["name"] for row in now] == [*gone["ids"], comment["name"]]
    assert now[0]["author"] == "[deleted]"
    assert now[0]["selftext"] in ("[deleted]", "[removed]")
    clock.at = datetime.fromisoformat(gone["at"]).timestamp() + 1
    (before,) = _rows(_browse(client, "/api/info", id=gone["ids"][0]))
    assert before["author"] == gone["author"]


def test_an_edit_is_dated(client: TestClient) -> None:
    """The text that was scored yesterday may read otherwise today."""
    ids = [row["ids"][0] for row in truth(client, "reddit", "NVDA", 72) if row["edited_at"]]
    rows = _rows(_browse(client, "/api/info", id=",".join(ids)))
    assert rows
    assert all(row["created_utc"] < row["edited"] < START for row in rows)


def test_what_is_gone_comes_in_both_forms(client: TestClient) -> None:
    """The item stays when its author or a moderator takes it down; neither form is an opinion."""
    rows = [
        row
        for symbol in ("NVDA", "TSLA", "SPY")
        for row in _rows(ask.reddit(client, symbol, t="year", limit=100))
        if row["author"] == "[deleted]"
    ]
    assert {row["selftext"] for row in rows} == {"[deleted]", "[removed]"}


def test_texts_are_escaped_unless_raw_json_is_asked_for(client: TestClient) -> None:
    """A provider that forgets raw_json=1 reads entities."""
    raw = [row["selftext"] for row in _rows(ask.reddit(client, "NVDA", t="week", limit=50))]
    escaped = [row["selftext"] for row in _rows(ask.reddit(client, "NVDA", t="week", limit=50, raw_json="0"))]
    assert any(" & " in text for text in raw)
    assert any(" &amp; " in text for text in escaped)


def test_an_unknown_symbol_is_an_empty_listing(client: TestClient) -> None:
    """Nothing found is an answer, not an error."""
    data = ask.reddit(client, "ZZZQ").json()["data"]
    assert (data["children"], data["after"]) == ([], None)


def test_headers_count_in_seconds_from_now(simulator: Callable[..., TestClient], clock: Clock) -> None:
    """Reddit's reset is a delta where X's is a moment: mixing them up waits for 50 years."""
    client = simulator(limits={"reddit": [Limit(5, 60)]})
    ask.reddit(client)
    clock.advance(10)
    headers = ask.reddit(client).headers
    assert headers["x-ratelimit-remaining"] == "3.0"
    assert headers["x-ratelimit-used"] == "2"
    assert headers["x-ratelimit-reset"] == "50"


def test_over_the_limit_a_page_says_when_to_come_back(
    simulator: Callable[..., TestClient], clock: Clock
) -> None:
    """HTML with Retry-After and nothing else, and the hint holds."""
    client = simulator(limits={"reddit": [Limit(1, 60)]})
    ask.reddit(client)
    clock.advance(1.5)
    refused = ask.reddit(client)
    assert refused.status_code == 429
    assert refused.headers["content-type"].startswith("text/html")
    assert "x-ratelimit-remaining" not in refused.headers
    clock.advance(int(refused.headers["retry-after"]))
    assert ask.reddit(client).status_code == 200
