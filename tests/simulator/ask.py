"""One correct request to each simulated API."""

from __future__ import annotations

from typing import Any

import httpx2
from starlette.testclient import TestClient

from tbcache.embedded.simulator import DEMO_CREDENTIALS

BEARER = {"Authorization": f"Bearer {DEMO_CREDENTIALS['TBCACHE_TWITTER__BEARER_TOKEN']}"}
NEWS_KEY = {"X-Api-Key": DEMO_CREDENTIALS["TBCACHE_NEWS__API_KEY"]}
OPTIONS_KEY = {"Authorization": f"Bearer {DEMO_CREDENTIALS['TBCACHE_OPTIONS__API_KEY']}"}
LOGIN = (
    DEMO_CREDENTIALS["TBCACHE_REDDIT__CLIENT_ID"],
    DEMO_CREDENTIALS["TBCACHE_REDDIT__CLIENT_SECRET"],
)
SUBREDDITS = "wallstreetbets+stocks+investing+options"


def twitter(client: TestClient, query: str = "$AAPL", **params: Any) -> httpx2.Response:
    return client.get("/twitter/2/tweets/search/recent", params={"query": query, **params}, headers=BEARER)


def reddit_token(client: TestClient) -> str:
    answer = client.post("/reddit/api/v1/access_token", auth=LOGIN, data={"grant_type": "client_credentials"})
    return str(answer.json()["access_token"])


def reddit(client: TestClient, q: str = "AAPL", **params: Any) -> httpx2.Response:
    headers = {"Authorization": f"bearer {reddit_token(client)}"}
    params = {"q": q, "restrict_sr": "1", "sort": "new", "t": "day", "raw_json": "1", **params}
    return client.get(f"/reddit/r/{SUBREDDITS}/search", params=params, headers=headers)


def news(client: TestClient, q: str = "AAPL", **params: Any) -> httpx2.Response:
    return client.get("/news/v2/everything", params={"q": q, **params}, headers=NEWS_KEY)


def options(client: TestClient, symbol: str = "AAPL", **params: Any) -> httpx2.Response:
    params = {"ticker_symbol": symbol, **params}
    return client.get("/options/api/option-trades/flow-alerts", params=params, headers=OPTIONS_KEY)


def stocktwits(client: TestClient, symbol: str = "AAPL", **params: Any) -> httpx2.Response:
    return client.get(f"/stocktwits/api/2/streams/symbol/{symbol}.json", params=params)


EACH = {"twitter": twitter, "reddit": reddit, "news": news, "options": options, "stocktwits": stocktwits}
