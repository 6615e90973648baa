"""By what each source is searched, beside the symbol and the time."""

from __future__ import annotations

from typing import Any

import pytest

from tbcache.models import FetchRequest
from tbcache.settings import Settings
from tests.providers.kit import NOW, answer, provider

SEARCHED = ("news", "reddit", "twitter")


def started_with(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    for name in SEARCHED:
        found = Settings.load({f"TBCACHE_{key}": value for key, value in variables.items()})
        monkeypatch.setattr(f"tbcache.providers.{name}.get_settings", lambda found=found: found)


@pytest.mark.parametrize(
    ("source", "own", "variables"),
    [
        ("news", {}, {"NAMES": "AAPL=Cupertino"}),
        ("news", {}, {"LANGUAGES": "de"}),
        ("news", {"domains": "reuters.com,ft.com"}, {}),
        ("reddit", {}, {"NAMES": "AAPL=Cupertino"}),
        ("reddit", {"subreddits": "stocks"}, {}),
        ("twitter", {}, {"LANGUAGES": "en,de"}),
        ("twitter", {"query_filter": "-is:retweet"}, {}),
        ("twitter", {"query_filter": "none"}, {}),
    ],
)
def test_whatever_changes_a_search_changes_its_words(
    monkeypatch: pytest.MonkeyPatch, source: str, own: dict[str, Any], variables: dict[str, str]
) -> None:
    """For a day after the subreddits were changed, answers were called complete with a fifth of the posts."""
    asked = []
    for settings in ({}, variables):
        started_with(monkeypatch, **settings)
        found = provider(source, **(own if settings is variables else {}))
        request = found.request(FetchRequest(source, "AAPL"), None, NOW)
        asked.append(((request.url, dict(request.params)), found.search_words("AAPL")))
    (first, words), (second, others) = asked
    assert first != second
    assert words != others


@pytest.mark.parametrize(
    ("languages", "posts", "articles"),
    [
        ("en", "$AAPL -is:retweet lang:en", "en"),
        ("de", "$AAPL -is:retweet lang:de", "de"),
        ("en-US,de,en", "$AAPL -is:retweet (lang:en OR lang:de)", "en"),
        ("ja,fr", "$AAPL -is:retweet (lang:ja OR lang:fr)", "fr"),
        ("ja", "$AAPL -is:retweet lang:ja", "en"),
    ],
)
def test_what_counts_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, languages: str, posts: str, articles: str
) -> None:
    """Whoever had German texts count was given English ones, of which none did."""
    started_with(monkeypatch, LANGUAGES=languages)
    twitter, news = provider("twitter"), provider("news")
    assert twitter.request(FetchRequest("twitter", "AAPL"), None, NOW).params["query"] == posts
    assert news.request(FetchRequest("news", "AAPL"), None, NOW).params["language"] == articles
    article = {"title": "Up", "url": "https://news.test/1", "publishedAt": "2026-07-28T20:00:00Z"}
    page = news.parse(answer({"status": "ok", "totalResults": 1, "articles": [article]}))
    assert [item.lang for item in page.items] == [articles]
