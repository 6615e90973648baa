from __future__ import annotations

from typing import Any

import run
from newsapi import NewsApiClient
from newsapi.newsapi_exception import NewsAPIException


def script(base: str) -> dict[str, Any]:
    client = NewsApiClient(run.credential("TBCACHE_NEWS__API_KEY"))
    ask = {"q": "NVDA", "language": "en", "sort_by": "publishedAt", "page_size": 20}
    pages = [client.get_everything(page=page, **ask) for page in (1, 2)]
    urls = [
        article["url"] for page in pages for article in page["articles"] if article["title"] != "[Removed]"
    ]
    run.faults(base, news={"quota": "exhausted"})
    exhausted = _code(client)
    run.faults(base)
    return {
        "status": [page["status"] for page in pages],
        "total": pages[0]["totalResults"],
        "articles": [len(page["articles"]) for page in pages],
        "unique": len(set(urls)) == len(urls),
        "titles": client.get_everything(qintitle="NVDA", sort_by="relevancy")["totalResults"],
        "headlines": client.get_top_headlines(category="business", page_size=10)["articles"],
        "sources": client.get_sources(language="en")["sources"],
        "wrong": _code(NewsApiClient("wrong")),
        "exhausted": exhausted,
    }


def _code(client: NewsApiClient) -> str | None:
    try:
        client.get_everything(q="NVDA")
    except NewsAPIException as error:
        return str(error.get_code())
    return None


run.main(script)
