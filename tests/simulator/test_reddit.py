"""Reddit over OAuth, as UPSTREAMS describes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from tbcache.models import Limit
from tests.simulator import ask
from tests.simulator.conftest import START, Clock

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


def test_pinned_posts_ride_on_top_of_a_full_page(client: TestClient) -> None:
    """102 where 100 were asked for has been recorded; a reader must not count on `limit`."""
    first = _rows(ask.reddit(client, "NVDA", t="year", limit=100))
    assert len(first) == 102
    assert [row["stickied"] for row in first[:3]] == [True, True, False]


def test_deleted_authors_come_in_both_forms(client: TestClient) -> None:
    """The item stays when its author goes."""
    authors = set()
    for symbol in ("NVDA", "TSLA", "SPY"):
        authors |= {row["author"] for row in _rows(ask.reddit(client, symbol, t="year", limit=100))}
    assert "[deleted]" in authors
    assert None in authors


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
