"""A source of one's own: how to ask, how to sign, how to read. The rest is tbcache's.

export TBCACHE_SOURCES="posts=posts:Posts" TBCACHE_POSTS__BEARER_TOKEN=...
tbcache record posts AAPL --pages 2      # what it answers, without credentials, within limits and budget
tbcache provider check posts             # and whether it is read right; also of posts:Posts
tbcache fetch posts AAPL --hours 6
"""

from datetime import datetime
from typing import Any, ClassVar

import httpx2

from tbcache import FetchRequest, HttpRequest, Item, Page, Provider, RawResponse
from tbcache.models.coerce import moment, text
from tbcache.models.price import Price
from tbcache.providers import HeaderAuth


class Posts(Provider):
    """Posts with a symbol's cashtag, newest first, ten a page; several symbols in one query."""

    defaults: ClassVar[dict[str, Any]] = {
        "base_url": "https://api.x.com",
        "limits": "300/15m",
        "credentials": ("bearer_token",),
        "price": Price(per_item=0.005, daily_dedupe=True, page_items=10),
        "pack": 10,
    }

    def request(self, fetch: FetchRequest, cursor: str | None, since: datetime) -> HttpRequest:
        cashtags = " OR ".join(f"${symbol}" for symbol in fetch.symbols)
        params = {"query": f"({cashtags}) lang:en", "start_time": f"{since:%Y-%m-%dT%H:%M:%SZ}"}
        params |= {"max_results": "10", "tweet.fields": "created_at,author_id,entities"}
        if cursor is not None:
            params["next_token"] = cursor
        return HttpRequest("GET", f"{self.source.base_url}/2/tweets/search/recent", params)

    def auth(self) -> httpx2.Auth | None:
        return HeaderAuth.of(
            "TBCACHE_POSTS__BEARER_TOKEN", self.settings.bearer_token, "Authorization", "Bearer"
        )

    def parse(self, response: RawResponse) -> Page:
        body = self.read_json(response)  # what is no success raises the right UpstreamError
        following = body["meta"].get("next_token")
        return Page(tuple(map(item, body.get("data", ()))), next=following, exhausted=following is None)


def item(post: dict[str, Any]) -> Item:
    cashtags = post.get("entities", {}).get("cashtags", ())
    symbols = tuple(dict.fromkeys(tag["tag"].upper() for tag in cashtags))
    at, written = moment(post["created_at"]), text(post["text"])
    return Item(post["id"], at, written, author=post["author_id"], symbols=symbols)
